"""Operators whose result has, along each dimension, elements with indices that are known now: repeat, tile, pad, roll.

They are only a note on the value (`Picked`) until somebody needs it in memory, so that several are one step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.gather import can_move
from minidnn.lowering.values import PLAIN, Array, Padded, Picked, Value
from minidnn.ops.registry import TensorType
from minidnn_kernels.moves import MAX_DIMENSIONS

__all__ = ["lower_pad", "lower_repeat", "lower_roll", "lower_tile", "pick"]

_INDEX = np.dtype(np.int64)


def pick(builder: Builder, name: str, source: Value, type: TensorType, indices: Sequence[Array | None]) -> Value | None:
    """The elements of `source` with these indices along each dimension; None for one: all of them."""
    if source.array is not None or source.type.ndim > MAX_DIMENSIONS or not can_move(type.dtype):
        return None
    if source.picked is not None:
        before = source.picked
        indices = [
            later if earlier is None else earlier if later is None else earlier[later]
            for earlier, later in zip(before.indices, indices, strict=True)
        ]
        source = before.source
    if source.padded is not None:
        source = builder.as_layout(source, source.layout)
    picked = Picked(source, tuple(indices), name)
    return Value(type, source.address, source.layout, picked=picked)


def _reshaped(builder: Builder, value: Value, shape: tuple[int, ...]) -> Value:
    """The value with another shape of as many elements."""
    if value.shape == shape:
        return value
    plain = builder.as_layout(value, PLAIN)
    return Value(TensorType(shape, value.type.dtype), builder.address(plain), PLAIN)


def _one(values: Value | None) -> list[Value] | None:
    return None if values is None else [values]


def lower_repeat(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Each element several times."""
    data, axis = inputs[0], node.attrs.axis
    if data.array is not None:
        return None
    if axis is None:
        data, axis = _reshaped(builder, data, (data.type.size,)), 0
    indices: list[Array | None] = [None] * data.type.ndim
    indices[axis] = np.repeat(np.arange(data.shape[axis], dtype=_INDEX), node.attrs.repeats)
    return _one(pick(builder, node.name, data, types[0], indices))


def lower_tile(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """All elements several times."""
    if inputs[0].array is not None:
        return None
    rank, repeats = types[0].ndim, tuple(node.attrs.reps)
    shape = (1,) * (rank - inputs[0].type.ndim) + inputs[0].shape
    repeats = (1,) * (rank - len(repeats)) + repeats
    data = _reshaped(builder, inputs[0], shape)
    indices = [
        None if count == 1 else np.tile(np.arange(n, dtype=_INDEX), count)
        for n, count in zip(shape, repeats, strict=True)
    ]
    return _one(pick(builder, node.name, data, types[0], indices))


def lower_roll(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """What is shifted out at one end comes in at the other."""
    data, axes, shifts = inputs[0], node.attrs.axis, node.attrs.shift
    if data.array is not None or None in shifts:
        return None
    if axes is None:
        flat = _reshaped(builder, data, (data.type.size,))
        indices = [np.roll(np.arange(data.type.size, dtype=_INDEX), shifts[0])]
        rolled = pick(builder, node.name, flat, flat.type, indices)
        return None if rolled is None else [_reshaped(builder, rolled, data.shape)]
    wanted: list[Array | None] = [None] * data.type.ndim
    for axis, shift in zip(axes, shifts * len(axes) if len(shifts) == 1 else shifts, strict=True):
        before = wanted[axis]
        wanted[axis] = np.roll(np.arange(data.shape[axis], dtype=_INDEX) if before is None else before, shift)
    return _one(pick(builder, node.name, data, types[0], wanted))


def lower_pad(builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]) -> list[Value] | None:
    """Padding of all kinds: only a note on the value, until somebody needs it in memory."""
    data, mode = inputs[0], node.attrs.mode
    if data.array is not None or not can_move(data.type.dtype):
        return None
    pairs = node.attrs.pad_width * (data.type.ndim if len(node.attrs.pad_width) == 1 else 1)
    if mode == "constant":
        padded = Padded(data, tuple(low for low, _ in pairs), float(node.attrs.constant_values))
        return [Value(types[0], data.address, data.layout, padded=padded)]
    if mode != "edge" and node.attrs.reflect_type == "odd":
        return None
    indices = [
        np.pad(np.arange(n, dtype=_INDEX), pair, mode) if any(pair) else None
        for n, pair in zip(data.shape, pairs, strict=True)
    ]
    return _one(pick(builder, node.name, data, types[0], indices))
