"""Nodes that MXNet's oneDNN backend fused, float and quantized, compute what is inside of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import minidnn as mx
from minidnn.errors import DataError, GraphError
from minidnn.gluon import SymbolBlock

Array = np.ndarray[Any, Any]
Input = int | tuple[int, int]
RNG = np.random.default_rng(5)


class File:
    """Writes a graph, or a subgraph, as MXNet does."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []

    def add(self, op: str, name: str, *inputs: Input, subgraphs: Any = None, **attrs: Any) -> int:
        rows = [[*i, 0] if isinstance(i, tuple) else [i, 0, 0] for i in inputs]
        row: dict[str, Any] = {"op": op, "name": name, "inputs": rows}
        if attrs:
            row["attrs"] = {key: str(value) for key, value in attrs.items()}
        if subgraphs is not None:
            row["subgraphs"] = subgraphs
        self.nodes.append(row)
        return len(self.nodes) - 1

    def graph(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "arg_nodes": [], "heads": [[len(self.nodes) - 1, 0, 0]]}

    def text(self) -> str:
        return json.dumps(self.graph() | {"attrs": {"mxnet_version": ["int", 20000], "is_np_shape": ["int", 1]}})


def variables(file: File, *names: str) -> list[int]:
    return [file.add("null", name) for name in names]


def quantized(file: File, source: int, largest: float, **attrs: Any) -> int:
    name = f"{file.nodes[source]['name']}_quantize"
    limits = {"min_calib_range": -largest, "max_calib_range": largest}
    return file.add("_contrib_quantize_v2", name, source, **{"out_type": "auto", **limits, **attrs})


def dequantized(file: File, node: int) -> str:
    file.add("_contrib_dequantize", "real", *((node, i) for i in range(3)), out_type="float32")
    return file.text()


def evaluated(text: str, **feed: Array) -> Array:
    """By the references and compiled, which agree."""
    symbol = mx.sym.fromjson(text)
    (compiled,) = symbol.eval(**feed)
    block = SymbolBlock(symbol, [mx.sym.var("x")], {k: mx.np.array(v) for k, v in feed.items() if k != "x"})
    block.optimize_for(mx.np.array(feed["x"]))
    np.testing.assert_allclose(block(mx.np.array(feed["x"])).asnumpy(), compiled.asnumpy(), rtol=1e-5, atol=1e-5)
    return compiled.asnumpy()


# ---- convolutions -------------------------------------------------------------------------------------

W = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32) * 0.2
NORM = {name: RNG.normal(size=6).astype(np.float32) for name in ("gamma", "beta", "mean")}
NORM["var"] = RNG.uniform(0.5, 2, 6).astype(np.float32)
X = RNG.uniform(-3, 3, (2, 4, 7, 5)).astype(np.float32)
OTHER = RNG.uniform(-2, 2, (2, 6, 7, 5)).astype(np.float32)
BIAS = RNG.normal(size=6).astype(np.float32)


def conv_inside(bias: bool, norm: bool, added: str, act: str) -> dict[str, Any]:
    """`added`: what the sum adds, nothing if it is empty."""
    sub = File()
    x, w, *b = variables(sub, "x0", "w0", *(["b0"] if bias else []))
    last = sub.add("Convolution", "conv", x, w, *b, kernel="(3, 3)", num_filter=6, pad="(1, 1)", no_bias=not bias)
    if norm:
        last = sub.add("BatchNorm", "bn", last, *variables(sub, "g0", "bt0", "m0", "v0"), fix_gamma="False", eps="1e-3")
    if added:
        last = sub.add("elemwise_add", "sum", last, sub.add("null", "s0"))
    if act == "relu":
        last = sub.add("Activation", "act", last, act_type="relu")
    elif act == "relu6":
        last = sub.add("clip", "act", last, a_min=0, a_max=6)
    elif act == "leaky":
        last = sub.add("LeakyReLU", "act", last, act_type="leaky", slope=0.25)
    return sub.graph()


def conv_file(kind: str, bias: bool, norm: bool, added: str, act: str, prefix: str = "_sg_onednn") -> str:
    """`kind`: float, real (float output), calibrated, or sums (int32)."""
    file = File()
    x, w, *b = variables(file, "x", "w", *(["b"] if bias else []))
    rest = variables(file, *(NORM if norm else ()), *(["other"] if added else []))
    flags = {"with_bn": norm, "with_sum": bool(added), "with_postsum_act": bool(act), "quantized": kind != "float"}
    inside = [conv_inside(bias, norm, added, act)]
    if kind == "float":
        file.add(f"{prefix}_conv", "sg", x, w, *b, *rest, subgraphs=inside, **flags)
        return file.text()
    q = quantized(file, x, 3)
    ranges: list[Input] = [(q, 1), (q, 2)]
    if added:
        other = quantized(file, rest.pop(), 2)
        ranges += [(other, 1), (other, 2)]
        rest.append(other)
    if kind == "calibrated":
        flags |= {"min_calib_range": -6, "max_calib_range": 6}
    if kind == "real":
        flags["enabled_float_output"] = "float32"
    node = file.add(f"{prefix}_conv", "quantized_sg", q, w, *b, *rest, *ranges, subgraphs=inside, **flags)
    return file.text() if kind == "real" else dequantized(file, node)


