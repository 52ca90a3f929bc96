"""Loops and branches of symbol files: what they compute, that they are written as they were read, what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.errors import DataError, GraphError, OpError, ShapeError
from minidnn.gluon import SymbolBlock
from minidnn.ir.graph import evaluate

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(2)


def node(op: str, name: str, *inputs: int, subgraphs: Any = None, **attrs: str) -> dict[str, Any]:
    row: dict[str, Any] = {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs], "attrs": attrs}
    return row if subgraphs is None else row | {"subgraphs": subgraphs}


def graph(*nodes: dict[str, Any], heads: tuple[int, ...]) -> dict[str, Any]:
    return {"nodes": list(nodes), "arg_nodes": [], "heads": [[i, 0, 0] for i in heads]}


def file_of(*nodes: dict[str, Any], outputs: int) -> dict[str, Any]:
    fields = graph(*nodes, heads=()) | {"heads": [[len(nodes) - 1, i, 0] for i in range(outputs)]}
    return fields | {"attrs": {"mxnet_version": ["int", 10900], "is_np_shape": ["int", 1]}}


def cell_file() -> dict[str, Any]:
    """output = tanh(W (x h)), h = h + output, for each x."""
    body = graph(
        node("null", "x-0"),
        node("null", "h-0"),
        node("elemwise_mul", "product", 0, 1),
        node("null", "w"),
        node("FullyConnected", "fc", 2, 3, num_hidden="4", no_bias="True", flatten="False"),
        node("Activation", "act", 4, act_type="tanh"),
        node("elemwise_add", "next", 5, 1),
        heads=(5, 6),
    )
    counts = {"num_args": "4", "num_outputs": "2", "num_out_data": "1"}
    places = {"in_data_locs": "[0]", "in_state_locs": "[1]", "remain_locs": "[2]"}
    loop = node("_foreach", "foreach0", 0, 1, 2, subgraphs=[body], **counts, **places)
    return file_of(*(node("null", name) for name in ("data", "state", "w")), loop, outputs=2)


def run_cell(x: Array, h: Array, w: Array) -> tuple[Array, Array]:
    outputs = []
    for element in x:
        outputs.append(np.tanh((element * h) @ w.T))
        h = h + outputs[-1]
    return np.stack(outputs), h


def counting_file() -> dict[str, Any]:
    """While i < limit: collects s i, and goes on with 2 s and i + 1."""
    condition = graph(node("null", "i"), node("null", "limit"), node("_npi_less", "less", 0, 1), heads=(2,))
    body = graph(
        node("null", "s"),
        node("null", "i"),
        node("elemwise_mul", "product", 0, 1),
        node("_plus_scalar", "next", 1, scalar="1"),
        node("_mul_scalar", "double", 0, scalar="2"),
        heads=(2, 3, 4),
    )
    counts = {"num_args": "5", "num_outputs": "3", "num_out_data": "1", "max_iterations": "5"}
    places = {"cond_input_locs": "[0, 2]", "func_input_locs": "[1, 0]", "func_var_locs": "[1, 0]"}
    loop = node("_while_loop", "while0", 0, 1, 2, subgraphs=[condition, body], **counts, **places)
    return file_of(*(node("null", name) for name in ("i", "s", "limit")), loop, outputs=3)


def branch_file() -> dict[str, Any]:
    """a + b where the sum of a is positive, else b - a."""
    condition = graph(
        node("null", "a"), node("_npi_sum", "total", 0), node("_npi_greater_scalar", "c", 1, scalar="0"), heads=(2,)
    )
    add = graph(node("null", "a"), node("null", "b"), node("elemwise_add", "r", 0, 1), heads=(2,))
    subtract = graph(node("null", "b"), node("null", "a"), node("elemwise_sub", "r", 0, 1), heads=(2,))
    places = {"cond_input_locs": "[0]", "then_input_locs": "[0, 1]", "else_input_locs": "[1, 0]"}
    counts = {"num_args": "5", "num_outputs": "1"}
    chosen = node("_cond", "cond0", 0, 1, subgraphs=[condition, add, subtract], **counts, **places)
    return file_of(node("null", "a"), node("null", "b"), chosen, outputs=1)


W = RNG.normal(size=(4, 4)).astype(np.float32)
H = RNG.normal(size=(2, 4)).astype(np.float32)
FILES = {"foreach": cell_file, "while_loop": counting_file, "cond": branch_file}
FEEDS: dict[str, dict[str, Array]] = {
    "foreach": {"data": RNG.normal(size=(3, 2, 4)).astype(np.float32), "state": H, "w": W},
    "while_loop": {"i": np.ones(1, np.float32), "s": np.float32([1, 2]), "limit": np.float32([4])},
    "cond": {"a": np.float32([1, 2]), "b": np.float32([3, 5])},
}


def compiled(symbol: mx.sym.Symbol, feed: dict[str, Array]) -> list[Array]:
    """By kernels, and by the references, which agree."""
    results = [array.asnumpy() for array in symbol.eval(**feed)]
    for got, want in zip(results, evaluate(symbol, feed), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    return results


# ---- what they compute ----------------------------------------------------------------------------------


def test_foreach_runs_for_each_length() -> None:
    block = SymbolBlock(
        mx.sym.fromjson(json.dumps(cell_file())),
        [mx.sym.var("data"), mx.sym.var("state")],
        {"w": mx.np.array(W)},
    )
    for length in (3, 1, 6):
        x = RNG.normal(size=(length, 2, 4)).astype(np.float32)
        for got, want in zip(block(mx.np.array(x), mx.np.array(H)), run_cell(x, H, W), strict=True):
            np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-4, atol=1e-5)
    assert not any(step.on_host for step in block.steps())
    # The product and its tanh are one kernel.
    assert sum(step.kernel.startswith("matmul") and "tanh" in step.kernel for step in block.steps()) == 6


def test_elements_of_a_vector_are_vectors() -> None:
    fields = file_of(
        node("null", "data"),
        node("null", "state"),
        node(
            "_npx_foreach", "loop", 0, 1,
            subgraphs=[graph(node("null", "x"), node("null", "h"), node("_npi_add", "sum", 0, 1), heads=(2, 2))],
            num_args="2", num_outputs="2", num_out_data="1", in_data_locs="[0]", in_state_locs="[1]",
            remain_locs="[]", in_state_index="[0]",
        ),
        outputs=2,
    )  # fmt: skip
    rows, last = compiled(
        mx.sym.fromjson(json.dumps(fields)), {"data": np.float32([1, 2, 3]), "state": np.float32([10])}
    )
    np.testing.assert_array_equal(rows, [[11], [13], [16]])
    np.testing.assert_array_equal(last, [16])


def test_states_that_the_body_does_not_read_and_others_in_another_order() -> None:
    body = graph(
        node("null", "b"), node("null", "x"), node("null", "a"),
        node("_npi_add", "p", 0, 1), node("_npi_subtract", "q", 2, 1), node("_npi_multiply", "r", 0, 2),
        heads=(3, 4, 5),
    )  # fmt: skip
    # The states are (q, r, unread) in the file's order a, b; all three are outputs.
    counts = {"num_args": "3", "num_outputs": "3", "num_out_data": "0"}
    places = {"in_data_locs": "[1]", "in_state_locs": "[2, 0]", "remain_locs": "[]", "in_state_index": "[1, 2]"}
    fields = file_of(
        *(node("null", name) for name in "xab"),
        node("_npx_foreach", "loop", 0, 1, 2, subgraphs=[body], **counts, **places),
        outputs=3,
    )
    x, a, b = RNG.normal(size=(4, 3)).astype(np.float32), np.float32([1, 2, 3]), np.float32([2, 0, 1])
    symbol = mx.sym.fromjson(json.dumps(fields))
    results = compiled(symbol, {"x": x, "a": a, "b": b})
    for row in x:
        p, q, r = b + row, a - row, b * a
        a, b = q, r
    for got, want in zip(results, (p, q, r), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert mx.sym.fromjson(symbol.tojson()) == symbol


@pytest.mark.parametrize("limit", [0, 3, 99])
def test_while_loop_ends_where_its_condition_says(limit: int) -> None:
    symbol = mx.sym.fromjson(json.dumps(counting_file()))
    rows, i, s = compiled(symbol, FEEDS["while_loop"] | {"limit": np.float32([limit])})
    wanted, count, value = np.zeros((5, 2)), 1, np.float32([1, 2])
    while count < limit and count <= 5:
        wanted[count - 1] = value * count
        count, value = count + 1, value * 2
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(i, [count])
    np.testing.assert_array_equal(s, value)


def test_cond_takes_one_of_its_branches() -> None:
    symbol = mx.sym.fromjson(json.dumps(branch_file()))
    b = np.float32([3, 5])
    for a in (np.float32([1, 2]), np.float32([-1, -2])):
        (got,) = compiled(symbol, {"a": a, "b": b})
        np.testing.assert_array_equal(got, a + b if a.sum() > 0 else b - a)


def test_a_loop_in_a_loop() -> None:
    inner = cell_file()["nodes"]
    fields = file_of(
        *(node("null", name) for name in ("data", "state", "w")),
        node(
            "_foreach", "outer", 0, 1, 2,
            subgraphs=[graph(*inner[:3], inner[3], heads=()) | {"heads": [[3, 0, 0], [3, 1, 0]]}],
            num_outputs="2", num_out_data="1", in_data_locs="[0]", in_state_locs="[1]", remain_locs="[2]",
        ),
        outputs=2,
    )  # fmt: skip
    x, h = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32), H
    symbol = mx.sym.fromjson(json.dumps(fields))
    rows, last = compiled(symbol, {"data": x, "state": h, "w": W})
    for i, part in enumerate(x):
        wanted, h = run_cell(part, h, W)
        np.testing.assert_allclose(rows[i], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last, h, rtol=1e-4, atol=1e-5)
    assert mx.sym.fromjson(symbol.tojson()) == symbol


# ---- written and read again -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_files_keep_them(kind: str, tmp_path: Any) -> None:
    symbol, feed = mx.sym.fromjson(json.dumps(FILES[kind]())), FEEDS[kind]
    again = mx.sym.fromjson(symbol.tojson())
    assert again == symbol
    assert again.tojson() == symbol.tojson()
    inputs = [mx.sym.var(name) for name in feed if name != "w"]
    block = SymbolBlock(symbol, inputs, {"w": mx.np.array(W)} if "w" in feed else None)
    block(*(mx.np.array(feed[i.name]) for i in inputs))
    block.export(tmp_path / "net", format="mxnet")
    text = (tmp_path / "net-symbol.json").read_text()
    (loop,) = [row for row in json.loads(text)["nodes"] if row.get("subgraphs")]
    theirs = FILES[kind]()["nodes"][-1]
    assert loop["op"] == theirs["op"]
    assert len(loop["subgraphs"]) == len(theirs["subgraphs"])
    wanted = {key: value.replace(" ", "") for key, value in theirs["attrs"].items()} | {"num_args": str(len(feed))}
    assert loop["attrs"] == wanted
    for read in (mx.sym.fromjson(text), again):
        for got, want in zip(compiled(read, feed), compiled(symbol, feed), strict=True):
            np.testing.assert_array_equal(got, want)


def test_symbols_with_other_bodies_differ() -> None:
    fields = cell_file()
    other = copy.deepcopy(fields)
    other["nodes"][3]["subgraphs"][0]["nodes"][5]["attrs"]["act_type"] = "relu"
    assert mx.sym.fromjson(json.dumps(fields)) != mx.sym.fromjson(json.dumps(other))


# ---- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "attrs", "message"),
    [
        ("foreach", {"in_data_locs": "[7]"}, "locations must be from 0 to below 3, the inputs of its body, got 7"),
        ("foreach", {"in_data_locs": "[-1]"}, "'in_data_locs' must be at least 0"),
        ("foreach", {"in_state_locs": "[0]"}, "locations must be different from each other"),
        ("foreach", {"remain_locs": "[]"}, "its body has 3 inputs, the locations name 2"),
        ("foreach", {"in_data_locs": "[]"}, "in_data_locs must not be empty"),
        ("foreach", {"num_outputs": "3"}, "its body has 2 outputs, 3 are wanted"),
        ("foreach", {"num_out_data": "3"}, "num_out_data is 3, but there are 2 outputs"),
        ("foreach", {"num_out_data": "2"}, "in_state_index must be from 0 to below 0"),
        ("foreach", {"in_state_index": "[0, 1]"}, "in_state_index has 2 numbers for 1 states"),
        ("foreach", {"in_data_locs": "east"}, "'in_data_locs' must be a ints"),
        ("foreach", {"tempo": "1"}, "unknown attribute 'tempo'"),
        ("while_loop", {"cond_input_locs": "[0]"}, "its condition has 2 inputs, cond_input_locs names 1"),
        ("while_loop", {"cond_input_locs": "[0, 9]"}, "while_loop takes 10 inputs"),
        ("while_loop", {"cond_input_locs": "[0, 99999999999]"}, "must be from 0 to below 65536"),
        ("while_loop", {"func_var_locs": "[1, 2]"}, "func_var_locs must be from 0 to below 2"),
        ("while_loop", {"func_var_locs": "[1]"}, "of 3 outputs 1 are collected"),
        ("while_loop", {"max_iterations": "0"}, "'max_iterations' must be at least 1"),
        ("cond", {"else_input_locs": "[0]"}, "else_branch has 2 inputs, else_input_locs names 1"),
        ("cond", {"num_outputs": "2"}, "then_branch has 1 outputs, 2 are wanted"),
    ],
)
def test_bad_attributes_are_named_with_their_node(kind: str, attrs: dict[str, str], message: str) -> None:
    fields = FILES[kind]()
    fields["nodes"][-1]["attrs"].update(attrs)
    name = fields["nodes"][-1]["name"]
    with pytest.raises(GraphError, match=rf"\('{name}'\): .*{message}"):
        mx.sym.fromjson(json.dumps(fields))


@pytest.mark.parametrize("kind", FILES)
def test_missing_attributes_and_subgraphs(kind: str) -> None:
    row = FILES[kind]()["nodes"][-1]
    for key in row["attrs"]:
        if key != "num_args":
            fields = FILES[kind]()
            del fields["nodes"][-1]["attrs"][key]
            with pytest.raises(GraphError, match=rf"\('{row['name']}'\): .*attribute '{key}' is required"):
                mx.sym.fromjson(json.dumps(fields))
    for graphs in (row["subgraphs"][:-1], [*row["subgraphs"], row["subgraphs"][0]]):
        fields = FILES[kind]()
        fields["nodes"][-1]["subgraphs"] = graphs
        with pytest.raises(GraphError, match=rf"\('{row['name']}'\): .*subgraphs, .*got {len(graphs)}"):
            mx.sym.fromjson(json.dumps(fields))


def test_cycles_and_bodies_that_do_not_fit() -> None:
    fields = cell_file()
    fields["nodes"][3]["subgraphs"][0]["nodes"][2]["inputs"] = [[5, 0, 0], [1, 0, 0]]
    with pytest.raises(GraphError, match=r"\('foreach0'\), subgraph 0, node 2 \('product'\): .*cycle"):
        mx.sym.fromjson(json.dumps(fields))
    fields = cell_file()
    for _ in range(5):
        fields["nodes"][3]["subgraphs"] = [copy.deepcopy(graph(*fields["nodes"], heads=(3, 3)))]
    with pytest.raises(DataError, match="subgraphs are nested more than 4 deep"):
        mx.sym.fromjson(json.dumps(fields))
    symbol = mx.sym.fromjson(json.dumps(cell_file()))
    with pytest.raises(OpError, match=r"'foreach0': .*'product'"):
        symbol.eval(data=np.ones((3, 2, 4), np.float32), state=np.ones((2, 3), np.float32), w=W)
    with pytest.raises(ShapeError, match="'foreach0': foreach: data 0 must have elements along axis 0"):
        symbol.eval(data=np.ones((0, 2, 4), np.float32), state=H, w=W)
    fields = branch_file()
    fields["nodes"][-1]["attrs"]["else_input_locs"] = "[1]"
    fields["nodes"][-1]["subgraphs"][2] = graph(node("null", "b"), node("_npi_sum", "r", 0), heads=(1,))
    with pytest.raises(ShapeError, match="'cond0': cond: the other branch's result 0 must stay"):
        mx.sym.fromjson(json.dumps(fields)).eval(**FEEDS["cond"])


def test_loops_are_written_out_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = mx.sym.fromjson(json.dumps(cell_file()))
    monkeypatch.setenv("MINIDNN_MAX_TRIPS", "2")
    with pytest.raises(OpError, match=r"'foreach0': foreach: 3 iterations .* MINIDNN_MAX_TRIPS allows 2"):
        symbol.eval(**FEEDS["foreach"])
    monkeypatch.setenv("MINIDNN_MAX_TRIPS", "99999999")
    fields = counting_file()
    fields["nodes"][-1]["attrs"]["max_iterations"] = "9999999"
    with pytest.raises(OpError, match=r"'while0': while_loop: .* operations would be written out, at most 131072"):
        mx.sym.fromjson(json.dumps(fields)).eval(**FEEDS["while_loop"])
