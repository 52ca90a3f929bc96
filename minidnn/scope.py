"""What is being called: the names of the blocks that are open in this thread, for names, errors and profiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["current_scope", "name_scope"]


class _State(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []


_state = _State()


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Names given inside begin with `name`; scopes nest. An empty name adds nothing."""
    _state.names.append(name)
    try:
        yield
    finally:
        _state.names.pop()


def current_scope() -> str:
    """The names of the open scopes, joined by dots: ``features.0.conv1``."""
    return ".".join(name for name in _state.names if name)
