"""Whole int8 networks against a simulation of their arithmetic in float64, written from the definitions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from quantization_helpers import Array, draw, fill, residual, small_net, sqnr

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision


class Simulation:
    """Quantized arithmetic by torch on float64 tensors that hold integers.

    Ranges are those of the same float64 network without quantization.
    """

    def __init__(self, net: Any) -> None:
        self.parameters = {name: p.data().asnumpy().astype(np.float64) for name, p in net.collect_params().items()}

    def quantize(self, x: Array, uint8: bool, around: Array) -> tuple[Array, float]:
        """Integers and scale; `around` is the float32 network's value, which sets the range."""
        scale = max(around.max(), 0) / 255 if uint8 else np.abs(around).max() / 127
        low, high = (0, 255) if uint8 else (-127, 127)
        return np.clip(np.rint(x / scale), low, high), float(scale)

    def weights(self, conv: str, norm: str | None) -> tuple[Array, Array, Array]:
        """Integers, scale per channel, bias."""
        p = self.parameters
        w, bias = p[f"{conv}.weight"], p.get(f"{conv}.bias", np.zeros(len(p[f"{conv}.weight"])))
        if norm is not None:
            factor = p[f"{norm}.gamma"] / np.sqrt(p[f"{norm}.running_var"] + 1e-5)
            bias = (bias - p[f"{norm}.running_mean"]) * factor + p[f"{norm}.beta"]
            w = w * factor.reshape(-1, *(1,) * (w.ndim - 1))
        rows = w.reshape(len(w), -1)
        scale = np.abs(rows).max(1) / 127
        return np.rint(rows / scale[:, None]).reshape(w.shape), scale, bias

    def conv(self, x: Array, scale: float, conv: str, norm: str | None, **geometry: Any) -> Array:
        w, w_scale, bias = self.weights(conv, norm)
        unit = (scale * w_scale).reshape(-1, 1, 1)
        total = torch.conv2d(torch.from_numpy(x), torch.from_numpy(w), **geometry).numpy()
        return np.asarray((total + np.rint(bias.reshape(-1, 1, 1) / unit)) * unit)

    def exact_conv(self, x: Array, conv: str, norm: str | None, **geometry: Any) -> Array:
        """In float64 without quantization: where the ranges come from."""
        p = self.parameters
        y = torch.conv2d(torch.from_numpy(x), torch.from_numpy(p[f"{conv}.weight"]), **geometry).numpy()
        if norm is None:
            return np.asarray(y + p[f"{conv}.bias"].reshape(-1, 1, 1))
        shaped = {k: p[f"{norm}.{k}"].reshape(-1, 1, 1) for k in ("gamma", "beta", "running_mean", "running_var")}
        return np.asarray(
            (y - shaped["running_mean"]) / np.sqrt(shaped["running_var"] + 1e-5) * shaped["gamma"] + shaped["beta"]
        )

    def residual(self, prefix: str, real: Array, q: Array, scale: float) -> tuple[Array, Array]:
        """The float32 network's output and the int8 network's, before it is quantized."""
        inner = np.maximum(self.exact_conv(real, f"{prefix}conv1", f"{prefix}bn1", padding=1), 0)
        outer = np.maximum(self.exact_conv(inner, f"{prefix}conv2", f"{prefix}bn2", padding=1) + real, 0)
        mine = np.maximum(self.conv(q, scale, f"{prefix}conv1", f"{prefix}bn1", padding=1), 0)
        q_inner, s_inner = self.quantize(mine, True, inner)
        out = self.conv(q_inner, s_inner, f"{prefix}conv2", f"{prefix}bn2", padding=1)
        return outer, np.maximum(out + q * scale, 0)


def test_the_residual_block_computes_what_its_definition_says() -> None:
    net, x = residual(), draw(2, 8, 6, 6)
    simulation = Simulation(net)
    real = x.astype(np.float64)
    q, scale = simulation.quantize(real, False, real)
    exact, wanted = simulation.residual("", real, q, scale)
    got = quantize_net(net, calib_mode="naive", calib_data=[x])(mx.np.array(x)).asnumpy()
    # One step of rounding somewhere may fall to the other side in float32: far less than int8 itself errs.
    assert sqnr(wanted, got) > sqnr(exact, got) + 15
    np.testing.assert_allclose(got, wanted, atol=2e-3 * np.abs(wanted).max())


def test_a_small_resnet_computes_what_its_definition_says() -> None:
    net, x = small_net(), draw(4, 3, 16, 16)
    s = Simulation(net)
    real = x.astype(np.float64)
    q, scale = s.quantize(real, False, real)
    exact = np.maximum(s.exact_conv(real, "0", "1", padding=1), 0)
    mine = np.maximum(s.conv(q, scale, "0", "1", padding=1), 0)
    q, scale = s.quantize(mine, True, exact)
    q, exact = (torch.max_pool2d(torch.from_numpy(a), 2).numpy() for a in (q, exact))
    for block in ("4.", "5."):
        exact, mine = s.residual(block, exact, q, scale)
        q, scale = s.quantize(mine, True, exact)
    pooled, exact = (q * scale).mean((2, 3)), exact.mean((2, 3))
    q, scale = s.quantize(pooled, True, exact)
    p = s.parameters
    step = np.abs(p["8.weight"]).max() / 127
    unit = scale * step
    wanted = (q @ np.rint(p["8.weight"] / step).T + np.rint(p["8.bias"] / unit)) * unit
    exact = exact @ p["8.weight"].T + p["8.bias"]
    got = quantize_net(net, calib_mode="naive", calib_data=[x])(mx.np.array(x)).asnumpy()
    assert sqnr(wanted, got) > sqnr(exact, got) + 5
    assert sqnr(wanted, got) > 40


@pytest.mark.parametrize(
    ("name", "decibel"),
    [("resnet18_v1", 20), ("resnet18_v2", 20), ("mobilenet0.25", 20), ("mobilenetv2_0.25", 15)],
)
def test_networks_of_the_zoo_agree_with_float32(name: str, decibel: float) -> None:
    net = fill(vision.get_model(name), (1, 3, 64, 64))
    x = draw(2, 3, 64, 64)
    qnet = quantize_net(net, calib_mode="naive", calib_data=[x])
    assert sqnr(net(mx.np.array(x)), qnet(mx.np.array(x))) > decibel
