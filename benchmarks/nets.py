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

__all__ = ["LAYERS", "Encoder", "InvertedResidual", "Layer", "ResidualBlock", "checked_pair", "residual_data"]


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


class InvertedResidual(HybridBlock):
    """MobileNetV2's: 24 channels widened to 144, a depthwise 3×3 convolution, and back, plus the input."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.HybridSequential()
        for channels, inputs, kernel, groups in ((144, 24, 1, 1), (144, 144, 3, 144), (24, 144, 1, 1)):
            options = {"groups": groups, "use_bias": False, "in_channels": inputs}
            self.body.add(nn.Conv2D(channels, kernel, 1, kernel // 2, **options), nn.BatchNorm())
            if channels == 144:
                self.body.add(nn.HybridLambda(lambda x: mx.np.clip(x, 0, 6)))

    def forward(self, x: Any) -> Any:
        return self.body(x) + x


class _EncoderLayer(HybridBlock):
    """Attention and a hidden layer four times as wide, each added to what it reads and normed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "out"):
            setattr(self, name, nn.Dense(width, flatten=False, in_units=width))
        self.hidden = nn.Dense(4 * width, flatten=False, in_units=width)
        self.back = nn.Dense(width, flatten=False, in_units=4 * width)
        self.norm, self.last = nn.LayerNorm(in_channels=width), nn.LayerNorm(in_channels=width)

    def _split(self, x: Any) -> Any:
        batch, length, width = x.shape
        return x.reshape(batch, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

    def forward(self, x: Any) -> Any:
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = mx.np.matmul(query, key.transpose(0, 1, 3, 2)) * (x.shape[-1] // self.heads) ** -0.5
        heads = mx.np.matmul(mx.npx.softmax(scores), value)
        x = self.norm(x + self.out(heads.transpose(0, 2, 1, 3).reshape(*x.shape)))
        return self.last(x + self.back(mx.npx.leaky_relu(self.hidden(x), act_type="gelu")))


class Encoder(nn.HybridSequential):
    """BERT's layers, without its embeddings."""

    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.add(*(_EncoderLayer(width, heads) for _ in range(layers)))


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
