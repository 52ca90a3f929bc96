"""Elementwise operators of one array: one row of a table each. Those of two are in `minidnn.ops.binary`.

dtypes follow NumPy 2 with weak Python scalars, except that minidnn's default float is float32: an
integer array among floats takes the floats' dtype, and a function that leaves the integers (`exp`,
division, a float scalar) gives float32 on integer input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn.errors import TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOAT32, FLOATS, INTEGERS
from minidnn.ops.registry import Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, AS_BOOLS, IF_ALL, IN_COMMON, EpilogueForm, Part, Sign, step

__all__ = ["BOOL", "INT64", "UNARY", "float_of", "promote", "quiet", "want_supported"]

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


def want_supported(op: str, types: Sequence[TensorType]) -> None:
    for t in types:
        if t.dtype not in DTYPES:
            raise TypeMismatchError(f"{op}: inputs must be bool, integer or float, got {t}")


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
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


def _digamma(x: Array) -> Array:
    """The derivative of `gammaln` (Abramowitz and Stegun, 6.3.5, 6.3.7 and 6.3.18); nan at its poles."""
    wide = x.astype(np.float64)
    left = wide < 0.5
    y = np.where(left, 1.0 - wide, wide)
    result = np.where(left, -math.pi / np.tan(math.pi * wide), 0.0)
    for _ in range(8):
        small = y < 8.0
        result = result - np.where(small, 1.0 / np.where(small, y, 1.0), 0.0)
        y = np.where(small, y + 1.0, y)
    square = 1.0 / (y * y)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
    result = result + np.log(y) - 0.5 / y - series
    return np.asarray(np.where((wide <= 0) & (wide == np.floor(wide)), np.nan, result))


def _per_element(function: Callable[[float], float]) -> Callable[[Array], Array]:
    return np.vectorize(function, otypes=[np.float64])


def _logistic(x: Array) -> Array:
    # exp of a non-positive number only: no overflow on either side.
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small))


def _of_floats(function: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A way of rounding: integers are whole, and stay exactly what they are."""
    return lambda x: function(x) if x.dtype in FLOATS else x


@dataclass(frozen=True)
class _Row:
    """A unary operator: NumPy's function, MXNet's names, and its traits."""

    function: Callable[[Array], Any]
    mxnet: tuple[str, ...] = ()
    epilogue: EpilogueForm | None = None
    nonnegative: Sign | None = None
    label: str = ""
    traits: Mapping[str, Any] = field(default_factory=dict)


def _silu_parts(attrs: Attrs) -> tuple[Part, ...]:
    return Part("sigmoid", suffix="sigmoid"), Part("multiply", (0, 1))


def _hard_swish_parts(attrs: Attrs) -> tuple[Part, ...]:
    return (
        Part("true_divide_scalar", (0,), {"scalar": 6.0}, "sixth"),
        Part("add_scalar", (1,), {"scalar": 0.5, "is_int": False}, "shifted"),
        Part("clip", (2,), {"a_min": 0.0, "a_max": 1.0}, "gate"),
        Part("multiply", (0, 3)),
    )


def _in_float32(inputs: Sequence[np.dtype[Any]], result: np.dtype[Any]) -> np.dtype[Any] | None:
    return FLOAT32 if result == FLOAT32 else None


_TUNED = {"int8_when_tuned": True}

# Results of the same dtype as the input.
_SAME: dict[str, _Row] = {
    "abs": _Row(np.abs, ("_npi_absolute", "abs"), step("absolute"), ALWAYS, traits=_TUNED),
    "sign": _Row(np.sign, ("_npi_sign", "sign"), step("sign"), IF_ALL),
    "negative": _Row(np.negative, ("_npi_negative", "negative"), step("negative"), traits=_TUNED),
    "square": _Row(np.square, ("_npi_square", "square"), step("square"), ALWAYS, traits=_TUNED),
    "relu": _Row(
        lambda x: np.maximum(x, 0), ("_npx_relu", "relu"), step("relu"), ALWAYS, "act", {"int8_in_full_mode": True}
    ),
    "floor": _Row(_of_floats(np.floor), ("_npi_floor", "floor"), step("floor"), IF_ALL),
    "ceil": _Row(_of_floats(np.ceil), ("_npi_ceil", "ceil"), step("ceil"), IF_ALL),
    "trunc": _Row(_of_floats(np.trunc), ("_npi_trunc", "trunc"), step("trunc"), IF_ALL),
    "fix": _Row(_of_floats(np.trunc), ("_npi_fix", "fix"), step("trunc"), IF_ALL),
    "rint": _Row(_of_floats(np.rint), ("_npi_rint", "rint"), step("rint"), IF_ALL),
    # Halves go away from zero, as MXNet 1.x rounds; NumPy's round is `rint`.
    "round": _Row(_of_floats(lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x)), ("round",), step("round"), IF_ALL),
    "identity": _Row(
        lambda x: x,
        ("_npi_copy", "_copy", "identity", "BlockGrad", "_npx_stop_gradient", "make_loss"),
        step("cast"),
        IF_ALL,
        traits={"is_identity": True, "keeps_order": True, "scale_transparent": True, "keeps_samples": True},
    ),
}

