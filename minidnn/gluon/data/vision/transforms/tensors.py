"""From images to tensors: Cast, ToTensor, Normalize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.data.vision.transforms.base import Pixels, Transform

__all__ = ["Cast", "Normalize", "ToTensor"]


class Cast(HybridBlock):
    """Arrays in another dtype."""

    def __init__(self, dtype: Any = "float32") -> None:
        super().__init__()
        self._dtype = dtype

    def forward(self, *args: Any) -> Any:
        out = tuple(x.astype(self._dtype) for x in args)
        return out if len(out) > 1 else out[0]


class ToTensor(Transform):
    """Images ``(H, W, C)`` or ``(N, H, W, C)`` in 0..255 as float32 ``(C, H, W)`` or ``(N, C, H, W)`` in 0..1."""

    def _apply(self, x: Pixels) -> Pixels:
        if x.ndim not in (3, 4):
            raise ShapeError(f"ToTensor wants images (H, W, C) or (N, H, W, C), got {x.shape}")
        tensor = np.array(np.moveaxis(x, -1, -3), np.float32, order="C")
        return np.divide(tensor, np.float32(255), out=tensor)


class Normalize(Transform):
    """``(x - mean) / std`` of tensors ``(C, H, W)`` or ``(N, C, H, W)``.

    Args:
        mean, std: numbers, or one for each channel.

    Raises:
        ValueError: a `std` is zero.
    """

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        self._mean, self._std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (mean, std))
        if not self._std.all():
            raise ValueError(f"std must not be zero, got {std}")

    def _apply(self, x: Pixels) -> Pixels:
        if x.ndim not in (3, 4):
            raise ShapeError(f"Normalize wants tensors (C, H, W) or (N, C, H, W), got {x.shape}")
        for what, values in (("mean", self._mean), ("std", self._std)):
            if len(values) not in (1, x.shape[-3]):
                raise ShapeError(f"Normalize has {len(values)} values as {what}, got a tensor of shape {x.shape}")
        centred = np.subtract(x, self._mean, dtype=np.float32)
        return np.divide(centred, self._std, out=centred)
