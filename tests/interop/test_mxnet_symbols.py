"""Symbol files of MXNet 1, operator by operator; what is not supported is refused by name; the documented table."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import minidnn as mx
from minidnn.errors import DataError, GraphError, OpError
from minidnn.gluon import SymbolBlock
from minidnn.interop.mxnet_operators import supported
from minidnn.interop.mxnet_params import save_params
from minidnn.interop.mxnet_upgrade import UPGRADES
from minidnn.ir.graph import evaluate

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "tests" / "assets" / "mxnet"
Array = np.ndarray[Any, Any]


def symbol_json(*operations: tuple[Any, ...], variables: tuple[Any, ...] = ("x",), key: str = "attrs") -> str:
    """A symbol JSON of MXNet 1: variables, then operations (op, attributes, inputs); the last one is the output."""
    nodes: list[dict[str, Any]] = [
        {"op": "null", "name": v, "inputs": []} if isinstance(v, str) else {"op": "null", "inputs": [], **v}
        for v in variables
    ]
    for op, attrs, inputs in operations:
        row = {"op": op, "name": f"node{len(nodes)}", "inputs": [[i, 0, 0] for i in inputs]}
        nodes.append(row | ({key: attrs} if attrs else {}))
    fields = {"nodes": nodes, "arg_nodes": [], "heads": [[len(nodes) - 1, 0, 0]]}
    return json.dumps(fields | {"attrs": {"mxnet_version": ["int", 10500]}})


def computed(text: str, **feed: Array) -> Array:
    (result,) = evaluate(mx.sym.fromjson(text), feed)
    return result


X = np.random.default_rng(3).normal(size=(2, 4, 3, 5)).astype(np.float32)


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


@pytest.mark.parametrize(
    ("op", "attrs", "wanted"),
    [
        ("SoftmaxOutput", {}, softmax(X.reshape(2, -1), 1).reshape(X.shape)),
        ("SoftmaxOutput", {"multi_output": "True", "grad_scale": "1"}, softmax(X, 1)),
        ("Softmax", {"preserve_shape": "1"}, softmax(X, -1)),
        ("SoftmaxActivation", {"mode": "channel"}, softmax(X, 1)),
        ("SoftmaxActivation", {}, softmax(X.reshape(2, -1), 1).reshape(X.shape)),
        ("Reshape", {"shape": "(0, -1)"}, X.reshape(2, 60)),
        ("reshape", {"shape": "(-3, -2)"}, X.reshape(8, 3, 5)),
        ("Reshape", {"shape": "(0, -4, 2, -1, -2)"}, X.reshape(2, 2, 2, 3, 5)),
        ("Reshape", {"shape": "(-4, 1, 2, 0, 0, 5)", "reverse": "False"}, X.reshape(1, 2, 4, 3, 5)),
        ("Reshape", {"shape": "(-1, 0)", "reverse": "True"}, X.reshape(24, 5)),
        ("Reshape", {"shape": "[6, 20]", "target_shape": "(0, 0)"}, X.reshape(6, 20)),
        ("sum", {"axis": "(2, 3)"}, X.sum((2, 3))),
        ("mean", {"axis": "1", "keepdims": "True"}, X.mean(1, keepdims=True)),
        ("max", {}, X.max().reshape(1)),
        ("min", {"axis": "()", "keepdims": "1", "exclude": "0"}, X.min().reshape(1, 1, 1, 1)),
        ("sum_axis", {"axis": "[-1]"}, X.sum(-1)),
        ("argmax", {"axis": "1"}, X.argmax(1).astype(np.float32)),
        ("argmin", {"axis": "2", "keepdims": "True"}, X.argmin(2)[:, :, None].astype(np.float32)),
        ("Pad", {"mode": "edge", "pad_width": "(0,0,0,0,1,2,0,1)"}, np.pad(X, [(0, 0)] * 2 + [(1, 2), (0, 1)], "edge")),
        ("Pad", {"pad_width": "(0,0,0,0,1,0,0,1)", "constant_value": "2"},
         np.pad(X, [(0, 0)] * 2 + [(1, 0), (0, 1)], constant_values=2)),
        ("UpSampling", {"scale": "2", "sample_type": "nearest", "num_args": "1"}, X.repeat(2, 2).repeat(2, 3)),
        ("transpose", {}, X.T),
        ("transpose", {"axes": "(0, 2, 3, 1)"}, X.transpose(0, 2, 3, 1)),
        ("amp_cast", {"dtype": "float16"}, X.astype(np.float16)),
        ("Cast", {"dtype": "int32"}, X.astype(np.int32)),
        ("SwapAxis", {"dim1": "1", "dim2": "3"}, X.swapaxes(1, 3)),
        ("Flatten", {}, X.reshape(2, -1)),
        ("_mul_scalar", {"scalar": "0.5"}, X / 2),
        ("_rminus_scalar", {"scalar": "1"}, 1 - X),
        ("Dropout", {"p": "0.5", "mode": "training", "axes": "()", "cudnn_off": "False"}, X),
        ("Pooling", {"global_pool": "True", "kernel": "(7, 7)", "pool_type": "avg"}, X.mean((2, 3), keepdims=True)),
        ("slice_axis", {"axis": "1", "begin": "1", "end": "None"}, X[:, 1:]),
        ("clip", {"a_min": "0", "a_max": "6"}, X.clip(0, 6)),
        ("LeakyReLU", {"act_type": "leaky", "slope": "0.1"}, np.where(X > 0, X, np.float32(0.1) * X)),
        ("squeeze", {"axis": "None"}, X),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["attrs", "attr", "param"])
def test_an_operator_of_mxnet_1_computes_what_it_did(op: str, attrs: dict[str, str], wanted: Array, key: str) -> None:
    got = computed(symbol_json((op, attrs, [0]), key=key), x=X)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "attrs", "wanted"),
    [
        ("mean", {"axis": "1", "exclude": "True"}, X.mean((0, 2, 3))),
        ("sum", {"axis": "(0, -1)", "exclude": "1", "keepdims": "1"}, X.sum((1, 2), keepdims=True)),
        ("max", {"axis": "(0, 1, 2, 3)", "exclude": "1"}, X),
        ("argmax", {}, X.argmax().reshape(1).astype(np.float32)),
        ("argmax_channel", {}, X.argmax(1).astype(np.float32)),
        ("broadcast_to", {"shape": "(0, 4, 0, 5)"}, X),
        ("zeros_like", {}, np.zeros_like(X)),
        ("ones_like", {}, np.ones_like(X)),
        ("_greater_scalar", {"scalar": "0.5"}, (X > 0.5).astype(np.float32)),
        ("_lesser_equal_scalar", {"scalar": "0"}, (X <= 0).astype(np.float32)),
        ("_logical_xor_scalar", {"scalar": "1"}, (X == 0).astype(np.float32)),
        ("LinearRegressionOutput", {"grad_scale": "2"}, X),
        ("LogisticRegressionOutput", {}, 1 / (1 + np.exp(-X))),
        ("MAERegressionOutput", {}, X),
        ("SVMOutput", {"margin": "1", "use_linear": "1"}, X),
        ("norm", {}, np.sqrt((X * X).sum()).reshape(1)),
        ("norm", {"ord": "1", "axis": "1", "keepdims": "True"}, np.abs(X).sum(1, keepdims=True)),
        ("norm", {"axis": "(2, 3)"}, np.sqrt((X * X).sum((2, 3)))),
        ("sort", {"axis": "1", "is_ascend": "False"}, -np.sort(-X, 1)),
        ("sort", {"axis": "None", "is_ascend": "True"}, np.sort(X.reshape(-1))),
        ("argsort", {"axis": "2", "is_ascend": "1", "dtype": "int32"}, X.argsort(2).astype(np.int32)),
        ("softmin", {"axis": "1"}, softmax(-X, 1)),
        ("LRN", {"nsize": "3"}, torch.nn.functional.local_response_norm(torch.from_numpy(X), 3, k=2).numpy()),
        ("_contrib_AdaptiveAvgPooling2D", {"output_size": "(2, 3)"},
         torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(X), (2, 3)).numpy()),
        ("_contrib_BilinearResize2D", {"height": "5", "width": "2"},
         torch.nn.functional.interpolate(torch.from_numpy(X), (5, 2), mode="bilinear", align_corners=True).numpy()),
        ("Crop", {"num_args": "1", "h_w": "(2, 3)", "center_crop": "True"}, X[:, :, 0:2, 1:4]),
        ("Crop", {"num_args": "1", "h_w": "(2, 2)", "offset": "(1, 3)"}, X[:, :, 1:3, 3:5]),
        ("depth_to_space", {"block_size": "2"},
         X.reshape(2, 2, 2, 1, 3, 5).transpose(0, 3, 4, 1, 5, 2).reshape(2, 1, 6, 10)),
        ("size_array", {}, np.array([X.size])),
        ("_contrib_quadratic", {"a": "2", "b": "1", "c": "3"}, 2 * X * X + X + 3),
        ("UpSampling", {"scale": "3", "sample_type": "nearest", "workspace": "1"}, X.repeat(3, 2).repeat(3, 3)),
        ("SequenceLast", {}, X[-1]),
    ],
)  # fmt: skip
def test_what_depends_on_shapes_and_dtypes_computes_what_it_did(op: str, attrs: dict[str, str], wanted: Array) -> None:
    got = computed(symbol_json((op, attrs, [0])), x=X)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


A, B = (np.random.default_rng(4).normal(size=shape).astype(np.float32) for shape in ((3, 4), (4, 2)))


@pytest.mark.parametrize(
    ("op", "attrs", "arrays", "wanted"),
    [
        ("dot", {"transpose_a": "True"}, (A.T, B), A @ B),
        ("dot", {"transpose_a": "False", "transpose_b": "True"}, (A, B.T), A @ B),
        ("dot", {"transpose_a": "0"}, (A, X.transpose(1, 0, 2, 3)), np.tensordot(A, X.transpose(1, 0, 2, 3), 1)),
        ("dot", {"transpose_a": "0"}, (A[0], A[1]), np.dot(A[0], A[1]).reshape(1)),
        ("_linalg_gemm2", {"transpose_b": "1", "alpha": "0.5"}, (A, B.T), A @ B / 2),
        ("_linalg_gemm", {"transpose_a": "1", "beta": "2"}, (A.T, B, A[:, :2]), A @ B + 2 * A[:, :2]),
        ("broadcast_lesser", {}, (A, A[:1]), (A[:1] > A).astype(np.float32)),
        ("broadcast_logical_and", {}, (A, A * 0), A * 0),
        ("_not_equal", {}, (A, A), np.zeros_like(A)),
        ("batch_take", {}, (A, np.array([1, 0, 3], np.int32)), A[np.arange(3), [1, 0, 3]]),
        ("broadcast_axis", {"axis": "1", "size": "3"}, (A[:, :1],), A[:, [0, 0, 0]]),
        ("SequenceLast", {"use_sequence_length": "True"}, (X, np.array([1, 2, 2, 1], np.float32)),
         X[[0, 1, 1, 0], np.arange(4)]),
        ("Crop", {"num_args": "2", "offset": "(1, 2)"}, (X, X[:, :, :2, :2]), X[:, :, 1:3, 2:4]),
        ("ROIPooling", {"pooled_size": "(1, 1)", "spatial_scale": "1"},
         (X, np.array([[1, 1, 0, 3, 1]], np.float32)), X[1:, :, 0:2, 1:4].max((2, 3), keepdims=True)),
        ("_contrib_ROIAlign", {"pooled_size": "(1, 1)", "spatial_scale": "1", "sample_ratio": "1"},
         (X, np.array([[1, 1, 0, 2, 1]], np.float32)), X[1:, :, 0:2, 1:3].mean((2, 3), keepdims=True)),
    ],
)  # fmt: skip
def test_operators_of_several_inputs_compute_what_they_did(
    op: str, attrs: dict[str, str], arrays: tuple[Array, ...], wanted: Array
) -> None:
    names = "abc"[: len(arrays)]
    text = symbol_json((op, attrs, list(range(len(arrays)))), variables=tuple(names))
    got = computed(text, **dict(zip(names, arrays, strict=True)))
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def integers(x: Array, largest: float, limit: int = 127) -> Array:
    """Nearest integers, halves away from zero."""
    scaled = x * (limit / largest)
    return np.clip(np.sign(scaled) * np.floor(np.abs(scaled) + 0.5), -limit if limit == 127 else 0, limit)


def quantized_network() -> str:
    """A convolution, a rectifier, pooling, a join, a sum and a dense layer, as MXNet's quantize_model wrote them."""
    names = ("x", "w", "b", "w_min", "w_max", "b_min", "b_max", "fc", "fc_min", "fc_max")
    nodes: list[dict[str, Any]] = [{"op": "null", "name": name, "inputs": []} for name in names]

    def add(op: str, attrs: dict[str, str], inputs: list[tuple[int, int]]) -> int:
        nodes.append({"op": op, "name": f"n{len(nodes)}", "attrs": attrs, "inputs": [[i, k, 0] for i, k in inputs]})
        return len(nodes) - 1

    def whole(node: int) -> list[tuple[int, int]]:
        return [(node, k) for k in range(3)]

    ranges = {"min_calib_range": "-2.5", "max_calib_range": "2"}
    data = add("_contrib_quantize_v2", {"out_type": "int8", **ranges}, [(0, 0)])
    attrs = {"kernel": "(3, 3)", "num_filter": "2", "pad": "(1, 1)", "no_bias": "False", "workspace": "1024"}
    fed = [(data, 0), (1, 0), (2, 0), (data, 1), (data, 2), (3, 0), (4, 0), (5, 0), (6, 0)]
    conv = add("_contrib_quantized_conv", attrs, fed)
    small = add("_contrib_requantize", {"min_calib_range": "-3", "max_calib_range": "4"}, whole(conv))
    act = add("_contrib_quantized_act", {"act_type": "relu"}, whole(small))
    pool = add("_contrib_quantized_pooling", {"kernel": "(3, 5)", "pool_type": "max", "cudnn_off": "0"}, whole(act))
    pairs = [(pool, 0), (pool, 0), (pool, 1), (pool, 2), (pool, 1), (pool, 2)]
    both = add("_contrib_quantized_concat", {"num_args": "2", "dim": "1"}, pairs)
    flat = add("_contrib_quantized_flatten", {}, whole(both))
    total = add(
        "_contrib_quantized_elemwise_add", {"max_calib_range": "8", "min_calib_range": "0"},
        [(flat, 0), (flat, 0), (flat, 1), (flat, 2), (flat, 1), (flat, 2)],
    )  # fmt: skip
    fed = [(total, 0), (7, 0), (total, 1), (total, 2), (8, 0), (9, 0)]
    dense = add("_contrib_quantized_fully_connected", {"num_hidden": "3", "no_bias": "True"}, fed)
    last = add("_contrib_dequantize", {"out_type": "float32"}, whole(dense))
    fields = {"nodes": nodes, "arg_nodes": [], "heads": [[last, 0, 0]], "attrs": {"mxnet_version": ["int", 10500]}}
    return json.dumps(fields)


