"""What the transforms have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.gluon.block import HybridBlock
from minidnn.numpy.base import as_native
from minidnn.numpy.multiarray import ndarray

__all__ = ["Pixels", "Transform", "check_image", "size_pair"]

Pixels = np.ndarray[Any, Any]


class Transform(HybridBlock):
    """A block that computes with NumPy, at once."""

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:  # type: ignore[override] # any keyword is as good
        """No effect."""

    def forward(self, x: Any, *args: Any) -> Any:
        out = ndarray._wrap(as_native(self._apply(x._read(type(self).__name__))))
        return (out, *args) if args else out

    @abstractmethod
    def _apply(self, x: Pixels) -> Pixels:
        """The result for the first argument."""


def check_image(transform: Transform, x: Pixels, batches: bool = False) -> Pixels:
    """`x`, if it is an image ``(H, W, C)``, or where `batches` are accepted ``(N, H, W, C)``, of 1 or 3 channels.

    Raises:
        ShapeError: it is not.
    """
    if x.ndim not in ((3, 4) if batches else (3,)) or x.shape[-1] not in (1, 3) or not x.size:
        wanted = "(H, W, C) or (N, H, W, C)" if batches else "(H, W, C)"
        raise ShapeError(f"{type(transform).__name__} wants images {wanted} with 1 or 3 channels, got {x.shape}")
    return x


def size_pair(size: Any) -> tuple[int, int]:
    """Width and height of an integer or a pair.

    Raises:
        ValueError: they are not positive integers.
    """
    pair = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in pair):
        raise ValueError(f"a size must be a positive integer, or a pair (width, height) of them, got {size!r}")
    return int(pair[0]), int(pair[1])
