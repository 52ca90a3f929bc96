"""Helper threads, the cores they run on, and the number of threads a run uses.

A helper is a Python thread that spends its life in native code, without the interpreter's lock: it works
on posted jobs, spins for a moment when there is none, and then sleeps until the next run wakes it. Calls from
many Python threads at once are fine: one has the helpers, the others work alone.

A scheduler may wake a helper on the core of the thread that wakes it, and leave the two there, taking turns,
while the other core is idle: the run is then as slow as on one thread, for seconds at a time. So helpers are
told which core is taken, whenever the calling thread has moved. On a machine whose cores do not all share a cache,
they are also told to stay with those that do: threads of consecutive numbers read what their neighbours wrote. Where
the system does not let a program say so (anything but Linux), this does nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from minidnn import settings
from minidnn.errors import SettingError
from minidnn.plan.layout import JOB_WORDS, LINE_BYTES, PAUSED_BYTE, SLOT_WORDS
from minidnn.process_safe import ForkSafeLock, uninterrupted
from minidnn.runtime.cores import usable_cores
from minidnn.runtime.topology import find_groups, share_out
from minidnn.settings import quoted
from minidnn_kernels.fork_lock import FORK_LOCK

__all__ = ["Job", "Placement", "ThreadPool", "get_num_threads", "pool", "set_num_threads", "start_threads"]


def _find_current_core() -> Callable[[], int] | None:
    """The C library's function that says which core the calling thread is on; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        # PyDLL: a call of a hundred nanoseconds is not worth giving the interpreter's lock away.
        function = ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError):
        return None
    function.argtypes, function.restype = (), ctypes.c_int
    return function


class Placement:
    """Where the helpers of one pool may run."""

    def __init__(self) -> None:
        self._current_core = _find_current_core()
        self._taken = -1
        self._cores: set[int] = set()
        self._groups: list[frozenset[int]] = []

    def forget(self) -> None:
        """There are new helpers, which have not been told anything."""
        self._taken = -1

    def avoid_this_core(self, helpers: Sequence[int]) -> None:
        """Move the threads with these system identifiers to cores near the calling thread, but not to its own.

        Does nothing if they have been told of this core already, or if there are fewer cores than threads.
        """
        if self._current_core is None:
            return
        core = self._current_core()
        if core == self._taken:
            return
        self._taken = core
        try:
            cores = os.sched_getaffinity(0)
            if cores != self._cores:
                self._cores, self._groups = cores, find_groups(cores)
            if len(cores - {core}) >= len(helpers):
                _, *places = share_out(self._groups, core, len(helpers) + 1)
                for helper, place in zip(helpers, places, strict=True):
                    os.sched_setaffinity(helper, place)
        except OSError:
            # A container may forbid it, and a helper may just have ended with the process.
            self._current_core = None


NativeLoop = Callable[[int, int, int, int], None]

# Spins (some 20 to 100 ns each) before a helper without work goes to sleep: longer than the gap between
# two inferences in a loop, shorter than anybody would notice on an idle machine.
_PATIENCE = 40_000


def _limited(wanted: int, where: str) -> int:
    """As many threads as are wanted, and no more than there are cores: others would only wait for each other."""
    cores = usable_cores()
    if wanted <= cores:
        return wanted
    warnings.warn(
        f"{where}: {wanted} threads on {cores} usable {'cores' if cores > 1 else 'core'} would wait for each other; "
        f"{cores} will be used",
        RuntimeWarning,
        stacklevel=4,
    )
    return cores


def aligned_words(count: int) -> np.ndarray:
    """Zeroed int64 words that begin on a cache line."""
    spare = LINE_BYTES // 8
    memory = np.zeros(count + spare, np.int64)
    skip = -memory.ctypes.data % LINE_BYTES // 8
    return memory[skip : skip + count]


def view_words(words: np.ndarray) -> memoryview:
    """The same words, to read and write one at a time: that takes longer in the array itself."""
    view: Any = words
    return memoryview(view)


_PAUSED = PAUSED_BYTE // 8


