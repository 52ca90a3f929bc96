"""Functions of float32 vectors that are computed in float64: nearly always the nearest float32.

Trigonometry, logarithms, powers, the gamma function and their kin: where polynomials in float32 would lose digits, and
what is too rare to be worth any. Arguments and results are float32; `vector_math` has what is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minidnn_kernels.simd import Simd, Value
from minidnn_kernels.wide import Wide

__all__ = ["FUNCTIONS", "fmod_parts"]

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
# Of log(1 + t) and the like, below which the first terms of the series are all there is to see.
_SMALL = 1e-4


Emit = Callable[..., Value]


def _wide(function: Callable[..., Value]) -> Emit:
    """A function of float64 vectors on float32 ones."""

    def emit(s: Simd, *values: Value) -> Value:
        wide = Wide(s)
        made = function(wide, *(s.builder.fpext(v, wide.vector) for v in values))
        return s.builder.fptrunc(made, s.vector)

    return emit


def _sin(w: Wide, x: Value) -> Value:
    return w.where("==", x, 0.0, x, w.sin_cos(x)[0])


def _tan(w: Wide, x: Value) -> Value:
    sine, cosine = w.sin_cos(x)
    return w.where("==", x, 0.0, x, w.div(sine, cosine))


def _leg(w: Wide, x: Value) -> Value:
    """sqrt(1 - x²)."""
    return w.sqrt(w.mul(w.sub(1.0, x), w.add(x, 1.0)))


def _odd(near: Callable[[Wide, Value], Value], far: Callable[[Wide, Value], Value]) -> Callable[[Wide, Value], Value]:
    """An odd function: by its series' first terms near 0, by `far` of the size elsewhere."""

    def function(w: Wide, x: Value) -> Value:
        size = w.fabs(x)
        return w.copysign(w.where("<", size, _SMALL, near(w, size), far(w, size)), x)

    return function


def _cubic(factor: float) -> Callable[[Wide, Value], Value]:
    return lambda w, x: w.fma(w.mul(w.mul(x, x), x), factor, x)


def _sinh(w: Wide, x: Value) -> Value:
    grown = w.exp(x)
    return w.mul(w.sub(grown, w.div(1.0, grown)), 0.5)


def _cosh(w: Wide, x: Value) -> Value:
    grown = w.exp(w.fabs(x))
    return w.mul(w.add(grown, w.div(1.0, grown)), 0.5)


def _arcsinh(w: Wide, x: Value) -> Value:
    return w.log(w.add(x, w.sqrt(w.fma(x, x, 1.0))))


def _arccosh(w: Wide, x: Value) -> Value:
    made = w.log(w.add(x, w.sqrt(w.mul(w.sub(x, 1.0), w.add(x, 1.0)))))
    return w.where("<", x, 1.0, math.nan, made)


def _arctanh(w: Wide, x: Value) -> Value:
    return w.mul(w.log(w.div(w.add(x, 1.0), w.sub(1.0, x))), 0.5)


def _cbrt(w: Wide, x: Value) -> Value:
    size = w.fabs(x)
    root = w.exp2(w.mul(w.log(size, 2.0), 1.0 / 3.0))
    root = w.where("==", size, math.inf, size, root)
    return w.copysign(w.where("==", x, 0.0, x, root), x)


def _power(w: Wide, x: Value, y: Value) -> Value:
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


def _hypot(w: Wide, x: Value, y: Value) -> Value:
    length = w.sqrt(w.fma(x, x, w.mul(y, y)))
    length = w.where("==", w.fabs(x), math.inf, math.inf, length)
    return w.where("==", w.fabs(y), math.inf, math.inf, length)


def _logaddexp(w: Wide, x: Value, y: Value) -> Value:
    high = w.where(">", y, x, y, x)
    small = w.exp(w.sub(0.0, w.fabs(w.sub(x, y))))
    near = w.fma(w.mul(small, small), -0.5, small)
    added = w.add(high, w.where("<", small, 1e-5, near, w.log(w.add(small, 1.0))))
    added = w.where("==", x, y, w.add(x, math.log(2.0)), added)
    return w.b.select(w.b.fcmp_unordered("uno", x, y), w.add(x, y), added)


def _erfinv(w: Wide, x: Value) -> Value:
    size = w.log(w.mul(w.sub(1.0, x), w.add(x, 1.0)))
    size = w.sub(0.0, size)
    near = w.horner(w.sub(size, 2.5), _ERFINV_NEAR)
    far = w.horner(w.sub(w.sqrt(size), 3.0), _ERFINV_FAR)
    made = w.mul(x, w.where("<", size, 5.0, near, far))
    return w.where("==", w.fabs(x), 1.0, w.copysign(w.number(math.inf), x), made)


def _reflected(w: Wide, x: Value) -> tuple[Value, Value]:
    """Whether Γ is taken at 1 - x, and where."""
    left = w.b.fcmp_ordered("<", x, w.number(0.5))
    return left, w.b.select(left, w.sub(1.0, x), x)


def _is_pole(w: Wide, x: Value) -> Any:
    whole = w.b.fcmp_ordered("==", w.s.unary("floor", x), x)
    return w.b.and_(w.b.fcmp_ordered("<=", x, w.number(0.0)), whole)


def _gamma(w: Wide, x: Value) -> Value:
    left, at = _reflected(w, w.clamped(x, -300.0, 150.0))
    made = w.gamma(at)
    sine, _ = w.sin_cos_pi(w.clamped(x, -300.0, 150.0))
    made = w.b.select(left, w.div(math.pi, w.mul(sine, made)), made)
    made = w.where(">=", x, 150.0, math.inf, made)
    return w.b.select(_is_pole(w, x), w.number(math.nan), made)


def _gammaln(w: Wide, x: Value) -> Value:
    inside = w.clamped(x, -(2.0**50), 1e300)
    left, at = _reflected(w, inside)
    made = w.log_gamma(at)
    sine, _ = w.sin_cos_pi(inside)
    reflected = w.sub(w.log(w.div(math.pi, w.fabs(sine))), made)
    made = w.b.select(left, reflected, made)
    made = w.where("==", w.fabs(x), math.inf, math.inf, made)
    return w.b.select(_is_pole(w, x), w.number(math.inf), made)


def _digamma(w: Wide, x: Value) -> Value:
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


def _i0(w: Wide, x: Value) -> Value:
    size = w.fabs(x)
    near = w.horner(w.where(">", size, 8.0, 8.0, size), _I0_NEAR)
    far = w.div(w.horner(w.div(8.0, size), _I0_FAR), w.sqrt(size))
    made = w.mul(w.exp(size), w.where("<=", size, 8.0, near, far))
    # NumPy's of infinity.
    return w.where("==", size, math.inf, math.nan, made)


def _ldexp(w: Wide, x: Value, exponent: Value) -> Value:
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
    w, builder = Wide(s), s.builder
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


def _without_multiples(w: Wide, a: Value, b: Value) -> Value:
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
    "arctan2": _wide(Wide.atan2),
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
