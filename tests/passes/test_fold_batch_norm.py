"""A batch normalization behind an anchor joins it, and only there."""

from __future__ import annotations

import pytest
from networks import assert_equivalent, batch_norm, conv, data, dense, find, inside, names, relu

from minidnn.passes import fold_batch_norm
from minidnn.symbol import Group, var
from minidnn.symbol.symbol import apply_op


def test_convolution_and_batch_norm_become_one_node() -> None:
    before = batch_norm(conv(data(), "conv"), "bn")
    after = fold_batch_norm(before)
    assert names(after) == ["fused_conv_bn_0"]
    assert inside(after, "fused_conv_bn_0") == ["convolution", "batch_norm"]
    assert_equivalent(before, after)


def test_all_parameters_stay_inputs_of_the_fused_node() -> None:
    after = fold_batch_norm(batch_norm(conv(data(), "conv"), "bn"))
    inputs = [str(e) for e in find(after, "fused_conv_bn_0").inputs]
    assert inputs == ["data", "conv.weight", "bn.gamma", "bn.beta", "bn.running_mean", "bn.running_var"]


def test_fused_node_says_so_in_mxnets_words() -> None:
    after = fold_batch_norm(batch_norm(conv(data(), "conv"), "bn"))
    assert dict(find(after, "fused_conv_bn_0").hints) == {"with_bn": "true"}


def test_deconvolution_folds() -> None:
    weights = [data(), var("up.weight")]
    up = apply_op("deconvolution", weights, "up", kernel=(2, 2), stride=(2, 2), num_filter=3, no_bias=True)
    before = batch_norm(up, "bn")
    after = fold_batch_norm(before)
    assert names(after) == ["fused_deconv_bn_0"]
    assert_equivalent(before, after)


@pytest.mark.parametrize(("flatten", "axis"), [(True, 1), (True, -1), (False, -1), (False, 3)])
def test_dense_folds_where_the_axis_is_that_of_its_units(flatten: bool, axis: int) -> None:
    before = batch_norm(dense(data(), "fc", units=3, flatten=flatten), "bn", axis=axis)
    after = fold_batch_norm(before)
    assert names(after) == ["fused_dense_bn_0"]
    assert_equivalent(before, after)


@pytest.mark.parametrize("axis", [1, 2])
def test_dense_does_not_fold_along_another_axis(axis: int) -> None:
    before = batch_norm(dense(data(), "fc", units=3, flatten=False), "bn", axis=axis)
    assert fold_batch_norm(before) is before


@pytest.mark.parametrize("axis", [2, 3, -1])
def test_convolution_does_not_fold_along_a_spatial_axis(axis: int) -> None:
    before = batch_norm(conv(data(), "conv"), "bn", axis=axis)
    assert fold_batch_norm(before) is before


def test_axis_counted_from_the_back_is_the_same_axis() -> None:
    assert names(fold_batch_norm(batch_norm(conv(data(), "conv"), "bn", axis=-3))) == ["fused_conv_bn_0"]


def test_batch_norm_in_front_of_a_convolution_stays() -> None:
    before = conv(batch_norm(data(), "bn"), "conv")
    assert fold_batch_norm(before) is before


def test_second_reader_of_the_convolution_prevents_it() -> None:
    value = conv(data(), "conv")
    before = Group([batch_norm(value, "bn"), relu(value, "act")])
    assert fold_batch_norm(before) is before


def test_convolution_that_is_an_output_prevents_it() -> None:
    value = conv(data(), "conv")
    before = Group([value, batch_norm(value, "bn")])
    assert fold_batch_norm(before) is before


def test_something_in_between_prevents_it() -> None:
    before = batch_norm(relu(conv(data(), "conv"), "act"), "bn")
    assert fold_batch_norm(before) is before


def test_computed_scale_prevents_it() -> None:
    gamma = apply_op("exp", [var("log_gamma", shape=(4,))], "gamma")
    rest = [var(f"bn.{role}", shape=(4,)) for role in ("beta", "running_mean", "running_var")]
    before = apply_op("batch_norm", [conv(data(), "conv"), gamma, *rest], "bn")
    assert fold_batch_norm(before) is before


def test_computed_weight_prevents_it() -> None:
    weight = apply_op("exp", [var("log_weight", shape=(4, 4, 3, 3))], "weight")
    value = apply_op("convolution", [data(), weight], "conv", kernel=(3, 3), num_filter=4, no_bias=True)
    before = batch_norm(value, "bn")
    assert fold_batch_norm(before) is before


def test_anchor_that_computes_the_scale_does_not_fold() -> None:
    vector = dense(data(shape=(1, 4)), "fc", units=4)
    gamma = apply_op("reshape", [vector], "gamma", newshape=(4,))
    rest = [var(f"bn.{role}", shape=(4,)) for role in ("beta", "running_mean", "running_var")]
    before = apply_op("batch_norm", [var("x", shape=(2, 4)), gamma, *rest], "bn")
    assert fold_batch_norm(before) is before


def test_works_without_any_shapes() -> None:
    after = fold_batch_norm(batch_norm(conv(data(shape=None), "conv"), "bn"))
    assert names(after) == ["fused_conv_bn_0"]
