"""What all metrics have in common, and the checks they share."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from minidnn.errors import DataError, ShapeError
from minidnn.numpy.convert import as_host
from minidnn.untrusted import html_table

__all__ = [
    "Array",
    "EvalMetric",
    "alias",
    "array_pairs",
    "check_label_shapes",
    "class_numbers",
    "find",
    "register",
    "require_numbers",
    "require_same_shape",
]

Array = np.ndarray[Any, Any]


class EvalMetric:
    """A mean over all samples of all batches since `reset`. A subclass overrides `update` to do something else.

    Args:
        name: what `get` calls it.
        output_names, label_names: which entries `update_dict` takes, and in which order; None: all.
        kwargs: further arguments of a subclass's constructor, for `get_config`.

    Attributes:
        sum_metric: the sum so far.
        num_inst: the number of samples so far.
    """

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = str(name)
        self._kwargs = kwargs
        self.output_names = output_names
        self.label_names = label_names
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def _repr_html_(self) -> str:
        rows = [(str(name), f"{value:.6g}" if isinstance(value, float) else str(value)) for name, value in _pairs(self)]
        return html_table(("metric", "value"), rows, (1,))

    def get_config(self) -> dict[str, Any]:
        """What makes a metric like this one: ``create(**config)``. It can be written as JSON."""
        return {
            **self._kwargs,
            "metric": type(self).__name__,
            "name": self.name,
            "output_names": self.output_names,
            "label_names": self.label_names,
        }

    def reset(self) -> None:
        """Forget all batches."""
        self.num_inst = 0
        self.sum_metric = 0.0

    def update(self, labels: Any, preds: Any) -> None:
        """Add a batch.

        Args:
            labels: an array, or a list of arrays.
            preds: what the network gave for them: an array, or a list of as many.

        Raises:
            ShapeError: labels and predictions do not fit together.
            DataError: a label that cannot be one.
        """
        for label, prediction in array_pairs(self.name, labels, preds):
            self._add(label, prediction)

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

    def _add(self, label: Array, prediction: Array) -> None:
        """Add one array of labels and its predictions."""
        raise NotImplementedError(f"{type(self).__name__} must define update(labels, preds)")

    def get(self) -> tuple[Any, Any]:
        """The name, and the mean over the samples so far: NaN when there were none."""
        return self.name, self.sum_metric / self.num_inst if self.num_inst else math.nan

    def get_name_value(self) -> list[tuple[str, Any]]:
        """`get` as a list of pairs."""
        return [self.get()]


def _pairs(metric: EvalMetric) -> list[tuple[Any, Any]]:
    """Names and values, also of a metric whose `get` gives lists of them."""
    names, values = metric.get()
    return list(zip(names, values, strict=True)) if isinstance(names, (list, tuple)) else [(names, values)]


def array_pairs(name: str, labels: Any, preds: Any) -> list[tuple[Array, Array]]:
    """Labels and predictions, array by array.

    Raises:
        ShapeError: there are not as many of both.
    """
    label_list, prediction_list = ([x] if hasattr(x, "shape") else list(x) for x in (labels, preds))
    if len(label_list) != len(prediction_list):
        raise ShapeError(f"{name}: {len(label_list)} arrays of labels, {len(prediction_list)} of predictions")
    return [(as_host(label), as_host(p)) for label, p in zip(label_list, prediction_list, strict=True)]


def require_same_shape(name: str, label: Array, prediction: Array) -> None:
    """Checks that both have one shape.

    Raises:
        ShapeError: they do not.
    """
    if label.shape != prediction.shape:
        raise ShapeError(f"{name}: predictions {prediction.shape} must have the shape of the labels {label.shape}")


def check_label_shapes(labels: Any, preds: Any, wrap: bool = False, shape: bool = False) -> tuple[Any, Any]:
    """Checks, for a metric of one's own, that labels and predictions are as many.

    Args:
        labels, preds: arrays, or lists of arrays.
        wrap: give a single array back as a list of one.
        shape: compare the shapes of two arrays, not their lengths.

    Returns:
        Both.

    Raises:
        ShapeError: they differ.
    """
    found, wanted = (preds.shape, labels.shape) if shape else (len(preds), len(labels))
    if found != wanted:
        raise ShapeError(f"shape of labels {wanted} does not match shape of predictions {found}")
    if wrap:
        labels, preds = ([x] if hasattr(x, "shape") else x for x in (labels, preds))
    return labels, preds


def require_numbers(name: str, label: Array) -> None:
    """Checks that every label is a number.

    Raises:
        DataError: one is NaN or infinite.
    """
    good = np.isfinite(label)
    if not good.all():
        raise DataError(f"{name}: a label must be a number, got {label[~good].reshape(-1)[0]}")


def class_numbers(name: str, label: Array, classes: int, ignored: int | None = None) -> Array:
    """Labels as a flat array of int64.

    Raises:
        DataError: one is not a whole number from 0 to ``classes - 1``, nor `ignored`.
    """
    flat = label.reshape(-1)
    good = (flat >= 0) & (flat < classes) & (np.floor(flat) == flat)
    if ignored is not None:
        good |= flat == ignored
    if not good.all():
        raise DataError(f"{name}: labels must be whole numbers from 0 to {classes - 1}, got {flat[~good][0]}")
    return flat.astype(np.int64)


_NAMES: dict[str, type[EvalMetric]] = {}
Kind = TypeVar("Kind", bound=type[EvalMetric])


def register(klass: Kind, name: str | None = None) -> Kind:
    """Let `create` find a class of metrics; a decorator.

    Args:
        klass: a subclass of `EvalMetric`.
        name: what `create` is given; None: the class's name. Letters may be small or capital.

    Raises:
        TypeError: it is no such class.

    Another class of that name is replaced, with a warning.
    """
    if not (isinstance(klass, type) and issubclass(klass, EvalMetric)):
        raise TypeError(f"only subclasses of EvalMetric can be registered, got {klass!r}")
    key = (klass.__name__ if name is None else name).lower()
    if _NAMES.get(key, klass) is not klass:
        warnings.warn(f"metric {key!r}: {klass.__qualname__} replaces {_NAMES[key].__qualname__}", stacklevel=2)
    _NAMES[key] = klass
    return klass


def alias(*aliases: str) -> Callable[[Kind], Kind]:
    """A decorator that registers a class of metrics under more names."""

    def add(klass: Kind) -> Kind:
        for name in aliases:
            register(klass, name)
        return klass

    return add


def find(name: str) -> type[EvalMetric]:
    """The class of a name.

    Raises:
        ValueError: there is none.
    """
    kind = _NAMES.get(name.lower())
    if kind is None:
        close = difflib.get_close_matches(name.lower(), _NAMES, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(_NAMES))}"
        raise ValueError(f"no metric is named {name!r}; {hint}")
    return kind
