"""MobileNetV3, "Searching for MobileNetV3", arXiv:1905.02244.

MXNet 2 itself has none. Blocks and parameters have the names of GluonCV, its companion; widths, biases and batch
normalization's epsilon are those of the paper and of torchvision, so that torchvision's weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from minidnn import npx
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision._layers import round_channels
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = ["MobileNetV3", "get_mobilenet_v3", "mobilenet_v3_large", "mobilenet_v3_small"]

_EPSILON = 1e-3


class _HardSwish(HybridBlock):
    """x · min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: Any) -> Any:
        return npx.hard_swish(x)


class _SqueezeExcite(HybridBlock):
    """Scales each channel by what two 1×1 convolutions make of all channels' averages."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = round_channels(channels // 4)
        self.pool = nn.GlobalAvgPool2D()
        self.conv1 = nn.Conv2D(inner, 1, in_channels=channels, activation="relu")
        self.conv2 = nn.Conv2D(channels, 1, in_channels=inner)

    def forward(self, x: Any) -> Any:
        scale = self.conv2(self.conv1(self.pool(x)))
        return x * npx.hard_sigmoid(scale, alpha=1 / 6, beta=0.5)


def _activation(name: str) -> HybridBlock:
    return _HardSwish() if name == "hard_swish" else nn.Activation(name)


class _Unit(HybridBlock):
    """Convolution, batch normalization and, if there is one, an activation."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            channels, kernel, stride, kernel // 2, groups=groups, use_bias=False, in_channels=in_channels
        )
        self.bn = nn.BatchNorm(epsilon=_EPSILON, in_channels=channels)
        self.act = None if activation is None else _activation(activation)

    def forward(self, x: Any) -> Any:
        x = self.bn(self.conv(x))
        return x if self.act is None else self.act(x)


class _Bottleneck(NamedTuple):
    """A line of the paper's tables 1 and 2."""

    kernel: int
    inner: int
    channels: int
    squeeze: bool
    activation: str
    stride: int


class _ResUnit(HybridBlock):
    """1×1 expansion, depthwise convolution, squeeze-and-excitation, 1×1 projection; plus the input if shapes allow."""

    def __init__(self, in_channels: int, spec: _Bottleneck) -> None:
        super().__init__()
        inner, act = spec.inner, spec.activation
        self.use_shortcut = spec.stride == 1 and in_channels == spec.channels
        self.expand = _Unit(in_channels, inner, activation=act) if inner != in_channels else None
        self.conv1 = _Unit(inner, inner, spec.kernel, spec.stride, groups=inner, activation=act)
        self.se = _SqueezeExcite(inner) if spec.squeeze else None
        self.conv2 = _Unit(inner, spec.channels)

    def forward(self, x: Any) -> Any:
        out = x if self.expand is None else self.expand(x)
        out = self.conv1(out)
        if self.se is not None:
            out = self.se(out)
        out = self.conv2(out)
        return out + x if self.use_shortcut else out


_RELU, _SWISH = "relu", "hard_swish"
_LARGE = (
    _Bottleneck(3, 16, 16, False, _RELU, 1),
    _Bottleneck(3, 64, 24, False, _RELU, 2),
    _Bottleneck(3, 72, 24, False, _RELU, 1),
    _Bottleneck(5, 72, 40, True, _RELU, 2),
    _Bottleneck(5, 120, 40, True, _RELU, 1),
    _Bottleneck(5, 120, 40, True, _RELU, 1),
    _Bottleneck(3, 240, 80, False, _SWISH, 2),
    _Bottleneck(3, 200, 80, False, _SWISH, 1),
    _Bottleneck(3, 184, 80, False, _SWISH, 1),
    _Bottleneck(3, 184, 80, False, _SWISH, 1),
    _Bottleneck(3, 480, 112, True, _SWISH, 1),
    _Bottleneck(3, 672, 112, True, _SWISH, 1),
    _Bottleneck(5, 672, 160, True, _SWISH, 2),
    _Bottleneck(5, 960, 160, True, _SWISH, 1),
    _Bottleneck(5, 960, 160, True, _SWISH, 1),
)
_SMALL = (
    _Bottleneck(3, 16, 16, True, _RELU, 2),
    _Bottleneck(3, 72, 24, False, _RELU, 2),
    _Bottleneck(3, 88, 24, False, _RELU, 1),
    _Bottleneck(5, 96, 40, True, _SWISH, 2),
    _Bottleneck(5, 240, 40, True, _SWISH, 1),
    _Bottleneck(5, 240, 40, True, _SWISH, 1),
    _Bottleneck(5, 120, 48, True, _SWISH, 1),
    _Bottleneck(5, 144, 48, True, _SWISH, 1),
    _Bottleneck(5, 288, 96, True, _SWISH, 2),
    _Bottleneck(5, 576, 96, True, _SWISH, 1),
    _Bottleneck(5, 576, 96, True, _SWISH, 1),
)
# model -> bottlenecks, channels in front of the classifier
_MODELS = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}