def torch_conv(bias: bool, norm: bool, added: str, act: str) -> Array:
    t = {k: torch.from_numpy(v).double() for k, v in NORM.items()}
    weight, x = torch.from_numpy(W).double(), torch.from_numpy(X).double()
    y = torch.nn.functional.conv2d(x, weight, torch.from_numpy(BIAS).double() if bias else None, padding=1)
    if norm:
        y = torch.nn.functional.batch_norm(y, t["mean"], t["var"], t["gamma"], t["beta"], eps=1e-3)
    y = y + torch.from_numpy(OTHER) if added else y
    acts = {
        "relu": torch.relu,
        "relu6": torch.nn.functional.relu6,
        "leaky": lambda v: torch.nn.functional.leaky_relu(v, 0.25),
    }
    return acts[act](y).numpy() if act else y.numpy()


CONVS = [(True, True, "other", "relu"), (False, True, "", "relu6"), (True, False, "", "leaky"), (False, False, "a", "")]


@pytest.mark.parametrize("form", CONVS)
@pytest.mark.parametrize("kind", ["float", "real", "calibrated", "sums"])
def test_a_convolution_computes_what_is_inside(kind: str, form: tuple[bool, bool, str, str]) -> None:
    bias, norm, added, _ = form
    feed = (
        {"x": X, "w": W} | ({"b": BIAS} if bias else {}) | (NORM if norm else {}) | ({"other": OTHER} if added else {})
    )
    wanted = torch_conv(*form)
    got = evaluated(conv_file(kind, *form), **feed)
    if kind == "float":
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        return
    limit = 6 if kind == "calibrated" else np.inf
    # Steps of 3 / 127 and, for weights, of a 127th of the largest of a channel.
    np.testing.assert_allclose(got, np.clip(wanted, -limit, limit), atol=0.2)
    assert np.sqrt(np.mean((got - np.clip(wanted, -limit, limit)) ** 2)) < 0.03


def test_sums_of_integers_are_exact() -> None:
    text = conv_file("real", True, False, "", "")
    integers = np.clip(np.rint(X * np.float32(127 / 3)), -127, 127)
    scale = np.abs(W).max((1, 2, 3)) / 127
    weights = np.rint(W / scale[:, None, None, None])
    sums = torch.nn.functional.conv2d(torch.from_numpy(integers), torch.from_numpy(weights), padding=1).numpy()
    wanted = sums * (scale * 3 / 127)[:, None, None] + BIAS[:, None, None]
    np.testing.assert_allclose(evaluated(text, x=X, w=W, b=BIAS), wanted, rtol=1e-5, atol=1e-5)


def test_a_calibrated_convolution_is_one_kernel_that_reads_and_stores_integers() -> None:
    feed = {"w": W, "b": BIAS, **NORM, "other": OTHER}
    symbol = mx.sym.fromjson(conv_file("calibrated", *CONVS[0]))
    block = SymbolBlock(symbol, [mx.sym.var("x")], {k: mx.np.array(v) for k, v in feed.items()})
    block.optimize_for(mx.np.array(X))
    block(mx.np.array(X))
    (product,) = [step for step in block.steps() if step.kernel.startswith("matmul")]
    assert "igemm" in product.kernel
    assert product.dtype == np.uint8
    assert not any(step.on_host for step in block.steps())


def test_a_sum_with_the_data_itself_has_one_input() -> None:
    sub = File()
    x, w = variables(sub, "x0", "w0")
    conv = sub.add("Convolution", "conv", x, w, kernel="(1, 1)", num_filter=4, no_bias=True)
    sub.add("_npi_add", "sum", conv, x)
    file = File()
    x, w = variables(file, "x", "w")
    q = quantized(file, x, 3)
    flags = {"with_sum": True, "dedup_sum": True, "quantized": True, "enabled_float_output": "float32"}
    file.add("_sg_onednn_conv", "sg", q, w, (q, 1), (q, 2), subgraphs=[sub.graph()], **flags)
    weight = W[:4, :, :1, :1]
    wanted = np.einsum("nchw,oc->nohw", X, weight[:, :, 0, 0]) + X
    np.testing.assert_allclose(evaluated(file.text(), x=X, w=weight), wanted, atol=0.06)


