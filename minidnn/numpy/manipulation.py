"""Functions that give the same elements another shape or order, join, split and select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn import dispatch
from minidnn.errors import ShapeError
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array, as_host
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import promote

__all__ = [
    "append",
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "column_stack",
    "concat",
    "concatenate",
    "dsplit",
    "dstack",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "moveaxis",
    "ndim",
    "pad",
    "permute_dims",
    "ravel",
    "repeat",
    "reshape",
    "roll",
    "rollaxis",
    "rot90",
    "row_stack",
    "shape",
    "size",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "tile",
    "transpose",
    "vsplit",
    "vstack",
]


def shape(a: Any) -> tuple[int, ...]:
    """The shape of an array."""
    return as_array(a).shape


def ndim(a: Any) -> int:
    """The number of dimensions of an array."""
    return as_array(a).ndim


def size(a: Any, axis: int | None = None) -> int:
    """The number of elements of an array, or along `axis`."""
    return as_array(a).size if axis is None else as_array(a).shape[axis]


def reshape(a: Any, newshape: Any, order: str = "C") -> ndarray:
    """The same elements in another shape, which may have -1 and the codes -2 to -6 of `mx.npx.reshape`."""
    return as_array(a)._reshape(newshape, order)


def ravel(x: Any, order: str = "C") -> ndarray:
    """All elements in one dimension."""
    return reshape(x, (-1,), order)


def transpose(a: Any, axes: Sequence[int] | None = None) -> ndarray:
    """Axes in another order; reversed by default."""
    return dispatch.invoke_one("transpose", as_array(a), axes=axes)


permute_dims = transpose


def swapaxes(a: Any, axis1: int, axis2: int) -> ndarray:
    """Two axes exchanged."""
    return dispatch.invoke_one("swapaxes", as_array(a), dim1=axis1, dim2=axis2)


def moveaxis(a: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> ndarray:
    """The axes `source` at the positions `destination`, the others in their order."""
    return dispatch.invoke_one("moveaxis", as_array(a), source=source, destination=destination)


def rollaxis(a: Any, axis: int, start: int = 0) -> ndarray:
    """The axis `axis` moved in front of the position `start`."""
    x = as_array(a)
    if not (-x.ndim <= axis < x.ndim and -x.ndim <= start <= x.ndim):
        raise ShapeError(f"rollaxis: axis {axis} or start {start} is out of range for {x.ndim} dimensions")
    axis, start = axis % x.ndim, start + x.ndim if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


def expand_dims(a: Any, axis: int) -> ndarray:
    """With a dimension of size one at `axis`."""
    return dispatch.invoke_one("expand_dims", as_array(a), axis=axis)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> ndarray:
    """Without the dimensions of size one, or without those of `axis`."""
    return dispatch.invoke_one("squeeze", as_array(x), axis=axis)


def broadcast_to(array: Any, shape: int | Sequence[int]) -> ndarray:
    """Repeated to `shape` by NumPy's rules; -2 copies a dimension of the array, counted from the end."""
    return dispatch.invoke_one("broadcast_to", as_array(array), shape=shape)


def broadcast_arrays(*args: Any) -> list[ndarray]:
    """All arrays repeated to their common shape."""
    arrays = [as_array(a) for a in args]
    common = np.broadcast_shapes(*(a.shape for a in arrays))
    return [broadcast_to(a, common) for a in arrays]


def _atleast(rank: int, arys: tuple[Any, ...]) -> Any:
    results = []
    for a in map(as_array, arys):
        if rank == 3 and a.ndim == 2:
            results.append(expand_dims(a, 2))
        elif a.ndim < rank:
            wanted = (1, -1, 1) if rank == 3 else (1,) * (rank - 1) + (-1,)
            results.append(reshape(a, wanted))
        else:
            results.append(a)
    return results[0] if len(results) == 1 else results


def atleast_1d(*arys: Any) -> Any:
    """Each array with at least one dimension."""
    return _atleast(1, arys)


def atleast_2d(*arys: Any) -> Any:
    """Each array with at least two dimensions, new ones in front."""
    return _atleast(2, arys)


def atleast_3d(*arys: Any) -> Any:
    """Each array with at least three dimensions: N becomes 1×N×1, M×N becomes M×N×1."""
    return _atleast(3, arys)


def _together(arrays: Any) -> list[ndarray]:
    """The arrays in their common dtype."""
    parts = [as_array(a) for a in arrays]
    if not parts:
        raise ValueError("at least one array is needed")
    dtype = promote(*(p.dtype for p in parts))
    return [p.astype(dtype, copy=False) for p in parts]


def concatenate(seq: Any, axis: int | None = 0, out: ndarray | None = None) -> ndarray:
    """Arrays one after another along an axis they may differ in; all flattened with ``axis=None``."""
    parts = _together(seq)
    if axis is None:
        parts, axis = [ravel(p) for p in parts], 0
    return deliver(dispatch.invoke_one("concatenate", *parts, num_args=len(parts), axis=axis), out)


concat = concatenate


def append(arr: Any, values: Any, axis: int | None = None) -> ndarray:
    """`values` behind `arr`."""
    return concatenate((arr, values), axis)


def stack(arrays: Any, axis: int = 0, out: ndarray | None = None) -> ndarray:
    """Arrays of one shape along a new axis."""
    parts = _together(arrays)
    return deliver(dispatch.invoke_one("stack", *parts, num_args=len(parts), axis=axis), out)


def vstack(arrays: Any, out: ndarray | None = None) -> ndarray:
    """Arrays below one another."""
    return concatenate([atleast_2d(a) for a in arrays], 0, out)


