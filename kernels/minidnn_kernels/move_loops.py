"""The loop functions of `minidnn_kernels.moves` and `panels`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_words import index_at, load_real, load_whole, store_real, store_whole
from minidnn_kernels.elements import FIRST_FLOAT, UNSIGNED
from minidnn_kernels.loop_words import call6, copy_bytes, copy_item, inlined, load, scratch, store
from minidnn_kernels.moves import (
    CHECK,
    GATHER_ARGUMENTS,
    INDICES,
    MAX_DIMENSIONS,
    MAX_TABLES,
    OFFSETS_ARGUMENTS,
    REDUCTIONS,
    SCATTER_ARGUMENTS,
    STATUS_WORDS,
    TABLE,
    WRAP,
)
from minidnn_kernels.panels import PANELS_ARGUMENTS
from minidnn_kernels.simd import LANE_BYTES

__all__ = ["gather_loop", "offsets_loop", "panels_loop", "scatter_loop"]

_G, _T = GATHER_ARGUMENTS.offsets, TABLE.offsets
_TABLE_BYTES = TABLE.words * WORD_BYTES
_LAST = (MAX_DIMENSIONS - 1) * WORD_BYTES
_WORD = WORD_BYTES


def gather_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    run, inner, tables = load(args + _G.run), load(args + _G.shape + _LAST), load(args + _G.tables)
    total = inner
    for d in range(MAX_DIMENSIONS - 1):
        total *= load(args + _G.shape + d * _WORD)
    row, end = total * part // parts, total * (part + 1) // parts
    target, stride = load(args + _G.target) + row * run, load(args + _G.strides + _LAST)
    # Of the tables that vary along the innermost dimension: where they are read, and the step from one to the next.
    places = scratch(MAX_TABLES)
    steps = scratch(MAX_TABLES)
    starts = scratch(MAX_TABLES)
    while row < end:
        first = row % inner
        count = min(inner - first, end - row)
        source, rest = load(args + _G.source) + first * stride, row // inner
        for t in range(tables):
            store(starts + t * _WORD, load(args + _G.table + t * _TABLE_BYTES + _T.address))
        for d in range(MAX_DIMENSIONS - 2, -1, -1):
            extent = load(args + _G.shape + d * _WORD)
            index = rest % extent
            rest = rest // extent
            source += index * load(args + _G.strides + d * _WORD)
            for t in range(tables):
                step = load(args + _G.table + t * _TABLE_BYTES + _T.strides + d * _WORD)
                store(starts + t * _WORD, load(starts + t * _WORD) + index * step)
        varying = 0
        for t in range(tables):
            step, place = load(args + _G.table + t * _TABLE_BYTES + _T.strides + _LAST), load(starts + t * _WORD)
            if step == 0:
                source += load(place)
            else:
                store(places + varying * _WORD, place + first * step)
                store(steps + varying * _WORD, step)
                varying += 1
        place, step = load(places), load(steps)
        is_item = run <= _WORD and run & (run - 1) == 0
        for i in range(count):
            at = source + i * stride
            if varying > 0:
                at += load(place + i * step)
            for t in range(1, varying):
                at += load(load(places + t * _WORD) + i * load(steps + t * _WORD))
            if is_item:
                copy_item(target, at, run)
            else:
                copy_bytes(target, at, run)
            target += run
        row += count


_O, _I = OFFSETS_ARGUMENTS.offsets, INDICES.offsets
_INDICES_BYTES, _STATUS_BYTES = INDICES.words * WORD_BYTES, STATUS_WORDS * WORD_BYTES


def offsets_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the offsets."""
    arrays, target = load(args + _O.arrays), load(args + _O.target)
    begin, end = load(args + _O.count) * part // parts, load(args + _O.count) * (part + 1) // parts
    for a in range(arrays):
        indices = args + _O.indices + a * _INDICES_BYTES
        code, size, stride = load(indices + _I.code), load(indices + _I.size), load(indices + _I.stride)
        mode, floors, address = load(indices + _I.mode), load(indices + _I.floors), load(indices + _I.address)
        item = _item(code)
        least, most = 0, -size
        for i in range(begin, end):
            index = index_at(address + i * item, code, floors)
            if i == begin:
                least = most = index
            least, most = min(least, index), max(most, index)
            if mode == WRAP:
                index = index % size
            else:
                if mode == CHECK and index < 0 and index >= -size:
                    index += size
                index = max(0, min(index, size - 1))
            if a == 0:
                store(target + i * _WORD, index * stride)
            else:
                store(target + i * _WORD, load(target + i * _WORD) + index * stride)
        status = load(args + _O.status) + (part * arrays + a) * _STATUS_BYTES
        if end == begin:
            least, most = 0, 0
        store(status, least)
        store(status + _WORD, most)


