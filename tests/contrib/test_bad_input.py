"""Whatever is wrong with a call or its data: an error that names it, or the fallback that is documented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from quantization_helpers import draw, fill, residual, sqnr

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import (
    CalibrationCollector,
    NaiveCollector,
    layer_errors,
    quantize_model,
    quantize_net,
)
from minidnn.errors import DataError, GraphError, MXNetError, OpError
from minidnn.gluon import nn

X = draw(2, 8, 6, 6)


@pytest.fixture(scope="module")
def net() -> Any:
    return residual()


class Fixed(CalibrationCollector):
    """Says whatever the test wants it to say."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def collect(self, name: str, op_name: str, arr: Any) -> None:
        pass

    def post_collect(self) -> Any:
        return self.answer


GOOD = {"data": (-3.0, 3.0), "fused_conv_bn_act_0_output": (0.0, 4.0)}


def custom(net: Any, answer: Any) -> Any:
    return quantize_net(net, calib_mode="custom", calib_data=[X], LayerOutputCollector=Fixed(answer))


# ---- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("calib_mode", "minmax"),
        ("quantized_dtype", "int4"),
        ("quantize_mode", "half"),
        ("quantize_granularity", "row-wise"),
        ("calib_mode", None),
    ],
)
def test_an_unknown_option_is_named_with_those_that_exist(net: Any, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"unknown {option} {value!r}: it must be one of") as caught:
        quantize_net(net, calib_data=[X], **{option: value})
    assert (
        "'full'" in str(caught.value)
        or "'int8'" in str(caught.value)
        or "wise" in str(caught.value)
        or "naive" in str(caught.value)
    )


def test_custom_needs_a_collector(net: Any) -> None:
    with pytest.raises(ValueError, match="calib_mode='custom' needs a LayerOutputCollector"):
        quantize_net(net, calib_mode="custom", calib_data=[X])


