"""The loop function of `minidnn_kernels.extrema`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.extrema import ExtremaArguments
from minidnn_kernels.loop_words import call3, load

__all__ = ["extrema_loop"]

_A = ExtremaArguments()
_KERNEL, _SOURCE, _TARGET, _COUNT, _CHUNK = _A.KERNEL * 8, _A.SOURCE * 8, _A.TARGET * 8, _A.COUNT * 8, _A.CHUNK * 8


def extrema_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is one chunk, and has its own pair of results."""
    chunk = load(args + _CHUNK)
    count = min(chunk, load(args + _COUNT) - part * chunk)
    call3(load(args + _KERNEL), load(args + _SOURCE) + part * chunk * 4, load(args + _TARGET) + part * 8, count)
