"""exp, log, tanh, erf on float32 vectors: PyPI's LLVM has no vector math library, so these are polynomials.

Accuracy is that of the published approximations, a few units in the last place over the whole range, subnormal
arguments and results included; the tests compare with float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn_kernels.simd import Simd, Value

__all__ = [
    "erf",
    "exp",
    "exp_below",
    "expm1",
    "expm1_negative",
    "gate_sigmoid",
    "gate_tanh",
    "log",
    "log1p",
    "log1p_exp",
    "normal_cdf",
    "sigmoid",
    "tanh",
]

# exp(r) = 1 + r + r² P(r) on |r| <= ln 2 / 2; S. Moshier, Cephes, expf.c.
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
# Beyond these the result rounds to infinity, and to 0.
_EXP_HIGHEST = 89.0
_EXP_LOWEST = -104.0
# Below this it is no normal number.
_EXP_LOWEST_NORMAL = -87.0
# From here on down expm1 rounds to -1.
_EXPM1_LOWEST = -18.0
# Adding and subtracting 1.5 · 2²³ rounds a float32 to an integer, which then stands in its low bits.
_ROUND_MAGIC = 12582912.0

_SMALLEST_NORMAL = 2.0**-126
_SQRT_HALF_BITS = 0x3F3504F3

# log(1 + f) on sqrt(1/2) <= 1 + f < sqrt(2); S. Moshier, Cephes, logf.c.
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)

# tanh(x) = x + x³ P(x²) on |x| < 0.625; S. Moshier, Cephes, tanhf.c.
_TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)

# tanh(x) = x P(x²) / Q(x²) on |x| <= 9, beyond which it rounds to 1; fitted by weighted least squares, off by 2e-8 of
# the result before rounding.
_TANH_TOP = 9.0
_TANH_OVER = (1.3354503280993413e-08, 2.0609037164831534e-05, 0.0034955888986587524, 0.13381028175354004, 1.0)
_TANH_UNDER = (7.776512802593061e-07, 0.00032856332836672664, 0.02587698958814144, 0.4671434462070465, 1.0)

# erfc(x) = (c1 t + ... + c9 t⁹) exp(-x²), t = 1 / (1 + p x), the form of Abramowitz and Stegun, 7.1.26, with numbers
# fitted by weighted least squares on 0 <= x <= 10.7: off by 2e-8 of the result, the highest power first.
_ERFC_P = 0.3
_ERFC = (
    -0.12955616414546967,
    0.4857378900051117,
    -0.5126713514328003,
    0.5482150316238403,
    -0.09503111243247986,
    0.21510851383209229,
    0.148285910487175,
    0.17072387039661407,
    0.16918741166591644,
)
# Where exp(-x²) rounds to 0.
_ERFC_HIGHEST = 10.7
# erf(x) = x P(x²) on |x| < 0.85, where 1 - erfc(x) cancels; fitted likewise, off by 6e-9.
_ERF_NEAR = 0.85
_ERF = (
    -0.0006315116188488901,
    0.005051092244684696,
    -0.0268025454133749,
    0.11282717436552048,
    -0.3761257231235504,
    1.1283791065216064,
)


def _horner(s: Simd, x: Value, coefficients: Sequence[float]) -> Value:
    result = s.splat(coefficients[0])
    for c in coefficients[1:]:
        result = s.fma(result, x, s.splat(c))
    return result


def _reduced(s: Simd, x: Value) -> tuple[Value, Value]:
    """n and r with x = n ln 2 + r, n whole and r at most half of ln 2."""
    shifted = s.fma(x, s.splat(1.0 / math.log(2.0)), s.splat(_ROUND_MAGIC))
    n = s.builder.fsub(shifted, s.splat(_ROUND_MAGIC))
    r = s.fma(n, s.splat(-_LN2_HIGH), x)
    return n, s.fma(n, s.splat(-_LN2_LOW), r)


def _exponent_field(s: Simd, n: Value, bias: float) -> Value:
    """Whole numbers n + bias, at least 0, as integers in the low bits: what is above bit 9 is of no use."""
    return s.as_int(s.builder.fadd(n, s.splat(_ROUND_MAGIC + bias)))


def _power(s: Simd, exponent: Value) -> Value:
    """The power of two with that biased exponent."""
    return s.as_float(s.builder.shl(exponent, s.splat_int(23)))


def exp(s: Simd, x: Value) -> Value:
    """e^x; +inf above 88.72, subnormal below -87.34, 0 below -103.97, NaN for NaN."""
    b = s.builder
    inside = s.at_most(s.at_least(x, s.splat(_EXP_LOWEST)), s.splat(_EXP_HIGHEST))
    n, r = _reduced(s, inside)
    mantissa = s.fma(b.fmul(r, r), _horner(s, r, _EXP), b.fadd(r, s.splat(1.0)))
    # n reaches from -150 to 128, beyond what one power of two can be: two of half the exponent, of which the first
    # product is exact and the second rounds once.
    both = _exponent_field(s, n, 254.0)
    half = b.lshr(both, s.splat_int(1))
    return b.fmul(b.fmul(mantissa, _power(s, half)), _power(s, b.sub(both, half)))


def exp_below(s: Simd, x: Value) -> Value:
    """e^x for x <= 0, in two thirds of the instructions of `exp`: 0 where that is no normal number, NaN for NaN."""
    b = s.builder
    n, r = _reduced(s, s.at_least(x, s.splat(_EXP_LOWEST_NORMAL)))
    mantissa = s.fma(b.fmul(r, r), _horner(s, r, _EXP), b.fadd(r, s.splat(1.0)))
    made = b.fmul(mantissa, _power(s, _exponent_field(s, n, 127.0)))
    return s.where("<", x, s.splat(_EXP_LOWEST_NORMAL), s.splat(0.0), made)


def expm1_negative(s: Simd, x: Value) -> Value:
    """e^x - 1 for x <= 0; some number for others."""
    b = s.builder
    n, r = _reduced(s, s.at_least(x, s.splat(_EXPM1_LOWEST)))
    rest = s.fma(b.fmul(r, r), _horner(s, r, _EXP), r)
    power = _power(s, _exponent_field(s, n, 127.0))
    return s.fma(power, rest, b.fsub(power, s.splat(1.0)))


def _log1p_series(s: Simd, f: Value, e: Value) -> Value:
    """log(1 + f) + e ln 2, for sqrt(1/2) <= 1 + f < sqrt(2) and whole e."""
    b = s.builder
    square = b.fmul(f, f)
    y = b.fmul(b.fmul(f, square), _horner(s, f, _LOG))
    y = s.fma(e, s.splat(_LN2_LOW), y)
    y = s.fma(square, s.splat(-0.5), y)
    return s.fma(e, s.splat(_LN2_HIGH), b.fadd(f, y))


def log(s: Simd, x: Value) -> Value:
    """Natural logarithm; -inf at 0, NaN below."""
    b = s.builder
    subnormal = b.fcmp_ordered("<", x, s.splat(_SMALLEST_NORMAL))
    bits = s.as_int(b.select(subnormal, b.fmul(x, s.splat(2.0**23)), x))
    # Counted from sqrt(1/2), the exponent is that of the power of two which leaves a mantissa from there to sqrt(2).
    above = b.sub(bits, s.splat_int(_SQRT_HALF_BITS))
    mantissa = s.as_float(b.sub(bits, b.and_(above, s.splat_int(0xFF800000))))
    e = b.sitofp(b.ashr(above, s.splat_int(23)), s.vector)
    e = b.fsub(e, b.select(subnormal, s.splat(23.0), s.splat(0.0)))
    f = b.fsub(mantissa, s.splat(1.0))
    result = s.where("==", x, s.splat(0.0), s.splat(-math.inf), _log1p_series(s, f, e))
    result = s.where("==", x, s.splat(math.inf), x, result)
    not_a_number = b.fcmp_unordered("<", x, s.splat(0.0))
    return b.select(not_a_number, s.splat(math.nan), result)


def expm1(s: Simd, x: Value) -> Value:
    """e^x - 1: near zero by the polynomial of `exp` without its first term, elsewhere from `exp` itself."""
    b = s.builder
    near = s.fma(b.fmul(x, x), _horner(s, x, _EXP), x)
    far = b.fsub(exp(s, x), s.splat(1.0))
    result = s.where("<", s.unary("fabs", x), s.splat(math.log(2.0) / 2.0), near, far)
    # A sum is +0 where both terms are zeros of different signs.
    return s.binary("copysign", result, x)


def log1p(s: Simd, x: Value) -> Value:
    """log(1 + x), with what the sum has lost of x put back; W. Kahan's correction."""
    b = s.builder
    whole = b.fadd(s.splat(1.0), x)
    lost = b.fdiv(b.fsub(x, b.fsub(whole, s.splat(1.0))), whole)
    # At -1 and at infinity there is nothing to put back, and the division has no meaning.
    lost = s.where(">", whole, s.splat(0.0), lost, s.splat(0.0))
    lost = s.where("==", whole, s.splat(math.inf), s.splat(0.0), lost)
    # A sum is +0 where both terms are zeros of different signs.
    return s.binary("copysign", b.fadd(log(s, whole), lost), x)


