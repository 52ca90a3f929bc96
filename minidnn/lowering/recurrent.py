"""Recurrent layers as nodes: MXNet's stack of them, and a single one; see `minidnn.lowering.recurrent_layer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.recurrent_layer import lower_layer
from minidnn.lowering.recurrent_phases import Layer
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.recurrent import layers_of, recurrent_layer
from minidnn.ops.recurrent_cells import check_lengths
from minidnn.ops.registry import TensorType
from minidnn.plan.program import HostStep
from minidnn_kernels.element_type import FLOAT32

__all__ = ["lower_recurrent", "lower_rnn"]

# Of weights, and of data with a scale: inference has checked which may have them.
_BYTES = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})


def lower_rnn(builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]) -> list[Value] | None:
    """MXNet's stack of layers, of float32 with known parameters."""
    assert node.op is not None
    given = dict(zip(node.op.input_names(node.attrs), inputs, strict=True))
    parameters = given["parameters"].array
    if parameters is None or not _is_fit(given) or given["data"].array is not None:
        return None
    layers = layers_of(node.attrs, parameters, given["data"].shape[2])
    lengths, x, usual = _lower_lengths(builder, node, given), given["data"], _usual(builder, node, types)
    made = []
    for i, directions in enumerate(layers):
        before = i * len(directions)
        state, cells = (_from_row(given.get(name), before) for name in ("state", "state_cell"))
        assert state is not None
        origin = Origin((parameters,), ("rnn", node.attrs, i, given["data"].shape[2]))
        layer = Layer(f"{node.name}_l{i}", directions, state, cells, lengths, origin, usual)
        made.append(lower_layer(builder, layer, x))
        x = made[-1].output
    if not node.attrs.state_outputs:
        return [x]
    states = [made_by.state for made_by in made]
    cells_made = [made_by.cells for made_by in made if made_by.cells is not None]
    return [x, *(_stacked(builder, node.name, of, t) for of, t in zip((states, cells_made), types[1:], strict=False))]


def lower_recurrent(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """One layer, of float32 with known weights."""
    assert node.op is not None
    given = dict(zip(node.op.input_names(node.attrs), inputs, strict=True))
    weights = {name: value.array for name, value in given.items() if name in node.op.parameters}
    known = {name: array for name, array in weights.items() if array is not None}
    floats = {name: value for name, value in given.items() if value.type.dtype not in _BYTES}
    if len(known) < len(weights) or not _is_fit(floats) or given["data"].array is not None:
        return None
    state, cells = (_from_row(given.get(name), 0) for name in ("state", "state_cell"))
    assert state is not None
    origin = Origin(tuple(known.values()), ("recurrent", node.attrs, tuple(known)))
    lengths = _lower_lengths(builder, node, given)
    directions, usual = recurrent_layer(node.attrs, known), _usual(builder, node, types)
    layer = Layer(node.name, directions, state, cells, lengths, origin, usual, given.get("data_scale"))
    made = lower_layer(builder, layer, given["data"])
    return [made.output, made.state, *([] if made.cells is None else [made.cells])]


def _usual(builder: Builder, node: Node, types: Sequence[TensorType]) -> tuple[int, int]:
    """Times and sequences in the call that the network was traced with."""
    times, batch, _ = builder.usual_shape(node.name) or types[0].shape
    return times, batch


def _is_fit(given: dict[str, Value]) -> bool:
    floats = [value for name, value in given.items() if name != "sequence_length"]
    return all(value.type.dtype == FLOAT32.dtype for value in floats)


def _from_row(value: Value | None, row: int) -> tuple[Value, int] | None:
    """A value from one index of its first axis on."""
    return None if value is None else (value, row * value.nbytes // value.shape[0])


def _stacked(builder: Builder, name: str, values: Sequence[Value], type: TensorType) -> Value:
    if len(values) == 1:
        return values[0]
    result, offset = builder.new(type), 0
    for value in values:
        lower_copy(builder, name, value, value.strides, result.address + offset, value.strides, value.shape)
        offset += value.nbytes
    return result


def _lower_lengths(builder: Builder, node: Node, given: dict[str, Value]) -> Value | None:
    """The lengths as int64, checked: a kernel addresses memory by them."""
    lengths = given.get("sequence_length")
    if lengths is None:
        return None
    times, name = given["data"].shape[0], node.name
    if lengths.array is not None:
        return builder.parameter(check_lengths(name, lengths.array, times))
    result = builder.new(TensorType(lengths.shape, np.dtype(np.int64)))

    def check(arrays: Sequence[np.ndarray[Any, Any]]) -> list[Array]:
        return [check_lengths(name, arrays[0], times)]

    reason = "lengths are checked before a kernel reads by them"
    source = builder.as_layout(lengths, PLAIN)
    step = HostStep(f"{node.name}_lengths", check, (source.tensor(),), (result.tensor(),), node.op_name, reason)
    builder.host(step)
    return result