@inlined
def _item(code: int) -> int:
    """Bytes of an element of the type with that code."""
    if code in (0, 1, 5):
        return 1
    if code in (2, 6):
        return 2
    return 4 if code in (3, 7, FIRST_FLOAT) else 8


_S = SCATTER_ARGUMENTS.offsets
_ADD, _MUL, _MAX = REDUCTIONS.index("add"), REDUCTIONS.index("mul"), REDUCTIONS.index("max")


def scatter_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is a share of the target: all rows are looked at, in order, and those that begin there are written."""
    target, rows, run = load(args + _S.target), load(args + _S.rows), load(args + _S.run)
    item, code, reduction = load(args + _S.item), load(args + _S.code), load(args + _S.reduction)
    size, offsets, updates = load(args + _S.size), load(args + _S.offsets), load(args + _S.updates)
    begin, end = size * part // parts, size * (part + 1) // parts
    for row in range(rows):
        offset = load(offsets + row * _WORD)
        if offset < begin or offset >= end:
            continue
        place, update = target + offset, updates + row * run * item
        if reduction == 0:
            if run == 1:
                copy_item(place, update, item)
            else:
                copy_bytes(place, update, run * item)
        elif code >= FIRST_FLOAT:
            for i in range(run):
                old, new = load_real(place + i * item, code), load_real(update + i * item, code)
                store_real(place + i * item, code, _combined_reals(reduction, old, new))
        else:
            for i in range(run):
                was, now = load_whole(place + i * item, code), load_whole(update + i * item, code)
                store_whole(place + i * item, code, _combined_wholes(reduction, was, now, code))


@inlined
def _combined_reals(reduction: int, a: float, b: float) -> float:
    if reduction == _ADD:
        return a + b
    if reduction == _MUL:
        return a * b
    if a != a:
        return a
    if b != b:
        return b
    if reduction == _MAX:
        return max(a, b)
    return min(a, b)


@inlined
def _combined_wholes(reduction: int, a: int, b: int, code: int) -> int:
    if reduction == _ADD:
        return a + b
    if reduction == _MUL:
        return a * b
    # Of unsigned words those with the highest bit are the greatest.
    flip = -(1 << 63) if code == UNSIGNED else 0
    if reduction == _MAX:
        return a if (a ^ flip) > (b ^ flip) else b
    return a if (a ^ flip) < (b ^ flip) else b


_P = PANELS_ARGUMENTS.offsets


def panels_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some channels of one panel."""
    blocks, panels = load(args + _P.blocks), load(args + _P.panels)
    panel, block, group = part % panels, part // panels % blocks, part // panels // blocks
    first, column = block * load(args + _P.part_channels), panel * load(args + _P.columns)
    source, target, factors = load(args + _P.source), load(args + _P.target), load(args + _P.factors)
    source += group * load(args + _P.source_group) + column * load(args + _P.column_pitch)
    target += group * load(args + _P.target_group) + panel * load(args + _P.panel_pitch)
    call6(
        load(args + _P.kernel),
        source + first * load(args + _P.channel_pitch),
        target + first * load(args + _P.row_pitch),
        factors + (group * load(args + _P.group_columns) + column) * LANE_BYTES,
        min(load(args + _P.part_channels), load(args + _P.channels) - first),
        min(load(args + _P.columns), load(args + _P.group_columns) - column),
        args,
    )
