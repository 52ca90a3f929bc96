"""Elementwise operators: one row of a table each.

dtypes follow NumPy 2 with weak Python scalars, except that minidnn's default float is float32: an
integer array among floats takes the floats' dtype, and a function that leaves the integers (`exp`,
division, a float scalar) gives float32 on integer input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOAT32, FLOATS, INTEGERS, broadcast_shapes
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["BINARY", "BOOL", "COMPARE", "UNARY", "float_of", "promote"]

Array = np.ndarray[Any, Any]
BOOL = np.dtype(np.bool_)
INT64 = np.dtype(np.int64)


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The common dtype: the widest float if there is one, else NumPy's rule."""
    floats = [t for t in dtypes if t in FLOATS]
    return np.result_type(*(floats or dtypes))


def float_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """`dtype` if it is a float, else the default float."""
    return dtype if dtype in FLOATS else FLOAT32


def _want_supported(op: str, types: Sequence[TensorType]) -> None:
    for t in types:
        if t.dtype not in DTYPES:
            raise TypeMismatchError(f"{op}: inputs must be bool, integer or float, got {t}")


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that gives inf and nan without NumPy's warnings, as compiled code does."""

    def reference(attrs: Attrs, *arrays: Array) -> Any:
        with np.errstate(all="ignore"):
            return function(attrs, *arrays)

    return reference


def _erfinv(x: float) -> float:
    """Inverse of erf through the normal quantile, with one Newton step for the last digits."""
    if not -1.0 < x < 1.0:
        return math.copysign(math.inf, x) if abs(x) == 1.0 else math.nan
    # Winitzki's approximation (2008), then Newton on erf(y) - x.
    log = math.log1p(-x * x)
    a = 2.0 / (math.pi * 0.147) + log / 2.0
    y = math.copysign(math.sqrt(math.sqrt(a * a - log / 0.147) - a), x)
    for _ in range(3):
        # Near ±1 the difference of the complements keeps the digits that erf(y) - x would lose.
        residual = math.erf(y) - x if abs(x) < 0.5 else math.copysign(1.0, x) * (1.0 - abs(x) - math.erfc(abs(y)))
        y -= residual * math.sqrt(math.pi) / 2.0 * math.exp(y * y)
    return y


def _gamma(x: float) -> float:
    try:
        return math.gamma(x)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except ValueError:
        return math.inf


def _per_element(function: Callable[[float], float]) -> Callable[[Array], Array]:
    return np.vectorize(function, otypes=[np.float64])


def _logistic(x: Array) -> Array:
    # exp of a non-positive number only: no overflow on either side.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


# Results of the same dtype as the input.
_SAME: dict[str, tuple[Callable[[Array], Any], tuple[str, ...]]] = {
    "abs": (np.abs, ("_npi_absolute", "abs")),
    "sign": (np.sign, ("_npi_sign", "sign")),
    "negative": (np.negative, ("_npi_negative", "negative")),
    "square": (np.square, ("_npi_square", "square")),
    "relu": (lambda x: np.maximum(x, 0), ("_npx_relu", "relu")),
    "floor": (np.floor, ("_npi_floor", "floor")),
    "ceil": (np.ceil, ("_npi_ceil", "ceil")),
    "trunc": (np.trunc, ("_npi_trunc", "trunc")),
    "fix": (np.trunc, ("_npi_fix", "fix")),
    "rint": (np.rint, ("_npi_rint", "rint")),
    # Halves go away from zero, as MXNet 1.x rounds; NumPy's round is `rint`.
    "round": (lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), ("round",)),
    "identity": (lambda x: x, ("_npi_copy", "_copy", "identity", "BlockGrad", "_npx_stop_gradient", "make_loss")),
}

