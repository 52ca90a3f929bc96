"""Functions of float32 vectors that are computed in float64: nearly always the nearest float32.

Trigonometry, logarithms, powers, the gamma function and their kin: where polynomials in float32 would lose digits, and
what is too rare to be worth any. Arguments and results are float32; `vector_math` has what is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from minidnn_kernels.simd import F64, I64, Simd, Value

__all__ = ["FUNCTIONS", "fmod_parts"]

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
# erfinv(x) = x P(w - 2.5), w = -log(1 - x²) < 5; and x Q(sqrt(w) - 3) for larger ones. M. Giles, Approximating the
# erfinv function, 2010, has the form.
_ERFINV_NEAR = (
    *(1.3368341214794056e-10, 4.3634437869746215e-10, -1.1037705201059008e-08, 1.646795821358752e-08),
    *(4.797919423677604e-07, -3.4260708133017356e-06, -4.9990232115480874e-06, 0.00021826368835643455),
    *(-0.0012527045694970568, -0.0041773247384004845, 0.2466402756836801, 1.5014093517052804),
)
_ERFINV_FAR = (
    *(-3.1787171717759226e-05, 0.00016354562196566194, -0.0002743892887799201, -0.00012440181588230673),
    *(0.0014735354828891627, -0.0035649503534976187, 0.0056880799485751424, -0.0076431546642556905),
    *(0.009445262486159114, 1.0016752554869717, 2.832976802296276),
)
# I0(x) = e^x P(x) for 0 <= x <= 8, e^x Q(8 / x) / sqrt(x) above.
_I0_NEAR = (
    *(4.250795893610479e-15, -3.543847645265925e-13, 1.3845707324311142e-11, -3.377642458308064e-10),
    *(5.788885772163753e-09, -7.445640304590532e-08, 7.50873418954676e-07, -6.1358064836468686e-06),
    *(4.17243498449206e-05, -0.00024131292780581754, 0.0012063255176417596, -0.005258291557194768),
    *(0.019982372917418632, -0.06556857215862878, 0.18226069775763437, -0.41665605960459173),
    *(0.7499980278011522, -0.9999998493950484, 0.9999999979947516),
)
_I0_FAR = (
    *(-6.921059026211487e-06, 3.0476680318795528e-05, -5.4567901473226085e-05, 5.4167055732935084e-05),
    *(-3.0961175743448796e-05, 1.4380470754495054e-05, 8.347502025127683e-06, 5.739676565047838e-05),
    *(0.00043826995992585384, 0.006233473657890886, 0.398942280399275),
)
# C. Lanczos, A precision approximation of the gamma function, 1964; g = 7, nine terms, by P. Godfrey.
_LANCZOS_G = 7.0
_LANCZOS = (
    *(0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059),
    *(12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7),
)
# Of log(1 + t) and the like, below which the first terms of the series are all there is to see.
_SMALL = 1e-4


class _Wide:
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
        builder, is_fused = self.b, self.s.isa.fma
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


Emit = Callable[..., Value]


def _wide(function: Callable[..., Value]) -> Emit:
    """A function of float64 vectors on float32 ones."""

    def emit(s: Simd, *values: Value) -> Value:
        wide = _Wide(s)
        made = function(wide, *(s.builder.fpext(v, wide.vector) for v in values))
        return s.builder.fptrunc(made, s.vector)

    return emit


def _sin(w: _Wide, x: Value) -> Value:
    return w.where("==", x, 0.0, x, w.sin_cos(x)[0])


def _tan(w: _Wide, x: Value) -> Value:
    sine, cosine = w.sin_cos(x)
    return w.where("==", x, 0.0, x, w.div(sine, cosine))


def _leg(w: _Wide, x: Value) -> Value:
    """sqrt(1 - x²)."""
    return w.sqrt(w.mul(w.sub(1.0, x), w.add(x, 1.0)))


def _odd(
    near: Callable[[_Wide, Value], Value], far: Callable[[_Wide, Value], Value]
) -> Callable[[_Wide, Value], Value]:
    """An odd function: by its series' first terms near 0, by `far` of the size elsewhere."""

    def function(w: _Wide, x: Value) -> Value:
        size = w.fabs(x)
        return w.copysign(w.where("<", size, _SMALL, near(w, size), far(w, size)), x)

    return function


def _cubic(factor: float) -> Callable[[_Wide, Value], Value]:
    return lambda w, x: w.fma(w.mul(w.mul(x, x), x), factor, x)


def _sinh(w: _Wide, x: Value) -> Value:
    grown = w.exp(x)
    return w.mul(w.sub(grown, w.div(1.0, grown)), 0.5)


def _cosh(w: _Wide, x: Value) -> Value:
    grown = w.exp(w.fabs(x))
    return w.mul(w.add(grown, w.div(1.0, grown)), 0.5)


def _arcsinh(w: _Wide, x: Value) -> Value:
    return w.log(w.add(x, w.sqrt(w.fma(x, x, 1.0))))


def _arccosh(w: _Wide, x: Value) -> Value:
    made = w.log(w.add(x, w.sqrt(w.mul(w.sub(x, 1.0), w.add(x, 1.0)))))
    return w.where("<", x, 1.0, math.nan, made)


