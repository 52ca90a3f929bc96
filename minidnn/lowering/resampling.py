"""Pictures read between their pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy, transposed
from minidnn.lowering.geometry import TABLES
from minidnn.lowering.picks import pick
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value, physical_order
from minidnn.ops.registry import TensorType
from minidnn.ops.sampling import columns_windows, only_moves, resample_taps
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.blend import MAX_TAPS, RESAMPLE_ARGUMENTS, TAP, BlendSpec

__all__ = ["Taps", "lower_columns_to_image", "lower_pad_by_sums", "lower_resample", "lower_taps"]

_FLOAT = np.dtype(np.float32)
_CHUNK = 4096
_PART_ELEMENTS = 16 * 1024


def lower_resample(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``resample``: nearest elements of any type only move; others are sums of float32 rows with constant weights."""
    data, a = inputs[0], node.attrs
    axis = a.axis % data.type.ndim
    if data.array is not None:
        return None
    if only_moves(a):
        places, _, _ = resample_taps(a, data.shape[axis])
        indices: list[Array | None] = [None] * data.type.ndim
        indices[axis] = places[:, 0]
        picked = pick(builder, node.name, data, types[0], indices)
        return None if picked is None else [picked]
    n = data.shape[axis]
    taps = Taps(("resample", a.replace(axis=0), n), lambda: resample_taps(a, n), a.extrapolation)
    made = lower_taps(builder, node.name, data, types[0], axis, taps)
    return None if made is None else [made]


@dataclass(frozen=True)
class Taps:
    """What each result along an axis is made of.

    Args:
        key: the same for equal ones.
        make: gives places of elements, weights, and which results are `fill` instead, as `resample_taps` does.
        fill: a number.
    """

    key: Hashable
    make: Callable[[], tuple[Array, Array, Array]]
    fill: float = 0.0


def lower_taps(builder: Builder, name: str, data: Value, type: TensorType, axis: int, taps: Taps) -> Value | None:
    """Weighted sums of float32 elements along an axis, with constant weights; None where no kernel does that."""
    if data.type.dtype != _FLOAT:
        return None
    layout = data.layout
    if physical_order(data.type.ndim, layout)[-1] == axis:
        if data.type.ndim < 3:
            return _swapped(builder, name, data, type, taps)
        layout = PLAIN if layout == CHANNELS_LAST else CHANNELS_LAST
    source = builder.as_layout(data, layout)
    result = builder.new(type, layout)
    order = physical_order(data.type.ndim, layout)
    inside = order.index(axis)
    outer = math.prod(data.shape[d] for d in order[:inside])
    inner = math.prod(data.shape[d] for d in order[inside + 1 :])
    return result if _add_step(builder, name, source, result, (outer, data.shape[axis], inner), taps) else None


def _swapped(builder: Builder, name: str, data: Value, type: TensorType, taps: Taps) -> Value | None:
    """Along the last axis of one or two: rows as columns, there and back."""
    plain = builder.as_layout(data, PLAIN)
    n, rest = data.shape[-1], math.prod(data.shape[:-1])
    columns = builder.new(TensorType((n, rest), _FLOAT))
    lower_copy(
        builder, "reorder", plain, (_FLOAT.itemsize, n * _FLOAT.itemsize), columns.address, columns.strides, (n, rest)
    )
    made = builder.new(TensorType((type.shape[-1], rest), _FLOAT))
    if not _add_step(builder, name, columns, made, (1, n, rest), taps):
        return None
    result = builder.new(type)
    back = (_FLOAT.itemsize, type.shape[-1] * _FLOAT.itemsize)
    lower_copy(builder, "reorder", made, made.strides, result.address, back, made.shape)
    return result


