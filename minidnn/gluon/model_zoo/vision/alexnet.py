"""AlexNet, in the one-tower form of "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997.

The structure, and with it every parameter's name, is MXNet 2's.
"""

from __future__ import annotations

from typing import Any

from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock
from minidnn.gluon.model_zoo.vision.pretrained import find_weights
from minidnn.interop.weights import load_weights

__all__ = ["AlexNet", "alexnet"]


class AlexNet(HybridBlock):
    """AlexNet: ``(N, 3, H, W)`` to ``(N, classes)``; made for 224 pixels a side, 63 are the least.

    Args:
        classes: classes of the output.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(
            nn.Conv2D(64, 11, 4, 2, activation="relu", in_channels=3),
            nn.MaxPool2D(3, 2),
            nn.Conv2D(192, 5, padding=2, activation="relu", in_channels=64),
            nn.MaxPool2D(3, 2),
            nn.Conv2D(384, 3, padding=1, activation="relu", in_channels=192),
            nn.Conv2D(256, 3, padding=1, activation="relu", in_channels=384),
            nn.Conv2D(256, 3, padding=1, activation="relu", in_channels=256),
            nn.MaxPool2D(3, 2),
            nn.Flatten(),
            nn.Dense(4096, activation="relu"),
            nn.Dropout(0.5),
            nn.Dense(4096, activation="relu", in_units=4096),
            nn.Dropout(0.5),
        )
        self.output = nn.Dense(classes, in_units=4096)

    def forward(self, x: Any) -> Any:
        return self.output(self.features(x))


def alexnet(pretrained: bool = False, device: Any = None, root: Any = None, ctx: Any = None, **kwargs: Any) -> AlexNet:
    """AlexNet.

    Args:
        pretrained: fill it with ImageNet weights; see `find_weights` for where from.
        device, ctx: MXNet's arguments of `pretrained`; unused.
        root: folder of files with weights.
        kwargs: ``classes``.

    Raises:
        ValueError: `pretrained`, and there is no file with weights; the message says which goes where.
    """
    path = find_weights("alexnet", root, kwargs) if pretrained else None
    net = AlexNet(**kwargs)
    if path is not None:
        load_weights(net, path)
    return net
