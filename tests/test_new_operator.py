"""An elementwise operator is one record in ``ops`` and one instruction in the kernels; everything else follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.dispatch import invoke
from minidnn.gluon import nn
from minidnn.ir.graph import evaluate
from minidnn.ops import Attr, Op, registry
from minidnn.ops.traits import EpilogueStep, if_scalar_and_all
from minidnn_kernels import epilogue

NAME = "test_leaky_square"
INSTRUCTION = "test_leaky_square"


def _reference(attrs: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(x < 0, x * x.dtype.type(attrs.scalar), x * x)


def _emit(s: Any, x: Any, slope: Any) -> Any:
    return s.where("<", x, s.splat(0.0), s.builder.fmul(x, slope), s.builder.fmul(x, x))


@pytest.fixture(autouse=True)
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A function that no framework has, registered while a test runs."""
    monkeypatch.setitem(epilogue.OPS, INSTRUCTION, (1, 1, _emit))
    op = Op(
        NAME,
        lambda attrs, types: [types[0]],
        _reference,
        ("data",),
        attrs=(Attr("scalar", "float", 0.5),),
        kind="elementwise",
        label="act",
        epilogue=lambda attrs: EpilogueStep(INSTRUCTION, (float(attrs.scalar),)),
        nonnegative=if_scalar_and_all,
    )
    monkeypatch.setitem(registry._OPS, NAME, op)
    yield


class Net(gluon.HybridBlock):
    """Convolution, batch normalization and the function; a depthwise convolution and the function; dense and it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(8, 3, padding=1, in_channels=4, use_bias=False)
        self.norm = nn.BatchNorm(in_channels=8)
        self.depthwise = nn.Conv2D(8, 3, padding=1, groups=8, in_channels=8)
        self.dense = nn.Dense(5, in_units=8 * 6 * 6)

    def forward(self, x: Any) -> Any:
        x = invoke(NAME, self.norm(self.conv(x)), scalar=0.25)
        x = invoke(NAME, self.depthwise(x))
        return invoke(NAME, self.dense(x), scalar=-1.5)


@pytest.fixture
def net() -> Net:
    mx.random.seed(0)
    made = Net()
    made.initialize(mx.init.Uniform(0.4))
    made.norm.running_var.set_data(mx.np.array(np.linspace(0.5, 2, 8, dtype=np.float32)))
    made.norm.running_mean.set_data(mx.np.array(np.linspace(-0.2, 0.2, 8, dtype=np.float32)))
    return made


@pytest.fixture
def x() -> Any:
    return mx.np.array(np.random.default_rng(0).uniform(-1, 1, (2, 4, 6, 6)).astype(np.float32))


def operations(net: Any) -> list[str]:
    return [node.name for node in net._latest_graph().symbol.operations()]


def host_steps(net: Any) -> list[str]:
    return [s.name for s in net._latest_program.latest.program.steps if type(s).__name__ == "HostStep"]


def relative(got: Any, wanted: Any) -> float:
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return float(np.sqrt(np.square(got - wanted).mean() / np.square(wanted).mean()))


def test_it_runs_by_itself() -> None:
    x = mx.np.array(np.float32([-2, -0.0, 3]))
    np.testing.assert_array_equal(np.asarray(invoke(NAME, x, scalar=0.5)), [-1, 0, 9])


def test_it_fuses_into_products(net: Net, x: Any) -> None:
    wanted = net(x)
    net.optimize_for(x)
    assert operations(net) == ["fused_conv_bn_act_0", "fused_conv_act_1", "fused_dense_act_2"]
    assert host_steps(net) == []
    assert relative(net(x), wanted) < 1e-5


def test_it_is_in_the_epilogue_of_integer_products(net: Net, x: Any) -> None:
    wanted = net(x)
    quantized = quantize_net(net, calib_mode="naive", calib_data=[x])
    got = quantized(x)
    assert relative(got, wanted) < 0.15
    graph = quantized._own_graph()
    feed = {name: np.asarray(a) for name, a in graph.arrays().items()} | {"data": np.asarray(x)}
    assert relative(got, evaluate(graph.symbol, feed)[0]) < 0.01
    assert host_steps(quantized) == []
    names = [n for n in operations(quantized) if "act" in n]
    assert names == ["quantized_fused_conv_bn_act_0", "quantized_fused_conv_act_1", "quantized_fused_dense_act_2"]


@pytest.mark.parametrize("is_quantized", [False, True])
def test_it_is_exported_and_read_back(net: Net, x: Any, is_quantized: bool, tmp_path: Path) -> None:
    net.optimize_for(x)
    made = quantize_net(net, calib_mode="naive", calib_data=[x]) if is_quantized else net
    wanted = made(x)
    symbol, parameters = made.export(tmp_path / "net")
    read = gluon.SymbolBlock.imports(symbol, ["data"], parameters)
    np.testing.assert_array_equal(np.asarray(read(x)), np.asarray(wanted))
    assert operations(read) == operations(made)