def tanh(s: Simd, x: Value) -> Value:
    b = s.builder
    size = s.unary("fabs", x)
    square = b.fmul(size, size)
    near = s.fma(b.fmul(square, size), _horner(s, square, _TANH), size)
    grown = b.fadd(exp(s, b.fadd(size, size)), s.splat(1.0))
    far = b.fsub(s.splat(1.0), b.fdiv(s.splat(2.0), grown))
    return s.binary("copysign", s.where("<", size, s.splat(0.625), near, far), x)


def gate_tanh(s: Simd, x: Value) -> Value:
    """tanh in half the instructions of `tanh`: off by 4e-7 at most, and by three units in the last place."""
    b = s.builder
    inside = s.at_most(s.at_least(x, s.splat(-_TANH_TOP)), s.splat(_TANH_TOP))
    square = b.fmul(inside, inside)
    made = b.fdiv(b.fmul(inside, _horner(s, square, _TANH_OVER)), _horner(s, square, _TANH_UNDER))
    return s.at_most(s.at_least(made, s.splat(-1.0)), s.splat(1.0))


def gate_sigmoid(s: Simd, x: Value) -> Value:
    """sigmoid in half the instructions of `sigmoid`: off by 2e-7 at most, also where the result is less than that."""
    half = s.splat(0.5)
    return s.fma(gate_tanh(s, s.builder.fmul(x, half)), half, half)


