"""Phases of a recurrent layer's time step: a product of states, and the gates made of its sums, as arguments."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.lowering.builder import Builder
from minidnn.lowering.tiling import MOST_PANELS, Tiling, choose_panel, choose_tiling
from minidnn.lowering.values import Array, Value
from minidnn.lowering.weight_store import Origin
from minidnn.ops.recurrent_cells import Cell, Direction
from minidnn.plan.program import Kernel
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.dot import Dot, SplitDot, best_dot
from minidnn_kernels.element_type import FLOAT32, INT32, ElementType
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_for_dot
from minidnn_kernels.recurrent import (
    FORMS,
    MAX_DIRECTIONS,
    PHASE,
    SCRATCH_HEAD,
    GatesSpec,
)
from minidnn_kernels.state_levels import LEVELS, ROW_SCALE, StateLevelsSpec, row_pitch
from minidnn_kernels.tile import TileSpec

__all__ = ["Layer", "Phase", "block_rows", "both", "cut", "interleaved", "phase_row", "shared"]

# Products of one sequence in a part: enough to hide what taking it and waiting for others costs, and more where there
# are a few parts already.
_PART_PRODUCTS = 32 * 1024
_MANY_PRODUCTS = 256 * 1024
_FEW_PARTS, _MOST_PARTS = 4, 16
# Weights of a direction that several blocks of sequences may read, and blocks that keep all threads busy.
_SHARED_CACHE_BYTES, _MOST_BLOCKS = 8 << 20, 16
# Row pointers of a cache line.
_POINTERS = 8


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
        data_scale: of data that is int8 or uint8.
    """

    name: str
    directions: Sequence[Direction]
    state: tuple[Value, int]
    cells: tuple[Value, int] | None
    lengths: Value | None
    origin: Origin
    usual: tuple[int, int]
    data_scale: Value | None = None

    @property
    def cell(self) -> Cell:
        """Of the first direction; the other differs in its activations only."""
        return self.directions[0].cell

    @property
    def state_size(self) -> int:
        h2r = self.directions[0].weights.h2r
        return self.cell.size if h2r is None else int(h2r.shape[0])


@dataclass(frozen=True)
class Phase:
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


