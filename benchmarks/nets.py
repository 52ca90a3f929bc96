"""What is measured beside the zoo: the residual block and single layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.cli.networks import difference, make_pair
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock

__all__ = ["LAYERS", "Layer", "ResidualBlock", "checked_pair", "residual_data"]


class ResidualBlock(HybridBlock):
    """Two 3×3 convolutions of 64 channels with a residual: relu(bn(conv(relu(bn(conv(x))))) + x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(64, 3, 1, 1, use_bias=False, in_channels=64)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(64, 3, 1, 1, use_bias=False, in_channels=64)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        return mx.npx.activation(self.bn2(self.conv2(out)) + x, "relu")


def residual_data(random: np.random.Generator) -> Any:
    return mx.np.array(random.standard_normal((1, 64, 224, 224), np.float32))


@dataclass(frozen=True)
class Layer:
    """A convolution with batch normalization and ReLU, as networks have it."""

    name: str
    in_channels: int
    channels: int
    kernel: int
    stride: int
    size: int
    groups: int = 1

    def make(self) -> HybridBlock:
        net = nn.HybridSequential()
        net.add(
            nn.Conv2D(
                self.channels,
                self.kernel,
                self.stride,
                self.kernel // 2,
                groups=self.groups,
                use_bias=False,
                in_channels=self.in_channels,
            ),
            nn.BatchNorm(),
            nn.Activation("relu"),
        )
        return net

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (1, self.in_channels, self.size, self.size)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the direct convolution."""
        pixels = ((self.size - 1) // self.stride + 1) ** 2
        return 2 * pixels * self.channels * self.in_channels // self.groups * self.kernel**2


# The shapes of ResNet-50 and MobileNet: inputs, outputs, kernel, stride, size, groups.
LAYERS = (
    Layer("stem_7x7", 3, 64, 7, 2, 224),
    Layer("3x3_64_56", 64, 64, 3, 1, 56),
    Layer("3x3_128_28", 128, 128, 3, 1, 28),
    Layer("3x3_256_14", 256, 256, 3, 1, 14),
    Layer("3x3_512_7", 512, 512, 3, 1, 7),
    Layer("1x1_64_256_56", 64, 256, 1, 1, 56),
    Layer("1x1_256_64_56", 256, 64, 1, 1, 56),
    Layer("1x1_512_128_28", 512, 128, 1, 1, 28),
    Layer("1x1_256_1024_14", 256, 1024, 1, 1, 14),
    Layer("1x1_2048_512_7", 2048, 512, 1, 1, 7),
    Layer("1x1_512_1024_28_stride_2", 512, 1024, 1, 2, 28),
    Layer("depthwise_3x3_64_112", 64, 64, 3, 1, 112, 64),
    Layer("depthwise_3x3_512_14", 512, 512, 3, 1, 14, 512),
    Layer("depthwise_5x5_240_28_stride_2", 240, 240, 5, 2, 28, 240),
)


def checked_pair(make: Callable[[], Any], data: Any) -> tuple[Any, Any]:
    """An eager and a fused network of the same weights whose outputs agree: wrong results are not worth timing."""
    eager, fused = make_pair(make, data)
    assert difference(eager(data).asnumpy(), fused(data).asnumpy()) < 1e-4
    return eager, fused
