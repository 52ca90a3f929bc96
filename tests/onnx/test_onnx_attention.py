"""Attention as ONNX Runtime's optimizer writes it, and its pooling of bytes, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_models import Array, make_model, node, run, tensor

import minidnn as mx

RNG = np.random.default_rng(8)
MS = "com.microsoft"


def numbers(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def both(
    op: str, given: dict[str, Any], outputs: int = 1, kind: Any = None, fixed: bool = False, **attributes: Any
) -> tuple[list[Array], list[Array]]:
    """What a node of all these inputs in order gives, and what ONNX Runtime gives.

    Args:
        op: the operator.
        given: inputs by name; those that are None are left out.
        outputs: how many.
        kind: of the outputs.
        fixed: whether the model says the shapes of its inputs.
        attributes: of the node.
    """
    arrays = {name: np.asarray(a) for name, a in given.items() if a is not None}
    results = [f"y{i}" for i in range(outputs)]
    names = [name if a is not None else "" for name, a in given.items()]
    nodes = [node(op, names, results, domain=MS, **attributes)]
    inputs = [tensor(name, a.shape if fixed else [None] * a.ndim, a.dtype.name) for name, a in arrays.items()]
    first = next(iter(arrays.values()))
    model = make_model(nodes, inputs, [], com_microsoft=1)
    kind = kind or (TensorProto.FLOAT if first.dtype == np.float32 else TensorProto.UINT8)
    kinds = kind if isinstance(kind, list) else [kind] * outputs
    model.graph.output.extend(
        helper.make_tensor_value_info(name, k, None) for name, k in zip(results, kinds, strict=True)
    )
    model.ir_version = 8
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, arrays)
    return run(mx.onnx.import_model(model), *arrays.values()), wanted


def assert_like_runtime(op: str, given: dict[str, Any], outputs: int = 1, **options: Any) -> None:
    for got, want in zip(*both(op, given, outputs, **options), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-5)


MASKS = {
    "none": None,
    "lengths": np.int32([3, 5]),
    "keys": np.int32([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]]),
    "pairs": (RNG.uniform(size=(2, 5, 5)) < 0.7).astype(np.int32) | np.eye(5, dtype=np.int32),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_to_oneself(mask: str, unidirectional: int) -> None:
    given = {"x": numbers(2, 5, 8), "w": numbers(8, 24), "b": numbers(24), "mask": MASKS[mask]}
    assert_like_runtime("Attention", given, num_heads=2, unidirectional=unidirectional)


def test_values_of_another_size_and_past_keys() -> None:
    given = {"x": numbers(2, 5, 8), "w": numbers(8, 22), "b": numbers(22), "mask": None}
    assert_like_runtime("Attention", given, num_heads=2, qkv_hidden_sizes=[8, 8, 6], scale=0.3)
    given = {"x": numbers(2, 5, 8), "w": numbers(8, 24), "b": numbers(24), "mask": None, "past": numbers(2, 2, 2, 3, 4)}
    assert_like_runtime("Attention", given, 2, num_heads=2, unidirectional=1)


def test_attention_of_queries_to_keys() -> None:
    given: dict[str, Any] = {"q": numbers(2, 3, 8), "k": numbers(2, 5, 8), "v": numbers(2, 5, 4)}
    assert_like_runtime("MultiHeadAttention", given, num_heads=2)
    given |= {"b": numbers(20), "mask": MASKS["keys"], "bias": numbers(2, 2, 3, 5)}
    assert_like_runtime("MultiHeadAttention", given, num_heads=2, scale=0.4)


def test_packed_queries_keys_and_values() -> None:
    """ONNX Runtime's CPU kernel refuses them: compared with the same numbers apart."""
    q, k, v = numbers(2, 4, 8), numbers(2, 4, 8), numbers(2, 4, 8)

    def attend(*arrays: Array) -> Array:
        inputs = [tensor(f"x{i}", [None] * a.ndim) for i, a in enumerate(arrays)]
        nodes = [node("MultiHeadAttention", [i.name for i in inputs], ["y"], domain=MS, num_heads=2)]
        return run(mx.onnx.import_model(make_model(nodes, inputs, ["y"], com_microsoft=1)), *arrays)[0]

    wanted = attend(q, k, v)
    apart = [a.reshape(2, 4, 2, 4) for a in (q, k, v)]
    np.testing.assert_allclose(attend(np.stack(apart, 3)), wanted, 1e-5, 1e-6)
    np.testing.assert_allclose(attend(q, np.stack(apart[1:], 3)), wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("mask", ["none", "lengths", "keys"])
@pytest.mark.parametrize("per_column", [False, True])
def test_attention_with_projections_of_bytes(mask: str, per_column: bool) -> None:
    # Of larger weights ONNX Runtime's sums saturate where the CPU has no VNNI.
    given: dict[str, Any] = {"x": RNG.integers(0, 256, (2, 5, 8)).astype(np.uint8)}
    given |= {"w": RNG.integers(-64, 64, (8, 24)).astype(np.int8), "b": numbers(24)}
    scale = RNG.uniform(0.001, 0.01, 24 if per_column else ()).astype(np.float32)
    given |= {"x_scale": np.float32(0.02), "w_scale": scale, "mask": MASKS[mask]}
    given |= {"x_zero": np.uint8(120), "w_zero": np.zeros(scale.shape, np.int8)}
    assert_like_runtime("QAttention", given, num_heads=2, kind=TensorProto.FLOAT)


def test_attention_with_projections_of_bytes_and_past_keys() -> None:
    given: dict[str, Any] = {"x": RNG.integers(0, 256, (2, 5, 8)).astype(np.uint8)}
    given |= {"w": RNG.integers(0, 256, (8, 24)).astype(np.uint8), "b": numbers(24), "x_scale": np.float32(0.02)}
    given |= {"w_scale": np.float32(0.01), "mask": None, "x_zero": np.uint8(120), "w_zero": np.uint8(130)}
    given |= {"past": numbers(2, 2, 2, 3, 4)}
    assert_like_runtime("QAttention", given, 2, num_heads=2, unidirectional=1, kind=TensorProto.FLOAT)


def angles(pairs: int) -> dict[str, Array]:
    turns = np.outer(np.arange(16), 0.5 ** np.arange(pairs))
    return {"cos": np.cos(turns).astype(np.float32), "sin": np.sin(turns).astype(np.float32)}


ANGLES = angles(3)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("places", [[3], [[0, 1, 2, 3], [5, 6, 7, 8]]], ids=str)
def test_rotary_embedding(interleaved: int, places: Any) -> None:
    given: dict[str, Any] = {"x": numbers(2, 4, 12), "places": np.array(places, np.int64), **ANGLES}
    assert_like_runtime("RotaryEmbedding", given, interleaved=interleaved)
    given["x"] = numbers(2, 3, 4, 6)
    assert_like_runtime("RotaryEmbedding", given, interleaved=interleaved)
    given["x"] = numbers(2, 4, 16)
    assert_like_runtime("RotaryEmbedding", given, interleaved=interleaved, num_heads=2, rotary_embedding_dim=6)


def grouped(packed: bool, past: int, time: int, lengths: list[int], rotary: bool) -> dict[str, Any]:
    """Four heads of queries to two of keys, of size 16."""
    batch = len(lengths)
    given: dict[str, Any] = {
        "q": numbers(batch, time, 64),
        "k": numbers(batch, time, 32),
        "v": numbers(batch, time, 32),
    }
    if packed:
        given |= {"q": numbers(batch, time, 128), "k": None, "v": None}
    given |= {"past_k": numbers(batch, 2, past, 16), "past_v": numbers(batch, 2, past, 16)}
    given |= {"lengths": np.array(lengths, np.int32) - 1, "total": np.int32(past + time)}
    return given | (angles(8) if rotary else {})


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"local_window_size": 3, "softcap": 2.0, "scale": 0.3}, {"rotary_interleaved": 1}], ids=str
)
def test_grouped_heads(packed: bool, rotary: bool, options: dict[str, Any]) -> None:
    for past, time, batch in ((0, 5, 2), (4, 1, 2), (3, 2, 1)):
        given = grouped(packed, past, time, [past + time] * batch, rotary)
        attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": int(rotary), **options}
        assert_like_runtime("GroupQueryAttention", given, 3, **attributes)


