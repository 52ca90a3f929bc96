"""The loop functions of `minidnn_kernels.blend`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.blend import MAX_TAPS, RESAMPLE_ARGUMENTS, TAP
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.loop_words import call4, load, scratch, store

__all__ = ["resample_loop"]

_R, _T = RESAMPLE_ARGUMENTS.offsets, TAP.offsets
_TAP_BYTES, _TAP_WORDS = TAP.words * WORD_BYTES, TAP.words * MAX_TAPS
_FLOAT, _WORD = FLOAT32.bytes, WORD_BYTES


def resample_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is an equal share of the chunks of all rows."""
    size, inner, chunk = load(args + _R.size), load(args + _R.inner), load(args + _R.chunk)
    chunks, taps = (inner + chunk - 1) // chunk, load(args + _R.taps)
    total = load(args + _R.outer) * size * chunks
    here = scratch(_TAP_WORDS)
    for number in range(total * part // parts, total * (part + 1) // parts):
        row, first = number // chunks, number % chunks * chunk
        result = row % size
        source = load(args + _R.source) + row // size * load(args + _R.outer_pitch) + first * _FLOAT
        table, count = load(args + _R.table) + result * taps * _TAP_BYTES, load(load(args + _R.counts) + result * _WORD)
        for i in range(count):
            offset = load(table + i * _TAP_BYTES + _T.address)
            store(here + i * _TAP_BYTES + _T.address, load(args + _R.outside) if offset < 0 else source + offset)
            store(here + i * _TAP_BYTES + _T.weight, load(table + i * _TAP_BYTES + _T.weight))
        target = load(args + _R.target) + (row * inner + first) * _FLOAT
        call4(load(args + _R.kernel), target, here, count, min(chunk, inner - first))
