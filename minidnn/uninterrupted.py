"""Work that Ctrl-C must not leave half done.

Python handles signals in the main thread, between any two instructions there. What changes several things that
belong together (a started thread and its number, a module and its place in a registry, an object of LLVM and its
owner) therefore runs in another thread, where nothing can interrupt it; the main thread waits, and an interrupt ends
the waiting at once. The work then goes on to its end, and whoever needs it next finds it done.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["uninterrupted"]

Result = TypeVar("Result")


def uninterrupted(function: Callable[[], Result]) -> Result:
    """``function()``, whole even if this call ends by an interrupt. The function must not depend on its thread."""
    if threading.get_ident() != threading.main_thread().ident:
        return function()
    # `SimpleQueue` and `start_new_thread` are built-in: an interrupt comes before or after them, not within.
    outcome: SimpleQueue[Callable[[], Result]] = SimpleQueue()
    try:
        _thread.start_new_thread(_work, (function, outcome))
    except RuntimeError:
        return function()  # the system gives no more threads
    return outcome.get()()


def _work(function: Callable[[], Result], outcome: SimpleQueue[Callable[[], Result]]) -> None:
    try:
        result = function()
    except BaseException as error:
        outcome.put(_raiser(error))
    else:
        outcome.put(lambda: result)


def _raiser(error: BaseException) -> Callable[[], Result]:
    def fail() -> Result:
        raise error

    return fail
