"""Where in the user's own code something was asked for."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import FrameType

import numpy as np

__all__ = ["at_user_line", "user_line"]

# This package, and what calls it on behalf of the user.
_PACKAGE = str(Path(__file__).parent) + "/"
_NUMPY = str(Path(np.__file__).parent) + "/"
_STANDARD = sysconfig.get_path("stdlib") + "/"


def _is_users(file: str) -> bool:
    in_standard = file.startswith(_STANDARD) and "site-packages" not in file
    return not (file.startswith((_PACKAGE, _NUMPY)) or in_standard)


def user_line() -> str:
    """``file:line`` of the innermost frame outside this package, NumPy and Python's library; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def at_user_line() -> str:
    """`user_line` as the end of a message; empty if there is none."""
    line = user_line()
    return f" (at {line})" if line else ""
