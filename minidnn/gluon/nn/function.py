"""Blocks made from a function, and the block that does nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from minidnn import npx
from minidnn import numpy as np
from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock

__all__ = ["HybridLambda", "Identity", "Lambda"]


class _Function(Block):
    def __init__(self, function: str | Callable[..., Any]) -> None:
        super().__init__()
        self._func, self._func_name = _find(function)

    def forward(self, *args: Any) -> Any:
        return self._func(*args)

    def _signature(self) -> inspect.Signature:
        return inspect.signature(self._func)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"


class Lambda(_Function):
    """A function as a block.

    Args:
        function: the name of a function of `mx.np` or `mx.npx`, or a function of arrays.

    Raises:
        ValueError: there is no function of that name.
    """


class HybridLambda(_Function, HybridBlock):
    """A function of `mx.np` and `mx.npx` operators as a hybrid block.

    Args:
        function: the name of a function of `mx.np` or `mx.npx`, or a function of arrays.

    Raises:
        ValueError: there is no function of that name.
    """


class Identity(HybridBlock):
    """Gives its input; of use beside other blocks in `HybridConcatenate`."""

    def forward(self, x: Any) -> Any:
        return x


def _find(function: str | Callable[..., Any]) -> tuple[Callable[..., Any], str]:
    if isinstance(function, str):
        for module in (np, npx):
            found = getattr(module, function, None) if function in module.__all__ else None
            if callable(found):
                return found, function
        raise ValueError(f"Function name {function} is not found in np/npx.")
    if not callable(function):
        raise ValueError(f"Unrecognized function in lambda: {function} of type {type(function)}")
    return function, getattr(function, "__name__", type(function).__name__)
