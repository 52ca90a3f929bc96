"""Shapes and dtypes follow from the data, from hints and from the operators."""

from __future__ import annotations

import numpy as np
import pytest

from minidnn.errors import GraphError, OpError, ShapeError, TypeMismatchError
from minidnn.ir.infer import hinted_type
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op


def network(**hints: object) -> Symbol:
    x = apply_op("convolution", [var("data", **hints), var("w"), var("b")], "conv", kernel=(3, 3), num_filter=8)
    statistics = [var(f"bn_{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    x = apply_op("batch_norm", [x, *statistics], "bn")
    return apply_op("fully_connected", [x, var("fc_w"), var("fc_b")], "fc", num_hidden=10)


ARGUMENTS = [(2, 3, 6, 6), (8, 3, 3, 3), (8,), (8,), (8,), (10, 128), (10,)]


def test_parameter_shapes_follow_from_the_data() -> None:
    symbol = network()
    assert symbol.infer_shape(data=(2, 3, 6, 6)) == (ARGUMENTS, [(2, 10)], [(8,), (8,)])


def test_shapes_by_position() -> None:
    assert network().infer_shape((2, 3, 6, 6))[0] == ARGUMENTS
    assert network().infer_shape((2, 3, 6, 6), None, (8,))[0] == ARGUMENTS


def test_shapes_follow_into_fused_nodes() -> None:
    fused = network().optimize_for()
    assert "fused_conv_bn_0" in [node.name for node in fused.operations()]
    assert fused.infer_shape(data=(2, 3, 6, 6)) == (ARGUMENTS, [(2, 10)], [(8,), (8,)])


def test_shapes_follow_from_hints() -> None:
    assert network(shape=(2, 3, 6, 6)).infer_shape() == (ARGUMENTS, [(2, 10)], [(8,), (8,)])


def test_what_is_given_goes_before_hints() -> None:
    shapes, outputs, _ = network(shape=(2, 3, 6, 6)).infer_shape(data=(5, 3, 6, 6))
    assert shapes is not None
    assert shapes[0] == (5, 3, 6, 6)
    assert outputs == [(5, 10)]


def test_nothing_is_known_without_shapes() -> None:
    assert network().infer_shape() == (None, None, None)
    arguments, outputs, auxiliary = network().infer_shape_partial()
    assert arguments == [None] * 7
    assert outputs == [None]
    assert auxiliary == [None, None]


def test_partial_inference_gives_what_it_can() -> None:
    group = Group([var("x") + var("y"), network()])
    arguments, outputs, _ = group.infer_shape_partial(data=(2, 3, 6, 6))
    assert arguments == [None, None, *ARGUMENTS]
    assert outputs == [None, (2, 10)]


@pytest.mark.parametrize("shape", [(0, 3, 6, 6), (-1, 3, 6, 6), None])
def test_hint_with_unknown_dimensions_is_no_shape(shape: tuple[int, ...] | None) -> None:
    assert network(shape=shape).infer_shape() == (None, None, None)


def test_hint_of_a_parameter_with_unknown_channels_is_completed() -> None:
    inputs = [var("data"), var("w", shape=(8, 0, 3, 3))]
    conv = apply_op("convolution", inputs, kernel=(3, 3), num_filter=8, no_bias=True)
    arguments, _, _ = conv.infer_shape(data=(1, 5, 4, 4))
    assert arguments == [(1, 5, 4, 4), (8, 5, 3, 3)]


def test_shape_that_does_not_fit_names_the_node() -> None:
    with pytest.raises(ShapeError, match=r"node 'conv'.*data"):
        network().infer_shape(data=(2, 3, 6))
    with pytest.raises(ShapeError, match=r"node 'conv'.*weight"):
        network().infer_shape(data=(2, 3, 6, 6), w=(8, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"node 'fused_conv_bn_0'.*node 'conv'"):
        network().optimize_for().infer_shape(data=(2, 3, 6, 6), w=(8, 4, 3, 3))


def test_unknown_name_is_refused() -> None:
    with pytest.raises(GraphError, match=r"no variable 'dta'.*'data'"):
        network().infer_shape(dta=(2, 3, 6, 6))
    with pytest.raises(GraphError, match="got 2 values for 1 arguments"):
        var("x").infer_shape((1,), (2,))


def test_dtypes_follow_from_hints() -> None:
    f32 = np.dtype("float32")
    assert network(shape=(2, 3, 6, 6)).infer_type() == ([f32] * 7, [f32], [f32] * 2)


def test_dtype_of_the_data_is_that_of_its_parameters() -> None:
    f16 = np.dtype("float16")
    arguments, outputs, _ = network(shape=(2, 3, 6, 6)).infer_type(data="float16")
    assert arguments == [f16] * 7
    assert outputs == [f16]
    assert network(shape=(2, 3, 6, 6), dtype="float16").infer_type()[1] == [f16]


def test_parameters_of_integer_data_are_floats() -> None:
    tokens = var("tokens", shape=(2, 7), dtype="int32")
    embedded = apply_op("embedding", [tokens, var("w")], input_dim=11, output_dim=6)
    arguments, outputs, _ = embedded.infer_type()
    assert arguments == [np.dtype("int32"), np.dtype("float32")]
    assert outputs == [np.dtype("float32")]
    assert embedded.infer_shape()[1] == [(2, 7, 6)]


def test_dtypes_without_shapes_stay_unknown() -> None:
    assert network().infer_type(data="float32") == (None, None, None)


def test_dtype_that_does_not_fit_names_the_node() -> None:
    with pytest.raises(TypeMismatchError, match="node 'conv'"):
        network(shape=(2, 3, 6, 6)).infer_type(w="float64")
    with pytest.raises(OpError, match="node 'conv'"):
        network(shape=(2, 3, 6, 6)).infer_type(data="int32")


def test_hint_that_is_no_shape_is_unknown() -> None:
    odd = var("x", attr={"__shape__": "nonsense"}).outputs[0].node
    assert hinted_type(odd) is None
