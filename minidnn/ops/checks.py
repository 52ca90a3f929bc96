"""The words in which operators refuse what does not fit: what came, and what was wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.registry import TensorType
from minidnn.sizes import has_sizes

__all__ = [
    "DTYPES",
    "FLOAT32",
    "FLOATS",
    "INTEGERS",
    "broadcast_shapes",
    "normalize_axes",
    "normalize_axis",
    "want_dtype",
    "want_filled",
    "want_float",
    "want_integer",
    "want_min_rank",
    "want_rank",
    "want_shape",
]

FLOAT32 = np.dtype(np.float32)
FLOATS = frozenset(np.dtype(t) for t in ("float16", "float32", "float64"))
INTEGERS = frozenset(np.dtype(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"))
DTYPES = FLOATS | INTEGERS | {np.dtype(np.bool_)}


def want_rank(op: str, name: str, t: TensorType, rank: int, form: str = "") -> None:
    if t.ndim != rank:
        shown = f" {form}" if form else ""
        raise ShapeError(f"{op}: {name} must have {rank} dimensions{shown}, got {t.ndim}: {t}")


def want_min_rank(op: str, name: str, t: TensorType, rank: int) -> None:
    if t.ndim < rank:
        raise ShapeError(f"{op}: {name} must have at least {rank} dimension{'s' * (rank > 1)}, got {t.ndim}: {t}")


def want_filled(op: str, name: str, t: TensorType, axes: Iterable[int]) -> None:
    """`axes` are those whose elements are combined: none may be of size zero. Others may, and leave an empty result."""
    for axis in axes:
        if t.shape[axis] == 0:
            raise ShapeError(f"{op}: {name} must not be empty, got dimension {axis} of size zero: {t}")


def want_float(op: str, name: str, t: TensorType) -> None:
    if t.dtype not in FLOATS:
        raise TypeMismatchError(f"{op}: {name} must be float16, float32 or float64, got {t}")


def want_integer(op: str, name: str, t: TensorType) -> None:
    if t.dtype not in INTEGERS:
        raise TypeMismatchError(f"{op}: {name} must be of an integer dtype, got {t}")


def want_dtype(op: str, name: str, t: TensorType, dtype: np.dtype[Any], like: str) -> None:
    if t.dtype != dtype:
        raise TypeMismatchError(f"{op}: {name} must be {dtype} like {like}, got {t}")


def want_shape(op: str, name: str, t: TensorType, shape: tuple[int, ...], reason: str = "") -> None:
    if t.shape != shape:
        because = f" ({reason})" if reason else ""
        raise ShapeError(f"{op}: {name} must have shape {shape}{because}, got {t.shape}")


def normalize_axis(op: str, axis: int, ndim: int, name: str = "axis") -> int:
    """`axis` counted from the front.

    Raises:
        ShapeError: it lies outside ``[-ndim, ndim)``.
    """
    if not -ndim <= axis < ndim:
        raise ShapeError(f"{op}: {name} must lie in [{-ndim}, {ndim}) for {ndim} dimensions, got {axis}")
    return axis % ndim


def normalize_axes(op: str, axes: Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """`axes` counted from the front, sorted; None means all of them.

    Raises:
        ShapeError: an axis is out of range.
        OpError: a duplicate axis.
    """
    if axes is None:
        return tuple(range(ndim))
    result = [normalize_axis(op, axis, ndim) for axis in axes]
    if len(set(result)) != len(result):
        raise OpError(f"{op}: duplicate axis in {tuple(axes)}")
    return tuple(sorted(result))


def broadcast_shapes(op: str, types: Sequence[TensorType]) -> tuple[int, ...]:
    """The common shape by NumPy's rules.

    Raises:
        ShapeError: there is none.
    """
    shape = types[0].shape
    if all(t.shape == shape for t in types):
        return shape
    result: list[int] = []
    for sizes in zip_longest(*(reversed(t.shape) for t in types), fillvalue=1):
        others = [n for n in sizes if n != 1]
        if any(n != others[0] for n in others):
            shown = " and ".join(str(t.shape) for t in types)
            raise ShapeError(f"{op}: shapes {shown} do not broadcast together")
        # A symbolic size that happens to be 1 may be another number the next time.
        known = [n for n in others if not has_sizes(n)] or others or [n for n in sizes if has_sizes(n)]
        result.append(known[0] if known else 1)
    return tuple(reversed(result))
