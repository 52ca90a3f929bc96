"""Elementwise functions, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn import dispatch
from minidnn.dispatch import binary
from minidnn.numpy.base import check_options, deliver
from minidnn.numpy.convert import as_array, as_host, is_scalar
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import get_op
from minidnn.user_code import named

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "around",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "degrees",
    "divide",
    "equal",
    "exp",
    "expm1",
    "fabs",
    "fix",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "greater_equal",
    "hypot",
    "invert",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "power",
    "rad2deg",
    "radians",
    "reciprocal",
    "remainder",
    "rint",
    "round",
    "round_",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]


def _plain_number(op: str, *numbers: Any, **attrs: Any) -> Any:
    """An operator on Python's numbers gives a Python number, as in MXNet."""
    kinds = [np.float64 if isinstance(n, (float, np.floating)) else None for n in numbers]
    entry = get_op(op)
    arrays = [np.asarray(n, kind) for n, kind in zip(numbers, kinds, strict=True)]
    # Integers go through float64 where the operator would leave them for float32.
    made = entry.make_attrs(attrs)
    result = entry.compute(made, *arrays)[0]
    if result.dtype == np.float32:
        result = entry.compute(made, *(a.astype(np.float64) for a in arrays))[0]
    return result.item()


def _unary(op: str, doc: str) -> Callable[..., Any]:
    def function(x: Any, out: ndarray | None = None, **kwargs: Any) -> Any:
        check_options(op, kwargs)
        if is_scalar(x) and out is None:
            return _plain_number(op, x)
        return deliver(dispatch.invoke_one(op, as_array(x)), out)

    return named(function, op, f"{doc}\n\nA number in gives a number; `out` receives the result where it is given.")


abs = _unary("abs", "Absolute value.")
absolute = fabs = abs
sign = _unary("sign", "-1, 0 or 1.")
negative = _unary("negative", "-x.")
positive = _unary("identity", "A copy.")
square = _unary("square", "x·x.")
reciprocal = _unary("reciprocal", "1/x; float32 for integers.")
floor = _unary("floor", "Largest integer not above x.")
ceil = _unary("ceil", "Smallest integer not below x.")
trunc = _unary("trunc", "Towards zero to an integer.")
fix = _unary("fix", "Towards zero to an integer.")
rint = _unary("rint", "Nearest integer, halves to even.")
exp = _unary("exp", "e to the power x.")
expm1 = _unary("expm1", "exp(x) - 1, exact near zero.")
log = _unary("log", "Natural logarithm; nan below zero, -inf at zero.")
log2 = _unary("log2", "Logarithm to base 2.")
log10 = _unary("log10", "Logarithm to base 10.")
log1p = _unary("log1p", "log(1 + x), exact near zero.")
sqrt = _unary("sqrt", "Square root; nan below zero.")
cbrt = _unary("cbrt", "Cube root.")
sin = _unary("sin", "Sine of x in radians.")
cos = _unary("cos", "Cosine of x in radians.")
tan = _unary("tan", "Tangent of x in radians.")
arcsin = _unary("arcsin", "Inverse sine in radians.")
arccos = _unary("arccos", "Inverse cosine in radians.")
arctan = _unary("arctan", "Inverse tangent in radians.")
sinh = _unary("sinh", "Hyperbolic sine.")
cosh = _unary("cosh", "Hyperbolic cosine.")
tanh = _unary("tanh", "Hyperbolic tangent.")
arcsinh = _unary("arcsinh", "Inverse hyperbolic sine.")
arccosh = _unary("arccosh", "Inverse hyperbolic cosine.")
arctanh = _unary("arctanh", "Inverse hyperbolic tangent.")
asin, acos, atan = arcsin, arccos, arctan
asinh, acosh, atanh = arcsinh, arccosh, arctanh
degrees = _unary("degrees", "Radians to degrees.")
rad2deg = degrees
radians = _unary("radians", "Degrees to radians.")
deg2rad = radians
logical_not = _unary("logical_not", "Whether x is zero.")
bitwise_not = _unary("bitwise_not", "Every bit inverted.")
bitwise_invert = invert = bitwise_not
isnan = _unary("isnan", "Whether x is not a number.")
isinf = _unary("isinf", "Whether x is infinite.")
isposinf = _unary("isposinf", "Whether x is plus infinity.")
isneginf = _unary("isneginf", "Whether x is minus infinity.")
isfinite = _unary("isfinite", "Whether x is neither infinite nor nan.")


