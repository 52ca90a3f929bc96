"""Elementwise operations on elements of any type, with NumPy's results: integers wrap, NaN compares as IEEE has it.

One row an operation. Those that exist for float32 alone are in `minidnn_kernels.epilogue`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidnn_kernels.conversions import constant
from minidnn_kernels.element_type import BOOL, FLOAT16, FLOAT32, ElementType
from minidnn_kernels.integer_math import (
    floor_divide,
    gcd,
    lcm,
    modulo,
    power,
    remainder,
    shift,
    truncate_divide,
)
from minidnn_kernels.lanes import Lanes
from minidnn_kernels.simd import Value
from minidnn_kernels.wide_math import FUNCTIONS, fmod_parts

__all__ = ["TYPED_OPS", "TypedOp"]

Emit = Callable[..., Value]

_FLOATS, _NUMBERS, _ALL = "f", "iuf", "biuf"


@dataclass(frozen=True)
class TypedOp:
    """An operation.

    Args:
        values: how many it takes, of the instruction's type.
        numbers: and how many of the kernel's numbers behind them.
        emit: ``(lanes, *values, *numbers)``.
        kinds: of the types that it has, by NumPy's letters; ``s`` stands for float32 alone.
        is_predicate: whether it gives bools.
        conditions: how many of its values, the first ones, are bools whatever the type.
    """

    values: int
    numbers: int
    emit: Emit
    kinds: str
    is_predicate: bool = False
    conditions: int = 0

    def has(self, type: ElementType) -> bool:
        """Whether there is one for that type; what is float16 is computed in float32."""
        return type is not FLOAT16 and (type.dtype.kind in self.kinds or (type is FLOAT32 and "s" in self.kinds))


def _absolute(v: Lanes, x: Value) -> Value:
    if v.type.is_float:
        return v.s.unary("fabs", x)
    return v.select(v.compare("<", x, v.zero), v.negative(x), x) if v.type.is_signed else x


def _sign(v: Lanes, x: Value) -> Value:
    if v.type.is_float:
        # -0 + 0 is +0; a NaN stays one.
        rest = v.add(x, v.zero)
        negative = v.select(v.compare("<", x, v.zero), v.number(-1), rest)
        return v.select(v.compare(">", x, v.zero), v.number(1), negative)
    positive = v.select(v.compare("!=", x, v.zero), v.number(1), v.zero)
    return v.select(v.compare("<", x, v.zero), v.number(-1), positive) if v.type.is_signed else positive


def _rounding(intrinsic: str) -> Emit:
    return lambda v, x: v.s.unary(intrinsic, x) if v.type.is_float else x


def _round(v: Lanes, x: Value) -> Value:
    """Halves away from zero."""
    if not v.type.is_float:
        return x
    size, whole = v.s.unary("fabs", x), 2.0**52
    below_half = math.nextafter(0.5, 0.0)
    rounded = v.s.unary("floor", v.add(size, v.number(below_half)))
    return v.s.binary("copysign", v.select(v.compare("<", size, v.number(whole)), rounded, size), x)


def _maximum(v: Lanes, a: Value, b: Value) -> Value:
    if v.type is BOOL:
        return v.b.or_(a, b)
    return v.s.binary("maximum", a, b) if v.type.is_float else v.select(v.compare(">", a, b), a, b)


def _minimum(v: Lanes, a: Value, b: Value) -> Value:
    if v.type is BOOL:
        return v.b.and_(a, b)
    return v.s.binary("minimum", a, b) if v.type.is_float else v.select(v.compare("<", a, b), a, b)


def _passing_nan(bound: Emit) -> Emit:
    """Where one operand is NaN, the other one."""

    def emit(v: Lanes, a: Value, b: Value) -> Value:
        if not v.type.is_float:
            return bound(v, a, b)
        other = v.select(v.is_nan(b), a, bound(v, a, b))
        return v.select(v.is_nan(a), b, other)

    return emit


def _clip(v: Lanes, x: Value, low: Value, high: Value) -> Value:
    raised = v.select(v.compare("<", x, low), low, x)
    return v.select(v.compare(">", raised, high), high, raised)


def _fmod(v: Lanes, a: Value, b: Value) -> Value:
    if not v.type.is_float:
        return remainder(v, a, b)
    rest, _ = fmod_parts(v.s, a, b)
    return v.s.binary("copysign", v.b.fptrunc(rest, v.s.vector), a)


def _mod(v: Lanes, a: Value, b: Value) -> Value:
    if not v.type.is_float:
        return modulo(v, a, b)
    rest = _fmod(v, a, b)
    moved = v.select(_differ_in_sign(v, rest, b), v.add(rest, b), rest)
    return v.select(v.compare("==", rest, v.zero), v.s.binary("copysign", v.zero, b), moved)


def _differ_in_sign(v: Lanes, rest: Value, b: Value) -> Value:
    return v.b.xor(v.compare("<", rest, v.zero), v.compare("<", b, v.zero))


def _floor_divide(v: Lanes, a: Value, b: Value) -> Value:
    if not v.type.is_float:
        return floor_divide(v, a, b)
    s = v.s
    rest, whole = fmod_parts(s, a, b)
    quotient, zero = v.b.fdiv(a, b), s.zero(whole)
    is_below = v.b.and_(
        v.b.fcmp_ordered("!=", rest, zero), v.b.xor(v.compare("<", a, v.zero), v.compare("<", b, v.zero))
    )
    away = v.b.select(is_below, whole.type([1.0] * s.lanes), zero)
    size = v.b.fptrunc(v.b.fadd(whole, away), s.vector)
    made = s.binary("copysign", size, quotient)
    # Of what is infinite, or divided by 0, NumPy gives the quotient, or NaN where the remainder is one.
    made = v.select(v.b.fcmp_unordered("uno", rest, rest), v.number(math.nan), made)
    return v.select(v.compare("==", b, v.zero), quotient, made)


def _spacing(v: Lanes, x: Value) -> Value:
    """To the next float32 away from zero: a power of two that the exponent says."""
    s, b = v.s, v.b
    size = s.as_int(s.unary("fabs", x))
    exponent = b.lshr(size, s.splat_int(23))
    exponent = b.select(b.icmp_signed("<", exponent, s.splat_int(1)), s.splat_int(1), exponent)
    is_normal = b.icmp_signed(">", exponent, s.splat_int(23))
    normal = b.shl(b.sub(exponent, s.splat_int(23)), s.splat_int(23))
    # A shift by more than there are bits has no result.
    place = b.and_(b.sub(exponent, s.splat_int(1)), s.splat_int(31))
    made = s.as_float(b.select(is_normal, normal, b.shl(s.splat_int(1), place)))
    made = s.binary("copysign", made, x)
    is_finite = b.icmp_signed("<", size, s.splat_int(0x7F800000))
    return v.select(is_finite, made, v.number(math.nan))


def _heaviside(v: Lanes, x: Value, at_zero: Value) -> Value:
    made = v.select(v.compare(">", x, v.zero), v.number(1), v.zero)
    made = v.select(v.compare("==", x, v.zero), at_zero, made)
    return v.select(v.is_nan(x), x, made)


def _isclose(equal_nan: bool) -> Emit:
    def emit(v: Lanes, a: Value, b: Value, relative: Value, absolute: Value) -> Value:
        difference, size = v.s.unary("fabs", v.sub(a, b)), v.s.unary("fabs", b)
        near = v.compare("<=", difference, v.add(absolute, v.mul(relative, size)))
        near = v.b.and_(near, v.compare("<", size, v.number(math.inf)))
        near = v.b.or_(near, v.compare("==", a, b))
        return v.b.or_(near, v.b.and_(v.is_nan(a), v.is_nan(b))) if equal_nan else near

    return emit


def _nan_to_num(v: Lanes, x: Value, nan: Value, highest: Value, lowest: Value) -> Value:
    if not v.type.is_float:
        return x
    made = v.select(v.compare("==", x, v.number(math.inf)), highest, x)
    made = v.select(v.compare("==", x, v.number(-math.inf)), lowest, made)
    return v.select(v.is_nan(x), nan, made)


def _smooth_l1(v: Lanes, x: Value, scale: Value, bound: Value, shift: Value) -> Value:
    size, scaled = v.s.unary("fabs", x), v.mul(scale, x)
    near = v.mul(v.number(0.5), v.mul(scaled, scaled))
    return v.select(v.compare("<", size, bound), near, v.sub(size, shift))


def _number_class(of_float: Callable[[Lanes, Value], Value], of_integer: bool) -> Emit:
    def emit(v: Lanes, x: Value) -> Value:
        return of_float(v, x) if v.type.is_float else constant(v.s, BOOL, of_integer)

    return emit


def _power(v: Lanes, x: Value, y: Value) -> Value:
    return power(v, x, y) if v.type.is_integer else FUNCTIONS["power"](v.s, x, y)


def _bits(method: str) -> Emit:
    return lambda v, a, b: getattr(v.b, method)(a, b)


def _comparison(operator: str) -> Emit:
    return lambda v, a, b: v.compare(operator, a, b)


def _flipped(emit: Emit) -> Emit:
    """The operation with its second operand first."""
    return lambda v, a, b: emit(v, b, a)


def _f32(name: str) -> Emit:
    return lambda v, *values: FUNCTIONS[name](v.s, *values)


_UNARY: dict[str, TypedOp] = {
    "cast": TypedOp(1, 0, lambda v, x: x, _ALL),
    "absolute": TypedOp(1, 0, _absolute, _ALL),
    "sign": TypedOp(1, 0, _sign, _NUMBERS),
    "negative": TypedOp(1, 0, Lanes.negative, _NUMBERS),
    "square": TypedOp(1, 0, lambda v, x: v.mul(x, x), _NUMBERS),
    "cube": TypedOp(1, 0, lambda v, x: v.mul(v.mul(x, x), x), _NUMBERS),
    "fourth_power": TypedOp(1, 0, lambda v, x: v.mul(v.mul(x, x), v.mul(x, x)), _NUMBERS),
    "sqrt": TypedOp(1, 0, lambda v, x: v.s.unary("sqrt", x), _FLOATS),
    "rsqrt": TypedOp(1, 0, lambda v, x: v.b.fdiv(v.number(1), v.s.unary("sqrt", x)), _FLOATS),
    "reciprocal": TypedOp(1, 0, lambda v, x: v.b.fdiv(v.number(1), x), _FLOATS),
    "relu": TypedOp(1, 0, lambda v, x: x if v.type is BOOL else _maximum(v, x, v.zero), _ALL),
    **{name: TypedOp(1, 0, _rounding(name), _ALL) for name in ("floor", "ceil", "trunc", "rint")},
    "round": TypedOp(1, 0, _round, _ALL),
    "spacing": TypedOp(1, 0, _spacing, "s"),
    "clip": TypedOp(1, 2, _clip, _NUMBERS),
    "nan_to_num": TypedOp(1, 3, _nan_to_num, _ALL),
    "smooth_l1": TypedOp(1, 3, _smooth_l1, _FLOATS),
    "bitwise_not": TypedOp(1, 0, lambda v, x: v.b.not_(x), "biu"),
    "logical_not": TypedOp(1, 0, lambda v, x: v.b.not_(x), "b", True),
    "isnan": TypedOp(1, 0, _number_class(Lanes.is_nan, False), _ALL, True),
    "isinf": TypedOp(
        1, 0, _number_class(lambda v, x: v.compare("==", v.size(x), v.number(math.inf)), False), _ALL, True
    ),
    "isposinf": TypedOp(1, 0, _number_class(lambda v, x: v.compare("==", x, v.number(math.inf)), False), _ALL, True),
    "isneginf": TypedOp(1, 0, _number_class(lambda v, x: v.compare("==", x, v.number(-math.inf)), False), _ALL, True),
    "isfinite": TypedOp(
        1, 0, _number_class(lambda v, x: v.compare("<", v.size(x), v.number(math.inf)), True), _ALL, True
    ),
    **{
        name: TypedOp(1, 0, _f32(name), "s")
        for name in (
            *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh", "arctanh"),
            *("log2", "log10", "cbrt", "rcbrt", "erfinv", "gamma", "gammaln", "digamma", "i0"),
        )
    },
}

_BINARY: dict[str, TypedOp] = {
    "add": TypedOp(2, 0, Lanes.add, _ALL),
    "subtract": TypedOp(2, 0, Lanes.sub, _NUMBERS),
    "multiply": TypedOp(2, 0, Lanes.mul, _ALL),
    "divide": TypedOp(2, 0, lambda v, a, b: v.b.fdiv(a, b), _FLOATS),
    "maximum": TypedOp(2, 0, _maximum, _ALL),
    "minimum": TypedOp(2, 0, _minimum, _ALL),
    "fmax": TypedOp(2, 0, _passing_nan(_maximum), _ALL),
    "fmin": TypedOp(2, 0, _passing_nan(_minimum), _ALL),
    "floor_divide": TypedOp(2, 0, _floor_divide, "ius"),
    "truncate_divide": TypedOp(2, 0, truncate_divide, "iu"),
    "mod": TypedOp(2, 0, _mod, "ius"),
    "fmod": TypedOp(2, 0, _fmod, "ius"),
    "power": TypedOp(2, 0, _power, "us"),
    "copysign": TypedOp(2, 0, lambda v, a, b: v.s.binary("copysign", a, b), _FLOATS),
    "heaviside": TypedOp(2, 0, _heaviside, _FLOATS),
    **{name: TypedOp(2, 0, _f32(name), "s") for name in ("arctan2", "hypot", "logaddexp", "ldexp")},
    "bitwise_and": TypedOp(2, 0, _bits("and_"), "biu"),
    "bitwise_or": TypedOp(2, 0, _bits("or_"), "biu"),
    "bitwise_xor": TypedOp(2, 0, _bits("xor"), "biu"),
    "left_shift": TypedOp(2, 0, lambda v, a, b: shift(v, a, b, "shl"), "iu"),
    "right_shift": TypedOp(2, 0, lambda v, a, b: shift(v, a, b, "ashr" if v.type.is_signed else "lshr"), "iu"),
    "gcd": TypedOp(2, 0, gcd, "iu"),
    "lcm": TypedOp(2, 0, lcm, "iu"),
    "equal": TypedOp(2, 0, _comparison("=="), _ALL, True),
    "not_equal": TypedOp(2, 0, _comparison("!="), _ALL, True),
    "less": TypedOp(2, 0, _comparison("<"), _ALL, True),
    "less_equal": TypedOp(2, 0, _comparison("<="), _ALL, True),
    "greater": TypedOp(2, 0, _comparison(">"), _ALL, True),
    "greater_equal": TypedOp(2, 0, _comparison(">="), _ALL, True),
    "logical_and": TypedOp(2, 0, _bits("and_"), "b", True),
    "logical_or": TypedOp(2, 0, _bits("or_"), "b", True),
    "logical_xor": TypedOp(2, 0, _bits("xor"), "b", True),
}

# Powers of integers by a number have no negative exponents.
_SCALAR_KINDS = {"power": "ius"}

TYPED_OPS: dict[str, TypedOp] = {
    **_UNARY,
    **_BINARY,
    **{
        f"{name}_scalar": TypedOp(1, 1, row.emit, _SCALAR_KINDS.get(name, row.kinds), row.is_predicate)
        for name, row in _BINARY.items()
    },
    **{
        f"r{name}_scalar": TypedOp(1, 1, _flipped(row.emit), row.kinds, row.is_predicate)
        for name, row in _BINARY.items()
        if not row.is_predicate
    },
    "where": TypedOp(3, 0, lambda v, condition, a, b: v.select(condition, a, b), _ALL, conditions=1),
    "isclose": TypedOp(2, 2, _isclose(False), _FLOATS, True),
    "isclose_equal_nan": TypedOp(2, 2, _isclose(True), _FLOATS, True),
}
