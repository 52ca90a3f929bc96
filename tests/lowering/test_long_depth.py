"""Products of long rows are summed in slices of depth, and are the same for any number of rows."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import check, compiled, node, normal, run, steps

import minidnn as mx
from minidnn.gluon import nn
from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering import direct

var = make_variable


@pytest.mark.parametrize("depth", [60, 61, 79, 300])
@pytest.mark.parametrize("columns", [1, 7, 40])
def test_dense(depth: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_LONG_DEPTH", 60)
    monkeypatch.setattr(direct, "_SLICE_DEPTH", 25)
    dense = Graph([node("fully_connected", *map(var, "xwb"), num_hidden=columns, flatten=False)])
    feed = {"x": normal(70, depth), "w": normal(columns, depth, seed=1), "b": normal(columns, seed=2)}
    assert steps(check(dense, feed, ["w", "b"])) == ["matmul_loop"] * round(depth / 25)


def test_a_tail_that_reads_more_operands_and_stores_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_LONG_DEPTH", 60)
    monkeypatch.setattr(direct, "_SLICE_DEPTH", 25)
    net = nn.Dense(33, flatten=False, in_units=75)
    net.initialize(mx.init.Xavier())

    class Tailed(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = net

        def forward(self, x: mx.np.ndarray, y: mx.np.ndarray) -> mx.np.ndarray:
            return mx.npx.gelu(self.dense(x) * 0.5 + y) > y

    block = Tailed()
    x, y = mx.np.array(normal(2, 80, 75)), mx.np.array(normal(2, 80, 33, seed=1))
    expected = block(x, y).asnumpy()
    block.optimize_for(x, y)
    assert expected.dtype == bool
    assert (block(x, y).asnumpy() != expected).mean() < 1e-3
    assert [step.kernel.split(":")[0] for step in block.steps()] == ["matmul"] * 3


def test_convolutions_of_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_LONG_DEPTH", 60)
    monkeypatch.setattr(direct, "_SLICE_DEPTH", 32)
    graph = Graph([node("convolution", *map(var, "xw"), kernel=(1, 1), stride=(2, 2), num_filter=21, no_bias=True)])
    feed = {"x": normal(2, 70, 17, 18), "w": normal(21, 70, 1, 1, seed=1)}
    assert steps(check(graph, feed, ["w"])).count("matmul_loop") == 2


def test_few_rows_are_not_cut_and_a_network_decides_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_LONG_DEPTH", 60)
    monkeypatch.setattr(direct, "_SLICE_DEPTH", 25)
    graph = Graph([node("fully_connected", *map(var, "xw"), num_hidden=9, no_bias=True)])
    weights = normal(9, 75, seed=1)
    assert steps(compiled(graph, {"x": normal(5, 75), "w": weights}, ["w"])) == ["matmul_loop"]
    net = nn.Dense(9, in_units=75)
    net.initialize(mx.init.Xavier())
    rows = mx.np.array(normal(100, 75))
    net.optimize_for(rows)
    whole = net(rows).asnumpy()
    for count in (1, 5, 99):
        np.testing.assert_array_equal(net(rows[:count]).asnumpy(), whole[:count])


def test_rows_of_a_constant_are_not_cut() -> None:
    graph = Graph([node("fully_connected", *map(var, "xw"), num_hidden=3, no_bias=True)])
    feed = {"x": normal(64, 3000), "w": normal(3, 3000, seed=1)}
    program = compiled(graph, feed, ["x", "w"])
    (actual,) = run(program, [])
    np.testing.assert_allclose(actual, feed["x"] @ feed["w"].T, atol=2e-3)
