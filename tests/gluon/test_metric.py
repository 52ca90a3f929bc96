"""Accuracy and top-k accuracy: means over batches, and what does not fit is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import minidnn as mx
from minidnn.errors import ShapeError
from minidnn.gluon import metric


def batches(counts: tuple[int, ...] = (7, 1, 20), classes: int = 12) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return [(random.integers(0, classes, n), random.standard_normal((n, classes)).astype(np.float32)) for n in counts]


@pytest.mark.parametrize(("k", "measured"), [(1, metric.Accuracy()), (3, metric.TopKAccuracy(3))])
def test_the_mean_over_batches_of_different_sizes_is_that_over_all_samples(k: int, measured: Any) -> None:
    for labels, scores in batches():
        measured.update(mx.np.array(labels), mx.np.array(scores))
    labels, scores = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*batches(), strict=True))
    wanted = float((scores.topk(k).indices == labels[:, None]).any(1).double().mean())
    assert measured.get() == (measured.name, wanted)
    assert 0 < wanted < 1
    measured.reset()
    assert math.isnan(measured.get()[1])


def test_names_are_mxnets() -> None:
    accuracy = metric.Accuracy()
    accuracy.update([mx.np.array([0, 1, 1])], [mx.np.array([[0.3, 0.7], [0, 1.0], [0.4, 0.6]])])
    assert accuracy.get_name_value() == [("accuracy", 2 / 3)]
    assert str(accuracy) == "EvalMetric: {'accuracy': 0.6666666666666666}"
    assert metric.TopKAccuracy(5).get()[0] == "top_k_accuracy_5"
    assert metric.TopKAccuracy(top_k=2, name="top").get()[0] == "top_2"


def test_predictions_may_be_class_numbers_or_have_the_classes_along_another_axis() -> None:
    accuracy = metric.Accuracy()
    accuracy.update(np.array([3, 1]), np.array([3.0, 2.0]))
    assert accuracy.get() == ("accuracy", 0.5)
    last = metric.Accuracy(axis=-1)
    scores = np.zeros((2, 5, 4), np.float32)
    scores[..., 2] = 1
    last.update(np.array([[2, 2, 2, 2, 0], [2, 2, 2, 2, 1]]), scores)
    assert last.get() == ("accuracy", 0.8)


def test_with_fewer_classes_than_k_every_class_counts() -> None:
    top5 = metric.TopKAccuracy(5)
    top5.update(np.array([0, 2]), np.eye(3, dtype=np.float32)[:2])
    assert top5.get()[1] == 1


def test_equal_scores_rank_by_the_class_number() -> None:
    top2 = metric.TopKAccuracy(2)
    top2.update(np.array([0, 1, 2]), np.zeros((3, 4), np.float32))
    assert top2.get()[1] == 2 / 3


@pytest.mark.parametrize("measured", [metric.Accuracy(), metric.TopKAccuracy(2)])
@pytest.mark.parametrize("row", [[np.nan, np.nan, np.nan], [5, np.nan, 0]])
def test_a_sample_with_nan_among_its_scores_is_wrong(measured: Any, row: list[float]) -> None:
    measured.reset()
    measured.update(np.array([0, 0]), np.array([row, [1, 0, 0]], np.float32))
    assert measured.get()[1] == 0.5


def test_named_outputs_are_chosen_by_name() -> None:
    accuracy = metric.Accuracy(output_names=["class"], label_names=["label"])
    scores = np.eye(2, dtype=np.float32)
    accuracy.update_dict({"weight": scores, "label": np.array([0, 1])}, {"class": scores, "box": scores})
    assert accuracy.get() == ("accuracy", 1)


@pytest.mark.parametrize(
    ("measured", "labels", "predictions", "message"),
    [
        (metric.Accuracy(), (3,), (4, 5), r"accuracy: predictions \(4, 5\) .* do not fit labels \(3,\)"),
        (metric.Accuracy(), (4,), (20,), r"accuracy: predictions \(20,\) with classes along axis 1"),
        (metric.TopKAccuracy(5), (3,), (4, 5), r"top_k_accuracy_5: .* got \(4, 5\) and \(3,\)"),
        (metric.TopKAccuracy(5), (4,), (4, 5, 6), r"top_k_accuracy_5: .* got \(4, 5, 6\)"),
    ],
)
def test_labels_and_predictions_that_do_not_fit_are_refused(
    measured: Any, labels: tuple[int, ...], predictions: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        measured.update(np.zeros(labels, np.int64), np.zeros(predictions, np.float32))
    assert measured.num_inst == 0


def test_lists_of_different_lengths_and_a_k_of_one_are_refused() -> None:
    with pytest.raises(ShapeError, match="1 arrays of labels, 2 of predictions"):
        metric.Accuracy().update([np.zeros(2)], [np.zeros((2, 3))] * 2)
    with pytest.raises(ValueError, match="Please use Accuracy if top_k is no more than 1; got top_k=1"):
        metric.TopKAccuracy()
