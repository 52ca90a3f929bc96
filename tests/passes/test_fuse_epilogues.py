"""An anchor swallows the elementwise operations behind it, as far as they are its own."""

from __future__ import annotations

import numpy as np
import pytest
from networks import (
    SHAPE,
    assert_equivalent,
    batch_norm,
    conv,
    data,
    dense,
    find,
    inside,
    names,
    relu,
    sample_block,
    unary,
)

from minidnn.passes import FUSION_PASSES, fuse_epilogues, run_passes
from minidnn.passes.regions import MAX_REGION
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op


def test_sample_block_becomes_two_nodes() -> None:
    before = sample_block()
    after = before.optimize_for(backend="ONEDNN")
    assert names(after) == ["fused_conv_bn_act_0", "fused_conv_bn_add_act_1"]
    assert inside(after, "fused_conv_bn_act_0") == ["convolution", "batch_norm", "activation"]
    assert inside(after, "fused_conv_bn_add_act_1") == ["convolution", "batch_norm", "add", "activation"]
    assert_equivalent(before, after)


def test_hints_tell_an_activation_before_the_sum_from_one_after_it() -> None:
    after = sample_block().optimize_for()
    assert dict(find(after, "fused_conv_bn_act_0").hints) == {"with_bn": "true", "with_act": "true"}
    expected = {"with_bn": "true", "with_sum": "true", "with_postsum_act": "true"}
    assert dict(find(after, "fused_conv_bn_add_act_1").hints) == expected
    both = fuse_epilogues(relu(relu(conv(data(), "conv")) + data("other")))
    assert dict(find(both, "fused_conv_act_add_act_0").hints) == {
        "with_act": "true",
        "with_sum": "true",
        "with_postsum_act": "true",
    }


@pytest.mark.parametrize(
    ("op", "attrs", "word"),
    [
        ("relu", {}, "act"),
        ("leaky_relu", {"act_type": "elu"}, "act"),
        ("clip", {"a_min": 0.0, "a_max": 6.0}, "act"),
        ("gelu", {}, "act"),
        ("exp", {}, "exp"),
        ("add_scalar", {"scalar": 2.0}, "add"),
        ("rsubtract_scalar", {"scalar": 1.0}, "sub"),
        ("multiply_scalar", {"scalar": 0.5}, "mul"),
        ("true_divide_scalar", {"scalar": 3.0}, "div"),
    ],
)
def test_unary_and_scalar_operations_join(op: str, attrs: dict[str, object], word: str) -> None:
    before = unary(op, conv(data(), "conv"), "tail", **attrs)
    after = fuse_epilogues(before)
    assert names(after) == [f"fused_conv_{word}_0"]
    assert_equivalent(before, after)


def test_prelu_joins_with_its_slopes() -> None:
    before = apply_op("leaky_relu", [conv(data(), "conv"), var("prelu.gamma")], "prelu", act_type="prelu")
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0"]
    assert [str(e) for e in find(after, "fused_conv_act_0").inputs] == ["data", "conv.weight", "prelu.gamma"]
    assert_equivalent(before, after)


@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "maximum", "minimum", "true_divide"])
@pytest.mark.parametrize("swapped", [False, True])
def test_binary_operations_join_from_either_side(op: str, swapped: bool) -> None:
    operands = [conv(data(), "conv"), data("other")]
    before = apply_op(op, operands[::-1] if swapped else operands, "binary")
    after = fuse_epilogues(before)
    assert len(names(after)) == 1
    assert inside(after, names(after)[0]) == ["convolution", op]
    assert_equivalent(before, after)


@pytest.mark.parametrize("make", [dense, lambda x, name: dense(x, name, flatten=False)])
def test_dense_is_an_anchor(make) -> None:
    before = relu(make(data(), "fc"))
    after = fuse_epilogues(before)
    assert names(after) == ["fused_dense_act_0"]
    assert_equivalent(before, after)


@pytest.mark.parametrize("op", ["batch_dot", "matmul"])
def test_matrix_products_are_anchors(op: str) -> None:
    product = apply_op(op, [var("a", shape=(2, 3, 4)), var("b", shape=(2, 4, 5))], "product")
    before = product * 0.125 + var("mask", shape=(2, 1, 5))
    after = fuse_epilogues(before)
    assert names(after) == ["fused_matmul_mul_add_0"]
    assert_equivalent(before, after)


