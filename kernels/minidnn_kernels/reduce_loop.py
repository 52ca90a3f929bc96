"""The loop functions of `minidnn_kernels.reduce`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import INT32
from minidnn_kernels.loop_words import call4, inlined, load, load_i32, store
from minidnn_kernels.reduce import MAX_KEPT, MAX_REDUCED, POOL_PLACES_ARGUMENTS, REDUCE_ARGUMENTS

__all__ = ["pool_places_loop", "reduce_loop"]

_R, _P = REDUCE_ARGUMENTS.offsets, POOL_PLACES_ARGUMENTS.offsets
_WORD, _INDEX_BYTES = WORD_BYTES, INT32.bytes


def reduce_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks: some results that lie side by side.

    Scratch memory has accumulators, and behind them the means where squares of differences are summed.
    """
    across, inner, chunk = load(args + _R.across), load(args + _R.inner), load(args + _R.chunk)
    words, squares = load(args + _R.words), load(args + _R.squares)
    total = 1
    for d in range(MAX_KEPT):
        total *= load(args + _R.kept + d * _WORD)
    # Along rows a chunk is some of them; across rows it is some columns of one index of the other kept dimensions.
    chunks = (inner + chunk - 1) // chunk if across != 0 else 1
    count = total * chunks if across != 0 else total
    begin, end = count * part // parts, count * (part + 1) // parts
    means = memory + chunk * words * _WORD
    if across != 0:
        for number in range(begin, end):
            first = number % chunks * chunk
            columns = min(chunk, inner - first)
            source, target = _place(args, number // chunks, 0), _place(args, number // chunks, 1)
            source += first * load(args + _R.item)
            target += first * load(args + _R.target_item)
            _start(args, memory, columns, words)
            _fold(args, load(args + _R.fold), memory, source, columns, means)
            if squares != 0:
                call4(load(args + _R.means), means, memory, columns, load(args + _R.mean_divisor))
                _start(args, memory, columns, words)
                _fold(args, squares, memory, source, columns, means)
            made = memory + (words - 1) * columns * _WORD
            call4(load(args + _R.finish), target, made, columns, load(args + _R.divisor))
        return
    for number in range(begin, end):
        source, target = _place(args, number, 0), _place(args, number, 1)
        _start(args, memory, 1, words)
        _fold(args, load(args + _R.fold), memory, source, inner, means)
        if squares != 0:
            call4(load(args + _R.means), means, memory, 1, load(args + _R.mean_divisor))
            _start(args, memory, 1, words)
            _fold(args, squares, memory, source, inner, means)
        call4(load(args + _R.finish), target, memory + (words - 1) * _WORD, 1, load(args + _R.divisor))


@inlined
def _place(args: int, number: int, is_target: int) -> int:
    """Where an index of the kept dimensions lies, in the source or in the target."""
    address: int = load(args + _R.target) if is_target != 0 else load(args + _R.source)
    strides = args + _R.target_strides if is_target != 0 else args + _R.kept_strides
    for d in range(MAX_KEPT - 1, -1, -1):
        extent = load(args + _R.kept + d * _WORD)
        address += number % extent * load(strides + d * _WORD)
        number = number // extent
    return address


@inlined
def _start(args: int, accumulators: int, count: int, words: int) -> None:
    for i in range(count):
        store(accumulators + i * _WORD, load(args + _R.start))
    for i in range(count, count * words):
        store(accumulators + i * _WORD, 0)


@inlined
def _fold(args: int, kernel: int, accumulators: int, source: int, count: int, means: int) -> None:
    """All indices of the other reduced dimensions; a fold for places is told the number of its first element."""
    total = 1
    for d in range(MAX_REDUCED):
        total *= load(args + _R.reduced + d * _WORD)
    step = 1 if load(args + _R.across) != 0 else count
    has_places = load(args + _R.words) > 1
    for number in range(total):
        rest, address = number, source
        for d in range(MAX_REDUCED - 1, -1, -1):
            extent = load(args + _R.reduced + d * _WORD)
            address += rest % extent * load(args + _R.reduced_strides + d * _WORD)
            rest = rest // extent
        call4(kernel, accumulators, address, count, number * step if has_places else means)


def pool_places_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the windows of all images."""
    pixels, area, channels = load(args + _P.pixels), load(args + _P.area), load(args + _P.channels)
    taps, pitch, numbers = load(args + _P.taps), channels * load(args + _P.item), load(args + _P.numbers)
    total = load(args + _P.images) * pixels
    for window in range(total * part // parts, total * (part + 1) // parts):
        image, pixel = window // pixels, window % pixels
        source = load(args + _P.source) + image * area * pitch
        table = load(args + _P.table) + pixel * taps * _INDEX_BYTES
        is_first = True
        for tap in range(taps):
            seen = load_i32(table + tap * _INDEX_BYTES)
            if seen < 0:
                continue
            number = load_i32(numbers + seen * _INDEX_BYTES)
            if is_first:
                # Where nothing is greater than the start, the first one is the place.
                for c in range(channels):
                    store(memory + c * _WORD, load(args + _P.start))
                    store(memory + (channels + c) * _WORD, number)
                is_first = False
            call4(load(args + _P.fold), memory, source + seen * pitch, channels, number)
        target = load(args + _P.target) + window * channels * _WORD
        call4(load(args + _P.finish), target, memory + channels * _WORD, channels, 0)
        for c in range(channels):
            store(target + c * _WORD, load(target + c * _WORD) + (image * channels + c) * area)