def _exp_of_minus_size(s: Simd, x: Value) -> Value:
    return exp(s, s.builder.fneg(s.unary("fabs", x)))


def sigmoid(s: Simd, x: Value) -> Value:
    """1 / (1 + e^-x), or e^x / (1 + e^x) where e^-x would overflow before the result is 0."""
    b = s.builder
    shrunk = _exp_of_minus_size(s, x)
    above = s.where("<", x, s.splat(0.0), shrunk, s.splat(1.0))
    return b.fdiv(above, b.fadd(s.splat(1.0), shrunk))


def log1p_exp(s: Simd, x: Value) -> Value:
    """log(1 + e^x), without overflow and without losing a small e^x: max(x, 0) + log(1 + e^-|x|)."""
    b = s.builder
    shrunk = _exp_of_minus_size(s, x)
    # 1 + shrunk is at most 2: halved where that brings it into the range of the series.
    large = b.fcmp_ordered(">", shrunk, s.splat(math.sqrt(2.0) - 1.0))
    f = b.select(large, b.fmul(b.fsub(shrunk, s.splat(1.0)), s.splat(0.5)), shrunk)
    e = b.select(large, s.splat(1.0), s.splat(0.0))
    return b.fadd(s.at_least(x, s.splat(0.0)), _log1p_series(s, f, e))


def _scaled_erfc(s: Simd, size: Value, factor: float) -> Value:
    """erfc(x) · exp(x²) / 2 for x = size · factor, from 0 to `_ERFC_HIGHEST`; above it some finite number."""
    b = s.builder
    half_t = b.fdiv(s.splat(0.5), s.fma(s.splat(_ERFC_P * factor), size, s.splat(1.0)))
    powers = range(len(_ERFC), 0, -1)
    return b.fmul(_horner(s, half_t, [c * 2.0 ** (k - 1) for c, k in zip(_ERFC, powers, strict=True)]), half_t)


def erf(s: Simd, x: Value) -> Value:
    """The error function."""
    b = s.builder
    size = s.unary("fabs", x)
    tail = b.fmul(_scaled_erfc(s, size, 1.0), exp(s, b.fneg(b.fmul(size, size))))
    far = s.binary("copysign", s.fma(tail, s.splat(-2.0), s.splat(1.0)), x)
    near = b.fmul(x, _horner(s, b.fmul(x, x), _ERF))
    return s.where("<", size, s.splat(_ERF_NEAR), near, far)


def _lost_from_square(s: Simd, x: Value, square: Value) -> Value:
    """x · x - square, where `square` is that product rounded."""
    b = s.builder
    if s.fuses:
        return s.fma(x, x, b.fneg(square))
    # The square of half the bits is exact (T. Dekker, A floating-point technique for extending precision, 1971).
    high = s.as_float(b.and_(s.as_int(x), s.splat_int(0xFFFFF000)))
    rest = b.fmul(b.fsub(x, high), b.fadd(x, high))
    return b.fadd(b.fsub(b.fmul(high, high), square), rest)


def normal_cdf(s: Simd, x: Value) -> Value:
    """Φ(x) = erfc(-x / sqrt(2)) / 2, accurate in the lower tail, where 1 + erf would cancel."""
    b = s.builder
    size = s.at_most(s.unary("fabs", x), s.splat(_ERFC_HIGHEST * math.sqrt(2.0)))
    square = b.fmul(size, size)
    grown = exp(s, b.fmul(square, s.splat(-0.5)))
    # What rounding took from the square matters to its exponential.
    grown = s.fma(grown, b.fmul(_lost_from_square(s, size, square), s.splat(-0.5)), grown)
    tail = b.fmul(_scaled_erfc(s, size, math.sqrt(0.5)), grown)
    return s.where(">", x, s.splat(0.0), b.fsub(s.splat(1.0), tail), tail)
