"""A lock that a forked child never finds held by a thread which it does not have.

A fork copies one thread and every lock. What another thread held at that moment stays locked in the child for good.
So each process has a lock of its own, made when it is first asked for.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

__all__ = ["ForkSafeLock"]


class _Generation:
    """How many forks lie between this process and the one that imported this module."""

    number = 0

    @classmethod
    def advance(cls) -> None:
        cls.number += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Generation.advance)


class ForkSafeLock:
    """A reentrant lock, one for each process: ``with lock.here: ...``

    What it guards must be consistent whenever another thread may run, as it is where each change is one operation of
    a built-in type: the child begins with what a thread left that was interrupted by the fork. A copy is a new lock.
    """

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: dict[int, AbstractContextManager[bool]] = {}

    @property
    def here(self) -> AbstractContextManager[bool]:
        """The lock of this process: a built-in one, whose ``with`` no signal can divide."""
        lock = self._locks.get(_Generation.number)
        # One of several threads that come here at once wins, and all of them get its lock.
        return self._locks.setdefault(_Generation.number, threading.RLock()) if lock is None else lock

    def __reduce__(self) -> tuple[type[ForkSafeLock], tuple[()]]:
        return ForkSafeLock, ()
