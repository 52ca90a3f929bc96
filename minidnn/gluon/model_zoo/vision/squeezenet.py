"""SqueezeNet, "AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", arXiv:1602.07360.

The structure, and with it every parameter's name, is MXNet 2's.
"""

from __future__ import annotations

from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = ["SqueezeNet", "get_squeezenet", "squeezenet1_0", "squeezenet1_1"]


def _conv(channels: int, kernel: int, in_channels: int) -> nn.HybridSequential:
    out = nn.HybridSequential()
    out.add(nn.Conv2D(channels, kernel, padding=kernel // 2, in_channels=in_channels), nn.Activation("relu"))
    return out


def _fire(in_channels: int, squeeze: int, expand: int) -> nn.HybridSequential:
    """`squeeze` channels of 1×1, then `expand` channels each of 1×1 and of 3×3 side by side."""
    paths = nn.HybridConcatenate(axis=1)
    paths.add(_conv(expand, 1, squeeze), _conv(expand, 3, squeeze))
    out = nn.HybridSequential()
    out.add(_conv(squeeze, 1, in_channels), paths)
    return out


# version -> channels and kernel of the stem, and the fires in front of which there is a pool
_VERSIONS = {"1.0": (96, 7, (0, 3, 7)), "1.1": (64, 3, (0, 2, 4))}
# channels that each fire squeezes to, and that each of its paths expands to
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


class SqueezeNet(HybridBlock):
    """SqueezeNet: ``(N, 3, H, W)`` to ``(N, classes)``; made for 224 pixels a side, 213 are the least.

    Args:
        version: "1.0" or "1.1"; 1.1 takes 2.4 times less computation.
        classes: classes of the output.

    Raises:
        ValueError: another version.
    """

    def __init__(self, version: str, classes: int = 1000) -> None:
        super().__init__()
        if version not in _VERSIONS:
            raise ValueError(f"SqueezeNet has versions {list(_VERSIONS)}, got {version!r}")
        before, kernel, pools = _VERSIONS[version]
        self.features = nn.HybridSequential()
        self.features.add(nn.Conv2D(before, kernel, 2, in_channels=3), nn.Activation("relu"))
        for i, (squeeze, expand) in enumerate(_FIRES):
            if i in pools:
                self.features.add(nn.MaxPool2D(3, 2, ceil_mode=True))
            self.features.add(_fire(before, squeeze, expand))
            before = 2 * expand
        self.features.add(nn.Dropout(0.5))
        self.output = nn.HybridSequential()
        self.output.add(
            nn.Conv2D(classes, 1, in_channels=before), nn.Activation("relu"), nn.AvgPool2D(13), nn.Flatten()
        )

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def get_squeezenet(
    version: str, pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any
) -> SqueezeNet:
    """A SqueezeNet by version.

    Args:
        version: "1.0" or "1.1".
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``.

    Raises:
        ValueError: another version; `pretrained`, and there is no file with weights.
    """
    path = find_weights(f"squeezenet{version}", root, kwargs) if pretrained else None
    net = SqueezeNet(version, **kwargs)
    if path is not None:
        load_weights(net, path)
    return net


def squeezenet1_0(**kwargs: Any) -> SqueezeNet:
    """SqueezeNet 1.0; the arguments are `get_squeezenet`'s."""
    return get_squeezenet("1.0", **kwargs)


def squeezenet1_1(**kwargs: Any) -> SqueezeNet:
    """SqueezeNet 1.1; the arguments are `get_squeezenet`'s."""
    return get_squeezenet("1.1", **kwargs)