# Results in floats; computed in at least float32.
_FLOAT: dict[str, _Row] = {
    "exp": _Row(np.exp, ("_npi_exp", "exp"), step("exp"), ALWAYS),
    "expm1": _Row(np.expm1, ("_npi_expm1", "expm1"), step("expm1"), IF_ALL),
    "log": _Row(np.log, ("_npi_log", "log"), step("log")),
    "log2": _Row(np.log2, ("_npi_log2", "log2"), step("log2")),
    "log10": _Row(np.log10, ("_npi_log10", "log10"), step("log10")),
    "log1p": _Row(np.log1p, ("_npi_log1p", "log1p"), step("log1p"), IF_ALL),
    "sqrt": _Row(np.sqrt, ("_npi_sqrt", "sqrt"), step("sqrt"), ALWAYS),
    "rsqrt": _Row(lambda x: 1 / np.sqrt(x), ("rsqrt",), step("rsqrt"), IF_ALL),
    "cbrt": _Row(np.cbrt, ("_npi_cbrt", "cbrt"), step("cbrt"), IF_ALL),
    "rcbrt": _Row(lambda x: 1 / np.cbrt(x), ("rcbrt",), step("rcbrt"), IF_ALL),
    "reciprocal": _Row(lambda x: 1 / x, ("_npi_reciprocal", "reciprocal"), step("reciprocal"), IF_ALL),
    "sin": _Row(np.sin, ("_npi_sin", "sin"), step("sin"), traits=_TUNED),
    "cos": _Row(np.cos, ("_npi_cos", "cos"), step("cos"), traits=_TUNED),
    "tan": _Row(np.tan, ("_npi_tan", "tan"), step("tan")),
    "arcsin": _Row(np.arcsin, ("_npi_arcsin", "arcsin"), step("arcsin"), IF_ALL),
    "arccos": _Row(np.arccos, ("_npi_arccos", "arccos"), step("arccos"), ALWAYS),
    "arctan": _Row(np.arctan, ("_npi_arctan", "arctan"), step("arctan"), IF_ALL, traits=_TUNED),
    "sinh": _Row(np.sinh, ("_npi_sinh", "sinh"), step("sinh"), IF_ALL),
    "cosh": _Row(np.cosh, ("_npi_cosh", "cosh"), step("cosh"), ALWAYS),
    "tanh": _Row(np.tanh, ("_npi_tanh", "tanh"), step("tanh"), IF_ALL, "act", traits=_TUNED),
    "arcsinh": _Row(np.arcsinh, ("_npi_arcsinh", "arcsinh"), step("arcsinh"), IF_ALL, traits=_TUNED),
    "arccosh": _Row(np.arccosh, ("_npi_arccosh", "arccosh"), step("arccosh"), ALWAYS),
    "arctanh": _Row(np.arctanh, ("_npi_arctanh", "arctanh"), step("arctanh"), IF_ALL),
    "degrees": _Row(
        np.degrees, ("_npi_degrees", "degrees"), step("multiply_scalar", 180.0 / math.pi), IF_ALL, traits=_TUNED
    ),
    "radians": _Row(
        np.radians, ("_npi_radians", "radians"), step("multiply_scalar", math.pi / 180.0), IF_ALL, traits=_TUNED
    ),
    "erf": _Row(_per_element(math.erf), ("_npx_erf", "erf"), step("erf"), IF_ALL, traits=_TUNED),
    "erfinv": _Row(_per_element(_erfinv), ("_npx_erfinv", "erfinv"), step("erfinv"), IF_ALL),
    "gamma": _Row(_per_element(_gamma), ("_npx_gamma", "gamma"), step("gamma"), IF_ALL),
    "gammaln": _Row(_per_element(_lgamma), ("_npx_gammaln", "gammaln"), step("gammaln")),
    "digamma": _Row(_digamma, ("_npx_digamma", "digamma"), step("digamma")),
    "i0": _Row(np.i0, (), step("i0"), ALWAYS),
    "sigmoid": _Row(_logistic, ("_npx_sigmoid", "sigmoid"), step("sigmoid"), ALWAYS, "act", traits=_TUNED),
    "log_sigmoid": _Row(
        lambda x: -np.logaddexp(0, -x), ("_npx_log_sigmoid", "log_sigmoid"), step("log_sigmoid"), None, "act", _TUNED
    ),
    "softsign": _Row(
        lambda x: x / (1 + np.abs(x)), ("_npx_softsign", "softsign"), step("softsign"), IF_ALL, "act", traits=_TUNED
    ),
    "mish": _Row(
        lambda x: x * np.tanh(np.logaddexp(0, x)),
        ("_npx_mish", "mish"),
        step("mish"),
        IF_ALL,
        "act",
        {**_TUNED, "lowest": lambda attrs: -0.3089},
    ),
    "silu": _Row(
        lambda x: x * _logistic(x),
        (),
        step("silu"),
        IF_ALL,
        "act",
        {"decomposition": _silu_parts, "lowest": lambda attrs: -0.2785, **_TUNED},
    ),
    "hard_swish": _Row(
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        (),
        step("hard_swish"),
        IF_ALL,
        "act",
        {"decomposition": _hard_swish_parts, "lowest": lambda attrs: -0.375, **_TUNED},
    ),
}

