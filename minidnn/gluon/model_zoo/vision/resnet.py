"""Residual networks, versions 1 and 2.

Version 1: "Deep Residual Learning for Image Recognition", arXiv:1512.03385; its bottleneck has the stride on
the first 1×1 convolution, and biases on both 1×1 convolutions, as MXNet's has. Version 2: "Identity Mappings
in Deep Residual Networks", arXiv:1603.05027. The structure, and with it every parameter's name, is MXNet 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn import npx
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = [
    "BasicBlockV1",
    "BasicBlockV2",
    "BottleneckV1",
    "BottleneckV2",
    "ResNetV1",
    "ResNetV2",
    "get_resnet",
    "resnet18_v1",
    "resnet18_v2",
    "resnet34_v1",
    "resnet34_v2",
    "resnet50_v1",
    "resnet50_v2",
    "resnet101_v1",
    "resnet101_v2",
    "resnet152_v1",
    "resnet152_v2",
]


def _conv3x3(channels: int, stride: int, in_channels: int) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel_size=3, strides=stride, padding=1, use_bias=False, in_channels=in_channels)


def _conv1x1(channels: int, stride: int, in_channels: int = 0) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel_size=1, strides=stride, use_bias=False, in_channels=in_channels)


class _BlockV1(HybridBlock):
    """relu(body(x) + shortcut(x)); the shortcut is a 1×1 convolution where `downsample`, the identity elsewhere."""

    def __init__(
        self, body: nn.HybridSequential, channels: int, stride: int, downsample: bool, in_channels: int
    ) -> None:
        super().__init__()
        self.body = body
        self.downsample: nn.HybridSequential | None = None
        if downsample:
            self.downsample = nn.HybridSequential()
            self.downsample.add(_conv1x1(channels, stride, in_channels), nn.BatchNorm())

    def forward(self, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        return npx.activation(self.body(x) + shortcut, act_type="relu")


class BasicBlockV1(_BlockV1):
    """Two 3×3 convolutions, for ResNet v1 of 18 and 34 layers.

    Args:
        channels: output channels.
        stride: of the first convolution.
        downsample: whether the shortcut is a convolution.
        in_channels: input channels; 0 to infer them.
    """

    def __init__(self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0) -> None:
        body = nn.HybridSequential()
        body.add(
            _conv3x3(channels, stride, in_channels),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(channels, 1, channels),
            nn.BatchNorm(),
        )
        super().__init__(body, channels, stride, downsample, in_channels)


class BottleneckV1(_BlockV1):
    """1×1, 3×3 and 1×1 convolutions, a quarter of the channels inside, for ResNet v1 of 50 layers and more.

    Args:
        channels: output channels.
        stride: of the first convolution.
        downsample: whether the shortcut is a convolution.
        in_channels: input channels; 0 to infer them.
    """

    def __init__(self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0) -> None:
        body = nn.HybridSequential()
        body.add(
            nn.Conv2D(channels // 4, kernel_size=1, strides=stride),
            nn.BatchNorm(),
            nn.Activation("relu"),
            _conv3x3(channels // 4, 1, channels // 4),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.Conv2D(channels, kernel_size=1, strides=1),
            nn.BatchNorm(),
        )
        super().__init__(body, channels, stride, downsample, in_channels)


class BasicBlockV2(HybridBlock):
    """Two 3×3 convolutions behind their normalizations, for ResNet v2 of 18 and 34 layers.

    Args:
        channels: output channels.
        stride: of the first convolution.
        downsample: whether the shortcut is a convolution.
        in_channels: input channels; 0 to infer them.
    """

    def __init__(self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv3x3(channels, stride, in_channels)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels, 1, channels)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def forward(self, x: Any) -> Any:
        out = npx.activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(out)
        out = npx.activation(self.bn2(self.conv1(out)), act_type="relu")
        return self.conv2(out) + shortcut


class BottleneckV2(HybridBlock):
    """1×1, 3×3 and 1×1 convolutions behind their normalizations, for ResNet v2 of 50 layers and more.

    Args:
        channels: output channels.
        stride: of the 3×3 convolution.
        downsample: whether the shortcut is a convolution.
        in_channels: input channels; 0 to infer them.
    """

    def __init__(self, channels: int, stride: int, downsample: bool = False, in_channels: int = 0) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm()
        self.conv1 = _conv1x1(channels // 4, 1)
        self.bn2 = nn.BatchNorm()
        self.conv2 = _conv3x3(channels // 4, stride, channels // 4)
        self.bn3 = nn.BatchNorm()
        self.conv3 = _conv1x1(channels, 1)
        self.downsample = _conv1x1(channels, stride, in_channels) if downsample else None

    def forward(self, x: Any) -> Any:
        out = npx.activation(self.bn1(x), act_type="relu")
        shortcut = x if self.downsample is None else self.downsample(out)
        out = npx.activation(self.bn2(self.conv1(out)), act_type="relu")
        out = npx.activation(self.bn3(self.conv2(out)), act_type="relu")
        return self.conv3(out) + shortcut


_Block = type[BasicBlockV1] | type[BottleneckV1] | type[BasicBlockV2] | type[BottleneckV2]


def _add_stem(features: nn.HybridSequential, channels: int, thumbnail: bool) -> None:
    if thumbnail:
        features.add(_conv3x3(channels, 1, 0))
    else:
        features.add(
            nn.Conv2D(channels, 7, 2, 3, use_bias=False),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(3, 2, 1),
        )


def _add_stages(features: nn.HybridSequential, block: _Block, layers: Sequence[int], channels: Sequence[int]) -> None:
    """One stage for each of `layers`; each but the first halves height and width."""
    if len(layers) != len(channels) - 1:
        raise ValueError(f"layers {list(layers)} want {len(layers) + 1} channels, got {list(channels)}")
    for i, (depth, before, after) in enumerate(zip(layers, channels[:-1], channels[1:], strict=True)):
        stage = nn.HybridSequential()
        stage.add(block(after, 1 if i == 0 else 2, after != before, in_channels=before))
        stage.add(*(block(after, 1, False, in_channels=after) for _ in range(depth - 1)))
        features.add(stage)


class ResNetV1(HybridBlock):
    """ResNet version 1: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        block: `BasicBlockV1` or `BottleneckV1`.
        layers: blocks in each stage.
        channels: of the stem and of each stage; one more than `layers`.
        classes: classes of the output.
        thumbnail: a stem for images of some 32×32 pixels.
    """

    def __init__(
        self,
        block: _Block,
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
    ) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        _add_stem(self.features, channels[0], thumbnail)
        _add_stages(self.features, block, layers, channels)
        self.features.add(nn.GlobalAvgPool2D())
        self.output = nn.Dense(classes, in_units=channels[-1])

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


class ResNetV2(HybridBlock):
    """ResNet version 2: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        block: `BasicBlockV2` or `BottleneckV2`.
        layers: blocks in each stage.
        channels: of the stem and of each stage; one more than `layers`.
        classes: classes of the output.
        thumbnail: a stem for images of some 32×32 pixels.
    """

    def __init__(
        self,
        block: _Block,
        layers: Sequence[int],
        channels: Sequence[int],
        classes: int = 1000,
        thumbnail: bool = False,
    ) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(nn.BatchNorm(scale=False, center=False))
        _add_stem(self.features, channels[0], thumbnail)
        _add_stages(self.features, block, layers, channels)
        self.features.add(nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Flatten())
        self.output = nn.Dense(classes, in_units=channels[-1])

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


_BASIC = (64, 64, 128, 256, 512)
_BOTTLENECK = (64, 256, 512, 1024, 2048)
# number of layers -> blocks in each stage, channels
_SPECIFICATIONS: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {
    18: ((2, 2, 2, 2), _BASIC),
    34: ((3, 4, 6, 3), _BASIC),
    50: ((3, 4, 6, 3), _BOTTLENECK),
    101: ((3, 4, 23, 3), _BOTTLENECK),
    152: ((3, 8, 36, 3), _BOTTLENECK),
}


def get_resnet(
    version: int,
    num_layers: int,
    pretrained: bool = False,
    device: Any = None,
    root: Any = None,
    ctx: Any = None,
    **kwargs: Any,
) -> ResNetV1 | ResNetV2:
    """A ResNet by version and depth.

    Args:
        version: 1 or 2.
        num_layers: 18, 34, 50, 101 or 152.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from. The hub has some for version 1 of
            18 and 34 layers. The others have MXNet's structure, and want MXNet's files.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``thumbnail``.

    Raises:
        ValueError: a version or depth there is not; `pretrained` without weights.
    """
    if version not in (1, 2):
        raise ValueError(f"ResNet has versions 1 and 2, got {version!r}")
    if num_layers not in _SPECIFICATIONS:
        raise ValueError(f"ResNet has {list(_SPECIFICATIONS)} layers, got {num_layers!r}")
    layers, channels = _SPECIFICATIONS[num_layers]
    basic = channels is _BASIC
    name = f"resnet{num_layers}_v{version}"
    if pretrained and kwargs.get("thumbnail"):
        raise ValueError(f"{name}: the pretrained weights are for large images, got thumbnail=True")
    path = find_weights(name, root, kwargs) if pretrained else None
    net: ResNetV1 | ResNetV2
    if version == 1:
        net = ResNetV1(BasicBlockV1 if basic else BottleneckV1, layers, channels, **kwargs)
    else:
        net = ResNetV2(BasicBlockV2 if basic else BottleneckV2, layers, channels, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def resnet18_v1(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-18 version 1; the arguments are `get_resnet`'s."""
    return get_resnet(1, 18, **kwargs)


