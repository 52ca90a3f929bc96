"""minidnn beside ONNX Runtime and OpenVINO: the same graph, the same weights, in turns in one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import Encoder, InvertedResidual, ResidualBlock, checked_pair, residual_data
from peers import onnx_runtime, peers_of, write_model

import minidnn as mx
from minidnn.cli.networks import difference
from minidnn.cli.timing import inference
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, SymbolBlock, nn
from minidnn.gluon.model_zoo import vision

for package in ("onnxruntime", "openvino", "onnx"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install '.[bench]'")


def _compare(take_turns: Any, make: Callable[[], Any], data: Any, folder: Path, rounds: int) -> None:
    eager, fused = checked_pair(make, data)
    peers = peers_of(write_model(eager, data, folder / "net.onnx"), data)
    for peer in peers.values():
        assert difference(peer()[0], fused(data).asnumpy()) < 1e-4
    take_turns({"minidnn": inference(fused, data), **peers}, rounds)


NETWORKS = (
    *("resnet50_v1", "mobilenetv2_1.0", "mobilenetv3_large", "efficientnet_lite0", "vgg16", "densenet121"),
    "squeezenet1.1",
)


@pytest.mark.parametrize(("name", "batch"), [*((name, 1) for name in NETWORKS), ("resnet50_v1", 16)])
def test_network(
    take_turns: Any, random: np.random.Generator, tmp_path: Path, threads: int, name: str, batch: int
) -> None:
    data = mx.np.array(random.standard_normal((batch, 3, 224, 224), np.float32))
    _compare(take_turns, lambda: vision.get_model(name), data, tmp_path, rounds=25 if batch == 1 else 5)


def test_residual_block(take_turns: Any, random: np.random.Generator, tmp_path: Path, threads: int) -> None:
    _compare(take_turns, ResidualBlock, residual_data(random), tmp_path, rounds=25)


def test_inverted_residual_block(take_turns: Any, random: np.random.Generator, tmp_path: Path, threads: int) -> None:
    data = mx.np.array(random.standard_normal((1, 24, 56, 56), np.float32))
    _compare(take_turns, InvertedResidual, data, tmp_path, rounds=100)


@pytest.mark.parametrize(
    ("layers", "width", "heads", "length"),
    [(12, 768, 12, 16), (12, 768, 12, 128), (12, 768, 12, 512), (6, 384, 12, 128)],
)
def test_encoder(
    take_turns: Any,
    random: np.random.Generator,
    tmp_path: Path,
    threads: int,
    layers: int,
    width: int,
    heads: int,
    length: int,
) -> None:
    data = mx.np.array(random.standard_normal((1, length, width), np.float32))
    _compare(take_turns, lambda: Encoder(layers, width, heads), data, tmp_path, rounds=15)


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
    peer = onnx_runtime(write_model(eager, data, tmp_path / "dense.onnx"), data)
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
