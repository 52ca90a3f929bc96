"""The loop function of `minidnn_kernels.recurrent`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.loop_words import (
    atomic_add,
    atomic_load,
    call3,
    call5,
    call9,
    copy_bytes,
    inlined,
    load,
    pause,
    scratch,
    store,
    yield_cpu,
)
from minidnn_kernels.recurrent import (
    COUNTER_BYTES,
    GATES_CONTEXT,
    NUMBERS,
    PHASE,
    RECURRENT_ARGUMENTS,
    SCRATCH_HEAD,
)
from minidnn_kernels.state_levels import ROW_SCALE
from minidnn_kernels.store import CONTEXT

__all__ = ["recurrent_loop"]

_R, _P, _C, _G = RECURRENT_ARGUMENTS.offsets, PHASE.offsets, CONTEXT.offsets, GATES_CONTEXT.offsets
_PHASE_BYTES, _NUMBER_BYTES = PHASE.words * WORD_BYTES, len(NUMBERS) * WORD_BYTES
_CONTEXT_WORDS, _GATES_WORDS = CONTEXT.words, GATES_CONTEXT.words
_FLOAT, _ROW_SCALE_BYTES = FLOAT32.bytes, ROW_SCALE.words * WORD_BYTES
# Spins before a waiting thread offers its core to others.
_PATIENCE = 300


def recurrent_loop(args: int, part: int, parts: int, memory: int) -> None:
    """Some units of one direction at one time, in one phase, of a block of sequences.

    These are numbered in a block by time, then phase, then direction, and each call does the next one of its block,
    whatever its part: one that waits until all of its block and direction that come before it in time or phase are done
    finds somebody working on them. Threads that are dealt different blocks wait for nobody.
    """
    directions, blocks, block_rows = load(args + _R.directions), load(args + _R.blocks), load(args + _R.block_rows)
    block = part // (parts // blocks)
    first_row = block * block_rows
    end_row = min(load(args + _R.batch), first_row + block_rows)
    part = atomic_add(load(args + _R.counters) + (blocks * directions + block) * COUNTER_BYTES, 1)
    first, second = args + _R.phase, args + _R.phase + _PHASE_BYTES
    first_parts = load(first + _P.parts)
    second_parts = load(second + _P.parts) if load(args + _R.phases) > 1 else 0
    each = first_parts + second_parts
    time, rest = part // (directions * each), part % (directions * each)
    phase, before, is_last = first, time * each, second_parts == 0
    if rest >= directions * first_parts:
        phase, before, is_last = second, before + first_parts, True
        rest -= directions * first_parts
    phase_parts = load(phase + _P.parts)
    direction, number = rest // phase_parts, rest % phase_parts

    # Scratch: how many sequences are not over, where their rows lie, their numbers, the sums, levels and their scales.
    batch, rows, place_bytes = load(args + _R.batch), load(phase + _P.rows), load(phase + _P.places) * WORD_BYTES
    pointers = memory + SCRATCH_HEAD
    ids, sums = pointers + place_bytes, pointers + 2 * place_bytes
    state_bytes = load(args + _R.state) * _FLOAT
    slot = load(args + _R.directions) * batch * state_bytes
    states = load(args + _R.states) + time % 2 * slot + direction * batch * state_bytes
    following = load(args + _R.states) + (time + 1) % 2 * slot + direction * batch * state_bytes
    depth = load(phase + _P.depth)
    source = load(phase + _P.source)
    source = states if source == 0 else source + direction * batch * depth * _FLOAT
    _point_rows(args, time, source, depth * _FLOAT, rows, memory, pointers, ids, first_row, end_row)
    active = load(memory)

    counter = load(args + _R.counters) + (block * directions + direction) * COUNTER_BYTES
    spins = 0
    while atomic_load(counter) < before:
        pause()
        spins += 1
        if spins > _PATIENCE:
            yield_cpu()

    columns, panels, panel_pitch = load(phase + _P.columns), load(phase + _P.panels), load(phase + _P.panel_pitch)
    weights = load(phase + _P.weights) + (direction * phase_parts + number) * load(phase + _P.part_pitch)
    context, row_bytes = scratch(_CONTEXT_WORDS), panels * columns * _FLOAT
    levels, level_pitch = load(phase + _P.levels), load(phase + _P.level_pitch)
    rounded = sums + block_rows * row_bytes
    row_scales = rounded + block_rows * level_pitch
    if levels != 0:
        call5(levels, pointers, active, depth, rounded, row_scales)
        _point_in_order(rounded, level_pitch, rows, active, pointers)
    store(context + _C.output, sums)
    store(context + _C.pitch, row_bytes)
    for panel in range(panels):
        for strip in range((active + rows - 1) // rows):
            call9(
                load(phase + _P.tile),
                context,
                pointers + strip * rows * WORD_BYTES,
                1,
                load(phase + _P.steps),
                weights + panel * panel_pitch,
                strip * rows,
                panel * columns,
                active - strip * rows,
                columns,
            )

    unit = number * load(phase + _P.part_units)
    units = min(load(phase + _P.part_units), load(phase + _P.units) - unit)
    gates = load(phase + _P.gates + direction * WORD_BYTES)
    numbers = args + _R.numbers + direction * _NUMBER_BYTES
    lengths, is_reverse = load(args + _R.lengths), load(args + _R.is_reverse + direction * WORD_BYTES)
    given = scratch(_GATES_WORDS)
    constants = load(args + _R.constants) + direction * load(args + _R.constants_direction)
    store(given + _G.constants, constants + unit * load(args + _R.unit_constants) * _FLOAT)
    scales = load(phase + _P.scales) + direction * load(phase + _P.scales_direction)
    store(given + _G.scales, scales + unit * load(phase + _P.unit_scales) * _FLOAT)
    totals = load(phase + _P.totals) + direction * load(phase + _P.scales_direction)
    store(given + _G.totals, totals + unit * load(phase + _P.unit_scales) * _FLOAT)
    shares = load(args + _R.input) + direction * load(args + _R.input_direction)
    shares += unit * load(args + _R.gates) * _FLOAT
    size_bytes = load(args + _R.size) * _FLOAT
    for i in range(active):
        row = load(ids + i * WORD_BYTES)
        length = load(args + _R.times) if lengths == 0 else load(lengths + row * WORD_BYTES)
        at = length - 1 - time if is_reverse != 0 else time
        state, hidden = row * state_bytes + unit * _FLOAT, (direction * batch + row) * size_bytes + unit * _FLOAT
        store(given + _G.sums, sums + i * row_bytes)
        store(given + _G.row_scale, row_scales + i * _ROW_SCALE_BYTES)
        store(given + _G.input, shares + (at * batch + row) * load(args + _R.input_pitch))
        store(given + _G.state, states + state)
        store(given + _G.next, following + state)
        output = ((at * batch + row) * directions + direction) * state_bytes + unit * _FLOAT
        store(given + _G.output, load(args + _R.output) + output)
        store(given + _G.cell, load(args + _R.cells) + hidden)
        store(given + _G.update, load(args + _R.update) + hidden)
        store(given + _G.product, load(args + _R.product) + hidden)
        call3(gates, given, units, numbers)
    if is_last and active < end_row - first_row:
        for row in range(first_row, end_row):
            if load(lengths + row * WORD_BYTES) <= time:
                # Its state stays, and so many steps from the end there is no output.
                state = row * state_bytes + unit * _FLOAT
                copy_bytes(following + state, states + state, units * _FLOAT)
                output = ((time * batch + row) * directions + direction) * state_bytes + unit * _FLOAT
                copy_bytes(load(args + _R.output) + output, load(args + _R.zeros), units * _FLOAT)
    atomic_add(counter, 1)


@inlined
def _repeat_last(rows: int, active: int, pointers: int) -> None:
    """The pointers of a strip's rows that are missing."""
    if active > 0:
        for place in range(active, (active + rows - 1) // rows * rows):
            store(pointers + place * WORD_BYTES, load(pointers + (active - 1) * WORD_BYTES))


@inlined
def _point_rows(
    args: int, time: int, source: int, pitch: int, rows: int, count: int, pointers: int, ids: int, first: int, end: int
) -> None:
    """How many sequences of a block last longer than `time`, where their rows lie, and their numbers.

    Rows beyond the last one of a strip repeat it.
    """
    lengths = load(args + _R.lengths)
    active = 0
    for row in range(first, end):
        if lengths == 0 or load(lengths + row * WORD_BYTES) > time:
            store(ids + active * WORD_BYTES, row)
            store(pointers + active * WORD_BYTES, source + row * pitch)
            active += 1
    _repeat_last(rows, active, pointers)
    store(count, active)


@inlined
def _point_in_order(source: int, pitch: int, rows: int, active: int, pointers: int) -> None:
    """Row pointers to rows that lie one behind the other."""
    for row in range(active):
        store(pointers + row * WORD_BYTES, source + row * pitch)
    _repeat_last(rows, active, pointers)
