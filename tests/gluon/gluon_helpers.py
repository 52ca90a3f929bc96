"""What the tests of Gluon share: filled networks, and comparison with torch on the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import minidnn as mx
from minidnn import gluon
from minidnn.gluon import nn

RNG = np.random.default_rng(20240521)


def draw(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def fill(block: gluon.Block) -> None:
    """Random values for every parameter of known shape; variances are positive."""
    for name, parameter in block.collect_params().items():
        assert parameter.shape is not None
        values = draw(*parameter.shape)
        parameter.initialize(force_reinit=True)
        parameter.set_data(np.abs(values) + 0.5 if name.endswith("running_var") else values)


def copy_to_torch(block: gluon.Block, module: torch.nn.Module) -> None:
    """The parameters of a layer, in the order in which both have them (counters excepted)."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    names = [name for name in tensors if not name.endswith("num_batches_tracked")]
    ours = [*block.collect_params().values()]
    assert len(names) == len(ours)
    for name, parameter in zip(names, ours, strict=True):
        tensors[name].data.copy_(torch.from_numpy(parameter.data().asnumpy()))


def close(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    """Equal shapes, and values equal within a share of the largest magnitude."""
    expected = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    got = np.asarray(ours)
    assert got.shape == expected.shape
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


class Residual(gluon.HybridBlock):
    """The residual block of the article, small."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels, 3, padding=1, use_bias=False, in_channels=channels)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels, 3, padding=1, use_bias=False, in_channels=channels)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        out = self.bn2(self.conv2(out))
        return mx.npx.activation(out + x, "relu")


def residual(channels: int = 4) -> Residual:
    """A `Residual` with random parameters and statistics."""
    net = Residual(channels)
    net.initialize()
    net(mx.np.zeros((1, channels, 5, 5)))
    fill(net)
    return net
