"""The fused tail: elementwise operations on registers, between the arithmetic and the only store.

An `Epilogue` is a short program in single-assignment form. Value 0 is what the kernel computed (the
accumulator, or the first operand of an elementwise kernel); instruction i makes value i + 1; the last
value is stored. The vocabulary is the `OPS` table, one row an operation: every kernel that has a tail
has all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels import vector_math as vm
from minidnn_kernels.simd import Simd, Value

__all__ = ["OPERAND_KINDS", "OPS", "OUTPUTS", "Epilogue", "Instruction", "operand_dtype"]

Emit = Callable[..., Value]


@dataclass(frozen=True)
class Instruction:
    """One operation: its name in `OPS`, the values it reads, its numbers (`load` reads operand `operand`)."""

    op: str
    values: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    operand: int = -1


# How an operand lies in memory, as seen from a vector of the output:
#   tensor   element by element beside it
#   channel  one vector for all pixels (bias, scale)
#   scalar   one number
# A tensor's elements are float32, or with a suffix int8, uint8 or int32, which are converted as they are read.
OPERAND_KINDS = ("tensor", "tensor_s8", "tensor_u8", "tensor_s32", "channel", "scalar")

# What is stored: float32, or the integers that `quantize` made.
OUTPUTS = {"f32": 4, "s32": 4, "s8": 1, "u8": 1}


def operand_dtype(kind: str) -> str:
    """The element type behind an operand kind: ``f32``, ``s8``, ``u8``, ``s32``."""
    return kind.partition("_")[2] or "f32"


@dataclass(frozen=True)
class Epilogue:
    """A tail: its instructions, the kind of each operand they load, and what is stored.

    An integer output is the last value rounded half to even; it has been clamped by then. ``s32`` is only
    for an integer kernel without instructions: its accumulators as they are.

    Raises:
        ValueError: an unknown operation, operand kind or output, a value used before it is made, or
            instructions for an ``s32`` output.
    """

    instructions: tuple[Instruction, ...] = ()
    operands: tuple[str, ...] = ()
    output: str = "f32"

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"unknown output {self.output!r}")
        if self.output == "s32" and self.instructions:
            raise ValueError("an s32 output is the accumulators as they are, without instructions")
        for kind in self.operands:
            if kind not in OPERAND_KINDS:
                raise ValueError(f"unknown operand kind {kind!r}")
        for made, instruction in enumerate(self.instructions):
            if instruction.op == "load":
                if not 0 <= instruction.operand < len(self.operands):
                    raise ValueError(f"operand {instruction.operand} of {len(self.operands)}")
                continue
            if instruction.op not in OPS:
                raise ValueError(f"unknown epilogue operation {instruction.op!r}")
            if any(not 0 <= v <= made for v in instruction.values):
                raise ValueError(f"{instruction} uses a value that is not made yet")
            arity, numbers, _ = OPS[instruction.op]
            if len(instruction.values) != arity or len(instruction.numbers) != numbers:
                raise ValueError(f"{instruction.op} takes {arity} values and {numbers} numbers: {instruction}")

    @property
    def name(self) -> str:
        """What it does, for symbol names: ``load_add_relu``."""
        made = "_".join(i.op for i in self.instructions if i.op != "load") or "plain"
        return made if self.output == "f32" else f"{made}_{self.output}"

    def emit(self, s: Simd, accumulator: Value, load: Callable[[int], Value]) -> Value:
        """The value to store; `load(i)` gives a vector of operand i."""
        values = [accumulator]
        for instruction in self.instructions:
            if instruction.op == "load":
                values.append(load(instruction.operand))
            else:
                emit = OPS[instruction.op][2]
                values.append(emit(s, *(values[v] for v in instruction.values), *instruction.numbers))
        return values[-1]


def _clip(s: Simd, x: Value, low: float, high: float) -> Value:
    return s.at_most(s.at_least(x, s.splat(low)), s.splat(high))


def _leaky(s: Simd, x: Value, slope: float) -> Value:
    return s.where("<", x, s.splat(0.0), s.builder.fmul(x, s.splat(slope)), x)


def _elu(s: Simd, x: Value, alpha: float) -> Value:
    grown = s.builder.fmul(s.splat(alpha), s.builder.fsub(vm.exp(s, x), s.splat(1.0)))
    return s.where("<", x, s.splat(0.0), grown, x)


def _selu(s: Simd, x: Value) -> Value:
    # G. Klambauer et al., Self-Normalizing Neural Networks, 2017.
    return s.builder.fmul(s.splat(1.0507009873554805), _elu(s, x, 1.6732632423543772))


def _gelu(s: Simd, x: Value) -> Value:
    # D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016: x · Φ(x).
    b = s.builder
    half = b.fmul(x, s.splat(0.5))
    return s.fma(half, vm.erf(s, b.fmul(x, s.splat(math.sqrt(0.5)))), half)


def _prelu(s: Simd, x: Value, slope: Value) -> Value:
    return s.where("<", x, s.splat(0.0), s.builder.fmul(x, slope), x)


def _silu(s: Simd, x: Value) -> Value:
    return s.builder.fmul(x, vm.sigmoid(s, x))


def _mish(s: Simd, x: Value) -> Value:
    return s.builder.fmul(x, vm.tanh(s, vm.log1p_exp(s, x)))


def _softsign(s: Simd, x: Value) -> Value:
    b = s.builder
    return b.fdiv(x, b.fadd(s.splat(1.0), s.unary("fabs", x)))


def _affine_clip(s: Simd, x: Value, alpha: float, beta: float) -> Value:
    return _clip(s, s.fma(x, s.splat(alpha), s.splat(beta)), 0.0, 1.0)


def _hard_swish(s: Simd, x: Value) -> Value:
    # A. Howard et al., Searching for MobileNetV3, 2019: x · clip(x + 3, 0, 6) / 6.
    b = s.builder
    # Scaled before the product, which then cannot overflow where the result does not.
    share = b.fmul(_clip(s, b.fadd(x, s.splat(3.0)), 0.0, 6.0), s.splat(1.0 / 6.0))
    return b.fmul(x, share)


def _quantize(s: Simd, x: Value, inverse_scale: float, low: float, high: float) -> Value:
    return _clip(s, s.builder.fmul(x, s.splat(inverse_scale)), low, high)


def _sign(s: Simd, x: Value) -> Value:
    negative = s.where("<", x, s.splat(0.0), s.splat(-1.0), x)
    return s.where(">", x, s.splat(0.0), s.splat(1.0), negative)


def _with_number(emit: Emit) -> Emit:
    """The operation with a constant as its second operand."""
    return lambda s, x, number: emit(s, x, s.splat(number))


def _flipped(emit: Emit) -> Emit:
    """The operation with a constant as its first operand."""
    return lambda s, x, number: emit(s, s.splat(number), x)


def _built(method: str) -> Emit:
    return lambda s, *values: getattr(s.builder, method)(*values)


_ARITHMETIC: dict[str, Emit] = {
    "add": _built("fadd"),
    "subtract": _built("fsub"),
    "multiply": _built("fmul"),
    "divide": _built("fdiv"),
    "maximum": lambda s, a, b: s.binary("maximum", a, b),
    "minimum": lambda s, a, b: s.binary("minimum", a, b),
}

# name: (values, numbers, emitter)
OPS: dict[str, tuple[int, int, Emit]] = {
    "relu": (1, 0, lambda s, x: s.at_least(x, s.splat(0.0))),
    "clip": (1, 2, _clip),
    "leaky_relu": (1, 1, _leaky),
    "prelu": (2, 0, _prelu),
    "elu": (1, 1, _elu),
    "selu": (1, 0, _selu),
    "gelu": (1, 0, _gelu),
    "silu": (1, 0, _silu),
    "mish": (1, 0, _mish),
    "sigmoid": (1, 0, vm.sigmoid),
    "log_sigmoid": (1, 0, lambda s, x: s.builder.fneg(vm.log1p_exp(s, s.builder.fneg(x)))),
    "tanh": (1, 0, vm.tanh),
    "softrelu": (1, 0, vm.log1p_exp),
    "softsign": (1, 0, _softsign),
    "hard_sigmoid": (1, 2, _affine_clip),
    "hard_swish": (1, 0, _hard_swish),
    "erf": (1, 0, vm.erf),
    "exp": (1, 0, vm.exp),
    "log": (1, 0, vm.log),
    "sqrt": (1, 0, lambda s, x: s.unary("sqrt", x)),
    "rsqrt": (1, 0, lambda s, x: s.builder.fdiv(s.splat(1.0), s.unary("sqrt", x))),
    "square": (1, 0, lambda s, x: s.builder.fmul(x, x)),
    "absolute": (1, 0, lambda s, x: s.unary("fabs", x)),
    "negative": (1, 0, _built("fneg")),
    "reciprocal": (1, 0, lambda s, x: s.builder.fdiv(s.splat(1.0), x)),
    "sign": (1, 0, _sign),
    "floor": (1, 0, lambda s, x: s.unary("floor", x)),
    "ceil": (1, 0, lambda s, x: s.unary("ceil", x)),
    "trunc": (1, 0, lambda s, x: s.unary("trunc", x)),
    "rint": (1, 0, lambda s, x: s.unary("rint", x)),
    "quantize": (1, 3, _quantize),
    "affine": (3, 0, lambda s, x, scale, shift: s.fma(x, scale, shift)),
    **{name: (2, 0, emit) for name, emit in _ARITHMETIC.items()},
    **{f"{name}_scalar": (1, 1, _with_number(emit)) for name, emit in _ARITHMETIC.items()},
    **{f"r{name}_scalar": (1, 1, _flipped(_ARITHMETIC[name])) for name in ("subtract", "divide")},
}
