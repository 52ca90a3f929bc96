"""The loop functions of `minidnn_kernels.order`, compiled by Numba."""

from __future__ import annotations

import numpy as np

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_words import load_key, load_real, load_whole, store_real, store_whole
from minidnn_kernels.elements import FIRST_FLOAT
from minidnn_kernels.loop_words import copy_item, inlined, load, store
from minidnn_kernels.order import CUMULATE_ARGUMENTS, ONE_HOT_ARGUMENTS, SEARCH_ARGUMENTS, SORT_ARGUMENTS

__all__ = ["cumulate_loop", "one_hot_loop", "search_loop", "sort_loop", "sorted_pairs"]

_S, _C, _H = SORT_ARGUMENTS.offsets, CUMULATE_ARGUMENTS.offsets, ONE_HOT_ARGUMENTS.offsets
_F = SEARCH_ARGUMENTS.offsets
_WORD = WORD_BYTES
_PAIR = 2 * WORD_BYTES


def sort_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    rows, count, kept = load(args + _S.rows), load(args + _S.count), load(args + _S.kept)
    item, code, descending = load(args + _S.item), load(args + _S.code), load(args + _S.descending)
    values, places = load(args + _S.values), load(args + _S.places)
    place_code, place_item = load(args + _S.place_code), load(args + _S.place_item)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        source = load(args + _S.source) + row * count * item
        here, there = memory, memory + count * _PAIR
        for i in range(count):
            key = load_key(source + i * item, code)
            # The complement orders the other way round.
            store(here + i * _PAIR, ~key if descending != 0 else key)
            store(here + i * _PAIR + _WORD, i)
        here = sorted_pairs(here, there, count)
        for i in range(kept):
            place = load(here + i * _PAIR + _WORD)
            if values != 0:
                copy_item(values + (row * kept + i) * item, source + place * item, item)
            if places != 0:
                store_whole(places + (row * kept + i) * place_item, place_code, place)


@inlined
def sorted_pairs(here: int, there: int, count: int) -> int:
    """Pairs of a key and a place by rising key, equals in their order; where they are: `here`, or `there`.

    They are merged in ever longer runs, from one of both into the other.
    """
    width = 1
    while width < count:
        for begin in range(0, count, 2 * width):
            middle, end = min(begin + width, count), min(begin + 2 * width, count)
            _merge(here, there, begin, middle, end)
        here, there = there, here
        width *= 2
    return here


@inlined
def _merge(here: int, there: int, begin: int, middle: int, end: int) -> None:
    left, right = begin, middle
    for i in range(begin, end):
        takes_left = right >= end
        if not takes_left and left < middle:
            takes_left = load(here + left * _PAIR) <= load(here + right * _PAIR)
        chosen = left if takes_left else right
        if takes_left:
            left += 1
        else:
            right += 1
        store(there + i * _PAIR, load(here + chosen * _PAIR))
        store(there + i * _PAIR + _WORD, load(here + chosen * _PAIR + _WORD))


def search_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of what is searched for."""
    total, count, code, item = load(args + _F.total), load(args + _F.count), load(args + _F.code), load(args + _F.item)
    elements, values, right = load(args + _F.sorted), load(args + _F.values), load(args + _F.right)
    for i in range(total * part // parts, total * (part + 1) // parts):
        key, low, high = load_key(values + i * item, code), 0, count
        while low < high:
            middle = (low + high) // 2
            other = load_key(elements + middle * item, code)
            if other < key or (right != 0 and other == key):
                low = middle + 1
            else:
                high = middle
        store(load(args + _F.target) + i * _WORD, low)


def cumulate_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    outer, count, inner = load(args + _C.outer), load(args + _C.count), load(args + _C.inner)
    code, item = load(args + _C.code), load(args + _C.item)
    target_code, target_item = load(args + _C.target_code), load(args + _C.target_item)
    is_product, is_single = load(args + _C.is_product) != 0, load(args + _C.is_single) != 0
    total = outer * inner
    for row in range(total * part // parts, total * (part + 1) // parts):
        first = row // inner * count * inner + row % inner
        source, target = load(args + _C.source) + first * item, load(args + _C.target) + first * target_item
        real = 1.0 if is_product else 0.0
        whole = 1 if is_product else 0
        for i in range(count):
            at, to = source + i * inner * item, target + i * inner * target_item
            if target_code >= FIRST_FLOAT:
                number = load_real(at, code)
                real = real * number if is_product else real + number
                if is_single:
                    real = np.float64(np.float32(real))
                store_real(to, target_code, real)
            else:
                element = load_whole(at, code)
                whole = whole * element if is_product else whole + element
                store_whole(to, target_code, whole)


def one_hot_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the rows."""
    rows, depth, item = load(args + _H.rows), load(args + _H.depth), load(args + _H.item)
    code, place_item, numbers = load(args + _H.code), load(args + _H.place_item), load(args + _H.numbers)
    for row in range(rows * part // parts, rows * (part + 1) // parts):
        target = load(args + _H.target) + row * depth * item
        for i in range(depth):
            copy_item(target + i * item, numbers, item)
        place = load_whole(load(args + _H.places) + row * place_item, code)
        if place >= 0 and place < depth:
            copy_item(target + place * item, numbers + item, item)
