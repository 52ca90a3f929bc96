"""Symbols as MXNet's JSON: what is written reads back exactly, and what is not sound is refused by name."""

from __future__ import annotations

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import minidnn as mx
from minidnn.errors import DataError, GraphError, MXNetError
from minidnn.ir import json_format as format_
from minidnn.ir.graph import Graph, Node, make_fused, make_node, make_variable
from minidnn.ir.json_values import format_literal, format_text, parse_literal
from minidnn.symbol import Group, Symbol, fromjson, var
from minidnn.symbol.symbol import apply_op


def network() -> Symbol:
    inputs = [var("data", shape=(1, 3, 8, 8), dtype="float32"), var("conv.weight")]
    conv = apply_op("convolution", inputs, "conv", kernel=(3, 3), num_filter=4, no_bias=True)
    statistics = [var(f"bn.{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    return apply_op("batch_norm", [conv, *statistics], "bn", eps=1e-5, fix_gamma=False)


# ---- what is written -------------------------------------------------------------------------------


def test_layout_is_mxnets() -> None:
    fields = json.loads(network().tojson())
    assert list(fields) == ["nodes", "arg_nodes", "node_row_ptr", "heads", "attrs"]
    assert [node["op"] for node in fields["nodes"]] == ["null", "null", "Convolution", *["null"] * 4, "BatchNorm"]
    assert fields["nodes"][0]["attrs"] == {"__shape__": "(1, 3, 8, 8)", "__dtype__": "0"}
    assert fields["nodes"][2]["inputs"] == [[0, 0, 0], [1, 0, 0]]
    assert fields["nodes"][7]["attrs"]["eps"] == "1e-05"
    assert fields["arg_nodes"] == [0, 1, 3, 4, 5, 6]
    assert fields["node_row_ptr"] == list(range(9))
    assert fields["heads"] == [[7, 0, 0]]
    assert fields["attrs"] == {
        "is_np_shape": ["int", 1],
        "mxnet_version": ["int", 20000],
        "minidnn_version": ["str", mx.__version__],
        "minidnn_format": ["int", 1],
    }


def test_row_pointers_count_outputs() -> None:
    halves = apply_op("split", [var("x")], "halves", sections=2, axis=1)
    fields = json.loads((halves[1] + halves[0]).tojson())
    assert fields["node_row_ptr"] == [0, 1, 3, 4]
    assert fields["nodes"][2]["inputs"] == [[1, 1, 0], [1, 0, 0]]


def test_fused_node_carries_its_graph_as_a_subgraph() -> None:
    fields = json.loads(network().optimize_for().tojson())
    (fused,) = [node for node in fields["nodes"] if node["op"] == "fused"]
    assert fused["name"] == "fused_conv_bn_0"
    assert fused["attrs"] == {"with_bn": "true"}
    (subgraph,) = fused["subgraphs"]
    assert [node["op"] for node in subgraph["nodes"] if node["op"] != "null"] == ["Convolution", "BatchNorm"]
    assert [node["name"] for node in subgraph["nodes"] if node["op"] == "null"] == [f"in{i}" for i in range(6)]


def test_what_mxnet_writes_reads() -> None:
    text = """{
      "nodes": [
        {"op": "null", "name": "data", "attrs": {"__profiler_scope__": "<unk>:"}, "inputs": []},
        {"op": "null", "name": "0.weight",
         "attrs": {"__dtype__": "0", "__init__": "zeros", "__lr_mult__": "1.0", "__profiler_scope__": "<unk>:",
                   "__shape__": "(5, 12)", "__storage_type__": "0"}, "inputs": []},
        {"op": "FullyConnected", "name": "node_0",
         "attrs": {"flatten": "0", "no_bias": "1", "num_hidden": "5", "__profiler_scope__": "<unk>:"},
         "inputs": [[0, 0, 0], [1, 0, 0]]},
        {"op": "_npx_reshape", "name": "node_1",
         "attrs": {"newshape": "[-2,-2,-4]", "order": "C", "reverse": "0"}, "inputs": [[2, 0, 0]]}
      ],
      "arg_nodes": [0, 1], "node_row_ptr": [0, 1, 2, 3, 4], "heads": [[3, 0, 0]],
      "attrs": {"is_np_shape": ["int", 1], "mxnet_version": ["int", 20000]}
    }"""
    symbol = fromjson(text)
    dense, reshape = symbol.operations()
    assert (dense.op_name, dense.attrs.flatten, dense.attrs.no_bias) == ("fully_connected", False, True)
    assert (reshape.op_name, reshape.attrs.newshape) == ("npx_reshape", (-2, -2, -4))
    assert symbol.infer_shape(data=(2, 3, 12))[1] == [(2, 3, 5)]
    assert symbol.attr_dict()["0.weight"]["__lr_mult__"] == "1.0"
    assert fromjson(symbol.tojson()) == symbol


# ---- round trips -----------------------------------------------------------------------------------


def test_round_trip_is_exact() -> None:
    for symbol in (network(), network().optimize_for(), Group([network(), var("x")]), var("x")):
        again = fromjson(symbol.tojson())
        assert again == symbol
        assert again.tojson() == symbol.tojson()


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False), st.floats(allow_nan=False) | st.none())
def test_floats_and_none_survive_to_the_last_bit(low: float, high: float | None) -> None:
    symbol = apply_op("clip", [var("x")], "clip", a_min=low, a_max=high)
    attrs = fromjson(symbol.tojson()).operations()[0].attrs
    assert attrs == symbol.operations()[0].attrs
    assert math.copysign(1, attrs.a_min) == math.copysign(1, low)


