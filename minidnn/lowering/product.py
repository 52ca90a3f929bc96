"""A product with known weights that is to be computed: what every algorithm for it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights
from minidnn.lowering.builder import Builder
from minidnn.lowering.epilogue import BoundEpilogue
from minidnn.lowering.geometry import Window
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.lowering.weight_store import Lookups
from minidnn_kernels.dot import best_dot
from minidnn_kernels.element_type import BFLOAT16, INT8, INT16, ElementType
from minidnn_kernels.isa import Isa
from minidnn_kernels.uniform_dot import Maddwd, SignedBytes
from minidnn_kernels.winograd import largest_sum

__all__ = ["Algorithm", "Product"]

# Products of an element of the data, or of a weight, that pay for making another type of it.
_LEAST_USES = 32


@dataclass(frozen=True)
class Product:
    """A window that slides over images, or a product of matrices, which is a window of one element.

    Args:
        isa: what kernels are chosen for.
        anchor: the layer; its first input is the data.
        weights: with what sums start from where they are integers, and the bias of the epilogue where they are not.
        window: what slides over each of the `images`.
        layout: of the data and of the result.
        data: type of the data; it decides on the weights' and the sums'.
        store: what is known of the network's weights already.
    """

    isa: Isa
    anchor: Anchor
    weights: Weights
    window: Window
    images: int
    layout: str
    data: ElementType
    store: Lookups

    @property
    def usual_images(self) -> int:
        """Of the call that the network was traced with."""
        return self.images if self.anchor.usual is None or self.layout == PLAIN else self.anchor.usual[0]

    @property
    def usual_output(self) -> tuple[int, ...]:
        """The window's output in the call that the network was traced with."""
        if self.anchor.usual is None:
            return self.window.output
        return self.anchor.usual[2:] if self.layout == CHANNELS_LAST else (math.prod(self.anchor.usual[:-1]),)

    @property
    def usual_pixels(self) -> int:
        """Of all images in the call that the network was traced with."""
        return self.usual_images * math.prod(self.usual_output)

    @property
    def multiplied(self) -> ElementType:
        """The type in which data meets the weights: bfloat16 where they are, and the CPU has instructions for both.

        A group that is not filled would multiply what lies behind a row, which may be NaN, by zero. Where little is
        made of each element, rounding it costs more than it saves.

        Int8 is int16 where bytes with signs take more instructions than that, and weights, twice as long, meet many
        pixels.
        """
        if self.data is INT8 and self.window.taps * self.columns >= _LEAST_USES <= self.usual_pixels:
            return INT16 if isinstance(INT8.dot(self.isa, self._best_dot), SignedBytes | Maddwd) else INT8
        if not self.weights.is_bfloat16 or not self.isa.bfloat16:
            return self.data
        is_whole = self.depth % BFLOAT16.dot(self.isa).group == 0
        return BFLOAT16 if is_whole and self.window.taps * self.columns >= _LEAST_USES else self.data

    @cached_property
    def _best_dot(self) -> str:
        """The name of the dot for the data and these weights."""
        what = ("dot", self.window.taps, self.data.name)
        return self.weights.know(self.store, what, lambda: best_dot(self.isa, self.data.name, self.weights.numbers))

    @property
    def matrix(self) -> Array:
        """[groups, taps, depth, columns]."""
        return self.weights.matrix

    @property
    def item_bytes(self) -> int:
        """Of a weight."""
        assert self.weights.unscaled is not None
        return self.weights.unscaled.itemsize

    @property
    def groups(self) -> int:
        return self.weights.shape[0]

    @property
    def depth(self) -> int:
        """Input channels of a group."""
        return self.weights.shape[2]

    @property
    def columns(self) -> int:
        """Output channels of a group."""
        return self.weights.shape[3]

    @cached_property
    def kernels(self) -> Array:
        """Unscaled weights of a window of two dimensions and one group, [filters, channels, height, width]."""
        grid = self.weights.widened[0].reshape(*self.window.kernel, self.depth, self.columns)
        kernels: Array = grid.transpose(3, 2, 0, 1)
        return kernels

    @cached_property
    def largest_sum(self) -> int:
        """What an output of integers is at most, without its sign."""
        start = self.weights.start
        assert start is not None
        what = ("largest sum", self.window.kernel, self.data.name)
        return self.weights.know(
            self.store, what, lambda: largest_sum(self.kernels, np.asarray(start), self.data.limits)
        )


class Algorithm(Protocol):
    """One way to compute a product."""

    @property
    def name(self) -> str: ...

    def fits(self, product: Product) -> bool:
        """Whether its kernels can do this product, and exactly where it is of integers."""
        ...

    def cycles(self, product: Product) -> float:
        """What it is estimated to take on one core, by the `cost_model`."""
        ...

    def lower(self, builder: Builder, product: Product, bound: BoundEpilogue) -> Value:
        """Its step, for a product that it fits."""
        ...
