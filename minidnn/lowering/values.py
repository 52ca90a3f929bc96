"""Values while lowering: what is known of a tensor, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ops.registry import TensorType
from minidnn.plan.program import Address, Tensor

__all__ = ["CHANNELS_LAST", "PLAIN", "Array", "Padded", "Picked", "Value", "View", "physical_order", "strides_of"]

Array = np.ndarray[Any, Any]

# How a tensor's dimensions lie in memory: as its shape says (C order), or with dimension 1 innermost.
PLAIN = "plain"
CHANNELS_LAST = "channels_last"


def physical_order(ndim: int, layout: str) -> tuple[int, ...]:
    """The dimensions from the outermost in memory to the innermost."""
    if layout == PLAIN:
        return tuple(range(ndim))
    return (0, *range(2, ndim), 1)


def strides_of(shape: tuple[int, ...], itemsize: int, layout: str) -> tuple[int, ...]:
    """Strides in bytes, dimension by dimension of `shape`."""
    strides = [0] * len(shape)
    step = itemsize
    for dimension in reversed(physical_order(len(shape), layout)):
        strides[dimension] = step
        step *= shape[dimension]
    return tuple(strides)


@dataclass(frozen=True)
class Padded:
    """`source` with ``low[d]`` elements of value `fill` in front of dimension d, and some behind."""

    source: Value
    low: tuple[int, ...]
    fill: float


@dataclass(frozen=True)
class View:
    """Elements of `source`, which is in memory, from a byte `offset` on, with other `strides` in bytes.

    A copy that has to be made of it has the name `name`.
    """

    source: Value
    offset: int
    strides: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Picked:
    """Elements of `source`, along each dimension those with these indices, int64; None: all, in their order.

    `name` is of the node.
    """

    source: Value
    indices: tuple[Array | None, ...]
    name: str


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the program.

    Args:
        type: logical shape and dtype.
        address: where it begins.
        layout: `PLAIN` or `CHANNELS_LAST`.
        array: the numbers themselves, if they are known now (weights); None for what a run computes.
        padded: the tensor this is with padding around, if that has not been written to memory: a convolution
            pads by itself. `Builder` writes it when somebody else asks for it.
        view: the elements of another tensor this is, if they have not been put in order: attention and copies read
            by any strides. `Builder` writes it as it does padding.
        picked: likewise the elements of another that this has, which has not been written to memory either.
    """

    type: TensorType
    address: Address
    layout: str = PLAIN
    array: Array | None = None
    padded: Padded | None = None
    view: View | None = None
    picked: Picked | None = None

    @property
    def source(self) -> Value | None:
        """Of a value that has not been written to memory: the tensor that it is elements of."""
        unwritten = self.padded or self.view or self.picked
        return None if unwritten is None else unwritten.source

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return strides_of(self.type.shape, self.type.dtype.itemsize, self.layout)

    @property
    def nbytes(self) -> int:
        return self.type.nbytes

    def tensor(self) -> Tensor:
        return Tensor(self.type, self.address, self.strides)