def test_pooling_is_no_anchor() -> None:
    pooled = unary("pooling", data(), "pool", kernel=(2, 2), pool_type="max")
    before = relu(pooled, "act")
    assert fuse_epilogues(before) is before


def test_lone_anchor_keeps_its_node() -> None:
    before = unary("softmax", conv(data(), "conv"), "softmax")
    assert fuse_epilogues(before) is before


def test_second_reader_outside_stops_the_tail() -> None:
    value = conv(data(), "conv")
    before = Group([relu(value, "act"), unary("softmax", value, "softmax")])
    assert fuse_epilogues(before) is before


def test_two_elementwise_readers_with_two_exits_stop_the_tail() -> None:
    value = conv(data(), "conv")
    before = Group([relu(value, "act"), unary("exp", value, "exp")])
    assert fuse_epilogues(before) is before


def test_output_of_the_graph_stops_the_tail() -> None:
    value = conv(data(), "conv")
    before = Group([value, relu(value, "act")])
    assert fuse_epilogues(before) is before


def test_tail_ends_at_a_value_that_is_an_output() -> None:
    middle = relu(conv(data(), "conv"), "act")
    before = Group([middle, unary("exp", middle, "exp")])
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0", "exp"]
    assert_equivalent(before, after)


def test_value_read_twice_inside_the_tail_joins() -> None:
    value = conv(data(), "conv")
    before = value * unary("sigmoid", value)
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_mul_0"]
    assert_equivalent(before, after)


def test_hard_swish_spelled_out_joins_whole() -> None:
    value = batch_norm(conv(data(), "conv"), "bn")
    before = value * unary("clip", value + 3.0, a_min=0.0, a_max=6.0) / 6.0
    after = run_passes(before)
    assert names(after) == ["fused_conv_bn_add_act_mul_div_0"]
    assert_equivalent(before, after)


def test_value_added_to_itself_joins() -> None:
    value = conv(data(), "conv")
    before = apply_op("add", [value, value], "twice")
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_add_0"]
    assert_equivalent(before, after)


def test_diamond_of_elementwise_operations_joins_whole() -> None:
    value = conv(data(), "conv")
    before = relu(unary("exp", value) + unary("tanh", value))
    after = fuse_epilogues(before)
    assert len(names(after)) == 1
    assert_equivalent(before, after)


def test_diamond_around_another_anchor_does_not_close() -> None:
    first = relu(conv(data(), "conv1"), "act1")
    before = conv(first, "conv2") + first
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0", "fused_conv_add_1"]
    assert [str(e) for e in find(after, "fused_conv_add_1").inputs] == ["fused_conv_act_0", "conv2.weight"]
    assert_equivalent(before, after)


def test_tail_does_not_swallow_a_path_that_leaves_and_comes_back() -> None:
    value = conv(data(), "conv")
    before = value + unary("softmax", value, "softmax")
    assert fuse_epilogues(before) is before


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 1, 1), (5,), (1, 1, 5, 5)])
def test_operand_that_broadcasts_to_the_anchor_joins(shape: tuple[int, ...]) -> None:
    before = conv(data(), "conv") * var("scale", shape=shape)
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_mul_0"]
    assert_equivalent(before, after)


def test_operand_that_makes_the_result_larger_stays_outside() -> None:
    pooled = conv(data(shape=(2, 4, 1, 1)), "conv", kernel=1)
    before = apply_op("multiply", [pooled, data("map")], "gate")
    assert fuse_epilogues(before) is before


def test_tail_before_the_growing_operation_still_joins() -> None:
    gate = unary("sigmoid", conv(data(shape=(2, 4, 1, 1)), "conv", kernel=1), "sigmoid")
    before = apply_op("multiply", [gate, data("map")], "gate")
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0", "gate"]
    assert_equivalent(before, after)


def test_binary_operation_of_unknown_shapes_stays_outside() -> None:
    before = apply_op("add", [conv(data(shape=None), "conv"), data("other", shape=None)], "sum")
    assert fuse_epilogues(before) is before


