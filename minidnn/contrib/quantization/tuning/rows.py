"""Rows: what a product multiplies by its weights, a sample of them, as a matrix.

Of a convolution a row is the patch of inputs under its kernel at one place of the output; of a dense layer the inputs
of one output. Rows are drawn at random, the same ones every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Node

__all__ = ["RowReader"]

Array = np.ndarray[Any, Any]

# Rows of one layer, all batches together: so many at most, of so many inputs or outputs.
_MOST_ROWS = 32768
_MOST_NUMBERS = 1 << 23


@dataclass(frozen=True)
class RowReader:
    """Reads rows for one product.

    Args:
        anchor: the convolution or dense layer, on floats or integers.
        shape: of its weights, ``(C, K...)``.
    """

    anchor: Node
    shape: tuple[int, ...]

    @property
    def groups(self) -> int:
        return int(self.anchor.attrs.num_group) if self.is_convolution else 1

    @property
    def is_convolution(self) -> bool:
        return "kernel" in self.anchor.attrs

    @property
    def depth(self) -> int:
        """Inputs of one output."""
        return math.prod(self.shape[1:])

    def grouped(self, weight: Array) -> Array:
        """Weights (C, K...) as (G, P, K)."""
        return weight.reshape(self.groups, -1, self.depth)

    def most_rows(self) -> int:
        """How many rows are enough."""
        return max(1, min(_MOST_ROWS, _MOST_NUMBERS // max(self.groups * self.depth, self.shape[0])))

    def places(self, shape: Sequence[int], count: int, random: np.random.Generator) -> Array:
        """Numbers of at most `count` outputs, in order, of data of that shape."""
        total = self._outputs(shape)
        if total <= count:
            return np.arange(total)
        return np.sort(random.choice(total, count, replace=False))

    def _outputs(self, shape: Sequence[int]) -> int:
        if self.is_convolution:
            return shape[0] * math.prod(self._sizes(shape))
        return shape[0] if self.anchor.attrs.flatten else math.prod(shape[:-1])

    def _sizes(self, shape: Sequence[int]) -> list[int]:
        """The spatial sizes of the output."""
        a = self.anchor.attrs
        geometry = zip(shape[2:], a.kernel, a.stride, a.dilate, a.pad, strict=True)
        return [(n + 2 * pad - d * (k - 1) - 1) // s + 1 for n, k, s, d, pad in geometry]

    def read(self, data: Array, places: Array) -> Array:
        """(G, R, K): the rows at these places, in the data's dtype."""
        if not self.is_convolution:
            return data.reshape(-1, self.depth)[places][None]
        a = self.anchor.attrs
        sizes = self._sizes(data.shape)
        sample, *outputs = np.unravel_index(places, (len(data), *sizes))
        pixels = np.moveaxis(data, 1, -1)
        taps = list(np.ndindex(*a.kernel))
        rows = np.empty((len(places), data.shape[1], len(taps)), data.dtype)
        for number, tap in enumerate(taps):
            at = [o * s + t * d - p for o, s, t, d, p in zip(outputs, a.stride, tap, a.dilate, a.pad, strict=True)]
            inside = [np.clip(where, 0, n - 1) for where, n in zip(at, data.shape[2:], strict=True)]
            rows[:, :, number] = pixels[(sample, *inside)]
            padded = np.logical_or.reduce([where != n for where, n in zip(at, inside, strict=True)])
            rows[padded, :, number] = 0
        return np.swapaxes(rows.reshape(len(places), self.groups, self.depth), 0, 1)

    def outputs_at(self, result: Array, places: Array) -> Array:
        """(G, R, P): the layer's results at these places."""
        if self.is_convolution:
            result = np.moveaxis(result, 1, -1)
        rows = result.reshape(-1, result.shape[-1])[places]
        return np.swapaxes(rows.reshape(len(places), self.groups, -1), 0, 1)
