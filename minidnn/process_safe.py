"""What forks and Ctrl-C must not break: locks, and work that is done as a whole.

A fork copies one thread and every lock. What another thread held at that moment stays locked in the child for good.
So each process has a lock of its own, made when it is first asked for.

Python handles signals in the main thread, between any two instructions there. What changes several things that
belong together (a started thread and its number, a module and its place in a registry, an object of LLVM and its
owner) therefore runs in another thread, where nothing can interrupt it; the main thread waits, and an interrupt ends
the waiting at once. The work then goes on to its end, and whoever needs it next finds it done.
"""

from __future__ import annotations

import _imp
import _thread
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from queue import SimpleQueue
from typing import NoReturn, TypeVar

__all__ = ["ForkSafeLock", "forget_modules", "uninterrupted"]


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


Result = TypeVar("Result")


def uninterrupted(function: Callable[[], Result]) -> Result:
    """``function()``, whole even if this call ends by an interrupt. The function must not depend on its thread."""
    if threading.get_ident() != threading.main_thread().ident:
        return function()
    _release_import_lock()
    # `SimpleQueue` and `start_new_thread` are built-in: an interrupt comes before or after them, not within.
    outcome: SimpleQueue[Callable[[], Result]] = SimpleQueue()
    try:
        _thread.start_new_thread(_work, (function, outcome))
    except RuntimeError:
        return function()  # the system gives no more threads
    return outcome.get()()


def _release_import_lock() -> None:
    """Give back what an interrupted import has left: this thread is about to wait for one that may import.

    In CPython, Ctrl-C may come between the acquisition of that lock and the ``try`` behind it. No import runs any
    code of ours while it holds the lock, so here it is never held for a reason.
    """
    with contextlib.suppress(RuntimeError):  # not held, or by another thread
        while _imp.lock_held():
            _imp.release_lock()


def _work(function: Callable[[], Result], outcome: SimpleQueue[Callable[[], Result]]) -> None:
    try:
        result = function()
    except BaseException as error:
        outcome.put(partial(_fail, error))
    else:
        outcome.put(lambda: result)


def _fail(error: BaseException) -> NoReturn:
    raise error


def forget_modules(package: str) -> None:
    """Have the next import of a package begin from nothing, where Ctrl-C or an error has ended one.

    Modules that stayed would hold registries which those that are run again fill for the second time.
    """
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        del sys.modules[name]