def test_names_of_older_versions() -> None:
    text = conv_file("float", *CONVS[0], prefix="_sg_mkldnn").replace('"with_bn"', '"with_relu"')
    got = evaluated(text, x=X, w=W, b=BIAS, other=OTHER, **NORM)
    np.testing.assert_allclose(got, torch_conv(*CONVS[0]), rtol=1e-4, atol=1e-5)


def test_the_output_has_the_name_of_the_node() -> None:
    assert mx.sym.fromjson(conv_file("float", *CONVS[0])).list_outputs() == ["sg_output"]
    assert mx.sym.fromjson(conv_file("real", *CONVS[0])).list_outputs() == ["quantized_sg_output"]


# ---- dense layers -------------------------------------------------------------------------------------

ROWS = RNG.uniform(-2, 2, (3, 8)).astype(np.float32)
DENSE = RNG.normal(size=(5, 8)).astype(np.float32)
DENSE_BIAS = RNG.normal(size=5).astype(np.float32)
DENSE_OTHER = RNG.uniform(-4, 4, (3, 5)).astype(np.float32)


def dense_file(by_channel: bool, added: bool, eltwise: str, real: bool) -> str:
    sub = File()
    x, w, b = variables(sub, "x0", "w0", "b0")
    last = sub.add("FullyConnected", "fc", x, w, b, num_hidden=5, no_bias=False, flatten=True)
    if added:
        last = sub.add("elemwise_add", "sum", last, sub.add("null", "s0"))
    if eltwise:
        sub.add(eltwise, "eltwise", last)
    file = File()
    x, w, b = variables(file, "x", "w", "b")
    q = quantized(file, x, 2)
    data: list[Input] = [q, w, b]
    ranges: list[Input] = [(q, 1), (q, 2)]
    if not by_channel:
        ranges += variables(file, "w_min", "w_max", "b_min", "b_max")
    if added:
        other = file.add("null", "other")
        if not real:
            other = quantized(file, other, 4)
            ranges += [(other, 1), (other, 2)]
        data.append(other)
    flags: dict[str, Any] = {"quantized": True, "with_eltwise": bool(eltwise), "with_sum": added}
    flags["channel_wise_quantize"] = by_channel
    flags |= {"enabled_float_output": "float32"} if real else {"min_calib_range": -15, "max_calib_range": 15}
    node = file.add("_sg_onednn_fully_connected", "sg", *data, *ranges, subgraphs=[sub.graph()], **flags)
    return file.text() if real else dequantized(file, node)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(
    ("by_channel", "added", "eltwise"), [(True, False, "abs"), (True, True, ""), (False, True, "")]
)
def test_a_dense_layer_computes_what_is_inside(by_channel: bool, added: bool, eltwise: str, real: bool) -> None:
    feed: dict[str, Array] = {"x": ROWS, "w": DENSE, "b": DENSE_BIAS} | ({"other": DENSE_OTHER} if added else {})
    if not by_channel:
        for name, array in (("w", DENSE), ("b", DENSE_BIAS)):
            largest = np.abs(array).max()
            feed[name] = np.rint(array / largest * 127).astype(np.int8)
            feed |= {f"{name}_min": np.float32([-largest]), f"{name}_max": np.float32([largest])}
    wanted = ROWS @ DENSE.T + DENSE_BIAS + (DENSE_OTHER if added else 0)
    wanted = np.abs(wanted) if eltwise else wanted
    got = evaluated(dense_file(by_channel, added, eltwise, real), **feed)
    np.testing.assert_allclose(got, wanted, atol=0.2)


def test_a_bias_of_int32_counts_steps_of_the_products() -> None:
    largest = np.abs(DENSE).max()
    weight, bias = np.rint(DENSE / largest * 127).astype(np.int8), np.arange(5, dtype=np.int32) * 1000
    ends = {"w_min": -largest, "w_max": largest, "b_min": -1, "b_max": 1}
    feed = {"x": ROWS, "w": weight, "b": bias} | {k: np.float32([v]) for k, v in ends.items()}
    level = 2 / 127 * largest / 127
    integers = np.clip(np.rint(ROWS * np.float32(127 / 2)), -127, 127)
    wanted = (integers @ weight.T.astype(np.float64) + bias) * level
    np.testing.assert_allclose(evaluated(dense_file(False, False, "", True), **feed), wanted, rtol=1e-4, atol=1e-4)


