"""exp, log, tanh, erf on float32 vectors: PyPI's LLVM has no vector math library, so these are polynomials.

Accuracy is that of the published approximations, a few units in the last place except where a function
says otherwise; the tests compare with float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn_kernels.simd import Simd, Value

__all__ = ["erf", "exp", "expm1", "log", "log1p", "log1p_exp", "sigmoid", "tanh"]

# exp(r) = 1 + r + r² P(r) on |r| <= ln 2 / 2; S. Moshier, Cephes, expf.c.
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
_EXP_OVERFLOW = 88.72283905206835
_EXP_UNDERFLOW = -87.33654475055310
# Adding and subtracting 1.5 · 2²³ rounds a float32 to an integer, which then stands in its low bits.
_ROUND_MAGIC = 12582912.0

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

# erf(x) = 1 - (a1 t + ... + a5 t⁵) exp(-x²), t = 1 / (1 + p x); Abramowitz and Stegun, 7.1.26.
_ERF_P = 0.3275911
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
# erf(x) = 2/sqrt(pi) · (x - x³/3 + x⁵/10 - x⁷/42 + x⁹/216) near zero, where 7.1.26 loses its relative accuracy.
_ERF_SERIES = tuple(2.0 / math.sqrt(math.pi) * c for c in (1 / 216, -1 / 42, 1 / 10, -1 / 3, 1.0))


def _horner(s: Simd, x: Value, coefficients: Sequence[float]) -> Value:
    result = s.splat(coefficients[0])
    for c in coefficients[1:]:
        result = s.fma(result, x, s.splat(c))
    return result


def exp(s: Simd, x: Value) -> Value:
    """e^x; +inf above 88.72, 0 below -87.34 (results that would be subnormal), NaN for NaN."""
    b = s.builder
    inside = s.at_most(s.at_least(x, s.splat(_EXP_UNDERFLOW)), s.splat(_EXP_OVERFLOW))
    shifted = s.fma(inside, s.splat(1.0 / math.log(2.0)), s.splat(_ROUND_MAGIC))
    n = s.at_most(b.fsub(shifted, s.splat(_ROUND_MAGIC)), s.splat(127.0))
    r = s.fma(n, s.splat(-_LN2_HIGH), inside)
    r = s.fma(n, s.splat(-_LN2_LOW), r)
    mantissa = s.fma(b.fmul(r, r), _horner(s, r, _EXP), b.fadd(r, s.splat(1.0)))
    exponent = s.as_int(b.fadd(n, s.splat(_ROUND_MAGIC + 127.0)))
    power = s.as_float(b.shl(exponent, s.splat_int(23)))
    result = b.fmul(mantissa, power)
    result = s.where(">", x, s.splat(_EXP_OVERFLOW), s.splat(math.inf), result)
    return s.where("<", x, s.splat(_EXP_UNDERFLOW), s.splat(0.0), result)


def log(s: Simd, x: Value) -> Value:
    """Natural logarithm; -inf at 0, NaN below. Subnormal numbers count as 0."""
    b = s.builder
    smallest = s.splat(1.17549435e-38)
    bits = s.as_int(s.at_least(x, smallest))
    exponent = b.sub(b.lshr(bits, s.splat_int(23)), s.splat_int(126))
    mantissa = s.as_float(b.or_(b.and_(bits, s.splat_int(0x007FFFFF)), s.splat_int(0x3F000000)))
    small = b.fcmp_ordered("<", mantissa, s.splat(math.sqrt(0.5)))
    e = b.sitofp(exponent, s.vector)
    e = b.select(small, b.fsub(e, s.splat(1.0)), e)
    f = b.fsub(b.select(small, b.fadd(mantissa, mantissa), mantissa), s.splat(1.0))
    square = b.fmul(f, f)
    y = b.fmul(b.fmul(f, square), _horner(s, f, _LOG))
    y = s.fma(e, s.splat(_LN2_LOW), y)
    y = s.fma(square, s.splat(-0.5), y)
    result = s.fma(e, s.splat(_LN2_HIGH), b.fadd(f, y))
    result = s.where("<", x, smallest, s.splat(-math.inf), result)
    result = s.where("==", x, s.splat(math.inf), x, result)
    not_a_number = b.fcmp_unordered("<", x, s.splat(0.0))
    return b.select(not_a_number, s.splat(math.nan), result)


def expm1(s: Simd, x: Value) -> Value:
    """e^x - 1: near zero by the polynomial of `exp` without its first term, elsewhere from `exp` itself."""
    b = s.builder
    near = s.fma(b.fmul(x, x), _horner(s, x, _EXP), x)
    far = b.fsub(exp(s, x), s.splat(1.0))
    return s.where("<", s.unary("fabs", x), s.splat(math.log(2.0) / 2.0), near, far)


def log1p(s: Simd, x: Value) -> Value:
    """log(1 + x), with what the sum has lost of x put back; W. Kahan's correction."""
    b = s.builder
    whole = b.fadd(s.splat(1.0), x)
    lost = b.fdiv(b.fsub(x, b.fsub(whole, s.splat(1.0))), whole)
    # At -1 and at infinity there is nothing to put back, and the division has no meaning.
    lost = s.where(">", whole, s.splat(0.0), lost, s.splat(0.0))
    lost = s.where("==", whole, s.splat(math.inf), s.splat(0.0), lost)
    return b.fadd(log(s, whole), lost)


def tanh(s: Simd, x: Value) -> Value:
    b = s.builder
    size = s.unary("fabs", x)
    square = b.fmul(size, size)
    near = s.fma(b.fmul(square, size), _horner(s, square, _TANH), size)
    grown = b.fadd(exp(s, b.fadd(size, size)), s.splat(1.0))
    far = b.fsub(s.splat(1.0), b.fdiv(s.splat(2.0), grown))
    return s.binary("copysign", s.where("<", size, s.splat(0.625), near, far), x)


def sigmoid(s: Simd, x: Value) -> Value:
    """1 / (1 + e^-x)."""
    b = s.builder
    return b.fdiv(s.splat(1.0), b.fadd(s.splat(1.0), exp(s, b.fneg(x))))


def log1p_exp(s: Simd, x: Value) -> Value:
    """log(1 + e^x), without overflow: max(x, 0) + log(1 + e^-|x|)."""
    b = s.builder
    rest = log(s, b.fadd(s.splat(1.0), exp(s, b.fneg(s.unary("fabs", x)))))
    return b.fadd(s.at_least(x, s.splat(0.0)), rest)


def erf(s: Simd, x: Value) -> Value:
    """The error function, to 4e-7 absolute."""
    b = s.builder
    size = s.unary("fabs", x)
    t = b.fdiv(s.splat(1.0), s.fma(s.splat(_ERF_P), size, s.splat(1.0)))
    tail = b.fmul(b.fmul(_horner(s, t, _ERF), t), exp(s, b.fneg(b.fmul(size, size))))
    far = s.binary("copysign", b.fsub(s.splat(1.0), tail), x)
    near = b.fmul(x, _horner(s, b.fmul(x, x), _ERF_SERIES))
    return s.where("<", size, s.splat(0.35), near, far)