# Results in floats that depend on the dtype itself, so that nothing wider can stand in for it.
_OF_DTYPE: dict[str, _Row] = {"spacing": _Row(np.spacing, (), step("spacing", computes=_in_float32))}

_PREDICATES: dict[str, _Row] = {
    "logical_not": _Row(np.logical_not, ("_npi_logical_not",), step("logical_not", computes=AS_BOOLS), ALWAYS),
    "isnan": _Row(np.isnan, ("_npi_isnan",), step("isnan", computes=IN_COMMON), ALWAYS),
    "isinf": _Row(np.isinf, ("_npi_isinf",), step("isinf", computes=IN_COMMON), ALWAYS),
    "isposinf": _Row(np.isposinf, ("_npi_isposinf",), step("isposinf", computes=IN_COMMON), ALWAYS),
    "isneginf": _Row(np.isneginf, ("_npi_isneginf",), step("isneginf", computes=IN_COMMON), ALWAYS),
    "isfinite": _Row(np.isfinite, ("_npi_isfinite",), step("isfinite", computes=IN_COMMON), ALWAYS),
}


def _register_unary(
    name: str,
    row: _Row,
    dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]],
    refuse_bool: bool = False,
    in_dtype: bool = False,
) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        want_supported(name, types)
        if refuse_bool and types[0].dtype == BOOL:
            raise TypeMismatchError(f"{name}: input must be a number, got {types[0]}")
        return [TensorType(types[0].shape, dtype_of(types[0].dtype))]

    def reference(attrs: Attrs, x: Array) -> Any:
        if in_dtype:
            return row.function(x.astype(dtype_of(x.dtype), copy=False))
        # float16 and integers are computed in float32, so that only the result is rounded.
        wide = x.astype(np.float32) if dtype_of is float_of and x.dtype not in (np.float32, np.float64) else x
        return row.function(wide)

    register(
        Op(
            name,
            infer,
            quiet(reference),
            ("data",),
            kind="elementwise",
            mxnet=row.mxnet,
            label=row.label,
            epilogue=row.epilogue,
            nonnegative=row.nonnegative,
            **row.traits,
        )
    )


for _name, _row in _SAME.items():
    _register_unary(_name, _row, lambda t: t, refuse_bool=_name in {"negative", "sign", "square"})
for _name, _row in _FLOAT.items():
    _register_unary(_name, _row, float_of)
for _name, _row in _OF_DTYPE.items():
    _register_unary(_name, _row, float_of, in_dtype=True)
for _name, _row in _PREDICATES.items():
    _register_unary(_name, _row, lambda t: BOOL)


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
        epilogue=step("bitwise_not"),
        mxnet=("_npi_bitwise_not",),
    )
)


def _infer_frexp(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("frexp", types)
    data = types[0]
    return [TensorType(data.shape, float_of(data.dtype)), TensorType(data.shape, np.dtype(np.int32))]


register(
    Op(
        "frexp",
        _infer_frexp,
        lambda attrs, x: np.frexp(x.astype(float_of(x.dtype), copy=False)),
        ("data",),
        outputs=2,
    )
)

UNARY = (*_SAME, *_FLOAT, *_OF_DTYPE, *_PREDICATES, "bitwise_not")
