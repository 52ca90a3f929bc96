"""Operators that write into a copy of an array, at positions given by another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, INTEGERS, broadcast_shapes
from minidnn.ops.registry import Attrs, Op, TensorType, register

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _infer(op: str, attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    """`ind` is one position along the first axis, a vector of them, or has a row for each of the first axes."""
    a, ind, val = types
    for name, t in (("a", a), ("val", val)):
        if t.dtype not in DTYPES:
            raise TypeMismatchError(f"{op}: {name} must be bool, integer or float, got {t}")
    if ind.dtype not in INTEGERS:
        raise TypeMismatchError(f"{op}: ind must be of an integer dtype, got {ind}")
    if ind.ndim > 2:
        raise ShapeError(f"{op}: ind must have at most two dimensions, got {ind}")
    depth = ind.shape[0] if ind.ndim == 2 else 1
    if depth > a.ndim:
        raise ShapeError(f"{op}: ind has positions along {depth} axes, but a has {a.ndim}: {a}")
    wanted = (ind.shape[-1] if ind.ndim else 1, *a.shape[depth:])
    if broadcast_shapes(op, [val, TensorType(wanted, val.dtype)]) != wanted:
        raise ShapeError(f"{op}: val of shape {val.shape} does not broadcast to {wanted}: positions, rest of a")
    return [a]


def _positions(op: str, a: Array, ind: Array) -> tuple[Array, ...]:
    """One vector of positions for each indexed axis.

    Raises:
        OpError: a position is out of range.
    """
    rows = tuple(ind) if ind.ndim == 2 else (ind.reshape(-1),)
    for axis, (row, size) in enumerate(zip(rows, a.shape, strict=False)):
        if row.size and (row.min() < -size or row.max() >= size):
            found = f"{row.min()}..{row.max()}"
            raise OpError(f"{op}: positions along axis {axis} must lie in [{-size}, {size}), got {found}")
    return rows


def _index_add(attrs: Attrs, a: Array, ind: Array, val: Array) -> Array:
    result = a.copy()
    np.add.at(result, _positions("index_add", a, ind), val.astype(a.dtype))
    return result


def _index_update(attrs: Attrs, a: Array, ind: Array, val: Array) -> Array:
    result = a.copy()
    result[_positions("index_update", a, ind)] = val.astype(a.dtype)
    return result


for _name, _reference in (("index_add", _index_add), ("index_update", _index_update)):
    register(
        Op(
            _name,
            lambda attrs, types, name=_name: _infer(name, attrs, types),  # type: ignore[misc]
            _reference,
            ("a", "ind", "val"),
            mxnet=(f"_npx_{_name}",),
        )
    )
