"""Fresh interpreters beside this process, which know where modules lie and nothing else of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["child_command", "child_environment", "has_interpreter"]


def has_interpreter() -> bool:
    """Whether there is one to start: in a frozen or embedding program, the executable is that program."""
    interpreter = Path(sys.executable or "").name.lower()
    return not getattr(sys, "frozen", False) and interpreter.startswith(("python", "pypy"))


def child_command(arguments: Sequence[str]) -> list[str]:
    """The command that runs an interpreter with these arguments."""
    # -P: what lies in the working folder is not ours to import.
    return [sys.executable, "-P", *arguments]


def child_environment() -> dict[str, str]:
    """The environment in which it finds the modules that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
