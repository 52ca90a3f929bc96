"""Metrics of numbers and vectors rather than classes: errors, likelihoods, correlation, distances, losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.gluon.metric.base import Array, EvalMetric, class_numbers, require_same_shape
from minidnn.numpy.convert import as_host

__all__ = [
    "MAE",
    "MSE",
    "RMSE",
    "CrossEntropy",
    "Loss",
    "MeanCosineSimilarity",
    "MeanPairwiseDistance",
    "NegativeLogLikelihood",
    "PearsonCorrelation",
    "Perplexity",
]


class _Distance(EvalMetric):
    """Base of MAE and MSE: a mean over samples, which are along the first axis, of a mean over the other axes."""

    def _add(self, label: Array, prediction: Array) -> None:
        if {label.ndim, prediction.ndim} == {1, 2}:
            label, prediction = (a.reshape(-1, 1) if a.ndim == 1 else a for a in (label, prediction))
        require_same_shape(self.name, label, prediction)
        difference = np.atleast_1d(label.astype(np.float64) - prediction)
        if difference.size:
            self.sum_metric += float(self._of(difference).mean()) * len(difference)
            self.num_inst += len(difference)

    def _of(self, difference: Array) -> Array:
        raise NotImplementedError


class MAE(_Distance):
    """The mean of ``|label - prediction|``; both of one shape ``(N, ...)``, or one ``(N,)`` and the other ``(N, 1)``.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self, name: str = "mae", output_names: Sequence[str] | None = None, label_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, output_names, label_names)

    def _of(self, difference: Array) -> Array:
        return np.asarray(np.abs(difference))


class MSE(_Distance):
    """The mean of ``(label - prediction)²``; both of one shape ``(N, ...)``, or one ``(N,)`` and the other ``(N, 1)``.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self, name: str = "mse", output_names: Sequence[str] | None = None, label_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, output_names, label_names)

    def _of(self, difference: Array) -> Array:
        return np.asarray(np.square(difference))


class RMSE(MSE):
    """The square root of `MSE`, taken of the mean over all batches.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self, name: str = "rmse", output_names: Sequence[str] | None = None, label_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, output_names, label_names)

    def get(self) -> tuple[str, float]:
        """The name and the error; NaN when there were no samples."""
        return self.name, math.sqrt(super().get()[1])


class CrossEntropy(EvalMetric):
    """The mean of ``-log p`` over the samples, p being the probability that the prediction gives the label.

    Args:
        eps: what a smaller probability is taken for.
        ignore_label: samples with this label do not count.
        axis: of the predictions, along which the classes are.
        from_logits: predictions are scores, of which the softmax is taken first.
        name, output_names, label_names: see `EvalMetric`.

    Predictions have one axis more than the labels, which are class numbers.
    """

    def __init__(
        self,
        eps: float = 1e-12,
        ignore_label: int | None = None,
        axis: int = -1,
        from_logits: bool = False,
        name: str = "cross-entropy",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            name, output_names, label_names, eps=eps, ignore_label=ignore_label, axis=axis, from_logits=from_logits
        )
        self.eps = eps
        self.ignore_label = ignore_label
        self.axis = axis
        self.from_logits = from_logits

    def _add(self, label: Array, prediction: Array) -> None:
        fits = -prediction.ndim <= self.axis < prediction.ndim
        classes = prediction.shape[self.axis] if fits else 0
        if not classes or prediction.size != classes * label.size:
            raise ShapeError(
                f"{self.name}: predictions {prediction.shape} with classes along axis {self.axis} do not fit "
                f"labels {label.shape}"
            )
        numbers = class_numbers(self.name, label, classes, self.ignore_label)
        rows = np.moveaxis(prediction, self.axis, -1).reshape(-1, classes).astype(np.float64)
        if self.ignore_label is not None:
            kept = numbers != self.ignore_label
            numbers, rows = numbers[kept], rows[kept]
        if self.from_logits:
            powers = np.exp(rows - rows.max(1, keepdims=True))
            rows = powers / powers.sum(1, keepdims=True)
        chosen = rows[np.arange(len(rows)), numbers]
        self.sum_metric -= float(np.log(np.maximum(chosen, self.eps)).sum())
        self.num_inst += len(rows)


