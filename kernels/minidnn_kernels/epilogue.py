"""The fused epilogue: elementwise operations on registers, between the arithmetic and the only store.

An `Epilogue` is a short program in single-assignment form. Value 0 is what the kernel computed (the
accumulator, or the first operand of an elementwise kernel), in float32; instruction i makes value i + 1; the last
value is stored. An instruction names the type that it computes in: float32, whose vocabulary is the `OPS` table, or
another, for which `typed_ops` has the rows. Every kernel that has an epilogue has all of them.

Numbers (a factor, the bounds of a clip, a slope) are arguments of the kernel and no part of its code: an
`Epilogue` says how many there are, the kernel's caller gives them as `number_word`s in the order in which the
instructions take them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from minidnn_kernels import vector_math as vm
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.conversions import convert
from minidnn_kernels.element_type import BOOL, ELEMENT_TYPES, FLOAT32, INT8, UINT8, ElementType
from minidnn_kernels.lanes import Lanes
from minidnn_kernels.simd import Simd, Value, const
from minidnn_kernels.typed_ops import TYPED_OPS

__all__ = [
    "OPERAND_KINDS",
    "OPS",
    "OUTPUTS",
    "QUANTIZED_LIMITS",
    "Epilogue",
    "Instruction",
    "OperandKind",
    "has_operation",
    "load_numbers",
    "number_word",
    "operand_kind",
    "signature",
    "tensor_kind",
]

Emit = Callable[..., Value]


@dataclass(frozen=True)
class Instruction:
    """One operation: its name in `OPS` or `TYPED_OPS`, the values it reads, and the type that it computes in.

    ``load`` reads operand `operand`, and ``cast`` one value of any type: both give their own type.
    """

    op: str
    values: tuple[int, ...] = ()
    operand: int = -1
    type: str = "f32"

    @property
    def numbers(self) -> int:
        """How many of the kernel's numbers it takes."""
        return 0 if self.op in ("load", "cast") else signature(self.op)[1]

    @property
    def made(self) -> ElementType:
        """The type of what it makes."""
        is_predicate = self.op in TYPED_OPS and TYPED_OPS[self.op].is_predicate
        return BOOL if is_predicate else ELEMENT_TYPES[self.type]

    @property
    def read(self) -> tuple[ElementType, ...]:
        """The types of what it reads, of an operation that is neither ``load`` nor ``cast``."""
        conditions = TYPED_OPS[self.op].conditions if self.op in TYPED_OPS else 0
        return (BOOL,) * conditions + (ELEMENT_TYPES[self.type],) * (len(self.values) - conditions)


def signature(op: str) -> tuple[int, int]:
    """How many values and numbers an operation takes.

    Raises:
        ValueError: there is none of that name.
    """
    if op in OPS:
        return OPS[op][:2]
    if op not in TYPED_OPS:
        raise ValueError(f"unknown epilogue operation {op!r}")
    return TYPED_OPS[op].values, TYPED_OPS[op].numbers


def has_operation(op: str, type: ElementType | None = None) -> bool:
    """Whether there is an operation of that name, for that type or any."""
    if type is None:
        return op in OPS or op in TYPED_OPS
    return (type is FLOAT32 and op in OPS) or (op in TYPED_OPS and TYPED_OPS[op].has(type))


