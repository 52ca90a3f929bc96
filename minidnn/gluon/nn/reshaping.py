"""Layers that move elements and compute nothing: flatten, pad by reflection, shuffle pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import invoke, invoke_one
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import per_axis

__all__ = ["Flatten", "PixelShuffle1D", "PixelShuffle2D", "PixelShuffle3D", "ReflectionPad2D"]


class Flatten(HybridBlock):
    """``(N, ...)`` becomes ``(N, product of the rest)``."""

    def forward(self, x: Any) -> Any:
        return invoke("flatten", x)

    def __repr__(self) -> str:
        return type(self).__name__


class ReflectionPad2D(HybridBlock):
    """Pads ``(N, C, H, W)`` by mirroring what is inside the edge.

    Args:
        padding: one number for all four edges, or the eight numbers before and after each axis, whose first
            four are 0.
    """

    def __init__(self, padding: int | Sequence[int] = 0) -> None:
        super().__init__()
        numbers = (0, 0, 0, 0, *(padding,) * 4) if isinstance(padding, int) else tuple(padding)
        if len(numbers) != 8:
            raise ValueError(f"ReflectionPad2D: padding must be a number or a list of 8 ints, got {padding}")
        self._padding = tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def forward(self, x: Any) -> Any:
        return invoke("pad", x, mode="reflect", pad_width=self._padding)


class _PixelShuffle(HybridBlock):
    """Channels become pixels: ``(N, C·f₁·f₂…, H, W, …)`` becomes ``(N, C, H·f₁, W·f₂, …)``, arXiv:1609.05158."""

    def __init__(self, rank: int, factor: int | Sequence[int]) -> None:
        super().__init__()
        self._factors = per_axis(type(self).__name__, "factor", factor, rank)

    def forward(self, x: Any) -> Any:
        # The codes of npx.reshape: -2 keeps a dimension, -4 all that remain, -6 splits one into the next two
        # numbers, -5 joins two.
        factors, rank = self._factors, len(self._factors)
        x = invoke_one("npx_reshape", x, newshape=(-2, -6, -1, math.prod(factors), -4))
        for i in range(rank - 1):
            split = (-6, factors[i], math.prod(factors[i + 1 :]))
            x = invoke_one("npx_reshape", x, newshape=(*(-2,) * (2 + i), *split, -4))
        pairs = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
        x = invoke_one("transpose", x, axes=(0, 1, *pairs))
        return invoke_one("npx_reshape", x, newshape=(-2, -2, *(-5,) * rank))

    def __repr__(self) -> str:
        shown = self._factors[0] if len(self._factors) == 1 else self._factors
        return f"{type(self).__name__}({shown})"


class PixelShuffle1D(_PixelShuffle):
    """``(N, C·f, W)`` becomes ``(N, C, W·f)``.

    Args:
        factor: f.
    """

    def __init__(self, factor: int) -> None:
        super().__init__(1, factor)


class PixelShuffle2D(_PixelShuffle):
    """``(N, C·f₁·f₂, H, W)`` becomes ``(N, C, H·f₁, W·f₂)``.

    Args:
        factor: one number, or f₁ and f₂.
    """

    def __init__(self, factor: int | Sequence[int]) -> None:
        super().__init__(2, factor)


class PixelShuffle3D(_PixelShuffle):
    """``(N, C·f₁·f₂·f₃, D, H, W)`` becomes ``(N, C, D·f₁, H·f₂, W·f₃)``.

    Args:
        factor: one number, or f₁, f₂ and f₃.
    """

    def __init__(self, factor: int | Sequence[int]) -> None:
        super().__init__(3, factor)
