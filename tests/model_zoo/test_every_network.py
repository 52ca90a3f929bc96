"""Every network of the zoo traces, fuses, agrees with its eager run, and quantizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch_nets

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision

# One of each kind that is quick; the others are slow together.
QUICK = ("resnet18_v1b", "vgg11_bn", "squeezenet1.1", "mobilenetv3_small")
# The others take any number of pixels from 64 a side on.
SIDES = {"squeezenet": 224, "densenet": 224, "inception": 299, "vit": 224}


class Case(NamedTuple):
    net: Any
    data: Any
    eager: np.ndarray[Any, Any]


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in vision.list_models()],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """A network with random weights, an image, and what the network makes of it layer by layer."""
    name = request.param
    side = next((side for family, side in SIDES.items() if name.startswith(family)), 64)
    net = vision.get_model(name, classes=10)
    data = mx.np.array(np.random.default_rng(1).standard_normal((1, 3, side, side)).astype(np.float32))
    torch_nets.randomize(net, data)
    yield Case(net, data, net(data).asnumpy())


def test_fused_agrees_with_eager(case: Case) -> None:
    case.net.optimize_for(case.data)
    fused = case.net(case.data).asnumpy()
    np.testing.assert_allclose(fused, case.eager, rtol=0, atol=1e-4 * np.abs(case.eager).max())
    symbol, _ = case.net.export(None)
    assert any(node.op_name == "fused" for node in symbol.operations())


def test_int8_agrees_with_float32(case: Case) -> None:
    quantized = quantize_net(case.net, calib_data=[case.data], calib_mode="naive")
    result = quantized(case.data).asnumpy()
    assert np.isfinite(result).all()
    decibels = 10 * np.log10(np.square(case.eager).sum() / np.square(result - case.eager).sum())
    # With random weights, depthwise convolutions and projections without activation lose more than others.
    fragile = (vision.MobileNetV2, vision.MobileNetV3, vision.EfficientNetLite)
    assert decibels > (8 if isinstance(case.net, fragile) else 18)
