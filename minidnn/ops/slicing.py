"""Operators that take a part of an array, or repeat and pad it."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import normalize_axes, normalize_axis
from minidnn.ops.elementwise import BOOL
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL, IF_FIRST
from minidnn.sizes import slice_indices, slice_length

__all__ = ["split_bounds"]

Array = np.ndarray[Any, Any]


def _slices(attrs: Attrs, ndim: int) -> tuple[slice, ...]:
    op, begin, end = "slice", attrs.begin, attrs.end
    step = attrs.step or (None,) * len(begin)
    if not len(begin) == len(end) == len(step):
        raise OpError(f"{op}: begin, end and step must be of one length, got {begin}, {end} and {attrs.step}")
    if len(begin) > ndim:
        raise ShapeError(f"{op}: begin has {len(begin)} numbers, data only {ndim} dimensions")
    if 0 in step:
        raise OpError(f"{op}: step must not be zero, got {attrs.step}")
    return tuple(slice(*parts) for parts in zip(begin, end, step, strict=True))


def _infer_slice(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape = list(types[0].shape)
    for i, s in enumerate(_slices(attrs, len(shape))):
        shape[i] = slice_length(s, shape[i])
    return [TensorType(tuple(shape), types[0].dtype)]


register(
    Op(
        "slice",
        _infer_slice,
        lambda attrs, x: x[_slices(attrs, x.ndim)],
        ("data",),
        attrs=(Attr("begin", "ints"), Attr("end", "ints"), Attr("step", "ints", None)),
        kind="shape",
        mxnet=("slice", "_npx_slice", "_npi_slice", "crop"),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_slice_axis(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape = list(types[0].shape)
    axis = normalize_axis("slice_axis", attrs.axis, len(shape))
    shape[axis] = slice_length(slice(attrs.begin, attrs.end), shape[axis])
    return [TensorType(tuple(shape), types[0].dtype)]


register(
    Op(
        "slice_axis",
        _infer_slice_axis,
        lambda attrs, x: x[(slice(None),) * (attrs.axis % x.ndim) + (slice(attrs.begin, attrs.end),)],
        ("data",),
        attrs=(Attr("axis", "int"), Attr("begin", "int"), Attr("end", "int", None)),
        kind="shape",
        mxnet=("slice_axis",),
        scale_transparent=True,
        keeps_samples=lambda attrs: attrs.axis > 0,
        nonnegative=IF_ALL,
    )
)


def _infer_slice_like(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, like) = "slice_like", types
    axes = normalize_axes(op, attrs.axes or None, data.ndim)
    if not attrs.axes and like.ndim != data.ndim:
        raise ShapeError(f"{op}: without axes both inputs need the same rank, got {data.shape} and {like.shape}")
    shape = list(data.shape)
    for axis in axes:
        if axis >= like.ndim or like.shape[axis] > shape[axis]:
            raise ShapeError(f"{op}: data {data.shape} cannot be sliced to the size of {like.shape} along axis {axis}")
        shape[axis] = like.shape[axis]
    return [TensorType(tuple(shape), data.dtype)]


def _slice_like(attrs: Attrs, x: Array, like: Array) -> Array:
    shape = _infer_slice_like(attrs, [TensorType.of(x), TensorType.of(like)])[0].shape
    return x[tuple(slice(n) for n in shape)]


register(
    Op(
        "slice_like",
        _infer_slice_like,
        _slice_like,
        ("data", "shape_like"),
        attrs=(Attr("axes", "ints", ()),),
        kind="shape",
        mxnet=("slice_like", "_npx_slice_like"),
        nonnegative=IF_FIRST,
    )
)


def split_bounds(attrs: Attrs, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Begin and end of every piece of `split`, along its axis.

    Raises:
        OpError: the size does not divide into that many sections, or a bound is out of range.
    """
    op = "split"
    axis = normalize_axis(op, attrs.axis, len(shape))
    size = shape[axis]
    if attrs.sections:
        if size % attrs.sections:
            raise ShapeError(f"{op}: axis {axis} of size {size} does not divide into {attrs.sections} equal sections")
        each = size // attrs.sections
        return [(i * each, (i + 1) * each) for i in range(attrs.sections)]
    bounds = []
    for begin, end in zip(attrs.indices, (*attrs.indices[1:], None), strict=True):
        start, stop, _ = slice_indices(slice(begin, end), size)
        bounds.append((start, max(start, stop)))
    return bounds


