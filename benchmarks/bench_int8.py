"""int8 beside fused float32, and beside ONNX Runtime's int8: the same network, in turns in one process.

Where the CPU has no dot product of bytes, it depends on the weights how fast an exact product is: the fewer large ones
among them, the faster. Those of trained networks are distributed as the normal distribution or with longer tails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import ResidualBlock, residual_data

import minidnn as mx
from minidnn.cli.timing import inference
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision


def _int8_and_float32(make: Callable[[], Any], data: Any, distribution: str = "gaussian") -> tuple[Any, Any]:
    net = make()
    net.initialize(mx.init.Xavier(rnd_type=distribution))
    net(data)
    quantized = quantize_net(net, calib_mode="naive", calib_data=[data])
    quantized.hybridize(static_alloc=True, static_shape=True)
    net.optimize_for(data)
    return quantized, net


class _Batches:
    """Calibration data as ONNX Runtime reads it."""

    def __init__(self, batches: list[np.ndarray[Any, Any]]) -> None:
        self._rest: Iterator[np.ndarray[Any, Any]] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        batch = next(self._rest, None)
        return None if batch is None else {"data": batch}


def _peer(net: Any, data: Any, folder: Path) -> Callable[[], object]:
    """The network quantized by ONNX Runtime: int8 weights per channel, uint8 activations."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is missing: pip install '.[bench]'")
    onnx_models = pytest.importorskip("onnx_models", reason="onnx is missing: pip install '.[bench]'")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared, quantized = (folder / f"{name}.onnx" for name in ("plain", "prepared", "quantized"))
    onnx.save(onnx_models.make_model(net, data), plain)
    quant_pre_process(str(plain), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(quantized),
        _Batches([data.asnumpy()]),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = mx.get_num_threads(), 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
    feed = {"data": data.asnumpy()}
    return lambda: session.run(None, feed)


@pytest.mark.parametrize(
    ("name", "batch"), [("resnet50_v1", 1), ("resnet50_v1", 16), ("mobilenetv2_1.0", 1), ("efficientnet_lite0", 1)]
)
def test_network(take_turns: Any, random: np.random.Generator, tmp_path: Path, name: str, batch: int) -> None:
    data = mx.np.array(random.standard_normal((batch, 3, 224, 224), np.float32))
    quantized, fused = _int8_and_float32(lambda: vision.get_model(name), data)
    unfused = vision.get_model(name)
    unfused.initialize()
    peer = _peer(unfused, data, tmp_path)
    candidates = {"int8": inference(quantized, data), "float32": inference(fused, data), "onnxruntime int8": peer}
    take_turns(candidates, rounds=25 if batch == 1 else 5)


def test_network_of_uniform_weights(take_turns: Any, random: np.random.Generator) -> None:
    data = mx.np.array(random.standard_normal((1, 3, 224, 224), np.float32))
    quantized, fused = _int8_and_float32(lambda: vision.get_model("resnet50_v1"), data, "uniform")
    take_turns({"int8": inference(quantized, data), "float32": inference(fused, data)}, rounds=25)


def test_residual_block_beside_direct_float32(
    take_turns: Any, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = residual_data(random)
    quantized, _ = _int8_and_float32(ResidualBlock, data)
    quantized(data)
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    _, fused = _int8_and_float32(ResidualBlock, data)
    fused(data)
    take_turns({"int8": inference(quantized, data), "float32, direct": inference(fused, data)}, rounds=25)
