"""`Symbol` answers as MXNet's does."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import DataError, GraphError, MXNetError, OpError
from minidnn.gluon import nn
from minidnn.ir.graph import evaluate
from minidnn.symbol import Group, Symbol, Variable, fromjson, load, load_json, var
from minidnn.symbol.symbol import apply_op


def conv_bn() -> Symbol:
    conv = apply_op("convolution", [var("data"), var("w"), var("b")], "conv", kernel=(3, 3), num_filter=8)
    statistics = [var(f"bn_{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    return apply_op("batch_norm", [conv, *statistics], "bn")


def split() -> Symbol:
    return apply_op("split", [var("x")], "halves", sections=2, axis=1)


# ---- lists ----------------------------------------------------------------------------------------


def test_running_statistics_are_auxiliary_states_and_no_arguments() -> None:
    symbol = conv_bn()
    assert symbol.list_arguments() == ["data", "w", "b", "bn_gamma", "bn_beta"]
    assert symbol.list_auxiliary_states() == ["bn_running_mean", "bn_running_var"]
    assert symbol.list_inputs() == ["data", "w", "b", "bn_gamma", "bn_beta", "bn_running_mean", "bn_running_var"]


def test_running_statistics_stay_auxiliary_states_inside_a_fused_node() -> None:
    fused = conv_bn().optimize_for()
    assert [node.op_name for node in fused.operations()] == ["fused"]
    assert fused.list_auxiliary_states() == ["bn_running_mean", "bn_running_var"]
    assert fused.list_arguments() == conv_bn().list_arguments()


def test_statistics_that_someone_reads_as_data_are_arguments() -> None:
    symbol = conv_bn()
    mean = Symbol([next(v for v in symbol.variables() if v.name == "bn_running_mean")[0]])
    assert "bn_running_mean" in Group([symbol, -mean]).list_arguments()


def test_outputs_are_named_after_their_nodes() -> None:
    assert conv_bn().list_outputs() == ["bn_output"]
    assert split().list_outputs() == ["halves_output0", "halves_output1"]
    assert var("x").list_outputs() == ["x"]


def test_name_is_that_of_the_node_and_none_for_a_group() -> None:
    assert conv_bn().name == "bn"
    assert split().name == "halves"
    assert Group([var("x"), var("y")]).name is None


def test_internals_hold_every_output_of_every_node() -> None:
    internals = conv_bn().get_internals()
    assert internals.list_outputs() == [
        "data",
        "w",
        "b",
        "conv_output",
        "bn_gamma",
        "bn_beta",
        "bn_running_mean",
        "bn_running_var",
        "bn_output",
    ]
    assert internals["conv_output"].list_arguments() == ["data", "w", "b"]


def test_children_are_the_inputs() -> None:
    children = conv_bn().get_children()
    assert children is not None
    assert children.list_outputs()[0] == "conv_output"
    assert var("x").get_children() is None


# ---- a container of outputs ------------------------------------------------------------------------


def test_outputs_by_number_by_name_and_by_slice() -> None:
    halves = split()
    assert len(halves) == 2
    assert [half.list_outputs() for half in halves] == [["halves_output0"], ["halves_output1"]]
    assert halves[-1] == halves["halves_output1"]
    assert halves[:1].list_outputs() == ["halves_output0"]
    assert Group([conv_bn(), var("x")])["bn"].list_outputs() == ["bn_output"]


def test_missing_output_is_named() -> None:
    with pytest.raises(IndexError, match="output 5 of a symbol with 2 outputs"):
        split()[5]
    with pytest.raises(GraphError, match=r"no output is named 'nothing'.*halves_output1"):
        split()["nothing"]
    with pytest.raises(GraphError, match="2 outputs are named 'halves'"):
        split()["halves"]


def test_group_holds_all_outputs() -> None:
    x, y = var("x"), var("y")
    assert Group([x + y, x]).list_outputs()[1] == "x"
    with pytest.raises(GraphError, match="at least one"):
        Group([])


def test_group_refuses_two_nodes_of_one_name() -> None:
    with pytest.raises(GraphError, match="two different nodes are named 'x'"):
        Group([var("x"), var("x")])


# ---- equality and copies ---------------------------------------------------------------------------


def test_equal_graphs_are_equal_symbols() -> None:
    assert conv_bn() == conv_bn()
    assert hash(conv_bn()) == hash(conv_bn())
    assert {conv_bn(): 1}[conv_bn()] == 1


def test_what_differs_anywhere_is_another_symbol() -> None:
    def conv(name: str = "conv", data: str = "data", filters: int = 8) -> Symbol:
        return apply_op("convolution", [var(data), var("w"), var("b")], name, kernel=(3, 3), num_filter=filters)

    others = [conv("other"), conv(data="other"), conv(filters=9), Group([conv(), var("x")]), var("data")]
    assert all(conv() != other for other in others)
    assert var("x", shape=(1, 2)) != var("x", shape=(2, 1))
    assert conv() != "conv"


def test_copies_and_pickles_are_equal() -> None:
    symbol = conv_bn().optimize_for()
    assert copy.deepcopy(symbol) == symbol
    assert pickle.loads(pickle.dumps(symbol)) == symbol  # noqa: S301 - our own bytes


# ---- attributes ------------------------------------------------------------------------------------


def test_attributes_are_strings() -> None:
    symbol = conv_bn()
    assert symbol.attr("axis") == "1"
    assert symbol.attr("nothing") is None
    attrs = symbol.attr_dict()
    assert attrs["conv"]["kernel"] == "(3, 3)"
    assert attrs["conv"]["num_filter"] == "8"
    assert "data" not in attrs


def test_fused_node_has_the_attributes_of_its_anchor_and_mxnets_marks() -> None:
    attrs = apply_op("activation", [conv_bn()], "act", act_type="relu").optimize_for().attr_dict()
    fused = attrs["fused_conv_bn_act_0"]
    assert fused["kernel"] == "(3, 3)"
    assert fused["with_bn"] == fused["with_act"] == "true"
    assert "with_sum" not in fused


@pytest.mark.parametrize("op, attrs", [("activation", {"act_type": "tanh"}), ("square", {}), ("clip", {"a_min": 0.0})])
def test_a_dense_layer_marks_any_operation_on_one_tensor(op: str, attrs: dict) -> None:
    dense = apply_op("fully_connected", [var("data", shape=(2, 3)), var("w"), var("b")], "fc", num_hidden=4)
    (node,) = apply_op(op, [dense], op, **attrs).optimize_for().operations()
    assert node.hints["with_eltwise"] == "true"
    assert ("with_act" in node.hints) == (op != "square")
    (summed,) = (dense + var("other", shape=(2, 4))).optimize_for().operations()
    assert dict(summed.hints) == {"with_sum": "true"}


def test_quantized_nodes_tell_what_they_give() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 2), nn.Activation("relu"), nn.Dense(4))
    net.initialize()
    data = mx.np.random.uniform(-1, 1, size=(2, 3, 5, 5))
    quantized = quantize_net(net, calib_mode="naive", calib_data=[data], quantized_dtype="auto").export(None)[0]
    first, last = (attrs for name, attrs in quantized.attr_dict().items() if name.startswith("quantized_"))
    assert first["quantized"] == last["quantized"] == "true"
    assert first["out_type"] == "uint8" and "enabled_float_output" not in first
    assert last["enabled_float_output"] == "float32" and "out_type" not in last
    net.optimize_for(data)
    floats = net.export(None)[0].attr_dict()
    assert floats and not any("quantized" in attrs for attrs in floats.values())


def test_small_methods_of_mxnets_symbols() -> None:
    symbol = conv_bn()
    assert symbol.get_inputs().list_outputs() == symbol.list_inputs()
    assert symbol.as_np_ndarray() is symbol.as_nd_ndarray() is symbol
    assert symbol.debug_str() == str(symbol)
    assert var("x", profiler_scope="here") == var("x")
    x = var("x", shape=(2,), dtype="float16")
    unknown = Group([x, var("y")])
    assert unknown.infer_type() == (None, None, None)
    assert unknown.infer_type_partial() == ([np.float16, None], [np.float16, None], [])
    with pytest.raises(GraphError, match="attr_dict"):
        symbol.list_attr(recursive=True)


def test_fused_node_without_anchor_has_no_attributes() -> None:
    chain = abs(-var("x", shape=(3,))).optimize_for()
    assert [node.name for node in chain.operations()] == ["fused_elementwise_negative_abs_0"]
    assert chain.list_attr() == {}


def test_variable_keeps_what_is_said_about_it() -> None:
    x = var("x", attr={"__mood__": "angry"}, shape=(2, 3), dtype="float16", init="zeros", lr_mult=2.0, __other__="1")
    expected = {"__mood__": "angry", "__other__": "1", "__lr_mult__": "2.0", "__init__": "zeros"}
    assert x.list_attr() == expected | {"__shape__": "(2, 3)", "__dtype__": "2"}
    assert Variable is var


@pytest.mark.parametrize("attr", [{"mood": "angry"}, {"__mood__": 3}])
def test_variable_refuses_other_attributes(attr: dict) -> None:
    with pytest.raises(GraphError, match=r"variable 'x'.*named __like_this__.*mood"):
        var("x", attr=attr)


@pytest.mark.parametrize("name", ["", None, 3])
def test_variable_needs_a_name(name: object) -> None:
    with pytest.raises(GraphError, match="name must be a text"):
        var(name)  # type: ignore[arg-type]


def test_group_has_no_attributes_of_its_own() -> None:
    with pytest.raises(GraphError, match="group of 2 nodes"):
        Group([var("x"), var("y")]).list_attr()


# ---- arithmetic ------------------------------------------------------------------------------------

X = np.array([[1.5, -2.0], [3.0, 0.25]], np.float32)
Y = np.array([4.0, -0.5], np.float32)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: abs(x) ** y,
        lambda x, y: x @ y,
        lambda x, y: -x + abs(y),
        lambda x, y: x + 2,
        lambda x, y: 2 + x,
        lambda x, y: x - 2.5,
        lambda x, y: 2.5 - x,
        lambda x, y: 3 * x,
        lambda x, y: x * 3,
        lambda x, y: x / 4,
        lambda x, y: 4 / x,
        lambda x, y: 2**x,
        lambda x, y: x**2,
        lambda x, y: x + np.float32(0.5),
        lambda x, y: x * np.int64(3),
        lambda x, y: (x + y) * (x - y) / 2,
    ],
)
def test_arithmetic_means_what_numpy_means(formula) -> None:
    symbol = formula(var("x"), var("y"))
    feed = {name: {"x": X, "y": Y}[name] for name in symbol.list_inputs()}
    (result,) = evaluate(symbol, feed)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, formula(X, Y), rtol=1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        lambda x, y: x % y,
        lambda x, y: x % 2,
        lambda x, y: 2 % x,
        lambda x, y: x // y,
        lambda x, y: x // 2,
        lambda x, y: 5 // x,
        lambda x, y: x > y,
        lambda x, y: x >= 1.5,
        lambda x, y: x < y,
        lambda x, y: x <= -2,
        lambda x, y: x < 1.5,
    ],
)
def test_remainders_and_comparisons_mean_what_numpy_means(formula) -> None:
    symbol = formula(var("x"), var("y"))
    feed = {name: {"x": X, "y": Y}[name] for name in symbol.list_inputs()}
    (result,) = evaluate(symbol, feed)
    expected = formula(X, Y)
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_same_variable_twice_is_one_variable() -> None:
    x = var("x")
    assert (x + x).list_arguments() == ["x"]


def test_nodes_of_arithmetic_get_names_of_their_own() -> None:
    x = var("x")
    names = [node.name for node in ((x + 1) + (x + 1)).operations()]
    assert len(set(names)) == 3
    again = fromjson((x + 1).tojson())
    assert len({node.name for node in (again + 1).operations()}) == 2


def test_names_that_are_taken_are_refused() -> None:
    with pytest.raises(GraphError, match="the name 'x' is taken"):
        apply_op("exp", [var("x")], "x")
    with pytest.raises(GraphError, match="two different nodes are named 'x'"):
        var("x") + var("x")


def test_operand_must_have_one_output() -> None:
    with pytest.raises(GraphError, match="must have one output, got 2"):
        split() + 1
    with pytest.raises(TypeError, match="unsupported operand"):
        var("x") + "y"
    with pytest.raises(TypeError, match="unsupported operand"):
        var("x") @ 2


def test_wrong_attributes_and_numbers_of_inputs_are_named() -> None:
    with pytest.raises(OpError, match=r"activation.*act_type.*'lurer'"):
        apply_op("activation", [var("x")], act_type="lurer")
    with pytest.raises(GraphError, match=r"node 'sum'.*add takes 2 inputs"):
        apply_op("add", [var("x")], "sum")
    with pytest.raises(GraphError, match="unknown operator 'frobnicate'"):
        apply_op("frobnicate", [var("x")])


# ---- optimize_for ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [None, "ONEDNN", "MKLDNN", "MINIDNN"])
def test_all_backends_are_the_same(backend: str | None) -> None:
    before = conv_bn()
    text = before.tojson()
    after = before.optimize_for(backend)
    assert [node.name for node in after.operations()] == ["fused_conv_bn_0"]
    assert isinstance(after, Symbol)
    assert before.tojson() == text


@pytest.mark.parametrize("backend", ["TensorRT", "", 7])
def test_unknown_backend_is_refused_with_a_list_of_those_there_are(backend: object) -> None:
    with pytest.raises(MXNetError, match=r"unknown backend .*None, 'ONEDNN', 'MKLDNN', 'MINIDNN'"):
        conv_bn().optimize_for(backend)  # type: ignore[arg-type]


def test_optimize_for_refuses_names_and_shapes_that_do_not_fit() -> None:
    with pytest.raises(GraphError, match=r"no variable 'image'.*'data'"):
        conv_bn().optimize_for(shape_dict={"image": (1, 3, 8, 8)})
    with pytest.raises(OpError, match="node 'conv'"):
        conv_bn().optimize_for(shape_dict={"data": (1, 3, 8)})
    with pytest.raises(GraphError, match="args: got 1 arrays for 5 variables"):
        conv_bn().optimize_for(args=[np.zeros(3)])


def test_optimize_for_takes_arrays_in_order_or_by_name() -> None:
    offset = apply_op("add", [conv_bn(), var("offset")], "sum")
    arrays = {
        "data": np.zeros((1, 3, 8, 8), np.float32),
        "w": np.zeros((8, 3, 3, 3), np.float32),
        "b": np.zeros(8, np.float32),
        "bn_gamma": np.zeros(8, np.float32),
        "bn_beta": np.zeros(8, np.float32),
        "offset": np.zeros((8, 1, 1), np.float32),
    }
    by_name = offset.optimize_for(args=arrays)
    in_order = offset.optimize_for(args=[arrays[name] for name in offset.list_arguments()])
    assert [node.name for node in by_name.operations()] == ["fused_conv_bn_add_0"]
    assert by_name == in_order


# ---- files -----------------------------------------------------------------------------------------


def test_saved_symbol_loads_equal(tmp_path: Path) -> None:
    symbol = conv_bn().optimize_for(shape_dict={"data": (1, 3, 8, 8)})
    symbol.save(tmp_path / "net-symbol.json")
    assert load(tmp_path / "net-symbol.json") == symbol
    assert load(str(tmp_path / "net-symbol.json")) == symbol
    assert load_json(symbol.tojson()) == fromjson(symbol.tojson()) == symbol


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        load(tmp_path / "nowhere.json")


def test_file_that_is_no_symbol_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(conv_bn().tojson().encode()[:-40])
    with pytest.raises(DataError, match=r"broken.json: not a symbol JSON"):
        load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"broken.json: not UTF-8"):
        load(path)
    path.write_text(conv_bn().tojson().replace("BatchNorm", "BatchNoise"))
    with pytest.raises(GraphError, match=r"broken.json: .*'bn'.*unknown operator 'BatchNoise'"):
        load(path)


def test_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"large.json.*refused"):
        load(path)
