"""minidnn beside ONNX Runtime: the same graph, the same weights, in turns in one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import ResidualBlock, checked_pair, residual_data

import minidnn as mx
from minidnn.cli.networks import difference
from minidnn.cli.timing import inference
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, SymbolBlock, nn
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


class _OfSum(HybridBlock):
    """A dense layer on the sum of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(16, in_units=16)

    def forward(self, x: Any, y: Any) -> Any:
        return self.dense(x + y)


def _thousand(call: Callable[[], object]) -> Callable[[], None]:
    """A thousand calls: their milliseconds are the microseconds of one."""

    def run() -> None:
        for _ in range(1000):
            call()

    return run


def test_calls_of_a_dense_layer(take_turns: Any, random: np.random.Generator, tmp_path: Path) -> None:
    """What a call costs where the kernels take next to no time; the table shows us for one call."""
    data = mx.np.array(random.standard_normal((1, 16), np.float32))
    eager, fused = checked_pair(lambda: nn.Dense(16, in_units=16), data)
    peer = _peer(eager, data)
    eager.hybridize(False)
    fused.export(tmp_path / "dense")
    imported = SymbolBlock.imports(str(tmp_path / "dense-symbol.json"), ["data"], str(tmp_path / "dense-0000.params"))
    quantized = quantize_net(fused, calib_mode="naive", calib_data=[data])
    of_sum = _OfSum()
    of_sum.initialize()
    of_sum.optimize_for(data, data)
    candidates = {
        "minidnn": inference(fused, data),
        "onnxruntime": peer,
        "imported": inference(imported, data),
        "int8": inference(quantized, data),
        "two inputs": lambda: of_sum(data, data).wait_to_read(),
        "eager": inference(eager, data),
    }
    take_turns({name: _thousand(call) for name, call in candidates.items()}, rounds=40)