class NegativeLogLikelihood(CrossEntropy):
    """`CrossEntropy` of probabilities along the last axis, by the name it has in MXNet 1.x.

    Args:
        eps: what a smaller probability is taken for.
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self,
        eps: float = 1e-12,
        name: str = "nll-loss",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(eps, name=name, output_names=output_names, label_names=label_names)
        self._kwargs = {"eps": eps}


class Perplexity(CrossEntropy):
    """The exponential of `CrossEntropy`, taken of the mean over all batches; the arguments are the same."""

    def __init__(
        self,
        eps: float = 1e-12,
        ignore_label: int | None = None,
        axis: int = -1,
        from_logits: bool = False,
        name: str = "perplexity",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(eps, ignore_label, axis, from_logits, name, output_names, label_names)

    def get(self) -> tuple[str, float]:
        """The name and the perplexity, at least 1; NaN when there were no samples."""
        return self.name, math.exp(super().get()[1])


class PearsonCorrelation(EvalMetric):
    """Pearson's correlation of labels and predictions, -1 to 1, over all numbers of all batches.

    NaN when there were none, or when all labels or all predictions are the same. Means and deviations are merged batch
    by batch (Chan, Golub and LeVeque, 1979), in float64.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self,
        name: str = "pearsonr",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(name, output_names, label_names)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._mean = np.zeros(2)
        self._products = np.zeros((2, 2))  # sums of products of deviations from the means

    def _add(self, label: Array, prediction: Array) -> None:
        require_same_shape(self.name, label, prediction)
        if not label.size:
            return
        both = np.stack([label.reshape(-1), prediction.reshape(-1)]).astype(np.float64)
        mean, count = both.mean(1), both.shape[1]
        away = both - mean[:, None]
        shift, total = mean - self._mean, self.num_inst + count
        self._products = self._products + away @ away.T + np.outer(shift, shift) * self.num_inst * count / total
        self._mean = self._mean + shift * count / total
        self.num_inst = total

    def get(self) -> tuple[str, float]:
        """The name and the correlation."""
        spread = math.sqrt(self._products[0, 0] * self._products[1, 1])
        return self.name, float(self._products[0, 1]) / spread if spread else math.nan


class Loss(EvalMetric):
    """The mean of what the predictions are themselves, such as the values of a loss; labels are not looked at.

    Args:
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self, name: str = "loss", output_names: Sequence[str] | None = None, label_names: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, output_names, label_names)

    def update(self, _: Any, preds: Any) -> None:
        """Add a batch: an array of losses, or a list of such arrays."""
        for prediction in [preds] if hasattr(preds, "shape") else preds:
            losses = as_host(prediction)
            self.sum_metric += float(losses.sum(dtype=np.float64))
            self.num_inst += losses.size


class MeanPairwiseDistance(EvalMetric):
    """The mean over the samples of the p-norm of ``label - prediction``, ``(Σ |·|^p)^(1/p)``; both ``(N, ...)``.

    Args:
        name, output_names, label_names: see `EvalMetric`.
        p: of the norm, more than 0.
    """

    def __init__(
        self,
        name: str = "mpd",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        p: float = 2,
    ) -> None:
        if not p > 0:
            raise ValueError(f"{name}: p must be more than 0, got {p}")
        super().__init__(name, output_names, label_names, p=p)
        self.p = p

    def _add(self, label: Array, prediction: Array) -> None:
        require_same_shape(self.name, label, prediction)
        away = np.abs(np.atleast_1d(label.astype(np.float64) - prediction))
        if away.size:
            powers = (away.reshape(len(away), -1) ** self.p).sum(1)
            self.sum_metric += float((powers ** (1 / self.p)).sum())
            self.num_inst += len(away)


class MeanCosineSimilarity(EvalMetric):
    """The mean of ``label · prediction / max(|label| |prediction|, eps)`` over vectors, -1 to 1.

    A vector is along the last axis; an array ``(n,)`` is one vector.

    Args:
        name, output_names, label_names: see `EvalMetric`.
        eps: what a smaller product of lengths is taken for.
    """

    def __init__(
        self,
        name: str = "cos_sim",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(name, output_names, label_names, eps=eps)
        self.eps = eps

    def _add(self, label: Array, prediction: Array) -> None:
        require_same_shape(self.name, label, prediction)
        if not label.size:
            return
        wanted, found = (np.atleast_2d(a.astype(np.float64)) for a in (label, prediction))
        lengths = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(found, axis=-1)
        similarity = (wanted * found).sum(-1) / np.maximum(lengths, self.eps)
        self.sum_metric += float(similarity.sum())
        self.num_inst += similarity.size
