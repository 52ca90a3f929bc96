"""A network trained on real labelled images classifies the test images fused, and in int8, as well as in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import train_digits
from digits import CLASSES, WEIGHTS, Digits, load_net, read_digits

import minidnn as mx
from minidnn import serialization
from minidnn.contrib.quantization import quantize_net

TORCH_ACCURACY = 0.99  # of the weights in the repository on the 2000 test images, as the training script printed it
BATCH = 100
CALIBRATION = 1000  # of the training set


@pytest.fixture(scope="module")
def digits() -> tuple[Digits, Digits]:
    return read_digits()


@pytest.fixture(scope="module")
def fp32_logits(digits: tuple[Digits, Digits]) -> np.ndarray[Any, Any]:
    return run(load_net(), digits[1])


def run(net: Any, digits: Digits) -> np.ndarray[Any, Any]:
    images = digits.images
    return np.concatenate([net(mx.np.array(images[i : i + BATCH])).asnumpy() for i in range(0, len(images), BATCH)])


def accuracy(logits: np.ndarray[Any, Any], digits: Digits) -> float:
    return float(np.mean(logits.argmax(1) == digits.labels))


def test_the_test_set_is_balanced_and_shares_no_image_with_the_training_set(digits: tuple[Digits, Digits]) -> None:
    training, test = digits
    assert np.bincount(training.labels).tolist() == [300] * CLASSES
    assert np.bincount(test.labels).tolist() == [200] * CLASSES
    seen = {image.tobytes() for image in training.images}
    assert not any(image.tobytes() in seen for image in test.images)


def test_eager_gives_the_logits_and_the_accuracy_of_torch(
    digits: tuple[Digits, Digits], fp32_logits: np.ndarray[Any, Any]
) -> None:
    parameters = {name: torch.from_numpy(array) for name, array in serialization.load(WEIGHTS).items()}
    with torch.inference_mode():
        wanted = train_digits.forward(parameters, torch.from_numpy(digits[1].images)).numpy()
    np.testing.assert_allclose(fp32_logits, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert accuracy(fp32_logits, digits[1]) == accuracy(wanted, digits[1]) == TORCH_ACCURACY


def test_fused_classifies_every_image_as_eager_does(
    digits: tuple[Digits, Digits], fp32_logits: np.ndarray[Any, Any]
) -> None:
    net = load_net()
    net.optimize_for(mx.np.array(digits[1].images[:BATCH]))
    logits = run(net, digits[1])
    np.testing.assert_allclose(logits, fp32_logits, rtol=0, atol=1e-4 * np.abs(fp32_logits).max())
    np.testing.assert_array_equal(logits.argmax(1), fp32_logits.argmax(1))


def test_int8_loses_at_most_a_tenth_of_a_point(digits: tuple[Digits, Digits]) -> None:
    training, test = digits
    calibration = [mx.np.array(part) for part in np.split(training.images[:CALIBRATION], CALIBRATION // BATCH)]
    best = 0.0
    for mode in ("naive", "entropy"):
        net = quantize_net(load_net(), quantize_granularity="channel-wise", calib_mode=mode, calib_data=calibration)
        best = max(best, accuracy(run(net, test), test))
    assert best >= TORCH_ACCURACY - 0.001
