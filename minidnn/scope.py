"""What is being called: the names of the blocks that are open in this thread, for names, errors and profiles."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["current_scope", "run_in_scope"]

Result = TypeVar("Result")


class _State(threading.local):
    """What this thread is in. A change puts another tuple in place, and its end the one from before.

    Both stand in one function, as ``try`` and ``finally``: Ctrl-C may come at the beginning or at the end of the
    methods of a context manager, where nobody would take back what they have changed.
    """

    names: tuple[str, ...] = ()


_state = _State()


def run_in_scope(name: str, function: Callable[..., Result], *args: Any) -> Result:
    """``function(*args)``; names given inside begin with `name`. Scopes nest; an empty name adds nothing."""
    before = _state.names
    try:
        _state.names = (*before, name)
        return function(*args)
    finally:
        _state.names = before


def current_scope() -> str:
    """The names of the open scopes, joined by dots: ``features.0.conv1``."""
    return ".".join(name for name in _state.names if name)