@pytest.mark.parametrize("axes", [None, (0,), (1, 0, 2), ()])
def test_tuples_survive(axes: tuple[int, ...] | None) -> None:
    symbol = apply_op("transpose", [var("x")], "t", axes=axes)
    assert fromjson(symbol.tojson()).operations()[0].attrs.axes == axes


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool", "uint16"]
)
def test_dtypes_survive(dtype: str) -> None:
    symbol = apply_op("cast", [var("x", dtype=dtype)], "cast", dtype=dtype)
    again = fromjson(symbol.tojson())
    assert again.operations()[0].attrs.dtype == np.dtype(dtype)
    assert again.variables()[0].hints.dtype == np.dtype(dtype)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3).map(tuple),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(plain)
def test_hints_of_any_plain_value_survive(value: object) -> None:
    again = fromjson(Symbol([make_variable("x", note=value)]).tojson()).variables()[0].hints.note
    assert repr(again) == repr(value)


@given(st.text(max_size=20))
def test_text_survives_whatever_it_looks_like(text: str) -> None:
    assert parse_literal(format_text(text)) == text


def test_nan_and_foreign_objects_cannot_be_written_and_say_so() -> None:
    with pytest.raises(GraphError, match="NaN cannot be written"):
        format_literal((1.0, math.nan))
    with pytest.raises(GraphError, match="a object cannot be written"):
        format_literal(object())


@pytest.mark.parametrize("name", ["weight:0", "a b", "größe", "\n", '"', "\\", "x" * 1000])
def test_names_of_all_kinds_survive(name: str) -> None:
    assert fromjson(apply_op("exp", [var(name)], name + "!").tojson()).list_inputs() == [name]


def test_two_nodes_of_one_name_are_not_written() -> None:
    add = make_node("add", "sum", [make_variable("x"), make_variable("x")])
    with pytest.raises(GraphError, match="two nodes are named 'x'"):
        Symbol([add[0]]).tojson()


def test_nesting_without_end_is_neither_written_nor_read() -> None:
    graph = Graph([make_node("exp", "exp", [make_variable("in0")])[0]])
    for i in range(6):
        graph = Graph([make_fused(f"level{i}", [make_variable("in0")], graph)[0]])
    with pytest.raises(GraphError, match="nested more than 4 deep"):
        Symbol(graph.outputs).tojson()


def test_long_chains_need_no_recursion() -> None:
    entry = make_variable("x")
    for i in range(20_000):
        entry = make_node("tanh", f"t{i}", [entry])[0]
    symbol = Symbol([entry])
    assert len(fromjson(symbol.tojson()).operations()) == 20_000


# ---- what is refused -------------------------------------------------------------------------------


def good() -> dict:
    return {
        "nodes": [
            {"op": "null", "name": "x", "inputs": []},
            {"op": "tanh", "name": "t", "inputs": [[0, 0, 0]]},
        ],
        "arg_nodes": [0],
        "node_row_ptr": [0, 1, 2],
        "heads": [[1, 0, 0]],
    }


def test_the_graph_that_is_broken_below_is_good() -> None:
    assert fromjson(json.dumps(good())).list_outputs() == ["t_output"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "nonsense", "[1, 2", '{"nodes": NaN}', "\x00", '{"nodes": [], "heads": []} more', "1" * 5000],
)
def test_not_json(text: str) -> None:
    with pytest.raises(DataError, match="not a symbol JSON"):
        fromjson(text)


@pytest.mark.parametrize("value", [None, 3, "text", [], True, 1.5])
def test_not_an_object(value: object) -> None:
    with pytest.raises(DataError, match="must be an object with 'nodes' and 'heads'"):
        fromjson(json.dumps(value))


@pytest.mark.parametrize("value", [b"{}", None, {}])
def test_not_a_text(value: object) -> None:
    with pytest.raises(DataError, match="must be a string"):
        fromjson(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["nodes", "heads"])
