"""Reductions: sums, extremes, moments and the positions of extremes; and the cumulative forms along an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOATS, normalize_axes, normalize_axis
from minidnn.ops.elementwise import BOOL, INT64, float_of, want_supported
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS, IF_ALL, Sign

__all__ = ["wide_dtype"]

Array = np.ndarray[Any, Any]
_UINT64 = np.dtype(np.uint64)


def _reduced(op: str, attrs: Attrs, data: TensorType, needs_elements: bool) -> tuple[int, ...]:
    """The shape of the result."""
    axes = normalize_axes(op, attrs.axis, data.ndim)
    if needs_elements and any(data.shape[axis] == 0 for axis in axes):
        raise ShapeError(f"zero-size reduction: {op} has no identity, got {data}, axis={attrs.axis}")
    if attrs.keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(data.shape))
    return tuple(n for i, n in enumerate(data.shape) if i not in axes)


def wide_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which sums of `dtype` are kept: integers in 64 bits."""
    if dtype in FLOATS:
        return dtype
    return _UINT64 if dtype.kind == "u" else INT64


def _want_supported(op: str, attrs: Attrs, data: TensorType) -> None:
    dtype = attrs.get("dtype")
    if data.dtype not in DTYPES:
        raise TypeMismatchError(f"{op}: data must be bool, integer or float, got {data}")
    if dtype is not None and dtype not in DTYPES:
        raise TypeMismatchError(f"{op}: dtype must be bool, integer or float, got {dtype}")


_AXIS = (Attr("axis", "ints", None), Attr("keepdims", "bool", False))
_DTYPE = Attr("dtype", "dtype", None)


def _check_axes(op: str) -> Callable[[Attrs], None]:
    def check(attrs: Attrs) -> None:
        if attrs.axis is not None and None in attrs.axis:
            raise OpError(f"{op}: axis must be all integers, got {attrs.axis}")

    return check


def _register_reduction(
    name: str,
    function: Callable[..., Any],
    dtype_of: Callable[[np.dtype[Any]], np.dtype[Any]],
    attrs: tuple[Attr, ...] = (),
    needs_elements: bool = False,
    nonnegative: Sign = IF_ALL,
) -> None:
    def infer(values: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        _want_supported(name, values, data)
        return [TensorType(_reduced(name, values, data, needs_elements), values.get("dtype") or dtype_of(data.dtype))]

    def reference(values: Attrs, x: Array) -> Any:
        # Sums of floats are kept in float64: the result is rounded once.
        out = infer(values, [TensorType.of(x)])[0].dtype
        options: dict[str, Any] = {}
        if any(a.name == "dtype" for a in attrs):
            options["dtype"] = np.float64 if out in FLOATS else out
        if "ddof" in values:
            options["ddof"] = values.ddof
        with np.errstate(all="ignore"):
            return function(x, axis=values.axis, keepdims=values.keepdims, **options)

    register(
        Op(
            name,
            infer,
            reference,
            ("data",),
            attrs=(*_AXIS, *attrs),
            kind="reduction",
            mxnet=() if name.startswith("nan") else (f"_npi_{name}",),
            check=_check_axes(name),
            nonnegative=nonnegative,
        )
    )


def _moment(function: Callable[..., Any]) -> Callable[..., Any]:
    """mean, var or std; with too few elements the result is nan, as NumPy says it, without its warning."""

    def reference(x: Array, axis: Any, keepdims: bool, **options: Any) -> Any:
        count = x.size if axis is None else int(np.prod([x.shape[a] for a in axis], dtype=np.int64))
        if count <= options.get("ddof", 0):
            return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64) * np.nan
        return function(x, axis=axis, keepdims=keepdims, **options)

    return reference