def _check_split(attrs: Attrs) -> None:
    if bool(attrs.sections) == bool(attrs.indices):
        raise OpError(f"split: give sections or indices, got sections={attrs.sections}, indices={attrs.indices}")
    if None in attrs.indices or (attrs.indices and attrs.indices[0] != 0):
        raise OpError(f"split: indices are where the pieces begin, the first at 0, got {attrs.indices}")


def _infer_split(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "split", types[0]
    axis = normalize_axis(op, attrs.axis, data.ndim)
    lead, tail = data.shape[:axis], data.shape[axis + 1 :]
    sizes = [end - begin for begin, end in split_bounds(attrs, data.shape)]
    if attrs.squeeze_axis and set(sizes) != {1}:
        raise ShapeError(f"{op}: squeeze_axis needs pieces of size 1, got {sizes} of axis {axis} of {data}")
    return [TensorType((*lead, *(() if attrs.squeeze_axis else (n,)), *tail), data.dtype) for n in sizes]


def _split(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    axis = attrs.axis % x.ndim
    lead = (slice(None),) * axis
    pieces = [x[(*lead, slice(begin, end))] for begin, end in split_bounds(attrs, x.shape)]
    return tuple(np.squeeze(p, axis) if attrs.squeeze_axis else p for p in pieces)


register(
    Op(
        "split",
        _infer_split,
        _split,
        ("data",),
        attrs=(
            Attr("indices", "ints", ()),
            Attr("axis", "int", 0),
            Attr("squeeze_axis", "bool", False),
            Attr("sections", "int", 0, low=0),
        ),
        kind="shape",
        mxnet=("_split_v2", "_npi_split"),
        outputs=lambda attrs: attrs.sections or len(attrs.indices),
        check=_check_split,
        scale_transparent=True,
        keeps_samples=lambda attrs: attrs.axis > 0 and not attrs.squeeze_axis,
        nonnegative=IF_ALL,
    )
)


def _infer_repeat(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    data = types[0]
    if attrs.axis is None:
        return [TensorType((data.size * attrs.repeats,), data.dtype)]
    axis = normalize_axis("repeat", attrs.axis, data.ndim)
    shape = tuple(n * attrs.repeats if i == axis else n for i, n in enumerate(data.shape))
    return [TensorType(shape, data.dtype)]


register(
    Op(
        "repeat",
        _infer_repeat,
        lambda attrs, x: np.repeat(x, attrs.repeats, attrs.axis),
        ("data",),
        attrs=(Attr("repeats", "int", low=0), Attr("axis", "int", None)),
        kind="shape",
        mxnet=("_npi_repeat", "repeat"),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_tile(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    shape, reps = types[0].shape, tuple(attrs.reps)
    rank = max(len(shape), len(reps))
    shape, reps = (1,) * (rank - len(shape)) + shape, (1,) * (rank - len(reps)) + reps
    return [TensorType(tuple(n * r for n, r in zip(shape, reps, strict=True)), types[0].dtype)]


register(
    Op(
        "tile",
        _infer_tile,
        lambda attrs, x: np.tile(x, attrs.reps),
        ("data",),
        attrs=(Attr("reps", "ints", low=0),),
        kind="shape",
        mxnet=("_npi_tile", "tile"),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_flip(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    normalize_axes("flip", attrs.axis, types[0].ndim)
    return [types[0]]


register(
    Op(
        "flip",
        _infer_flip,
        lambda attrs, x: np.flip(x, attrs.axis),
        ("data",),
        attrs=(Attr("axis", "ints", None),),
        kind="shape",
        mxnet=("_npi_flip", "flip", "reverse"),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)


def _infer_roll(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if attrs.axis is not None:
        axes = normalize_axes("roll", attrs.axis, types[0].ndim)
        if len(attrs.shift) not in (1, len(axes)):
            raise OpError(f"roll: shift must have one number, or one for each axis, got {attrs.shift} and {attrs.axis}")
    elif len(attrs.shift) != 1:
        raise OpError(f"roll: without axis shift must be one number, got {attrs.shift}")
    return [types[0]]


register(
    Op(
        "roll",
        _infer_roll,
        lambda attrs, x: np.roll(x, attrs.shift if attrs.axis is not None else attrs.shift[0], attrs.axis),
        ("data",),
        attrs=(Attr("shift", "ints"), Attr("axis", "ints", None)),
        kind="shape",
        mxnet=("_npi_roll",),
        scale_transparent=True,
        nonnegative=IF_ALL,
    )
)

_PAD_MODES = ("constant", "edge", "reflect", "symmetric")


def _check_pad(attrs: Attrs) -> Attrs:
    """``pad_width`` as one pair per axis, or one pair for all axes."""
    width = attrs.pad_width
    if isinstance(width, Integral):
        width = ((width, width),)
    elif isinstance(width, tuple) and len(width) == 2 and all(isinstance(w, Integral) for w in width):
        width = (width,)
    elif isinstance(width, tuple) and len(width) == 1 and isinstance(width[0], Integral):
        width = ((width[0], width[0]),)
    pairs_only = isinstance(width, tuple) and all(
        isinstance(w, tuple) and len(w) == 2 and all(isinstance(n, Integral) and int(n) >= 0 for n in w) for w in width
    )
    if not pairs_only or not width:
        raise OpError(f"pad: pad_width must be pairs of non-negative integers, got {attrs.pad_width!r}")
    return attrs.replace(pad_width=width)


def _pad_pairs(attrs: Attrs, ndim: int) -> tuple[tuple[int, int], ...]:
    width: tuple[tuple[int, int], ...] = attrs.pad_width
    if len(width) == 1:
        return width * ndim
    if len(width) != ndim:
        wanted = len(width)
        raise ShapeError(
            f"pad: data must have {wanted} dimensions, got {ndim}: pad_width has {wanted} pairs for {ndim} dimensions"
        )
    return width


def _infer_pad(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    data = types[0]
    pairs = _pad_pairs(attrs, data.ndim)
    if attrs.mode != "constant" and any(n == 0 and sum(pair) for n, pair in zip(data.shape, pairs, strict=True)):
        raise ShapeError(f"pad: mode {attrs.mode!r} has nothing to repeat in {data}")
    if attrs.mode == "constant" and data.dtype == BOOL and attrs.constant_values not in (0, 1):
        raise TypeMismatchError(f"pad: constant_values must be 0 or 1 for bools, got {attrs.constant_values}")
    shape = tuple(a + n + b for n, (a, b) in zip(data.shape, pairs, strict=True))
    return [TensorType(shape, data.dtype)]


def _pad(attrs: Attrs, x: Array) -> Array:
    pairs = _pad_pairs(attrs, x.ndim)
    if attrs.mode == "constant":
        return np.pad(x, pairs, constant_values=x.dtype.type(attrs.constant_values))
    options = {} if attrs.mode == "edge" else {"reflect_type": attrs.reflect_type}
    return np.asarray(np.pad(x, pairs, attrs.mode, **options))


def _pad_carries_scale(attrs: Attrs) -> bool:
    return bool(attrs.mode == "edge" or (attrs.mode == "constant" and attrs.constant_values == 0))


def _pad_sign(attrs: Attrs, inputs: Sequence[bool]) -> bool:
    """What is reflected oddly may change its sign; everything else repeats elements, or the constant."""
    kept = (
        attrs.constant_values >= 0 if attrs.mode == "constant" else attrs.mode == "edge" or attrs.reflect_type == "even"
    )
    return all(inputs) and bool(kept)


register(
    Op(
        "pad",
        _infer_pad,
        _pad,
        ("data",),
        attrs=(
            Attr("pad_width", "tree"),
            Attr("mode", "str", "constant", choices=_PAD_MODES),
            Attr("constant_values", "float", 0.0),
            Attr("reflect_type", "str", "even", choices=("even", "odd")),
        ),
        kind="shape",
        mxnet=("_npi_pad",),
        check=_check_pad,
        scale_transparent=_pad_carries_scale,
        int8_when_tuned=lambda attrs: attrs.mode != "constant" and attrs.reflect_type == "even",
        keeps_samples=lambda attrs: tuple(attrs.pad_width[0]) == (0, 0),
        nonnegative=_pad_sign,
    )
)
