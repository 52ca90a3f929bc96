"""Helper threads, and the number of threads a run uses.

A helper is a Python thread that spends its life in native code, without the interpreter's lock: it works
on posted jobs, spins for a moment when there is none, and then sleeps on a semaphore until the next run
wakes it. Calls from many Python threads at once are fine: one has the helpers, the others work alone.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

import numpy as np

from minidnn.plan.layout import LINE_BYTES, SLOT_WORDS
from minidnn.runtime.placement import Placement

__all__ = ["ThreadPool", "get_num_threads", "pool", "set_num_threads", "start_threads"]

NativeLoop = Callable[[int, int, int, int], None]

# Spins (some 20 to 100 ns each) before a helper without work goes to sleep: longer than the gap between
# two inferences in a loop, shorter than anybody would notice on an idle machine.
_PATIENCE = 40_000

_MOST_THREADS = 1024


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _default_threads() -> int:
    text = os.environ.get("MINIDNN_NUM_THREADS", "")
    if not text:
        return _available_cores()
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_THREADS:
        raise ValueError(f"MINIDNN_NUM_THREADS must be an integer from 1 to {_MOST_THREADS}, got {text!r}")
    return int(text)


def aligned_words(count: int) -> np.ndarray:
    """Zeroed int64 words that begin on a cache line."""
    spare = LINE_BYTES // 8
    memory = np.zeros(count + spare, np.int64)
    skip = -memory.ctypes.data % LINE_BYTES // 8
    return memory[skip : skip + count]


class ThreadPool:
    """The helpers of this process.

    Args:
        load_loops: gives the native `run_loop` and `help_loop`; called at the first run.
    """

    def __init__(self, load_loops: Callable[[], tuple[NativeLoop, NativeLoop]]) -> None:
        self._load_loops = load_loops
        self._loops: tuple[NativeLoop, NativeLoop] | None = None
        self._threads: int | None = None
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Forget helpers: at the start, and in a forked child, where only the forking thread lives on."""
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._helpers = 0
        self._helper_ids: list[int] = []
        self._placement = Placement()
        self._sleeping = 0
        self._slot = aligned_words(SLOT_WORDS)

    @property
    def threads(self) -> int:
        if self._threads is None:
            self._threads = _default_threads()
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_THREADS:
            raise ValueError(f"the number of threads must be an integer from 1 to {_MOST_THREADS}, got {count!r}")
        self._threads = count

    def start(self) -> None:
        """Start the helpers, if they have not been started; they inherit this thread's niceness."""
        if self._loops is None:
            with self._lock:
                if self._loops is None:
                    self._loops = self._load_loops()
        if self.threads - 1 > self._helpers:
            self._start(self.threads - 1)

    def run(self, job: int) -> None:
        """Run the job at that address on this thread and the helpers; returns when it is done."""
        self.start()
        assert self._loops is not None
        helpers = self.threads - 1
        if helpers:
            self._placement.avoid_this_core(self._helper_ids)
            if self._sleeping:
                self._wake.release(min(self._sleeping, helpers))
        self._loops[0](self._slot.ctypes.data, job, helpers, 0)

    def _start(self, wanted: int) -> None:
        with self._lock:
            while self._helpers < wanted:
                number = self._helpers + 1
                thread = threading.Thread(target=self._help, args=(number,), name=f"minidnn-{number}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # the system gives no more threads: those there are do the work
                self._helpers = number
                if thread.native_id is not None:
                    self._helper_ids.append(thread.native_id)
            self._placement.forget()

    def _help(self, number: int) -> None:
        assert self._loops is not None
        lock, wake, slot, loop = self._lock, self._wake, self._slot.ctypes.data, self._loops[1]
        while True:
            if number < self.threads:
                loop(slot, _PATIENCE, number, 0)
            with lock:
                self._sleeping += 1
            wake.acquire()
            with lock:
                self._sleeping -= 1


def native_loop(address: int) -> NativeLoop:
    """A compiled loop as a Python function; the interpreter's lock is released while it runs."""
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
    return prototype(address)


def _load_loops() -> tuple[NativeLoop, NativeLoop]:
    from minidnn.runtime.library import library  # deferred: it loads LLVM

    return native_loop(library().loop("run_loop")), native_loop(library().loop("help_loop"))


pool = ThreadPool(_load_loops)


def start_threads() -> None:
    """Start the threads that inference uses beside the caller's now and not at the first one."""
    pool.start()


def set_num_threads(count: int) -> None:
    """Use `count` threads for inference from now on (default: ``MINIDNN_NUM_THREADS``, else the cores).

    Raises:
        ValueError: not an integer from 1 to 1024.
    """
    pool.threads = count


def get_num_threads() -> int:
    """How many threads inference uses."""
    return pool.threads