# Results in floats; computed in at least float32.
_FLOAT: dict[str, tuple[Callable[[Array], Any], tuple[str, ...]]] = {
    "exp": (np.exp, ("_npi_exp", "exp")),
    "expm1": (np.expm1, ("_npi_expm1", "expm1")),
    "log": (np.log, ("_npi_log", "log")),
    "log2": (np.log2, ("_npi_log2", "log2")),
    "log10": (np.log10, ("_npi_log10", "log10")),
    "log1p": (np.log1p, ("_npi_log1p", "log1p")),
    "sqrt": (np.sqrt, ("_npi_sqrt", "sqrt")),
    "rsqrt": (lambda x: 1 / np.sqrt(x), ("rsqrt",)),
    "cbrt": (np.cbrt, ("_npi_cbrt", "cbrt")),
    "rcbrt": (lambda x: 1 / np.cbrt(x), ("rcbrt",)),
    "reciprocal": (lambda x: 1 / x, ("_npi_reciprocal", "reciprocal")),
    "sin": (np.sin, ("_npi_sin", "sin")),
    "cos": (np.cos, ("_npi_cos", "cos")),
    "tan": (np.tan, ("_npi_tan", "tan")),
    "arcsin": (np.arcsin, ("_npi_arcsin", "arcsin")),
    "arccos": (np.arccos, ("_npi_arccos", "arccos")),
    "arctan": (np.arctan, ("_npi_arctan", "arctan")),
    "sinh": (np.sinh, ("_npi_sinh", "sinh")),
    "cosh": (np.cosh, ("_npi_cosh", "cosh")),
    "tanh": (np.tanh, ("_npi_tanh", "tanh")),
    "arcsinh": (np.arcsinh, ("_npi_arcsinh", "arcsinh")),
    "arccosh": (np.arccosh, ("_npi_arccosh", "arccosh")),
    "arctanh": (np.arctanh, ("_npi_arctanh", "arctanh")),
    "degrees": (np.degrees, ("_npi_degrees", "degrees")),
    "radians": (np.radians, ("_npi_radians", "radians")),
    "erf": (_per_element(math.erf), ("_npx_erf", "erf")),
    "erfinv": (_per_element(_erfinv), ("_npx_erfinv", "erfinv")),
    "gamma": (_per_element(_gamma), ("_npx_gamma", "gamma")),
    "gammaln": (_per_element(_lgamma), ("_npx_gammaln", "gammaln")),
    "sigmoid": (_logistic, ("_npx_sigmoid", "sigmoid")),
    "log_sigmoid": (lambda x: -np.logaddexp(0, -x), ("_npx_log_sigmoid", "log_sigmoid")),
    "softsign": (lambda x: x / (1 + np.abs(x)), ("_npx_softsign", "softsign")),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), ("_npx_mish", "mish")),
    "silu": (lambda x: x * _logistic(x), ()),
    "hard_swish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), ()),
}

_PREDICATES: dict[str, tuple[Callable[[Array], Any], tuple[str, ...]]] = {
    "logical_not": (np.logical_not, ("_npi_logical_not",)),
    "isnan": (np.isnan, ("_npi_isnan",)),
    "isinf": (np.isinf, ("_npi_isinf",)),
    "isposinf": (np.isposinf, ("_npi_isposinf",)),
    "isneginf": (np.isneginf, ("_npi_isneginf",)),
    "isfinite": (np.isfinite, ("_npi_isfinite",)),
}


def _register_unary(
    name: str,
    function: Callable[[Array], Any],
    mxnet: tuple[str, ...],
    dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]],
    refuse_bool: bool = False,
) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        _want_supported(name, types)
        if refuse_bool and types[0].dtype == BOOL:
            raise TypeMismatchError(f"{name}: input must be a number, got {types[0]}")
        return [TensorType(types[0].shape, dtype_of(types[0].dtype))]

    def reference(attrs: Attrs, x: Array) -> Any:
        # float16 and integers are computed in float32, so that only the result is rounded.
        wide = x.astype(np.float32) if dtype_of is float_of and x.dtype not in (np.float32, np.float64) else x
        return function(wide)

    register(Op(name, infer, _quiet(reference), ("data",), kind="elementwise", mxnet=mxnet))


for _name, (_function, _mxnet) in _SAME.items():
    _register_unary(_name, _function, _mxnet, lambda t: t, refuse_bool=_name in {"negative", "sign", "square"})
for _name, (_function, _mxnet) in _FLOAT.items():
    _register_unary(_name, _function, _mxnet, float_of)
