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


def assert_like_runtime(op: str, given: dict[str, Array | None], outputs: int = 1, **attributes: Any) -> None:
    """A node of all these inputs in order; those that are None are left out."""
    arrays = {name: a for name, a in given.items() if a is not None}
    results = [f"y{i}" for i in range(outputs)]
    names = [name if a is not None else "" for name, a in given.items()]
    nodes = [node(op, names, results, domain=MS, **attributes)]
    inputs = [tensor(name, [None] * a.ndim, a.dtype.name) for name, a in arrays.items()]
    first = next(iter(arrays.values()))
    model = make_model(nodes, inputs, [], com_microsoft=1)
    kind = TensorProto.FLOAT if first.dtype == np.float32 else TensorProto.UINT8
    model.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name in results)
    model.ir_version = 8
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, arrays)
    for got, want in zip(run(mx.onnx.import_model(model), *arrays.values()), wanted, strict=True):
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
    given: dict[str, Array | None] = {"q": numbers(2, 3, 8), "k": numbers(2, 5, 8), "v": numbers(2, 5, 4)}
    assert_like_runtime("MultiHeadAttention", given, num_heads=2)
    given |= {"b": numbers(20), "mask": MASKS["keys"], "bias": numbers(2, 2, 3, 5)}
    assert_like_runtime("MultiHeadAttention", given, num_heads=2, scale=0.4)


def test_what_is_not_supported_is_named() -> None:
    given = {"q": numbers(2, 3, 2, 3, 4)}
    with pytest.raises(mx.MXNetError, match=r"node 'y0' \(com.microsoft.MultiHeadAttention\): .*packed"):
        model = make_model(
            [node("MultiHeadAttention", ["q"], ["y0"], domain=MS, num_heads=2)],
            [tensor("q", given["q"].shape)],
            ["y0"],
            com_microsoft=1,
        )
        mx.onnx.import_model(model)


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