# ---- attention, and operators without subgraphs ---------------------------------------------------------

PACKED = RNG.uniform(-1, 1, (2, 5, 18)).astype(np.float32)


def heads_of(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


@pytest.mark.parametrize("is_quantized", [False, True])
def test_attention_products(is_quantized: bool) -> None:
    query, key, value = (heads_of(part, 3) for part in np.split(PACKED, 3, -1))
    scores = query @ key.swapaxes(-1, -2)
    flags: dict[str, Any] = {"heads": 3, "quantized": is_quantized}
    if is_quantized:
        flags["enabled_float_output"] = "float32"

    def text(op: str, *names: str) -> str:
        file = File()
        data: list[int] = variables(file, *names)
        if is_quantized:
            data = [quantized(file, i, 4 if name == "a" else 1) for i, name in zip(data, names, strict=True)]
        ranges = [(i, end) for i in data for end in (1, 2)] if is_quantized else []
        file.add(op, "sg", *data, *ranges, **flags)
        return file.text()

    close = {"atol": 0.05} if is_quantized else {"rtol": 1e-5, "atol": 1e-6}
    got = evaluated(text("_sg_onednn_selfatt_qk_split", "x"), x=PACKED)
    np.testing.assert_allclose(got, scores, **close)
    parts = np.split(PACKED, 3, -1)
    got = evaluated(text("_sg_onednn_selfatt_qk", "x", "k"), x=parts[0], k=parts[1])
    np.testing.assert_allclose(got, scores, **close)
    rows = (scores @ value).swapaxes(1, 2).reshape(2, 5, 6)
    got = evaluated(text("_sg_onednn_selfatt_valatt", "a", "x"), a=scores, x=PACKED)
    np.testing.assert_allclose(got, rows, **({"atol": 0.15} if is_quantized else close))


@pytest.mark.parametrize("calibrated", [False, True])
def test_attention_of_mxnet_1_has_it_inside(calibrated: bool) -> None:
    sub = File()
    sub.add("_contrib_interleaved_matmul_selfatt_qk", "qk", sub.add("null", "x0"), heads=3)
    file = File()
    q = quantized(file, file.add("null", "x"), 1)
    flags = {"min_calib_range": -1.5, "max_calib_range": 1.5} if calibrated else {"enable_float_output": "True"}
    inputs: list[Input] = [q, (q, 1), (q, 2)]
    node = file.add("_sg_mkldnn_selfatt_qk", "sg", *inputs, subgraphs=[sub.graph()], heads=3, quantized="True", **flags)
    text = dequantized(file, node) if calibrated else file.text()
    query, key, _ = PACKED.reshape(2, 5, 3, 3, 2).transpose(3, 1, 2, 0, 4)
    wanted = (query / np.sqrt(2) @ key.swapaxes(-1, -2)).reshape(15, 2, 2)
    np.testing.assert_allclose(evaluated(text, x=PACKED), wanted, atol=0.03)


@pytest.mark.parametrize("is_quantized", [False, True])
def test_batch_dot(is_quantized: bool) -> None:
    a, b = RNG.uniform(-1, 1, (2, 3, 8)).astype(np.float32), RNG.uniform(-2, 2, (2, 4, 8)).astype(np.float32)
    file = File()
    data: list[int] = variables(file, "x", "b")
    if is_quantized:
        data = [quantized(file, data[0], 1), quantized(file, data[1], 2)]
    ranges = [(i, end) for i in data for end in (1, 2)] if is_quantized else []
    node = file.add("_sg_onednn_batch_dot", "sg", *data, *ranges, transpose_b=True, quantized=is_quantized)
    text = dequantized(file, node) if is_quantized else file.text()
    np.testing.assert_allclose(evaluated(text, x=a, b=b), a @ b.swapaxes(1, 2), atol=0.08 if is_quantized else 1e-5)


def test_batch_norm_with_its_relu_and_a_power_with_its_factor() -> None:
    x = OTHER
    file = File()
    file.add("_sg_onednn_batch_norm", "sg", *variables(file, "x", *NORM), eps=0.001, fix_gamma=False, axis=1)
    t = [torch.from_numpy(v) for v in (x, NORM["mean"], NORM["var"], NORM["gamma"], NORM["beta"])]
    wanted = torch.nn.functional.batch_norm(*t, eps=1e-3).relu().numpy()
    np.testing.assert_allclose(evaluated(file.text(), x=x, **NORM), wanted, rtol=1e-4, atol=1e-5)
    file = File()
    flags = {"exponent": 2, "multiplier": 0.5, "exp_is_int": True, "mul_is_int": False}
    file.add("_sg_pow_mul_scalar", "sg", file.add("null", "x"), **flags)
    np.testing.assert_allclose(evaluated(file.text(), x=x), x**2 * 0.5, rtol=1e-5)


def test_more_quantized_operators() -> None:
    file = File()
    q = quantized(file, file.add("null", "x"), 2)
    names = variables(file, *NORM)
    limits = {"min_calib_range": -8, "max_calib_range": 8}
    norm = file.add(
        "_contrib_quantized_batch_norm", "bn", q, *names, (q, 1), (q, 2), eps=0.001, fix_gamma=False, **limits
    )
    pair: list[Input] = [norm, q, (norm, 1), (norm, 2), (q, 1), (q, 2)]
    file.add("_contrib_quantized_elemwise_mul", "mul", *pair, enable_float_output=True)
    t = [torch.from_numpy(v) for v in (OTHER, NORM["mean"], NORM["var"], NORM["gamma"], NORM["beta"])]
    wanted = torch.nn.functional.batch_norm(*t, eps=1e-3).numpy() * OTHER
    np.testing.assert_allclose(evaluated(file.text(), x=OTHER, **NORM), wanted, atol=0.3)

    file = File()
    x, w, low, high = variables(file, "x", "w", "low", "high")
    rows = file.add("_contrib_quantized_embedding", "rows", x, w, low, high, input_dim=5, output_dim=8)
    table, index = RNG.integers(-127, 128, (5, 8)).astype(np.int8), np.array([4, 0, 2], np.int32)
    ends = {"low": np.float32([-2]), "high": np.float32([2])}
    got = evaluated(dequantized(file, rows), x=index, w=table, **ends)
    np.testing.assert_allclose(got, table[index] * np.float32(2 / 127), rtol=1e-6)


# ---- what is refused ------------------------------------------------------------------------------------


def spoiled(change: Any, kind: str = "real") -> str:
    fields = json.loads(conv_file(kind, *CONVS[0]))
    change(next(row for row in fields["nodes"] if row["op"] == "_sg_onednn_conv"))
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("subgraphs"), r"\('quantized_sg'\): .*must have one subgraph, got 0"),
        (lambda row: row["subgraphs"].append(row["subgraphs"][0]), "must have one subgraph, got 2"),
        (lambda row: row.update(subgraphs=[3]), r"\('quantized_sg'\), subgraph 0 must be an object"),
        (lambda row: row["inputs"].pop(), "inputs are wanted, those of its subgraph and ranges; got 11"),
        (lambda row: row["inputs"].clear(), "its subgraph has 8 inputs, the node has 0"),
        (lambda row: row["attrs"].update(min_calib_range="low"), "attribute 'min_calib_range' must be a number"),
        (lambda row: row["attrs"].update(enabled_float_output="float16"), "'enabled_float_output' must be float32"),
        (lambda row: row["attrs"].update(tempo="3"), "attribute 'tempo' is not supported"),
        (lambda row: row["subgraphs"][0]["nodes"][3].update(op="Frobnicate"), "unknown operator 'Frobnicate'"),
        (lambda row: row["subgraphs"][0]["nodes"][3].update(op="Pooling", inputs=[[0, 0, 0]]), "global_pool|one conv"),
        (lambda row: row["subgraphs"][0]["nodes"][3].update(inputs=[[9, 0, 0]]), "subgraph 0, node 3 .*cycle"),
        (lambda row: row["subgraphs"][0].update(heads=[[99, 0, 0]]), "there is no node 99"),
        (lambda row: row["subgraphs"][0].update(heads=[]), "'heads' is empty"),
    ],
)
def test_a_bad_fused_node_is_named(change: Any, message: str) -> None:
    with pytest.raises((GraphError, DataError), match=message):
        mx.sym.fromjson(spoiled(change))


def test_subgraphs_inside_of_themselves_are_refused() -> None:
    graph = conv_inside(*CONVS[0])
    for _ in range(6):
        graph = {
            **graph,
            "nodes": [*graph["nodes"][:3], {"op": "_sg_onednn_conv", "name": "c", "inputs": [], "subgraphs": [graph]}],
        }
        graph["heads"] = [[3, 0, 0]]
    with pytest.raises(DataError, match=r"\('quantized_sg'\).*nested more than 4 deep"):
        mx.sym.fromjson(spoiled(lambda row: row.update(subgraphs=[graph])))


def test_shifted_integers_are_refused() -> None:
    text = dense_file(True, False, "", True).replace('"with_eltwise"', '"shifted_output": "True", "with_eltwise"')
    with pytest.raises(GraphError, match="shifted integers are not supported"):
        mx.sym.fromjson(text)
