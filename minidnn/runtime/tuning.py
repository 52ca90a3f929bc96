"""The clock decides: of programs that compute the same, which one is the fastest on this machine.

Candidates take turns for a few rounds, each time on caches that hold neither weights nor data, as in a network whose
other layers have run in between. What is found is kept beside the compiled code, by instruction set, CPU, number of
threads, and what the caller says of the work. Where the rounds do not agree, nothing is found: a machine that is busy
with something else cannot tell, and the caller's model decides. Another process tries again, once.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.plan.program import Program, Tensor
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import Library
from minidnn.runtime.threads import ThreadPool

__all__ = ["BUDGET_SECONDS", "Tuner"]

Array = np.ndarray[Any, Any]

_log = logging.getLogger("minidnn")

# Seconds that the layers of one network may take together, kernels that are compiled for it included.
BUDGET_SECONDS = 2.0
# Turns, after one to warm up; the fastest must win nearly all of them, by a share of the time of the second.
_ROUNDS, _WON_ROUNDS, _LEAST_GAIN = 5, 4, 0.03
# More than the caches of a core hold, and its share of those that cores have together.
_FLUSHED_BYTES = 24 << 20
_UNDECIDED = ""
# What is kept of work of which the clock could not tell: it is asked once more in another process, and then no more.
_ASK_AGAIN, _GIVEN_UP = b"?", b"-"


class Tuner:
    """Measures for one network.

    Args:
        library: has the kernels, and the cache.
        pool: the threads that will run the network.
        budget: seconds for all that is measured.
    """

    def __init__(self, library: Library, pool: ThreadPool, budget: float = BUDGET_SECONDS) -> None:
        self._library, self._pool, self._left = library, pool, budget
        self._found: dict[str, str] = {}

    def fastest(self, work: str, candidates: Mapping[str, Callable[[], Program]]) -> str | None:
        """The name of the fastest candidate; None where the clock does not tell, or the time for measuring is over.

        Args:
            work: what they compute, all sizes included.
            candidates: programs by name. They are made only if nothing is known.
        """
        key = f"{_cpu()}\n{self._pool.threads} threads\n{' '.join(candidates)}\n{work}"
        if key not in self._found:
            entry = self._library.entry(f"fastest\n{key}")
            kept = self._library.cache.read(entry)
            if kept is not None and kept != _ASK_AGAIN:
                self._found[key] = kept.decode("ascii", "replace")
            elif self._left <= 0 or self._library.cache.folder is None:
                # Without a cache every process would find something else.
                return None
            else:
                begin = time.perf_counter()
                found = self._measure(candidates) or _UNDECIDED
                self._left -= time.perf_counter() - begin
                _log.info("fastest of %s for %s: %s", ", ".join(candidates), work, found or "undecided")
                self._found[key] = found
                undecided = _ASK_AGAIN if kept is None else _GIVEN_UP
                self._library.cache.write(entry, found.encode() if found else undecided)
        found = self._found[key]
        return found if found in candidates else None

    def _measure(self, candidates: Mapping[str, Callable[[], Program]]) -> str | None:
        runs = {name: _prepared(Executor(make(), self._library, self._pool)) for name, make in candidates.items()}
        for run in runs.values():
            run()
        rounds = [{name: run() for name, run in runs.items()} for _ in range(_ROUNDS)]
        least = {name: min(times[name] for times in rounds) for name in runs}
        first, second, *_ = sorted(least, key=least.__getitem__)
        wins = sum(min(times, key=times.__getitem__) == first for times in rounds)
        is_clear = wins >= _WON_ROUNDS and least[first] <= least[second] * (1 - _LEAST_GAIN)
        return first if is_clear else None


# Runs once, and says what that took in seconds.
_Run = Callable[[], float]


def _prepared(executor: Executor) -> _Run:
    """Runs of a program on ones that have just been written, as a layer's data has; all else is flushed from caches."""
    inputs = [_ones(tensor) for tensor in executor.program.inputs]

    def run() -> float:
        _flushed().fill(0)
        for array in inputs:
            array.fill(1)
        begin = time.perf_counter()
        executor(inputs)
        return time.perf_counter() - begin

    return run


def _ones(tensor: Tensor) -> Array:
    strides = tensor.strides or (0,) * len(tensor.type.shape)
    order = sorted(range(len(strides)), key=lambda d: -strides[d])
    made: Array = np.ones([tensor.type.shape[d] for d in order], tensor.type.dtype).transpose(np.argsort(order))
    return made


def _flushed() -> Array:
    """Memory to write to: what caches held before is gone then."""
    return np.empty(_FLUSHED_BYTES, np.uint8)


@cache
def _cpu() -> str:
    """The name of the CPU, as the system says it; empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith("model name")), platform.processor())
