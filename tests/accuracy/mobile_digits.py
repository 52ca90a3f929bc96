"""A small MobileNetV2 for the digits of digits.py: inverted residuals, depthwise convolutions, ReLU6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minidnn as mx
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from tests.accuracy.digits import CLASSES

__all__ = ["BLOCKS", "HEAD", "STEM", "WEIGHTS", "MobileDigits", "load_mobile"]

WEIGHTS = Path(__file__).with_name("mobile_digits.safetensors")
STEM, HEAD = 8, 96
# Channels and stride of each inverted residual.
BLOCKS = ((16, 1), (16, 1), (24, 2), (24, 1))


def _unit(inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    unit = nn.HybridSequential()
    unit.add(
        nn.Conv2D(channels, kernel, stride, kernel // 2, groups=groups, use_bias=False, in_channels=inputs),
        nn.BatchNorm(in_channels=channels),
    )
    return unit


def _relu6(x: Any) -> Any:
    return mx.np.clip(x, 0, 6)


class _Block(HybridBlock):
    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.expand = _unit(inputs, wide, 1)
        self.depthwise = _unit(wide, wide, 3, stride, wide)
        self.project = _unit(wide, channels, 1)
        self._is_residual = stride == 1 and inputs == channels

    def forward(self, x: Any) -> Any:
        y = self.project(_relu6(self.depthwise(_relu6(self.expand(x)))))
        return x + y if self._is_residual else y


class MobileDigits(HybridBlock):
    """Scores ``(N, 10)`` of images ``(N, 1, 28, 28)``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(1, STEM, 3, 2)
        self.blocks = nn.HybridSequential()
        inputs = STEM
        for channels, stride in BLOCKS:
            self.blocks.add(_Block(inputs, channels, stride))
            inputs = channels
        self.head = _unit(inputs, HEAD, 1)
        self.output = nn.Dense(CLASSES, in_units=HEAD)

    def forward(self, x: Any) -> Any:
        x = _relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = _relu6(self.head(x)).mean(axis=(2, 3))
        return self.output(x)


def load_mobile() -> MobileDigits:
    """The trained network."""
    net = MobileDigits()
    mx.interop.load_weights(net, WEIGHTS)
    return net
