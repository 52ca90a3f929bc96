"""The fused epilogue: elementwise operations on registers, between the arithmetic and the only store.

An `Epilogue` is a short program in single-assignment form. Value 0 is what the kernel computed (the
accumulator, or the first operand of an elementwise kernel); instruction i makes value i + 1; the last
value is stored. The vocabulary is the `OPS` table, one row an operation: every kernel that has an epilogue
has all of them.

Numbers (a factor, the bounds of a clip, a slope) are arguments of the kernel and no part of its code: an
`Epilogue` says how many there are, the kernel's caller gives them as `number_word`s in the order in which the
instructions take them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minidnn_kernels import vector_math as vm
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32, INT8, INT32, UINT8, ElementType
from minidnn_kernels.simd import Simd, Value, const

__all__ = [
    "OPERAND_KINDS",
    "OPS",
    "OUTPUTS",
    "QUANTIZED_LIMITS",
    "Epilogue",
    "Instruction",
    "OperandKind",
    "load_numbers",
    "number_word",
    "tensor_kind",
]

Emit = Callable[..., Value]


@dataclass(frozen=True)
class Instruction:
    """One operation: its name in `OPS`, and the values it reads (`load` reads operand `operand`)."""

    op: str
    values: tuple[int, ...] = ()
    operand: int = -1

    @property
    def numbers(self) -> int:
        """How many of the kernel's numbers it takes."""
        return OPS[self.op][1] if self.op in OPS else 0


@dataclass(frozen=True)
class OperandKind:
    """How an operand lies in memory, as seen from a vector of the output.

    Args:
        name: of the kind.
        form: ``tensor``, element by element beside the output; ``channel``, one vector for all pixels (bias,
            scale); ``row``, one number for all channels of a pixel (a sample's scale); or ``scalar``, one number.
        type: of its elements, which are converted to float32 as they are read.
    """

    name: str
    form: str
    type: ElementType = FLOAT32

    @property
    def is_tensor(self) -> bool:
        return self.form == "tensor"

    def pitch(self, columns: int) -> int:
        """Bytes from a row of it to the next, where the output has rows of `columns`."""
        return {"tensor": columns, "row": 1}.get(self.form, 0) * self.type.bytes


def tensor_kind(type: ElementType) -> str:
    """The name of the kind of tensors of that type."""
    return "tensor" if type is FLOAT32 else f"tensor_{type.name}"


_TENSORS = [OperandKind(tensor_kind(type), "tensor", type) for type in (FLOAT32, INT8, UINT8, INT32)]

# By name.
OPERAND_KINDS: dict[str, OperandKind] = {
    kind.name: kind for kind in (*_TENSORS, *(OperandKind(form, form) for form in ("channel", "row", "scalar")))
}

# What is stored: float32, or integers.
OUTPUTS: dict[str, ElementType] = {type.name: type for type in (FLOAT32, INT32, INT8, UINT8)}
# The integers of a quantized output: int8 is symmetric.
QUANTIZED_LIMITS = {INT8.name: (-127.0, 127.0), UINT8.name: (0.0, 255.0)}


def number_word(number: float) -> int:
    """A number as an argument: the bits of the nearest float32 in the low half of a word."""
    with np.errstate(over="ignore"):
        return int(np.float32(number).view(np.uint32))


def load_numbers(s: Simd, address: Value, count: int) -> list[Value]:
    """Consecutive number words, each as a vector with the number in every lane."""
    return [s.load_splat(s.add(address, const(WORD_BYTES * i)), constant=True) for i in range(count)]


