"""What a user wants kept: an accuracy on labelled data, or a ratio of signal to noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import minidnn.gluon.metric as metrics
from minidnn.contrib.quantization.data import Batch
from minidnn.errors import DataError
from minidnn.numpy.multiarray import ndarray

__all__ = ["Goal", "sqnr"]

Array = np.ndarray[Any, Any]
Outputs = Sequence[Sequence[Array]]

# Smaller values of these are better.
_LOSSES = (metrics.MAE, metrics.MSE, metrics.RMSE, metrics.CrossEntropy, metrics.Perplexity, metrics.Loss)


class Goal:
    """The bound under which layers are int8.

    Args:
        accuracy: a metric and how much of it may be lost, ``(metric, 0.001)``; or the least signal to quantization
            noise of the outputs, in dB. The metric is one of `minidnn.gluon.metric`, its name, or a function of labels
            and outputs that is larger for better outputs.

    Raises:
        TypeError, ValueError: it is neither.
    """

    def __init__(self, accuracy: Any) -> None:
        self.metric: Any = None
        if isinstance(accuracy, (int, float, np.number)) and not isinstance(accuracy, bool):
            self.bound = float(accuracy)
        elif isinstance(accuracy, (tuple, list)) and len(accuracy) == 2:
            try:
                self.metric = metrics.create(accuracy[0])
                self.bound = float(accuracy[1])
            except (TypeError, ValueError) as error:
                raise type(error)(f"accuracy must be a pair of a metric and a number: {error}") from None
            if not self.bound >= 0:
                raise ValueError(f"accuracy: what may be lost must not be negative, got {accuracy[1]!r}")
        else:
            raise TypeError(f"accuracy must be (metric, how much may be lost) or a number of dB, got {accuracy!r}")
        if not math.isfinite(self.bound):
            raise ValueError(f"accuracy: the bound must be finite, got {self.bound}")

    def check(self, batches: Sequence[Batch]) -> str:
        """What is to be said of the bound: that so few samples cannot show it; else nothing.

        Raises:
            DataError: there are no labels.
        """
        if self.metric is None:
            return ""
        for number, batch in enumerate(batches):
            if not batch.labels:
                raise DataError(f"accuracy needs labels behind the arguments: batch {number} of calib_data has none")
        samples = count_samples(batches)
        if self.bound * samples >= 1:
            return ""
        return f"a bound of {self.bound:g} is finer than {samples} samples can show, where one is {1 / samples:.2g}"

    def is_kept(self, wanted: Outputs, got: Outputs, batches: Sequence[Batch]) -> bool:
        """Whether outputs `got` are as good as they have to be; `wanted` are those of the float32 network."""
        if self.metric is None:
            return sqnr(wanted, got) >= self.bound
        before, after = self._value(wanted, batches), self._value(got, batches)
        lost = after - before if isinstance(self.metric, _LOSSES) else before - after
        # A bound of 0.001 is kept by one sample of 1000.
        return bool(lost <= self.bound + 1e-9)

    def _value(self, outputs: Outputs, batches: Sequence[Batch]) -> float:
        self.metric.reset()
        for number, batch in enumerate(batches):
            labels = [ndarray._wrap(np.asarray(label)) for label in batch.labels]
            found = [ndarray._wrap(np.asarray(output[number])) for output in outputs]
            self.metric.update(labels, found[: len(labels)])
        return float(self.metric.get()[1])


def count_samples(batches: Sequence[Batch]) -> int:
    return sum(batch.arrays[0].shape[0] if batch.arrays[0].ndim else 1 for batch in batches)


def sqnr(wanted: Outputs, got: Outputs) -> float:
    """Signal to quantization noise in dB, the noise the mean over all outputs of its shares of the signals."""
    shares = []
    for exact, output in zip(wanted, got, strict=True):
        noise = signal = 0.0
        for a, b in zip(exact, output, strict=True):
            numbers = a.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                noise += float(np.square(numbers - b).sum())
                signal += float(np.square(numbers).sum())
        shares.append(noise / signal if signal else noise)
    mean = float(np.mean(shares))
    if math.isnan(mean):
        return -math.inf
    return -10 * math.log10(mean) if mean > 0 else math.inf