def _binary(op: str, doc: str) -> Callable[..., Any]:
    def function(x1: Any, x2: Any, out: ndarray | None = None, **kwargs: Any) -> Any:
        check_options(op, kwargs)
        if is_scalar(x1) and is_scalar(x2) and out is None:
            return _plain_number(op, x1, x2)
        operands = [x if is_scalar(x) else as_array(x) for x in (x1, x2)]
        return deliver(binary(op, *operands), out)

    return named(
        function,
        op,
        f"{doc}\n\nOperands broadcast; numbers are weak: they take the other operand's dtype where they can. "
        "`out` receives the result where it is given.",
    )


add = _binary("add", "x1 + x2.")
subtract = _binary("subtract", "x1 - x2.")
multiply = _binary("multiply", "x1 · x2.")
true_divide = _binary("true_divide", "x1 / x2; float32 for integers.")
divide = true_divide
floor_divide = _binary("floor_divide", "The largest integer not above x1 / x2.")
mod = _binary("mod", "What floor division leaves over, with the sign of x2.")
remainder = mod
fmod = _binary("fmod", "What division towards zero leaves over, with the sign of x1.")
power = _binary("power", "x1 to the power x2.")
pow = power
maximum = _binary("maximum", "The larger of both; nan if one of them is.")
minimum = _binary("minimum", "The smaller of both; nan if one of them is.")
fmax = _binary("fmax", "The larger of both, the other one where one is nan.")
fmin = _binary("fmin", "The smaller of both, the other one where one is nan.")
arctan2 = _binary("arctan2", "The angle of the point (x2, x1) in radians.")
atan2 = arctan2
hypot = _binary("hypot", "sqrt(x1² + x2²).")
copysign = _binary("copysign", "|x1| with the sign of x2.")
bitwise_and = _binary("bitwise_and", "Bits that are in both.")
bitwise_or = _binary("bitwise_or", "Bits that are in one of them.")
bitwise_xor = _binary("bitwise_xor", "Bits that are in exactly one of them.")
equal = _binary("equal", "x1 == x2.")
not_equal = _binary("not_equal", "x1 != x2.")
less = _binary("less", "x1 < x2.")
less_equal = _binary("less_equal", "x1 <= x2.")
greater = _binary("greater", "x1 > x2.")
greater_equal = _binary("greater_equal", "x1 >= x2.")
logical_and = _binary("logical_and", "Whether both are non-zero.")
logical_or = _binary("logical_or", "Whether one of them is non-zero.")
logical_xor = _binary("logical_xor", "Whether exactly one of them is non-zero.")


def round(x: Any, decimals: int = 0, out: ndarray | None = None, **kwargs: Any) -> Any:
    """Rounded to `decimals` places, halves to even."""
    check_options("round", kwargs)
    if is_scalar(x) and out is None:
        return np.round(x, decimals).item()
    return deliver(as_array(x).round(decimals), out)


around = round_ = round


def clip(a: Any, a_min: float | None = None, a_max: float | None = None, out: ndarray | None = None) -> ndarray:
    """Limited to [a_min, a_max]; None leaves a side open."""
    return deliver(dispatch.invoke_one("clip", as_array(a), a_min=a_min, a_max=a_max), out)


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """Elements of `x` where `condition` is true, of `y` elsewhere; with `condition` alone, `nonzero`.

    Numbers among `x` and `y` take the dtype of the other where they can.
    """
    chosen = as_array(condition, np.bool_ if is_scalar(condition) else None)
    if x is None and y is None:
        return chosen.nonzero()
    if x is None or y is None:
        raise ValueError("where() wants both x and y, or neither")
    return dispatch.invoke_one("where", chosen, _weak(x, y), _weak(y, x))


def _weak(x: Any, other: Any) -> ndarray:
    """`x` as an array; a number in the dtype of `other`, float32 where that is no float but `x` is."""
    if not is_scalar(x):
        return as_array(x)
    if is_scalar(other):
        return as_array(x)
    dtype = as_array(other).dtype
    if isinstance(x, (float, np.floating)) and dtype.kind != "f":
        dtype = np.dtype(np.float32)
    elif dtype.kind == "b" and not isinstance(x, (bool, np.bool_)):
        dtype = np.dtype(np.int64)
    return ndarray._wrap(as_host(x, dtype))
