"""Operators without a family, as NumPy computes them: covariances, interpolation, phases, ..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import (
    broadcast_shapes,
    normalize_axis,
    want_filled,
    want_float,
    want_min_rank,
    want_rank,
    want_shape,
)
from minidnn.ops.composed import Operand, expansion_of
from minidnn.ops.elementwise import BOOL, quiet, want_supported
from minidnn.ops.numpy_dtypes import defaulted, probed_dtype
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL, EpilogueStep

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_FLOAT64 = np.dtype(np.float64)


# ---- elementwise ---------------------------------------------------------------------------------------


def _infer_isclose(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("isclose", types)
    return [TensorType(broadcast_shapes("isclose", types), BOOL)]


def _isclose_dtype(inputs: Sequence[np.dtype[Any]], result: np.dtype[Any]) -> np.dtype[Any]:
    """NumPy makes the second operand a float."""
    return np.result_type(inputs[0], np.result_type(inputs[1], 1.0))


register(
    Op(
        "isclose",
        _infer_isclose,
        quiet(lambda attrs, a, b: np.isclose(a, b, attrs.rtol, attrs.atol, attrs.equal_nan)),
        ("lhs", "rhs"),
        attrs=(Attr("rtol", "float", 1e-5), Attr("atol", "float", 1e-8), Attr("equal_nan", "bool", False)),
        kind="elementwise",
        epilogue=lambda attrs: EpilogueStep(
            "isclose_equal_nan" if attrs.equal_nan else "isclose",
            (float(attrs.rtol), float(attrs.atol)),
            computes=_isclose_dtype,
        ),
        nonnegative=ALWAYS,
    )
)


def _infer_nan_to_num(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("nan_to_num", types)
    return [types[0]]


def _finite_numbers(attrs: Attrs, dtype: np.dtype[Any]) -> tuple[float, float, float]:
    """What NaN and the infinities become."""
    if dtype.kind != "f":
        return 0.0, 0.0, 0.0
    info = np.finfo(dtype)
    highest = info.max if attrs.posinf is None else attrs.posinf
    return float(attrs.nan), float(highest), float(info.min if attrs.neginf is None else attrs.neginf)


register(
    Op(
        "nan_to_num",
        _infer_nan_to_num,
        lambda attrs, x: np.nan_to_num(x, nan=attrs.nan, posinf=attrs.posinf, neginf=attrs.neginf),
        ("data",),
        attrs=(Attr("nan", "float", 0.0), Attr("posinf", "float", None), Attr("neginf", "float", None)),
        kind="elementwise",
        epilogue=lambda attrs: EpilogueStep(
            "nan_to_num", (0.0, 0.0, 0.0), numbers_in=lambda dtype: _finite_numbers(attrs, dtype)
        ),
        mxnet=("_npi_nan_to_num",),
    )
)


def _infer_interp(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "interp"
    want_supported(op, types)
    want_rank(op, "xp", types[1], 1)
    want_shape(op, "fp", types[2], types[1].shape, "that of xp")
    if not types[1].size:
        raise ShapeError(f"{op}: xp must not be empty")
    if attrs.period == 0:
        raise OpError(f"{op}: period must not be zero")
    return [TensorType(types[0].shape, defaulted(_FLOAT64, types))]


register(
    Op(
        "interp",
        _infer_interp,
        lambda attrs, x, xp, fp: np.interp(x, xp, fp, attrs.left, attrs.right, attrs.period),
        ("x", "xp", "fp"),
        attrs=(Attr("left", "float", None), Attr("right", "float", None), Attr("period", "float", None)),
    )
)


def _infer_unwrap(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "unwrap"
    want_supported(op, types)
    want_min_rank(op, "p", types[0], 1)
    normalize_axis(op, attrs.axis, types[0].ndim)
    if isinstance(attrs.period, bool) or not isinstance(attrs.period, (int, float)) or attrs.period == 0:
        raise OpError(f"{op}: period must be a number other than zero, got {attrs.period!r}")
    return [TensorType(types[0].shape, probed_dtype(lambda p: np.unwrap(p, period=attrs.period), types))]


register(
    Op(
        "unwrap",
        _infer_unwrap,
        quiet(lambda attrs, p: np.unwrap(p, attrs.discont, attrs.axis, period=attrs.period)),
        ("p",),
        attrs=(Attr("discont", "float", None), Attr("axis", "int", -1), Attr("period", "tree", 2 * np.pi)),
    )
)


# ---- vectors -------------------------------------------------------------------------------------------


def _infer_cross(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, leads = "cross", []
    want_supported(op, types)
    for name, t, axis in zip(("a", "b"), types, (attrs.axisa, attrs.axisb), strict=True):
        want_min_rank(op, name, t, 1)
        at = normalize_axis(op, axis, t.ndim, f"axis{name}")
        if t.shape[at] not in (2, 3):
            raise ShapeError(f"{op}: {name} must have vectors of 2 or 3 elements, got {t.shape[at]} along axis {axis}")
        leads.append((t.shape[at], TensorType(t.shape[:at] + t.shape[at + 1 :], t.dtype)))
    shape = broadcast_shapes(op, [t for _, t in leads])
    if any(count == 3 for count, _ in leads):
        at = normalize_axis(op, attrs.axisc, len(shape) + 1, "axisc")
        shape = (*shape[:at], 3, *shape[at:])
    return [TensorType(shape, defaulted(np.result_type(*(t.dtype for t in types)), types))]


register(
    Op(
        "cross",
        _infer_cross,
        lambda attrs, a, b: np.cross(a, b, attrs.axisa, attrs.axisb, attrs.axisc),
        ("a", "b"),
        attrs=(Attr("axisa", "int", -1), Attr("axisb", "int", -1), Attr("axisc", "int", -1)),
    )
)


def _infer_correlate(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op = "correlate"
    want_supported(op, types)
    for name, t in zip(("a", "v"), types, strict=True):
        want_rank(op, name, t, 1)
        want_filled(op, name, t, [0])
    short, long = sorted(t.size for t in types)
    count = {"valid": long - short + 1, "same": long, "full": long + short - 1}[attrs.mode]
    return [TensorType((count,), defaulted(np.result_type(*(t.dtype for t in types)), types))]


register(
    Op(
        "correlate",
        _infer_correlate,
        lambda attrs, a, v: np.correlate(a, v, attrs.mode),
        ("a", "v"),
        attrs=(Attr("mode", "str", "valid", choices=("valid", "same", "full")),),
    )
)


# ---- statistics ----------------------------------------------------------------------------------------


def _register_covariance(name: str, function: Callable[..., Any], attrs: tuple[Attr, ...]) -> None:
    def infer(values: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        want_supported(name, types)
        variables, observations = 0, set()
        for t in types:
            if t.ndim > 2:
                raise ShapeError(f"{name}: inputs must have at most 2 dimensions, got {t}")
            rows, columns = t.shape if t.ndim == 2 else (1, t.size)
            if t.ndim == 2 and not values.rowvar:
                rows, columns = columns, rows
            variables += rows
            observations.add(columns)
        if len(observations) > 1:
            raise ShapeError(f"{name}: inputs must have as many observations, got {' and '.join(map(str, types))}")
        shape = () if variables == 1 else (variables, variables)
        return [TensorType(shape, defaulted(_FLOAT64, types))]

    def reference(values: Attrs, x: Array, y: Array | None = None) -> Any:
        options = {a.name: values[a.name] for a in attrs}
        with np.errstate(all="ignore"):
            return function(x, y, values.rowvar, **options)

    register(
        Op(
            name,
            infer,
            reference,
            lambda values: ("data", "other") if values.num_args == 2 else ("data",),
            attrs=(Attr("num_args", "int", 1, choices=(1, 2)), Attr("rowvar", "bool", True), *attrs),
        )
    )


_register_covariance("cov", np.cov, (Attr("bias", "bool", False), Attr("ddof", "int", None)))
_register_covariance("corrcoef", np.corrcoef, ())


# ---- narrow floats -------------------------------------------------------------------------------------

# Bits of the mantissa, exponent of the least normal number, largest number; whether what is larger becomes infinite
# unless it saturates.
_NARROW = {
    "float16": (10, -14, 65504.0, True),
    "bfloat16": (7, -126, 3.3895313892515355e38, True),
    "float8_e4m3fn": (3, -6, 448.0, False),
    "float8_e4m3fnuz": (3, -7, 240.0, False),
    "float8_e5m2": (2, -14, 57344.0, True),
    "float8_e5m2fnuz": (2, -15, 57344.0, False),
}


def _round_float(attrs: Attrs, x: Array) -> Array:
    """The nearest number of a narrow type, half to even; beyond the largest one, that or infinity or NaN."""
    bits, least, largest, has_infinity = _NARROW[attrs.kind]
    wide = x.astype(np.float64)
    _, exponents = np.frexp(wide)
    step = np.exp2(np.maximum(exponents - 1, least) - float(bits))
    rounded = np.rint(wide / step) * step
    beyond = np.abs(rounded) > largest
    saturates = attrs.saturate and attrs.kind.startswith("float8")
    if saturates:
        limit = np.copysign(largest, wide)
    else:
        limit = np.copysign(np.inf, wide) if has_infinity else np.full_like(wide, np.nan)
    infinite = np.isinf(wide) & (saturates or not has_infinity)
    return np.where(beyond | infinite, limit, np.where(np.isfinite(wide), rounded, wide))


def _infer_round_float(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_float("round_float", "data", types[0])
    return [types[0]]


def _compose_round_float(attrs: Attrs, x: Operand) -> Operand | None:
    """float32 as float16 and back; to bfloat16 by its bits: half of the last one that stays is added, less for even."""
    if x.type.dtype != np.float32 or attrs.kind not in ("float16", "bfloat16"):
        return None
    if attrs.kind == "float16":
        return x.cast(np.float16).cast(np.float32)
    bits = x.apply("view_bits", dtype=np.int32)
    last = bits.apply("bitwise_right_shift_scalar", scalar=16).apply("bitwise_and_scalar", scalar=1)
    half = bits.apply("add_scalar", scalar=0x7FFF, is_int=True)
    rounded = half.apply("add", last).apply("bitwise_and_scalar", scalar=-0x10000).apply("view_bits", dtype=np.float32)
    return x.apply("isnan").apply("where", x, rounded)


register(
    Op(
        "round_float",
        _infer_round_float,
        _round_float,
        ("data",),
        attrs=(Attr("kind", "str", choices=tuple(_NARROW)), Attr("saturate", "bool", True)),
        nonnegative=IF_ALL,
        expansion=expansion_of(_compose_round_float),
    )
)


def _infer_view_bits(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_supported("view_bits", types)
    if types[0].dtype.itemsize != attrs.dtype.itemsize:
        raise OpError(f"view_bits: elements of {types[0].dtype} and of {attrs.dtype} have different sizes")
    return [TensorType(types[0].shape, attrs.dtype)]


register(
    Op(
        "view_bits",
        _infer_view_bits,
        lambda attrs, x: np.ascontiguousarray(x).view(attrs.dtype),
        ("data",),
        attrs=(Attr("dtype", "dtype"),),
    )
)
