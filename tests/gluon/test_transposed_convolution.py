"""Networks with transposed convolutions: kernels for all of them, fused, eager, and beside int8 layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as tnn

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn

Make = Callable[[], Any]

# Layer, torch's, and the shape of the input.
LAYERS: dict[str, tuple[Make, Make, tuple[int, ...]]] = {
    "1d": (lambda: nn.Conv1DTranspose(9, 4, 2, 1), lambda: tnn.ConvTranspose1d(5, 9, 4, 2, 1), (2, 5, 7)),
    "2d": (
        lambda: nn.Conv2DTranspose(8, 3, 2, 1, 1),
        lambda: tnn.ConvTranspose2d(6, 8, 3, 2, 1, 1),
        (2, 6, 7, 5),
    ),
    "3d": (
        lambda: nn.Conv3DTranspose(8, 4, (2, 3, 1), 1),
        lambda: tnn.ConvTranspose3d(3, 8, 4, (2, 3, 1), 1),
        (1, 3, 4, 3, 5),
    ),
    "stride 1": (lambda: nn.Conv2DTranspose(8, 3, 1, 1), lambda: tnn.ConvTranspose2d(6, 8, 3, 1, 1), (2, 6, 7, 5)),
    "groups": (
        lambda: nn.Conv2DTranspose(8, 4, 2, 1, groups=2),
        lambda: tnn.ConvTranspose2d(6, 8, 4, 2, 1, groups=2),
        (2, 6, 7, 5),
    ),
    "depthwise": (
        lambda: nn.Conv2DTranspose(6, 4, 2, 1, groups=6),
        lambda: tnn.ConvTranspose2d(6, 6, 4, 2, 1, groups=6),
        (2, 6, 7, 5),
    ),
    "dilated": (
        lambda: nn.Conv2DTranspose(8, 3, 2, 1, dilation=(3, 2)),
        lambda: tnn.ConvTranspose2d(6, 8, 3, 2, 1, dilation=(3, 2)),
        (2, 6, 7, 5),
    ),
    "from vectors": (lambda: nn.Conv2DTranspose(8, 4), lambda: tnn.ConvTranspose2d(6, 8, 4), (3, 6, 1, 1)),
}


class Up(gluon.HybridBlock):
    """A transposed convolution, batch normalization, a sum and a relu."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.up, self.norm = layer, nn.BatchNorm()

    def forward(self, x: Any, beside: Any) -> Any:
        return mx.npx.relu(self.norm(self.up(x)) + beside)


def _draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _prepare(name: str) -> tuple[Any, Any, Any]:
    """The network with numbers of its own, its input, and what torch's layer makes of the input."""
    make, make_torch, shape = LAYERS[name]
    net, module, x = Up(make()), make_torch(), mx.np.array(_draw(*shape))
    net.initialize()
    with torch.no_grad():
        made = module(torch.from_numpy(x.asnumpy())).double().numpy()
    net(x, mx.np.zeros(made.shape))
    net.up.weight.set_data(mx.np.array(module.weight.detach().numpy()))
    net.up.bias.set_data(mx.np.array(module.bias.detach().numpy()))
    channels = made.shape[1]
    for i, parameter in enumerate((net.norm.gamma, net.norm.beta, net.norm.running_mean, net.norm.running_var)):
        parameter.set_data(mx.np.array(np.abs(_draw(channels, seed=i)) + 0.5))
    return net, x, made


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_what_follows_it_are_one_kernel(name: str) -> None:
    net, x, made = _prepare(name)
    beside = _draw(*made.shape, seed=5)
    gamma, beta, mean, var = (
        parameter.data().asnumpy().astype(np.float64).reshape(-1, *(1,) * (made.ndim - 2))
        for parameter in (net.norm.gamma, net.norm.beta, net.norm.running_mean, net.norm.running_var)
    )
    expected = np.maximum((made - mean) / np.sqrt(var + 1e-5) * gamma + beta + beside, 0)
    inputs = x, mx.np.array(beside)
    net.optimize_for(*inputs)
    np.testing.assert_allclose(net(*inputs).asnumpy(), expected, atol=1e-5)
    assert not any(step.on_host for step in net.steps())
    moves = {"reorder", "pad", "copy"}
    assert [step.name for step in net.steps() if step.name not in moves] == ["fused_deconv_bn_add_act_0"]


@pytest.mark.parametrize("name", LAYERS)
def test_an_eager_call_runs_the_kernel(name: str) -> None:
    net, x, made = _prepare(name)
    with mx.profiler.profile() as profile:
        result = net.up(x)
    np.testing.assert_allclose(result.asnumpy(), made, atol=1e-5)
    kernels = [step.kernel.partition(":")[0] for step in profile.steps()]
    assert {"transposed", "matmul", "depthwise"} & set(kernels)
    assert "NumPy" not in kernels


@pytest.mark.parametrize("groups", [1, 16])
def test_int8_layers_around_a_transposed_convolution(groups: int) -> None:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(16, 3, padding=1, in_channels=3, activation="relu"),
        nn.Conv2DTranspose(16, 4, 2, 1, in_channels=16, groups=groups),
        nn.BatchNorm(in_channels=16),
        nn.Activation("relu"),
        nn.Conv2D(8, 3, padding=1, in_channels=16),
    )
    net.initialize(mx.init.Xavier())
    x = mx.np.array(_draw(2, 3, 12, 12))
    expected = net(x).asnumpy()
    quantized = quantize_net(net, calib_mode="naive", calib_data=[x])
    error = quantized(x).asnumpy() - expected
    assert np.sqrt((error**2).mean() / (expected**2).mean()) < 0.03
    steps = quantized.steps()
    assert not any(step.on_host for step in steps)
    assert [step.name for step in steps if "deconv" in step.name and step.dtype == np.float32] == [
        "fused_deconv_bn_act_1"
    ]
    assert sum(step.name.startswith("quantized_") for step in steps) == 2


@pytest.mark.parametrize("padding", [5, 6])
def test_an_output_of_nothing_is_refused(padding: int) -> None:
    layer = nn.Conv2DTranspose(4, 4, 2, padding, in_channels=3)
    layer.initialize()
    with pytest.raises(mx.errors.ShapeError, match=r"pad .* leaves nothing of 10 elements in spatial dimension 0"):
        layer(mx.np.ones((1, 3, 4, 4)))
