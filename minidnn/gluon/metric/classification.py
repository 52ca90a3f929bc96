"""Metrics of classes: accuracy, also among the k likeliest, and those made of counts of true and false positives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.gluon.metric.base import Array, EvalMetric, class_numbers, require_numbers, require_same_shape

__all__ = ["F1", "MCC", "PCC", "Accuracy", "BinaryAccuracy", "Fbeta", "TopKAccuracy"]

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


_CLASS_TYPES = ("binary", "multiclass", "multilabel")
_AVERAGES = ("micro", "macro", None)
_MOST_CLASSES = 1 << 31


class Fbeta(EvalMetric):
    """``(1 + beta²) · precision · recall / (beta² · precision + recall)`` over all batches; 0 where that is 0 / 0.

    Args:
        class_type: ``binary``: labels 0 or 1, predictions of the labels' shape (of being 1) or with a last axis of two
            classes. ``multiclass``: labels are class numbers, predictions have the classes along the last axis.
            ``multilabel``: both ``(..., classes)``, labels 0 or 1.
        beta: how much more recall counts than precision.
        threshold: a prediction above it is positive: a number, or in ``multilabel`` an array with one for each class;
            of no meaning in ``multiclass``.
        average: ``micro``: of the counts of all classes. ``macro``: the mean over the classes. None: an array, one
            number for each class.
        name, output_names, label_names: see `EvalMetric`.

    Raises:
        ValueError: an unknown class_type or average.
    """

    def __init__(
        self,
        name: str = "fbeta",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        class_type: str = "binary",
        beta: float = 1,
        threshold: Any = 0.5,
        average: str | None = "micro",
    ) -> None:
        if class_type not in _CLASS_TYPES:
            raise ValueError(f"{name}: class_type must be one of {list(_CLASS_TYPES)}, got {class_type!r}")
        if average not in _AVERAGES:
            raise ValueError(f"{name}: average must be one of {list(_AVERAGES)}, got {average!r}")
        self.class_type = class_type
        self.beta = beta
        self.threshold = threshold
        self.average = average
        super().__init__(
            name, output_names, label_names, class_type=class_type, beta=beta, threshold=threshold, average=average
        )

    def reset(self) -> None:
        """Forget all batches, and how many classes there are."""
        super().reset()
        self._counts: Array | None = None

    def _add(self, label: Array, prediction: Array) -> None:
        chosen, wanted = _decide(self.name, self.class_type, self.threshold, label, prediction)
        counts = _count(chosen, wanted)
        if self._counts is not None and self._counts.shape != counts.shape:
            raise ShapeError(f"{self.name}: {counts.shape[1]} classes after batches with {self._counts.shape[1]}")
        self._counts = counts if self._counts is None else self._counts + counts
        self.num_inst += len(wanted)

    def get(self) -> tuple[str, Any]:
        """The name and the score, 0 to 1, of all samples so far: NaN when there were none."""
        if self._counts is None or not self.num_inst:
            return self.name, math.nan
        counts = self._counts.sum(1, keepdims=True) if self.average == "micro" else self._counts
        scores = self._score(counts)
        return self.name, scores if self.average is None else float(scores.mean())

    def _score(self, counts: Array) -> Array:
        true_positive, false_positive, false_negative, _ = counts
        weight = self.beta**2
        # The same fraction as with precision and recall, times both denominators.
        whole = (1 + weight) * true_positive + weight * false_negative + false_positive
        return np.asarray((1 + weight) * true_positive / np.maximum(whole, 1e-12))


class F1(Fbeta):
    """The harmonic mean of precision and recall: `Fbeta` with a beta of 1, which says what the arguments are."""

    def __init__(
        self,
        name: str = "f1",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        class_type: str = "binary",
        threshold: Any = 0.5,
        average: str | None = "micro",
    ) -> None:
        super().__init__(name, output_names, label_names, class_type, 1, threshold, average)
        del self._kwargs["beta"]


class MCC(EvalMetric):
    """Matthews' correlation coefficient of a binary classification, -1 to 1, over all batches.

    ``(TP · TN - FP · FN) / √((TP + FP)(TP + FN)(TN + FP)(TN + FN))``, without the factors that are 0. Predictions are
    of the labels' shape, the probability of being 1, or have a last axis of two classes; above 0.5 is positive.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self,
        name: str = "mcc",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._counts = np.zeros((4, 1))

    def _add(self, label: Array, prediction: Array) -> None:
        chosen, wanted = _decide(self.name, "binary", 0.5, label, prediction)
        self._counts = self._counts + _count(chosen, wanted)
        self.num_inst += len(wanted)

    def get(self) -> tuple[str, float]:
        """The name and the coefficient of all samples so far: NaN when there were none."""
        if not self.num_inst:
            return self.name, math.nan
        tp, fp, fn, tn = map(float, self._counts[:, 0])
        factors = math.prod(factor for factor in (tp + fp, tp + fn, tn + fp, tn + fn) if factor)
        return self.name, (tp * tn - fp * fn) / math.sqrt(factors)