def test_missing_part(key: str) -> None:
    fields = good()
    del fields[key]
    with pytest.raises(DataError, match=f"'{key}' is missing"):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": 3}, r"node 1 \('t'\): 'op' must be a str, got 3"),
        ({"name": None}, r"node 1: 'name' must be a str"),
        ({"name": ""}, r"node 1: 'name' must be a short text"),
        ({"name": "\ud800"}, r"node 1: 'name' must be a short text"),
        ({"name": "x"}, r"two nodes are named 'x'"),
        ({"inputs": {}}, r"\('t'\): 'inputs' must be a list"),
        ({"inputs": [0]}, r"\('t'\): an input must be \[node, output, version\], got 0"),
        ({"inputs": [[0]]}, r"\('t'\): an input must be \[node, output, version\]"),
        ({"inputs": [[0, "0", 0]]}, r"\('t'\): an input must be"),
        ({"inputs": [[0.0, 0, 0]]}, r"\('t'\): an input must be"),
        ({"inputs": [[True, 0, 0]]}, r"\('t'\): an input must be"),
        ({"inputs": [[-1, 0, 0]]}, r"\('t'\): there is no node -1"),
        ({"inputs": [[7, 0, 0]]}, r"\('t'\): there is no node 7"),
        ({"inputs": [[1, 0, 0]]}, r"\('t'\): there is no node 1 before it: .*cycle"),
        ({"inputs": [[0, 1, 0]]}, r"\('t'\): wants output 1 of node 'x', which has 1"),
        ({"inputs": [[0, -1, 0]]}, r"\('t'\): wants output -1"),
        ({"inputs": []}, r"\('t'\): .*tanh takes 1 inputs"),
        ({"inputs": [[0, 0, 0], [0, 0, 0]]}, r"\('t'\): .*tanh takes 1 inputs .*got 2"),
        ({"attrs": []}, r"\('t'\): 'attrs' must be an object"),
        ({"attrs": {"a": 1}}, r"\('t'\): attribute 'a' must be a string, got 1"),
        ({"attrs": {"alpha": "1"}}, r"\('t'\): tanh: unknown attribute 'alpha'"),
        ({"attrs": {"__note__": "y" * 100_000}}, r"\('t'\): attribute '__note__' has 100000 characters"),
        ({"op": "Frobnicate"}, r"\('t'\): unknown operator 'Frobnicate'"),
        ({"op": "Activation"}, r"\('t'\): activation: attribute 'act_type' is required"),
        ({"op": "Activation", "attrs": {"act_type": "lurer"}}, r"\('t'\): activation: .*'lurer'"),
        ({"op": "null"}, r"\('t'\): a variable has no inputs"),
        ({"subgraphs": [good()]}, r"\('t'\): tanh has no subgraphs"),
        ({"subgraphs": 3}, r"\('t'\): 'subgraphs' must be a list"),
        ({"op": "fused"}, r"\('t'\): a fused node has one subgraph, got 0"),
        ({"op": "fused", "subgraphs": [3]}, r"\('t'\) must be an object with 'nodes'"),
        ({"op": "fused", "subgraphs": [good()]}, r"\('t'\): its subgraph reads 'x', but the node has inputs in0"),
    ],
)
def test_bad_node_is_named(change: dict, message: str) -> None:
    fields = good()
    fields["nodes"][1].update(change)
    with pytest.raises((DataError, GraphError), match=message):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize("node", [None, 3, [], "text"])
def test_node_that_is_no_object(node: object) -> None:
    fields = good()
    fields["nodes"][0] = node
    with pytest.raises(DataError, match="node 0 must be an object"):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"__shape__": "(1, 'two')"}, "'__shape__' must be a tuple of integers"),
        ({"__shape__": "nonsense"}, "'__shape__' must be a tuple"),
        ({"__shape__": "3"}, "'__shape__' must be a tuple"),
        ({"__shape__": str((1,) * 100)}, "'__shape__' must be a tuple"),
        ({"__shape__": f"({10**30}, 2)"}, "'__shape__' must be a tuple"),
        ({"__dtype__": "99"}, "'__dtype__' must be a dtype, got '99'"),
        ({"__dtype__": "float33"}, "'__dtype__' must be a dtype"),
    ],
)
def test_bad_hint_names_the_variable(attrs: dict, message: str) -> None:
    fields = good()
    fields["nodes"][0]["attrs"] = attrs
    with pytest.raises(DataError, match=r"node 0 \('x'\): " + message):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([], "'heads' is empty"),
        ([[5, 0, 0]], "'heads': there is no node 5"),
        ([[1, 1, 0]], "'heads': wants output 1 of node 't'"),
        ([3], "'heads': an input must be"),
        ({}, "'heads' must be a list"),
    ],
)
def test_bad_heads(heads: object, message: str) -> None:
    with pytest.raises((DataError, GraphError), match=message):
        fromjson(json.dumps(good() | {"heads": heads}))