def test_a_network_that_mxnet_quantized_computes_what_it_did() -> None:
    rng = np.random.default_rng(8)
    x = X[:, :, :, :5]
    w, b = rng.integers(-127, 128, (2, 4, 3, 3)).astype(np.int8), rng.integers(-127, 128, 2).astype(np.int8)
    fc = rng.integers(-127, 128, (3, 4)).astype(np.int8)
    sides = {"w": 0.5, "b": 0.25, "fc": 1.5}
    feed: dict[str, Array] = {"x": x, "w": w, "b": b, "fc": fc}
    for name, value in sides.items():
        feed |= {f"{name}_min": np.float32([-value]), f"{name}_max": np.float32([value])}
    level = 2.5 / 127 * 0.5 / 127
    bias = np.rint(b * (0.25 / 127) / level)
    data = torch.from_numpy(integers(x, 2.5).astype(np.float64))
    sums = torch.nn.functional.conv2d(data, torch.from_numpy(w.astype(np.float64)), padding=1).numpy()
    q = np.maximum(integers((sums + bias[:, None, None]) * level, 4), 0).max((2, 3))
    flat = np.concatenate([q, q], 1)
    total = integers(flat * (2 * 4 / 127), 8)
    wanted = total @ fc.T.astype(np.float64) * (8 / 127 * 1.5 / 127)
    text = quantized_network()
    np.testing.assert_allclose(computed(text, **feed), wanted, rtol=1e-4, atol=1e-4)


