"""Which blocks are being called in this thread, which names layers in errors and in graphs; and the hooks of a call."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from minidnn.errors import OpError
from minidnn.ops.registry import TensorType
from minidnn.scope import run_in_scope

__all__ = [
    "Callee",
    "HookHandle",
    "Hooks",
    "Observer",
    "describe_types",
    "explained",
    "is_in_block",
    "is_outermost",
    "observer",
    "run_in_block",
    "run_observed",
]


class Callee(Protocol):
    """What is called: a block, with its children by name."""

    @property
    def _children(self) -> Mapping[str, Callee]: ...


# Gets a block and its output.
Observer = Callable[[Any, Any], None]


class _State(threading.local):
    """What this thread is in; see `minidnn.scope`."""

    blocks: tuple[Callee, ...] = ()
    observer: Observer | None = None


_state = _State()


def run_in_block(block: Callee, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``; names and errors inside carry the name of `block` within the block that called it."""
    before = _state.blocks
    name = _path(before[-1], block) if before else ""
    try:
        _state.blocks = (*before, block)
        return run_in_scope(name, function, *args)
    finally:
        _state.blocks = before


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


def is_in_block() -> bool:
    """Whether a block is being called in this thread."""
    return bool(_state.blocks)


def explained(error: OpError, block: str, came: Mapping[str, TensorType], wanted: Sequence[TensorType]) -> OpError:
    """The error of a call with what it was called with, and what fits.

    Args:
        error: says what does not fit, and where.
        block: what to call the block.
        came: the types of the inputs, by name.
        wanted: types that fit, in the same order; none if they are not known.
    """
    # A graph's error names the node, and a fused one around it; users know the layer, which eager errors name.
    is_node = not error.layer or str(error).startswith(f"node {error.layer!r}: ")
    where = "" if error.reason.startswith(f"{error.layer}: ") else f"{error.layer}: "
    what = str(error) if is_node else f"{where}{error.reason}"
    made = type(error)(f"{what}; {block} was called with {describe_types(came, wanted)}")
    made.is_explained = True
    return made


def describe_types(came: Mapping[str, TensorType], wanted: Sequence[TensorType] = ()) -> str:
    """Inputs in words, each with what fits in its place where something else came."""
    others = wanted if len(wanted) == len(came) else [*came.values()]
    return ", ".join(
        f"{name} of {_describe(type_)}" + (f" where {_describe(other)} fits" if other != type_ else "")
        for (name, type_), other in zip(came.items(), others, strict=True)
    )


def _describe(type_: TensorType) -> str:
    return f"shape {type_.shape}, {type_.dtype}"


def observer() -> Observer | None:
    """What wants to see every block's output in this thread, if anything does."""
    return _state.observer


def run_observed(callback: Observer, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, with ``callback(block, output)`` after every block's forward, children first.

    Meanwhile blocks run their own `forward`, hybridized or not, so that none is hidden in a compiled program.
    """
    before = _state.observer
    try:
        _state.observer = callback
        return function(*args)
    finally:
        _state.observer = before


Hooks = dict[int, Callable[..., Any]]

_numbers = itertools.count()


class HookHandle:
    """One registered hook: `detach` takes it off; as a context manager it is taken off at the end."""

    def __init__(self, hooks: Hooks, hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        self._number = next(_numbers)
        hooks[self._number] = hook

    def detach(self) -> None:
        """Take the hook off; a second time does nothing."""
        self._hooks.pop(self._number, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()
