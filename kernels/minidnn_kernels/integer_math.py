"""Division, shifts and powers of integer vectors, as NumPy has them: nothing traps, everything wraps."""

from __future__ import annotations

from minidnn_kernels.conversions import convert
from minidnn_kernels.element_type import FLOAT32, FLOAT64
from minidnn_kernels.lanes import Lanes
from minidnn_kernels.simd import Value, const

__all__ = ["floor_divide", "gcd", "lcm", "modulo", "power", "remainder", "shift", "truncate_divide"]


def truncate_divide(v: Lanes, a: Value, b: Value) -> Value:
    """Quotients without their fractions; 0 where the divisor is 0.

    CPUs have no division of integer vectors. That of floats with twice the digits gives the quotient: where it is no
    whole number, it is further away from one than rounding moves it.
    """
    is_zero = v.compare("==", b, v.zero)
    if v.type.bytes < 8:
        wide = FLOAT32 if v.type.bytes < 4 else FLOAT64
        quotient = v.b.fdiv(convert(v.s, a, v.type, wide), convert(v.s, b, v.type, wide))
        made = convert(v.s, quotient, wide, v.type)
    else:
        divisor = v.select(is_zero, v.number(1), b)
        if v.type.is_signed:
            divisor = v.select(v.compare("==", b, v.number(-1)), v.number(1), divisor)
        made = (v.b.sdiv if v.type.is_signed else v.b.udiv)(a, divisor)
    if v.type.is_signed:
        # The least integer has no negative.
        made = v.select(v.compare("==", b, v.number(-1)), v.negative(a), made)
    return v.select(is_zero, v.zero, made)


def remainder(v: Lanes, a: Value, b: Value) -> Value:
    """What truncating division leaves, with the sign of the dividend; 0 where the divisor is 0."""
    rest = v.sub(a, v.mul(truncate_divide(v, a, b), b))
    return v.select(v.compare("==", b, v.zero), v.zero, rest)


def _is_below(v: Lanes, rest: Value, b: Value) -> Value:
    """Whether the floor of a quotient is below the number without its fraction."""
    signs = v.b.xor(v.compare("<", rest, v.zero), v.compare("<", b, v.zero))
    return v.b.and_(v.compare("!=", rest, v.zero), signs)


def modulo(v: Lanes, a: Value, b: Value) -> Value:
    """The remainder with the sign of the divisor."""
    rest = remainder(v, a, b)
    return v.select(_is_below(v, rest, b), v.add(rest, b), rest) if v.type.is_signed else rest


def floor_divide(v: Lanes, a: Value, b: Value) -> Value:
    """The floor of quotients; 0 where the divisor is 0."""
    quotient = truncate_divide(v, a, b)
    if not v.type.is_signed:
        return quotient
    rest = v.sub(a, v.mul(quotient, b))
    below = v.b.and_(_is_below(v, rest, b), v.compare("!=", b, v.zero))
    return v.select(below, v.sub(quotient, v.number(1)), quotient)


def shift(v: Lanes, a: Value, count: Value, method: str) -> Value:
    """By more bits than there are, nothing but the sign is left; negative counts are large ones."""
    bits = 8 * v.type.bytes
    is_inside = v.b.icmp_unsigned("<", count, v.number(bits))
    shifted = getattr(v.b, method)(a, v.select(is_inside, count, v.zero))
    rest = v.b.ashr(a, v.number(bits - 1)) if method == "ashr" else v.zero
    return v.select(is_inside, shifted, rest)


def power(v: Lanes, x: Value, y: Value) -> Value:
    """x^y for y >= 0, by squaring."""
    with v.s.loop(const(0), const(8 * v.type.bytes), 1, [v.number(1), x, y]) as loop:
        made, square, rest = loop.values
        is_odd = v.compare("!=", v.b.and_(rest, v.number(1)), v.zero)
        loop.next = [v.select(is_odd, v.mul(made, square), made), v.mul(square, square), v.b.lshr(rest, v.number(1))]
    return loop.results[0]


def gcd(v: Lanes, a: Value, b: Value) -> Value:
    """The greatest common divisor of the numbers without their signs, by Euclid."""
    unsigned = v.unsigned()
    a, b = _size(v, a), _size(v, b)

    def step(values: list[Value]) -> list[Value]:
        high, low = values
        is_done = unsigned.compare("==", low, v.zero)
        rest = remainder(unsigned, high, low)
        return [v.select(is_done, high, low), v.select(is_done, v.zero, rest)]

    return v.s.repeat_while(lambda values: unsigned.compare("!=", values[1], v.zero), step, [a, b])[0]


def lcm(v: Lanes, a: Value, b: Value) -> Value:
    """The least common multiple; 0 of 0."""
    divisor = gcd(v, a, b)
    return v.mul(truncate_divide(v.unsigned(), _size(v, a), divisor), _size(v, b))


def _size(v: Lanes, x: Value) -> Value:
    return v.select(v.compare("<", x, v.zero), v.negative(x), x) if v.type.is_signed else x