def test_operators_of_several_inputs_and_outputs() -> None:
    concat = symbol_json(("Concat", {"num_args": "2"}, [0, 0]))
    np.testing.assert_array_equal(computed(concat, x=X), np.concatenate([X, X], 1))
    for count in (1, 2, 5):
        total = symbol_json(("add_n", {"num_args": str(count)}, [0] * count))
        np.testing.assert_allclose(computed(total, x=X), X * count, rtol=1e-6)
    pieces = json.loads(symbol_json(("SliceChannel", {"num_outputs": "2", "squeeze_axis": "False"}, [0])))
    pieces["heads"] = [[1, 1, 0]]
    np.testing.assert_array_equal(computed(json.dumps(pieces), x=X), X[:, 2:])
    pieces["nodes"][1] |= {"op": "split", "attrs": {"num_outputs": "4", "axis": "1", "squeeze_axis": "True"}}
    np.testing.assert_array_equal(computed(json.dumps(pieces), x=X), X[:, 1])


def mxnet_1_network() -> str:
    """A network as MXNet 1's Module saved it: layers' attributes at their variables, unknown sizes, a loss."""
    conv = {"kernel": "(3, 3)", "num_filter": "6", "pad": "(1, 1)", "no_bias": "True", "workspace": "256"}
    variables = (
        "data",
        {"name": "conv_weight", "attrs": {**conv, "__shape__": "(6, 0, 3, 3)", "__dtype__": "0"}},
        *(f"bn_{role}" for role in ("gamma", "beta", "moving_mean", "moving_var")),
        {"name": "fc_weight", "attrs": {"num_hidden": "3", "ctx_group": "stage2"}},
        "fc_bias",
        "softmax_label",
    )
    return symbol_json(
        ("Convolution", conv, [0, 1]),
        ("BatchNorm", {"eps": "2e-05", "momentum": "0.9", "ctx_group": "dev1"}, [9, 2, 3, 4, 5]),
        ("Activation", {"act_type": "relu"}, [10]),
        ("Pooling", {"kernel": "(2, 2)", "stride": "(2, 2)", "pool_type": "max"}, [11]),
        ("Flatten", {}, [12]),
        ("FullyConnected", {"num_hidden": "3"}, [13, 6, 7]),
        ("SoftmaxOutput", {"normalization": "batch"}, [14, 8]),
        variables=variables,
    )


