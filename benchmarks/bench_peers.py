"""minidnn beside ONNX Runtime: the same graph, the same weights, in turns in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import ResidualBlock, checked_pair, residual_data

import minidnn as mx
from minidnn.cli.networks import difference
from minidnn.cli.timing import inference
from minidnn.gluon.model_zoo import vision

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is missing: pip install '.[bench]'")
onnx_models = pytest.importorskip("onnx_models", reason="onnx is missing: pip install '.[bench]'")


def _peer(net: Any, data: Any) -> Callable[[], list[np.ndarray[Any, Any]]]:
    """The network in ONNX Runtime, on as many threads as minidnn has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = mx.get_num_threads(), 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Its threads spin for work after a run; here that would take the cores from the other candidate.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = onnx_models.make_model(net, data)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"data": data.asnumpy()}
    return lambda: session.run(None, feed)


def _compare(take_turns: Any, make: Callable[[], Any], data: Any, rounds: int) -> None:
    eager, fused = checked_pair(make, data)
    peer = _peer(eager, data)
    assert difference(peer()[0], fused(data).asnumpy()) < 1e-4
    take_turns({"minidnn": inference(fused, data), "onnxruntime": peer}, rounds)


@pytest.mark.parametrize(
    ("name", "batch"), [("resnet50_v1", 1), ("resnet50_v1", 16), ("mobilenetv2_1.0", 1), ("efficientnet_lite0", 1)]
)
def test_network(take_turns: Any, random: np.random.Generator, name: str, batch: int) -> None:
    data = mx.np.array(random.standard_normal((batch, 3, 224, 224), np.float32))
    _compare(take_turns, lambda: vision.get_model(name), data, rounds=25 if batch == 1 else 5)


def test_residual_block(take_turns: Any, random: np.random.Generator) -> None:
    _compare(take_turns, ResidualBlock, residual_data(random), rounds=25)