class MobileNetV3(HybridBlock):
    """MobileNet version 3: ``(N, 3, H, W)`` to ``(N, classes)``.

    Args:
        bottlenecks: kernel size, channels inside, channels, whether there is squeeze-and-excitation, activation
            (``relu`` or ``hard_swish``) and stride of each.
        last_channels: channels in front of the classifier.
        multiplier: of the number of channels in every layer but the last.
        classes: classes of the output.
    """

    def __init__(
        self,
        bottlenecks: Sequence[tuple[int, int, int, bool, str, int]],
        last_channels: int,
        multiplier: float = 1.0,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        before = round_channels(16, multiplier)
        self.features = nn.HybridSequential()
        self.features.add(
            nn.Conv2D(before, 3, 2, 1, use_bias=False, in_channels=3),
            nn.BatchNorm(epsilon=_EPSILON, in_channels=before),
            _HardSwish(),
        )
        for line in bottlenecks:
            spec = _Bottleneck(*line)
            inner, after = round_channels(spec.inner, multiplier), round_channels(spec.channels, multiplier)
            self.features.add(_ResUnit(before, spec._replace(inner=inner, channels=after)))
            before = after
        self.features.add(
            nn.Conv2D(6 * before, 1, use_bias=False, in_channels=before),
            nn.BatchNorm(epsilon=_EPSILON, in_channels=6 * before),
            _HardSwish(),
            nn.GlobalAvgPool2D(),
            nn.Conv2D(last_channels, 1, in_channels=6 * before),
            _HardSwish(),
            nn.Dropout(0.2),
        )
        self.output = nn.HybridSequential()
        self.output.add(nn.Conv2D(classes, 1, in_channels=last_channels), nn.Flatten())

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def get_mobilenet_v3(
    model_name: str,
    multiplier: float = 1.0,
    pretrained: bool = False,
    device: Any = None,
    root: Any = None,
    ctx: Any = None,
    **kwargs: Any,
) -> MobileNetV3:
    """A MobileNet version 3 by size.

    Args:
        model_name: ``large`` or ``small``.
        multiplier: of the number of channels.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``.

    Raises:
        ValueError: another size; `pretrained` at another width than 1; `pretrained`, and there is no file with weights.
    """
    if model_name not in _MODELS:
        raise ValueError(f"MobileNetV3 has sizes {list(_MODELS)}, got {model_name!r}")
    if pretrained and multiplier != 1:
        raise ValueError(f"the pretrained weights are for a multiplier of 1, got multiplier={multiplier}")
    path = find_weights(f"mobilenetv3_{model_name}", root, kwargs) if pretrained else None
    net = MobileNetV3(*_MODELS[model_name], multiplier, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def mobilenet_v3_large(**kwargs: Any) -> MobileNetV3:
    """MobileNet version 3, the large one; the arguments are `get_mobilenet_v3`'s."""
    return get_mobilenet_v3("large", **kwargs)


def mobilenet_v3_small(**kwargs: Any) -> MobileNetV3:
    """MobileNet version 3, the small one; the arguments are `get_mobilenet_v3`'s."""
    return get_mobilenet_v3("small", **kwargs)
