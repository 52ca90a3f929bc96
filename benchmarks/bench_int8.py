"""int8 beside fused float32, and beside ONNX Runtime's int8: the same network, in turns in one process.

Where the CPU has no dot product of bytes, it depends on the weights how fast an exact product is: the fewer large ones
among them, the faster. Those of trained networks are distributed as the normal distribution or with longer tails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import ResidualBlock, residual_data
from peers import BatchReader, Peer, peers_of, write_model

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


def _peers(net: Any, data: Any, folder: Path) -> dict[str, Peer]:
    """The network quantized by ONNX Runtime, int8 weights per channel, uint8 activations; in both peers."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared, quantized = (folder / f"{name}.onnx" for name in ("plain", "prepared", "quantized"))
    write_model(net, data, plain)
    quant_pre_process(str(plain), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(quantized),
        BatchReader([data.asnumpy()]),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    return {f"{name} int8": peer for name, peer in peers_of(quantized, data).items()}


@pytest.mark.parametrize(
    ("name", "batch"), [("resnet50_v1", 1), ("resnet50_v1", 16), ("mobilenetv2_1.0", 1), ("efficientnet_lite0", 1)]
)
def test_network(take_turns: Any, random: np.random.Generator, tmp_path: Path, name: str, batch: int) -> None:
    data = mx.np.array(random.standard_normal((batch, 3, 224, 224), np.float32))
    quantized, fused = _int8_and_float32(lambda: vision.get_model(name), data)
    unfused = vision.get_model(name)
    unfused.initialize()
    ours = {"int8": inference(quantized, data), "float32": inference(fused, data)}
    take_turns({**ours, **_peers(unfused, data, tmp_path)}, rounds=25 if batch == 1 else 5)


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
