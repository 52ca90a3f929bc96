"""Networks as ONNX models, read by ONNX Runtime and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn, rnn


def small_network() -> tuple[Any, Any]:
    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, padding=1, in_channels=3), nn.BatchNorm(in_channels=8), nn.Activation("relu"))
    net.add(
        nn.MaxPool2D(2), nn.Conv2D(4, 3, in_channels=8), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(5, in_units=4)
    )
    net.initialize()
    net.hybridize()
    data = mx.np.random.uniform(-1, 1, size=(2, 3, 8, 8))
    net(data)
    return net, data


def run(path: str, *arrays: Any) -> list[np.ndarray]:
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path)
    names = [port.name for port in session.get_inputs()]
    return session.run(None, {n: a.asnumpy() for n, a in zip(names, arrays, strict=True)})


def test_a_network_is_the_same_there_and_back_for_any_size(tmp_path: Path) -> None:
    net, data = small_network()
    for name in ("plain", "fused"):
        path = mx.onnx.export_model(net, tmp_path / f"{name}.onnx")
        shape = onnx.load(path).graph.input[0].type.tensor_type.shape
        assert [d.dim_param or d.dim_value for d in shape.dim] == ["N", 3, "H", "W"]
        for x in (data, mx.np.random.uniform(size=(3, 3, 10, 7))):
            wanted = net(x).asnumpy()
            np.testing.assert_allclose(run(path, x)[0], wanted, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(mx.onnx.import_model(path)(x).asnumpy(), wanted, rtol=1e-4, atol=1e-6)
        net.optimize_for(data)


def test_a_quantized_network_is_written_with_its_scales(tmp_path: Path) -> None:
    net, data = small_network()
    quantized = quantize_net(net, calib_mode="naive", calib_data=[data], quantize_granularity="channel-wise")
    path = mx.onnx.export_model(quantized, tmp_path / "int8.onnx")
    model = onnx.load(path)
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"} <= {node.op_type for node in model.graph.node}
    wanted = quantized(data).asnumpy()
    (made,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: data.asnumpy()})
    step = np.abs(wanted).max() / 50
    np.testing.assert_allclose(made, wanted, atol=step)
    np.testing.assert_allclose(mx.onnx.import_model(path)(data).asnumpy(), wanted, atol=step)


def test_mxnets_arguments_write_symbols_and_files(tmp_path: Path) -> None:
    net, data = small_network()
    symbol_file, params_file = net.export(tmp_path / "net")
    wanted = net(data).asnumpy()
    symbol, params = net.export(None)
    for i, (sym, values) in enumerate(((symbol, params), (symbol_file, params_file))):
        path = mx.contrib.onnx.export_model(sym, values, [(2, 3, 8, 8)], np.float32, str(tmp_path / f"{i}.onnx"))
        np.testing.assert_allclose(run(path, data)[0], wanted, rtol=1e-4, atol=1e-6)
    path = mx.onnx.export_model(
        symbol, params, [(2, 3, 8, 8)], onnx_file_path=tmp_path / "d.onnx", dynamic_input_shapes=[("n", 3, 8, None)]
    )
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["n", 3, 8, "dim0_3"]
    with pytest.raises(ValueError, match="in_shapes must have 1 shapes"):
        mx.onnx.export_model(symbol, params, [])


@pytest.mark.parametrize("kind", [rnn.LSTM, rnn.GRU, rnn.RNN])
def test_recurrent_layers_are_written(kind: Any, tmp_path: Path) -> None:
    net = kind(4, num_layers=2, bidirectional=True, input_size=3)
    net.initialize()
    net.hybridize()
    x = mx.np.random.uniform(-1, 1, size=(5, 2, 3))
    wanted = net(x).asnumpy()
    (made,) = run(mx.onnx.export_model(net, tmp_path / "rnn.onnx"), x)
    np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-6)
