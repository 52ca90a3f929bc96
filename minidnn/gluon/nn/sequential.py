"""Containers: blocks one after the other, and blocks side by side."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any, Self, overload

from minidnn.dispatch import invoke
from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock

__all__ = ["Concatenate", "HybridConcatenate", "HybridSequential", "Sequential"]


class _Stack(Block):
    """A list of children, called one after the other."""

    _only_calls_children = True

    def add(self, *blocks: Block) -> None:
        """Put blocks on top of the stack."""
        for block in blocks:
            self.register_child(block)

    def forward(self, x: Any, *args: Any) -> Any:
        rest = [*args]
        for block in self._children.values():
            x = block(x, *rest)
            rest = []
            if isinstance(x, (tuple, list)):
                x, *rest = x
        return (x, *rest) if rest else x

    def _signature(self) -> inspect.Signature:
        first = next(iter(self._children.values()), None)
        return super()._signature() if first is None else first._signature()

    @overload
    def __getitem__(self, key: int) -> Block: ...

    @overload
    def __getitem__(self, key: slice) -> Self: ...

    def __getitem__(self, key: int | slice) -> Block | Self:
        chosen = [*self._children.values()][key]
        if isinstance(chosen, Block):
            return chosen
        part = self._empty()
        part.add(*chosen)
        return part

    def _empty(self) -> Self:
        return type(self)()

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter([*self._children.values()])


class Sequential(_Stack):
    """Stacks blocks of any kind; a block that gives several outputs hands them to the next as its inputs.

    Indexing gives a block, slicing a `Sequential` that shares its blocks.
    """

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Hybridize every child; see `HybridBlock.hybridize`."""
        if self._children and all(isinstance(child, HybridBlock) for child in self._children.values()):
            warnings.warn(
                f"All children of this Sequential layer '{self!r}'\n are HybridBlocks. Consider "
                "using HybridSequential for the best performance.",
                stacklevel=2,
            )
        super().hybridize(active, **kwargs)


class HybridSequential(_Stack, HybridBlock):
    """Stacks hybrid blocks; a block that gives several outputs hands them to the next as its inputs.

    Indexing gives a block, slicing a `HybridSequential` that shares its blocks.
    """


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