row_stack = vstack


def hstack(arrays: Any) -> ndarray:
    """Arrays beside one another."""
    parts = [atleast_1d(a) for a in arrays]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


def dstack(arrays: Any) -> ndarray:
    """Arrays behind one another."""
    return concatenate([atleast_3d(a) for a in arrays], 2)


def column_stack(tup: Any) -> ndarray:
    """Vectors as the columns of a matrix."""
    parts = [as_array(a) for a in tup]
    return concatenate([reshape(p, (-1, 1)) if p.ndim < 2 else p for p in parts], 1)


def _pieces(x: ndarray, axis: int, **attrs: Any) -> list[ndarray]:
    pieces = dispatch.invoke("split", x, axis=axis, **attrs)
    return list(pieces) if isinstance(pieces, tuple) else [pieces]


def split(ary: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[ndarray]:
    """Pieces along `axis`: so many equal ones, or cut at these positions.

    Raises:
        ShapeError: the size does not divide into that many equal pieces.
    """
    x = as_array(ary)
    if isinstance(indices_or_sections, (int, np.integer)):
        if indices_or_sections < 1:
            raise ShapeError(f"split: the number of sections must be positive, got {indices_or_sections}")
        return _pieces(x, axis, sections=indices_or_sections)
    return _pieces(x, axis, indices=(0, *indices_or_sections))


def array_split(ary: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[ndarray]:
    """As `split`, but the pieces may differ in size by one."""
    x = as_array(ary)
    if not isinstance(indices_or_sections, (int, np.integer)) or x.ndim == 0 or indices_or_sections < 1:
        return split(x, indices_or_sections, axis)
    each, more = divmod(x.shape[axis], int(indices_or_sections))
    begins = [i * each + min(i, more) for i in range(int(indices_or_sections))]
    return _pieces(x, axis, indices=begins)


def hsplit(ary: Any, indices_or_sections: int | Sequence[int]) -> list[ndarray]:
    """Pieces beside one another: along axis 1, or the only one."""
    return split(ary, indices_or_sections, 0 if as_array(ary).ndim == 1 else 1)


def vsplit(ary: Any, indices_or_sections: int | Sequence[int]) -> list[ndarray]:
    """Pieces below one another: along axis 0 of at least two."""
    if as_array(ary).ndim < 2:
        raise ShapeError("vsplit: the array must have at least 2 dimensions")
    return split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: int | Sequence[int]) -> list[ndarray]:
    """Pieces behind one another: along axis 2."""
    return split(ary, indices_or_sections, 2)


def repeat(a: Any, repeats: int | Sequence[int], axis: int | None = None) -> ndarray:
    """Every element `repeats` times, along `axis` or of the flattened array; or a number for each slice.

    Raises:
        OpError: a number is negative, or there is not one for each slice.
    """
    return as_array(a).repeat(repeats, axis)


def tile(A: Any, reps: int | Sequence[int]) -> ndarray:  # noqa: N803
    """The whole array `reps` times along each axis."""
    return dispatch.invoke_one("tile", as_array(A), reps=reps)


def flip(m: Any, axis: int | Sequence[int] | None = None, out: ndarray | None = None) -> ndarray:
    """Elements in reverse order along `axis`, or along all axes."""
    return deliver(dispatch.invoke_one("flip", as_array(m), axis=axis), out)


def flipud(m: Any) -> ndarray:
    """Rows in reverse order."""
    return flip(m, 0)


def fliplr(m: Any) -> ndarray:
    """Columns in reverse order."""
    return flip(m, 1)


def roll(a: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> ndarray:
    """Elements moved on by `shift`; what leaves at the end comes in at the front."""
    return dispatch.invoke_one("roll", as_array(a), shift=shift, axis=axis)


def rot90(m: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> ndarray:
    """Turned by `k` · 90 degrees from the first of `axes` to the second."""
    x, (first, second) = as_array(m), axes
    if k % 4 == 0:
        return x.copy()
    if k % 4 == 2:
        return flip(x, (first, second))
    return swapaxes(flip(x, second), first, second) if k % 4 == 1 else flip(swapaxes(x, first, second), second)


def pad(x: Any, pad_width: Any = None, mode: str = "constant", **kwargs: Any) -> ndarray:
    """With more elements at both ends of every axis.

    Args:
        x: the array.
        pad_width: a pair (before, after) for each axis, one pair for all, or one number for all ends.
        mode: ``constant``, ``edge``, ``reflect`` or ``symmetric``.
        kwargs: ``constant_values`` (one number), ``reflect_type`` (``even`` or ``odd``).
    """
    return dispatch.invoke_one("pad", as_array(x), pad_width=pad_width, mode=mode, **kwargs)


def take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise", out: ndarray | None = None) -> ndarray:
    """Elements, or slices along `axis`, at integer positions.

    Args:
        a: the array; flattened where `axis` is None.
        indices: positions, of any shape.
        axis: along which to take.
        mode: for positions out of range: ``clip`` to the range, ``wrap`` around, or ``raise``. Negative
            positions count from the end with ``raise`` and ``wrap``, and are 0 with ``clip``. While tracing,
            positions computed by the network itself cannot be looked at: ``raise`` is ``wrap`` for them.
        out: receives the result where it is given.

    Raises:
        IndexError: a position is out of range and `mode` is ``raise``.
    """
    return deliver(
        as_array(a).take(indices if isinstance(indices, ndarray) else as_host(np.asarray(indices)), axis, mode), out
    )