@pytest.mark.parametrize(("collector", "message"), [(print, "got <built-in"), (NaiveCollector, "got the class Naive")])
def test_a_collector_is_an_object_of_the_right_class(net: Any, collector: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        quantize_net(net, calib_mode="custom", calib_data=[X], LayerOutputCollector=collector)


def test_a_collector_for_another_mode_is_refused(net: Any) -> None:
    with pytest.raises(
        ValueError, match="LayerOutputCollector belongs to calib_mode='custom', but calib_mode is 'naive'"
    ):
        quantize_net(net, calib_mode="naive", calib_data=[X], LayerOutputCollector=NaiveCollector())


@pytest.mark.parametrize("mode", ["naive", "entropy"])
def test_calibration_needs_data(net: Any, mode: str) -> None:
    with pytest.raises(ValueError, match=f"calib_mode='{mode}' needs calib_data"):
        quantize_net(net, calib_mode=mode)


def test_without_data_and_shapes_nothing_is_known(net: Any) -> None:
    with pytest.raises(ValueError, match="give data_shapes or calib_data"):
        quantize_net(residual())


@pytest.mark.parametrize("network", [None, "resnet", gluon.Block()], ids=str)
def test_the_network_must_be_hybrid(network: Any) -> None:
    with pytest.raises(TypeError, match=f"network must be a HybridBlock, got {type(network).__name__}"):
        quantize_net(network)


@pytest.mark.parametrize("name", ["exclude_layers", "exclude_layers_match", "exclude_operators"])
def test_exclusions_are_lists_of_names_that_exist(net: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a list of strings, got 'conv1'"):
        quantize_net(net, calib_mode="naive", calib_data=[X], **{name: "conv1"})
    with pytest.raises(ValueError, match=f"{name}: .*'conv9'"):
        quantize_net(net, calib_mode="naive", calib_data=[X], **{name: ["conv9"]})


@pytest.mark.parametrize("count", [0, -1, 2.5, True, "3"])
def test_the_number_of_batches_is_positive(net: Any, count: Any) -> None:
    with pytest.raises(ValueError, match="num_calib_batches must be a positive integer or None"):
        quantize_net(net, calib_mode="naive", calib_data=[X], num_calib_batches=count)


@pytest.mark.parametrize("shapes", [[], "data", [(0, 3)], [(2, "x")], 5])
def test_shapes_are_tuples_of_positive_integers(net: Any, shapes: Any) -> None:
    with pytest.raises(TypeError, match="data_shapes"):
        quantize_net(net, data_shapes=shapes)


def test_a_device_is_a_device(net: Any) -> None:
    assert quantize_net(net, data_shapes=[X.shape], device=mx.cpu())
    with pytest.raises(TypeError, match="device must be a Device, got 'gpu'"):
        quantize_net(net, data_shapes=[X.shape], device="gpu")


def test_an_unknown_argument_is_refused(net: Any) -> None:
    with pytest.raises(TypeError, match="calibration"):
        quantize_net(net, calibration="naive")


# ---- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [[], iter(()), np.zeros((0, 8, 6, 6), np.float32)], ids=["list", "iterator", "array"])
def test_empty_calibration_data_is_refused(net: Any, data: Any) -> None:
    with pytest.raises(DataError, match="calib_data is empty"):
        quantize_net(net, calib_mode="naive", calib_data=data)


def test_an_empty_batch_is_refused_by_its_number(net: Any) -> None:
    with pytest.raises(DataError, match=r"batch 1 of calib_data: input 0 is empty, of shape \(0, 8, 6, 6\)"):
        quantize_net(net, calib_mode="naive", calib_data=[X, X[:0]])


@pytest.mark.parametrize("data", [3, "images", {"data": X}, np.float32(1)], ids=str)
def test_what_is_no_data_is_refused(net: Any, data: Any) -> None:
    with pytest.raises((TypeError, DataError), match="calib_data"):
        quantize_net(net, calib_mode="naive", calib_data=data)


@pytest.mark.parametrize("batch", [None, 3, "x", {"data": X}, ["x"]], ids=str)
def test_what_is_no_batch_is_refused(net: Any, batch: Any) -> None:
    with pytest.raises((TypeError, DataError), match="calib_data"):
        quantize_net(net, calib_mode="naive", calib_data=[batch])


@pytest.mark.parametrize("shape", [(2, 7, 6, 6), (8, 6, 6), (2, 8)])
def test_data_of_a_wrong_shape_names_the_layer(net: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(OpError, match="calib_data does not fit the network: conv1"):
        quantize_net(net, calib_mode="naive", calib_data=[draw(*shape)])


def test_a_later_batch_of_a_wrong_shape_is_refused_by_its_number(net: Any) -> None:
    with pytest.raises(OpError, match=r"batch 1 of calib_data: .*conv1"):
        quantize_net(net, calib_mode="naive", calib_data=[X, draw(2, 7, 6, 6)])


def test_too_few_inputs_are_counted() -> None:
    class Sum(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(3, in_units=4)

        def forward(self, x: Any, y: Any) -> Any:
            return self.dense(x) + self.dense(y)

    with pytest.raises(DataError, match="batch 0 of calib_data has 1 arrays; the network has 2 inputs"):
        quantize_net(fill(Sum(), (1, 4), (1, 4)), calib_mode="naive", calib_data=[draw(1, 4)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mode", ["naive", "entropy"])
def test_data_with_nan_or_infinity_is_refused_by_its_number(net: Any, mode: str, bad: float) -> None:
    broken = X.copy()
    broken[1, 2, 3, 4] = bad
    with pytest.raises(DataError, match="batch 1 of calib_data: input 0 has NaN or infinity"):
        quantize_net(net, calib_mode=mode, calib_data=[X, broken])


@pytest.mark.parametrize("mode", ["naive", "entropy", "custom"])
def test_infinity_that_arises_in_a_layer_names_it(mode: str) -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(4, in_units=4, activation="relu"), nn.Dense(2, in_units=4))
    fill(net, (1, 4))
    net[0].weight.set_data(mx.np.full((4, 4), 1e30))
    collector = Fixed({}) if mode == "custom" else None
    with pytest.raises(DataError, match="batch 0 of calib_data: layer 'fused_dense_act_0_output' has NaN or infinity"):
        quantize_net(
            net, calib_mode=mode, calib_data=[np.full((1, 4), 1e30, np.float32)], LayerOutputCollector=collector
        )


# ---- what a collector says ------------------------------------------------------------------------


def test_a_good_answer_is_taken(net: Any) -> None:
    assert sqnr(net(mx.np.array(X)), custom(net, GOOD)(mx.np.array(X))) > 15


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"data": (-1, 1)}, "no range for layer 'fused_conv_bn_act_0_output'"),
        ({**GOOD, "data": (2.0, -2.0)}, r"layer 'data': the minimum .* above its maximum, got \(2.0, -2.0\)"),
        ({**GOOD, "data": (np.nan, 1.0)}, "layer 'data': a range must be finite"),
        ({**GOOD, "data": (0.0, np.inf)}, "layer 'data': a range must be finite"),
        ({**GOOD, "data": 1.0}, "layer 'data': a range must be a pair"),
        ({**GOOD, "data": None}, "layer 'data': a range must be a pair"),
    ],
)
def test_an_answer_that_does_not_do_names_the_layer(net: Any, answer: Any, message: str) -> None:
    with pytest.raises(OpError, match=message) as caught:
        custom(net, answer)
    assert isinstance(caught.value, MXNetError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("answer", [None, [1], "ranges"])
def test_an_answer_is_a_dictionary(net: Any, answer: Any) -> None:
    with pytest.raises(TypeError, match=r"Fixed.post_collect\(\) must give a dictionary of ranges"):
        custom(net, answer)


def test_an_error_in_a_collector_comes_through(net: Any) -> None:
    class Broken(Fixed):
        def collect(self, name: str, op_name: str, arr: Any) -> None:
            raise RuntimeError(f"no room for {name}")

    with pytest.raises(RuntimeError, match="no room for data"):
        quantize_net(net, calib_mode="custom", calib_data=[X], LayerOutputCollector=Broken({}))


def test_a_collector_cannot_write_into_the_network(net: Any) -> None:
    class Writing(Fixed):
        def collect(self, name: str, op_name: str, arr: Any) -> None:
            np.asarray(arr)[...] = 0

    with pytest.raises(ValueError, match="read-only"):
        quantize_net(net, calib_mode="custom", calib_data=[X], LayerOutputCollector=Writing(GOOD))


# ---- constants, zeros, nothing --------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-42])
@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
def test_constant_data_gives_finite_numbers(net: Any, mode: str, value: float) -> None:
    data = np.full(X.shape, value, np.float32)
    qnet = quantize_net(net, calib_mode=mode, calib_data=[data])
    for array in qnet.export(None)[1].values():
        assert np.isfinite(array.asnumpy()).all()
    assert sqnr(net(mx.np.array(data)), qnet(mx.np.array(data))) > 15
    assert np.isfinite(qnet(mx.np.array(X)).asnumpy()).all()


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
def test_channels_and_layers_of_zeros_stay_zero(mode: str) -> None:
    net = residual()
    weight = net.conv1.weight.data().asnumpy()
    weight[3] = 0
    net.conv1.weight.set_data(mx.np.array(weight))
    net.bn1.gamma.set_data(mx.np.zeros(8))
    net.bn1.beta.set_data(mx.np.zeros(8))
    x = mx.np.array(X)
    qnet = quantize_net(net, calib_mode=mode, calib_data=[X])
    assert sqnr(net(x), qnet(x)) > 20
    scale = qnet.export(None)[1]["arg:conv1.weight_scale"].asnumpy()
    assert (scale == 1).all()


def test_a_batch_norm_with_tiny_variance_and_a_large_bias_does_not_overflow() -> None:
    net = residual()
    net.bn1.running_var.set_data(mx.np.full(8, 1e12))
    net.bn1.beta.set_data(mx.np.full(8, 1e6))
    x = mx.np.array(X)
    qnet = quantize_net(net, calib_mode="naive", calib_data=[X])
    assert sqnr(net(x), qnet(x)) > 20


def test_weights_with_nan_name_the_layer() -> None:
    net = residual()
    net.conv2.weight.set_data(mx.np.full((8, 8, 3, 3), np.nan))
    with pytest.raises(OpError, match="fused_conv_bn_add_act_1: its weight has NaN"):
        quantize_net(net, data_shapes=[X.shape])


def test_an_int8_network_has_nothing_left_to_quantize(net: Any) -> None:
    qnet = quantize_net(net, calib_mode="naive", calib_data=[X])
    with pytest.raises(GraphError, match="there is nothing to quantize: the network is int8 already"):
        quantize_net(qnet, calib_mode="naive", calib_data=[X])


# ---- quantize_model and layer_errors --------------------------------------------------------------


def test_quantize_model_checks_symbol_names_and_parameters(net: Any) -> None:
    with pytest.raises(TypeError, match="sym must be a Symbol, got str"):
        quantize_model("net.json", {})
    symbol = mx.sym.symbol.apply_op(
        "fully_connected", [mx.sym.var("data"), mx.sym.var("w")], num_hidden=2, no_bias=True
    )
    weights = {"w": draw(2, 3)}
    with pytest.raises(GraphError, match="there is no input 'x'"):
        quantize_model(symbol, weights, data_names="x", calib_mode="none")
    with pytest.raises(GraphError, match="variable 'w' is neither among the data names"):
        quantize_model(symbol, {}, calib_mode="none")
    with pytest.raises(OpError, match="weight"):
        quantize_model(symbol, weights, calib_mode="naive", calib_data=[draw(1, 5)])


def test_layer_errors_wants_a_network_and_what_was_made_of_it(net: Any) -> None:
    qnet = quantize_net(net, calib_mode="naive", calib_data=[X])
    with pytest.raises(TypeError, match="net must be a HybridBlock"):
        layer_errors(None, qnet, [X])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="qnet must be a SymbolBlock"):
        layer_errors(net, net, [X])
    other = fill(nn.Conv2D(8, 1, in_channels=8), X.shape)
    with pytest.raises(GraphError, match="is not in net"):
        layer_errors(other, qnet, [X])
    with pytest.raises(DataError, match="calib_data is empty"):
        layer_errors(net, qnet, [])
