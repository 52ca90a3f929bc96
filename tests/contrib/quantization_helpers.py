"""Small networks with random weights, and how well two results agree."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidnn as mx
from minidnn import gluon
from minidnn.gluon import nn

Array = np.ndarray[Any, Any]


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def fill(net: gluon.HybridBlock, *shapes: tuple[int, ...], seed: int = 0) -> Any:
    """The network with weights of He's scale and batch norm statistics that are not trivial."""
    rng = np.random.default_rng(seed)
    net.initialize()
    net(*(mx.np.zeros(shape) for shape in shapes))
    for name, parameter in net.collect_params().items():
        shape = parameter.shape
        fan_in = max(int(np.prod(shape[1:])), 1)
        values = rng.standard_normal(shape)
        if name.endswith("weight"):
            values = values * np.sqrt(2 / fan_in)
        elif name.endswith(("running_var", "gamma")):
            values = 0.5 + rng.random(shape)
        else:
            values = 0.2 * values
        parameter.set_data(mx.np.array(values.astype(np.float32)))
    return net


class Residual(gluon.HybridBlock):
    """The residual block of the article."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, 3, padding=1, use_bias=False, in_channels=channels)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels, 3, padding=1, use_bias=False, in_channels=channels)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        out = self.bn2(self.conv2(out))
        return mx.npx.activation(out + x, "relu")


def residual(channels: int = 8, size: int = 6) -> Any:
    return fill(Residual(channels), (1, channels, size, size))


def small_net() -> Any:
    """Stem, pooling, two residual blocks, global pooling, dense: a ResNet in little. Takes (N, 3, 16, 16)."""
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 3, strides=1, padding=1, use_bias=False, in_channels=3),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.MaxPool2D(2),
        Residual(),
        Residual(),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
        nn.Dense(10),
    )
    return fill(net, (1, 3, 16, 16))


class TwoInputs(gluon.HybridBlock):
    """relu(dense(x) + conv(y)): two inputs of different ranks, and an optional third."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(6, in_units=5)
        self.conv = nn.Conv1D(6, 3, in_channels=4)

    def forward(self, x: Any, y: Any, scale: Any = None) -> Any:
        out = mx.npx.relu(mx.np.expand_dims(self.dense(x), 2) + self.conv(y))
        return out if scale is None else out * scale


def sqnr(wanted: Any, got: Any) -> float:
    """Signal to quantization noise, in dB."""
    wanted, got = (np.asarray(a, np.float64) for a in (wanted, got))
    assert wanted.shape == got.shape
    noise = np.square(wanted - got).sum()
    return float("inf") if noise == 0 else float(10 * np.log10(np.square(wanted).sum() / noise))


def op_names(block: Any) -> list[str]:
    """Operations of the graph of a block that has run or is a SymbolBlock."""
    return [node.name for node in block.export(None)[0].operations()]
