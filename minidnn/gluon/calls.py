"""Which blocks are being called in this thread: it gives layers their names, in errors and in graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minidnn.ir.trace import name_scope

if TYPE_CHECKING:
    from minidnn.gluon._block import Block

__all__ = ["block_scope", "is_outermost", "observe", "observer"]


class _State(threading.local):
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.observer: Callable[[Block, Any], None] | None = None


_state = _State()


@contextmanager
def block_scope(block: Block) -> Iterator[None]:
    """While `block` runs: names and errors inside carry its name within the block that called it."""
    name = _path(_state.blocks[-1], block) if _state.blocks else ""
    _state.blocks.append(block)
    try:
        with name_scope(name):
            yield
    finally:
        _state.blocks.pop()


def _path(caller: Block, block: Block) -> str:
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


def is_outermost(block: Block) -> bool:
    """Whether no other block is being called around `block`."""
    return all(b is block for b in _state.blocks)


def observer() -> Callable[[Block, Any], None] | None:
    """What wants to see every block's output in this thread, if anything does."""
    return _state.observer


@contextmanager
def observe(callback: Callable[[Block, Any], None]) -> Iterator[None]:
    """Call `callback(block, output)` after every block's forward, children first.

    Meanwhile blocks run their own `forward`, hybridized or not, so that none is hidden in a compiled program.
    """
    before, _state.observer = _state.observer, callback
    try:
        yield
    finally:
        _state.observer = before
