"""The report of errors by layer: what it measures, in what order, and how it reads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from quantization_helpers import draw, fill, residual, small_net, sqnr

import minidnn as mx
from minidnn.contrib.quantization import LayerError, layer_errors, quantize_net
from minidnn.gluon import nn

X = draw(3, 8, 6, 6)


def test_the_last_layers_accumulated_error_is_that_of_the_network() -> None:
    net = residual()
    qnet = quantize_net(net, calib_mode="naive", calib_data=[X])
    errors = {e.name: e for e in layer_errors(net, qnet, [X])}
    assert list(errors) == ["fused_conv_bn_act_0", "fused_conv_bn_add_act_1"] or len(errors) == 2
    total = sqnr(net(mx.np.array(X)), qnet(mx.np.array(X)))
    assert errors["fused_conv_bn_add_act_1"].accumulated == pytest.approx(total, abs=0.05)


def test_by_itself_a_layer_errs_no_more_than_with_all_before_it() -> None:
    net, x = small_net(), draw(4, 3, 16, 16)
    errors = layer_errors(net, quantize_net(net, calib_mode="naive", calib_data=[x]), [x[:2], x[2:]])
    assert len(errors) == 7
    assert all(e.own > 15 for e in errors)
    assert [e.own for e in errors] == sorted(e.own for e in errors)
    assert np.mean([e.own for e in errors]) > np.mean([e.accumulated for e in errors])


def test_the_layer_that_is_badly_quantized_comes_first() -> None:
    net = nn.HybridSequential()
    net.add(*(nn.Dense(16, in_units=16, activation="relu") for _ in range(3)), nn.Dense(4, in_units=16))
    fill(net, (1, 16))
    # One weight that dwarfs the others, with one scale for all.
    weight = net[2].weight.data().asnumpy()
    weight[0, 0] = 300
    net[2].weight.set_data(mx.np.array(weight))
    x = draw(8, 16)
    errors = layer_errors(net, quantize_net(net, calib_mode="naive", calib_data=[x]), [x])
    assert errors[0].name == "fused_dense_act_2"
    assert errors[0].own < errors[1].own - 3


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
def test_every_mode_can_be_reported(mode: str) -> None:
    net, x = small_net(), draw(2, 3, 16, 16)
    errors = layer_errors(net, quantize_net(net, calib_mode=mode, calib_data=[x]), x)
    assert {"fused_conv_bn_act_0", "8_fully_connected"} <= {e.name for e in errors}
    assert all(math.isfinite(e.own) and math.isfinite(e.accumulated) for e in errors)


def test_products_without_a_tail_are_layers_too() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 1, use_bias=False, in_channels=8), nn.Conv2D(4, 1, use_bias=False, in_channels=4))
    fill(net, X.shape)
    for mode in ("none", "naive"):
        errors = layer_errors(net, quantize_net(net, calib_mode=mode, calib_data=[X]), [X])
        assert {e.name for e in errors} == {"0_convolution", "1_convolution"}


def test_the_report_reads_as_a_table_and_as_a_list() -> None:
    net = residual()
    errors = layer_errors(net, quantize_net(net, calib_mode="naive", calib_data=[X]), [X])
    lines = str(errors).splitlines()
    assert lines[0].split() == ["layer", "own", "dB", "accumulated", "dB"]
    assert len(lines) == 1 + len(errors)
    assert lines[1].split()[0] == errors[0].name
    assert isinstance(errors[0], LayerError)


def test_labels_are_left_out_and_an_exact_layer_has_no_error() -> None:
    net = nn.Dense(2, in_units=2, use_bias=False)
    net.initialize()
    net.weight.set_data(mx.np.array([[127.0, 0.0], [0.0, -127.0]]))
    x = np.float32([[127.0, -127.0], [1.0, 0.0]])
    (only,) = layer_errors(net, quantize_net(net, calib_mode="naive", calib_data=[x]), [(x, np.zeros(2))])
    assert only.own == only.accumulated == math.inf
