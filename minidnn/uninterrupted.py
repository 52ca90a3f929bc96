"""Work that Ctrl-C must not leave half done.

Python handles signals in the main thread, between any two instructions there. What changes several things that
belong together (a started thread and its number, a module and its place in a registry, an object of LLVM and its
owner) therefore runs in another thread, where nothing can interrupt it; the main thread waits, and an interrupt ends
the waiting at once. The work then goes on to its end, and whoever needs it next finds it done.
"""

from __future__ import annotations

import _imp
import _thread
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import NoReturn, TypeVar

__all__ = ["uninterrupted"]

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
