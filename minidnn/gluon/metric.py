"""Metrics that add up over batches: accuracy, and accuracy among the k likeliest classes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.numpy.convert import as_host

__all__ = ["Accuracy", "EvalMetric", "TopKAccuracy"]

_NO_CLASS = -1


class EvalMetric(ABC):
    """A mean over all samples of all batches since `reset`. A sample with NaN among its scores counts as wrong.

    Args:
        name: what `get` calls it.
        output_names, label_names: which entries `update_dict` takes, and in which order; None: all.
    """

    def __init__(
        self, name: str, output_names: Sequence[str] | None = None, label_names: Sequence[str] | None = None
    ) -> None:
        self.name = name
        self.output_names = output_names
        self.label_names = label_names
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def reset(self) -> None:
        """Forget all batches."""
        self.num_inst = 0
        self.sum_metric = 0.0

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch.

        Args:
            labels: an array of class numbers, or a list of such arrays.
            preds: what the network gave for them: an array, or a list of as many.

        Raises:
            ShapeError: labels and predictions do not fit together.
        """
        label_list, prediction_list = ([x] if hasattr(x, "shape") else list(x) for x in (labels, preds))
        if len(label_list) != len(prediction_list):
            raise ShapeError(f"{self.name}: {len(label_list)} arrays of labels, {len(prediction_list)} of predictions")
        for label, prediction in zip(label_list, prediction_list, strict=True):
            right = self._is_right(as_host(label), as_host(prediction))
            self.sum_metric += float(right.sum())
            self.num_inst += right.size

    def update_dict(self, label: Mapping[str, Any], pred: Mapping[str, Any]) -> None:
        """`update` with the arrays of named outputs; the names are the constructor's.

        Raises:
            KeyError: a name is missing.
        """
        labels, predictions = (
            list(arrays.values()) if names is None else [arrays[name] for name in names]
            for arrays, names in ((label, self.label_names), (pred, self.output_names))
        )
        self.update(labels, predictions)

    @abstractmethod
    def _is_right(self, label: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Whether each sample was classified right: bool, one for each label."""

    def get(self) -> tuple[str, float]:
        """The name, and the share of the samples so far that were right: 0 to 1, NaN when there were none."""
        return self.name, self.sum_metric / self.num_inst if self.num_inst else math.nan

    def get_name_value(self) -> list[tuple[str, float]]:
        """`get` in a list."""
        return [self.get()]


class Accuracy(EvalMetric):
    """The share of samples whose likeliest class is their label.

    Args:
        axis: of the predictions, along which the classes are.

    Predictions are scores with one axis more than the labels, or class numbers in the labels' shape.
    """

    def __init__(
        self,
        axis: int = 1,
        name: str = "accuracy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)
        self.axis = axis

    def _is_right(self, label: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if prediction.shape == label.shape:
            chosen = prediction
        else:
            fits = -prediction.ndim <= self.axis < prediction.ndim
            if not fits or prediction.size != prediction.shape[self.axis] * label.size or not prediction.size:
                raise ShapeError(
                    f"{self.name}: predictions {prediction.shape} with classes along axis {self.axis} do not fit "
                    f"labels {label.shape}"
                )
            # argmax would choose a NaN.
            chosen = np.where(np.isnan(prediction).any(self.axis), _NO_CLASS, prediction.argmax(self.axis))
        return np.asarray(chosen.reshape(-1).astype(np.int64) == label.reshape(-1).astype(np.int64))


class TopKAccuracy(EvalMetric):
    """The share of samples whose label is among the `top_k` likeliest classes.

    Args:
        top_k: how many; all classes where there are fewer.

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
        super().__init__(f"{name}_{top_k}", output_names, label_names)
        self.top_k = top_k

    def _is_right(self, label: np.ndarray[Any, Any], prediction: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if prediction.ndim != 2 or label.shape not in ((len(prediction),), (len(prediction), 1)):
            raise ShapeError(
                f"{self.name}: scores (N, classes) and labels (N,) are wanted, got {prediction.shape} and {label.shape}"
            )
        likeliest = np.argsort(-prediction, axis=1, kind="stable")[:, : self.top_k]
        likeliest[np.isnan(prediction).any(1)] = _NO_CLASS
        return np.asarray((likeliest == label.reshape(-1, 1).astype(np.int64)).any(1))
