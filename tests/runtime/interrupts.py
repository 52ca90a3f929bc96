"""Ctrl-C at any point of a call that Python looks for signals at, one point for each forked child."""

from __future__ import annotations

import faulthandler
import gc
import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidnn.gluon import calls
from minidnn.ir.trace import current_trace
from minidnn.scope import current_scope
from minidnn_kernels.fork_lock import FORK_LOCK

_SECONDS = 120


class _Interruption:
    """A profile function that raises KeyboardInterrupt at an event.

    Python looks for signals where a function begins and where a call ends; it tells a profile function of the same
    places. It also tells of the last moments of a generator that is collected, where it looks for none.
    """

    def __init__(self, event: int) -> None:
        self.left = event
        self.place = ""

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if event != "c_return" and (event not in ("call", "return") or generator):
            return
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            code = frame.f_code
            self.place = f"{event} in {code.co_filename}:{frame.f_lineno} {code.co_name}"
            raise KeyboardInterrupt


def interrupted(call: Callable[[], Any], right: Any, stride: int) -> Iterator[str]:
    """What went wrong after an interrupt at every `stride`-th event of ``call()``, which must give `right`."""
    event = stride // 2
    while True:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # Whatever is raised here, the child goes no further: it would run the tests of its parent.
            try:
                faulthandler.dump_traceback_later(_SECONDS, exit=True)
                os.write(writer, _interrupt_once(call, right, event).encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read().decode()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code or not told:
            yield f"event {event}: the child ended with {code}"
            return
        if told == "came to its end":
            return
        if told != "fine":
            yield f"event {event}: {told}"
        event += stride


def _interrupt_once(call: Callable[[], Any], right: Any, event: int) -> str:
    # Python swallows what is raised in a callback of the collector, which tools for tests register.
    gc.callbacks.clear()
    interruption = _Interruption(event)
    sys.setprofile(interruption)
    try:
        call()
    except KeyboardInterrupt:
        # The traceback holds the frames: nothing is put right only because they are collected.
        wrong = list(_wrong(call, right))
        return f"{interruption.place}: {', '.join(wrong)}" if wrong else "fine"
    except BaseException as error:
        return f"{interruption.place}: {error!r}"
    finally:
        sys.setprofile(None)
    return f"{interruption.place}: swallowed" if interruption.place else "came to its end"


def _wrong(call: Callable[[], Any], right: Any) -> Iterator[str]:
    if current_trace() is not None or current_scope() or calls._state.blocks or calls.observer():
        yield "the thread is still in a scope"
    if not all(np.array_equal(call(), right) for _ in range(3)):
        yield "another result"
    helpers = [thread.name for thread in threading.enumerate() if thread.name.startswith("minidnn-")]
    if len(helpers) != len(set(helpers)):
        yield f"a helper was started twice: {helpers}"
    answers: list[Any] = []

    def ask() -> None:
        answers.append(np.array_equal(call(), right))
        answers.append(FORK_LOCK.acquire(timeout=_SECONDS / 2))

    other = threading.Thread(target=ask, daemon=True)
    other.start()
    deadline = time.monotonic() + _SECONDS / 2
    while other.is_alive() and time.monotonic() < deadline:
        other.join(0.1)
    if answers != [True, True]:
        yield f"another thread cannot go on: {answers}"
