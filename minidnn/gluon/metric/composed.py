"""Metrics made of others, of functions, and by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from minidnn.errors import ShapeError
from minidnn.gluon.metric.base import EvalMetric, alias, array_pairs, find, register
from minidnn.gluon.metric.classification import F1, MCC, PCC, Accuracy, BinaryAccuracy, Fbeta, TopKAccuracy
from minidnn.gluon.metric.values import (
    MAE,
    MSE,
    RMSE,
    CrossEntropy,
    Loss,
    MeanCosineSimilarity,
    MeanPairwiseDistance,
    NegativeLogLikelihood,
    PearsonCorrelation,
    Perplexity,
)

__all__ = ["CompositeEvalMetric", "CustomMetric", "create", "np"]

Feval = Callable[[Any, Any], Any]


class CompositeEvalMetric(EvalMetric):
    """Several metrics that get the same batches.

    Args:
        metrics: what `create` takes, each.
        name, output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self,
        metrics: Sequence[Any] | None = None,
        name: str = "composite",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.metrics = [create(metric) for metric in metrics or ()]
        super().__init__(name, output_names, label_names)

    def get_config(self) -> dict[str, Any]:
        """See `EvalMetric.get_config`."""
        return {**super().get_config(), "metrics": [metric.get_config() for metric in self.metrics]}

    def add(self, metric: Any) -> None:
        """One metric more: what `create` takes."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """The metric with this number.

        Raises:
            ValueError: there is none.
        """
        if not 0 <= index < len(self.metrics):
            raise ValueError(f"{self.name}: metric {index} is out of range 0 to {len(self.metrics) - 1}")
        return self.metrics[index]

    def reset(self) -> None:
        """Forget all batches, in every metric."""
        super().reset()
        for metric in self.metrics:
            metric.reset()

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch to every metric."""
        for metric in self.metrics:
            metric.update(labels, preds)

    def update_dict(self, labels: Mapping[str, Any], preds: Mapping[str, Any]) -> None:
        """Add a batch to every metric, which takes those of the arrays that it names."""
        known = labels if self.label_names is None else {name: labels[name] for name in self.label_names}
        predicted = preds if self.output_names is None else {name: preds[name] for name in self.output_names}
        for metric in self.metrics:
            metric.update_dict(known, predicted)

    def get(self) -> tuple[list[str], list[Any]]:
        """The names and the values of all metrics: two lists."""
        pairs = self.get_name_value()
        return [name for name, _ in pairs], [value for _, value in pairs]

    def get_name_value(self) -> list[tuple[str, Any]]:
        """Pairs of name and value."""
        return [pair for metric in self.metrics for pair in metric.get_name_value()]


class CustomMetric(EvalMetric):
    """The mean of a function's results.

    Args:
        feval: called with the labels and the predictions of a batch, two NumPy arrays. It gives the value of the batch,
            or (sum, number of samples).
        name: what `get` calls it; None: after the function, ``custom(<lambda>)`` where that has no name.
        allow_extra_outputs: there may be more arrays of predictions than of labels; the first are used.
        output_names, label_names: see `EvalMetric`.
    """

    def __init__(
        self,
        feval: Feval,
        name: str | None = None,
        allow_extra_outputs: bool = False,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        if not callable(feval):
            raise TypeError(f"feval must be a function of labels and predictions, got {feval!r}")
        if name is None:
            name = getattr(feval, "__name__", type(feval).__name__)
            name = f"custom({name})" if "<" in name else name
        super().__init__(name, output_names, label_names)
        self._feval = feval
        self._allow_extra_outputs = allow_extra_outputs

    def get_config(self) -> dict[str, Any]:
        """A function cannot be written down.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{self.name}: a CustomMetric cannot be serialized")

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch.

        Raises:
            ShapeError: there are not as many arrays of predictions as of labels.
        """
        if self._allow_extra_outputs and not hasattr(preds, "shape"):
            count = 1 if hasattr(labels, "shape") else len(labels)
            if len(preds) < count:
                raise ShapeError(f"{self.name}: {count} arrays of labels, {len(preds)} of predictions")
            preds = preds[:count]
        for label, prediction in array_pairs(self.name, labels, preds):
            result = self._feval(label, prediction)
            total, count = result if isinstance(result, tuple) else (result, 1)
            self.sum_metric += float(numpy.asarray(total, numpy.float64).reshape(()))
            self.num_inst += int(count)


for _kind in (
    Accuracy,
    BinaryAccuracy,
    CompositeEvalMetric,
    CrossEntropy,
    CustomMetric,
    F1,
    Fbeta,
    Loss,
    MAE,
    MCC,
    MSE,
    MeanCosineSimilarity,
    MeanPairwiseDistance,
    NegativeLogLikelihood,
    PCC,
    PearsonCorrelation,
    Perplexity,
    RMSE,
    TopKAccuracy,
):
    register(_kind)
alias("acc")(Accuracy)
alias("ce", "cross-entropy")(CrossEntropy)
alias("composite")(CompositeEvalMetric)
alias("nll_loss")(NegativeLogLikelihood)
alias("pearsonr")(PearsonCorrelation)
alias("top_k_acc", "top_k_accuracy")(TopKAccuracy)


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """A metric.

    Args:
        metric: its name (a class of this module in any case of letters, or MXNet's short names such as ``acc``); a
            function of labels and predictions; a metric, which is given back; what `EvalMetric.get_config` gave, or
            that as JSON; or a list of these.
        args, kwargs: for the metric's constructor.

    Raises:
        ValueError: there is no metric of this name.
        TypeError: it is something else.
    """
    if isinstance(metric, EvalMetric):
        return metric
    if isinstance(metric, (list, tuple)):
        return CompositeEvalMetric([create(one, *args, **kwargs) for one in metric])
    if isinstance(metric, Mapping):
        return create(**metric)
    if isinstance(metric, str) and metric.startswith("{"):
        return create(json.loads(metric))
    if isinstance(metric, str):
        return find(metric)(*args, **kwargs)
    if callable(metric):
        return CustomMetric(metric, *args, **kwargs)
    raise TypeError(f"a metric is a name, a function, a metric or a list of these; got {metric!r}")


def np(numpy_feval: Feval, name: str | None = None, allow_extra_outputs: bool = False) -> CustomMetric:
    """A `CustomMetric` of a function of two NumPy arrays, whose name it takes."""

    def feval(label: numpy.ndarray[Any, Any], pred: numpy.ndarray[Any, Any]) -> Any:
        return numpy_feval(label, pred)

    feval.__name__ = getattr(numpy_feval, "__name__", type(numpy_feval).__name__)
    return CustomMetric(feval, name, allow_extra_outputs)