for _name, (_function, _mxnet) in _PREDICATES.items():
    _register_unary(_name, _function, _mxnet, lambda t: BOOL)


def _infer_bitwise_not(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype not in INTEGERS and types[0].dtype != BOOL:
        raise TypeMismatchError(f"bitwise_not: input must be an integer or a bool, got {types[0]}")
    return [types[0]]


register(
    Op(
        "bitwise_not",
        _infer_bitwise_not,
        lambda attrs, x: np.bitwise_not(x),
        ("data",),
        kind="elementwise",
        mxnet=("_npi_bitwise_not",),
    )
)

UNARY = (*_SAME, *_FLOAT, *_PREDICATES, "bitwise_not")


# name: NumPy's function, kind of result, MXNet names, whether a reversed scalar form exists (r*_scalar).
# "number": the promoted dtype; "float": the promoted dtype, float32 for integers; "bits": integers and
# bools only; "bool": a comparison.
_BINARY: dict[str, tuple[Callable[..., Any], str, tuple[str, ...], bool]] = {
    "add": (np.add, "number", ("_npi_add", "elemwise_add", "broadcast_add", "_Plus", "_plus"), False),
    "subtract": (np.subtract, "number", ("_npi_subtract", "elemwise_sub", "broadcast_sub", "_Minus", "_sub"), True),
    "multiply": (np.multiply, "number", ("_npi_multiply", "elemwise_mul", "broadcast_mul", "_Mul", "_mul"), False),
    "true_divide": (np.true_divide, "float", ("_npi_true_divide", "elemwise_div", "broadcast_div", "_Div"), True),
    "floor_divide": (np.floor_divide, "number", ("_npi_floor_divide",), True),
    "mod": (np.mod, "number", ("_npi_mod", "broadcast_mod"), True),
    "fmod": (np.fmod, "number", ("_npi_fmod",), True),
    "power": (np.power, "number", ("_npi_power", "broadcast_power"), True),
    "maximum": (np.maximum, "number", ("_npi_maximum", "broadcast_maximum"), False),
    "minimum": (np.minimum, "number", ("_npi_minimum", "broadcast_minimum"), False),
    "fmax": (np.fmax, "number", ("_npi_fmax",), False),
    "fmin": (np.fmin, "number", ("_npi_fmin",), False),
    "arctan2": (np.arctan2, "float", ("_npi_arctan2",), True),
    "hypot": (np.hypot, "float", ("_npi_hypot", "broadcast_hypot"), False),
    "copysign": (np.copysign, "float", ("_npi_copysign",), True),
    "bitwise_and": (np.bitwise_and, "bits", ("_npi_bitwise_and",), False),
    "bitwise_or": (np.bitwise_or, "bits", ("_npi_bitwise_or",), False),
    "bitwise_xor": (np.bitwise_xor, "bits", ("_npi_bitwise_xor",), False),
    "equal": (np.equal, "bool", ("_npi_equal",), False),
    "not_equal": (np.not_equal, "bool", ("_npi_not_equal",), False),
    "less": (np.less, "bool", ("_npi_less",), False),
    "less_equal": (np.less_equal, "bool", ("_npi_less_equal",), False),
    "greater": (np.greater, "bool", ("_npi_greater",), False),
    "greater_equal": (np.greater_equal, "bool", ("_npi_greater_equal",), False),
    "logical_and": (np.logical_and, "bool", ("_npi_logical_and",), False),
    "logical_or": (np.logical_or, "bool", ("_npi_logical_or",), False),
    "logical_xor": (np.logical_xor, "bool", ("_npi_logical_xor",), False),
}

BINARY = tuple(_BINARY)
COMPARE = tuple(name for name, row in _BINARY.items() if row[1] == "bool")


def _binary_dtype(op: str, kind: str, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    if kind == "bool":
        return BOOL
    common = promote(*dtypes)
    if kind == "bits" and common in FLOATS:
        raise TypeMismatchError(f"{op}: inputs must be integers or bools, got {' and '.join(map(str, dtypes))}")
    if kind == "number" and common == BOOL and op.removesuffix("_scalar") in {"subtract", "rsubtract"}:
        raise TypeMismatchError(f"{op}: bools cannot be subtracted; use logical_xor or cast them first")
    return float_of(common) if kind == "float" else common


def _register_binary(name: str, function: Callable[..., Any], kind: str, mxnet: tuple[str, ...]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        _want_supported(name, types)
        dtype = _binary_dtype(name, kind, [t.dtype for t in types])
        return [TensorType(broadcast_shapes(name, types), dtype)]

    def reference(attrs: Attrs, a: Array, b: Array) -> Any:
        if kind in {"number", "float"}:
            dtype = _binary_dtype(name, kind, [a.dtype, b.dtype])
            a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        return function(a, b)

    register(Op(name, infer, _quiet(reference), ("lhs", "rhs"), kind="elementwise", mxnet=mxnet))


_SCALAR_ATTRS = (Attr("scalar", "float"), Attr("is_int", "bool", True))


def _scalar_value(attrs: Attrs) -> int | float:
    """The scalar as Python's int or float, which decides the dtype of the result."""
    whole = attrs.is_int and float(attrs.scalar).is_integer()
    return int(attrs.scalar) if whole else float(attrs.scalar)


def _register_scalar(
    name: str, function: Callable[..., Any], kind: str, mxnet: tuple[str, ...], reversed_: bool = False
) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        _want_supported(name, types)
        t, scalar = types[0], _scalar_value(attrs)
        if kind == "bool":
            return [TensorType(t.shape, BOOL)]
        if isinstance(scalar, float):
            own = float_of(t.dtype)
        elif t.dtype == BOOL:
            own = INT64
        else:
            own = t.dtype
            if own in INTEGERS and kind != "float" and not np.iinfo(own).min <= scalar <= np.iinfo(own).max:
                raise OpError(f"{name}: the scalar {scalar} does not fit into {own}")
        if function is np.power and own in INTEGERS and not reversed_ and scalar < 0:
            raise OpError(f"{name}: an integer array cannot be raised to the negative power {scalar}; cast it first")
        return [TensorType(t.shape, _binary_dtype(name, kind, [own]))]

    def reference(attrs: Attrs, x: Array) -> Any:
        scalar = _scalar_value(attrs)
        if kind != "bool":
            x = x.astype(infer(attrs, [TensorType.of(x)])[0].dtype, copy=False)
        return function(scalar, x) if reversed_ else function(x, scalar)

    register(Op(name, infer, _quiet(reference), ("data",), attrs=_SCALAR_ATTRS, kind="elementwise", mxnet=mxnet))


_OLD_SCALAR_NAMES = {
    "add_scalar": ("_plus_scalar", "_PlusScalar"),
    "subtract_scalar": ("_minus_scalar", "_MinusScalar"),
    "rsubtract_scalar": ("_rminus_scalar", "_RMinusScalar"),
    "multiply_scalar": ("_mul_scalar", "_MulScalar"),
    "true_divide_scalar": ("_div_scalar", "_DivScalar"),
    "rtrue_divide_scalar": ("_rdiv_scalar", "_RDivScalar"),
    "mod_scalar": ("_mod_scalar", "_ModScalar"),
    "rmod_scalar": ("_rmod_scalar", "_RModScalar"),
    "power_scalar": ("_power_scalar", "_PowerScalar"),
    "rpower_scalar": ("_rpower_scalar", "_RPowerScalar"),
    "maximum_scalar": ("_maximum_scalar", "_MaximumScalar"),
    "minimum_scalar": ("_minimum_scalar", "_MinimumScalar"),
}

for _name, (_function, _kind, _mxnet, _has_reversed) in _BINARY.items():
    _register_binary(_name, _function, _kind, _mxnet)
    _forms = [(f"{_name}_scalar", False)] + ([(f"r{_name}_scalar", True)] if _has_reversed else [])
    for _form, _is_reversed in _forms:
        _register_scalar(_form, _function, _kind, (f"_npi_{_form}", *_OLD_SCALAR_NAMES.get(_form, ())), _is_reversed)
