"""VGG, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556.

The structure, and with it every parameter's name, is MXNet 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.initializer import Xavier
from minidnn.interop.weights import load_weights

__all__ = [
    "VGG",
    "get_vgg",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]


def _dense(units: int, activation: str | None = None, in_units: int = 0) -> nn.Dense:
    return nn.Dense(units, activation, weight_initializer="normal", bias_initializer="zeros", in_units=in_units)


class VGG(HybridBlock):
    """VGG: ``(N, 3, H, W)`` to ``(N, classes)``; made for 224 pixels a side, 32 are the least.

    Args:
        layers: convolutions in each stage.
        filters: channels of each stage; as many as `layers`.
        classes: classes of the output.
        batch_norm: normalize behind each convolution.

    Raises:
        ValueError: `layers` and `filters` differ in length.
    """

    def __init__(
        self, layers: Sequence[int], filters: Sequence[int], classes: int = 1000, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if len(layers) != len(filters):
            raise ValueError(f"layers {list(layers)} want {len(layers)} numbers of filters, got {list(filters)}")
        self.features = nn.HybridSequential()
        before = 3
        for depth, channels in zip(layers, filters, strict=True):
            for _ in range(depth):
                init = Xavier(rnd_type="gaussian", factor_type="out", magnitude=2)
                self.features.add(nn.Conv2D(channels, 3, padding=1, weight_initializer=init, in_channels=before))
                if batch_norm:
                    self.features.add(nn.BatchNorm(in_channels=channels))
                self.features.add(nn.Activation("relu"))
                before = channels
            self.features.add(nn.MaxPool2D(strides=2))
        self.features.add(_dense(4096, "relu"), nn.Dropout(0.5), _dense(4096, "relu", 4096), nn.Dropout(0.5))
        self.output = _dense(classes, in_units=4096)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


_FILTERS = (64, 128, 256, 512, 512)
# number of layers -> convolutions in each stage
_LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def get_vgg(
    num_layers: int, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> VGG:
    """A VGG by depth.

    Args:
        num_layers: 11, 13, 16 or 19.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``batch_norm``.

    Raises:
        ValueError: a depth there is not; `pretrained`, and there is no file with weights.
    """
    if num_layers not in _LAYERS:
        raise ValueError(f"VGG has {list(_LAYERS)} layers, got {num_layers!r}")
    name = f"vgg{num_layers}{'_bn' if kwargs.get('batch_norm') else ''}"
    path = find_weights(name, root, kwargs) if pretrained else None
    net = VGG(_LAYERS[num_layers], _FILTERS, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def vgg11(**kwargs: Any) -> VGG:
    """VGG of 11 layers; the arguments are `get_vgg`'s."""
    return get_vgg(11, **kwargs)


def vgg13(**kwargs: Any) -> VGG:
    """VGG of 13 layers; the arguments are `get_vgg`'s."""
    return get_vgg(13, **kwargs)


def vgg16(**kwargs: Any) -> VGG:
    """VGG of 16 layers; the arguments are `get_vgg`'s."""
    return get_vgg(16, **kwargs)


def vgg19(**kwargs: Any) -> VGG:
    """VGG of 19 layers; the arguments are `get_vgg`'s."""
    return get_vgg(19, **kwargs)


def vgg11_bn(**kwargs: Any) -> VGG:
    """VGG of 11 layers with batch normalization; the arguments are `get_vgg`'s."""
    return get_vgg(11, **kwargs, batch_norm=True)


def vgg13_bn(**kwargs: Any) -> VGG:
    """VGG of 13 layers with batch normalization; the arguments are `get_vgg`'s."""
    return get_vgg(13, **kwargs, batch_norm=True)


def vgg16_bn(**kwargs: Any) -> VGG:
    """VGG of 16 layers with batch normalization; the arguments are `get_vgg`'s."""
    return get_vgg(16, **kwargs, batch_norm=True)


def vgg19_bn(**kwargs: Any) -> VGG:
    """VGG of 19 layers with batch normalization; the arguments are `get_vgg`'s."""
    return get_vgg(19, **kwargs, batch_norm=True)
