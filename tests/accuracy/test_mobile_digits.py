"""A MobileNetV2 trained on real labelled images keeps its accuracy in int8."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from tests.accuracy.crops import agreement, run_batches
from tests.accuracy.digits import read_digits
from tests.accuracy.mobile_digits import load_mobile

BATCH = 100
CALIBRATION = 400  # of the training set


def test_tuned_loses_at_most_a_tenth_of_a_point_and_errs_less_than_naive() -> None:
    training, test = read_digits()
    data = [mx.np.array(part) for part in np.split(training.images[:CALIBRATION], CALIBRATION // BATCH)]
    net = load_mobile()
    wanted = run_batches(net, test.images, BATCH)
    made: dict[str, Any] = {
        mode: run_batches(
            quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=data),
            test.images,
            BATCH,
        )
        for mode in ("naive", "tuned")
    }
    right = {name: int((s.argmax(1) == test.labels).sum()) for name, s in {**made, "float32": wanted}.items()}
    assert right["float32"] >= 0.98 * len(test)
    assert right["tuned"] >= right["float32"] - len(test) // 1000
    assert agreement(wanted, made["tuned"]).sqnr > agreement(wanted, made["naive"]).sqnr + 2
