"""Models that ONNX Runtime's own quantizer makes: as ONNX Runtime computes them, by int8 kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_models import Array, as_inputs, make_model, node, run, tensor
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from real_models import model_file

import minidnn as mx

RNG = np.random.default_rng(20)
SHAPE = (2, 3, 17, 14)


def numbers(*shape: int) -> Array:
    return (RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]) if shape[1:] else 1)).astype(np.float32)


def float_model() -> onnx.ModelProto:
    """Convolutions, plain, strided, depthwise and pointwise; a sum, a product, pools, and a dense layer."""
    constants = {
        "w0": numbers(8, 3, 3, 3),
        "b0": numbers(8),
        "w1": numbers(8, 1, 3, 3),
        "b1": numbers(8),
        "w2": numbers(8, 8, 1, 1),
        "w3": numbers(12, 8, 3, 3),
        "b3": numbers(12) - 1,
        "w4": numbers(12, 5),
        "b4": numbers(5),
        "shape": np.array([0, 12]),
    }
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], name="first"),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], group=8, name="depthwise"),
        node("Sigmoid", ["c1"], ["s1"]),
        node("Conv", ["r0", "w2"], ["c2"], name="pointwise"),
        node("Mul", ["c2", "s1"], ["m"]),
        node("Add", ["m", "r0"], ["a"]),
        node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p", "w3", "b3"], ["c3"], strides=[2, 1], pads=[1, 0, 0, 1], name="strided"),
        node("LeakyRelu", ["c3"], ["l"], alpha=0.1),
        node("GlobalAveragePool", ["l"], ["g"]),
        node("Reshape", ["g", "shape"], ["flat"]),
        node("Gemm", ["flat", "w4", "b4"], ["y"], name="dense"),
    ]
    model = make_model(nodes, [tensor("x", ["n", *SHAPE[1:]])], [], constants, opset=17)
    model.graph.output.append(tensor("y", ["n", 5]))
    model.ir_version = 8
    return model


class Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        self._batches = iter([{"x": RNG.uniform(-1, 1, shape).astype(np.float32)} for _ in range(3)])

    def get_next(self) -> Any:
        return next(self._batches, None)


S8, U8 = QuantType.QInt8, QuantType.QUInt8
QDQ, OPERATORS = QuantFormat.QDQ, QuantFormat.QOperator
# Format, types of activations and weights, and whether weights have a scale per channel. Where uint8 meets int8,
# weights have seven bits: of more, sums saturate in ONNX Runtime on machines without VNNI.
STATIC = [
    (QDQ, S8, S8, True),
    (QDQ, U8, S8, False),
    (QDQ, U8, U8, False),
    (OPERATORS, U8, S8, True),
    (OPERATORS, S8, S8, False),
    (OPERATORS, U8, U8, False),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    onnxruntime.set_default_logger_severity(3)
    yield


def by_runtime(path: Path, x: Array) -> Array:
    """What the nodes of the file give, none fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (found,) = onnxruntime.InferenceSession(path, options).run(None, {"x": x})
    return np.asarray(found)


def assert_on_integer_kernels(net: mx.onnx.OnnxBlock, layers: int, floats: int = 0) -> None:
    """Every convolution and product but so many multiplies bytes, and no step runs on NumPy."""
    steps = net.steps()
    assert [(step.name, step.reason) for step in steps if step.on_host] == []
    kinds = ("matmul: ", "depthwise: ", "winograd: ")
    products = [step.kernel.partition(": ")[2] for step in steps if step.kernel.startswith(kinds)]
    assert len(products) >= layers
    assert sum(not kernel.startswith(("u8_", "s8_")) for kernel in products) == floats


def compare(path: Path, step: float, layers: int = 5) -> None:
    """A step of the last quantization: what falls on a boundary of rounding may go either way."""
    net = mx.onnx.import_model(path)
    x = RNG.uniform(-1, 1, SHAPE).astype(np.float32)
    net.optimize_for(*as_inputs(net, [x]))
    for given in (x, x[:1]):
        (got,), wanted = run(net, given), by_runtime(path, given)
        assert np.abs(got - wanted).max() <= step * 1.01
    assert_on_integer_kernels(net, layers)


@pytest.mark.parametrize(("form", "activations", "weights", "per_channel"), STATIC)
def test_models_with_calibrated_ranges(
    form: QuantFormat, activations: QuantType, weights: QuantType, per_channel: bool, tmp_path: Path
) -> None:
    source, path = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(float_model(), source)
    types = {"activation_type": activations, "weight_type": weights, "reduce_range": (activations, weights) == (U8, S8)}
    quantize_static(source, path, Reader(), quant_format=form, per_channel=per_channel, **types)
    made = onnx.load(path)
    last = next(n for n in reversed(made.graph.node) if n.op_type == "DequantizeLinear")
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    compare(path, float(scales[last.input[1]].max()))


@pytest.mark.parametrize("weight_type", [S8, U8])
def test_models_with_ranges_of_the_run(weight_type: QuantType, tmp_path: Path) -> None:
    source, path = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(float_model(), source)
    quantize_dynamic(source, path, weight_type=weight_type)
    # A step within, and what the layers behind make of it.
    compare(path, 5e-3)


@pytest.mark.slow
def test_a_real_model_with_ranges_of_the_run(tmp_path: Path) -> None:
    source, path = model_file("rapidocr_onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx"), tmp_path / "cls.onnx"
    quantize_dynamic(source, path)
    net, x = mx.onnx.import_model(path), RNG.uniform(-1, 1, (2, 3, 48, 192)).astype(np.float32)
    net.optimize_for(*as_inputs(net, [x]))
    np.testing.assert_allclose(run(net, x)[0], by_runtime(path, x), atol=0.02)
    left = sum(n.op_type in ("Conv", "MatMul", "Gemm") for n in onnx.load(path).graph.node)
    assert_on_integer_kernels(net, 53, left)