def test_a_network_of_mxnet_1_runs_with_its_parameters(tmp_path: Path) -> None:
    generator = np.random.default_rng(11)
    shapes = {"conv_weight": (6, 2, 3, 3), "fc_weight": (3, 54), "fc_bias": (3,)}
    shapes |= {f"bn_{role}": (6,) for role in ("gamma", "beta", "moving_mean", "moving_var")}
    arrays = {name: generator.uniform(0.1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    (tmp_path / "old-symbol.json").write_text(mxnet_1_network())
    prefixed = {f"{'aux' if 'moving' in name else 'arg'}:{name}": array for name, array in arrays.items()}
    save_params(tmp_path / "old-0007.params", prefixed, "mxnet1")
    net = SymbolBlock.imports(tmp_path / "old-symbol.json", ["data"], tmp_path / "old-0007.params")
    assert set(net.collect_params()) == set(arrays)  # the label is not read

    x = generator.normal(size=(2, 2, 6, 6)).astype(np.float32)
    t = {name: torch.from_numpy(array) for name, array in arrays.items()}
    y = torch.nn.functional.conv2d(torch.from_numpy(x), t["conv_weight"], padding=1)
    # fix_gamma is true where nothing is said
    y = torch.nn.functional.batch_norm(y, t["bn_moving_mean"], t["bn_moving_var"], None, t["bn_beta"], eps=2e-5)
    y = torch.nn.functional.max_pool2d(y.relu(), 2).flatten(1)
    wanted = (y @ t["fc_weight"].T + t["fc_bias"]).softmax(1).numpy()
    np.testing.assert_allclose(net(mx.np.array(x)).asnumpy(), wanted, rtol=1e-4, atol=1e-6)
    net.optimize_for(mx.np.array(x))
    np.testing.assert_allclose(net(mx.np.array(x)).asnumpy(), wanted, rtol=1e-4, atol=1e-6)


def test_sizes_that_mxnet_1_did_not_know_are_unknown() -> None:
    symbol = mx.sym.fromjson(mxnet_1_network())
    assert symbol.variables()[1].hints["shape"] == (6, -1, 3, 3)


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("_sg_onednn_conv", {}, "_sg_onednn_conv: it must have one subgraph, got 0"),
        ("Custom", {"op_type": "mine"}, "unknown operator 'Custom'"),
        ("RNN", {"mode": "lstm"}, "RNN: it has 1 inputs, 2 are needed"),
        ("_npi_zeros", {"shape": "(2, x)"}, "_npi_zeros: attribute 'shape' must be integers"),
        ("X" * 500, {}, "unknown operator 'XXXX"),
        ("Pooling", {"kernel": "(2, 2)", "pool_type": "lp", "p_value": "2"}, "Pooling: attribute 'p_value'"),
        ("Pooling", {"kernel": "(2, 2)", "output_size": "(1, 1)"}, "Pooling: attribute 'output_size' is not supported"),
        ("_npi_sum", {"initial": "3"}, "_npi_sum: attribute 'initial' is not supported, got '3'"),
        ("Convolution", {"kernel": "(1,)", "num_filter": "1", "tempo": "3"}, "unknown attribute 'tempo'"),
        ("mean", {"axis": "east"}, "mean: attribute 'axis' must be integers, got 'east'"),
        ("mean", {"axis": "[1, None]"}, "mean: attribute 'axis' must be integers"),
        ("argmax", {"axis": "(0, 1)"}, "argmax: only one axis is supported"),
        ("norm", {"ord": "3"}, "norm: ord must be 1 or 2"),
        ("sort", {"axis": "(0, 1)", "is_ascend": "1"}, "sort: 'axis' must be one number"),
        ("linalg_gemm2", {"axis": "-3"}, "linalg_gemm2: attribute 'axis' must be -2"),
        ("_contrib_ROIAlign", {"position_sensitive": "1"}, "_contrib_ROIAlign: attribute 'position_sensitive'"),
        ("Reshape", {"shape": "(0, -5)"}, "Reshape: 'shape' must be numbers from -4 on"),
        ("Reshape", {"target_shape": "(2, 2)", "shape": "(1,)"}, "attribute 'target_shape' is not supported"),
        ("Reshape", {}, "Reshape: 'shape' must be"),
        ("Pad", {"pad_width": "(1, 2, 3)"}, "Pad: 'pad_width' must be pairs"),
        ("UpSampling", {"scale": "2", "sample_type": "bilinear"}, "upsampling takes 2 inputs"),
        ("SoftmaxActivation", {"mode": "sideways"}, "SoftmaxActivation: mode must be instance or channel"),
        ("SliceChannel", {"num_outputs": "1000000000"}, "1000000000 outputs: more than 65536"),
        ("amp_cast", {"dtype": "float33"}, "cast: attribute 'dtype'"),
        ("BatchNorm", {}, "batch_norm takes 5 inputs"),
    ],
)
def test_what_is_not_supported_is_named_with_its_node(op: str, attrs: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError, match=r"node 1 \('node1'\): .*" + message):
        mx.sym.fromjson(symbol_json((op, attrs, [0])))