def _arctanh(w: _Wide, x: Value) -> Value:
    return w.mul(w.log(w.div(w.add(x, 1.0), w.sub(1.0, x))), 0.5)


def _cbrt(w: _Wide, x: Value) -> Value:
    size = w.fabs(x)
    root = w.exp2(w.mul(w.log(size, 2.0), 1.0 / 3.0))
    root = w.where("==", size, math.inf, size, root)
    return w.copysign(w.where("==", x, 0.0, x, root), x)


def _power(w: _Wide, x: Value, y: Value) -> Value:
    b, size = w.b, w.fabs(x)
    # Off by less than 1e-9 of the result: no more than that is seen of it.
    result = w.exp2(w.mul(w.log(size, 2.0, degree=13), y), degree=8)
    whole = w.s.unary("rint", y)
    half = w.mul(y, 0.5)
    is_whole = b.fcmp_ordered("==", whole, y)
    is_odd = b.and_(is_whole, b.fcmp_ordered("!=", w.s.unary("rint", half), half))
    signed = b.select(is_odd, w.copysign(result, x), result)
    infinite = b.fcmp_ordered("==", size, w.number(math.inf))
    allowed = b.or_(b.or_(is_whole, b.fcmp_unordered(">=", x, w.number(0.0))), infinite)
    signed = b.select(allowed, signed, w.number(math.nan))
    # Of -1, and of infinity, whatever the series makes.
    signed = b.select(
        b.and_(b.fcmp_ordered("==", x, w.number(-1.0)), b.fcmp_ordered("==", w.fabs(y), w.number(math.inf))),
        w.number(1.0),
        signed,
    )
    signed = w.where("==", x, 1.0, 1.0, signed)
    return w.where("==", y, 0.0, 1.0, signed)


def _hypot(w: _Wide, x: Value, y: Value) -> Value:
    length = w.sqrt(w.fma(x, x, w.mul(y, y)))
    length = w.where("==", w.fabs(x), math.inf, math.inf, length)
    return w.where("==", w.fabs(y), math.inf, math.inf, length)


def _logaddexp(w: _Wide, x: Value, y: Value) -> Value:
    high = w.where(">", y, x, y, x)
    small = w.exp(w.sub(0.0, w.fabs(w.sub(x, y))))
    near = w.fma(w.mul(small, small), -0.5, small)
    added = w.add(high, w.where("<", small, 1e-5, near, w.log(w.add(small, 1.0))))
    added = w.where("==", x, y, w.add(x, _LN2), added)
    return w.b.select(w.b.fcmp_unordered("uno", x, y), w.add(x, y), added)


def _erfinv(w: _Wide, x: Value) -> Value:
    size = w.log(w.mul(w.sub(1.0, x), w.add(x, 1.0)))
    size = w.sub(0.0, size)
    near = w.horner(w.sub(size, 2.5), _ERFINV_NEAR)
    far = w.horner(w.sub(w.sqrt(size), 3.0), _ERFINV_FAR)
    made = w.mul(x, w.where("<", size, 5.0, near, far))
    return w.where("==", w.fabs(x), 1.0, w.copysign(w.number(math.inf), x), made)


def _reflected(w: _Wide, x: Value) -> tuple[Value, Value]:
    """Whether Γ is taken at 1 - x, and where."""
    left = w.b.fcmp_ordered("<", x, w.number(0.5))
    return left, w.b.select(left, w.sub(1.0, x), x)


def _is_pole(w: _Wide, x: Value) -> Any:
    whole = w.b.fcmp_ordered("==", w.s.unary("floor", x), x)
    return w.b.and_(w.b.fcmp_ordered("<=", x, w.number(0.0)), whole)


def _gamma(w: _Wide, x: Value) -> Value:
    left, at = _reflected(w, w.clamped(x, -300.0, 150.0))
    made = w.gamma(at)
    sine, _ = w.sin_cos_pi(w.clamped(x, -300.0, 150.0))
    made = w.b.select(left, w.div(math.pi, w.mul(sine, made)), made)
    made = w.where(">=", x, 150.0, math.inf, made)
    return w.b.select(_is_pole(w, x), w.number(math.nan), made)


def _gammaln(w: _Wide, x: Value) -> Value:
    inside = w.clamped(x, -(2.0**50), 1e300)
    left, at = _reflected(w, inside)
    made = w.log_gamma(at)
    sine, _ = w.sin_cos_pi(inside)
    reflected = w.sub(w.log(w.div(math.pi, w.fabs(sine))), made)
    made = w.b.select(left, reflected, made)
    made = w.where("==", w.fabs(x), math.inf, math.inf, made)
    return w.b.select(_is_pole(w, x), w.number(math.inf), made)


