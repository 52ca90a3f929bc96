"""A vocabulary over vectors of float64, as exact as float32 results need it: exponentials, logarithms, angles, Γ."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn_kernels.simd import F64, I64, Simd, Value

__all__ = ["Wide"]

# Adding and subtracting 1.5 · 2^52 rounds a float64 to an integer, which then stands in its low bits.
_MAGIC = 1.5 * 2.0**52
_MAGIC_BITS = 0x4338000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_LN2 = math.log(2.0)

# π / 2 in three parts. With fused multiply-adds all products are exact; without, the first two are up to 2^20 · π / 2,
# W. Cody and W. Waite, Software Manual for the Elementary Functions, 1980; the parts are those of fdlibm.
_HALF_PI_FUSED = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33)
_HALF_PI_SPLIT = (1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21)

# Fractions of a turn that 2^(k - 23) radians are, from k = _FIRST_TURN on: 64 bits of each, and the next 32 bits.
_FIRST_TURN = 20
_INVERSE_PI = 0x517CC1B727220A94FE13ABE8FA9A6EE06DB14ACC9E21C820FF28B1D5EF5DE2B0
_INVERSE_PI_BITS = 256


def _turns(k: int) -> int:
    """96 bits of the fraction of 2^(k - 23) / (2 π)."""
    shifted = _INVERSE_PI << (k - 23 - 1) if k > 23 else _INVERSE_PI >> (24 - k)
    return shifted % (1 << _INVERSE_PI_BITS) >> (_INVERSE_PI_BITS - 96)


_TURNS = tuple(_turns(k) >> 32 for k in range(_FIRST_TURN, 128))
_MORE_TURNS = tuple(_turns(k) % (1 << 32) for k in range(_FIRST_TURN, 128))

# atan(x) = x P(x²) on |x| <= tan(π / 8), and others: fitted by weighted least squares, off by less than 3e-9.
_ATAN = (
    *(0.0470868510584619, -0.08456883984549945, 0.11040623320790141, -0.14281600780533196, 0.19999884343524857),
    *(-0.33333332104853003, 0.9999999999785742),
)
# C. Lanczos, A precision approximation of the gamma function, 1964; g = 7, nine terms, by P. Godfrey.
_LANCZOS_G = 7.0
_LANCZOS = (
    *(0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059),
    *(12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7),
)


class Wide:
    """The vocabulary on vectors of float64."""

    def __init__(self, s: Simd) -> None:
        self.s, self.b = s, s.builder
        self.vector, self.int_vector = s.vector_of(F64), s.vector_of(I64)

    def number(self, value: float) -> Value:
        return self.vector([value] * self.s.lanes)

    def bits(self, value: int) -> Value:
        return self.int_vector([value] * self.s.lanes)

    def add(self, a: Value, b: Value | float) -> Value:
        return self.b.fadd(a, self._operand(b))

    def sub(self, a: Value | float, b: Value | float) -> Value:
        return self.b.fsub(self._operand(a), self._operand(b))

    def mul(self, a: Value, b: Value | float) -> Value:
        return self.b.fmul(a, self._operand(b))

    def div(self, a: Value | float, b: Value | float) -> Value:
        return self.b.fdiv(self._operand(a), self._operand(b))

    def fma(self, a: Value, b: Value | float, c: Value | float) -> Value:
        return self.s.fma(a, self._operand(b), self._operand(c))

    def _operand(self, value: Value | float) -> Value:
        return self.number(value) if isinstance(value, (int, float)) else value

    def fabs(self, a: Value) -> Value:
        return self.s.unary("fabs", a)

    def sqrt(self, a: Value) -> Value:
        return self.s.unary("sqrt", a)

    def copysign(self, a: Value, b: Value) -> Value:
        return self.s.binary("copysign", a, b)

    def where(self, comparison: str, a: Value, b: Value | float, then: Value | float, other: Value | float) -> Value:
        """Lanewise ``then if a comparison b else other``; `other` where one is NaN."""
        mask = self.b.fcmp_ordered(comparison, a, self._operand(b))
        return self.b.select(mask, self._operand(then), self._operand(other))

    def clamped(self, a: Value, low: float, high: float) -> Value:
        """Between these bounds; a NaN stays."""
        raised = self.where("<", a, low, low, a)
        return self.where(">", raised, high, high, raised)

    def horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        result = self.number(coefficients[0])
        for c in coefficients[1:]:
            result = self.fma(result, x, c)
        return result

    def rint(self, x: Value) -> tuple[Value, Value]:
        """The nearest integer to x, of less than 2^51, and bits whose low ones are that integer's."""
        shifted = self.add(x, _MAGIC)
        return self.sub(shifted, _MAGIC), self.b.bitcast(shifted, self.int_vector)

    def exp2(self, x: Value, degree: int = 11) -> Value:
        """2^x as far as float32 sees it: for -1000 <= x <= 1000, and as there beyond."""
        inside = self.clamped(x, -1000.0, 1000.0)
        n, bits = self.rint(inside)
        z = self.mul(self.sub(inside, n), _LN2)
        mantissa = self.horner(z, [1.0 / math.factorial(k) for k in range(degree, -1, -1)])
        power = self.b.shl(self.b.add(bits, self.bits(1023)), self.bits(52))
        return self.mul(mantissa, self.b.bitcast(power, self.vector))

    def exp(self, x: Value) -> Value:
        return self.exp2(self.mul(x, 1.0 / _LN2))

    def log(self, x: Value, base: float = math.e, degree: int = 17) -> Value:
        """Logarithm of a normal number; -inf of 0, NaN of what is below."""
        b = self.b
        bits = b.bitcast(x, self.int_vector)
        above = b.sub(bits, self.bits(_SQRT_HALF_BITS))
        mantissa = b.bitcast(b.sub(bits, b.and_(above, self.bits(-(1 << 52)))), self.vector)
        exponent = b.add(b.ashr(above, self.bits(52)), self.bits(_MAGIC_BITS))
        e = self.sub(b.bitcast(exponent, self.vector), _MAGIC)
        f = self.div(self.sub(mantissa, 1.0), self.add(mantissa, 1.0))
        series = self.horner(self.mul(f, f), [1.0 / k for k in range(degree, 0, -2)])
        scale = 1.0 / math.log(base)
        result = self.fma(e, _LN2 * scale, self.mul(self.mul(f, 2.0 * scale), series))
        result = self.where("==", x, math.inf, x, result)
        result = self.where("==", x, 0.0, -math.inf, result)
        return b.select(b.fcmp_unordered("<", x, self.number(0.0)), self.number(math.nan), result)

    def sin_cos(self, x: Value) -> tuple[Value, Value]:
        """Of a float32 number."""
        builder, is_fused = self.b, self.s.fuses
        n, bits = self.rint(self.mul(x, 2.0 / math.pi))
        near = x
        for part in _HALF_PI_FUSED if is_fused else _HALF_PI_SPLIT:
            near = self.fma(n, -part, near)
        is_far = builder.fcmp_ordered(">=", self.fabs(x), self.number(2.0 ** (50 if is_fused else _FIRST_TURN)))
        before = builder.block
        with builder.if_then(self.s.any(is_far)):
            far, far_bits = self._of_many_turns(x)
            far, far_bits = builder.select(is_far, far, near), builder.select(is_far, far_bits, bits)
            inside = builder.block
        r, quarters = builder.phi(self.vector), builder.phi(self.int_vector)
        for phi, outer, inner in ((r, near, far), (quarters, bits, far_bits)):
            phi.add_incoming(outer, before)
            phi.add_incoming(inner, inside)
        return self._quadrant(r, quarters)

    def _of_many_turns(self, x: Value) -> tuple[Value, Value]:
        """What is left of a large float32 number by quarters of a turn, and bits whose low ones are theirs.

        It is an integer of 24 bits times a power of two, and what those make of a turn is in a table: M. Payne and
        R. Hanek, Radian reduction for trigonometric functions, 1983.
        """
        b, bits = self.b, self.b.bitcast(x, self.int_vector)
        exponent = b.and_(b.lshr(bits, self.bits(52)), self.bits(0x7FF))
        index = b.sub(exponent, self.bits(1023 + _FIRST_TURN))
        is_known = b.icmp_unsigned("<", index, self.bits(len(_TURNS)))
        index = b.select(is_known, index, self.bits(0))
        high, low = self.s.gather(_TURNS, "turns", index), self.s.gather(_MORE_TURNS, "more_turns", index)
        whole = b.and_(b.lshr(bits, self.bits(29)), self.bits((1 << 23) - 1))
        whole = b.or_(whole, self.bits(1 << 23))
        turns = b.add(b.mul(whole, high), b.lshr(b.mul(whole, low), self.bits(32)))
        quarters = b.lshr(b.add(turns, self.bits(1 << 61)), self.bits(62))
        rest = b.sitofp(b.sub(turns, b.shl(quarters, self.bits(62))), self.vector)
        rest = self.mul(rest, math.pi / 2.0**63)
        negative = b.icmp_signed("<", bits, self.bits(0))
        rest = b.select(negative, self.sub(0.0, rest), rest)
        rest = self.where("==", self.fabs(x), math.inf, math.nan, rest)
        return rest, b.select(negative, b.sub(self.bits(0), quarters), quarters)

    def sin_cos_pi(self, x: Value) -> tuple[Value, Value]:
        """Of π x, exactly 0 where they are."""
        n, bits = self.rint(self.mul(x, 2.0))
        return self._quadrant(self.mul(self.fma(n, -0.5, x), math.pi), bits)

    def _quadrant(self, r: Value, bits: Value) -> tuple[Value, Value]:
        """Sine and cosine of r plus so many quarters of a turn, |r| <= π / 4."""
        b, square = self.b, self.mul(r, r)
        odd = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(6, -1, -1)]
        even = [(-1.0) ** k / math.factorial(2 * k) for k in range(6, -1, -1)]
        sine, cosine = self.mul(r, self.horner(square, odd)), self.horner(square, even)
        swapped = b.icmp_unsigned("!=", b.and_(bits, self.bits(1)), self.bits(0))
        made = b.select(swapped, cosine, sine), b.select(swapped, sine, cosine)
        signs = bits, b.add(bits, self.bits(1))
        flips = [b.shl(b.and_(sign, self.bits(2)), self.bits(62)) for sign in signs]
        first, second = (
            b.bitcast(b.xor(b.bitcast(value, self.int_vector), flip), self.vector)
            for value, flip in zip(made, flips, strict=True)
        )
        return first, second

    def atan2(self, y: Value, x: Value) -> Value:
        ax, ay = self.fabs(x), self.fabs(y)
        is_steep = self.b.fcmp_ordered(">", ay, ax)
        low, high = self.b.select(is_steep, ax, ay), self.b.select(is_steep, ay, ax)
        ratio = self.where("==", low, high, 1.0, self.div(low, high))
        ratio = self.where("==", high, 0.0, 0.0, ratio)
        is_far = self.b.fcmp_ordered(">", ratio, self.number(math.tan(math.pi / 8)))
        turned = self.div(self.sub(ratio, 1.0), self.add(ratio, 1.0))
        t = self.b.select(is_far, turned, ratio)
        angle = self.mul(t, self.horner(self.mul(t, t), _ATAN))
        angle = self.b.select(is_far, self.add(angle, math.pi / 4), angle)
        angle = self.b.select(is_steep, self.sub(math.pi / 2, angle), angle)
        negative = self.b.icmp_signed("<", self.b.bitcast(x, self.int_vector), self.bits(0))
        angle = self.b.select(negative, self.sub(math.pi, angle), angle)
        nan = self.b.fcmp_unordered("uno", x, y)
        return self.b.select(nan, self.add(x, y), self.copysign(angle, y))

    def log_gamma(self, x: Value) -> Value:
        """log Γ(x), x >= 1/2."""
        y, t = self._lanczos(x)
        return self.add(self.fma(self.sub(x, 0.5), self.log(t), self.sub(0.0, t)), self.log(y))

    def _lanczos(self, x: Value) -> tuple[Value, Value]:
        z = self.sub(x, 1.0)
        total = self.number(_LANCZOS[0])
        for i, c in enumerate(_LANCZOS[1:], 1):
            total = self.add(total, self.div(c, self.add(z, float(i))))
        return self.mul(total, math.sqrt(2 * math.pi)), self.add(z, _LANCZOS_G + 0.5)

    def gamma(self, x: Value) -> Value:
        """Γ(x), x >= 1/2; its logarithm would lose digits."""
        y, t = self._lanczos(x)
        exponent = self.fma(self.sub(x, 0.5), self.log(t, 2.0), self.mul(t, -1.0 / _LN2))
        return self.mul(y, self.exp2(exponent))