def test_cycle_of_two_nodes_is_refused() -> None:
    fields = good()
    fields["nodes"].append({"op": "add", "name": "sum", "inputs": [[1, 0, 0], [3, 0, 0]]})
    fields["nodes"].append({"op": "tanh", "name": "back", "inputs": [[2, 0, 0]]})
    with pytest.raises(GraphError, match=r"node 2 \('sum'\): there is no node 3 before it"):
        fromjson(json.dumps(fields))


def test_a_million_nodes_are_refused() -> None:
    node = '{"op":"null","name":"","inputs":[]}'
    with pytest.raises(DataError, match="more than 16777216 are refused"):
        fromjson('{"heads":[],"nodes":[' + ",".join([node] * 1_000_000) + "]}")
    with pytest.raises(DataError, match="more than 100000 nodes"):
        fromjson('{"heads":[],"nodes":[' + ",".join([node] * 200_000) + "]}")


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(DataError, match=r"more than \d+ are refused"):
        fromjson(" " * (format_.MAX_BYTES + 1))


@pytest.mark.parametrize("opening", ["[", '{"nodes":', '{"nodes":[{"op":"fused","name":"f","inputs":[],"subgraphs":['])
def test_deep_nesting_is_refused(opening: str) -> None:
    with pytest.raises(DataError, match="nested too deeply"):
        fromjson(opening * 100_000)


def test_deep_subgraphs_are_refused() -> None:
    fields = {"nodes": [], "heads": []}
    for i in range(8):
        fused = {"op": "fused", "name": f"f{i}", "inputs": [], "subgraphs": [fields]}
        fields = {"nodes": [fused], "heads": [[0, 0, 0]]}
    with pytest.raises(DataError, match="nested more than 4 deep"):
        fromjson(json.dumps(fields))


def test_nodes_of_subgraphs_count() -> None:
    many = [{"op": "null", "name": f"v{i}", "inputs": []} for i in range(60_000)]
    fused = {"op": "fused", "name": "f", "inputs": [], "subgraphs": [{"nodes": many, "heads": [[0, 0, 0]]}]}
    fields = {"nodes": [*many, fused], "heads": [[0, 0, 0]]}
    with pytest.raises(DataError, match="more than 100000 nodes"):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize("text", ["(" * 30_000, "[" * 30_000, "-" * 30_000 + "1", "9" * 30_000, "1+" * 20_000 + "1"])
def test_attribute_that_would_strain_a_parser_is_harmless(text: str) -> None:
    fields = good()
    fields["nodes"][0]["attrs"] = {"__note__": text}
    assert fromjson(json.dumps(fields)).list_inputs() == ["x"]
    fields["nodes"][1] |= {"op": "transpose", "attrs": {"axes": text}}
    with pytest.raises(GraphError, match=r"\('t'\): transpose: attribute 'axes'"):
        fromjson(json.dumps(fields))


@pytest.mark.parametrize("count", ["1000000000", "1e9", "0x3b9aca00"])
def test_number_of_inputs_that_a_file_claims_is_not_believed(count: str) -> None:
    fields = good()
    fields["nodes"][1] |= {"op": "Concat", "attrs": {"num_args": count}}
    with pytest.raises(GraphError, match=r"\('t'\): num_args is 1000000000, but the node has 1 inputs"):
        fromjson(json.dumps(fields))


def test_number_of_outputs_has_a_limit() -> None:
    fields = good()
    fields["nodes"][1] |= {"op": "split", "attrs": {"sections": "1000000000", "axis": "0"}}
    with pytest.raises(GraphError, match=r"\('t'\): 1000000000 outputs: more than 65536 are refused"):
        fromjson(json.dumps(fields))


words = st.sampled_from(["null", "x", "tanh", "fused", "in0", "(1,)"])
keys = st.sampled_from(["op", "name", "inputs", "attrs", "subgraphs", "nodes", "heads"])
scraps = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(scraps, st.sampled_from(["nodes", "heads", "node"]))
def test_scraps_are_refused_with_our_own_errors(scrap: object, place: str) -> None:
    fields = good()
    if place == "node":
        fields["nodes"][1] = scrap
    else:
        fields[place] = scrap
    try:
        symbol = fromjson(json.dumps(fields))
    except MXNetError:
        return
    assert fromjson(symbol.tojson()) == symbol


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_texts_are_refused_with_our_own_errors(data: st.DataObject) -> None:
    text = network().optimize_for().tojson()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    damaged = text[:start] + data.draw(st.text(max_size=5)) + text[end:]
    try:
        fromjson(damaged)
    except MXNetError:
        return


def test_a_node_is_what_the_registry_makes_of_it() -> None:
    node = fromjson(json.dumps(good())).operations()[0]
    assert isinstance(node, Node)
    assert node.attrs == node.op.make_attrs({})  # type: ignore[union-attr]