def test_one_network_goes_on_behind_its_prompt() -> None:
    given = grouped(False, 0, 5, [5], True)
    inputs = [tensor(name, [None] * np.ndim(a), np.asarray(a).dtype.name) for name, a in given.items()]
    attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    nodes = [node("GroupQueryAttention", list(given), ["y0", "y1", "y2"], domain=MS, **attributes)]
    model = make_model(nodes, inputs, ["y0", "y1", "y2"], com_microsoft=1)
    net = mx.onnx.import_model(model)
    keys, values, total = given["past_k"][:1], given["past_v"][:1], 0
    for time in (5, 1, 1):
        total += time
        given = grouped(False, 0, time, [total], True) | {"past_k": keys, "past_v": values, "total": np.int32(total)}
        got = run(net, *given.values())
        wanted, keys, values = both("GroupQueryAttention", given, 3, **attributes)[1]
        for ours, theirs in zip(got, (wanted, keys, values), strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-4, 1e-5)


def test_grouped_heads_of_sequences_of_unequal_lengths() -> None:
    """What each sequence had is followed by what is new; behind that there is anything."""
    given = grouped(False, 4, 1, [5, 3], True)
    got, want = both("GroupQueryAttention", given, 3, num_heads=4, kv_num_heads=2, do_rotary=1)
    np.testing.assert_allclose(got[0], want[0], 1e-4, 1e-5)
    for ours, theirs in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], 1e-5, 1e-6)
        np.testing.assert_allclose(ours[1, :, :3], theirs[1, :, :3], 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "message"),
    [
        ("MultiHeadAttention", [numbers(2, 3, 2, 2, 4)], {"num_heads": 2}, "packed inputs must be"),
        ("MultiHeadAttention", [numbers(2, 3, 8)], {"num_heads": 2}, "a query of 3 dimensions and a key"),
        ("RotaryEmbedding", [numbers(2, 3, 7), np.int64([0]), *ANGLES.values()], {}, "7 features cannot be split"),
        ("RotaryEmbedding", [numbers(2, 1, 3, 4), np.int64([0]), *ANGLES.values()], {}, "angles for 6 numbers"),
        ("RotaryEmbedding", [numbers(2, 3, 6), np.int64([0]), *ANGLES.values()], {"scale": 2.0}, "scales are not"),
        ("GroupQueryAttention", [numbers(2, 3, 7)] * 3, {"num_heads": 3, "kv_num_heads": 2}, "must divide"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_named(op: str, arrays: list[Array], attributes: dict[str, Any], message: str) -> None:
    inputs = [tensor(f"x{i}", a.shape, a.dtype.name) for i, a in enumerate(arrays)]
    nodes = [node(op, [i.name for i in inputs], ["y0"], domain=MS, **attributes)]
    with pytest.raises(mx.MXNetError, match=rf"node 'y0' \(com.microsoft.{op}\): .*{message}"):
        mx.onnx.import_model(make_model(nodes, inputs, ["y0"], com_microsoft=1))


def test_embeddings_of_bytes_summed_and_normed() -> None:
    def table(*shape: int) -> Array:
        return RNG.integers(0, 256, shape).astype(np.uint8)

    ids = RNG.integers(0, 20, (2, 5)).astype(np.int32)
    mask = np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    given: dict[str, Any] = {"ids": ids, "segments": ids % 2, "words": table(20, 8), "places": table(9, 8)}
    given |= {"kinds": table(2, 8), "gamma": table(8), "beta": table(8), "mask": mask}
    given |= {f"scale{i}": np.float32(0.01 + 0.002 * i) for i in range(5)}
    given |= {f"zero{i}": np.uint8(120 + i) for i in range(5)}
    kinds = [TensorProto.FLOAT, TensorProto.INT32]
    assert_like_runtime("QEmbedLayerNormalization", given, 2, fixed=True, epsilon=1e-3, kind=kinds)
    floats = {
        k: v.astype(np.float32) / 100 if v is not None and v.dtype == np.uint8 else v
        for k, v in list(given.items())[:8]
    }
    assert_like_runtime("EmbedLayerNormalization", floats, 2, fixed=True, epsilon=1e-3, kind=kinds)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("with_zeros", [False, True])
def test_rows_of_a_table_of_few_bits(bits: int, with_zeros: bool) -> None:
    given: dict[str, Any] = {
        "data": RNG.integers(0, 256, (6, 64 * bits // 8)).astype(np.uint8),
        "ids": np.int64([[5, 0, 3]]),
        "scales": RNG.uniform(0.1, 1, (6, 4)).astype(np.float32),
        "zeros": RNG.integers(0, 256, (6, 4 * bits // 8)).astype(np.uint8) if with_zeros else None,
    }
    attributes = {"bits": bits, "block_size": 16, "quantize_axis": 1, "gather_axis": 0}
    assert_like_runtime("GatherBlockQuantized", given, fixed=True, kind=TensorProto.FLOAT, **attributes)


def test_pools_of_bytes_with_channels_last() -> None:
    x = RNG.integers(0, 256, (2, 7, 6, 3)).astype(np.uint8)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    nodes = [node("NhwcMaxPool", ["x"], ["y"], domain=MS, **attributes)]
    model = make_model(nodes, [tensor("x", ["n", 7, 6, 3], "uint8")], ["y"], com_microsoft=1)
    plain = make_model([node("MaxPool", ["x"], ["y"], **attributes)], [tensor("x", ["n", 3, 7, 6], "uint8")], ["y"])
    wanted = run(mx.onnx.import_model(plain), x.transpose(0, 3, 1, 2))[0]
    assert np.array_equal(run(mx.onnx.import_model(model), x)[0], wanted.transpose(0, 2, 3, 1))
    padded = np.pad(x, [(0, 0), (1, 1), (0, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 2), (1, 2))[:, ::2]
    assert np.array_equal(wanted.transpose(0, 2, 3, 1), windows.max((-2, -1)))
