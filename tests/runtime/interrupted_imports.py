"""Run as a program: interrupts ``import minidnn`` at many points, each in a child, and begins it again there.

It prints one line for each child in which that fails, and the list of them at the end.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import numpy as np

STRIDE = 601
_HERE = f"{os.sep}minidnn{os.sep}"


class Interruption:
    """As in `interrupts`, which cannot be used here: it imports minidnn."""

    def __init__(self, event: int) -> None:
        self.left, self.fired = event, False

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if event != "c_return" and (event not in ("call", "return") or generator):
            return
        # Python's import itself, between its locks and in its callbacks, loses interrupts; NumPy is not imported twice.
        self.left -= _HERE in frame.f_code.co_filename
        if self.left < 0:
            sys.setprofile(None)
            self.fired = True
            raise KeyboardInterrupt


def child(event: int) -> int:
    """0: it was interrupted, and all is well; 1: it is not; 2: the import came to its end."""
    interruption = Interruption(event)
    try:
        sys.setprofile(interruption)
        import minidnn
    except KeyboardInterrupt:
        sys.setprofile(None)
        import minidnn

        return int(not np.array_equal(minidnn.np.exp(minidnn.np.zeros(3)), np.ones(3)))
    finally:
        sys.setprofile(None)
    return 1 if interruption.fired else 2


failures = []
event, code = 0, 0
while code != 2:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = child(event)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, 2):
        failures.append(event)
        print(event, code)
    event += STRIDE
print(failures)
