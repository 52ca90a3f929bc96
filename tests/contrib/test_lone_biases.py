"""A channel whose weights are zero or nearly so gives its bias, in every kind of layer, as in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantization_helpers import fill

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "dense": (lambda: nn.Dense(4, in_units=6), (3, 6)),
    "dense of rows": (lambda: nn.Dense(4, in_units=6, flatten=False), (2, 3, 6)),
    "1-d": (lambda: nn.Conv1D(4, 3, in_channels=2), (2, 2, 9)),
    "2-d": (lambda: nn.Conv2D(4, 3, in_channels=2), (2, 2, 8, 8)),
    "2-d of many channels": (lambda: nn.Conv2D(4, 3, padding=1, in_channels=32), (1, 32, 12, 12)),
    "3-d": (lambda: nn.Conv3D(4, 2, in_channels=2), (1, 2, 4, 4, 4)),
    "grouped": (lambda: nn.Conv2D(4, 3, groups=2, in_channels=4), (2, 4, 8, 8)),
    "depthwise": (lambda: nn.Conv2D(4, 3, groups=4, in_channels=4), (2, 4, 8, 8)),
}
TAILS: dict[str, Any] = {
    "float32": list,
    "relu": lambda: [nn.Activation("relu")],
    "uint8": lambda: [nn.Activation("relu"), nn.Dense(3)],
    "int8": lambda: [nn.Dense(3)],
}


def _with_pruned_channels(layer: Any, small: float) -> None:
    weight = layer.weight.data().asnumpy().copy()
    weight[1:3] = np.sign(weight[1:3]) * small
    layer.weight.set_data(mx.np.array(weight))
    layer.bias.set_data(mx.np.array(np.float32([0.1, 0.8, -0.4, 0.2])))


@pytest.mark.parametrize("small", [0.0, 1e-39, 1e-30, 1e-12])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("granularity", ["tensor-wise", "channel-wise"])
def test_the_channel_gives_its_bias(layer: str, small: float, granularity: str) -> None:
    make, shape = LAYERS[layer]
    net = fill(make(), shape)
    _with_pruned_channels(net, small)
    axis = -1 if layer.startswith("dense") else 1
    for low, mode in ((0.0, "naive"), (-255.0, "naive"), (0.0, "none")):
        x = mx.np.array(np.random.default_rng(0).uniform(low, 255, shape).astype(np.float32))
        q = quantize_net(net, calib_mode=mode, calib_data=[x], quantize_granularity=granularity)
        wanted, got = (np.moveaxis(f(x).asnumpy(), axis, 0)[1:3] for f in (net, q))
        np.testing.assert_allclose(got, wanted, rtol=1e-4)


@pytest.mark.parametrize("tail", TAILS)
def test_a_batch_norm_with_gamma_zero_leaves_its_beta(tail: str) -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3, use_bias=False), nn.BatchNorm(in_channels=4), *TAILS[tail]())
    fill(net, (2, 3, 8, 8))
    net[1].gamma.set_data(mx.np.array([1.0, 0, 1e-20, 1]))
    net[1].beta.set_data(mx.np.array([0.1, 0.8, 0.4, 0.2]))
    net[1].running_var.set_data(mx.np.full(4, 1e5))
    x = mx.np.array(np.random.default_rng(0).uniform(0, 255, (2, 3, 8, 8)).astype(np.float32))
    wanted = net(x).asnumpy()
    for dtype in ("auto", "int8"):
        got = quantize_net(net, dtype, calib_mode="naive", calib_data=[x])(x).asnumpy()
        np.testing.assert_allclose(got, wanted, atol=0.02 * np.abs(wanted).max())