@pytest.mark.parametrize("op", [op for op in UPGRADES if UPGRADES[op].key is None])
def test_an_operator_without_inputs_is_refused(op: str) -> None:
    with pytest.raises(GraphError, match=r"node 1 \('node1'\): "):
        mx.sym.fromjson(symbol_json((op, {"axis": "1", "shape": "(1,)"} if op != "add_n" else {}, [])))


def test_statistics_that_mxnet_gives_beside_the_result_cannot_be_used() -> None:
    fields = json.loads((ASSETS / "ops" / "layernorm-symbol.json").read_text())
    fields["heads"] = [[3, 1, 0]]
    with pytest.raises(GraphError, match="wants output 1 of node 'node_0', which has 1"):
        mx.sym.fromjson(json.dumps(fields))


def test_sums_of_a_million_terms_are_refused() -> None:
    with pytest.raises(DataError, match=r"\('node1'\): more than 400000 inputs of nodes"):
        mx.sym.fromjson(symbol_json(("add_n", {}, [0] * 1_000_000)))
    with pytest.raises(DataError, match="more than 100000 nodes"):
        mx.sym.fromjson(symbol_json(("add_n", {}, [0] * 200_000)))


@pytest.mark.parametrize("field", ["attrs", "attr", "param"])
def test_attributes_of_a_wrong_type_are_refused_by_file(field: str, tmp_path: Path) -> None:
    fields = json.loads(symbol_json(("relu", {}, [0])))
    fields["nodes"][1][field] = ["a"]
    (tmp_path / "bad-symbol.json").write_text(json.dumps(fields))
    with pytest.raises(DataError, match=rf"bad-symbol\.json: .*node 1 \('node1'\): '{field}' must be an object"):
        mx.sym.load(tmp_path / "bad-symbol.json")


