"""The article's residual block, and small graphs, through every stage of quantization: exact lists of nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import SHAPE, batch_norm, conv, data, dense, find, inside, names, random_feed, relu, sample_block, unary

from minidnn.errors import OpError
from minidnn.ir.graph import Graph, evaluate
from minidnn.ir.infer import known_types
from minidnn.ir.roles import parameter_variables
from minidnn.passes import FUSION_PASSES, run_passes
from minidnn.passes.quantize_calibrate import calibrate
from minidnn.passes.quantize_fold import fold_bias, fold_types
from minidnn.passes.quantize_insert import insert
from minidnn.passes.quantize_mark import Marks, mark
from minidnn.passes.quantized_graph import QuantizedGraph, layer_output
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op

Feed = dict[str, np.ndarray[Any, Any]]
FIRST, SECOND = "quantized_fused_conv_bn_act_0", "quantized_fused_conv_bn_add_act_1"


def prepare(symbol: Symbol) -> tuple[Graph, Feed, Feed]:
    """The fused graph, values of its parameters, values of its inputs."""
    graph = run_passes(symbol, FUSION_PASSES)
    feed = random_feed(graph)
    parameters = {v.name for v in parameter_variables(graph)}
    return (
        graph,
        {name: a for name, a in feed.items() if name in parameters},
        {name: a for name, a in feed.items() if name not in parameters},
    )


def ranges(graph: Graph, feed: Feed) -> dict[str, tuple[float, float]]:
    """Minimum and maximum of every value of the graph, by the references."""
    entries = [n[i] for n in graph.nodes() for i in range(n.num_outputs)]
    found = evaluate(Graph(entries), feed)
    return {layer_output(e): (float(a.min()), float(a.max())) for e, a in zip(entries, found, strict=True)}


def stages(symbol: Symbol, mode: str = "full", dtype: str = "auto", **options: Any) -> list[QuantizedGraph]:
    """Inserted, calibrated, folded."""
    graph, parameters, inputs = prepare(symbol)
    inserted = insert(graph, parameters, mark(graph, parameters, mode, **options), dtype)
    calibrated = calibrate(inserted, ranges(graph, parameters | inputs))
    return [inserted, calibrated, fold_types(fold_bias(calibrated))]


def marks_of(symbol: Symbol, mode: str = "full") -> tuple[Graph, Marks]:
    graph, parameters, _ = prepare(symbol)
    return graph, mark(graph, parameters, mode)


def int8_names(symbol: Symbol, mode: str = "full") -> set[str]:
    return {e.node.name for e in marks_of(symbol, mode)[1].int8}


def sqnr(wanted: Any, got: Any) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def assert_every_stage_agrees(
    symbol: Symbol, decibel: float = 20, first: int = 0, **options: Any
) -> list[QuantizedGraph]:
    """Every stage from `first` on is within `decibel` of float32."""
    graph, parameters, inputs = prepare(symbol)
    wanted = evaluate(graph, parameters | inputs)
    made = stages(symbol, **options)
    for stage in made[first:]:
        got = evaluate(stage.graph, {**stage.parameters, **inputs})
        for one, other in zip(wanted, got, strict=True):
            assert one.shape == other.shape and one.dtype == other.dtype
            assert sqnr(one, other) > decibel, stage.graph
    return made


# ---- the article's block --------------------------------------------------------------------------


def test_sample_block_not_calibrated() -> None:
    inserted = stages(sample_block())[0].graph
    assert names(inserted) == ["data_quantize", FIRST, "fused_conv_bn_act_0_quantize", "data_dequantize", SECOND]
    assert inside(inserted, FIRST) == ["quantized_convolution", "dequantize", "add", "activation"]
    assert inside(inserted, SECOND) == ["quantized_convolution", "dequantize", "add", "add", "activation"]
    quantize = find(inserted, "fused_conv_bn_act_0_quantize").attrs
    assert (quantize.min_calib_range, quantize.max_calib_range, quantize.out_type) == (None, None, "uint8")
    assert find(inserted, "data_quantize").attrs.out_type == "int8"


def test_sample_block_calibrated() -> None:
    graph, parameters, inputs = prepare(sample_block())
    calibrated = stages(sample_block())[1].graph
    assert names(calibrated) == names(stages(sample_block())[0].graph)
    known = ranges(graph, parameters | inputs)
    for name, layer in (("data_quantize", "data"), ("fused_conv_bn_act_0_quantize", "fused_conv_bn_act_0_output")):
        attrs = find(calibrated, name).attrs
        assert (attrs.min_calib_range, attrs.max_calib_range) == known[layer]


def test_sample_block_calibrated_and_folded() -> None:
    folded = stages(sample_block())[2]
    assert names(folded.graph) == ["data_quantize", FIRST, SECOND]
    assert inside(folded.graph, FIRST) == ["quantized_convolution", "dequantize", "activation", "quantize"]
    assert inside(folded.graph, SECOND) == ["quantized_convolution", "dequantize", "dequantize", "add", "activation"]
    first, second = find(folded.graph, FIRST), find(folded.graph, SECOND)
    assert first.num_outputs == 2
    assert first.hints["out_type"] == "uint8"
    assert first.hints["with_bn"] == first.hints["with_act"] == "true"
    # What feeds float32 only has no range.
    assert second.num_outputs == 1
    assert not {"min_calib_range", "max_calib_range", "out_type"} & set(second.hints)
    assert set(folded.parameters) == {
        f"conv{i}.{what}" for i in (1, 2) for what in ("weight_int8", "weight_scale", "bias_int32")
    }
    types = {name: a.dtype.name for name, a in folded.parameters.items()}
    assert set(types.values()) == {"int8", "float32", "int32"}
    assert known_types(folded.graph)[folded.graph.outputs[0]].shape == SHAPE


def test_sample_block_agrees_with_float32_at_every_stage() -> None:
    assert_every_stage_agrees(sample_block(), 30)


def test_folding_changes_no_bit_but_those_of_the_rounded_bias() -> None:
    _, calibrated, folded = stages(sample_block())
    _, _, inputs = prepare(sample_block())
    with_bias = fold_bias(calibrated)
    (wanted,) = evaluate(with_bias.graph, {**with_bias.parameters, **inputs})
    (got,) = evaluate(folded.graph, {**folded.parameters, **inputs})
    np.testing.assert_array_equal(got, wanted)


def test_without_calibration_only_dequantize_nodes_fold() -> None:
    inserted = stages(sample_block())[0]
    folded = fold_types(fold_bias(inserted))
    assert names(folded.graph) == ["data_quantize", FIRST, "fused_conv_bn_act_0_quantize", SECOND]
    assert inside(folded.graph, SECOND) == [
        "quantized_convolution", "dequantize", "add", "dequantize", "add", "activation",
    ]  # fmt: skip
    _, _, inputs = prepare(sample_block())
    for one, other in zip(
        evaluate(inserted.graph, {**inserted.parameters, **inputs}),
        evaluate(folded.graph, {**folded.parameters, **inputs}),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


# ---- products -------------------------------------------------------------------------------------


def test_a_bare_convolution_gives_int32_and_requantize_or_dequantize_follows() -> None:
    symbol = conv(conv(data(), "a"), "b")
    inserted, _, folded = assert_every_stage_agrees(symbol)
    assert names(inserted.graph) == ["data_quantize", "quantized_a", "a_requantize", "quantized_b", "b_dequantize"]
    assert names(folded.graph) == ["data_quantize", "quantized_a", "quantized_b"]
    assert inside(folded.graph, "quantized_a") == ["quantized_convolution", "dequantize", "quantize"]
    assert inside(folded.graph, "quantized_b") == ["quantized_convolution", "dequantize"]


def test_a_dense_layer_keeps_its_bias_and_dimensions() -> None:
    symbol = dense(relu(dense(data(shape=(3, 5, 7)), "a", 6, flatten=False)), "b", 4)
    *_, folded = assert_every_stage_agrees(symbol)
    assert names(folded.graph) == ["data_quantize", "quantized_fused_dense_act_0", "quantized_b"]
    assert {name for name, a in folded.parameters.items() if a.dtype == np.int32} == {"a.bias_int32", "b.bias_int32"}


def test_a_batch_norm_that_is_not_next_to_the_convolution_stays_in_the_tail() -> None:
    *_, folded = assert_every_stage_agrees(batch_norm(relu(conv(data(), "a")), "bn"))
    (name,) = set(names(folded.graph)) - {"data_quantize"}
    assert inside(folded.graph, name) == ["quantized_convolution", "dequantize", "activation", "batch_norm"]


def test_batch_dot_multiplies_two_quantized_values_the_right_one_signed() -> None:
    left, right = relu(data("x", (2, 3, 4))), relu(data("y", (2, 4, 5)))
    inserted, _, folded = assert_every_stage_agrees(apply_op("batch_dot", [left, right], "dot"))
    types = {n.name: n.attrs.out_type for n in inserted.graph.operations() if n.op_name == "quantize"}
    assert sorted(types.values()) == ["int8", "uint8"]
    assert inside(folded.graph, "quantized_dot") == ["quantized_batch_dot", "dequantize"]


def test_weights_that_are_computed_stay_float32() -> None:
    weight = unary("negative", var("w", shape=(4, 4, 1, 1)))
    symbol = apply_op("convolution", [data(), weight], "a", kernel=(1, 1), num_filter=4, no_bias=True)
    assert not marks_of(symbol)[1].products


def test_a_product_of_float64_stays() -> None:
    symbol = conv(var("data", shape=SHAPE, dtype="float64"), "a")
    assert not marks_of(symbol)[1].products


def test_one_weight_of_two_layers_is_quantized_for_each() -> None:
    weight = var("shared.weight", shape=(4, 4, 1, 1))
    first = apply_op("convolution", [data(), weight], "a", kernel=(1, 1), num_filter=4, no_bias=True)
    second = apply_op(
        "convolution", [relu(batch_norm(first, "bn")), weight], "b", kernel=(1, 1), num_filter=4, no_bias=True
    )
    *_, folded = assert_every_stage_agrees(second)
    assert {"shared.weight_int8", "shared.weight_int8_"} <= set(folded.parameters)


def test_tensor_wise_dense_layers_have_one_scale_and_convolutions_one_for_each_channel() -> None:
    graph, parameters, _ = prepare(dense(conv(data(), "a"), "b", 6))
    marks = mark(graph, parameters, "full")
    for per_channel, scales in ((True, 6), (False, 1)):
        made = insert(graph, parameters, marks, per_channel_dense=per_channel).parameters
        assert len(set(made["a.weight_scale"].tolist())) == 4
        assert len(set(made["b.weight_scale"].tolist())) == scales


# ---- what passes int8 on --------------------------------------------------------------------------


def pool(x: Symbol, name: str, kind: str = "max", **attrs: Any) -> Symbol:
    return apply_op("pooling", [x], name, kernel=(2, 2), stride=(2, 2), pool_type=kind, **attrs)


def test_max_pooling_and_flatten_pass_integers_on() -> None:
    symbol = dense(unary("flatten", pool(relu(conv(data(), "a")), "p"), "f"), "b")
    *_, folded = assert_every_stage_agrees(symbol)
    assert names(folded.graph) == [
        "data_quantize", "quantized_fused_conv_act_0", "quantized_p", "quantized_f", "quantized_b",
    ]  # fmt: skip
    types = known_types(folded.graph)
    assert types[find(folded.graph, "quantized_f")[0]].dtype == np.uint8


def test_average_pooling_computes_between_dequantize_and_quantize_in_one_node() -> None:
    symbol = dense(pool(relu(conv(data(), "a")), "p", "avg"), "b")
    *_, folded = assert_every_stage_agrees(symbol)
    assert inside(folded.graph, "quantized_p") == ["dequantize", "pooling", "quantize"]
    assert find(folded.graph, "quantized_p").hints["out_type"] == "uint8"


def test_joined_values_share_one_range() -> None:
    x = data()
    symbol = conv(apply_op("concatenate", [relu(conv(x, "a")), conv(x, "b"), x], "c", num_args=3, axis=1), "d")
    # Before calibration the scales are not one.
    _, calibrated, folded = assert_every_stage_agrees(symbol, first=1)
    quantizing = [n for n in calibrated.graph.operations() if n.op_name in {"quantize", "requantize"}]
    assert len(quantizing) == 3
    assert len({(n.attrs.min_calib_range, n.attrs.max_calib_range, n.attrs.out_type) for n in quantizing}) == 1
    assert quantizing[0].attrs.out_type == "int8"
    assert names(folded.graph)[-2:] == ["quantized_c", "quantized_d"]


def test_joins_stay_float32_without_calibration() -> None:
    x = data()
    graph, parameters, _ = prepare(conv(apply_op("concatenate", [relu(x), x], "c", num_args=2, axis=1), "d"))
    marks = mark(graph, parameters, "full", joins=False)
    assert not any(node.op_name == "concatenate" for node in marks.transparent)


def test_an_embedding_gives_int8_with_the_scale_of_its_table() -> None:
    table = var("table", shape=(10, 6))
    found = apply_op("embedding", [data(shape=(2, 3)), table], "e", input_dim=10, output_dim=6)
    graph, parameters, _ = prepare(dense(found, "d", flatten=False))
    inserted = insert(graph, parameters, mark(graph, parameters, "full"))
    assert names(inserted.graph)[0] == "quantized_e"
    assert inserted.layers() == ()
    folded = fold_types(fold_bias(inserted))
    assert inserted.parameters["table_int8"].dtype == np.int8
    # The scale of a table is known without calibration.
    assert folded.parameters["d.bias_int32"].dtype == np.int32
    feed = {"data": np.array([[0, 9, 3], [4, 4, 1]], np.float32)}
    (wanted,) = evaluate(graph, {**parameters, **feed})
    (got,) = evaluate(folded.graph, {**folded.parameters, **feed})
    assert sqnr(wanted, got) > 30


def test_split_passes_integers_on_to_all_its_outputs() -> None:
    parts = apply_op("split", [relu(conv(data(), "a"))], "s", sections=2, axis=1)
    *_, folded = assert_every_stage_agrees(Group([conv(parts[0], "b"), conv(parts[1], "c")]))
    assert names(folded.graph)[1:3] == ["quantized_fused_conv_act_0", "quantized_s"]


def test_padding_with_zeros_passes_integers_on_and_with_ones_does_not() -> None:
    for value, wanted in ((0.0, True), (1.0, False)):
        padded = unary(
            "pad", relu(conv(data(), "a")), "p", pad_width=((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=value
        )
        _, marks = marks_of(conv(padded, "b"), "smart")
        assert any(n.op_name == "pad" for n in marks.transparent) is wanted


# ---- what computes in float32 ---------------------------------------------------------------------


def test_elementwise_operations_between_products_take_both_conversions_in() -> None:
    x = conv(data(), "a")
    y = unary("sigmoid", batch_norm(x, "bn1"))
    symbol = conv(apply_op("multiply", [relu(y), pool_like(y)], "m"), "b")
    assert_every_stage_agrees(symbol, 15)


def pool_like(x: Symbol) -> Symbol:
    return unary("tanh", x)


def test_a_batch_norm_before_a_convolution_is_a_node_of_its_own() -> None:
    x = relu(conv(data(), "a"))
    symbol = Group([conv(relu(batch_norm(x, "bn")), "b"), conv(x, "c")])
    *_, folded = assert_every_stage_agrees(symbol)
    (name,) = [n for n in names(folded.graph) if "elementwise" in n]
    assert inside(folded.graph, name) == ["dequantize", "batch_norm", "activation", "quantize"]


def test_softmax_between_products_runs_in_float32() -> None:
    x = dense(data(shape=(3, 8)), "a", 6)
    *_, folded = assert_every_stage_agrees(dense(unary("softmax", x, "s"), "b"))
    assert names(folded.graph) == ["data_quantize", "quantized_a", "s", "s_quantize", "quantized_b"]
    assert find(folded.graph, "s_quantize").attrs.out_type == "uint8"
    assert find(folded.graph, "quantized_a").num_outputs == 1


def test_a_value_that_int8_and_float32_readers_want_is_int8_for_both() -> None:
    x = relu(conv(data(), "a"))
    *_, folded = assert_every_stage_agrees(Group([conv(x, "b"), unary("softmax", x, "s"), x]))
    assert "fused_conv_act_0_dequantize" in names(folded.graph)


# ---- modes and types ------------------------------------------------------------------------------


def downsampling() -> Symbol:
    x = relu(conv(data(), "a"))
    return relu(batch_norm(conv(x, "b"), "bn1") + batch_norm(conv(x, "c"), "bn2"))


def test_smart_mode_leaves_in_float32_what_no_product_reads() -> None:
    full, smart = int8_names(downsampling(), "full"), int8_names(downsampling(), "smart")
    assert smart < full
    assert smart == {"data", "fused_conv_act_0"}
    assert full - smart == {"fused_conv_bn_1"}
    for mode in ("full", "smart"):
        assert_every_stage_agrees(downsampling(), mode=mode)


def test_full_mode_does_not_quantize_the_input_for_float32_operations() -> None:
    symbol = conv(batch_norm(data(), "bn"), "a")
    assert int8_names(symbol, "full") == {"bn"}


def test_first_and_last_layer_are_quantized() -> None:
    _, marks = marks_of(dense(relu(conv(data(), "first")), "last"))
    assert len(marks.products) == 2


def test_excluded_layers_stay_as_they_are() -> None:
    graph, parameters, inputs = prepare(sample_block())
    first = graph.operations()[0]
    made = insert(graph, parameters, mark(graph, parameters, "full", {first}))
    assert names(made.graph) == ["fused_conv_bn_act_0", "fused_conv_bn_act_0_quantize", SECOND]
    folded = fold_types(fold_bias(calibrate(made, ranges(graph, parameters | inputs))))
    (wanted,) = evaluate(graph, parameters | inputs)
    (got,) = evaluate(folded.graph, {**folded.parameters, **inputs})
    assert sqnr(wanted, got) > 30


@pytest.mark.parametrize(
    ("dtype", "types"),
    [("auto", ["int8", "uint8", "int8"]), ("int8", ["int8"] * 3), ("uint8", ["int8", "uint8", "uint8"])],
)
def test_uint8_is_for_what_cannot_be_negative(dtype: str, types: list[str]) -> None:
    # The second convolution's output is not known to be positive, but calibration says so.
    symbol = conv(conv(relu(conv(data(), "a")), "b"), "c")
    graph, parameters, inputs = prepare(symbol)
    inserted = insert(graph, parameters, mark(graph, parameters, "full"), dtype)
    known = ranges(graph, parameters | inputs) | {"b_output": (0.0, 1.0)}
    found = [n.attrs.out_type for n in calibrate(inserted, known).graph.operations() if "out_type" in n.attrs]
    assert found == types


def test_an_input_that_calibration_finds_positive_is_uint8_in_auto() -> None:
    graph, parameters, _ = prepare(conv(data(), "a"))
    inserted = insert(graph, parameters, mark(graph, parameters, "full"))
    for low, wanted in ((0.0, "uint8"), (-0.1, "int8")):
        made = calibrate(inserted, {"data": (low, 1.0)})
        assert find(made.graph, "data_quantize").attrs.out_type == wanted


# ---- ranges that do not do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no range for layer 'data'"),
        ({"data": (1.0, -1.0)}, r"layer 'data': the minimum .* got \(1.0, -1.0\)"),
        ({"data": (float("nan"), 1.0)}, r"layer 'data': a range must be finite, got \(nan, 1.0\)"),
        ({"data": (0.0, float("inf"))}, "layer 'data': a range must be finite"),
        ({"data": 3.0}, "layer 'data': a range must be a pair of numbers, got 3.0"),
        ({"data": ("a", "b")}, "layer 'data': a range must be a pair of numbers"),
        ({"data": (1, 2, 3)}, "layer 'data': a range must be a pair of numbers"),
    ],
)
def test_a_range_that_is_missing_or_impossible_names_the_layer(given: Any, message: str) -> None:
    graph, parameters, _ = prepare(conv(data(), "a"))
    inserted = insert(graph, parameters, mark(graph, parameters, "full"))
    with pytest.raises(OpError, match=message):
        calibrate(inserted, given)


def test_weights_with_nan_name_the_layer() -> None:
    graph, parameters, _ = prepare(sample_block())
    parameters["conv2.weight"][0, 0, 0, 0] = np.nan
    with pytest.raises(OpError, match="fused_conv_bn_add_act_1: its weight has NaN or infinity"):
        insert(graph, parameters, mark(graph, parameters, "full"))
