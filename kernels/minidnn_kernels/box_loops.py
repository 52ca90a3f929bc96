"""The loop functions of `minidnn_kernels.boxes`, compiled by Numba."""

from __future__ import annotations

import numpy as np

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.boxes import BOX_ROWS_ARGUMENTS, MATCH_ARGUMENTS, SUPPRESSED_ARGUMENTS, SUPPRESSION_ARGUMENTS
from minidnn_kernels.element_words import larger, load_double, load_float, load_key, smaller, store_double, store_float
from minidnn_kernels.elements import ELEMENTS
from minidnn_kernels.loop_words import copy_bytes, inlined, load, store
from minidnn_kernels.order import SORT_WORDS
from minidnn_kernels.order_loops import sorted_pairs

__all__ = ["box_rows_loop", "match_loop", "suppressed_loop", "suppression_loop"]

_B, _N, _R = BOX_ROWS_ARGUMENTS.offsets, SUPPRESSION_ARGUMENTS.offsets, SUPPRESSED_ARGUMENTS.offsets
_M = MATCH_ARGUMENTS.offsets
_WORD, _PAIR = WORD_BYTES, 2 * WORD_BYTES
_SINGLE = ELEMENTS.index("float32")
_NAN_KEY = (1 << 63) - 1
# Of a box that is kept: the sides, the area, the class.
_AREA, _KIND, _BOX_BYTES = 4 * WORD_BYTES, 5 * WORD_BYTES, 6 * WORD_BYTES


@inlined
def _add_pair(pairs: int, count: int, address: int, code: int, place: int) -> int:
    """Add the score at an address, the largest first and NaN at the end; how many there are then."""
    score = load_float(address, code)
    store(pairs + count * _PAIR, _NAN_KEY if score != score else ~load_key(address, code))
    store(pairs + count * _PAIR + _WORD, place)
    return count + 1


@inlined
def _rounded(value: float, code: int) -> float:
    return np.float64(np.float32(value)) if code == _SINGLE else value


@inlined
def _extent(low: float, high: float, code: int) -> float:
    return larger(_rounded(high - low, code), 0.0)


@inlined
def _load_corners(target: int, source: int, code: int, item: int, center: int) -> None:
    for d in range(2):
        a, b = load_float(source + d * item, code), load_float(source + (d + 2) * item, code)
        if center != 0:
            half = _rounded(b / 2, code)
            a, b = _rounded(a - half, code), _rounded(a + half, code)
        store_double(target + d * _WORD, a)
        store_double(target + (d + 2) * _WORD, b)


@inlined
def _common(a: int, b: int, code: int) -> float:
    """The area that two boxes have in common."""
    product = 1.0
    for d in range(2):
        low = larger(load_double(a + d * _WORD), load_double(b + d * _WORD))
        high = smaller(load_double(a + (d + 2) * _WORD), load_double(b + (d + 2) * _WORD))
        product *= _extent(low, high, code)
    return _rounded(product, code)


@inlined
def _is_free(box: int, kept: int, count: int, overlap: float, code: int, closed: int, all_kinds: bool) -> bool:
    """Whether a box overlaps none of those that are kept."""
    for i in range(count):
        other = kept + i * _BOX_BYTES
        if all_kinds or load_double(other + _KIND) == load_double(box + _KIND):
            common = _common(other, box, code)
            both = _rounded(load_double(other + _AREA) + load_double(box + _AREA), code)
            share = _rounded(common / _rounded(both - common, code), code)
            if share > overlap or (closed != 0 and share == overlap):
                return False
    return True


@inlined
def _write_row(args: int, target: int, source: int) -> None:
    """A row, with its box in the format that is wanted."""
    code, item = load(args + _B.code), load(args + _B.item)
    source_center, target_center = load(args + _B.source_center), load(args + _B.target_center)
    copy_bytes(target, source, load(args + _B.width) * item)
    if source_center == target_center:
        return
    for d in range(2):
        at = (load(args + _B.box) + d) * item
        a, b = load_float(source + at, code), load_float(source + at + 2 * item, code)
        if source_center != 0:
            half = _rounded(b / 2, code)
            first, second = a - half, a + half
        else:
            first, second = _rounded(a + b, code) / 2, b - a
        store_float(target + at, code, first)
        store_float(target + at + 2 * item, code, second)


