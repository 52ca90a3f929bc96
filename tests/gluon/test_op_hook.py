"""Operator hooks see every array of the graph that runs, and change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gluon_helpers import close, draw, residual

import minidnn as mx
from minidnn import gluon
from minidnn.gluon import nn


class Collector:
    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.ops: dict[str, str] = {}

    def collect(self, name: str, op_name: str, arr: Any) -> None:
        assert isinstance(arr, mx.np.ndarray)
        assert name not in self.arrays
        self.arrays[name] = arr.copyto(mx.cpu()).asnumpy()
        self.ops[name] = op_name


def test_outputs_of_the_unfused_graph() -> None:
    net, x, seen = residual(), mx.np.array(draw(1, 4, 6, 6)), Collector()
    expected = net(x)
    net.hybridize()
    net.register_op_hook(seen.collect)
    close(net(x), expected)
    assert list(seen.ops.items()) == [
        ("conv1_convolution_output", "Convolution"),
        ("bn1_batch_norm_output", "BatchNorm"),
        ("activation_output", "Activation"),
        ("conv2_convolution_output", "Convolution"),
        ("bn2_batch_norm_output", "BatchNorm"),
        ("add_output", "_npi_add"),
        ("activation_1_output", "Activation"),
    ]
    close(seen.arrays["conv1_convolution_output"], net.conv1(x), 1e-5)
    close(seen.arrays["activation_1_output"], expected)


def test_inputs_too_where_all_is_monitored() -> None:
    net, x, seen = nn.HybridSequential(), mx.np.array(draw(2, 3)), Collector()
    net.add(nn.Dense(4), nn.Activation("relu"))
    net.initialize()
    net.hybridize()
    net.register_op_hook(seen.collect, monitor_all=True)
    y = net(x)
    assert list(seen.arrays) == [
        "0_fully_connected_data",
        "0_fully_connected_weight",
        "0_fully_connected_bias",
        "0_fully_connected_output",
        "1_activation_data",
        "1_activation_output",
    ]
    close(seen.arrays["0_fully_connected_data"], x, 0)
    close(seen.arrays["0_fully_connected_weight"], net[0].weight.data(), 0)
    close(seen.arrays["1_activation_data"], seen.arrays["0_fully_connected_output"], 0)
    close(seen.arrays["1_activation_output"], y, 0)


def test_the_fused_graph_after_optimize_for() -> None:
    net, x, seen = residual(), mx.np.array(draw(1, 4, 6, 6)), Collector()
    expected = net(x)
    net.optimize_for(x)
    net.register_op_hook(seen.collect, monitor_all=True)
    close(net(x), expected)
    names = [name for name in seen.arrays if name.endswith("_output")]
    assert names == ["fused_conv_bn_act_0_output", "fused_conv_bn_add_act_1_output"]
    assert {"fused_conv_bn_act_0_data", "fused_conv_bn_act_0_weight", "fused_conv_bn_act_0_running_var"} <= set(
        seen.arrays
    )
    close(seen.arrays["fused_conv_bn_act_0_output"], mx.npx.relu(net.bn1(net.conv1(x))))


def test_a_block_that_is_not_hybridized_is_traced_for_its_hook() -> None:
    net, x, seen = residual(), mx.np.array(draw(1, 4, 6, 6)), Collector()
    expected = net(x)
    net.register_op_hook(seen.collect)
    close(net(x), expected)
    assert len(seen.arrays) == 7


def test_none_ends_it_and_another_hook_takes_its_place() -> None:
    net, x, first, second = residual(), mx.np.array(draw(1, 4, 6, 6)), Collector(), Collector()
    net.register_op_hook(first.collect)
    net.register_op_hook(second.collect)
    net(x)
    net.register_op_hook(None)
    net(x)
    assert not first.arrays
    assert len(second.arrays) == 7


def test_changes_of_parameters_are_seen() -> None:
    net, x, seen = residual(), mx.np.array(draw(1, 4, 6, 6)), []
    net.hybridize()
    net.register_op_hook(lambda name, op_name, arr: seen.append(float(np.abs(arr.asnumpy()).max())))
    net(x)
    net.conv1.weight.set_data(mx.np.zeros((4, 4, 3, 3)))
    net(x)
    assert seen[0] > 0
    assert seen[7] == 0


def test_several_outputs_are_numbered() -> None:
    class Halves(gluon.HybridBlock):
        def forward(self, x: Any) -> Any:
            left, right = mx.np.split(x, 2)
            return left * right

    net, seen = Halves(), Collector()
    net.register_op_hook(seen.collect, monitor_all=True)
    assert net(mx.np.array([1.0, 2.0, 3.0, 4.0])).tolist() == [3, 8]
    assert list(seen.arrays) == [
        "split_data",
        "split_output0",
        "split_output1",
        "multiply_lhs",
        "multiply_rhs",
        "multiply_output",
    ]


def test_children_of_an_ordinary_block_are_reached() -> None:
    net, seen = nn.Sequential(), Collector()
    net.add(nn.Dense(2, in_units=3), nn.Lambda(lambda x: x))
    net.initialize()
    net.register_op_hook(seen.collect)
    net(mx.np.ones((1, 3)))
    assert list(seen.arrays) == ["0_fully_connected_output"]


def test_a_hook_cannot_change_what_the_net_computes_with() -> None:
    net, x = residual(), mx.np.array(draw(1, 4, 6, 6))
    expected = net(x)

    def vandal(name: str, op_name: str, arr: Any) -> None:
        with pytest.raises(ValueError, match="read-only"):
            arr[:] = 0

    net.register_op_hook(vandal, monitor_all=True)
    close(net(x), expected)


def test_an_error_of_the_hook_reaches_the_caller() -> None:
    net = residual()

    def fail(name: str, op_name: str, arr: Any) -> None:
        raise KeyError(name)

    net.register_op_hook(fail)
    with pytest.raises(KeyError, match="conv1_convolution_output"):
        net(mx.np.ones((1, 4, 5, 5)))
    net.register_op_hook(None)
    assert net(mx.np.ones((1, 4, 5, 5))).shape == (1, 4, 5, 5)
