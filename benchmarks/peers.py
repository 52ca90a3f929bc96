"""Networks of ours in ONNX Runtime and OpenVINO: the same graph and weights, written as an ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx

__all__ = ["BatchReader", "Peer", "onnx_runtime", "open_session", "openvino", "peers_of", "write_model"]

# Runs a model once, and gives its outputs.
Peer = Callable[[], list[np.ndarray[Any, Any]]]


def write_model(net: Any, data: Any, path: Path) -> Path:
    """The network, unfused, as an ONNX model; its input is called ``data``."""
    net.hybridize()
    net(data)
    mx.onnx.export_model(net, str(path))
    return path


def open_session(path: Path) -> Any:
    """The model in ONNX Runtime, on as many threads as minidnn has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = mx.get_num_threads(), 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Errors only: some models have initializers that nothing reads.
    options.log_severity_level = 3
    # Its threads spin for work after a run; here that would take the cores from the other candidates.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnx_runtime(path: Path, data: Any) -> Peer:
    """One of our networks in ONNX Runtime."""
    session, feed = open_session(path), {"data": data.asnumpy()}
    return lambda: session.run(None, feed)


def openvino(path: Path, data: Any, precision: str = "f32") -> Peer:
    """The model in OpenVINO, on as many threads as minidnn has, computed in that precision where it is float."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(str(path))
    model.reshape({"data": list(data.shape)})
    settings = {
        "INFERENCE_NUM_THREADS": mx.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    request.set_input_tensor(ov.Tensor(data.asnumpy()))

    def run() -> list[np.ndarray[Any, Any]]:
        request.infer()
        return [tensor.data for tensor in request.output_tensors]

    return run


def peers_of(path: Path, data: Any) -> dict[str, Peer]:
    """Both."""
    return {"onnxruntime": onnx_runtime(path, data), "openvino": openvino(path, data)}


class BatchReader:
    """Calibration batches as ONNX Runtime's quantizer reads them."""

    def __init__(self, batches: list[np.ndarray[Any, Any]]) -> None:
        self._rest = iter(batches)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        batch = next(self._rest, None)
        return None if batch is None else {"data": batch}
