"""Quantized models: ONNX's own operators by its reference evaluator, ONNX Runtime's by plain NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import Array, assert_like_reference, make_model, node, run, tensor

import minidnn as mx

RNG = np.random.default_rng(5)
MS = "com.microsoft"


def integers(dtype: str, *shape: int) -> Array:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def real(q: Array, scale: Any, zero: Any) -> Array:
    return ((q.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float32)


def stored(x: Array, scale: Any, zero: Any, dtype: str) -> Array:
    info = np.iinfo(dtype)
    return np.clip(np.rint(x / np.float32(scale)) + int(zero), info.min, info.max).astype(dtype)


def assert_within_a_step(got: Array, wanted: Array) -> None:
    """A float that falls on a rounding boundary may go either way."""
    assert got.dtype == wanted.dtype
    off = np.abs(got.astype(np.int64) - wanted.astype(np.int64))
    assert off.max() <= 1
    assert off.mean() < 0.02


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zeros", [(0, 0), (7, 0), (7, 3)])
def test_convolutions_of_bytes_are_exact(dtype: str, per_channel: bool, zeros: tuple[int, int]) -> None:
    x, w = integers(dtype, 2, 4, 7, 6), integers("int8", 6, 4, 3, 3)
    constants = {"w": w, "xz": np.array(zeros[0], dtype), "wz": np.full(6 if per_channel else (), zeros[1], np.int8)}
    nodes = [node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], pads=[1, 0, 1, 2], strides=[2, 1])]
    model = make_model(nodes, [tensor("x", ["n", 4, 7, 6], dtype)], ["y"], constants, opset=13)
    net = mx.onnx.import_model(model)
    padded = np.pad(x.astype(np.int64) - zeros[0], [(0, 0), (0, 0), (1, 1), (0, 2)])
    wanted = np.zeros((2, 6, 4, 6), np.int64)
    for i in range(3):
        for j in range(3):
            part = padded[:, :, i : i + 7 : 2, j : j + 6]
            wanted += np.einsum("nchw,fc->nfhw", part, w[:, :, i, j].astype(np.int64) - zeros[1])
    assert run(net, x)[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("weights", ["int8", "uint8"])
@pytest.mark.parametrize("is_constant", [False, True])
@pytest.mark.parametrize("zero", [0, 128, 77])
def test_products_of_bytes_are_exact(weights: str, is_constant: bool, zero: int) -> None:
    zero = zero % 128 if weights == "int8" else zero
    a, b = integers("uint8", 3, 600), integers(weights, 600, 5)
    constants: dict[str, Any] = {"az": np.uint8(200), "bz": np.array(zero, weights)}
    inputs = [tensor("a", ["n", 600], "uint8")]
    if is_constant:
        constants["b"] = b
    else:
        inputs.append(tensor("b", [600, 5], weights))
    model = make_model([node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])], inputs, ["y"], constants)
    wanted = (a.astype(np.int64) - 200) @ (b.astype(np.int64) - zero)
    (got,) = run(mx.onnx.import_model(model), *([a] if is_constant else [a, b]))
    assert (got.dtype, got.tolist()) == (np.int32, wanted.tolist())


def quantized_conv(pads: list[int], x_zero: int, dtype: str = "uint8") -> onnx.ModelProto:
    constants = {
        "xs": np.float32(0.05),
        "xz": np.array(x_zero, dtype),
        "w": integers("int8", 8, 3, 3, 3),
        "ws": RNG.uniform(0.01, 0.03, 8).astype(np.float32),
        "wz": np.zeros(8, np.int8),
        "ys": np.float32(0.4),
        "yz": np.array(5, dtype),
        "b": RNG.integers(-2000, 2000, 8).astype(np.int32),
    }
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        node("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["c"], pads=pads),
    ]
    return make_model(nodes, [tensor("x", ["n", 3, "h", "w"])], ["c"], constants)


@pytest.mark.parametrize(("pads", "zero"), [([1, 1, 1, 1], 0), ([1, 1, 1, 1], 9), ([0, 1, 2, 0], 120)])
def test_quantized_convolutions(pads: list[int], zero: int) -> None:
    model = quantized_conv(pads, zero)
    x = RNG.normal(size=(2, 3, 9, 8)).astype(np.float32)
    net = assert_like_reference(model, [x], [x[:1, :, :6]], atol=1)
    assert any("u8" in step.kernel or "int8" in step.kernel or "s8" in step.kernel for step in net.steps())


def test_models_of_quantize_and_dequantize_nodes() -> None:
    constants = {
        "s": np.float32(0.1),
        "z": np.uint8(128),
        "w": integers("int8", 4, 6),
        "ws": RNG.uniform(0.01, 0.02, 4).astype(np.float32),
        "wz": np.zeros(4, np.int8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        node("Gemm", ["d", "wd"], ["g"], transB=1),
        node("Relu", ["g"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["o"]),
        node("DequantizeLinear", ["o", "s", "z"], ["y"]),
    ]
    model = make_model(nodes, [tensor("x", ["n", 6])], ["y"], constants)
    assert_like_reference(model, [RNG.normal(size=(5, 6)).astype(np.float32)])


def test_ranges_that_are_found_at_run_time() -> None:
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z", "wz"], ["p"]),
        node("Cast", ["p"], ["f"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["f", "s"], ["y"]),
    ]
    constants = {"w": integers("int8", 8, 3), "wz": np.int8(0)}
    model = make_model(nodes, [tensor("x", ["n", 8])], ["y"], constants)
    x = RNG.normal(size=(4, 8)).astype(np.float32)
    assert_like_reference(model, [x], [x * 3], [np.abs(x)], [np.zeros((1, 8), np.float32)], atol=1e-4)


# ---- com.microsoft ----------------------------------------------------------------------------------------


def computed(op: str, constants: dict[str, Any], outputs: int = 1, **attributes: Any) -> list[Array]:
    """A node of that domain: all constants are its inputs, in order; those that are None are left out."""
    names = [name if value is not None else "" for name, value in constants.items()]
    results = [f"y{i}" for i in range(outputs)]
    arrays = {name: np.asarray(value) for name, value in constants.items() if value is not None}
    inputs = [tensor(name, array.shape, array.dtype.name) for name, array in arrays.items()][:1]
    first = next(iter(arrays))
    nodes = [node(op, names, results, domain=MS, **attributes)]
    rest = {name: array for name, array in arrays.items() if name != first}
    return run(mx.onnx.import_model(make_model(nodes, inputs, results, rest, com_microsoft=1)), arrays[first])


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_sums_and_products(dtype: str) -> None:
    a, b = integers(dtype, 4, 5), integers(dtype, 5)
    zero = np.array(3, dtype)
    scales = {"as": np.float32(0.1), "bs": np.float32(0.03), "ys": np.float32(0.2)}
    inputs = {
        "a": a,
        "as": scales["as"],
        "az": zero,
        "b": b,
        "bs": scales["bs"],
        "bz": zero,
        "ys": scales["ys"],
        "yz": zero,
    }
    for op, function in (("QLinearAdd", np.add), ("QLinearMul", np.multiply)):
        wanted = stored(function(real(a, 0.1, 3), real(b, 0.03, 3)), 0.2, 3, dtype)
        assert_within_a_step(computed(op, inputs)[0], wanted)


def test_activations_and_pools() -> None:
    x, zero, scale, out = integers("uint8", 2, 3, 4, 4), np.uint8(100), np.float32(0.05), np.float32(0.0137)
    inputs = {"x": x, "xs": scale, "xz": zero, "ys": out, "yz": zero}
    floats = real(x, scale, zero)
    sigmoid = 1 / (1 + np.exp(-floats))
    assert_within_a_step(computed("QLinearSigmoid", inputs)[0], stored(sigmoid, out, zero, "uint8"))
    leaky = np.where(floats < 0, floats * np.float32(0.1), floats)
    assert_within_a_step(computed("QLinearLeakyRelu", inputs, alpha=0.1)[0], stored(leaky, out, zero, "uint8"))
    mean = floats.mean((2, 3), keepdims=True)
    assert_within_a_step(computed("QLinearGlobalAveragePool", inputs)[0], stored(mean, out, zero, "uint8"))
    last = floats.mean((1, 2), keepdims=True)
    got = computed("QLinearGlobalAveragePool", inputs, channels_last=1)[0]
    assert_within_a_step(got, stored(last, out, zero, "uint8"))
    exponentials = np.exp(floats - floats.max(-1, keepdims=True))
    softmax = exponentials / exponentials.sum(-1, keepdims=True)
    got = computed("QLinearSoftmax", {**inputs, "yz": np.uint8(0)}, axis=-1)[0]
    assert_within_a_step(got, stored(softmax, out, 0, "uint8"))
    windows = floats.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    got = computed("QLinearAveragePool", inputs, kernel_shape=[2, 2], strides=[2, 2])[0]
    assert_within_a_step(got, stored(windows, out, zero, "uint8"))


def test_concatenation() -> None:
    a, b = integers("uint8", 2, 3), integers("uint8", 2, 4)
    nodes = [node("QLinearConcat", ["s", "z", "a", "as", "az", "b", "s", "z"], ["y"], domain=MS, axis=1)]
    constants = {"s": np.float32(0.1), "z": np.uint8(9), "as": np.float32(0.2), "az": np.uint8(1), "b": b}
    model = make_model(nodes, [tensor("a", [2, 3], "uint8")], ["y"], constants, com_microsoft=1)
    wanted = np.concatenate([stored(real(a, 0.2, 1), 0.1, 9, "uint8"), b], 1)
    assert_within_a_step(run(mx.onnx.import_model(model), a)[0], wanted)


@pytest.mark.parametrize("is_quantized", [False, True])
def test_dense_layers(is_quantized: bool) -> None:
    a, b, c = integers("uint8", 3, 20), integers("int8", 5, 20), RNG.integers(-500, 500, 5).astype(np.int32)
    scales = RNG.uniform(0.01, 0.02, 5).astype(np.float32)
    inputs = {
        "a": a,
        "as": np.float32(0.1),
        "az": np.uint8(7),
        "b": b,
        "bs": scales,
        "bz": np.zeros(5, np.int8),
        "c": c,
    }
    if is_quantized:
        inputs |= {"ys": np.float32(0.5), "yz": np.uint8(30)}
    sums = (a.astype(np.int64) - 7) @ b.T.astype(np.int64) + c
    wanted = sums * (scales * np.float32(0.1))
    (got,) = computed("QGemm", inputs, transB=1)
    if is_quantized:
        assert_within_a_step(got, stored(wanted.astype(np.float32), 0.5, 30, "uint8"))
    else:
        np.testing.assert_allclose(got, wanted, 1e-5)


def test_products_with_ranges_of_the_run() -> None:
    x, w = RNG.normal(size=(4, 9)).astype(np.float32), integers("int8", 9, 5)
    bias, scale = RNG.normal(size=5).astype(np.float32), RNG.uniform(0.01, 0.02, 5).astype(np.float32)
    inputs = {"x": x, "w": w, "s": scale, "z": np.zeros(5, np.int8), "b": bias}
    (got,) = computed("DynamicQuantizeMatMul", inputs)
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    np.testing.assert_allclose(got, x @ real(w, 1, 0) * scale + bias, atol=step * np.abs(w).sum(0).max() * 0.02)
    q = integers("uint8", 4, 9)
    inputs = {"q": q, "w": w, "qs": np.float32(0.2), "s": scale, "qz": np.uint8(4), "z": None, "b": bias}
    (got,) = computed("MatMulIntegerToFloat", inputs)
    np.testing.assert_allclose(got, real(q, 0.2, 4) @ real(w, 1, 0) * scale + bias, 1e-4, 1e-4)


@pytest.mark.parametrize(("bits", "with_zeros"), [(4, False), (4, True), (8, False)])
def test_products_with_blocks_of_few_bits(bits: int, with_zeros: bool) -> None:
    rows, columns, block = 40, 6, 16
    count = -(-rows // block)
    q = RNG.integers(0, 1 << bits, (columns, count, block)).astype(np.uint8)
    scale = RNG.uniform(0.1, 0.2, (columns, count)).astype(np.float32)
    zeros = RNG.integers(0, 1 << bits, (columns, count + count % 2)).astype(np.uint8)
    packed = q if bits == 8 else q[..., ::2] | (q[..., 1::2] << 4)
    stored_zeros = (zeros[:, ::2] | (zeros[:, 1::2] << 4)).reshape(-1) if with_zeros else None
    x = RNG.normal(size=(3, rows)).astype(np.float32)
    inputs = {
        "x": x,
        "w": packed,
        "s": scale.reshape(-1),
        "z": None if stored_zeros is None else stored_zeros.reshape(-1),
    }
    (got,) = computed("MatMulNBits", inputs, K=rows, N=columns, bits=bits, block_size=block)
    shift = zeros[:, :count, None].astype(np.float32) if with_zeros else np.float32(1 << (bits - 1))
    weights = ((q - shift) * scale[..., None]).reshape(columns, -1)[:, :rows]
    np.testing.assert_allclose(got, x @ weights.T, 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("with_zeros", [False, True])
def test_weights_with_a_scale_for_each_block_are_exact(dtype: str, axis: int, with_zeros: bool) -> None:
    """The reference is float64: ONNX Runtime's optimizer has the data rounded to int8 before such a product."""
    rows, columns, block = 40, 24, 8
    q, blocks = integers(dtype, rows, columns), (rows // block, columns) if axis == 0 else (rows, columns // block)
    scale, zeros = RNG.uniform(0.01, 0.1, blocks).astype(np.float32), integers(dtype, *blocks)
    x = RNG.normal(size=(5, rows)).astype(np.float32)
    constants = {"q": q, "s": scale, **({"z": zeros} if with_zeros else {})}
    nodes = [
        node("DequantizeLinear", [*constants], ["w"], axis=axis, block_size=block),
        node("MatMul", ["x", "w"], ["y"]),
    ]
    model = make_model(nodes, [tensor("x", ["n", rows])], ["y"], constants, opset=21)
    net = mx.onnx.import_model(model)
    net.hybridize(backend="MINIDNN")
    (got,) = run(net, x)
    spread = [np.repeat(a.astype(np.float64), block, axis) for a in (zeros, scale)]
    wanted = x.astype(np.float64) @ ((q - spread[0] * with_zeros) * spread[1])
    np.testing.assert_allclose(got, wanted, 0, 1e-5 * np.abs(wanted).max())


def layer_norm(x: Array, scale: Array, shift: Array, eps: float) -> Array:
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + eps) * scale + shift


