"""What several networks of the zoo share."""

from __future__ import annotations

from typing import Any

from minidnn import numpy as np
from minidnn.gluon.block import HybridBlock

__all__ = ["RELU6", "round_channels"]


class RELU6(HybridBlock):
    """min(max(x, 0), 6), elementwise."""

    def forward(self, x: Any) -> Any:
        return np.clip(x, 0, 6)


def round_channels(channels: int, width: float = 1.0) -> int:
    """`channels` times `width` as a multiple of 8, not more than a tenth below."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8