@dataclass(frozen=True)
class OperandKind:
    """How an operand lies in memory, as seen from a vector of the output.

    Args:
        name: of the kind.
        form: ``tensor``, element by element beside the output; ``channel``, one vector for all pixels (bias,
            scale); ``row``, one number for all channels of a pixel (a sample's scale); or ``scalar``, one number.
        type: of its elements.
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


def operand_kind(form: str, type: ElementType) -> str:
    """The name of the kind of operands of that form and type."""
    return form if type is FLOAT32 else f"{form}_{type.name}"


def tensor_kind(type: ElementType) -> str:
    """The name of the kind of tensors of that type."""
    return operand_kind("tensor", type)


_KINDS = [
    *(OperandKind(tensor_kind(type), "tensor", type) for type in ELEMENT_TYPES.values()),
    *(OperandKind(operand_kind("scalar", type), "scalar", type) for type in ELEMENT_TYPES.values()),
    *(OperandKind(form, form) for form in ("channel", "row")),
]

# By name.
OPERAND_KINDS: dict[str, OperandKind] = {kind.name: kind for kind in _KINDS}

# What is stored.
OUTPUTS = ELEMENT_TYPES
# The integers of a quantized output: int8 is symmetric.
QUANTIZED_LIMITS = {INT8.name: (-127.0, 127.0), UINT8.name: (0.0, 255.0)}


def number_word(number: float, type: ElementType = FLOAT32) -> int:
    """A number as an argument: the bits of the nearest one of that type in the low part of a word.

    Raises:
        OverflowError: an integer that the type does not have.
    """
    with np.errstate(over="ignore"):
        bits = np.array(int(number) if type.is_integer else number).astype(type.dtype).tobytes()
    return int.from_bytes(bits.ljust(WORD_BYTES, b"\0"), "little", signed=True)


def load_numbers(s: Simd, address: Value, types: Sequence[ElementType]) -> list[Value]:
    """Consecutive number words, each as a vector with the number in every lane."""
    return [type.read_splat(s, s.add(address, const(WORD_BYTES * i)), True) for i, type in enumerate(types)]


@dataclass(frozen=True)
class Epilogue:
    """An epilogue: its instructions, the kind of each operand they load, and what is stored.

    The last value is stored as it is where it has the output's type. As ``s8`` or ``u8`` a last value in float32 is
    quantized: rounded half to even, and clamped before to `QUANTIZED_LIMITS`: to both of them, or to what takes their
    place if the last instruction is ``saturate``, or ``at_most`` for the upper one. Without instructions an integer
    kernel's accumulators may be stored as ``s32``.

    Raises:
        ValueError: an unknown operation, operand kind or output, a value used before it is made or of another type than
            the instruction's, or an output that is none of these.
    """

    instructions: tuple[Instruction, ...] = ()
    operands: tuple[str, ...] = ()
    output: str = "f32"

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"unknown output {self.output!r}")
        for kind in self.operands:
            if kind not in OPERAND_KINDS:
                raise ValueError(f"unknown operand kind {kind!r}")
        types = [FLOAT32]
        for instruction in self.instructions:
            self._check(instruction, types)
            types.append(instruction.made)
        may_be_stored = types[-1] is self.output_type or self.is_quantized
        if not may_be_stored and (self.instructions or self.output != "s32"):
            raise ValueError(
                f"an {self.output} output is the accumulators as they are, or values of that type: got {types[-1].name}"
            )

    def after_adding(self, kind: str) -> Epilogue:
        """The epilogue of value 0 plus an operand of that kind, which comes before all others."""
        moved = tuple(
            replace(
                each,
                values=tuple(2 + value for value in each.values),
                operand=each.operand + (each.op == "load"),
            )
            for each in self.instructions
        )
        first = (Instruction("load", operand=0), Instruction("add", (0, 1)))
        return Epilogue(first + moved, (kind, *self.operands), self.output)

    def _check(self, instruction: Instruction, types: Sequence[ElementType]) -> None:
        if instruction.type not in ELEMENT_TYPES:
            raise ValueError(f"unknown type {instruction.type!r}")
        if instruction.op == "load":
            if not 0 <= instruction.operand < len(self.operands):
                raise ValueError(f"operand {instruction.operand} of {len(self.operands)}")
            return
        arity = signature(instruction.op)[0]
        if not has_operation(instruction.op, ELEMENT_TYPES[instruction.type]) and instruction.op != "cast":
            raise ValueError(f"there is no {instruction.op} of {instruction.type}")
        if any(not 0 <= v < len(types) for v in instruction.values):
            raise ValueError(f"{instruction} uses a value that is not made yet")
        if len(instruction.values) != arity:
            raise ValueError(f"{instruction.op} takes {arity} values: {instruction}")
        if instruction.op != "cast" and tuple(types[v] for v in instruction.values) != instruction.read:
            raise ValueError(f"{instruction} of {', '.join(types[v].name for v in instruction.values)}")

    @property
    def kinds(self) -> tuple[OperandKind, ...]:
        """How each operand lies in memory."""
        return tuple(OPERAND_KINDS[name] for name in self.operands)

    @property
    def output_type(self) -> ElementType:
        return OUTPUTS[self.output]

    @property
    def result_type(self) -> ElementType:
        """Of the last value."""
        return self.instructions[-1].made if self.instructions else FLOAT32

    @property
    def is_quantized(self) -> bool:
        """Whether float32 is stored as 8-bit integers."""
        return self.output in QUANTIZED_LIMITS and self.result_type is FLOAT32

    @property
    def has_bytes(self) -> bool:
        """Whether it quantizes, or reads 8-bit integers."""
        return self.is_quantized or any(kind.type.name in QUANTIZED_LIMITS for kind in self.kinds)

    @property
    def name(self) -> str:
        """What it does, for symbol names: ``add_relu``. What is only read, or turned to float32, is left out."""
        computing = (i for i in self.instructions if i.op != "load" and (i.op, i.type) != ("cast", "f32"))
        words = (i.op if i.type == "f32" else f"{i.op}_{i.type}" for i in computing)
        made = "_".join(words) or "plain"
        return f"{made}_{self.output}" if self.output_type is not self.result_type else made

    @property
    def numbers(self) -> int:
        """How many numbers the kernel is given."""
        return len(self.number_types)

    @property
    def number_types(self) -> tuple[ElementType, ...]:
        """The type of each."""
        return tuple(ELEMENT_TYPES[i.type] for i in self.instructions for _ in range(i.numbers))

    def emit(
        self,
        s: Simd,
        accumulator: Value,
        load: Callable[[int], Value],
        numbers: Sequence[Value],
        least_by_store: bool = False,
    ) -> Value:
        """What is stored: of a quantized output the last value clamped, else the last value itself.

        Args:
            s: where it is emitted.
            accumulator: value 0, float32.
            load: gives the vector of an operand, in the type of its kind.
            numbers: the kernel's.
            least_by_store: whether what is below the least number of a quantized output is stored as that.
        """
        values, types, rest = [accumulator], [FLOAT32], iter(numbers)
        for instruction in self.instructions:
            type = ELEMENT_TYPES[instruction.type]
            if instruction.op == "load":
                values.append(convert(s, load(instruction.operand), self.kinds[instruction.operand].type, type))
            elif instruction.op == "cast":
                values.append(convert(s, values[instruction.values[0]], types[instruction.values[0]], type))
            else:
                taken = [next(rest) for _ in range(instruction.numbers)]
                arguments = [*(values[v] for v in instruction.values), *taken]
                values.append(_emit(s, instruction.op, type, arguments))
            types.append(instruction.made)
        last, value = self.instructions[-1].op if self.instructions else "", values[-1]
        if not self.is_quantized or last == "saturate":
            return value
        low, high = QUANTIZED_LIMITS[self.output]
        if low != self.output_type.limits[0] or not least_by_store:
            value = s.at_least(value, s.splat(low))
        return value if last == "at_most" else s.at_most(value, s.splat(high))


def _emit(s: Simd, op: str, type: ElementType, arguments: Sequence[Value]) -> Value:
    if type is FLOAT32 and op in OPS:
        return OPS[op][2](s, *arguments)
    return TYPED_OPS[op].emit(Lanes(s, type), *arguments)


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
    "at_most": (1, 1, Simd.at_most),
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
