"""PCC, the metrics of vectors, and metrics by name: against scikit-learn and SciPy."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference
from scipy.spatial import distance

import minidnn as mx
from minidnn.errors import DataError, ShapeError
from minidnn.gluon import metric


def random() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("scores", [False, True])
def test_pcc_is_scikit_learns_coefficient_over_all_batches(classes: int, scores: bool) -> None:
    labels = random().integers(0, classes, 60)
    chosen = np.where(random().random(60) < 0.6, labels, (labels + 1) % classes)
    predictions = np.eye(classes, dtype=np.float32)[chosen] if scores else chosen
    pcc = metric.PCC()
    assert math.isnan(pcc.get()[1])
    for part in np.split(np.arange(60), [7, 8]):
        pcc.update([mx.np.array(labels[part])], [mx.np.array(predictions[part])])
    assert pcc.get() == ("pcc", pytest.approx(reference.matthews_corrcoef(labels, chosen)))
    pcc.reset()
    assert math.isnan(pcc.get()[1])


def test_pcc_takes_no_more_memory_for_large_class_numbers() -> None:
    pcc = metric.PCC()
    pcc.update(np.array([0, 2_000_000_000]), np.array([0, 2_000_000_000]))
    assert pcc.get()[1] == 1
    with pytest.raises(DataError, match="labels must be whole numbers from 0"):
        pcc.update(np.array([0.5]), np.array([0]))
    with pytest.raises(ShapeError, match="pcc: predictions"):
        pcc.update(np.array([0, 1]), np.zeros((3, 2), np.float32))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_mean_pairwise_distance_is_minkowskis(p: int) -> None:
    labels, predictions = random().normal(size=(2, 9, 4)).astype(np.float32)
    mpd = metric.MeanPairwiseDistance(p=p)
    mpd.update(labels[:2], predictions[:2])
    mpd.update(labels[2:], predictions[2:])
    wanted = np.mean([distance.minkowski(a, b, p) for a, b in zip(labels, predictions, strict=True)])
    assert mpd.get() == ("mpd", pytest.approx(wanted, rel=1e-6))


def test_mean_cosine_similarity_is_one_minus_scipys_distance() -> None:
    labels, predictions = random().normal(size=(2, 9, 4)).astype(np.float32)
    similarity = metric.MeanCosineSimilarity()
    similarity.update(mx.np.array(labels[:8]), mx.np.array(predictions[:8]))
    similarity.update(mx.np.array(labels[8]), mx.np.array(predictions[8]))
    wanted = np.mean([1 - distance.cosine(a, b) for a, b in zip(labels, predictions, strict=True)])
    assert similarity.get() == ("cos_sim", pytest.approx(wanted, rel=1e-6))
    zero = metric.MeanCosineSimilarity()
    zero.update(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))
    assert zero.get()[1] == 0


@pytest.mark.parametrize("kind", [metric.MeanPairwiseDistance, metric.MeanCosineSimilarity])
def test_vectors_of_different_shapes_are_refused(kind: Any) -> None:
    with pytest.raises(ShapeError, match="must have the shape of the labels"):
        kind().update(np.zeros((2, 3)), np.zeros((2, 4)))


@pytest.mark.parametrize(
    "made",
    [
        metric.Accuracy(axis=0),
        metric.TopKAccuracy(5, name="top"),
        metric.F1(class_type="multiclass", average="macro"),
        metric.Fbeta(beta=2),
        metric.BinaryAccuracy(threshold=0.3),
        metric.Perplexity(ignore_label=3),
        metric.NegativeLogLikelihood(eps=1e-6),
        metric.MeanPairwiseDistance(p=3),
        metric.CompositeEvalMetric(["acc", metric.TopKAccuracy(2)], name="both"),
    ],
)
def test_a_metric_can_be_made_again_of_its_configuration(made: metric.EvalMetric) -> None:
    config = made.get_config()
    for again in (metric.create(**config), metric.create(config), metric.create(json.dumps(config))):
        assert type(again) is type(made)
        assert again.name == made.name
        assert again.get_config() == config
    assert str(metric.create(config).get()) == str(made.get())


def test_a_function_has_no_configuration() -> None:
    with pytest.raises(NotImplementedError, match="cannot be serialized"):
        metric.CustomMetric(lambda label, pred: 0).get_config()


def test_a_metric_of_ones_own_is_found_by_its_names() -> None:
    @metric.register
    @metric.alias("hits", "Strikes")
    class TestHits(metric.EvalMetric):
        def __init__(self, name: str = "hits", least: float = 0.0) -> None:
            super().__init__(name, least=least)

        def update(self, labels: Any, preds: Any) -> None:
            labels, preds = metric.check_label_shapes(labels, preds, wrap=True)
            for label, pred in zip(labels, preds, strict=True):
                self.sum_metric += float((label == pred).sum().item())
                self.num_inst += label.size

    for name in ("testhits", "hits", "STRIKES"):
        made = metric.create(name, least=2)
        made.update(mx.np.array([1, 2]), mx.np.array([1, 3]))
        assert made.get() == ("hits", 0.5)
        assert made.get_config()["least"] == 2
    with pytest.warns(UserWarning, match="metric 'hits': .*TestHits2 replaces .*TestHits"):
        metric.register(type("TestHits2", (metric.EvalMetric,), {}), "hits")
    with pytest.raises(TypeError, match="subclasses of EvalMetric"):
        metric.register(int)  # type: ignore[type-var]


def test_labels_and_predictions_that_are_not_as_many_are_refused() -> None:
    with pytest.raises(ShapeError, match="shape of labels 1 does not match shape of predictions 2"):
        metric.check_label_shapes([0], [0, 1])
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        metric.check_label_shapes(mx.np.zeros((2, 3)), mx.np.zeros((2, 4)), shape=True)
    wrapped = metric.check_label_shapes(mx.np.zeros(2), mx.np.zeros(2), wrap=True)
    assert [type(x) for x in wrapped] == [list, list]


@pytest.mark.parametrize("made", [metric.Accuracy(), metric.TopKAccuracy(2), metric.BinaryAccuracy()])
@pytest.mark.parametrize("label", [math.nan, math.inf])
def test_a_label_that_is_not_a_number_is_refused(made: metric.EvalMetric, label: float) -> None:
    scores = np.ones(2, np.float32) if isinstance(made, metric.BinaryAccuracy) else np.ones((2, 3), np.float32)
    with pytest.raises(DataError, match=f"{made.name}: a label must be a number, got {label}"):
        made.update(np.array([0, label], np.float32), scores)


def test_every_class_may_have_a_threshold_of_its_own() -> None:
    labels, likely = random().integers(0, 2, (20, 3)), random().random((20, 3)).astype(np.float32)
    thresholds = np.array([0.2, 0.5, 0.8], np.float32)
    f1 = metric.F1(class_type="multilabel", average="macro", threshold=mx.np.array(thresholds))
    f1.update(mx.np.array(labels), mx.np.array(likely))
    assert f1.get()[1] == pytest.approx(reference.f1_score(labels, likely > thresholds, average="macro"))


@pytest.mark.parametrize("name", ["acc", "f1", "mcc", "pcc", "mae", "ce", "pearsonr"])
def test_a_batch_of_nothing_counts_nothing(name: str) -> None:
    made = metric.create(name)
    made.update(np.zeros(0), np.zeros((0, 2)) if name in ("acc", "f1", "ce") else np.zeros(0))
    assert math.isnan(made.get()[1])
