"""A recurrent layer: the product of all inputs as one step, then one step that goes through the times.

Columns of both products are ordered by vectors of hidden units, all gates of a vector side by side: what makes the next
state of a vector reads one stretch of memory of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from minidnn.lowering.algorithms import lower_product
from minidnn.lowering.anchor import Anchor, Weights
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.geometry import Window
from minidnn.lowering.tiling import MOST_PANELS, choose_panel, choose_tiling
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.recurrent_cells import Cell, Direction, folded_bias
from minidnn.ops.registry import Attrs, TensorType
from minidnn.plan.program import Address, Cost, Kernel
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_panels
from minidnn_kernels.recurrent import (
    COUNTER_BYTES,
    FORMS,
    MAX_DIRECTIONS,
    MAX_PHASES,
    PHASE,
    RECURRENT_ARGUMENTS,
    SCRATCH_HEAD,
    GatesSpec,
)
from minidnn_kernels.state_levels import StateLevelsSpec
from minidnn_kernels.tile import TileSpec

__all__ = ["Layer", "Made", "lower_layer"]

# Products of one sequence in a part: enough to hide what taking it and waiting for others costs, and more where there
# are a few parts already.
_PART_PRODUCTS = 32 * 1024
_MANY_PRODUCTS = 256 * 1024
_FEW_PARTS, _MOST_PARTS = 4, 16
# Row pointers of a cache line.
_POINTERS = 8
_NO_ATTRS = Attrs({})


@dataclass(frozen=True)
class _Phase:
    """What is multiplied at a time, and what is made of it.

    Args:
        form: of `FORMS`.
        rows: of the weights of each direction that are multiplied, ``(sums * units, depth)``.
        units: hidden units, or elements of a projected state.
        source: what is multiplied; None for the states.
        scales: of the rows of each direction, where they are int8.
    """

    form: str
    rows: tuple[Array, ...]
    units: int
    source: Value | None = None
    scales: tuple[Array, ...] = ()

    @property
    def sums(self) -> int:
        return FORMS[self.form][0]

    @property
    def depth(self) -> int:
        return int(self.rows[0].shape[1])


@dataclass(frozen=True)
class Layer:
    """One layer to be lowered.

    Args:
        name: of its steps.
        directions: what it computes.
        state, cells: what it begins with, and where in it, in bytes.
        lengths: of sequences, int64; None if all have all times.
        origin: of its weights.
        usual: times and sequences in the call that the network was traced with.
    """

    name: str
    directions: Sequence[Direction]
    state: tuple[Value, int]
    cells: tuple[Value, int] | None
    lengths: Value | None
    origin: Origin
    usual: tuple[int, int]

    @property
    def cell(self) -> Cell:
        """Of the first direction; the other differs in its activations only."""
        return self.directions[0].cell

    @property
    def state_size(self) -> int:
        h2r = self.directions[0].weights.h2r
        return self.cell.size if h2r is None else int(h2r.shape[0])


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


def _interleaved(rows: Array, gates: int, lanes: int) -> Array:
    """Rows ``(gates * units, ...)`` as ``(..., vectors of units, gates, lanes)``; units that are missing are zeros."""
    units = rows.shape[0] // gates
    vectors = -(-units // lanes)
    filled = np.zeros((gates, vectors * lanes, *rows.shape[1:]), rows.dtype)
    filled[:, :units] = rows.reshape(gates, units, *rows.shape[1:])
    split = filled.reshape(gates, vectors, lanes, *rows.shape[1:])
    return np.ascontiguousarray(split.transpose(*range(3, split.ndim), 1, 0, 2))


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
            [_interleaved(d.weights.i2h, gates, lanes).reshape(inputs, -1) for d in layer.directions], 1
        )

    biases = [folded_bias(d.cell, d.weights) for d in layer.directions]
    known = [bias for bias in biases if bias is not None]
    bias = np.concatenate([_interleaved(b, gates, lanes).reshape(-1) for b in known]) if known else None
    scales = [d.weights.i2h_scale for d in layer.directions if d.weights.i2h_scale is not None]
    channel = np.concatenate([_interleaved(s, gates, lanes).reshape(-1) for s in scales]) if scales else None
    columns = len(layer.directions) * -(-layer.cell.size // lanes) * lanes * gates
    source = builder.as_layout(data, PLAIN)
    flat = Value(TensorType((rows, inputs), FLOAT32.dtype), builder.address(source), PLAIN)
    type = TensorType((rows, columns), FLOAT32.dtype)
    window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
    shape = np.broadcast_to(np.zeros((), layer.directions[0].weights.i2h.dtype), (1, 1, inputs, columns))
    origin = layer.origin.then("input")
    weights = _InputWeights(shape, bias, (), None, origin=origin, channel=channel, make=ordered)
    usual = (math.prod(layer.usual), columns)
    anchor = Anchor(f"{layer.name}_input", _NO_ATTRS, [flat], type, type, usual=usual)
    share = lower_product(builder, anchor, weights, window, 1, PLAIN)
    assert share is not None
    return share


def _phases(builder: Builder, layer: Layer, batch: int) -> tuple[list[_Phase], Value | None, Value | None]:
    """The phases of a time, and what lies between two of them: the update gates and what the second multiplies."""
    cell, size = layer.cell, layer.cell.size
    h2h = tuple(d.weights.h2h for d in layer.directions)
    scales = tuple(d.weights.h2h_scale for d in layer.directions if d.weights.h2h_scale is not None)
    between = TensorType((len(layer.directions), batch, size), FLOAT32.dtype)
    projections = tuple(d.weights.h2r for d in layer.directions if d.weights.h2r is not None)
    if projections:
        product = builder.new(between)
        projected = tuple(d.weights.h2r_scale for d in layer.directions if d.weights.h2r_scale is not None)
        projection = _Phase("projection", projections, layer.state_size, product, projected)
        return [_Phase("lstm", h2h, size, scales=scales), projection], None, product
    if cell.mode == "gru" and not cell.reset_after:
        update, product = builder.new(between), builder.new(between)
        both, new = slice(0, 2 * size), slice(2 * size, None)
        phases = [
            _Phase(form, tuple(m[rows] for m in h2h), size, source, tuple(s[rows] for s in scales))
            for form, rows, source in (("gru_gates", both, None), ("gru_new", new, product))
        ]
        return phases, update, product
    return [_Phase(cell.mode, h2h, size, scales=scales)], None, None


def _gates_spec(form: str, direction: Direction) -> GatesSpec:
    cell, weights = direction.cell, direction.weights
    if form == "projection":
        return GatesSpec(form, scaled=weights.h2r_scale is not None)
    bounds = "" if cell.state_low is None else "keep_nan" if cell.keep_nan else "drop_nan"
    return GatesSpec(
        form,
        tuple(function.name for function in cell.functions),
        cell.clip is not None,
        bounds,
        cell.coupled,
        weights.peephole is not None,
        weights.h2r is not None,
        form == "gru" and weights.h2h_bias is not None,
        weights.h2h_scale is not None,
    )


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
    packed = _shared(
        builder, layer, ("constants", lanes), lambda: np.stack([_interleaved(v, count, lanes) for v in vectors])
    )
    return builder.constant(packed), packed.nbytes // len(vectors), count


def _shared(builder: Builder, layer: Layer, form: Hashable, make: Any) -> Array:
    return builder.share((form, layer.origin.steps), layer.origin.sources, make)


def _cut(isa: Isa, phase: _Phase) -> tuple[int, int]:
    """Parts of a phase, and vectors of units in each: the same for any batch, as the weights are packed by them."""
    vectors = -(-phase.units // isa.lanes)
    products = phase.depth * phase.units * phase.sums
    wanted = max(1, min(_FEW_PARTS, products // _PART_PRODUCTS), min(_MOST_PARTS, products // _MANY_PRODUCTS))
    each = -(-vectors // min(wanted, vectors))
    return -(-vectors // each), each


def _whole_step(matrix: Array) -> float:
    """The number of which all weights are multiples by an int8, exactly; NaN if there is none."""
    others = np.abs(matrix[matrix != 0])
    step = others.min() if others.size else np.float32(1)
    with np.errstate(all="ignore"):
        multiples = np.rint(matrix / step)
        is_whole = np.abs(multiples).max(initial=0) <= 127 and np.array_equal(multiples * step, matrix)
    return float(step) if is_whole else np.nan


def _whole_steps(builder: Builder, layer: Layer, phase: _Phase) -> Array | None:
    """The same of each direction, where states have levels; None if one has none.

    Weights are a quarter of the bytes then, and their step is put into the levels.
    """
    if not layer.cell.round_state:
        return None
    steps = _shared(
        builder, layer, ("steps", phase.form), lambda: np.array([_whole_step(m) for m in phase.rows], np.float32)
    )
    return steps if np.isfinite(steps).all() else None


def _phase_row(builder: Builder, layer: Layer, phase: _Phase, batch: int) -> tuple[list[Any], int]:
    """Arguments of a phase, and the scratch memory that it needs."""
    isa = builder.isa
    parts, each = _cut(isa, phase)
    part_columns = each * phase.sums * isa.lanes
    panel = choose_panel(isa, phase.depth, part_columns)
    width, together = panel * isa.lanes, MOST_PANELS if part_columns > panel * isa.lanes else 1
    usual = (layer.usual[1], part_columns) if builder.varies else None
    tiling = choose_tiling(isa, 1, batch, 1, phase.depth, 1, part_columns, panel=panel, usual=usual)
    steps = _whole_steps(builder, layer, phase)
    is_int8 = steps is not None or len(phase.scales) > 0
    stored, dot = (np.dtype(np.int8), "int8") if is_int8 else (FLOAT32.dtype, "")
    for rows, vectors, panels in tiling.others:
        builder.prepare(TileSpec(rows, vectors, dot=dot, panels=panels))

    def pack() -> Array:
        made = []
        for d, matrix in enumerate(phase.rows):
            ordered = _interleaved(matrix, phase.sums, isa.lanes).reshape(phase.depth, -1)
            ordered = ordered if steps is None else np.rint(ordered / steps[d])
            filled = np.zeros((phase.depth, parts * part_columns), stored)
            filled[:, : ordered.shape[1]] = ordered
            groups = filled.reshape(phase.depth, parts, part_columns).transpose(1, 0, 2)
            made.append(pack_panels(groups[:, None], width, together))
        return np.stack(made)

    packed = _shared(builder, layer, ("states", phase.form, parts, each, panel, dot), pack)
    columns = tiling.vectors * isa.lanes

    def spread() -> Array:
        return np.stack([_interleaved(scale, phase.sums, isa.lanes) for scale in phase.scales])

    scales = _shared(builder, layer, ("scales", phase.form), spread) if phase.scales else None
    kernels = [Kernel(_gates_spec(phase.form, direction)) for direction in layer.directions]
    row = PHASE.fill(
        tile=Kernel(TileSpec(tiling.rows, tiling.vectors, dot=dot, panels=tiling.panels)),
        gates=_both(kernels),
        source=0 if phase.source is None else phase.source.address,
        levels=Kernel(StateLevelsSpec()) if layer.cell.round_state else 0,
        factors=_both([number_word(1.0 if steps is None else float(steps[d])) for d in range(len(layer.directions))]),
        depth=phase.depth,
        weights=builder.constant(packed),
        part_pitch=packed.shape[2] * phase.depth * width * stored.itemsize,
        panel_pitch=phase.depth * columns * stored.itemsize,
        panels=-(-part_columns // columns),
        rows=tiling.rows,
        places=_places(batch, tiling.rows),
        columns=columns,
        parts=parts,
        part_units=each * isa.lanes,
        units=phase.units,
        scales=0 if scales is None else builder.constant(scales),
        scales_direction=0 if scales is None else scales[0].nbytes,
        unit_scales=phase.sums,
    )
    pointers = SCRATCH_HEAD + 2 * _places(batch, tiling.rows) * WORD_BYTES
    levels = phase.depth if layer.cell.round_state else 0
    return row, pointers + batch * (-(-part_columns // columns) * columns + levels) * FLOAT32.bytes


def _places(batch: int, rows: int) -> int:
    """Row pointers for whole strips, in whole cache lines."""
    return -(-(-(-batch // rows) * rows) // _POINTERS) * _POINTERS


def _both(values: Sequence[Any]) -> list[Any]:
    """One for each direction that there may be."""
    return [*values, *[0] * (MAX_DIRECTIONS - len(values))]


def _add_step(builder: Builder, layer: Layer, tensors: tuple[Value, Value, Value | None, Value]) -> None:
    """The step that goes through the times."""
    shares, states, cells, output = tensors
    times, batch, _ = output.shape
    count, state, cell = len(layer.directions), layer.state_size, layer.cell
    phases, update, product = _phases(builder, layer, batch)
    rows, scratch = zip(*(_phase_row(builder, layer, phase, batch) for phase in phases), strict=True)
    constants, constants_direction, unit_constants = _constants(builder, layer)
    row = RECURRENT_ARGUMENTS.fill(
        counters=_zeroed_counters(builder, layer, count),
        times=times,
        batch=batch,
        directions=count,
        is_reverse=_both([int(d.is_reverse) for d in layer.directions]),
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
            word for direction in _both(layer.directions) for word in _numbers(direction.cell if direction else cell)
        ],
        phases=len(phases),
        phase=[word for row in rows for word in row] + [0] * (MAX_PHASES - len(phases)) * PHASE.words,
    )
    parts = times * count * sum(_cut(builder.isa, phase)[0] for phase in phases)
    matrices = [matrix for phase in phases for matrix in phase.rows]
    read = times * sum(matrix.nbytes for matrix in matrices) + shares.nbytes + output.nbytes
    cost = Cost(2 * times * batch * sum(matrix.size for matrix in matrices), read)
    builder.native(layer.name, "recurrent_loop", row, parts, cost, max(scratch), output.type)


def _zeroed_counters(builder: Builder, layer: Layer, count: int) -> Address:
    words = (count + 1) * COUNTER_BYTES // FLOAT32.bytes
    zeros = Value(TensorType((words,), FLOAT32.dtype), builder.zeros(words))
    counters = builder.new(zeros.type)
    lower_copy(builder, layer.name, zeros, zeros.strides, counters.address, zeros.strides, zeros.shape)
    return counters.address
