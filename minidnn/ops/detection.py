"""Operators of detectors: pooling of regions, and boxes that do not overlap others of a higher score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.checks import want_dtype, want_filled, want_float, want_integer, want_rank, want_shape
from minidnn.ops.elementwise import INT64
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS

__all__: list[str] = []

Array = np.ndarray[Any, Any]


def _want_regions(op: str, attrs: Attrs, data: TensorType, rois: TensorType, width: int) -> TensorType:
    want_rank(op, "data", data, 4, "(N, C, H, W)")
    want_float(op, "data", data)
    want_dtype(op, "rois", rois, data.dtype, "data")
    want_rank(op, "rois", rois, 2)
    want_shape(op, "rois", rois, (rois.shape[0], width), "one row a region")
    if len(attrs.pooled) != 2 or None in attrs.pooled:
        raise OpError(f"{op}: pooled must be two numbers, got {attrs.pooled}")
    if rois.shape[0]:
        want_filled(op, "data", data, (0, 2, 3))
    return TensorType((rois.shape[0], data.shape[1], *attrs.pooled), data.dtype)


# Points in a direction of a bin.
_MAX_COUNT = 1 << 12
# Corners in whole pixels are clipped so that their differences are exact.
_LARGEST_REGION = float(1 << 40)


def _infer_roi_align(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (data, rois, samples) = "roi_align", types
    result = _want_regions(op, attrs, data, rois, 4)
    want_integer(op, "batch_indices", samples)
    want_shape(op, "batch_indices", samples, (rois.shape[0],), "one for each region")
    return [result]


def _roi_align(attrs: Attrs, x: Array, rois: Array, samples: Array) -> Array:
    """Means, or maxima, of points in each bin, read between the pixels (He et al., Mask R-CNN, 2017)."""
    if samples.size and not (samples.min() >= 0 and samples.max() < len(x)):
        raise OpError(f"roi_align: batch_indices must lie in [0, {len(x)}), got {samples.min()}..{samples.max()}")
    result = np.zeros((len(rois), x.shape[1], *attrs.pooled), np.promote_types(x.dtype, np.float32))
    shift = 0.5 if attrs.aligned else 0.0
    for region, (roi, sample) in enumerate(zip(rois, samples, strict=True)):
        left, top, right, bottom = roi.astype(np.float64) * attrs.scale - shift
        height, width = bottom - top, right - left
        if not np.isfinite([left + width, top + height]).all():
            raise OpError(f"roi_align: region {region} is too large: {roi}")
        if not attrs.aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        points = []
        for start, extent, bins in ((top, height, attrs.pooled[0]), (left, width, attrs.pooled[1])):
            size = extent / bins
            count = attrs.samples or max(int(np.ceil(size)), 1)
            if count > _MAX_COUNT:
                raise OpError(f"roi_align: region {region} is too large: {roi}")
            points.append(start + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count) * size)
        result[region] = _pooled_region(x[sample], points[0], points[1], attrs.mode)
    return result


def _pooled_region(x: Array, rows: Array, columns: Array, mode: str) -> Array:
    """Bins of points at ``rows[i, :]`` and ``columns[j, :]`` of a picture (C, H, W)."""
    (row_low, row_high, row_ratio, row_ok) = _neighbours(rows.reshape(-1), x.shape[1])
    (col_low, col_high, col_ratio, col_ok) = _neighbours(columns.reshape(-1), x.shape[2])
    counts = np.outer(row_ok, col_ok)
    parts = [
        (x[:, a[:, None], b[None, :]] * (np.outer(u, v) * counts))
        for a, u in ((row_low, 1 - row_ratio), (row_high, row_ratio))
        for b, v in ((col_low, 1 - col_ratio), (col_high, col_ratio))
    ]
    shape = (x.shape[0], rows.shape[0], rows.shape[1], columns.shape[0], columns.shape[1])
    if mode == "max":
        # The largest product of any point, before the four neighbours are added up.
        return np.asarray(np.maximum.reduce(parts).reshape(shape).max((2, 4)))
    return np.asarray(sum(parts[1:], parts[0]).reshape(shape).mean((2, 4)))


def _neighbours(at: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """The pixels on both sides, how far the point is from the first one, and whether it counts."""
    inside = (at >= -1) & (at <= n)
    at = np.clip(at, 0, n - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, n - 1)
    return low, high, np.where(low == high, 0, at - low), inside


register(
    Op(
        "roi_align",
        _infer_roi_align,
        _roi_align,
        ("data", "rois", "batch_indices"),
        attrs=(
            Attr("pooled", "ints", low=1),
            Attr("scale", "float", 1.0),
            Attr("samples", "int", 0, low=0),
            Attr("mode", "str", "avg", choices=("avg", "max")),
            Attr("aligned", "bool", True),
        ),
    )
)


def _infer_max_roi_pool(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    return [_want_regions("max_roi_pool", attrs, types[0], types[1], 5)]


def _max_roi_pool(attrs: Attrs, x: Array, rois: Array) -> Array:
    """Maxima of whole pixels in each bin; a bin without any gives 0 (Girshick, Fast R-CNN, 2015)."""
    result = np.zeros((len(rois), x.shape[1], *attrs.pooled), x.dtype)
    for region, roi in enumerate(rois):
        if not -1 < roi[0] < len(x):
            raise OpError(f"max_roi_pool: region {region} is of sample {roi[0]:g}, data has {len(x)}")
        sample = int(roi[0])
        corners = roi[1:].astype(np.float64) * attrs.scale
        if not np.isfinite(corners).all():
            raise OpError(f"max_roi_pool: region {region} has no finite corners: {roi}")
        whole = np.clip(np.floor(corners + 0.5), -_LARGEST_REGION, _LARGEST_REGION)
        left, top, right, bottom = whole.astype(np.int64)
        spans = []
        for start, end, bins, n in (
            (top, bottom, attrs.pooled[0], x.shape[2]),
            (left, right, attrs.pooled[1], x.shape[3]),
        ):
            size = max(end - start + 1, 1) / bins
            begin = np.clip(np.floor(np.arange(bins) * size).astype(np.int64) + start, 0, n)
            stop = np.clip(np.ceil((np.arange(bins) + 1) * size).astype(np.int64) + start, 0, n)
            spans.append(list(zip(begin, stop, strict=True)))
        for i, (a, b) in enumerate(spans[0]):
            for j, (c, d) in enumerate(spans[1]):
                if b > a and d > c:
                    result[region, :, i, j] = x[sample, :, a:b, c:d].max((1, 2))
    return result


register(
    Op(
        "max_roi_pool",
        _infer_max_roi_pool,
        _max_roi_pool,
        ("data", "rois"),
        attrs=(Attr("pooled", "ints", low=1), Attr("scale", "float", 1.0)),
        mxnet=("ROIPooling", "_npx_roi_pooling"),
    )
)


# ---- boxes -----------------------------------------------------------------------------------------------


def _infer_suppression(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (boxes, scores) = "non_max_suppression", types
    want_rank(op, "boxes", boxes, 3, "(N, boxes, 4)")
    want_rank(op, "scores", scores, 3, "(N, classes, boxes)")
    want_float(op, "boxes", boxes)
    want_float(op, "scores", scores)
    want_shape(op, "boxes", boxes, (scores.shape[0], scores.shape[2], 4), "four numbers for each score")
    samples, kinds, count = scores.shape
    return [TensorType((samples * kinds * min(attrs.max_boxes, count), 3), INT64), TensorType((1,), INT64)]


def _suppress(attrs: Attrs, boxes: Array, scores: Array) -> tuple[Array, Array]:
    """Sample, class and box of what is left, by sample, class and falling score, zeros behind; and how many rows."""
    found = []
    for sample, own in enumerate(boxes):
        corners = _corners(own.astype(np.float64), attrs.center_point)
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
        for kind, score in enumerate(scores[sample]):
            order = np.argsort(-score, kind="stable")
            if attrs.score_threshold is not None:
                order = order[score[order] > attrs.score_threshold]
            left = attrs.max_boxes
            while order.size and left:
                best, order = order[0], order[1:]
                found.append((sample, kind, best))
                left -= 1
                order = order[_overlap(corners, areas, best, order) <= attrs.iou_threshold]
    rows = np.zeros((scores.shape[0] * scores.shape[1] * min(attrs.max_boxes, scores.shape[2]), 3), np.int64)
    rows[: len(found)] = np.array(found, np.int64).reshape(-1, 3)
    return rows, np.array([len(found)])


def _corners(boxes: Array, center_point: bool) -> Array:
    if center_point:
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.concatenate([low, high], 1)


def _overlap(corners: Array, areas: Array, best: Any, others: Array) -> Array:
    """Intersection over union of one box with others."""
    low = np.maximum(corners[best, :2], corners[others, :2])
    high = np.minimum(corners[best, 2:], corners[others, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    union = areas[best] + areas[others] - common
    return np.asarray(np.where(union > 0, common / np.where(union > 0, union, 1), 0))


register(
    Op(
        "non_max_suppression",
        _infer_suppression,
        _suppress,
        ("boxes", "scores"),
        attrs=(
            Attr("max_boxes", "int", low=0),
            Attr("iou_threshold", "float", 0.0),
            Attr("score_threshold", "float", None),
            Attr("center_point", "bool", False),
        ),
        outputs=2,
        nonnegative=ALWAYS,
    )
)
