"""int8 beside ONNX Runtime's: how far each is from float32, on EfficientNet-Lite0 with real weights and photos.

Kernels for AVX2 that add pairs of products in int16 (``vpmaddubsw``) saturate there; on a processor with VNNI they
need not, and peers differ less. The figures belong to the processor they were measured on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import BatchReader, write_model

import minidnn as mx
from minidnn import engine
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision
from tests.accuracy.crops import Crops, agreement, make_crops, run_batches

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is missing: pip install '.[bench]'")

BATCH = 20  # divides the crops of both sets
MODEL = "efficientnet_lite0"


@pytest.fixture(scope="module")
def crops() -> Crops:
    return make_crops()


@pytest.fixture(scope="module")
def fp32(crops: Crops) -> np.ndarray[Any, Any]:
    net = vision.get_model(MODEL, pretrained=True)
    net.optimize_for(mx.np.array(crops.test[:BATCH]))
    return run_batches(net, crops.test, BATCH)


def _ours(crops: Crops, mode: str) -> np.ndarray[Any, Any]:
    net = vision.get_model(MODEL, pretrained=True)
    batches = [mx.np.array(batch) for batch in np.split(crops.calibration, len(crops.calibration) // BATCH)]
    quantized = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches)
    return run_batches(quantized, crops.test, BATCH)


def _onnx_runtimes(crops: Crops, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """ONNX Runtime's static quantization with a scale for each channel, by its kernels and in float arithmetic."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    net = vision.get_model(MODEL, pretrained=True)
    write_model(net, mx.np.array(crops.test[:BATCH]), folder / "fp32.onnx")
    quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx")
    levels = onnxruntime.GraphOptimizationLevel
    results = {}
    for weights, reduce_range in (("8-bit weights", False), ("7-bit weights (reduce_range)", True)):
        path = folder / f"int8_{reduce_range}.onnx"
        quantize_static(
            folder / "prepared.onnx",
            path,
            BatchReader(np.split(crops.calibration, len(crops.calibration) // BATCH)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        results[f"ONNX Runtime, {weights}"] = _run_model(path, crops.test, levels.ORT_ENABLE_ALL)
        if not reduce_range:
            results["the same in exact arithmetic"] = _run_model(path, crops.test, levels.ORT_DISABLE_ALL)
    return results


def _nncf(crops: Crops, model: Path) -> dict[str, np.ndarray[Any, Any]]:
    """OpenVINO's quantization, where it is installed."""
    try:
        import nncf
        import openvino
    except ImportError:
        return {}
    batches = np.split(crops.calibration, len(crops.calibration) // BATCH)
    quantized = nncf.quantize(openvino.Core().read_model(model), nncf.Dataset(batches))
    compiled = openvino.compile_model(quantized, "CPU")
    tests = np.split(crops.test, len(crops.test) // BATCH)
    return {"OpenVINO with NNCF": np.concatenate([compiled(batch)[0] for batch in tests])}


def _run_model(path: Path, images: np.ndarray[Any, Any], level: Any) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"data": batch})[0] for batch in np.split(images, len(images) // BATCH)])


def test_int8_beside_onnx_runtime(crops: Crops, fp32: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {f"minidnn, {mode}": _ours(crops, mode) for mode in ("naive", "entropy", "tuned")}
    results |= _onnx_runtimes(crops, tmp_path) | _nncf(crops, tmp_path / "fp32.onnx")
    with capsys.disabled():
        print(f"\n{MODEL}, {len(crops.test)} crops, calibrated on {len(crops.calibration)} others, {_processor()}")
        for name, scores in results.items():
            print(f"{name:44} {agreement(fp32, scores)}")
    ours = agreement(fp32, results["minidnn, naive"])
    assert ours.top1 >= 0.88
    assert ours.sqnr >= 18
    tuned = agreement(fp32, results["minidnn, tuned"])
    assert tuned.top1 >= 0.95
    assert tuned.sqnr >= 26


def _processor() -> str:
    info = engine.info()
    return f"{info['cpu']}, {info['isa']}"
