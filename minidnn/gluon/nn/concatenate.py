"""Blocks side by side, their outputs joined."""

from __future__ import annotations

from typing import Any, Self

from minidnn.dispatch import invoke
from minidnn.gluon.nn.sequential import HybridSequential, Sequential, _Stack

__all__ = ["Concatenate", "HybridConcatenate"]


class _Fan(_Stack):
    """Every child gets the same input."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *args: Any) -> Any:
        outputs = [block(*args) for block in self._children.values()]
        return invoke("concatenate", *outputs, num_args=len(outputs), axis=self.axis)

    def _empty(self) -> Self:
        return type(self)(self.axis)


class Concatenate(_Fan, Sequential):
    """Feeds its input to all children and concatenates their outputs along `axis`."""


class HybridConcatenate(_Fan, HybridSequential):
    """Feeds its input to all children and concatenates their outputs along `axis`."""
