"""A recurrent layer: the product of all inputs as one step, then one step that goes through the times.

Columns of both products are ordered by vectors of hidden units, all gates of a vector side by side: what makes the next
state of a vector reads one stretch of memory of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from minidnn.ir.graph import Entry, Node, make_node, make_variable
from minidnn.lowering.algorithms import lower_product
from minidnn.lowering.anchor import Anchor, Weights
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.geometry import Window
from minidnn.lowering.recurrent_phases import Layer, Phase, block_rows, both, cut, interleaved, phase_row, shared
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.ops.recurrent_cells import Cell, folded_bias
from minidnn.ops.registry import Attrs, TensorType
from minidnn.plan.program import Address, Cost
from minidnn_kernels.element_type import FLOAT32, INT32
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.recurrent import (
    COUNTER_BYTES,
    MAX_PHASES,
    PHASE,
    RECURRENT_ARGUMENTS,
)

__all__ = ["Made", "lower_layer"]

_NO_ATTRS = Attrs({})


@dataclass(frozen=True)
class _InputWeights(Weights):
    """Weights of the input of all directions and gates, put in order at the first need."""

    make: Callable[[], Array] | None = None

    @cached_property
    def numbers(self) -> Array:
        assert self.make is not None
        return self.make().reshape(self.shape)


@dataclass(frozen=True)
class Made:
    """Outputs of a layer: all times, the last states and cells."""

    output: Value
    state: Value
    cells: Value | None


def lower_layer(builder: Builder, layer: Layer, data: Value) -> Made:
    times, batch, _ = data.shape
    count, size, state = len(layer.directions), layer.cell.size, layer.state_size
    shares = _lower_input(builder, layer, data)
    states = builder.new(TensorType((2, count, batch, state), FLOAT32.dtype))
    _copy_part(builder, layer, layer.state, states, (count, batch, state))
    cells = None
    if layer.cells is not None:
        cells = builder.new(TensorType((count, batch, size), FLOAT32.dtype))
        _copy_part(builder, layer, layer.cells, cells, cells.shape)
    output = builder.new(TensorType((times, batch, count * state), FLOAT32.dtype))
    _add_step(builder, layer, (shares, states, cells, output))
    last = builder.new(TensorType((count, batch, state), FLOAT32.dtype))
    _copy_part(builder, layer, (states, times % 2 * last.nbytes), last, last.shape)
    return Made(output, last, cells)


def _copy_part(
    builder: Builder, layer: Layer, source: tuple[Value, int], target: Value, shape: tuple[int, ...]
) -> None:
    """A part of a tensor from some byte on to the begin of another."""
    value, begin = source
    plain = builder.as_layout(value, PLAIN)
    strides = plain.strides[-len(shape) :]
    lower_copy(builder, layer.name, plain, strides, target.address, target.strides[-len(shape) :], shape, begin)


def _lower_input(builder: Builder, layer: Layer, data: Value) -> Value:
    """The input's share of all gates at all times, ``(times * batch, directions * vectors * gates * lanes)``."""
    times, batch, inputs = data.shape
    rows, lanes, gates = times * batch, builder.isa.lanes, layer.cell.gates

    def ordered() -> Array:
        return np.concatenate(
            [interleaved(d.weights.i2h, gates, lanes).reshape(inputs, -1) for d in layer.directions], 1
        )

    biases = [folded_bias(d.cell, d.weights) for d in layer.directions]
    known = [bias for bias in biases if bias is not None]
    bias = np.concatenate([interleaved(b, gates, lanes).reshape(-1) for b in known]) if known else None
    scales = [d.weights.i2h_scale for d in layer.directions if d.weights.i2h_scale is not None]
    channel = np.concatenate([interleaved(s, gates, lanes).reshape(-1) for s in scales]) if scales else None
    columns = len(layer.directions) * -(-layer.cell.size // lanes) * lanes * gates
    flat = _flat(builder, data, rows)
    type = TensorType((rows, columns), FLOAT32.dtype)
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    shape = np.broadcast_to(np.zeros((), layer.directions[0].weights.i2h.dtype), (1, 1, inputs, columns))
    origin = layer.origin.then("input")
    weights = _InputWeights(shape, bias, (), None, origin=origin, channel=channel, make=ordered)
    usual = (math.prod(layer.usual), columns)
    anchor = Anchor(f"{layer.name}_input", _NO_ATTRS, [flat], type, type, usual=usual)
    if layer.data_scale is not None:
        assert channel is not None
        following, outside = _scaled_sums(builder, layer.data_scale, channel, bias, (times, batch))
        product = following[0].inputs[0]
        start = np.zeros(columns, INT32.dtype)
        weights = replace(weights, given_bias=None, channel=None, rest=following, result=product, start=start)
        anchor = replace(
            anchor,
            type=TensorType(type.shape, INT32.dtype),
            entry=product,
            following=following,
            outside=outside,
        )
    share = lower_product(builder, anchor, weights, window, 1, PLAIN)
    assert share is not None
    return share


def _flat(builder: Builder, value: Value, rows: int) -> Value:
    """A tensor (time, batch, features) as rows."""
    source = builder.as_layout(value, PLAIN)
    return Value(TensorType((rows, value.shape[-1]), value.type.dtype), builder.address(source), PLAIN)


def _scaled_sums(
    builder: Builder, scale: Value, channel: Array, bias: Array | None, sizes: tuple[int, int]
) -> tuple[tuple[Node, ...], dict[Entry, Value]]:
    """What follows a product of integers: times the scales of rows and columns, plus the bias; and what that reads."""
    if scale.type.size > 1:
        rows = (
            builder.spread(scale, TensorType((*sizes, 1), FLOAT32.dtype), PLAIN) if scale.shape[:2] != sizes else scale
        )
        assert rows is not None
        scale = _flat(builder, rows, math.prod(sizes))
    outside = {make_variable("scale"): scale, make_variable("channel"): builder.parameter(channel)}
    following = [
        make_node("dequantize", "scaled", [make_variable("sums"), *outside], {"axis": -1, "per_channel": True})
    ]
    if bias is not None:
        added = make_variable("bias")
        outside[added] = builder.parameter(bias)
        following.append(make_node("add", "biased", [following[0][0], added]))
    return tuple(following), outside


def _phases(builder: Builder, layer: Layer, batch: int) -> tuple[list[Phase], Value | None, Value | None]:
    """The phases of a time, and what lies between two of them: the update gates and what the second multiplies."""
    cell, size = layer.cell, layer.cell.size
    h2h = tuple(d.weights.h2h for d in layer.directions)
    scales = tuple(d.weights.h2h_scale for d in layer.directions if d.weights.h2h_scale is not None)
    between = TensorType((len(layer.directions), batch, size), FLOAT32.dtype)
    projections = tuple(d.weights.h2r for d in layer.directions if d.weights.h2r is not None)
    if projections:
        product = builder.new(between)
        projected = tuple(d.weights.h2r_scale for d in layer.directions if d.weights.h2r_scale is not None)
        projection = Phase("projection", projections, layer.state_size, product, projected)
        return [Phase("lstm", h2h, size, scales=scales), projection], None, product
    if cell.mode == "gru" and not cell.reset_after:
        update, product = builder.new(between), builder.new(between)
        both, new = slice(0, 2 * size), slice(2 * size, None)
        phases = [
            Phase(form, tuple(m[rows] for m in h2h), size, source, tuple(s[rows] for s in scales))
            for form, rows, source in (("gru_gates", both, None), ("gru_new", new, product))
        ]
        return phases, update, product
    return [Phase(cell.mode, h2h, size, scales=scales)], None, None


def _numbers(cell: Cell) -> list[int]:
    bounds = [0.0 if n is None else n for n in (cell.clip, cell.state_low, cell.state_high)]
    pairs = [(f.alpha, f.beta) for f in cell.functions] + [(0.0, 0.0)] * (3 - len(cell.functions))
    return [number_word(n) for n in (*bounds, *(n for pair in pairs for n in pair))]


def _constants(builder: Builder, layer: Layer) -> tuple[Address | int, int, int]:
    """Peephole weights or the biases of a GRU's product: address, bytes of a direction, and how many for each unit."""
    vectors: list[Array] = []
    count = 0
    for direction in layer.directions:
        weights, cell = direction.weights, direction.cell
        if weights.peephole is not None:
            vectors, count = [*vectors, weights.peephole], 3
        elif cell.mode == "gru" and cell.reset_after and weights.h2h_bias is not None:
            vectors, count = [*vectors, weights.h2h_bias[2 * cell.size :]], 1
    if not vectors:
        return 0, 0, 0
    lanes = builder.isa.lanes
    packed = shared(
        builder, layer, ("constants", lanes), lambda: np.stack([interleaved(v, count, lanes) for v in vectors])
    )
    return builder.constant(packed), packed.nbytes // len(vectors), count


def _add_step(builder: Builder, layer: Layer, tensors: tuple[Value, Value, Value | None, Value]) -> None:
    """The step that goes through the times."""
    shares, states, cells, output = tensors
    times, batch, _ = output.shape
    count, state, cell = len(layer.directions), layer.state_size, layer.cell
    phases, update, product = _phases(builder, layer, batch)
    block = block_rows(builder, layer, phases, batch)
    blocks = max(1, -(-batch // block))
    rows, scratch = zip(*(phase_row(builder, layer, phase, batch, block) for phase in phases), strict=True)
    constants, constants_direction, unit_constants = _constants(builder, layer)
    row = RECURRENT_ARGUMENTS.fill(
        counters=_zeroed_counters(builder, layer, blocks * (count + 1)),
        blocks=blocks,
        block_rows=block,
        times=times,
        batch=batch,
        directions=count,
        is_reverse=both([int(d.is_reverse) for d in layer.directions]),
        lengths=0 if layer.lengths is None else builder.address(layer.lengths),
        zeros=builder.zeros(state),
        input=shares.address,
        input_pitch=shares.strides[0],
        input_direction=shares.strides[0] // count,
        gates=cell.gates,
        output=output.address,
        states=states.address,
        state=state,
        cells=0 if cells is None else cells.address,
        size=cell.size,
        update=0 if update is None else update.address,
        product=0 if product is None else product.address,
        constants=constants,
        constants_direction=constants_direction,
        unit_constants=unit_constants,
        numbers=[
            word for direction in both(layer.directions) for word in _numbers(direction.cell if direction else cell)
        ],
        phases=len(phases),
        phase=[word for row in rows for word in row] + [0] * (MAX_PHASES - len(phases)) * PHASE.words,
    )
    parts = blocks * times * count * sum(cut(builder.isa, phase)[0] for phase in phases)
    matrices = [matrix for phase in phases for matrix in phase.rows]
    read = times * sum(matrix.nbytes for matrix in matrices) + shares.nbytes + output.nbytes
    cost = Cost(2 * times * batch * sum(matrix.size for matrix in matrices), read)
    builder.native(layer.name, "recurrent_loop", row, parts, cost, max(scratch), output.type)


def _zeroed_counters(builder: Builder, layer: Layer, count: int) -> Address:
    words = count * COUNTER_BYTES // FLOAT32.bytes
    zeros = Value(TensorType((words,), FLOAT32.dtype), builder.zeros(words))
    counters = builder.new(zeros.type)
    lower_copy(builder, layer.name, zeros, zeros.strides, counters.address, zeros.strides, zeros.shape)
    return counters.address
