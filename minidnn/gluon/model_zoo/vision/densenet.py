"""DenseNet, "Densely Connected Convolutional Networks", arXiv:1608.06993.

The structure, and with it every parameter's name, is MXNet 2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = ["DenseNet", "densenet121", "densenet161", "densenet169", "densenet201", "get_densenet"]


def _add_norm(out: nn.HybridSequential, channels: int) -> None:
    out.add(nn.BatchNorm(in_channels=channels), nn.Activation("relu"))


def _dense_layer(in_channels: int, growth_rate: int, bn_size: int, dropout: float) -> nn.HybridConcatenate:
    """The input, and `growth_rate` new channels behind it."""
    inner = bn_size * growth_rate
    new = nn.HybridSequential()
    _add_norm(new, in_channels)
    new.add(nn.Conv2D(inner, 1, use_bias=False, in_channels=in_channels))
    _add_norm(new, inner)
    new.add(nn.Conv2D(growth_rate, 3, padding=1, use_bias=False, in_channels=inner))
    if dropout:
        new.add(nn.Dropout(dropout))
    out = nn.HybridConcatenate(axis=1)
    out.add(nn.Identity(), new)
    return out


def _transition(in_channels: int, channels: int) -> nn.HybridSequential:
    out = nn.HybridSequential()
    _add_norm(out, in_channels)
    out.add(nn.Conv2D(channels, 1, use_bias=False, in_channels=in_channels), nn.AvgPool2D(2, 2))
    return out


class DenseNet(HybridBlock):
    """DenseNet: ``(N, 3, H, W)`` to ``(N, classes)``; made for 224 pixels a side, which are the least, too.

    Args:
        num_init_features: channels of the stem.
        growth_rate: channels that each layer adds.
        block_config: layers in each block.
        bn_size: a layer has `bn_size` · `growth_rate` channels inside.
        dropout: share of each layer's new features that training drops.
        classes: classes of the output.
    """

    def __init__(
        self,
        num_init_features: int,
        growth_rate: int,
        block_config: Sequence[int],
        bn_size: int = 4,
        dropout: float = 0,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(nn.Conv2D(num_init_features, 7, 2, 3, use_bias=False, in_channels=3))
        _add_norm(self.features, num_init_features)
        self.features.add(nn.MaxPool2D(3, 2, 1))
        channels = num_init_features
        for i, depth in enumerate(block_config):
            if i > 0:
                self.features.add(_transition(channels, channels // 2))
                channels //= 2
            block = nn.HybridSequential()
            for _ in range(depth):
                block.add(_dense_layer(channels, growth_rate, bn_size, dropout))
                channels += growth_rate
            self.features.add(block)
        _add_norm(self.features, channels)
        self.features.add(nn.AvgPool2D(7), nn.Flatten())
        self.output = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


# number of layers -> channels of the stem, growth rate, layers in each block
_SPECIFICATIONS = {
    121: (64, 32, (6, 12, 24, 16)),
    161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)),
    201: (64, 32, (6, 12, 48, 32)),
}


def get_densenet(
    num_layers: int, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> DenseNet:
    """A DenseNet by depth.

    Args:
        num_layers: 121, 161, 169 or 201.
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``, ``bn_size``, ``dropout``.

    Raises:
        ValueError: a depth there is not; `pretrained`, and there is no file with weights.
    """
    if num_layers not in _SPECIFICATIONS:
        raise ValueError(f"DenseNet has {list(_SPECIFICATIONS)} layers, got {num_layers!r}")
    path = find_weights(f"densenet{num_layers}", root, kwargs) if pretrained else None
    net = DenseNet(*_SPECIFICATIONS[num_layers], **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def densenet121(**kwargs: Any) -> DenseNet:
    """DenseNet of 121 layers; the arguments are `get_densenet`'s."""
    return get_densenet(121, **kwargs)


def densenet161(**kwargs: Any) -> DenseNet:
    """DenseNet of 161 layers; the arguments are `get_densenet`'s."""
    return get_densenet(161, **kwargs)


def densenet169(**kwargs: Any) -> DenseNet:
    """DenseNet of 169 layers; the arguments are `get_densenet`'s."""
    return get_densenet(169, **kwargs)


def densenet201(**kwargs: Any) -> DenseNet:
    """DenseNet of 201 layers; the arguments are `get_densenet`'s."""
    return get_densenet(201, **kwargs)
