"""Elementwise operations without an anchor become one node, as far as they have one shape and one exit."""

from __future__ import annotations

import pytest
from networks import SHAPE, assert_equivalent, batch_norm, conv, data, find, inside, names, relu, unary

from minidnn.passes import fuse_elementwise, run_passes
from minidnn.passes.regions import MAX_REGION
from minidnn.symbol import Group, var
from minidnn.symbol.symbol import apply_op


def test_chain_becomes_one_node() -> None:
    before = unary("exp", data()) * 2.0 + data("other")
    after = fuse_elementwise(before)
    assert names(after) == ["fused_elementwise_exp_mul_add_0"]
    assert [str(e) for e in find(after, "fused_elementwise_exp_mul_add_0").inputs] == ["data", "other"]
    assert_equivalent(before, after)


def test_lone_operation_keeps_its_node() -> None:
    before = relu(data(), "act")
    assert fuse_elementwise(before) is before


def test_batch_norm_and_activation_in_front_of_a_convolution_are_one_node() -> None:
    before = conv(relu(batch_norm(data(), "bn")), "conv")
    after = run_passes(before)
    assert names(after) == ["fused_elementwise_bn_act_0", "conv"]
    assert not find(after, "fused_elementwise_bn_act_0").hints
    assert_equivalent(before, after)


def test_lone_batch_norm_keeps_its_node() -> None:
    before = batch_norm(data(), "bn")
    assert fuse_elementwise(before) is before


def test_batch_norms_of_one_region_normalize_one_axis() -> None:
    same = batch_norm(batch_norm(data(), "bn1"), "bn2", axis=-3)
    assert names(fuse_elementwise(same)) == ["fused_elementwise_bn_bn_0"]
    different = batch_norm(batch_norm(data(), "bn1"), "bn2", axis=3)
    assert fuse_elementwise(different) is different


def test_branches_that_meet_are_one_region() -> None:
    before = unary("exp", data("a")) + unary("tanh", data("b"))
    after = fuse_elementwise(before)
    assert len(names(after)) == 1
    assert_equivalent(before, after)


def test_value_read_twice_is_computed_once_inside() -> None:
    value = unary("exp", data())
    before = value * unary("sigmoid", value)
    after = fuse_elementwise(before)
    assert inside(after, names(after)[0]) == ["exp", "sigmoid", "multiply"]
    assert_equivalent(before, after)


def test_value_that_is_read_outside_too_is_not_swallowed() -> None:
    value = unary("exp", data(), "exp")
    before = Group([relu(value, "act"), unary("softmax", value, "softmax")])
    assert fuse_elementwise(before) is before


def test_value_that_is_an_output_is_not_swallowed() -> None:
    value = unary("exp", data(), "exp")
    before = Group([value, relu(value, "act")])
    assert fuse_elementwise(before) is before


def test_two_regions_around_a_softmax() -> None:
    before = relu(unary("exp", unary("softmax", unary("tanh", data()) * 2.0, "softmax")))
    after = fuse_elementwise(before)
    assert names(after) == ["fused_elementwise_act_mul_0", "softmax", "fused_elementwise_exp_act_1"]
    assert_equivalent(before, after)


def test_smaller_operand_is_computed_outside() -> None:
    small = unary("exp", var("small", shape=(1, 4, 1, 1)), "exp")
    before = relu(apply_op("multiply", [data(), small], "scale"))
    after = fuse_elementwise(before)
    assert names(after) == ["exp", "fused_elementwise_mul_act_0"]
    assert_equivalent(before, after)


def test_without_shapes_only_what_keeps_them_joins() -> None:
    chain = relu(unary("exp", data(shape=None)))
    assert names(fuse_elementwise(chain)) == ["fused_elementwise_exp_act_0"]
    value = unary("exp", data(shape=None), "exp")
    squared = relu(apply_op("multiply", [value, value], "square"))
    assert names(fuse_elementwise(squared)) == ["fused_elementwise_exp_mul_act_0"]
    mixed = relu(apply_op("add", [unary("exp", data("a", None), "exp"), data("b", None)], "sum"))
    assert names(fuse_elementwise(mixed)) == ["exp", "fused_elementwise_add_act_0"]


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "float64"])
def test_every_dtype_is_fused(dtype: str) -> None:
    x = var("x", shape=SHAPE, dtype=dtype)
    after = fuse_elementwise(unary("logical_not", unary("abs", x, "one"), "two"))
    assert names(after) == ["fused_elementwise_abs_logical_not_0"]


def test_dtypes_may_change_inside_a_region() -> None:
    x = data()
    mask = unary("greater_scalar", unary("exp", x) * 2.0, "mask", scalar=1.0)
    chosen = apply_op("where", [mask, x, x * -1.0], "chosen")
    after = fuse_elementwise(unary("cast", chosen, "cast", dtype="int32"))
    assert len(after.operations()) == 1
    assert_equivalent(unary("cast", chosen, "cast", dtype="int32"), after)


def test_computed_slope_of_a_prelu_is_not_swallowed() -> None:
    x, slope = var("x", shape=(4,)), unary("exp", var("log_slope", shape=(4,)), "slope")
    before = apply_op("leaky_relu", [x, slope], "prelu", act_type="prelu")
    assert fuse_elementwise(before) is before


def test_value_that_is_its_own_slope_is_not_swallowed() -> None:
    value = unary("exp", var("x", shape=(4,)), "exp")
    before = apply_op("leaky_relu", [value, value], "prelu", act_type="prelu")
    assert fuse_elementwise(before) is before


def test_very_long_chains_are_cut() -> None:
    before = data()
    for i in range(MAX_REGION + 3):
        before = unary("tanh", before, f"t{i}")
    after = fuse_elementwise(before)
    assert [len(inside(after, name)) for name in names(after)] == [3, MAX_REGION]
    assert_equivalent(before, after)
