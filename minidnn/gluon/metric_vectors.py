"""Metrics of vectors: how far predictions are from labels, or how much they point the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.gluon.metric_base import Array, EvalMetric, require_same_shape

__all__ = ["MeanCosineSimilarity", "MeanPairwiseDistance"]


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
