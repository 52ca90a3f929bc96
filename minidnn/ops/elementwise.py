"""Elementwise operators: one row of a table each.

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

from minidnn.errors import OpError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOAT32, FLOATS, INTEGERS, broadcast_shapes
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import (
    ALWAYS,
    IF_ALL,
    IF_ANY,
    IF_FIRST,
    IF_SECOND,
    EpilogueForm,
    EpilogueStep,
    Part,
    Sign,
    if_first_or_scalar,
    if_scalar,
    if_scalar_and_all,
    scalar_step,
    step,
)

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


# Results of the same dtype as the input.
_SAME: dict[str, _Row] = {
    "abs": _Row(np.abs, ("_npi_absolute", "abs"), step("absolute"), ALWAYS),
    "sign": _Row(np.sign, ("_npi_sign", "sign"), step("sign"), IF_ALL),
    "negative": _Row(np.negative, ("_npi_negative", "negative"), step("negative")),
    "square": _Row(np.square, ("_npi_square", "square"), step("square"), ALWAYS),
    "relu": _Row(
        lambda x: np.maximum(x, 0), ("_npx_relu", "relu"), step("relu"), ALWAYS, "act", {"int8_in_full_mode": True}
    ),
    "floor": _Row(np.floor, ("_npi_floor", "floor"), step("floor"), IF_ALL),
    "ceil": _Row(np.ceil, ("_npi_ceil", "ceil"), step("ceil"), IF_ALL),
    "trunc": _Row(np.trunc, ("_npi_trunc", "trunc"), step("trunc"), IF_ALL),
    "fix": _Row(np.trunc, ("_npi_fix", "fix"), step("trunc"), IF_ALL),
    "rint": _Row(np.rint, ("_npi_rint", "rint"), step("rint"), IF_ALL),
    # Halves go away from zero, as MXNet 1.x rounds; NumPy's round is `rint`.
    "round": _Row(lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), ("round",), step("round"), IF_ALL),
    "identity": _Row(
        lambda x: x,
        ("_npi_copy", "_copy", "identity", "BlockGrad", "_npx_stop_gradient", "make_loss"),
        None,
        IF_ALL,
        traits={"is_identity": True, "keeps_order": True, "scale_transparent": True},
    ),
}

# Results in floats; computed in at least float32.
_FLOAT: dict[str, _Row] = {
    "exp": _Row(np.exp, ("_npi_exp", "exp"), step("exp"), ALWAYS),
    "expm1": _Row(np.expm1, ("_npi_expm1", "expm1"), step("expm1"), IF_ALL),
    "log": _Row(np.log, ("_npi_log", "log"), step("log")),
    "log2": _Row(np.log2, ("_npi_log2", "log2")),
    "log10": _Row(np.log10, ("_npi_log10", "log10")),
    "log1p": _Row(np.log1p, ("_npi_log1p", "log1p"), step("log1p"), IF_ALL),
    "sqrt": _Row(np.sqrt, ("_npi_sqrt", "sqrt"), step("sqrt"), ALWAYS),
    "rsqrt": _Row(lambda x: 1 / np.sqrt(x), ("rsqrt",), step("rsqrt"), IF_ALL),
    "cbrt": _Row(np.cbrt, ("_npi_cbrt", "cbrt"), None, IF_ALL),
    "rcbrt": _Row(lambda x: 1 / np.cbrt(x), ("rcbrt",), None, IF_ALL),
    "reciprocal": _Row(lambda x: 1 / x, ("_npi_reciprocal", "reciprocal"), step("reciprocal"), IF_ALL),
    "sin": _Row(np.sin, ("_npi_sin", "sin")),
    "cos": _Row(np.cos, ("_npi_cos", "cos")),
    "tan": _Row(np.tan, ("_npi_tan", "tan")),
    "arcsin": _Row(np.arcsin, ("_npi_arcsin", "arcsin"), None, IF_ALL),
    "arccos": _Row(np.arccos, ("_npi_arccos", "arccos"), None, ALWAYS),
    "arctan": _Row(np.arctan, ("_npi_arctan", "arctan"), None, IF_ALL),
    "sinh": _Row(np.sinh, ("_npi_sinh", "sinh"), None, IF_ALL),
    "cosh": _Row(np.cosh, ("_npi_cosh", "cosh"), None, ALWAYS),
    "tanh": _Row(np.tanh, ("_npi_tanh", "tanh"), step("tanh"), IF_ALL, "act"),
    "arcsinh": _Row(np.arcsinh, ("_npi_arcsinh", "arcsinh"), None, IF_ALL),
    "arccosh": _Row(np.arccosh, ("_npi_arccosh", "arccosh"), None, ALWAYS),
    "arctanh": _Row(np.arctanh, ("_npi_arctanh", "arctanh"), None, IF_ALL),
    "degrees": _Row(np.degrees, ("_npi_degrees", "degrees"), step("multiply_scalar", 180.0 / math.pi), IF_ALL),
    "radians": _Row(np.radians, ("_npi_radians", "radians"), step("multiply_scalar", math.pi / 180.0), IF_ALL),
    "erf": _Row(_per_element(math.erf), ("_npx_erf", "erf"), step("erf"), IF_ALL),
    "erfinv": _Row(_per_element(_erfinv), ("_npx_erfinv", "erfinv"), None, IF_ALL),
    "gamma": _Row(_per_element(_gamma), ("_npx_gamma", "gamma"), None, IF_ALL),
    "gammaln": _Row(_per_element(_lgamma), ("_npx_gammaln", "gammaln")),
    "sigmoid": _Row(_logistic, ("_npx_sigmoid", "sigmoid"), step("sigmoid"), ALWAYS, "act"),
    "log_sigmoid": _Row(
        lambda x: -np.logaddexp(0, -x), ("_npx_log_sigmoid", "log_sigmoid"), step("log_sigmoid"), None, "act"
    ),
    "softsign": _Row(lambda x: x / (1 + np.abs(x)), ("_npx_softsign", "softsign"), step("softsign"), IF_ALL, "act"),
    "mish": _Row(lambda x: x * np.tanh(np.logaddexp(0, x)), ("_npx_mish", "mish"), step("mish"), IF_ALL, "act"),
    "silu": _Row(lambda x: x * _logistic(x), (), step("silu"), IF_ALL, "act", {"decomposition": _silu_parts}),
    "hard_swish": _Row(
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        (),
        step("hard_swish"),
        IF_ALL,
        "act",
        {"decomposition": _hard_swish_parts},
    ),
}

_PREDICATES: dict[str, _Row] = {
    "logical_not": _Row(np.logical_not, ("_npi_logical_not",), None, ALWAYS),
    "isnan": _Row(np.isnan, ("_npi_isnan",), None, ALWAYS),
    "isinf": _Row(np.isinf, ("_npi_isinf",), None, ALWAYS),
    "isposinf": _Row(np.isposinf, ("_npi_isposinf",), None, ALWAYS),
    "isneginf": _Row(np.isneginf, ("_npi_isneginf",), None, ALWAYS),
    "isfinite": _Row(np.isfinite, ("_npi_isfinite",), None, ALWAYS),
}


def _register_unary(
    name: str, row: _Row, dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]], refuse_bool: bool = False
) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        _want_supported(name, types)
        if refuse_bool and types[0].dtype == BOOL:
            raise TypeMismatchError(f"{name}: input must be a number, got {types[0]}")
        return [TensorType(types[0].shape, dtype_of(types[0].dtype))]

    def reference(attrs: Attrs, x: Array) -> Any:
        # float16 and integers are computed in float32, so that only the result is rounded.
        wide = x.astype(np.float32) if dtype_of is float_of and x.dtype not in (np.float32, np.float64) else x
        return row.function(wide)

    register(
        Op(
            name,
            infer,
            _quiet(reference),
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
        mxnet=("_npi_bitwise_not",),
    )
)

UNARY = (*_SAME, *_FLOAT, *_PREDICATES, "bitwise_not")


@dataclass(frozen=True)
class _Form:
    """The traits of one form of a binary operator: of two arrays, of an array and a scalar, or of these reversed."""

    epilogue: EpilogueForm | None = None
    nonnegative: Sign | None = None
    int8_in_full_mode: bool = False


@dataclass(frozen=True)
class _BinaryRow:
    """A binary operator.

    Args:
        function: NumPy's.
        kind: of the result: ``number``: the promoted dtype; ``float``: the promoted dtype, float32 for integers;
            ``bits``: integers and bools only; ``bool``: a comparison.
        mxnet: MXNet's names.
        arrays: its traits on two arrays.
        scalar: on an array and a scalar.
        reversed: on a scalar and an array; None if that form does not exist.
        label: the word in names of fused nodes, for all forms; empty for the name of the form on arrays.
    """

    function: Callable[..., Any]
    kind: str
    mxnet: tuple[str, ...]
    arrays: _Form = _Form()
    scalar: _Form = _Form()
    reversed: _Form | None = None
    label: str = ""


def _power_step(attrs: Attrs) -> EpilogueStep | None:
    """The powers that are an instruction; any other takes a logarithm."""
    return {1.0: EpilogueStep("multiply_scalar", (1.0,)), 2.0: EpilogueStep("square"), -1.0: _RECIPROCAL}.get(
        attrs.scalar
    )


_RECIPROCAL = EpilogueStep("reciprocal")


def _power_sign(attrs: Attrs, inputs: Sequence[bool]) -> bool:
    return IF_FIRST(attrs, inputs) or attrs.scalar % 2 == 0


def _arithmetic(
    op: str, sign: Sign | None, scalar_sign: Sign | None, full: tuple[bool, bool] = (False, False)
) -> tuple[_Form, _Form]:
    """The two forms of an operator that is one instruction each."""
    return _Form(step(op), sign, full[0]), _Form(scalar_step(f"{op}_scalar"), scalar_sign, full[1])


_COMPARISON = (_Form(nonnegative=ALWAYS), _Form(nonnegative=ALWAYS))

_BINARY: dict[str, _BinaryRow] = {
    "add": _BinaryRow(
        np.add,
        "number",
        ("_npi_add", "elemwise_add", "broadcast_add", "_Plus", "_plus"),
        *_arithmetic("add", IF_ALL, if_scalar_and_all, (True, False)),
    ),
    "subtract": _BinaryRow(
        np.subtract,
        "number",
        ("_npi_subtract", "elemwise_sub", "broadcast_sub", "_Minus", "_sub"),
        *_arithmetic("subtract", None, None, (True, False)),
        _Form(scalar_step("rsubtract_scalar")),
        "sub",
    ),
    "multiply": _BinaryRow(
        np.multiply,
        "number",
        ("_npi_multiply", "elemwise_mul", "broadcast_mul", "_Mul", "_mul"),
        *_arithmetic("multiply", IF_ALL, if_scalar_and_all),
        label="mul",
    ),
    "true_divide": _BinaryRow(
        np.true_divide,
        "float",
        ("_npi_true_divide", "elemwise_div", "broadcast_div", "_Div"),
        *_arithmetic("divide", IF_ALL, if_scalar_and_all),
        _Form(scalar_step("rdivide_scalar"), if_scalar_and_all),
        "div",
    ),
    "floor_divide": _BinaryRow(
        np.floor_divide,
        "number",
        ("_npi_floor_divide",),
        _Form(nonnegative=IF_ALL),
        _Form(nonnegative=if_scalar_and_all),
        _Form(nonnegative=if_scalar_and_all),
    ),
    # The remainder has the sign of the divisor; fmod's has that of the dividend.
    "mod": _BinaryRow(
        np.mod,
        "number",
        ("_npi_mod", "broadcast_mod"),
        _Form(nonnegative=IF_SECOND),
        _Form(nonnegative=if_scalar),
        _Form(nonnegative=IF_FIRST),
    ),
    "fmod": _BinaryRow(
        np.fmod,
        "number",
        ("_npi_fmod",),
        _Form(nonnegative=IF_FIRST),
        _Form(nonnegative=IF_FIRST),
        _Form(nonnegative=if_scalar),
    ),
    "power": _BinaryRow(
        np.power,
        "number",
        ("_npi_power", "broadcast_power"),
        _Form(nonnegative=IF_FIRST),
        _Form(_power_step, _power_sign),
        _Form(nonnegative=if_scalar),
    ),
    "maximum": _BinaryRow(
        np.maximum,
        "number",
        ("_npi_maximum", "broadcast_maximum"),
        *_arithmetic("maximum", IF_ANY, if_first_or_scalar, (False, True)),
        label="max",
    ),
    "minimum": _BinaryRow(
        np.minimum,
        "number",
        ("_npi_minimum", "broadcast_minimum"),
        *_arithmetic("minimum", IF_ALL, if_scalar_and_all, (False, True)),
        label="min",
    ),
    # Where one operand is nan these give the other one, so that one alone does not decide.
    "fmax": _BinaryRow(np.fmax, "number", ("_npi_fmax",), _Form(nonnegative=IF_ALL), _Form(nonnegative=if_scalar)),
    "fmin": _BinaryRow(
        np.fmin, "number", ("_npi_fmin",), _Form(nonnegative=IF_ALL), _Form(nonnegative=if_scalar_and_all)
    ),
    "arctan2": _BinaryRow(
        np.arctan2,
        "float",
        ("_npi_arctan2",),
        _Form(nonnegative=IF_FIRST),
        _Form(nonnegative=IF_FIRST),
        _Form(nonnegative=if_scalar),
    ),
    "hypot": _BinaryRow(np.hypot, "float", ("_npi_hypot", "broadcast_hypot"), *_COMPARISON),
    "copysign": _BinaryRow(
        np.copysign,
        "float",
        ("_npi_copysign",),
        _Form(),
        _Form(nonnegative=lambda attrs, inputs: math.copysign(1.0, attrs.scalar) > 0),
        _Form(),
    ),
    "bitwise_and": _BinaryRow(np.bitwise_and, "bits", ("_npi_bitwise_and",)),
    "bitwise_or": _BinaryRow(np.bitwise_or, "bits", ("_npi_bitwise_or",)),
    "bitwise_xor": _BinaryRow(np.bitwise_xor, "bits", ("_npi_bitwise_xor",)),
    "equal": _BinaryRow(np.equal, "bool", ("_npi_equal",), *_COMPARISON),
    "not_equal": _BinaryRow(np.not_equal, "bool", ("_npi_not_equal",), *_COMPARISON),
    "less": _BinaryRow(np.less, "bool", ("_npi_less",), *_COMPARISON),
    "less_equal": _BinaryRow(np.less_equal, "bool", ("_npi_less_equal",), *_COMPARISON),
    "greater": _BinaryRow(np.greater, "bool", ("_npi_greater",), *_COMPARISON),
    "greater_equal": _BinaryRow(np.greater_equal, "bool", ("_npi_greater_equal",), *_COMPARISON),
    "logical_and": _BinaryRow(np.logical_and, "bool", ("_npi_logical_and",), *_COMPARISON),
    "logical_or": _BinaryRow(np.logical_or, "bool", ("_npi_logical_or",), *_COMPARISON),
    "logical_xor": _BinaryRow(np.logical_xor, "bool", ("_npi_logical_xor",), *_COMPARISON),
}

BINARY = tuple(_BINARY)
COMPARE = tuple(name for name, row in _BINARY.items() if row.kind == "bool")


def _binary_dtype(op: str, kind: str, dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    if kind == "bool":
        return BOOL
    common = promote(*dtypes)
    if kind == "bits" and common in FLOATS:
        raise TypeMismatchError(f"{op}: inputs must be integers or bools, got {' and '.join(map(str, dtypes))}")
    if kind == "number" and common == BOOL and op.removesuffix("_scalar") in {"subtract", "rsubtract"}:
        raise TypeMismatchError(f"{op}: bools cannot be subtracted; use logical_xor or cast them first")
    return float_of(common) if kind == "float" else common


def _traits(name: str, row: _BinaryRow, form: _Form) -> dict[str, Any]:
    return {
        "label": row.label or name,
        "epilogue": form.epilogue,
        "nonnegative": form.nonnegative,
        "int8_in_full_mode": form.int8_in_full_mode,
    }


def _register_binary(name: str, row: _BinaryRow) -> None:
    function, kind = row.function, row.kind

    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        _want_supported(name, types)
        dtype = _binary_dtype(name, kind, [t.dtype for t in types])
        return [TensorType(broadcast_shapes(name, types), dtype)]

    def reference(attrs: Attrs, a: Array, b: Array) -> Any:
        if kind in {"number", "float"}:
            dtype = _binary_dtype(name, kind, [a.dtype, b.dtype])
            a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        return function(a, b)

    traits = _traits(name, row, row.arrays)
    register(Op(name, infer, _quiet(reference), ("lhs", "rhs"), kind="elementwise", mxnet=row.mxnet, **traits))


_SCALAR_ATTRS = (Attr("scalar", "float"), Attr("is_int", "bool", True))


def _scalar_value(attrs: Attrs) -> int | float:
    """The scalar as Python's int or float, which decides the dtype of the result."""
    whole = attrs.is_int and float(attrs.scalar).is_integer()
    return int(attrs.scalar) if whole else float(attrs.scalar)


def _register_scalar(base: str, row: _BinaryRow, form: _Form, reversed_: bool = False) -> None:
    name = f"{'r' if reversed_ else ''}{base}_scalar"
    function, kind = row.function, row.kind
    mxnet = (f"_npi_{name}", *_OLD_SCALAR_NAMES.get(name, ()))

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

    register(
        Op(
            name,
            infer,
            _quiet(reference),
            ("data",),
            attrs=_SCALAR_ATTRS,
            kind="elementwise",
            mxnet=mxnet,
            **_traits(base, row, form),
        )
    )


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

for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
    _register_scalar(_name, _binary, _binary.scalar)
    if _binary.reversed is not None:
        _register_scalar(_name, _binary, _binary.reversed, reversed_=True)