def test_what_the_optimizer_fuses() -> None:
    x, y, scale, shift, bias = (RNG.normal(size=s).astype(np.float32) for s in ((2, 3, 8), (2, 3, 8), 8, 8, 8))
    inputs = {"x": x, "skip": y, "g": scale, "b": shift, "bias": bias}
    nodes = [node("SkipLayerNormalization", [*inputs], ["y", "", "", "sum"], domain=MS, epsilon=1e-5)]
    rest = {name: array for name, array in inputs.items() if name != "x"}
    model = make_model(nodes, [tensor("x", ["n", 3, 8])], ["y", "sum"], rest, com_microsoft=1)
    normed, total = run(mx.onnx.import_model(model), x)
    np.testing.assert_allclose(total, x + y + bias, 1e-5, 1e-6)
    np.testing.assert_allclose(normed, layer_norm(x + y + bias, scale, shift, 1e-5), 1e-4, 1e-5)
    erf = np.vectorize(math.erf)
    wanted = x * 0.5 * (1 + erf(x / np.sqrt(2)))
    np.testing.assert_allclose(computed("Gelu", {"x": x})[0], wanted, 1e-5, 1e-6)
    moved = x + bias
    wanted = moved * 0.5 * (1 + erf(moved / np.sqrt(2)))
    np.testing.assert_allclose(computed("BiasGelu", {"x": x, "b": bias})[0], wanted, 1e-5, 1e-6)
    np.testing.assert_allclose(computed("QuickGelu", {"x": x}, alpha=1.5)[0], x / (1 + np.exp(-1.5 * x)), 1e-5, 1e-6)
    product = computed("FusedMatMul", {"x": x, "y": y}, transB=1, alpha=0.5)[0]
    np.testing.assert_allclose(product, x @ y.transpose(0, 2, 1) * 0.5, 1e-5, 1e-5)
    weight = RNG.normal(size=(8, 4)).astype(np.float32)
    gemm = computed("FusedGemm", {"x": x[0], "w": weight}, activation="LeakyRelu", activation_alpha=0.25)[0]
    plain = x[0] @ weight
    np.testing.assert_allclose(gemm, np.where(plain < 0, plain * 0.25, plain), 1e-4, 1e-5)
    root = np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    nodes = [node("SimplifiedLayerNormalization", ["x", "g"], ["y"], epsilon=1e-5)]
    model = make_model(nodes, [tensor("x", ["n", 3, 8])], ["y"], {"g": scale})
    np.testing.assert_allclose(run(mx.onnx.import_model(model), x)[0], x / root * scale, 1e-4, 1e-5)


def test_a_fused_convolution() -> None:
    x, w, b = (RNG.normal(size=s).astype(np.float32) for s in ((1, 2, 5, 5), (3, 2, 1, 1), 3))
    residual = RNG.normal(size=(1, 3, 5, 5)).astype(np.float32)
    plain = np.einsum("nchw,fc->nfhw", x, w[:, :, 0, 0]) + b[:, None, None] + residual
    got = computed(
        "FusedConv", {"x": x, "w": w, "b": b, "z": residual}, activation="Clip", activation_params=[0.0, 1.0]
    )
    np.testing.assert_allclose(got[0], np.clip(plain, 0, 1), 1e-5, 1e-5)
    with pytest.raises(mx.MXNetError, match="attribute 'activation': 'Sine' is not supported"):
        computed("FusedConv", {"x": x, "w": w}, activation="Sine")