def test_shapes_given_to_optimize_for_make_it_known() -> None:
    before = apply_op("add", [conv(data(shape=None), "conv"), data("other", shape=None)], "sum")
    assert names(before.optimize_for()) == ["conv", "sum"]
    given = before.optimize_for(shape_dict={"data": SHAPE, "other": SHAPE})
    assert names(given) == ["fused_conv_add_0"]


def test_shapes_of_parameter_arrays_make_it_known() -> None:
    before = apply_op("add", [conv(data(), "conv"), var("offset")], "sum")
    assert names(before.optimize_for()) == ["conv", "sum"]
    arrays = {"offset": np.zeros((1, 4, 1, 1), np.float32), "unrelated": np.zeros(3)}
    assert names(before.optimize_for(args=arrays)) == ["fused_conv_add_0"]


def test_unary_tail_needs_no_shapes() -> None:
    assert names(fuse_epilogues(relu(conv(data(shape=None), "conv")))) == ["fused_conv_act_0"]


def test_sum_of_two_convolutions_goes_to_exactly_one() -> None:
    before = relu(conv(data(), "left") + conv(data("other"), "right"))
    after = fuse_epilogues(before)
    assert names(after) == ["left", "fused_conv_add_act_0"]
    assert inside(after, "fused_conv_add_act_0") == ["convolution", "add", "activation"]
    assert_equivalent(before, after)


def test_both_tails_before_a_sum_stay_with_their_anchors() -> None:
    before = relu(conv(data(), "left")) + relu(conv(data("other"), "right"))
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0", "fused_conv_act_add_1"]
    assert_equivalent(before, after)


def test_downsampling_residual_block_has_no_cycle() -> None:
    x = data()
    left = batch_norm(conv(relu(batch_norm(conv(x, "conv1", stride=(2, 2)), "bn1")), "conv2"), "bn2")
    right = batch_norm(conv(x, "shortcut", kernel=1, stride=(2, 2)), "bn3")
    before = relu(left + right)
    after = run_passes(before)
    assert names(after) == ["fused_conv_bn_act_0", "fused_conv_bn_1", "fused_conv_bn_add_act_2"]
    assert_equivalent(before, after)


def test_residual_whose_other_operand_comes_later_is_computed_first() -> None:
    x = data()
    late = unary("softmax", x, "softmax")
    before = apply_op("add", [conv(x, "conv"), late], "sum")
    assert names(before) == ["conv", "softmax", "sum"]
    after = fuse_epilogues(before)
    assert names(after) == ["softmax", "fused_conv_add_0"]
    assert_equivalent(before, after)


def test_two_anchors_that_need_each_others_values_do_not_make_a_cycle() -> None:
    x = data()
    left, right = conv(x, "left"), conv(x, "right")
    early = unary("softmax", left, "early")
    before = Group([apply_op("add", [left, right], "sum"), apply_op("multiply", [early, right], "product")])
    after = fuse_epilogues(before)
    assert names(after) == names(before)
    assert_equivalent(before, after)


def test_batch_norm_later_in_the_tail_joins() -> None:
    before = batch_norm(relu(conv(data(), "conv")), "bn")
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_bn_0"]
    assert_equivalent(before, after)


def test_batch_norm_along_another_axis_stays_outside() -> None:
    before = batch_norm(relu(conv(data(), "conv")), "bn", axis=2)
    after = fuse_epilogues(before)
    assert names(after) == ["fused_conv_act_0", "bn"]


def test_second_batch_norm_joins_behind_the_folded_one() -> None:
    before = batch_norm(batch_norm(conv(data(), "conv"), "bn1"), "bn2")
    after = run_passes(before)
    assert names(after) == ["fused_conv_bn_bn_0"]
    assert_equivalent(before, after)


def test_computed_slope_of_a_prelu_is_no_operand() -> None:
    slope = apply_op("reshape", [dense(data(shape=(1, 4)), "fc")], "slope", newshape=(4,))
    before = apply_op("leaky_relu", [var("x", shape=(2, 4)), slope], "prelu", act_type="prelu")
    assert fuse_epilogues(before) is before

    value = apply_op("matmul", [var("a", shape=(4,)), var("b", shape=(4, 4))], "product")
    itself = apply_op("leaky_relu", [value, value], "prelu", act_type="prelu")
    assert fuse_epilogues(itself) is itself