def interleaved(rows: Array, gates: int, lanes: int) -> Array:
    """Rows ``(gates * units, ...)`` as ``(..., vectors of units, gates, lanes)``; units that are missing are zeros."""
    units = rows.shape[0] // gates
    vectors = -(-units // lanes)
    filled = np.zeros((gates, vectors * lanes, *rows.shape[1:]), rows.dtype)
    filled[:, :units] = rows.reshape(gates, units, *rows.shape[1:])
    split = filled.reshape(gates, vectors, lanes, *rows.shape[1:])
    return np.ascontiguousarray(split.transpose(*range(3, split.ndim), 1, 0, 2))


def shared(builder: Builder, layer: Layer, form: Hashable, make: Any) -> Array:
    return builder.share((form, layer.origin.steps), layer.origin.sources, make)


def cut(isa: Isa, phase: Phase) -> tuple[int, int]:
    """Parts of a phase, and vectors of units in each: the same for any batch, as the weights are packed by them."""
    vectors = -(-phase.units // isa.lanes)
    products = phase.depth * phase.units * phase.sums
    wanted = max(1, min(_FEW_PARTS, products // _PART_PRODUCTS), min(_MOST_PARTS, products // _MANY_PRODUCTS))
    each = -(-vectors // min(wanted, vectors))
    return -(-vectors // each), each


def _levels_form(cell: Cell, phase: Phase) -> str:
    """Of `state_levels.LEVELS`; empty where states are multiplied as they are."""
    if cell.levels == "none":
        return ""
    return cell.levels if phase.scales else f"{cell.levels}_floats"


@dataclass(frozen=True)
class _Product:
    """How the states of a phase meet their weights.

    Args:
        levels: see `_levels_form`.
        data: type of what is multiplied.
        name: of the dot.
    """

    levels: str
    data: ElementType
    name: str

    @property
    def is_integer(self) -> bool:
        return self.data.is_integer

    @property
    def dtype(self) -> Any:
        """Of the weights before they are packed."""
        return np.dtype(np.int8) if self.is_integer or self.name else FLOAT32.dtype

    def dot(self, isa: Isa) -> Dot:
        return self.data.dot(isa, self.name)

    def tile(self, rows: int, vectors: int, panels: int) -> TileSpec:
        epilogue = Epilogue(output=INT32.name if self.is_integer else FLOAT32.name)
        return TileSpec(rows, vectors, epilogue, data=self.data.name, dot=self.name, panels=panels)


def _product(builder: Builder, layer: Layer, phase: Phase) -> _Product:
    form = _levels_form(layer.cell, phase)
    data = LEVELS[form].type if form else FLOAT32
    stacked = np.stack([matrix.T for matrix in phase.rows])[:, None]
    if not data.is_integer:
        return _Product(form, data, best_dot(builder.isa, data.name, stacked))
    key = ("dot", phase.form, data.name, layer.origin.steps)
    name = builder.store.get(key, layer.origin.sources, lambda: best_dot(builder.isa, data.name, stacked))
    return _Product(form, data, name)


def block_rows(builder: Builder, layer: Layer, phases: Sequence[Phase], batch: int) -> int:
    """Sequences that go through the times together: whole strips of every phase's tile.

    Threads then meet only where there are more of them than blocks. That is free of cost where a strip's products take
    longer than its weights do to come from the cache that cores share; other layers are one block, which reads them
    once. So is one whose states have a range in common.
    """
    weights = sum(phase.rows[0].nbytes for phase in phases)
    products = [_product(builder, layer, phase) for phase in phases]
    is_shared = any(product.levels and LEVELS[product.levels].is_shared for product in products)
    if is_shared or weights > _SHARED_CACHE_BYTES:
        return max(batch, 1)
    strips = [
        _tiling(builder, layer, phase, product, batch)[0].rows for phase, product in zip(phases, products, strict=True)
    ]
    each = math.lcm(*strips)
    return each * -(-batch // (each * _MOST_BLOCKS)) if each <= batch else max(batch, 1)


def _tiling(builder: Builder, layer: Layer, phase: Phase, product: _Product, batch: int) -> tuple[Tiling, int, int]:
    """The tiling of a phase's product, vectors of a panel, and panels that a tile may read together."""
    isa = builder.isa
    part_columns = cut(isa, phase)[1] * phase.sums * isa.lanes
    dot = product.dot(isa)
    steps, most = -(-phase.depth // dot.group), 1 if isinstance(dot, SplitDot) else MOST_PANELS
    panel = choose_panel(isa, steps, part_columns, fits=dot.fits)
    usual = (layer.usual[1], part_columns) if builder.varies else None
    return choose_tiling(isa, 1, batch, 1, steps, 1, part_columns, dot.fits, panel, most, usual), panel, most


def phase_row(builder: Builder, layer: Layer, phase: Phase, batch: int, block: int) -> tuple[list[Any], int]:
    """Arguments of a phase, and the scratch memory that it needs for a block of so many sequences."""
    isa = builder.isa
    parts, each = cut(isa, phase)
    part_columns = each * phase.sums * isa.lanes
    product = _product(builder, layer, phase)
    dot = product.dot(isa)
    steps = -(-phase.depth // dot.group)
    tiling, panel, most = _tiling(builder, layer, phase, product, batch)
    width, together = panel * isa.lanes, most if part_columns > panel * isa.lanes else 1
    for other in tiling.others:
        builder.prepare(product.tile(*other))

    def pack() -> Array:
        made = []
        for matrix in phase.rows:
            ordered = interleaved(matrix, phase.sums, isa.lanes).reshape(phase.depth, -1)
            filled = np.zeros((phase.depth, parts * part_columns), product.dtype)
            filled[:, : ordered.shape[1]] = ordered
            groups = filled.reshape(phase.depth, parts, part_columns).transpose(1, 0, 2)
            starts = np.zeros((parts, part_columns), INT32.dtype) if product.is_integer else None
            made.append(pack_for_dot(groups[:, None], starts, width, dot, isa.lanes, together))
        # Panels of split dots are as long as their numbers want.
        longest = max(packed.shape[2] for packed in made)
        return np.stack([np.pad(packed, ((0, 0), (0, 0), (0, longest - packed.shape[2]))) for packed in made])

    form = ("states", phase.form, parts, each, panel, product.data.name, product.name)
    packed = shared(builder, layer, form, pack)
    columns = tiling.vectors * isa.lanes
    scales, totals = _row_factors(builder, layer, phase, product)
    kernels = [Kernel(_gates_spec(phase.form, direction, product)) for direction in layer.directions]
    level_pitch = row_pitch(product.levels, phase.depth) if product.levels else 0
    row = PHASE.fill(
        tile=Kernel(product.tile(tiling.rows, tiling.vectors, tiling.panels)),
        gates=both(kernels),
        source=0 if phase.source is None else phase.source.address,
        levels=Kernel(StateLevelsSpec(product.levels)) if product.levels else 0,
        level_pitch=level_pitch,
        depth=phase.depth,
        steps=steps,
        weights=builder.constant(packed),
        part_pitch=packed.shape[2] * packed.shape[3],
        panel_pitch=tiling.panels * packed.shape[3],
        panels=-(-part_columns // columns),
        rows=tiling.rows,
        places=_places(block, tiling.rows),
        columns=columns,
        parts=parts,
        part_units=each * isa.lanes,
        units=phase.units,
        scales=0 if scales is None else builder.constant(scales),
        scales_direction=0 if scales is None else scales[0].nbytes,
        unit_scales=phase.sums,
        totals=0 if totals is None else builder.constant(totals),
    )
    pointers = SCRATCH_HEAD + 2 * _places(block, tiling.rows) * WORD_BYTES
    levels = level_pitch + ROW_SCALE.words * WORD_BYTES
    return row, pointers + block * (-(-part_columns // columns) * columns * FLOAT32.bytes + levels)


def _row_factors(builder: Builder, layer: Layer, phase: Phase, product: _Product) -> tuple[Array | None, Array | None]:
    """What sums are multiplied by, and the sums of weights that levels with a zero point need."""
    lanes = builder.isa.lanes

    def scales() -> Array:
        return np.stack([interleaved(scale, phase.sums, lanes) for scale in phase.scales])

    def totals() -> Array:
        return np.stack([interleaved(m.sum(1, dtype=INT32.dtype), phase.sums, lanes) for m in phase.rows])

    has_zero = product.is_integer and LEVELS[product.levels].is_shared
    return (
        shared(builder, layer, ("scales", phase.form), scales) if phase.scales else None,
        shared(builder, layer, ("totals", phase.form), totals) if has_zero else None,
    )


def _places(batch: int, rows: int) -> int:
    """Row pointers for whole strips, in whole cache lines."""
    return -(-(-(-batch // rows) * rows) // _POINTERS) * _POINTERS


def both(values: Sequence[Any]) -> list[Any]:
    """One for each direction that there may be."""
    return [*values, *[0] * (MAX_DIRECTIONS - len(values))]


def _gates_spec(form: str, direction: Direction, product: _Product) -> GatesSpec:
    cell, weights = direction.cell, direction.weights
    levels = product.levels if product.is_integer else ""
    if form == "projection":
        return GatesSpec(form, scaled=weights.h2r_scale is not None, levels=levels)
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
        levels,
    )
