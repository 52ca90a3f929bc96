"""Reductions: functions of the same names as the arrays' methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn import dispatch
from minidnn.dispatch import binary
from minidnn.errors import OpError
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "all",
    "alltrue",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "max",
    "mean",
    "min",
    "prod",
    "product",
    "sometrue",
    "std",
    "sum",
    "var",
]

Axis = int | Sequence[int] | None


def _reduce(op: str, a: Any, out: ndarray | None, initial: Any = None, where: Any = None, **attrs: Any) -> ndarray:
    for name, value in (("initial", initial), ("where", where)):
        if value is not None:
            raise OpError(f"{op}: {name} is not supported, got {value!r}")
    return deliver(dispatch.invoke_one(op, as_array(a), **attrs), out)


def sum(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    keepdims: bool | None = None,
    initial: None = None,
    where: None = None,
) -> ndarray:
    """Sum over `axis`, or over all; integers are summed in 64 bits."""
    return _reduce("sum", a, out, initial, where, axis=axis, dtype=dtype, keepdims=bool(keepdims))


def prod(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    keepdims: bool = False,
    initial: None = None,
) -> ndarray:
    """Product over `axis`, or over all; integers are multiplied in 64 bits."""
    return _reduce("prod", a, out, initial, axis=axis, dtype=dtype, keepdims=keepdims)


def mean(a: Any, axis: Axis = None, dtype: Any = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Arithmetic mean over `axis`, or over all; float32 for integers."""
    return _reduce("mean", a, out, axis=axis, dtype=dtype, keepdims=keepdims)


def std(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    ddof: int = 0,
    keepdims: bool = False,
    correction: int = 0,
) -> ndarray:
    """Standard deviation over `axis`, or over all. `correction` is another name of `ddof`."""
    return _reduce("std", a, out, axis=axis, dtype=dtype, ddof=ddof or correction, keepdims=keepdims)


def var(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: ndarray | None = None,
    ddof: int = 0,
    keepdims: bool = False,
    correction: int = 0,
) -> ndarray:
    """Variance over `axis`, or over all. `correction` is another name of `ddof`."""
    return _reduce("var", a, out, axis=axis, dtype=dtype, ddof=ddof or correction, keepdims=keepdims)


def max(a: Any, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Largest element along `axis`, or of all."""
    return _reduce("max", a, out, axis=axis, keepdims=keepdims)


def min(a: Any, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Smallest element along `axis`, or of all."""
    return _reduce("min", a, out, axis=axis, keepdims=keepdims)


amax, amin, product = max, min, prod


def any(a: Any, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Whether any element along `axis` is non-zero."""
    return _reduce("any", a, out, axis=axis, keepdims=keepdims)


def all(a: Any, axis: Axis = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Whether all elements along `axis` are non-zero."""
    return _reduce("all", a, out, axis=axis, keepdims=keepdims)


alltrue, sometrue = all, any


def argmax(a: Any, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Position (int64) of the largest element along `axis`, or in the flattened array; the first of equals."""
    return _reduce("argmax", a, out, axis=axis, keepdims=keepdims)


def argmin(a: Any, axis: int | None = None, out: ndarray | None = None, keepdims: bool = False) -> ndarray:
    """Position (int64) of the smallest element along `axis`, or in the flattened array; the first of equals."""
    return _reduce("argmin", a, out, axis=axis, keepdims=keepdims)


def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, out: ndarray | None = None) -> Any:
    """Mean weighted by `weights`, which broadcast with `a`, or have one number for each element of `axis`.

    With `returned` also the sum of the weights.
    """
    x = as_array(a)
    w = as_array(1.0) if weights is None else as_array(weights)
    if w.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        w = w.reshape(*(-1 if i == axis % x.ndim else 1 for i in range(x.ndim)))
    w = dispatch.invoke_one("broadcast_to", w, shape=x.shape)
    total = sum(w, axis)
    result = deliver(binary("true_divide", sum(binary("multiply", x, w), axis), total), out)
    return (result, total) if returned else result