def _add_step(
    builder: Builder, name: str, source: Value, result: Value, shape: tuple[int, int, int], taps: Taps
) -> bool:
    outer, n, inner = shape
    pitch = inner * _FLOAT.itemsize
    counts, table = TABLES.share(("taps", taps.key, pitch), (), lambda: _tables(*taps.make(), pitch))
    size, most = table.shape[:2]
    if most > MAX_TAPS:
        return False
    chunk = min(inner, _CHUNK)
    row = RESAMPLE_ARGUMENTS.fill(
        kernel=Kernel(BlendSpec()),
        source=builder.address(source),
        target=result.address,
        outer=outer,
        outer_pitch=n * pitch,
        size=size,
        inner=inner,
        chunk=chunk,
        counts=builder.table(counts),
        table=builder.table(table),
        taps=most,
        outside=builder.table(np.full(chunk, taps.fill, _FLOAT)),
    )
    rows = outer * size * -(-inner // chunk)
    parts = max(1, min(PARTS, rows, result.type.size // _PART_ELEMENTS))
    cost = Cost(2 * result.type.size * most, source.nbytes + result.nbytes)
    builder.native(name, "resample_loop", row, parts, cost)
    return True


def _tables(places: Array, weights: Array, outside: Array, pitch: int) -> tuple[Array, Array]:
    """How many taps each result has, and the taps, those with weight first."""
    weights = np.where(outside[:, None], 0.0, weights)
    weights[outside, 0] = 1.0
    order = np.argsort(weights == 0, axis=1, kind="stable")
    places, weights = np.take_along_axis(places, order, 1), np.take_along_axis(weights, order, 1)
    offsets = np.where(outside[:, None], -1, places * pitch)
    counts = np.count_nonzero(weights, axis=1).astype(np.int64)
    table = np.zeros((*places.shape, TAP.words), np.int64)
    table[..., TAP.position("address")] = offsets
    table[..., TAP.position("weight")] = weights.astype(_FLOAT).view(np.uint32)
    most = max(1, int(counts.max(initial=1)))
    return counts, np.ascontiguousarray(table[:, :most])


# Coefficients of a padded axis: elements times results.
_MOST_COEFFICIENTS = 1 << 22


def lower_pad_by_sums(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``pad`` of odd reflections: what lies outside is twice an edge less an element inside, axis by axis."""
    value, a = inputs[0], node.attrs
    if value.array is not None or a.mode not in ("reflect", "symmetric"):
        return None
    pairs = a.pad_width * (value.type.ndim if len(a.pad_width) == 1 else 1)
    for axis, pair in enumerate(pairs):
        n = value.shape[axis]
        size = n + sum(pair)
        if not any(pair):
            continue
        if n * size > _MOST_COEFFICIENTS:
            return None
        shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
        taps = Taps(("pad", a.mode, a.reflect_type, n, pair), partial(_pad_taps, n, pair, a.mode, a.reflect_type))
        made = lower_taps(builder, node.name, value, TensorType(shape, value.type.dtype), axis, taps)
        if made is None:
            return None
        value = made
    return [value]


def _pad_taps(n: int, pair: tuple[int, int], mode: Any, kind: Any) -> tuple[Array, Array, Array]:
    """Padding is linear: its coefficients are what it makes of unit vectors."""
    matrix = np.pad(np.eye(n), (pair, (0, 0)), mode, reflect_type=kind)
    most = max(1, int(np.count_nonzero(matrix, axis=1).max()))
    places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :most]
    return places, np.take_along_axis(matrix, places, 1), np.zeros(len(matrix), np.bool_)


def lower_columns_to_image(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``columns_to_image``: along each axis an element of the image is a sum over pairs of a tap and a window."""
    a, type = node.attrs, types[0]
    data = builder.as_layout(inputs[0], PLAIN)
    if data.type.dtype != _FLOAT:
        return None
    rank, images, windows = len(a.image), math.prod(type.shape[:2]), columns_windows(a)
    value = Value(TensorType((images, *a.kernel, *windows), _FLOAT), builder.address(data))
    for axis in range(rank):
        # In front of an axis of taps lie the image's axes that are made, behind it the other taps and the windows.
        left = rank - axis
        front, taps, rest = [*range(axis + 1)], axis + 1, [*range(axis + 2, axis + 1 + left)]
        others = [*rest, *range(axis + 2 + left, axis + 1 + 2 * left)]
        value = transposed(builder, value, [*front, taps, axis + 1 + left, *others])
        n, kernel, count = a.image[axis], a.kernel[axis], windows[axis]
        outer, inner = images * math.prod(a.image[:axis]), math.prod(value.shape[axis + 3 :])
        shape = (outer, kernel * count) if left == 1 else (outer, kernel * count, inner)
        columns = Value(TensorType(shape, _FLOAT), builder.address(value))
        geometry = (n, kernel, count, a.stride[axis], a.dilate[axis], a.pad[axis])
        made = lower_taps(
            builder,
            node.name,
            columns,
            TensorType((outer, n, *shape[2:]), _FLOAT),
            1,
            Taps(("columns", geometry), partial(_column_taps, *geometry)),
        )
        if made is None:
            return None
        rest_shape = tuple(value.shape[axis + 3 :])
        value = Value(TensorType((images, *a.image[: axis + 1], *rest_shape), _FLOAT), builder.address(made))
    return [Value(type, builder.address(value))]


def _column_taps(n: int, kernel: int, count: int, stride: int, dilate: int, pad: int) -> tuple[Array, Array, Array]:
    """Tap t of window w adds to element ``w * stride + t * dilate - pad``, where there is one."""
    position = np.arange(count) * stride + np.arange(kernel)[:, None] * dilate - pad
    pairs = np.flatnonzero((position >= 0) & (position < n))
    goals = position.reshape(-1)[pairs]
    order = np.argsort(goals, kind="stable")
    goals, pairs = goals[order], pairs[order]
    rank = np.arange(len(goals)) - np.searchsorted(goals, goals)
    places = np.zeros((n, int(rank.max(initial=0)) + 1), np.int64)
    weights = np.zeros(places.shape)
    places[goals, rank], weights[goals, rank] = pairs, 1.0
    return places, weights, np.zeros(n, np.bool_)
