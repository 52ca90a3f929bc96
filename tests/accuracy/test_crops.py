"""int8 chooses the classes that float32 chooses, on EfficientNet-Lite0 with its ImageNet weights and real photos.

The same quantized network in exact arithmetic agrees on 0.89 of these crops, with 18.2 dB, when ONNX Runtime computes
it without fusing; see benchmarks/bench_accuracy.py for what its int8 kernels give.
"""

from __future__ import annotations

import numpy as np
import pytest
from crops import Agreement, Crops, agreement, make_crops, run_batches

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.model_zoo import vision

BATCH = 20


@pytest.fixture(scope="module")
def crops() -> Crops:
    return make_crops()


def compare(crops: Crops, granularity: str = "channel-wise", mode: str = "naive") -> Agreement:
    net = vision.efficientnet_lite0(pretrained=True)
    calibration = [mx.np.array(part) for part in np.split(crops.calibration, len(crops.calibration) // BATCH)]
    quantized = quantize_net(net, quantize_granularity=granularity, calib_mode=mode, calib_data=calibration)
    net.optimize_for(calibration[0])
    return agreement(run_batches(net, crops.test, BATCH), run_batches(quantized, crops.test, BATCH))


def test_int8_agrees_with_float32_on_300_crops(crops: Crops) -> None:
    found = compare(crops)
    assert found.top1 >= 0.88
    assert found.sqnr >= 18
    assert found.in_top5 >= 0.98


@pytest.mark.slow
def test_tuned_on_60_crops_it_agrees_far_better_on_300_others(crops: Crops) -> None:
    found = compare(crops, mode="tuned")
    assert found.top1 >= 0.95
    assert found.sqnr >= 26


@pytest.mark.slow
def test_weights_in_bfloat16_choose_the_same_classes(crops: Crops) -> None:
    net, test = vision.efficientnet_lite0(pretrained=True), crops.test
    made = mx.amp.convert_hybrid_block(net, mx.np.array(test[:BATCH]))
    net.optimize_for(mx.np.array(test[:BATCH]))
    found = agreement(run_batches(net, test, BATCH), run_batches(made, test, BATCH))
    assert found.top1 >= 0.99
    assert found.sqnr >= 30
