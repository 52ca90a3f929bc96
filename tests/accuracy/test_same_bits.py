"""An int8 network gives the same bits with the kernels of every ISA of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crops import make_crops
from digits import load_net, read_digits

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn, rnn
from minidnn.gluon.model_zoo import vision
from minidnn_kernels.isa import ISAS, host_supports

PROGRAM = Path(__file__).with_name("run_exported.py")
HERE = [isa.name for isa in ISAS if host_supports(isa)]


def digits() -> tuple[Any, np.ndarray[Any, Any]]:
    return load_net(), read_digits()[1].images[:50]


def photos() -> tuple[Any, np.ndarray[Any, Any]]:
    return vision.efficientnet_lite0(pretrained=True), make_crops().test[:20]


class Curves(gluon.HybridBlock):
    """Functions that kernels compute by polynomials, behind products and between int8 tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2D(16, 3, padding=1, in_channels=1)
        self.gate = nn.Conv2D(16, 1, in_channels=16)
        self.norm = nn.BatchNorm(in_channels=16)
        self.last = nn.Dense(10, in_units=16 * 28 * 28)

    def forward(self, x: Any) -> Any:
        y = mx.npx.silu(self.first(x))
        gate = mx.npx.sigmoid(self.gate(y.mean((2, 3), keepdims=True)))
        y = self.norm(y * gate)
        return self.last(mx.np.tanh(y) + mx.npx.gelu(y) + mx.npx.hard_swish(y))


def curves() -> tuple[Any, np.ndarray[Any, Any]]:
    mx.np.random.seed(5)
    net = Curves()
    net.initialize(mx.init.Xavier())
    return net, read_digits()[1].images[:100]


class Rows(gluon.HybridBlock):
    """Rows of an image, one after the other, through a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = rnn.LSTM(24, bidirectional=True, input_size=28)
        self.last = nn.Dense(10, in_units=48)

    def forward(self, x: Any) -> Any:
        return self.last(self.layers(x.reshape(-1, 28, 28).swapaxes(0, 1))[-1])


def rows() -> tuple[Any, np.ndarray[Any, Any]]:
    mx.np.random.seed(7)
    net = Rows()
    net.initialize(mx.init.Xavier(magnitude=6))
    return net, read_digits()[1].images[:60]


@pytest.mark.parametrize(
    ("make", "mode"),
    [
        (digits, "naive"),
        (rows, "naive"),
        (curves, "naive"),
        (curves, "tuned"),
        pytest.param(photos, "naive", marks=pytest.mark.slow),
    ],
)
def test_the_scores_are_the_same_to_the_bit(make: Callable[[], Any], mode: str, tmp_path: Path) -> None:
    net, images = make()
    quantized = quantize_net(net, calib_mode=mode, calib_data=[mx.np.array(images)])
    wanted = quantized(mx.np.array(images)).asnumpy()
    assert len(np.unique(wanted.argmax(1))) > 3
    quantized.export(tmp_path / "net")
    np.save(tmp_path / "in.npy", images)
    for isa in HERE:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIDNN_ISA": isa}
        command = [sys.executable, "-W", "error", str(PROGRAM), "net", "in.npy", f"{isa}.npy"]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        np.testing.assert_array_equal(np.load(tmp_path / f"{isa}.npy"), wanted, err_msg=isa)