class PCC(EvalMetric):
    """Pearson's correlation of a classification into any number of classes, at most 1; of two classes it is `MCC`.

    ``(n · Σ C_kk - Σ x_k y_k) / √(Σ x_k (n - x_k) · Σ y_k (n - y_k))``: n samples, C_kk of class k classified right,
    x_k classified as k, y_k of class k (Gorodkin, 2004). NaN where all were classified as one class, or are of one.

    Args:
        name, output_names, label_names: see `EvalMetric`.

    Predictions are scores with the classes along axis 1, or class numbers in the labels' shape.
    """

    def __init__(
        self,
        name: str = "pcc",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._right = 0
        self._chosen: Counter[int] = Counter()
        self._wanted: Counter[int] = Counter()

    def _add(self, label: Array, prediction: Array) -> None:
        wanted = class_numbers(self.name, label, _MOST_CLASSES)
        if prediction.shape == label.shape:
            chosen = class_numbers(self.name, prediction, _MOST_CLASSES)
        elif prediction.ndim > 1 and prediction.size and prediction.size == label.size * prediction.shape[1]:
            chosen = prediction.argmax(1).reshape(-1)
        else:
            raise ShapeError(f"{self.name}: predictions {prediction.shape} do not fit labels {label.shape}")
        self._right += int((chosen == wanted).sum())
        self._chosen.update(chosen.tolist())
        self._wanted.update(wanted.tolist())
        self.num_inst += wanted.size

    def get(self) -> tuple[str, float]:
        """The name and the correlation of all samples so far."""
        n = self.num_inst
        together = n * self._right - sum(count * self._wanted[k] for k, count in self._chosen.items())
        spread = math.prod(sum(c * (n - c) for c in counts.values()) for counts in (self._chosen, self._wanted))
        return self.name, together / math.sqrt(spread) if spread else math.nan


def _decide(name: str, class_type: str, threshold: Any, label: Array, prediction: Array) -> tuple[Array, Array]:
    """What was predicted and what was wanted: two arrays of bool ``(N, classes)``."""
    if class_type == "multiclass":
        classes = prediction.shape[-1] if prediction.ndim else 0
        if not classes or prediction.shape[:-1] != label.shape:
            raise ShapeError(f"{name}: predictions {prediction.shape} must be (..., classes) for labels {label.shape}")
        numbers = np.arange(classes)
        chosen = prediction.argmax(-1).reshape(-1, 1) == numbers
        return chosen, class_numbers(name, label, classes)[:, None] == numbers
    if class_type == "multilabel":
        require_same_shape(name, label, prediction)
        classes = label.shape[-1] if label.ndim else 1
    else:
        classes = 1
        if prediction.shape != label.shape:
            last = prediction.shape[-1] if prediction.ndim else 0
            if last not in (1, 2) or prediction.size != last * label.size:
                raise ShapeError(
                    f"{name}: binary predictions of shape {prediction.shape} do not fit labels {label.shape}: "
                    "wanted is that shape, or a last axis of two classes more"
                )
            prediction = prediction.reshape(-1, last)[:, -1]
    wanted = class_numbers(name, label, 2).reshape(-1, classes) == 1
    return (prediction > threshold).reshape(-1, classes), wanted


def _count(chosen: Array, wanted: Array) -> Array:
    """True positives, false positives, false negatives, true negatives: float64 ``(4, classes)``."""
    parts = (chosen & wanted, chosen & ~wanted, ~chosen & wanted, ~chosen & ~wanted)
    return np.stack([part.sum(0) for part in parts]).astype(np.float64)