def _digamma(w: _Wide, x: Value) -> Value:
    # M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 6.3.5, 6.3.7 and 6.3.18.
    left, y = _reflected(w, x)
    sine, cosine = w.sin_cos_pi(w.clamped(x, -(2.0**50), 2.0**50))
    result = w.b.select(left, w.div(w.mul(cosine, -math.pi), sine), w.number(0.0))
    for _ in range(8):
        small = w.b.fcmp_ordered("<", y, w.number(8.0))
        result = w.sub(result, w.b.select(small, w.div(1.0, y), w.number(0.0)))
        y = w.b.select(small, w.add(y, 1.0), y)
    square = w.div(1.0, w.mul(y, y))
    series = w.mul(square, w.horner(square, (1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)))
    result = w.sub(w.sub(w.add(result, w.log(y)), w.div(0.5, y)), series)
    return w.b.select(_is_pole(w, x), w.number(math.nan), result)


def _i0(w: _Wide, x: Value) -> Value:
    size = w.fabs(x)
    near = w.horner(w.where(">", size, 8.0, 8.0, size), _I0_NEAR)
    far = w.div(w.horner(w.div(8.0, size), _I0_FAR), w.sqrt(size))
    made = w.mul(w.exp(size), w.where("<=", size, 8.0, near, far))
    # NumPy's of infinity.
    return w.where("==", size, math.inf, math.nan, made)


def _ldexp(w: _Wide, x: Value, exponent: Value) -> Value:
    # Twice half of it: neither factor overflows where the product does not.
    half = w.exp2(w.mul(exponent, 0.5))
    # Beyond what float64 holds, as NumPy's power: 0 times infinity is NaN.
    half = w.where(">=", exponent, 1024.0, math.inf, w.where("<", exponent, -1075.0, 0.0, half))
    return w.mul(w.mul(x, half), half)


# A step takes 28 bits from a quotient, which then are exact, and products with the 24 bits of a divisor are too.
_STEP_BITS, _STEPS = 28, 9


def fmod_parts(s: Simd, a: Value, b: Value) -> tuple[Value, Value]:
    """Of float32 vectors, |a| modulo |b|, and the quotient without its fraction; both float64, exact below 2^28.

    NaN where b is 0, a infinite, or one is NaN.
    """
    w, builder = _Wide(s), s.builder
    size, divisor = w.fabs(builder.fpext(a, w.vector)), w.fabs(builder.fpext(b, w.vector))
    is_endless = builder.fcmp_ordered("==", divisor, w.number(math.inf))
    divisor = builder.select(is_endless, w.number(1.0), divisor)
    quotient = w.div(size, divisor)
    is_large = builder.fcmp_ordered(">=", quotient, w.number(2.0**_STEP_BITS))
    before, reduced = builder.block, size
    with builder.if_then(s.any(is_large)):
        for step in range(_STEPS, 0, -1):
            reduced = _without_multiples(w, reduced, w.mul(divisor, 2.0 ** (step * _STEP_BITS)))
        inside = builder.block
    small = builder.phi(w.vector)
    small.add_incoming(size, before)
    small.add_incoming(reduced, inside)
    rest = _without_multiples(w, small, divisor)
    finite = builder.fcmp_ordered("<", size, w.number(math.inf))
    rest = builder.select(builder.and_(is_endless, finite), size, rest)
    whole = s.unary("rint", w.div(w.sub(size, rest), divisor))
    return rest, builder.select(is_endless, w.number(0.0), whole)


def _without_multiples(w: _Wide, a: Value, b: Value) -> Value:
    """a modulo b, both positive, the quotient less than 2^29."""
    rest = w.fma(w.s.unary("trunc", w.div(a, b)), w.sub(0.0, b), a)
    rest = w.where("<", rest, 0.0, w.add(rest, b), rest)
    return w.where(">=", rest, b, w.sub(rest, b), rest)


# name: float32 vectors to a float32 vector
FUNCTIONS: dict[str, Emit] = {
    "sin": _wide(_sin),
    "cos": _wide(lambda w, x: w.sin_cos(x)[1]),
    "tan": _wide(_tan),
    "arcsin": _wide(lambda w, x: w.atan2(x, _leg(w, x))),
    "arccos": _wide(lambda w, x: w.atan2(_leg(w, x), x)),
    "arctan": _wide(lambda w, x: w.atan2(x, w.number(1.0))),
    "arctan2": _wide(_Wide.atan2),
    "sinh": _wide(_odd(_cubic(1 / 6), _sinh)),
    "cosh": _wide(_cosh),
    "arcsinh": _wide(_odd(_cubic(-1 / 6), _arcsinh)),
    "arccosh": _wide(_arccosh),
    "arctanh": _wide(_odd(_cubic(1 / 3), _arctanh)),
    "log2": _wide(lambda w, x: w.log(x, 2.0)),
    "log10": _wide(lambda w, x: w.log(x, 10.0)),
    "cbrt": _wide(_cbrt),
    "rcbrt": _wide(lambda w, x: w.div(1.0, _cbrt(w, x))),
    "power": _wide(_power),
    "hypot": _wide(_hypot),
    "logaddexp": _wide(_logaddexp),
    "erfinv": _wide(_erfinv),
    "gamma": _wide(_gamma),
    "gammaln": _wide(_gammaln),
    "digamma": _wide(_digamma),
    "i0": _wide(_i0),
    "ldexp": _wide(_ldexp),
}
