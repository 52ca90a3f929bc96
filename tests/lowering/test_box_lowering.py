"""Kernels that leave out boxes, against the references and ONNX's evaluator: bit by bit, ties and NaN included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_evaluator import by_onnx
from small_graphs import Array, compared

RNG = np.random.default_rng(8)
TYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def boxes(count: int, dtype: str = "float32", odd: bool = False) -> Array:
    """``(2, count, 4)``; odd ones have sides that are no numbers, and equals."""
    corner = RNG.uniform(0, 5, (2, count, 2))
    made = np.concatenate([corner, corner + RNG.uniform(1, 4, (2, count, 2))], -1).astype(dtype)
    if odd:
        made[0, 3, 1], made[1, 2], made[0, 5] = np.nan, np.inf, made[0, 6]
    return made


def scores(kinds: int, count: int, dtype: str = "float32", odd: bool = False) -> Array:
    made = RNG.uniform(size=(2, kinds, count)).round(1).astype(dtype)
    if odd:
        made[0, 0, 4], made[1, 1, 5], made[0, 1, 2] = np.nan, np.inf, -np.inf
    return made


@TYPES
@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"iou_threshold": 0.3, "center_point": True},
        {"iou_threshold": 0.5, "score_threshold": 0.3},
        {"iou_threshold": -1.0},
    ],
)
def test_boxes_of_each_sample_and_class(attrs: dict[str, Any], dtype: str) -> None:
    for count, most in ((1, 3), (60, 1000), (60, 4)):
        feed = {"boxes": boxes(count, dtype, count > 7), "scores": scores(3, count, dtype, count > 7)}
        compared("non_max_suppression", feed, tolerance=0, max_boxes=most, **attrs)


def test_boxes_as_onnx_has_them() -> None:
    feed = {"boxes": boxes(50), "scores": RNG.uniform(size=(2, 3, 50)).astype(np.float32)}
    rows, total = compared(
        "non_max_suppression", feed, tolerance=0, max_boxes=7, iou_threshold=0.4, score_threshold=0.2
    )
    limits = [np.array([7]), np.float32([0.4]), np.float32([0.2])]
    assert rows[: total[0]].tolist() == by_onnx("NonMaxSuppression", [*feed.values(), *limits]).tolist()


@TYPES
@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"id_index": 0, "topk": 0},
        {"id_index": 0, "background_id": 1, "topk": 5},
        {"id_index": 0, "force_suppress": True, "overlap_thresh": 0.2},
        {"in_format": "center", "valid_thresh": 0.3},
        {"in_format": "center", "out_format": "corner"},
        {"out_format": "center"},
    ],
)
def test_rows_with_boxes(attrs: dict[str, Any], dtype: str) -> None:
    for count in (1, 40):
        rows = np.zeros((2, 2, count, 7), dtype)
        rows[..., 2:6], rows[..., 1] = boxes(count, dtype, count > 7), scores(2, count, dtype, count > 7)
        rows[..., 0], rows[..., 6] = RNG.integers(0, 3, (2, 2, count)), RNG.normal(size=(2, 2, count))
        compared("box_nms", {"x": rows}, tolerance=0, **attrs)


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"background_id": 1, "clip": False, "nms_topk": 7},
        {"background_id": -1, "force_suppress": True, "nms_threshold": 0.2},
        {"background_id": 2, "nms_threshold": 2.0, "threshold": 0.4},
        {"background_id": 9, "nms_threshold": 0.0},
    ],
)
def test_detections(attrs: dict[str, Any]) -> None:
    moves = RNG.normal(size=(2, 160)).astype(np.float32)
    feed = {"scores": scores(3, 40), "moves": moves, "anchors": boxes(40)[:1] / np.float32(9)}
    compared("multibox_detection", feed, tolerance=1e-5, **attrs)


@TYPES
def test_marks_of_boxes_that_overlap_better_ones(dtype: str) -> None:
    rows = np.concatenate([RNG.integers(0, 2, (2, 40, 1)), RNG.uniform(size=(2, 40, 1)).round(1), boxes(40)], 2)
    rows[0, 5, 1] = np.nan
    for attrs in ({}, {"nms_topk": 4}, {"threshold": 0.5, "nms_threshold": 0.1}):
        compared("mark_overlaps", {"x": rows.astype(dtype)}, tolerance=0, **attrs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(
    "attrs", [{"threshold": 0.0}, {"threshold": 0.55, "is_ascend": True}, {"threshold": 0.1, "topk": 3}]
)
def test_pairs_that_match_best(dtype: str, attrs: dict[str, Any]) -> None:
    for shape in ((3, 5, 9), (2, 2, 7, 4), (1, 6)):
        # Rounded, so that there are equals.
        x = RNG.uniform(size=shape).round(1).astype(dtype)
        x[..., 0, 2], x[..., 0, 1] = np.nan, np.inf
        compared("bipartite_matching", {"data": x}, tolerance=0, **attrs)