class Job:
    """Steps that threads work on together; `minidnn.runtime.driver` says what its words are.

    Args:
        table: a row for each step.
        most_parts: of its steps: more threads would find nothing to do.
    """

    def __init__(self, table: np.ndarray, most_parts: int) -> None:
        steps, words = table.shape
        self.table, self.most_parts = table, most_parts
        self._steps, self._counters = steps, aligned_words(0)
        job = aligned_words(JOB_WORDS)
        job[:3] = (table.ctypes.data, steps, words)
        self.words, self.address = view_words(job), int(job.ctypes.data)
        self.helpers = 0

    def place(self, scratch: int, bytes_per_thread: int, threads: int) -> None:
        """Where threads find memory of their own, and how many may work on it."""
        if threads != self.words[6]:
            # Of each step, what is done of it and the shares of all threads.
            self._counters = aligned_words(self._steps * (1 + threads) * LINE_BYTES // 8)
            self.words[3] = self._counters.ctypes.data
        self.words[4], self.words[5], self.words[6] = scratch, bytes_per_thread, threads
        self.helpers = min(threads, self.most_parts) - 1


class _Helper:
    """A helper thread as others see it: its number, and where it waits to be woken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.bell: SimpleQueue[None] = SimpleQueue()


class ThreadPool:
    """The helpers of this process.

    An interrupt may end any call here: helpers are started where none comes, and the rest changes one thing at a time.

    Args:
        load_loops: gives the native `run_loop` and `help_loop`; called at the first run.
    """

    def __init__(self, load_loops: Callable[[], tuple[NativeLoop, NativeLoop]]) -> None:
        self._load_loops = load_loops
        self._loops: tuple[NativeLoop, NativeLoop] | None = None
        self._threads: int | None = None
        self._starting = ForkSafeLock()
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Forget helpers: at the start, and in a forked child, where only the forking thread lives on."""
        self._helpers: list[_Helper] = []
        self._helper_ids: list[int] = []
        self._asleep: set[_Helper] = set()
        self._placement = Placement()
        self._slot = aligned_words(SLOT_WORDS)
        self._slot_address = int(self._slot.ctypes.data)

    @property
    def threads(self) -> int:
        if self._threads is None:
            wanted = settings.NUM_THREADS.value()
            self._threads = usable_cores() if wanted is None else _limited(wanted, settings.NUM_THREADS.name)
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= settings.MOST_THREADS:
            most = settings.MOST_THREADS
            raise SettingError(f"the number of threads must be an integer from 1 to {most}, got {quoted(count)}")
        self._threads = _limited(count, "set_num_threads")

    def start(self) -> None:
        """Start the helpers, if they have not been started; they inherit this thread's niceness."""
        if self._loops is None or len(self._helpers) < self.threads - 1:
            uninterrupted(self._start)

    def run(self, job: Job) -> None:
        """Run a job on this thread and on helpers, where there are parts for them; returns when it is done.

        Where a signal raises an exception, the job is abandoned, and no helper works on it any more.
        """
        helpers = job.helpers
        if helpers or self._loops is None:
            self.start()
        assert self._loops is not None
        words, resumed = job.words, 0
        while not resumed or words[_PAUSED]:
            if helpers:
                self._placement.avoid_this_core(self._helper_ids)
                if self._asleep:
                    self._wake(helpers)
            self._loops[0](self._slot_address, job.address, helpers, resumed)
            resumed = 1

    def _wake(self, most: int) -> None:
        """Wake those of the first `most` helpers that sleep and have not been told to wake yet."""
        for helper in tuple(self._asleep):
            if helper.number <= most and helper.bell.empty():
                helper.bell.put(None)

    def _start(self) -> None:
        with self._starting.here:
            if self._loops is None:
                self._loops = self._load_loops()
            wanted = self.threads - 1
            if wanted <= len(self._helpers):
                return
            while len(self._helpers) < wanted and self._start_helper(_Helper(len(self._helpers) + 1)):
                pass
            self._placement.forget()

    def _start_helper(self, helper: _Helper) -> bool:
        """Whether the system gives a thread for it; where it does not, those there are do the work."""
        name = f"minidnn-{helper.number}"
        thread = threading.Thread(target=self._help, args=(helper,), name=name, daemon=True)
        self._helpers.append(helper)  # before, so that no other gets its number, whatever happens
        try:
            thread.start()
        except RuntimeError:
            self._helpers.remove(helper)
            return False
        if thread.native_id is not None:
            self._helper_ids.append(thread.native_id)
        return True

    def _help(self, helper: _Helper) -> None:
        assert self._loops is not None
        asleep, slot, loop = self._asleep, self._slot_address, self._loops[1]
        while True:
            if helper.number < self.threads:
                loop(slot, _PATIENCE, helper.number, 0)
            asleep.add(helper)
            helper.bell.get()
            asleep.discard(helper)


def native_loop(address: int) -> NativeLoop:
    """A compiled loop as a Python function; the interpreter's lock is released while it runs."""
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
    return prototype(address)


def _load_loops() -> tuple[NativeLoop, NativeLoop]:
    with FORK_LOCK:
        from minidnn.runtime.library import library  # deferred: it loads LLVM

    return native_loop(library().loop("run_loop")), native_loop(library().loop("help_loop"))


pool = ThreadPool(_load_loops)


def start_threads() -> None:
    """Start the threads that inference uses beside the caller's now and not at the first one."""
    pool.start()


def set_num_threads(count: int) -> None:
    """Use `count` threads for inference from now on (default: ``MINIDNN_NUM_THREADS``, else the cores).

    More than the cores that this process may use would wait for each other: a `RuntimeWarning` says so, and as many
    threads as cores are used.

    Raises:
        SettingError: not an integer from 1 to 1024.
    """
    pool.threads = count


def get_num_threads() -> int:
    """How many threads inference uses."""
    return pool.threads
