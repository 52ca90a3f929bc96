"""Weights that are expressions of parameters cost nothing at run time, and follow their parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn


class WeightNorm(gluon.HybridBlock):
    """A convolution whose weights have the norm g (Salimans and Kingma, 2016), and a dense layer in two pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.v = gluon.Parameter("v", shape=(8, 4, 3, 3))
        self.g = gluon.Parameter("g", shape=(8, 1, 1, 1))
        self.norm = nn.BatchNorm(in_channels=8)
        self.top = gluon.Parameter("top", shape=(3, 8), dtype="float16")
        self.rest = gluon.Parameter("rest", shape=(8, 2))

    def forward(self, x: Any) -> Any:
        v = self.v.data()
        weight = self.g.data() * v / mx.np.sqrt((v * v).sum(axis=(1, 2, 3), keepdims=True))
        x = mx.npx.relu(self.norm(mx.npx.convolution(x, weight, kernel=(3, 3), num_filter=8, no_bias=True)))
        x = x.mean(axis=(2, 3)) + v.reshape(-1)[:8] * 0.5
        matrix = mx.np.concatenate([self.top.data().astype("float32"), self.rest.data().T], axis=0)
        return mx.npx.fully_connected(x, matrix, num_hidden=5, no_bias=True)


def make() -> WeightNorm:
    net = WeightNorm()
    net.initialize(mx.init.Uniform(0.7))
    return net


X = mx.np.array(np.random.default_rng(0).uniform(-1, 1, (2, 4, 7, 7)).astype(np.float32))


def eager(net: gluon.HybridBlock) -> np.ndarray[Any, Any]:
    parameters = {name: p.data().copy() for name, p in net.collect_params().items()}
    fresh = WeightNorm()
    fresh.initialize()
    for name, p in fresh.collect_params().items():
        p.set_data(parameters[name])
    return np.asarray(fresh(X))


def steps(net: Any) -> list[str]:
    return [s.name for s in net._latest_program.latest.program.steps]


def assert_close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-5)


COMPUTING = ["fused_conv_bn_act_0", "mean", "add", "fully_connected"]


def test_an_optimized_network_computes_only_what_depends_on_its_input() -> None:
    net = make()
    net.optimize_for(X)
    assert [s for s in steps(net) if s not in ("pad", "reorder")] == COMPUTING
    assert_close(net(X), eager(net))


@pytest.mark.parametrize("backend", [None, "MINIDNN"])
def test_so_does_a_hybridized_one(backend: str | None) -> None:
    net = make()
    net.hybridize(backend=backend)
    net(X)
    wanted = COMPUTING if backend else ["convolution", "norm_batch_norm", "relu", *COMPUTING[1:]]
    assert [s for s in steps(net) if s not in ("pad", "reorder")] == wanted
    assert_close(net(X), eager(net))


@pytest.mark.parametrize("change", ["set_data", "in place", "load"])
def test_values_follow_their_parameters(change: str, tmp_path: Path) -> None:
    net = make()
    net.optimize_for(X)
    before = eager(net)
    if change == "set_data":
        net.v.set_data(net.v.data() * 0.3 + 0.1)
    elif change == "in place":
        net.v.data()[:] = net.v.data() * 0.3 + 0.1
    else:
        other = make()
        other(X)
        other.save_parameters(str(tmp_path / "w.params"))
        net.load_parameters(str(tmp_path / "w.params"))
    assert np.abs(eager(net) - before).max() > 1e-3
    assert_close(net(X), eager(net))


class Halved(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.w = gluon.Parameter("w", shape=(4, 6))

    def forward(self, x: Any) -> Any:
        return mx.npx.fully_connected(x, self.w.data() * 0.5, num_hidden=4, no_bias=True)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_values_follow_a_cast(dtype: str) -> None:
    net = Halved()
    net.initialize(mx.init.Uniform(1.0))
    x = np.random.default_rng(1).uniform(-1, 1, (3, 6)).astype(np.float32)
    net.optimize_for(mx.np.array(x))
    net.cast(dtype)
    w = np.asarray(net.w.data(), np.float64)
    got = net(mx.np.array(x, dtype=dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(np.asarray(got, np.float64), x.astype(dtype).astype(np.float64) @ w.T * 0.5, atol=2e-3)


@pytest.mark.parametrize("format", ["minidnn", "mxnet"])
def test_an_exported_network_has_the_parameters_of_the_block(format: Any, tmp_path: Path) -> None:
    net = make()
    net.optimize_for(X)
    symbol, parameters = net.export(tmp_path / "net", format=format)
    read = gluon.SymbolBlock.imports(symbol, ["data"], parameters)
    assert set(read.collect_params()) == set(net.collect_params())
    read.optimize_for(X)
    assert_close(read(X), eager(net))
    assert [s for s in steps(read) if s not in ("pad", "reorder")] == COMPUTING


def test_quantization_quantizes_the_value() -> None:
    net = make()
    net(X)
    quantized = quantize_net(net, calib_mode="naive", calib_data=[X])
    wanted = eager(net)
    assert np.abs(np.asarray(quantized(X)) - wanted).max() < 0.03 * np.abs(wanted).max()
    dtypes = {name: p.dtype for name, p in quantized.collect_params().items()}
    assert sorted(n for n, d in dtypes.items() if np.dtype(d) == np.int8) == [
        "concatenate_folded_weight_int8",
        "true_divide_folded_weight_int8",
    ]


def test_a_symbol_goes_on_reading_its_parameters() -> None:
    net = make()
    net.hybridize()
    net(X)
    symbol, parameters = net.export(None)
    arrays = {name.partition(":")[2]: a for name, a in parameters.items()}
    fused = symbol.optimize_for(args=arrays, shape_dict={"data": X.shape})
    assert "fused_conv_bn_act_0" in [n.name for n in fused.operations()]
    (got,) = fused.eval(data=X, **arrays)
    assert_close(got, eager(net))
