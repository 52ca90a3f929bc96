"""Every other metric against scikit-learn or its own formula, over batches of different sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference

import minidnn as mx
from minidnn.errors import DataError, ShapeError
from minidnn.gluon import metric

COUNTS = (7, 1, 20)


def random() -> np.random.Generator:
    return np.random.default_rng(3)


def measure(measured: metric.EvalMetric, labels: np.ndarray, predictions: np.ndarray) -> Any:
    """The value over batches of `COUNTS` samples, through arrays of ours."""
    for part in np.split(np.arange(sum(COUNTS)), np.cumsum(COUNTS)[:-1]):
        measured.update(mx.np.array(labels[part]), mx.np.array(predictions[part]))
    return measured.get()[1]


def binary() -> tuple[np.ndarray, np.ndarray]:
    generator = random()
    labels = generator.integers(0, 2, sum(COUNTS))
    return labels, np.clip(labels * 0.3 + generator.uniform(0, 0.7, len(labels)), 0, 1).astype(np.float32)


def multiclass(classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = random()
    scores = generator.uniform(0.01, 1, (sum(COUNTS), classes)).astype(np.float32)
    return generator.integers(0, classes, sum(COUNTS)), scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("two_columns", [False, True])
def test_binary_scores_are_scikit_learns(two_columns: bool) -> None:
    labels, likely = binary()
    predictions = np.stack([1 - likely, likely], 1) if two_columns else likely
    chosen = likely > 0.5
    assert measure(metric.F1(), labels, predictions) == pytest.approx(reference.f1_score(labels, chosen))
    wanted = reference.fbeta_score(labels, chosen, beta=2)
    assert measure(metric.Fbeta(beta=2), labels, predictions) == pytest.approx(wanted)
    wanted = reference.matthews_corrcoef(labels, chosen)
    assert 0 < wanted < 1
    assert measure(metric.MCC(), labels, predictions) == pytest.approx(wanted)


def test_the_threshold_of_f1_is_what_a_probability_must_exceed() -> None:
    labels, likely = binary()
    assert measure(metric.F1(threshold=0.7), labels, likely) == pytest.approx(reference.f1_score(labels, likely > 0.7))
    wanted = reference.accuracy_score(labels, likely > 0.7)
    assert measure(metric.BinaryAccuracy(threshold=0.7), labels, likely) == pytest.approx(wanted)


@pytest.mark.parametrize("average", ["micro", "macro", None])
def test_f1_of_many_classes_is_scikit_learns(average: Any) -> None:
    labels, scores = multiclass()
    measured = measure(metric.F1(class_type="multiclass", average=average), labels, scores)
    np.testing.assert_allclose(measured, reference.f1_score(labels, scores.argmax(1), average=average))
    many = (random().uniform(size=scores.shape) > 0.5).astype(np.float32)
    measured = measure(metric.F1(class_type="multilabel", threshold=0.25, average=average), many, scores)
    np.testing.assert_allclose(measured, reference.f1_score(many, scores > 0.25, average=average))


def test_without_a_positive_f1_and_mcc_are_zero() -> None:
    for measured in (metric.F1(), metric.MCC()):
        measured.update(np.array([0, 0]), np.array([0.1, 0.2], np.float32))
        assert measured.get()[1] == 0


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_errors_are_scikit_learns(shape: tuple[int, ...]) -> None:
    labels, predictions = (random().standard_normal((2, sum(COUNTS), *shape)) * 3).astype(np.float32)
    flat = labels.reshape(-1), predictions.reshape(-1)
    for measured, wanted in (
        (metric.MAE(), reference.mean_absolute_error(*flat)),
        (metric.MSE(), reference.mean_squared_error(*flat)),
        (metric.RMSE(), reference.root_mean_squared_error(*flat)),
        (metric.PearsonCorrelation(), np.corrcoef(*flat)[0, 1]),
    ):
        assert measure(measured, labels, predictions) == pytest.approx(wanted, rel=1e-6)


def test_labels_without_the_axis_of_a_dense_layer_of_one_unit_fit() -> None:
    mae = metric.MAE()
    mae.update(np.array([1.0, 2.0]), np.array([[1.5], [1.0]]))
    assert mae.get() == ("mae", 0.75)
    mae.update(np.array([[1.0], [2.0]]), np.array([1.0, 2.0]))
    assert mae.get() == ("mae", 0.375)


def test_the_correlation_of_a_large_offset_keeps_its_digits() -> None:
    labels, predictions = random().standard_normal((2, sum(COUNTS))).astype(np.float32)
    far = (labels + 1000).astype(np.float32)
    wanted = np.corrcoef(far.astype(np.float64), predictions)[0, 1]
    assert measure(metric.PearsonCorrelation(), far, predictions) == pytest.approx(wanted, rel=1e-9)


def test_likelihoods_are_scikit_learns_log_loss() -> None:
    labels, likely = multiclass()
    exact = likely.astype(np.float64)
    wanted = reference.log_loss(labels, exact / exact.sum(1, keepdims=True), labels=range(4))
    assert measure(metric.CrossEntropy(), labels, likely) == pytest.approx(wanted, rel=1e-5)
    assert measure(metric.NegativeLogLikelihood(), labels, likely) == pytest.approx(wanted, rel=1e-5)
    assert measure(metric.Perplexity(), labels, likely) == pytest.approx(math.exp(wanted), rel=1e-5)
    logits = np.log(likely) + 5
    assert measure(metric.CrossEntropy(from_logits=True), labels, logits) == pytest.approx(wanted, rel=1e-5)
    kept = labels != 2
    wanted = -np.log(likely[kept, labels[kept]].astype(np.float64)).mean()
    assert measure(metric.CrossEntropy(ignore_label=2), labels, likely) == pytest.approx(wanted, rel=1e-5)


def test_classes_may_be_along_another_axis_and_no_probability_is_below_eps() -> None:
    pixels = random().dirichlet(np.ones(3), (2, 4, 5)).astype(np.float32)
    labels = random().integers(0, 3, (2, 4, 5))
    measured = metric.CrossEntropy(axis=1)
    measured.update(labels, np.moveaxis(pixels, -1, 1))
    chosen = np.take_along_axis(pixels, labels[..., None], -1).astype(np.float64)
    assert measured.get()[1] == pytest.approx(-np.log(chosen).mean(), rel=1e-5)
    sure = metric.CrossEntropy(eps=1e-6)
    sure.update(np.array([0]), np.array([[0.0, 1.0]]))
    assert sure.get()[1] == pytest.approx(-math.log(1e-6))


def test_losses_and_functions_are_averaged() -> None:
    loss = metric.Loss()
    loss.update(None, mx.np.array([1.0, 2.0, 6.0]))
    loss.update(None, [mx.np.array([3.0])])
    assert loss.get() == ("loss", 3)
    custom = metric.CustomMetric(lambda label, prediction: (label + prediction).mean())
    custom.update([mx.np.array([2.5, 0.0, 2, 8])], [mx.np.array([3, -0.5, 2, 7])])
    assert custom.get() == ("custom(<lambda>)", 6)

    def worst(label: np.ndarray, prediction: np.ndarray) -> tuple[float, int]:
        return float(np.abs(label - prediction).max()), 1

    by_name = metric.np(worst, allow_extra_outputs=True)
    for predictions in ([np.array([2.0, 0.0]), "state"], [np.array([1.0, 5.0])]):
        by_name.update([np.array([1.0, 1.0])], predictions)
    assert by_name.get() == ("worst", 2.5)


def test_a_composite_gives_batches_to_all_and_names_and_values_in_order() -> None:
    both = metric.create(["acc", metric.TopKAccuracy(2)])
    both.update(np.array([0, 1]), np.array([[0.1, 0.9], [0.2, 0.8]], np.float32))
    assert both.get() == (["accuracy", "top_k_accuracy_2"], [0.5, 1])
    assert both.get_name_value() == [("accuracy", 0.5), ("top_k_accuracy_2", 1)]
    assert isinstance(both, metric.CompositeEvalMetric)
    both.add("ce")
    assert both.get_metric(2).name == "cross-entropy"
    both.reset()
    both.update_dict({"label": np.array([1])}, {"scores": np.array([[0.0, 1.0]])})
    assert both.get()[1] == [1, 1, 0]
    with pytest.raises(ValueError, match="metric 3 is out of range 0 to 2"):
        both.get_metric(3)


def test_metrics_are_made_by_name() -> None:
    top = metric.create("top_k_accuracy", top_k=3)
    assert isinstance(top, metric.TopKAccuracy)
    assert top.top_k == 3
    assert isinstance(metric.create("RMSE"), metric.RMSE)
    assert metric.create(top) is top
    assert isinstance(metric.create(min), metric.CustomMetric)
    with pytest.raises(ValueError, match="no metric is named 'acuracy'; did you mean accuracy"):
        metric.create("acuracy")
    with pytest.raises(TypeError, match="got 3"):
        metric.create(3)


def test_a_metric_of_ones_own_needs_only_update() -> None:
    class Count(metric.EvalMetric):
        def update(self, labels: Any, preds: Any) -> None:
            self.sum_metric += len(labels)
            self.num_inst += 1

    count = Count("count")
    count.update([1, 2, 3], None)
    assert count.get() == ("count", 3)
    with pytest.raises(NotImplementedError, match=r"EvalMetric must define update"):
        metric.EvalMetric("nothing").update(np.zeros(1), np.zeros(1))


@pytest.mark.parametrize("name", ["acc", "f1", "mcc", "mae", "rmse", "ce", "perplexity", "pearsonr", "loss"])
def test_before_the_first_batch_there_is_no_value(name: str) -> None:
    measured = metric.create(name)
    assert math.isnan(measured.get()[1])
    measured.reset()
    assert math.isnan(measured.get()[1])


@pytest.mark.parametrize(
    ("measured", "labels", "predictions", "error", "message"),
    [
        (metric.F1(), [0, 2], [0.1, 0.2], DataError, "f1: labels must be whole numbers from 0 to 1, got 2"),
        (metric.MCC(), [0, np.nan], [0.1, 0.2], DataError, "mcc: labels must be whole numbers from 0 to 1, got nan"),
        (metric.F1(), [0], [[0.1, 0.2, 0.7]], ShapeError, r"f1: binary predictions of shape \(1, 3\)"),
        (metric.F1(class_type="multiclass"), [0, 1], [[0.1, 0.2]], ShapeError, r"f1: predictions \(1, 2\)"),
        (metric.F1(class_type="multilabel"), [0, 1], [[0.1, 0.2]], ShapeError, r"f1: predictions \(1, 2\)"),
        (metric.MAE(), [0, 1, 2], [[0, 1, 2]], ShapeError, r"mae: predictions \(1, 3\) .* labels \(3, 1\)"),
        (metric.CrossEntropy(), [0, 1], [[0.5, 0.5]], ShapeError, r"cross-entropy: predictions \(1, 2\)"),
        (metric.CrossEntropy(axis=4), [0], [[0.5, 0.5]], ShapeError, "classes along axis 4"),
        (metric.CrossEntropy(), [2], [[0.5, 0.5]], DataError, "cross-entropy: labels .* from 0 to 1, got 2"),
        (metric.Perplexity(), [0.5], [[0.5, 0.5]], DataError, r"perplexity: labels .* got 0\.5"),
        (metric.PearsonCorrelation(), [0, 1], [1], ShapeError, "pearsonr: predictions"),
        (metric.BinaryAccuracy(), [0, 1], [1], ShapeError, "binary_accuracy: predictions"),
        (metric.CustomMetric(max, "m", True), [[0.0]], [], ShapeError, "m: 1 arrays of labels, 0 of predictions"),
    ],
)
def test_what_does_not_fit_is_refused(
    measured: Any, labels: Any, predictions: Any, error: type[Exception], message: str
) -> None:
    if predictions:
        labels, predictions = np.array(labels, np.float32), np.array(predictions, np.float32)
    with pytest.raises(error, match=message):
        measured.update(labels, predictions)
    assert measured.num_inst == 0


def test_the_number_of_classes_cannot_change_between_batches() -> None:
    measured = metric.F1(class_type="multiclass")
    measured.update(np.array([0]), np.array([[0.5, 0.4]]))
    with pytest.raises(ShapeError, match="f1: 3 classes after batches with 2"):
        measured.update(np.array([0]), np.array([[0.5, 0.4, 0.1]]))


@pytest.mark.parametrize(("option", "value"), [("class_type", "ternary"), ("average", "weighted")])
def test_unknown_options_are_refused(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"f1: {option} must be one of .* got '{value}'"):
        metric.F1(**{option: value})
