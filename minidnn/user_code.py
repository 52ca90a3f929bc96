"""Where in the user's own code something was asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

__all__ = ["user_line"]

_PACKAGE = str(Path(__file__).parent) + "/"


def user_line() -> str:
    """``file:line`` of the innermost frame outside this package; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
