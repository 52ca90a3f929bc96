"""MobileNet and MobileNetV2.

"MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", arXiv:1704.04861;
"Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381. The structure, and with it every parameter's
name, is MXNet 2's: the first bottleneck of MobileNetV2 has an expansion of ratio 1 too, and the classifier is
a 1×1 convolution without bias. ``torchvision=True`` makes a MobileNetV2 of torchvision's structure instead.
"""

from __future__ import annotations

from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision._layers import RELU6, round_channels
from minidnn.gluon.model_zoo.vision.pretrained import find_weights, is_mxnets
from minidnn.interop.weights import load_weights

__all__ = [
    "LinearBottleneck",
    "MobileNet",
    "MobileNetV2",
    "get_mobilenet",
    "get_mobilenet_v2",
    "mobilenet0_5",
    "mobilenet0_25",
    "mobilenet0_75",
    "mobilenet1_0",
    "mobilenet_v2_0_5",
    "mobilenet_v2_0_25",
    "mobilenet_v2_0_75",
    "mobilenet_v2_1_0",
]


def _add_conv(
    out: nn.HybridSequential,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: HybridBlock | None = None,
) -> None:
    """A convolution with as much padding as keeps the size at stride 1, its normalization and its activation."""
    out.add(nn.Conv2D(channels, kernel, stride, kernel // 2, groups=groups, use_bias=False), nn.BatchNorm())
    if activation is not None:
        out.add(activation)


class MobileNet(HybridBlock):
    """MobileNet version 1: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        multiplier: of the number of channels in every layer; at least 0.25.
        classes: classes of the output.
    """

    def __init__(self, multiplier: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        widths = [int(n * multiplier) for n in (32, 64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)]
        strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
        self.features = nn.HybridSequential()
        _add_conv(self.features, widths[0], 3, 2, activation=nn.Activation("relu"))
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            _add_conv(self.features, before, 3, stride, groups=before, activation=nn.Activation("relu"))
            _add_conv(self.features, after, activation=nn.Activation("relu"))
        self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
        self.output = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


class LinearBottleneck(HybridBlock):
    """1×1 expansion, 3×3 depthwise, 1×1 projection without activation; the input is added where the shapes allow it.

    Args:
        in_channels: input channels.
        channels: output channels.
        t: ratio of the expansion.
        stride: of the depthwise convolution.
        expand: whether there is an expansion; without it, `t` must be 1.
    """

    def __init__(self, in_channels: int, channels: int, t: int, stride: int, expand: bool = True) -> None:
        super().__init__()
        self.use_shortcut = stride == 1 and in_channels == channels
        self.out = nn.HybridSequential()
        if expand:
            _add_conv(self.out, in_channels * t, activation=RELU6())
        _add_conv(self.out, in_channels * t, 3, stride, groups=in_channels * t, activation=RELU6())
        _add_conv(self.out, channels)

    def forward(self, x: Any) -> Any:
        out = self.out(x)
        return out + x if self.use_shortcut else out


class MobileNetV2(HybridBlock):
    """MobileNet version 2: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        multiplier: of the number of channels in every layer; that of the last layer is never below 1280.
        classes: classes of the output.
        torchvision: torchvision's structure, into which its weights and timm's fit: no expansion in the first
            bottleneck, a bias in the classifier, numbers of channels rounded to multiples of 8.
    """

    def __init__(self, multiplier: float = 1.0, classes: int = 1000, torchvision: bool = False) -> None:
        super().__init__()
        self.torchvision = torchvision
        outputs = (32, 16, *(24,) * 2, *(32,) * 3, *(64,) * 4, *(96,) * 3, *(160,) * 3, 320)
        widths = [round_channels(n, multiplier) if torchvision else int(n * multiplier) for n in outputs]
        ratios = (1, *(6,) * 16)
        strides = (1, 2, 1, 2, 1, 1, 2, *(1,) * 6, 2, 1, 1, 1)
        self.features = nn.HybridSequential()
        _add_conv(self.features, widths[0], 3, 2, activation=RELU6())
        for before, after, t, stride in zip(widths[:-1], widths[1:], ratios, strides, strict=True):
            self.features.add(LinearBottleneck(before, after, t, stride, expand=t > 1 or not torchvision))
        last = round_channels(1280, max(multiplier, 1)) if torchvision else max(1280, int(1280 * multiplier))
        _add_conv(self.features, last, activation=RELU6())
        self.features.add(nn.GlobalAvgPool2D())
        self.output = nn.HybridSequential()
        self.output.add(nn.Conv2D(classes, 1, use_bias=torchvision), nn.Flatten())

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def get_mobilenet(
    multiplier: float, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> MobileNet:
    """A MobileNet version 1 by width.

    Args:
        multiplier: of the number of channels.
        pretrained: fill it with ImageNet weights from MXNet's file; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``.

    Raises:
        ValueError: `pretrained`, and there is no file with weights; the message says which goes where.
    """
    path = find_weights(f"mobilenet{float(multiplier)}", root, kwargs) if pretrained else None
    net = MobileNet(multiplier, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def get_mobilenet_v2(
    multiplier: float, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> MobileNetV2:
    """A MobileNet version 2 by width.

    Args:
        multiplier: of the number of channels.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from. Those of the hub, at a width of 1,
            are PyTorch's, and with them the network has torchvision's structure.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``torchvision``.

    Raises:
        ValueError: `pretrained`, and there is no file with weights; the message says which goes where.
    """
    if not pretrained:
        return MobileNetV2(multiplier, **kwargs)
    path = find_weights(f"mobilenetv2_{float(multiplier)}", root, kwargs)
    net = MobileNetV2(multiplier, **(kwargs if is_mxnets(path) else {**kwargs, "torchvision": True}))
    load_weights(net, path)
    return net


def mobilenet1_0(**kwargs: Any) -> MobileNet:
    """MobileNet version 1 of width 1.0; the arguments are `get_mobilenet`'s."""
    return get_mobilenet(1.0, **kwargs)


def mobilenet0_75(**kwargs: Any) -> MobileNet:
    """MobileNet version 1 of width 0.75; the arguments are `get_mobilenet`'s."""
    return get_mobilenet(0.75, **kwargs)


def mobilenet0_5(**kwargs: Any) -> MobileNet:
    """MobileNet version 1 of width 0.5; the arguments are `get_mobilenet`'s."""
    return get_mobilenet(0.5, **kwargs)


def mobilenet0_25(**kwargs: Any) -> MobileNet:
    """MobileNet version 1 of width 0.25; the arguments are `get_mobilenet`'s."""
    return get_mobilenet(0.25, **kwargs)


def mobilenet_v2_1_0(**kwargs: Any) -> MobileNetV2:
    """MobileNet version 2 of width 1.0; the arguments are `get_mobilenet_v2`'s."""
    return get_mobilenet_v2(1.0, **kwargs)


def mobilenet_v2_0_75(**kwargs: Any) -> MobileNetV2:
    """MobileNet version 2 of width 0.75; the arguments are `get_mobilenet_v2`'s."""
    return get_mobilenet_v2(0.75, **kwargs)


def mobilenet_v2_0_5(**kwargs: Any) -> MobileNetV2:
    """MobileNet version 2 of width 0.5; the arguments are `get_mobilenet_v2`'s."""
    return get_mobilenet_v2(0.5, **kwargs)


def mobilenet_v2_0_25(**kwargs: Any) -> MobileNetV2:
    """MobileNet version 2 of width 0.25; the arguments are `get_mobilenet_v2`'s."""
    return get_mobilenet_v2(0.25, **kwargs)
