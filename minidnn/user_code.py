"""Where in the user's own code something was asked for, and under what name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np

__all__ = ["at_user_line", "named", "user_call", "user_line"]

Function = TypeVar("Function", bound=Any)

# This package, and what calls it on behalf of the user.
_PACKAGE = str(Path(__file__).parent) + "/"
_NUMPY = str(Path(np.__file__).parent) + "/"
_STANDARD = str(Path(os.__file__).parent) + "/"


def _is_users(file: str) -> bool:
    in_standard = file.startswith(_STANDARD) and "site-packages" not in file
    return not (file.startswith((_PACKAGE, _NUMPY)) or in_standard)


def _user_frame() -> tuple[FrameType | None, str]:
    """The innermost frame outside this package, NumPy and Python's library, and the name of what it calls."""
    frame: FrameType | None = sys._getframe(2)
    called = ""
    while frame is not None and not _is_users(frame.f_code.co_filename):
        called = frame.f_code.co_name
        frame = frame.f_back
    return frame, called


def user_line() -> str:
    """``file:line`` of the user's code that is running; empty if there is none."""
    frame, _ = _user_frame()
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def user_call() -> str:
    """The name of the function that the user's code is calling; empty for an operator, or if there is none."""
    _, called = _user_frame()
    return "" if called.startswith(("_", "<")) else called


def at_user_line() -> str:
    """`user_line` as the end of a message; empty if there is none."""
    line = user_line()
    return f" (at {line})" if line else ""


def named(function: Function, name: str, doc: str, owner: str = "") -> Function:
    """A function made by another one, or a method of `owner`, under a name of its own, in tracebacks too."""
    function.__name__, function.__qualname__ = name, f"{owner}.{name}" if owner else name
    function.__code__ = function.__code__.replace(co_name=name, co_qualname=function.__qualname__)
    function.__doc__ = doc
    return function
