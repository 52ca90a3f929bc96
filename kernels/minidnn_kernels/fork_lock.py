"""What no thread may be in the middle of when another one forks: LLVM, and the import of a module.

LLVM has locks and state of its own, and an import holds the module's lock. A child forked in between would find them
as they were, without the thread that could go on. So whoever enters either holds `FORK_LOCK`, and a fork waits for
it, as does the end of the process: LLVM's memory is not taken down under a thread that uses it.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import threading
import time

__all__ = ["FORK_LOCK", "is_held_here"]

# Also keeps threads out of LLVM while one is in it. Reentrant: a signal handler may fork wherever it comes.
FORK_LOCK = threading.RLock()

_interrupted: list[bool] = []


def is_held_here() -> bool:
    """Whether this thread holds the lock, as the main thread does while a fork begins and when the process ends."""
    return FORK_LOCK._is_owned()  # type: ignore[attr-defined,no-any-return]


def _hold() -> None:
    """Wait for the lock. What is raised here would be printed and lost, and the fork would go on without it."""
    while True:
        try:
            FORK_LOCK.acquire()
        except BaseException:
            _interrupted.append(True)
        else:
            return


def _release_in_parent() -> None:
    FORK_LOCK.release()
    if _interrupted:
        _interrupted.clear()
        _thread.start_new_thread(_interrupt_soon, ())


def _interrupt_soon() -> None:
    """Interrupt the main thread again, when it has left the fork; with a handler, also out of a wait."""
    time.sleep(0.01)
    main = threading.main_thread().ident
    if main is not None and callable(signal.getsignal(signal.SIGINT)):
        signal.pthread_kill(main, signal.SIGINT)
    else:
        _thread.interrupt_main()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release_in_parent, after_in_child=FORK_LOCK.release)
atexit.register(FORK_LOCK.acquire)
