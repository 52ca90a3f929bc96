"""Which blocks are being called in this thread: it gives layers their names, in errors and in graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from minidnn.scope import name_scope

__all__ = ["Callee", "Observer", "block_scope", "is_outermost", "observe", "observer"]


class Callee(Protocol):
    """What is called: a block, with its children by name."""

    @property
    def _children(self) -> Mapping[str, Callee]: ...


# Gets a block and its output.
Observer = Callable[[Any, Any], None]


class _State(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Callee] = []
        self.observer: Observer | None = None


_state = _State()


@contextmanager
def block_scope(block: Callee) -> Iterator[None]:
    """While `block` runs: names and errors inside carry its name within the block that called it."""
    name = _path(_state.blocks[-1], block) if _state.blocks else ""
    _state.blocks.append(block)
    try:
        with name_scope(name):
            yield
    finally:
        _state.blocks.pop()


def _path(caller: Callee, block: Callee) -> str:
    """The dotted name of `block` under `caller`; its class's name if it stands elsewhere."""
    if block is caller:
        return ""
    pending = [("", caller)]
    for prefix, parent in pending:
        for name, child in parent._children.items():
            if child is block:
                return prefix + name
            pending.append((f"{prefix}{name}.", child))
    return type(block).__name__.lower()


def is_outermost(block: Callee) -> bool:
    """Whether no other block is being called around `block`."""
    return all(b is block for b in _state.blocks)


def observer() -> Observer | None:
    """What wants to see every block's output in this thread, if anything does."""
    return _state.observer


@contextmanager
def observe(callback: Observer) -> Iterator[None]:
    """Call `callback(block, output)` after every block's forward, children first.

    Meanwhile blocks run their own `forward`, hybridized or not, so that none is hidden in a compiled program.
    """
    before, _state.observer = _state.observer, callback
    try:
        yield
    finally:
        _state.observer = before
