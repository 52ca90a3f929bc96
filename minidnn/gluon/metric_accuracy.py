"""Metrics that count what was classified right: accuracy, and accuracy among the k likeliest classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.gluon.metric_base import Array, EvalMetric, require_numbers

__all__ = ["Accuracy", "BinaryAccuracy", "TopKAccuracy"]

_NO_CLASS = -1


class _ShareRight(EvalMetric):
    """The share of samples that were right. A sample with NaN among its scores counts as wrong."""

    def _add(self, label: Array, prediction: Array) -> None:
        require_numbers(self.name, label)
        right = self._is_right(label, prediction)
        self.sum_metric += float(right.sum())
        self.num_inst += right.size

    def _is_right(self, label: Array, prediction: Array) -> Array:
        """Whether each sample was classified right: bool, one for each label."""
        raise NotImplementedError


class Accuracy(_ShareRight):
    """The share of samples whose likeliest class is their label. A sample with NaN among its scores counts as wrong.

    Args:
        axis: of the predictions, along which the classes are.
        name, output_names, label_names: see `EvalMetric`.

    Predictions are scores with one axis more than the labels, or class numbers in the labels' shape.
    """

    def __init__(
        self,
        axis: int = 1,
        name: str = "accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names, axis=axis)
        self.axis = axis

    def _is_right(self, label: Array, prediction: Array) -> Array:
        if prediction.shape == label.shape:
            chosen = prediction
        else:
            fits = -prediction.ndim <= self.axis < prediction.ndim
            classes = prediction.shape[self.axis] if fits else 0
            if not classes or prediction.size != classes * label.size:
                raise ShapeError(
                    f"{self.name}: predictions {prediction.shape} with classes along axis {self.axis} do not fit "
                    f"labels {label.shape}"
                )
            # argmax would choose a NaN.
            chosen = np.where(np.isnan(prediction).any(self.axis), _NO_CLASS, prediction.argmax(self.axis))
        return np.asarray(chosen.reshape(-1).astype(np.int64) == label.reshape(-1).astype(np.int64))


class TopKAccuracy(_ShareRight):
    """The share of samples whose label is among the `top_k` likeliest classes. A sample with NaN counts as wrong.

    Args:
        top_k: how many; all classes where there are fewer.
        name, output_names, label_names: see `EvalMetric`.

    Predictions are scores ``(N, classes)``, labels ``(N,)``. Equal scores rank by the class number.

    Raises:
        ValueError: `top_k` is 1 or less; `Accuracy` is for 1.
    """

    def __init__(
        self,
        top_k: int = 1,
        name: str = "top_k_accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        if top_k <= 1:
            raise ValueError(f"Please use Accuracy if top_k is no more than 1; got top_k={top_k}")
        super().__init__(f"{name}_{top_k}", output_names, label_names, top_k=top_k)
        self.top_k = top_k

    def get_config(self) -> dict[str, Any]:
        """See `EvalMetric.get_config`."""
        return {**super().get_config(), "name": self.name.removesuffix(f"_{self.top_k}")}

    def _is_right(self, label: Array, prediction: Array) -> Array:
        if prediction.ndim != 2 or label.shape not in ((len(prediction),), (len(prediction), 1)):
            raise ShapeError(
                f"{self.name}: scores (N, classes) and labels (N,) are wanted, got {prediction.shape} and {label.shape}"
            )
        likeliest = np.argsort(-prediction, axis=1, kind="stable")[:, : self.top_k]
        likeliest[np.isnan(prediction).any(1)] = _NO_CLASS
        return np.asarray((likeliest == label.reshape(-1, 1).astype(np.int64)).any(1))


class BinaryAccuracy(_ShareRight):
    """The share of right answers to questions of yes and no.

    Args:
        threshold: a prediction above it means yes.
        name, output_names, label_names: see `EvalMetric`.

    Predictions are as many as labels, which are 0 or 1.
    """

    def __init__(
        self,
        name: str = "binary_accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(name, output_names, label_names, threshold=threshold)
        self.threshold = threshold

    def _is_right(self, label: Array, prediction: Array) -> Array:
        if label.size != prediction.size:
            raise ShapeError(f"{self.name}: predictions {prediction.shape} do not fit labels {label.shape}")
        yes, wanted = prediction.reshape(-1) > self.threshold, label.reshape(-1) == 1
        return np.asarray((yes == wanted) & ~np.isnan(prediction.reshape(-1)))