@pytest.mark.parametrize("op", ["isnan", "greater_scalar", "equal_scalar"])
def test_operations_that_leave_the_floats_join(op: str) -> None:
    attrs = {"scalar": 0.0} if op.endswith("_scalar") else {}
    before = unary(op, conv(data(), "conv"), "test", **attrs)
    after = fuse_epilogues(before)
    assert len(after.operations()) == 1
    assert_equivalent(before, after)


def test_casts_and_operands_of_other_dtypes_join() -> None:
    wide = var("wide", shape=SHAPE, dtype="float64")
    before = unary("cast", apply_op("add", [conv(data(), "conv"), wide], "sum"), "cast", dtype="int8")
    assert names(fuse_epilogues(before)) == ["fused_conv_add_cast_0"]


def test_where_types_are_unknown_an_epilogue_ends_in_float32() -> None:
    mask = unary("greater_scalar", conv(data(shape=None), "conv"), "mask", scalar=0.5)
    assert names(fuse_epilogues(mask)) == ["conv", "mask"]
    again = unary("cast", mask, "cast", dtype="float32")
    assert names(fuse_epilogues(again)) == ["fused_conv_greater_cast_0"]


def test_same_tensor_as_data_and_residual_is_one_input() -> None:
    x = data()
    after = fuse_epilogues(conv(x, "conv") + x)
    assert [str(e) for e in find(after, "fused_conv_add_0").inputs] == ["data", "conv.weight"]


def test_numbers_count_in_topological_order_over_all_fused_nodes() -> None:
    x = relu(conv(data(), "c0"))
    x = unary("softmax", x, "softmax")
    x = relu(dense(x, "fc"))
    x = unary("exp", unary("softmax", x, "softmax2")) * 2.0
    assert names(run_passes(x)) == [
        "fused_conv_act_0",
        "softmax",
        "fused_dense_act_1",
        "softmax2",
        "fused_elementwise_exp_mul_2",
    ]


def test_names_that_are_taken_are_passed_over() -> None:
    before = relu(conv(data("fused_conv_act_0"), "conv"))
    assert names(fuse_epilogues(before)) == ["fused_conv_act_1"]


def test_nodes_named_like_inputs_of_a_subgraph_do_not_collide_with_them() -> None:
    before = relu(conv(data(), "in0"), "in1")
    after = run_passes(before)
    assert isinstance(after, Symbol)
    assert Symbol(after.outputs).tojson()
    assert_equivalent(before, after)


def test_very_long_tails_are_cut() -> None:
    before = conv(data(), "conv")
    for i in range(MAX_REGION + 5):
        before = unary("tanh", before, f"t{i}")
    after = fuse_epilogues(before)
    assert len(names(after)) == 1 + MAX_REGION + 5 - (MAX_REGION - 1)
    assert names(after)[0] == "fused_conv_" + "act_" * 8 + "more_0"
    assert_equivalent(before, after)


def test_optimizing_twice_changes_nothing() -> None:
    once = sample_block().optimize_for()
    assert once.optimize_for() == once


def test_fused_graph_grows_when_more_is_put_behind_it() -> None:
    longer = unary("tanh", sample_block().optimize_for(), "tanh")
    assert names(longer.optimize_for()) == ["fused_conv_bn_act_0", "fused_conv_bn_add_act_act_1"]
    assert_equivalent(longer, longer.optimize_for())


def test_each_pass_leaves_its_input_as_it_was() -> None:
    before = sample_block()
    text = before.tojson()
    for _, transform in FUSION_PASSES:
        transform(before)
    assert Symbol(before.outputs).tojson() == text


def test_fold_runs_before_epilogues_so_that_batch_norm_is_next_to_its_anchor() -> None:
    names_of_passes = [name for name, _ in FUSION_PASSES]
    assert names_of_passes.index("fold_batch_norm") < names_of_passes.index("fuse_epilogues")
    # What belongs to an anchor is not taken by a chain of its own, nor what attention is made of by anything.
    assert names_of_passes.index("fuse_epilogues") < names_of_passes.index("fuse_elementwise")
    assert names_of_passes.index("find_attention") < names_of_passes.index("fuse_epilogues")