def resnet34_v1(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-34 version 1; the arguments are `get_resnet`'s."""
    return get_resnet(1, 34, **kwargs)


def resnet50_v1(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-50 version 1; the arguments are `get_resnet`'s."""
    return get_resnet(1, 50, **kwargs)


def resnet101_v1(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-101 version 1; the arguments are `get_resnet`'s."""
    return get_resnet(1, 101, **kwargs)


def resnet152_v1(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-152 version 1; the arguments are `get_resnet`'s."""
    return get_resnet(1, 152, **kwargs)


def resnet18_v2(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-18 version 2; the arguments are `get_resnet`'s."""
    return get_resnet(2, 18, **kwargs)


def resnet34_v2(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-34 version 2; the arguments are `get_resnet`'s."""
    return get_resnet(2, 34, **kwargs)


def resnet50_v2(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-50 version 2; the arguments are `get_resnet`'s."""
    return get_resnet(2, 50, **kwargs)


def resnet101_v2(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-101 version 2; the arguments are `get_resnet`'s."""
    return get_resnet(2, 101, **kwargs)


def resnet152_v2(**kwargs: Any) -> ResNetV1 | ResNetV2:
    """ResNet-152 version 2; the arguments are `get_resnet`'s."""
    return get_resnet(2, 152, **kwargs)