def box_rows_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the batch."""
    batch, count, width = load(args + _B.batch), load(args + _B.count), load(args + _B.width)
    code, item, kind, background = (
        load(args + _B.code),
        load(args + _B.item),
        load(args + _B.kind),
        load(args + _B.background),
    )
    closed, marks, most = load(args + _B.closed), load(args + _B.marks) != 0, load(args + _B.most)
    overlap, valid = load_double(args + _B.overlap), load_double(args + _B.valid)
    all_kinds, pitch = kind < 0 or load(args + _B.all_kinds) != 0, width * item
    kept = memory + SORT_WORDS * _WORD * count
    for sample in range(batch * part // parts, batch * (part + 1) // parts):
        source = load(args + _B.source) + sample * count * pitch
        target = load(args + _B.target) + sample * count * pitch
        found = 0
        for i in range(count):
            row = source + i * pitch
            address = row + load(args + _B.score) * item
            score = load_float(address, code)
            is_valid = score > valid or (closed != 0 and score == valid)
            if is_valid and kind >= 0 and background >= 0:
                is_valid = load_float(row + kind * item, code) != background
            if is_valid:
                found = _add_pair(memory, found, address, code, i)
        pairs = sorted_pairs(memory, memory + count * _PAIR, found)
        left, written = 0, 0
        for i in range(found):
            row = source + load(pairs + i * _PAIR + _WORD) * pitch
            box, is_free = kept + left * _BOX_BYTES, False
            if i < most:
                _load_corners(box, row + load(args + _B.box) * item, code, item, load(args + _B.source_center))
                extents = 1.0
                for d in range(2):
                    low, high = load_double(box + d * _WORD), load_double(box + (d + 2) * _WORD)
                    extents *= _extent(low, high, code)
                store_double(box + _AREA, _rounded(extents, code))
                store_double(box + _KIND, 0.0 if kind < 0 else load_float(row + kind * item, code))
                is_free = _is_free(box, kept, left, overlap, code, closed, all_kinds)
            if is_free or marks:
                _write_row(args, target + written * pitch, row)
                if not is_free:
                    store_float(target + written * pitch + kind * item, code, -1.0)
                written += 1
            if is_free:
                left += 1
        for i in range(written * width, count * width):
            store_float(target + i * item, code, -1.0)


@inlined
def _load_any_corners(target: int, source: int, code: int, item: int, center: int) -> None:
    """Like `_load_corners` in float64, of any two opposite corners; and the area."""
    area = 1.0
    for d in range(2):
        a, b = load_float(source + d * item, code), load_float(source + (d + 2) * item, code)
        if center != 0:
            a, b = a - b / 2, a + b / 2
        else:
            a, b = smaller(a, b), larger(a, b)
        store_double(target + d * _WORD, a)
        store_double(target + (d + 2) * _WORD, b)
        area *= b - a
    store_double(target + _AREA, area)


def suppression_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the pairs of a sample and a class."""
    kinds, count, most = load(args + _N.kinds), load(args + _N.count), load(args + _N.most)
    score_code, score_item = load(args + _N.score_code), load(args + _N.score_item)
    box_code, box_item = load(args + _N.box_code), load(args + _N.box_item)
    overlap, valid = load_double(args + _N.overlap), load_double(args + _N.valid)
    total = load(args + _N.samples) * kinds
    kept = memory + SORT_WORDS * _WORD * count
    for pair in range(total * part // parts, total * (part + 1) // parts):
        scores = load(args + _N.scores) + pair * count * score_item
        boxes = load(args + _N.boxes) + pair // kinds * count * 4 * box_item
        found = 0
        for i in range(count):
            address = scores + i * score_item
            if load(args + _N.has_valid) == 0 or load_float(address, score_code) > valid:
                found = _add_pair(memory, found, address, score_code, i)
        pairs = sorted_pairs(memory, memory + count * _PAIR, found)
        left = 0
        for i in range(found):
            if left == most:
                break
            place = load(pairs + i * _PAIR + _WORD)
            box, is_free = kept + left * _BOX_BYTES, True
            _load_any_corners(box, boxes + place * 4 * box_item, box_code, box_item, load(args + _N.center))
            for j in range(left):
                other = kept + j * _BOX_BYTES
                common = _common(other, box, 0)
                both = load_double(other + _AREA) + load_double(box + _AREA) - common
                share = common / both if both > 0 else 0.0
                if not share <= overlap:
                    is_free = False
                    break
            if is_free:
                store(load(args + _N.kept) + (pair * most + left) * _WORD, place)
                left += 1
        store(load(args + _N.counts) + pair * _WORD, left)


def suppressed_loop(args: int, part: int, parts: int, memory: int) -> None:
    """Rows of all pairs, one after the other."""
    kinds, most, rows = load(args + _R.kinds), load(args + _R.most), load(args + _R.rows)
    pairs, total = load(args + _R.samples) * kinds, 0
    for pair in range(pairs):
        for i in range(load(load(args + _R.counts) + pair * _WORD)):
            row = rows + total * 3 * _WORD
            store(row, pair // kinds)
            store(row + _WORD, pair % kinds)
            store(row + 2 * _WORD, load(load(args + _R.kept) + (pair * most + i) * _WORD))
            total += 1
    for word in range(total * 3, pairs * most * 3):
        store(rows + word * _WORD, 0)
    store(load(args + _R.total), total)


def match_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the batch. The best pair goes first, of a row and a column that are both free."""
    batch, rows, columns = load(args + _M.batch), load(args + _M.rows), load(args + _M.columns)
    code, item, ascending = load(args + _M.code), load(args + _M.item), load(args + _M.ascending) != 0
    threshold, count = load_double(args + _M.threshold), rows * columns
    for sample in range(batch * part // parts, batch * (part + 1) // parts):
        scores = load(args + _M.scores) + sample * count * item
        by_row = load(args + _M.by_row) + sample * rows * item
        by_column = load(args + _M.by_column) + sample * columns * item
        for i in range(rows):
            store_float(by_row + i * item, code, -1.0)
        for i in range(columns):
            store_float(by_column + i * item, code, -1.0)
        found = 0
        for i in range(count):
            score = load_float(scores + i * item, code)
            if score < threshold if ascending else score > threshold:
                key = load_key(scores + i * item, code)
                store(memory + found * _PAIR, key if ascending else ~key)
                store(memory + found * _PAIR + _WORD, i)
                found += 1
        pairs, left = sorted_pairs(memory, memory + count * _PAIR, found), load(args + _M.most)
        for i in range(found):
            if left == 0:
                break
            place = load(pairs + i * _PAIR + _WORD)
            row, column = by_row + place // columns * item, by_column + place % columns * item
            if load_float(row, code) < 0 and load_float(column, code) < 0:
                store_float(row, code, float(place % columns))
                store_float(column, code, float(place // columns))
                left -= 1