@dataclass(frozen=True)
class Epilogue:
    """An epilogue: its instructions, the kind of each operand they load, and what is stored.

    An output of ``s8`` or ``u8`` is the last value, rounded half to even, and clamped before: by ``saturate`` if that
    is the last instruction, otherwise to `QUANTIZED_LIMITS`.
    ``s32`` is only for an integer kernel without instructions: its accumulators as they are.

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
            arity, _, _ = OPS[instruction.op]
            if len(instruction.values) != arity:
                raise ValueError(f"{instruction.op} takes {arity} values: {instruction}")

    @property
    def kinds(self) -> tuple[OperandKind, ...]:
        """How each operand lies in memory."""
        return tuple(OPERAND_KINDS[name] for name in self.operands)

    @property
    def output_type(self) -> ElementType:
        return OUTPUTS[self.output]

    @property
    def name(self) -> str:
        """What it does, for symbol names: ``load_add_relu``."""
        made = "_".join(i.op for i in self.instructions if i.op != "load") or "plain"
        return made if self.output == "f32" else f"{made}_{self.output}"

    @property
    def numbers(self) -> int:
        """How many numbers the kernel is given."""
        return sum(i.numbers for i in self.instructions)

    def emit(self, s: Simd, accumulator: Value, load: Callable[[int], Value], numbers: Sequence[Value]) -> Value:
        """The value to store, not rounded if that is an integer; `load(i)` gives a vector of operand i.

        `numbers` are vectors, as `load_numbers` makes them.
        """
        values, rest = [accumulator], iter(numbers)
        for instruction in self.instructions:
            if instruction.op == "load":
                values.append(load(instruction.operand))
            else:
                emit = OPS[instruction.op][2]
                taken = [next(rest) for _ in range(instruction.numbers)]
                values.append(emit(s, *(values[v] for v in instruction.values), *taken))
        is_clamped = bool(self.instructions) and self.instructions[-1].op == "saturate"
        if self.output in QUANTIZED_LIMITS and not is_clamped:
            low, high = QUANTIZED_LIMITS[self.output]
            return _clip(s, values[-1], s.splat(low), s.splat(high))
        return values[-1]


def _clip(s: Simd, x: Value, low: Value, high: Value) -> Value:
    return s.at_most(s.at_least(x, low), high)


def _leaky(s: Simd, x: Value, slope: Value) -> Value:
    return s.where("<", x, s.splat(0.0), s.builder.fmul(x, slope), x)


def _elu(s: Simd, x: Value, alpha: Value) -> Value:
    grown = s.builder.fmul(alpha, vm.expm1_negative(s, x))
    return s.where("<", x, s.splat(0.0), grown, x)


def _selu(s: Simd, x: Value) -> Value:
    # G. Klambauer et al., Self-Normalizing Neural Networks, 2017.
    return s.builder.fmul(s.splat(1.0507009873554805), _elu(s, x, s.splat(1.6732632423543772)))


def _gelu(s: Simd, x: Value) -> Value:
    # D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016: x · Φ(x).
    return s.builder.fmul(x, vm.normal_cdf(s, x))


def _gelu_tanh(s: Simd, x: Value) -> Value:
    # The same paper's approximation: x / 2 · (1 + tanh(u)) = x · sigmoid(2 u), u = sqrt(2 / π) · (x + 0.044715 x³).
    b = s.builder
    factor = math.sqrt(8 / math.pi)
    inner = b.fmul(x, s.fma(b.fmul(x, x), s.splat(0.044715 * factor), s.splat(factor)))
    return b.fmul(x, vm.sigmoid(s, inner))


def _silu(s: Simd, x: Value) -> Value:
    return s.builder.fmul(x, vm.sigmoid(s, x))


def _mish(s: Simd, x: Value) -> Value:
    return s.builder.fmul(x, vm.tanh(s, vm.log1p_exp(s, x)))


def _softsign(s: Simd, x: Value) -> Value:
    b = s.builder
    return b.fdiv(x, b.fadd(s.splat(1.0), s.unary("fabs", x)))


def _hard_sigmoid(s: Simd, x: Value, alpha: Value, beta: Value) -> Value:
    return _clip(s, s.fma(x, alpha, beta), s.splat(0.0), s.splat(1.0))


def _hard_swish(s: Simd, x: Value) -> Value:
    # A. Howard et al., Searching for MobileNetV3, 2019: x · clip(x + 3, 0, 6) / 6.
    b = s.builder
    # Scaled before the product, which then cannot overflow where the result does not.
    share = b.fmul(_clip(s, b.fadd(x, s.splat(3.0)), s.splat(0.0), s.splat(6.0)), s.splat(1.0 / 6.0))
    return b.fmul(x, share)


def _round(s: Simd, x: Value) -> Value:
    # Halves away from zero. The summand is the number below one half: the sum of that and one half is rounded to 1.
    size = s.unary("fabs", x)
    whole = s.unary("floor", s.builder.fadd(size, s.splat(0.49999997)))
    return s.binary("copysign", s.where("<", size, s.splat(8388608.0), whole, size), x)


def _sign(s: Simd, x: Value) -> Value:
    # -0 + 0 is +0; a NaN stays one.
    unsigned_zero = s.builder.fadd(x, s.splat(0.0))
    negative = s.where("<", x, s.splat(0.0), s.splat(-1.0), unsigned_zero)
    return s.where(">", x, s.splat(0.0), s.splat(1.0), negative)


def _bounded(bound: Callable[[Simd, Value, Value], Value]) -> Emit:
    """A bound of which only the sign of a zero may differ from that of `maximum` or `minimum`.

    These are several instructions where nothing is known of an operand. Here the NaNs of a number, which `bound`
    passes over, are found once for all vectors.
    """

    def emit(s: Simd, x: Value, number: Value) -> Value:
        b = s.builder
        nan = b.sext(b.fcmp_unordered("uno", number, number), s.int_vector)
        return s.as_float(b.or_(s.as_int(bound(s, x, number)), nan))

    return emit


def _flipped(emit: Emit) -> Emit:
    """The operation with its second operand first."""
    return lambda s, a, b: emit(s, b, a)


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

# name: (values, numbers, emitter of both, in that order)
OPS: dict[str, tuple[int, int, Emit]] = {
    "relu": (1, 0, lambda s, x: s.at_least(x, s.splat(0.0))),
    "clip": (1, 2, _clip),
    "saturate": (1, 2, _clip),
    "leaky_relu": (1, 1, _leaky),
    "prelu": (2, 0, _leaky),
    "elu": (1, 1, _elu),
    "selu": (1, 0, _selu),
    "gelu": (1, 0, _gelu),
    "gelu_tanh": (1, 0, _gelu_tanh),
    "silu": (1, 0, _silu),
    "mish": (1, 0, _mish),
    "sigmoid": (1, 0, vm.sigmoid),
    "log_sigmoid": (1, 0, lambda s, x: s.builder.fneg(vm.log1p_exp(s, s.builder.fneg(x)))),
    "tanh": (1, 0, vm.tanh),
    "softrelu": (1, 0, vm.log1p_exp),
    "softsign": (1, 0, _softsign),
    "hard_sigmoid": (1, 2, _hard_sigmoid),
    "hard_swish": (1, 0, _hard_swish),
    "erf": (1, 0, vm.erf),
    "exp": (1, 0, vm.exp),
    "expm1": (1, 0, vm.expm1),
    "log": (1, 0, vm.log),
    "log1p": (1, 0, vm.log1p),
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
    "round": (1, 0, _round),
    "affine": (3, 0, lambda s, x, scale, shift: s.fma(x, scale, shift)),
    **{name: (2, 0, emit) for name, emit in _ARITHMETIC.items()},
    **{f"{name}_scalar": (1, 1, emit) for name, emit in _ARITHMETIC.items()},
    "maximum_scalar": (1, 1, _bounded(Simd.at_least)),
    "minimum_scalar": (1, 1, _bounded(Simd.at_most)),
    **{f"r{name}_scalar": (1, 1, _flipped(_ARITHMETIC[name])) for name in ("subtract", "divide")},
}
