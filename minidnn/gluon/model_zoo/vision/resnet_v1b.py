"""Residual networks, version 1b: the topology of torchvision, with the bottleneck's stride on its 3×3 convolution.

"Deep Residual Learning for Image Recognition", arXiv:1512.03385. MXNet 2 itself has none; blocks, arguments and
parameters have the names of GluonCV, its companion: ``conv1``, ``layer1``, ``fc``, which are torchvision's, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidnn import npx
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = [
    "BasicBlockV1b",
    "BottleneckV1b",
    "ResNetV1b",
    "get_resnet_v1b",
    "resnet18_v1b",
    "resnet34_v1b",
    "resnet50_v1b",
    "resnet101_v1b",
    "resnet152_v1b",
]


def _conv(channels: int, in_channels: int, kernel: int, stride: int = 1) -> nn.Conv2D:
    return nn.Conv2D(channels, kernel, stride, kernel // 2, use_bias=False, in_channels=in_channels)


def _norm(channels: int, init: str = "ones") -> nn.BatchNorm:
    return nn.BatchNorm(gamma_initializer=init, in_channels=channels)


class _BlockV1b(HybridBlock):
    """relu(body(x) + shortcut(x)); the shortcut is a 1×1 convolution where the shapes differ, or the identity."""

    expansion: ClassVar[int]

    def __init__(self, planes: int, strides: int, in_channels: int) -> None:
        super().__init__()
        channels = planes * self.expansion
        self.downsample: nn.HybridSequential | None = None
        if strides != 1 or in_channels != channels:
            self.downsample = nn.HybridSequential()
            self.downsample.add(_conv(channels, in_channels, 1, strides), _norm(channels))

    def _body(self, x: Any) -> Any:
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        return npx.activation(self._body(x) + shortcut, act_type="relu")


class BasicBlockV1b(_BlockV1b):
    """Two 3×3 convolutions, for ResNet of 18 and 34 layers.

    Args:
        planes: output channels.
        strides: of the first convolution.
        in_channels: input channels.
        last_gamma: training starts from zero in the last normalization's gamma.
    """

    expansion = 1

    def __init__(self, planes: int, strides: int, in_channels: int, last_gamma: bool = False) -> None:
        super().__init__(planes, strides, in_channels)
        self.conv1 = _conv(planes, in_channels, 3, strides)
        self.bn1 = _norm(planes)
        self.relu1 = nn.Activation("relu")
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = _norm(planes, "zeros" if last_gamma else "ones")

    def _body(self, x: Any) -> Any:
        return self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))


class BottleneckV1b(_BlockV1b):
    """1×1, 3×3 and 1×1 convolutions, for ResNet of 50 layers and more.

    Args:
        planes: channels inside; a quarter of the output channels.
        strides: of the 3×3 convolution.
        in_channels: input channels.
        last_gamma: training starts from zero in the last normalization's gamma.
    """

    expansion = 4

    def __init__(self, planes: int, strides: int, in_channels: int, last_gamma: bool = False) -> None:
        super().__init__(planes, strides, in_channels)
        self.conv1 = _conv(planes, in_channels, 1)
        self.bn1 = _norm(planes)
        self.relu1 = nn.Activation("relu")
        self.conv2 = _conv(planes, planes, 3, strides)
        self.bn2 = _norm(planes)
        self.relu2 = nn.Activation("relu")
        self.conv3 = _conv(4 * planes, planes, 1)
        self.bn3 = _norm(4 * planes, "zeros" if last_gamma else "ones")

    def _body(self, x: Any) -> Any:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNetV1b(HybridBlock):
    """ResNet version 1b: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        block: `BasicBlockV1b` or `BottleneckV1b`.
        layers: blocks in each of the four stages.
        classes: classes of the output.
        last_gamma: training starts from zero in the last normalization's gamma of each block.
        final_drop: share of the features that training drops in front of the classifier.

    Raises:
        ValueError: another number of stages.
    """

    def __init__(
        self,
        block: type[BasicBlockV1b] | type[BottleneckV1b],
        layers: Sequence[int],
        classes: int = 1000,
        last_gamma: bool = False,
        final_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if len(layers) != 4:
            raise ValueError(f"ResNetV1b has four stages, got layers={list(layers)}")
        self.conv1 = nn.Conv2D(64, 7, 2, 3, use_bias=False, in_channels=3)
        self.bn1 = _norm(64)
        self.relu = nn.Activation("relu")
        self.maxpool = nn.MaxPool2D(3, 2, 1)
        before = 64
        stages = []
        for i, depth in enumerate(layers):
            stage = nn.HybridSequential()
            planes = 64 << i
            for j in range(depth):
                stage.add(block(planes, 2 if i > 0 and j == 0 else 1, before, last_gamma))
                before = planes * block.expansion
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.GlobalAvgPool2D()
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(final_drop) if final_drop > 0 else None
        self.fc = nn.Dense(classes, in_units=before)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        x = self.flat(self.avgpool(x))
        return self.fc(x if self.drop is None else self.drop(x))


# number of layers -> block, blocks in each stage
_SPECIFICATIONS: dict[int, tuple[type[BasicBlockV1b] | type[BottleneckV1b], tuple[int, ...]]] = {
    18: (BasicBlockV1b, (2, 2, 2, 2)),
    34: (BasicBlockV1b, (3, 4, 6, 3)),
    50: (BottleneckV1b, (3, 4, 6, 3)),
    101: (BottleneckV1b, (3, 4, 23, 3)),
    152: (BottleneckV1b, (3, 8, 36, 3)),
}


def get_resnet_v1b(
    num_layers: int, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> ResNetV1b:
    """A ResNet version 1b by depth.

    Args:
        num_layers: 18, 34, 50, 101 or 152.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``last_gamma``, ``final_drop``.

    Raises:
        ValueError: a depth there is not; `pretrained`, and there is no file with weights.
    """
    if num_layers not in _SPECIFICATIONS:
        raise ValueError(f"ResNetV1b has {list(_SPECIFICATIONS)} layers, got {num_layers!r}")
    path = find_weights(f"resnet{num_layers}_v1b", root, kwargs) if pretrained else None
    net = ResNetV1b(*_SPECIFICATIONS[num_layers], **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def resnet18_v1b(**kwargs: Any) -> ResNetV1b:
    """ResNet-18 version 1b; the arguments are `get_resnet_v1b`'s."""
    return get_resnet_v1b(18, **kwargs)


def resnet34_v1b(**kwargs: Any) -> ResNetV1b:
    """ResNet-34 version 1b; the arguments are `get_resnet_v1b`'s."""
    return get_resnet_v1b(34, **kwargs)


def resnet50_v1b(**kwargs: Any) -> ResNetV1b:
    """ResNet-50 version 1b; the arguments are `get_resnet_v1b`'s."""
    return get_resnet_v1b(50, **kwargs)


def resnet101_v1b(**kwargs: Any) -> ResNetV1b:
    """ResNet-101 version 1b; the arguments are `get_resnet_v1b`'s."""
    return get_resnet_v1b(101, **kwargs)


def resnet152_v1b(**kwargs: Any) -> ResNetV1b:
    """ResNet-152 version 1b; the arguments are `get_resnet_v1b`'s."""
    return get_resnet_v1b(152, **kwargs)
