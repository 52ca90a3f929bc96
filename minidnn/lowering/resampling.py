"""Pictures read between their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.geometry import TABLES
from minidnn.lowering.picks import pick
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value, physical_order
from minidnn.ops.registry import Attrs, TensorType
from minidnn.ops.sampling import only_moves, resample_taps
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.blend import MAX_TAPS, RESAMPLE_ARGUMENTS, TAP, BlendSpec

__all__ = ["lower_resample"]

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
    if data.type.dtype != _FLOAT:
        return None
    layout = data.layout
    if physical_order(data.type.ndim, layout)[-1] == axis:
        if data.type.ndim < 3:
            return _swapped(builder, node, data, types[0])
        layout = PLAIN if layout == CHANNELS_LAST else CHANNELS_LAST
    source = builder.as_layout(data, layout)
    result = builder.new(types[0], layout)
    order = physical_order(data.type.ndim, layout)
    inside = order.index(axis)
    outer = math.prod(data.shape[d] for d in order[:inside])
    inner = math.prod(data.shape[d] for d in order[inside + 1 :])
    return [result] if _add_step(builder, node, source, result, (outer, data.shape[axis], inner)) else None


def _swapped(builder: Builder, node: Node, data: Value, type: TensorType) -> list[Value] | None:
    """Along the last axis of one or two: rows as columns, there and back."""
    plain = builder.as_layout(data, PLAIN)
    n, rest = data.shape[-1], math.prod(data.shape[:-1])
    columns = builder.new(TensorType((n, rest), _FLOAT))
    lower_copy(
        builder, "reorder", plain, (_FLOAT.itemsize, n * _FLOAT.itemsize), columns.address, columns.strides, (n, rest)
    )
    made = builder.new(TensorType((type.shape[-1], rest), _FLOAT))
    if not _add_step(builder, node, columns, made, (1, n, rest)):
        return None
    result = builder.new(type)
    back = (_FLOAT.itemsize, type.shape[-1] * _FLOAT.itemsize)
    lower_copy(builder, "reorder", made, made.strides, result.address, back, made.shape)
    return [result]


def _add_step(builder: Builder, node: Node, source: Value, result: Value, shape: tuple[int, int, int]) -> bool:
    outer, n, inner = shape
    size, pitch = node.attrs.size, inner * _FLOAT.itemsize
    key = ("resample", node.attrs.replace(axis=0), n, pitch)
    counts, table = TABLES.share(key, (), lambda: _tables(node.attrs, n, pitch))
    taps = table.shape[1]
    if taps > MAX_TAPS:
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
        taps=taps,
        outside=builder.table(np.full(chunk, node.attrs.extrapolation, _FLOAT)),
    )
    rows = outer * size * -(-inner // chunk)
    parts = max(1, min(PARTS, rows, result.type.size // _PART_ELEMENTS))
    cost = Cost(2 * result.type.size * taps, source.nbytes + result.nbytes)
    builder.native(node.name, "resample_loop", row, parts, cost)
    return True


def _tables(attrs: Attrs, n: int, pitch: int) -> tuple[Array, Array]:
    """How many taps each result has, and the taps, those with weight first."""
    places, weights, outside = resample_taps(attrs, n)
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