_register_reduction("sum", np.sum, wide_dtype, (_DTYPE,))
_register_reduction("prod", np.prod, wide_dtype, (_DTYPE,))
_register_reduction("mean", _moment(np.mean), float_of, (_DTYPE,))
_register_reduction("var", _moment(np.var), float_of, (_DTYPE, Attr("ddof", "int", 0, low=0)), nonnegative=ALWAYS)
_register_reduction("std", _moment(np.std), float_of, (_DTYPE, Attr("ddof", "int", 0, low=0)), nonnegative=ALWAYS)
_register_reduction("max", np.max, lambda t: t, needs_elements=True)
_register_reduction("min", np.min, lambda t: t, needs_elements=True)
# Like the above, but elements that are nan do not count.
_register_reduction("nansum", np.nansum, wide_dtype, (_DTYPE,))
_register_reduction("nanmean", _moment(np.nanmean), float_of, (_DTYPE,))
_register_reduction("nanmax", np.nanmax, lambda t: t, needs_elements=True)
_register_reduction("nanmin", np.nanmin, lambda t: t, needs_elements=True)
_register_reduction("any", np.any, lambda t: BOOL, nonnegative=ALWAYS)
_register_reduction("all", np.all, lambda t: BOOL, nonnegative=ALWAYS)


def _infer_constraint_check(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype != BOOL:
        raise TypeMismatchError(f"constraint_check: input must be bool, got {types[0]}")
    return [TensorType((), BOOL)]


def _constraint_check(attrs: Attrs, x: Array) -> Array:
    """True.

    Raises:
        OpError: an element is False.
    """
    if not x.all():
        raise OpError(attrs.msg)
    return np.asarray(True)


register(
    Op(
        "constraint_check",
        _infer_constraint_check,
        _constraint_check,
        ("input",),
        attrs=(Attr("msg", "str", "Constraint violated!"),),
        mxnet=("_npx_constraint_check",),
        nonnegative=ALWAYS,
    )
)


def _register_position(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        _want_supported(name, attrs, data)
        if attrs.axis is None:
            shape = (1,) * data.ndim if attrs.keepdims else ()
            empty = data.size == 0
        else:
            axis = normalize_axis(name, attrs.axis, data.ndim)
            shape = (*data.shape[:axis], *((1,) if attrs.keepdims else ()), *data.shape[axis + 1 :])
            empty = data.shape[axis] == 0
        if empty:
            raise ShapeError(f"zero-size reduction: {name} has no identity, got {data}, axis={attrs.axis}")
        return [TensorType(shape, INT64)]

    def reference(attrs: Attrs, x: Array) -> Any:
        try:
            return function(x, axis=attrs.axis, keepdims=attrs.keepdims)
        except ValueError as error:
            raise OpError(f"{name}: {error}") from None

    register(
        Op(
            name,
            infer,
            reference,
            ("data",),
            attrs=(Attr("axis", "int", None), Attr("keepdims", "bool", False)),
            kind="reduction",
            mxnet=() if name.startswith("nan") else (f"_npi_{name}",),
            nonnegative=ALWAYS,
        )
    )


_register_position("argmax", np.argmax)
_register_position("argmin", np.argmin)
# Only numbers count; a slice without any is an error.
_register_position("nanargmax", np.nanargmax)
_register_position("nanargmin", np.nanargmin)


def _register_cumulative(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        want_supported(name, types)
        if attrs.dtype is not None and attrs.dtype not in DTYPES:
            raise TypeMismatchError(f"{name}: dtype must be bool, integer or float, got {attrs.dtype}")
        if attrs.axis is not None:
            normalize_axis(name, attrs.axis, data.ndim)
        return [TensorType((data.size,) if attrs.axis is None else data.shape, attrs.dtype or wide_dtype(data.dtype))]

    def reference(attrs: Attrs, x: np.ndarray[Any, Any]) -> Any:
        with np.errstate(all="ignore"):
            return function(x, attrs.axis, attrs.dtype)

    register(
        Op(
            name,
            infer,
            reference,
            ("data",),
            attrs=(Attr("axis", "int", None), Attr("dtype", "dtype", None)),
            mxnet=() if name.startswith("nan") else (f"_np_{name}", f"_npi_{name}"),
            nonnegative=IF_ALL,
        )
    )


_register_cumulative("cumsum", np.cumsum)
_register_cumulative("cumprod", np.cumprod)
_register_cumulative("nancumsum", np.nancumsum)
_register_cumulative("nancumprod", np.nancumprod)
