"""Inception v3, "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567.

The structure, and with it every parameter's name, is MXNet 2's; the auxiliary classifier, which only training uses, is
left out, as it is there.
"""

from __future__ import annotations

from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = ["Inception3", "inception_v3"]

_Size = int | tuple[int, int]


def _conv(channels: int, kernel: _Size, stride: int = 1, padding: _Size = 0) -> nn.HybridSequential:
    out = nn.HybridSequential()
    out.add(
        nn.Conv2D(channels, kernel, stride, padding, use_bias=False),
        nn.BatchNorm(epsilon=1e-3, in_channels=channels),
        nn.Activation("relu"),
    )
    return out


def _branch(*blocks: HybridBlock) -> nn.HybridSequential:
    out = nn.HybridSequential()
    out.add(*blocks)
    return out


def _join(*branches: HybridBlock) -> nn.HybridConcatenate:
    out = nn.HybridConcatenate(axis=1)
    out.add(*branches)
    return out


def _across(channels: int, length: int) -> nn.HybridSequential:
    """A 1×length convolution that keeps the size."""
    return _conv(channels, (1, length), padding=(0, length // 2))


def _down(channels: int, length: int) -> nn.HybridSequential:
    """A length×1 convolution that keeps the size."""
    return _conv(channels, (length, 1), padding=(length // 2, 0))


def _pooled(channels: int) -> nn.HybridSequential:
    return _branch(nn.AvgPool2D(3, 1, 1), _conv(channels, 1))


def _block_a(pool_channels: int) -> nn.HybridConcatenate:
    return _join(
        _branch(_conv(64, 1)),
        _branch(_conv(48, 1), _conv(64, 5, padding=2)),
        _branch(_conv(64, 1), _conv(96, 3, padding=1), _conv(96, 3, padding=1)),
        _pooled(pool_channels),
    )


def _block_b() -> nn.HybridConcatenate:
    """Halves height and width."""
    return _join(
        _branch(_conv(384, 3, 2)),
        _branch(_conv(64, 1), _conv(96, 3, padding=1), _conv(96, 3, 2)),
        _branch(nn.MaxPool2D(3, 2)),
    )


def _block_c(inner: int) -> nn.HybridConcatenate:
    return _join(
        _branch(_conv(192, 1)),
        _branch(_conv(inner, 1), _across(inner, 7), _down(192, 7)),
        _branch(_conv(inner, 1), _down(inner, 7), _across(inner, 7), _down(inner, 7), _across(192, 7)),
        _pooled(192),
    )


def _block_d() -> nn.HybridConcatenate:
    """Halves height and width."""
    return _join(
        _branch(_conv(192, 1), _conv(320, 3, 2)),
        _branch(_conv(192, 1), _across(192, 7), _down(192, 7), _conv(192, 3, 2)),
        _branch(nn.MaxPool2D(3, 2)),
    )


def _block_e() -> nn.HybridConcatenate:
    def split() -> nn.HybridConcatenate:
        return _join(_branch(_across(384, 3)), _branch(_down(384, 3)))

    return _join(
        _branch(_conv(320, 1)),
        _branch(_branch(_conv(384, 1)), split()),
        _branch(_branch(_conv(448, 1), _conv(384, 3, padding=1)), split()),
        _pooled(192),
    )


class Inception3(HybridBlock):
    """Inception v3: ``(N, 3, H, W)`` to ``(N, classes)``; made for 299 pixels a side, which are the least, too.

    Args:
        classes: classes of the output.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(
            _conv(32, 3, 2),
            _conv(32, 3),
            _conv(64, 3, padding=1),
            nn.MaxPool2D(3, 2),
            _conv(80, 1),
            _conv(192, 3),
            nn.MaxPool2D(3, 2),
            *(_block_a(n) for n in (32, 64, 64)),
            _block_b(),
            *(_block_c(n) for n in (128, 160, 160, 192)),
            _block_d(),
            _block_e(),
            _block_e(),
            nn.AvgPool2D(8),
            nn.Dropout(0.5),
        )
        self.output = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def inception_v3(
    pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> Inception3:
    """Inception v3.

    Args:
        pretrained: fill it with ImageNet weights; see `find_weights` for where from. Those of the hub want pixels
            scaled to -1..1, that is a mean and a deviation of 0.5 each.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``.

    Raises:
        ValueError: `pretrained`, and there is no file with weights; the message says which goes where.
    """
    path = find_weights("inceptionv3", root, kwargs) if pretrained else None
    net = Inception3(**kwargs)
    if path is not None:
        load_weights(net, path)
    return net
