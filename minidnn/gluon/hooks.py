"""Handles of the hooks that a block calls before and after `forward`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["HookHandle", "Hooks"]

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