SEED = json.loads((ASSETS / "smallconv-symbol.json").read_text())
OLD = json.loads(mxnet_1_network())
TEXTS = st.sampled_from(
    [
        "",
        "None",
        "()",
        "(1, 1)",
        "[1,2",
        "[-1,0,7]",
        "1e999",
        "nan",
        "-4",
        "(0, -4, 2)",
        "9" * 30,
        "(" * 200,
        "é",
        "leaky",
    ]
)
SCRAPS = st.none() | st.integers(-2, 1 << 70) | st.floats() | TEXTS | st.lists(st.integers(-1, 30), max_size=3)
OPS = st.sampled_from(sorted({*supported(), *UPGRADES, "null", "fused", "Custom"}))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_symbols_load_or_are_refused(data: st.DataObject) -> None:
    fields = copy.deepcopy(data.draw(st.sampled_from([SEED, OLD])))
    for _ in range(data.draw(st.integers(1, 4))):
        node = data.draw(st.sampled_from(fields["nodes"]))
        change = data.draw(st.sampled_from(["op", "attr", "inputs", "key", "heads"]))
        if change == "op":
            node["op"] = data.draw(OPS)
        elif change == "attr" and isinstance(node.get("attrs"), dict) and node["attrs"]:
            key = data.draw(st.sampled_from(sorted(node["attrs"])))
            node["attrs"][key] = data.draw(TEXTS | SCRAPS)
        elif change == "inputs":
            node["inputs"] = data.draw(st.lists(st.tuples(st.integers(-1, 25), st.integers(0, 2)), max_size=5) | SCRAPS)
        elif change == "key":
            node[data.draw(st.sampled_from(["op", "name", "inputs", "attrs", "attr", "subgraphs"]))] = data.draw(SCRAPS)
        else:
            fields["heads"] = data.draw(SCRAPS)
    try:
        symbol = mx.sym.fromjson(json.dumps(fields))
        symbol.infer_shape_partial(data=(1, 3, 8, 8))
    except (DataError, GraphError, OpError):
        return
    assert symbol.list_outputs()


# ---- the documented table -----------------------------------------------------------------------------


def table() -> list[str]:
    """The rows of the table in docs/mxnet-files.md."""
    rows = {name: f"`{op}`" for name, op in supported().items() if "quantize" not in op}
    rows |= {name: upgrade.meaning for name, upgrade in UPGRADES.items()}
    return [f"| `{name}` | {meaning} |" for name, meaning in sorted(rows.items(), key=lambda row: row[0].lower())]


def test_the_documented_table_is_the_table() -> None:
    lines = (ROOT / "docs" / "mxnet-files.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| MXNet's operator | read as |") + 2
    assert lines[start:] == table()


def test_every_operator_in_the_table_is_known() -> None:
    for row in table():
        name = row.split("`")[1]
        with pytest.raises(GraphError) as error:
            mx.sym.fromjson(symbol_json((name, {"no such": "1"}, [])))
        assert "unknown operator" not in str(error.value)
