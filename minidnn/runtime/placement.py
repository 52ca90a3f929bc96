"""Keeping helper threads off the core of the thread they help.

A scheduler may wake a helper on the core of the thread that wakes it, and leave the two there, taking turns,
while the other core is idle: the run is then as slow as on one thread, for seconds at a time. So helpers are
told which core is taken, whenever the calling thread has moved. Where the system does not let a program say
so (anything but Linux), this does nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence

__all__ = ["Placement"]


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

    def forget(self) -> None:
        """There are new helpers, which have not been told anything."""
        self._taken = -1

    def avoid_this_core(self, helpers: Sequence[int]) -> None:
        """Move the threads with these system identifiers to any core but the one of the calling thread.

        Does nothing if they have been told of this core already, or if there are fewer cores than threads.
        """
        if self._current_core is None:
            return
        core = self._current_core()
        if core == self._taken:
            return
        self._taken = core
        try:
            free = os.sched_getaffinity(0) - {core}
            if len(free) >= len(helpers):
                for helper in helpers:
                    os.sched_setaffinity(helper, free)
        except OSError:
            # A container may forbid it, and a helper may just have ended with the process.
            self._current_core = None
