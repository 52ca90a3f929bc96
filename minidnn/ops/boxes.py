"""MXNet's operators on boxes: their overlap, what is learned of them, and which of them are kept.

A box is four numbers: ``corner`` is (xmin, ymin, xmax, ymax), ``center`` is (x, y, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError
from minidnn.ops.checks import want_dtype, want_float, want_min_rank, want_rank, want_shape
from minidnn.ops.composed import Operand, register_composed
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import ALWAYS

__all__ = ["greedy", "pair_overlap"]

Array = np.ndarray[Any, Any]
FORMATS = ("corner", "center")


def _want_boxes(op: str, name: str, t: TensorType) -> None:
    want_min_rank(op, name, t, 1)
    want_float(op, name, t)
    if t.shape[-1] != 4:
        raise ShapeError(f"{op}: {name} must have four numbers for a box along the last axis, got {t}")


def _sides(boxes: Operand, center: bool) -> list[Operand]:
    """xmin, ymin, xmax, ymax; or of centers x, y, width, height made so."""
    first = [boxes.cut(-1, i, i + 1) for i in range(4)]
    if not center:
        return first
    half = [side * 0.5 for side in first[2:]]
    return [a - b for a, b in zip(first[:2], half, strict=True)] + [a + b for a, b in zip(first[:2], half, strict=True)]


def _centers(boxes: Operand) -> list[Operand]:
    """x, y, width, height of corners."""
    left, top, right, bottom = _sides(boxes, center=False)
    width, height = right - left, bottom - top
    return [left + width * 0.5, top + height * 0.5, width, height]


def _box_iou(attrs: Attrs, lhs: Operand, rhs: Operand) -> Operand:
    op, center = "box_iou", attrs.format == "center"
    _want_boxes(op, "lhs", lhs.type)
    _want_boxes(op, "rhs", rhs.type)
    want_dtype(op, "rhs", rhs.type, lhs.type.dtype, "lhs")
    outer, inner = lhs.shape[:-1], rhs.shape[:-1]
    a = [side.reshape(*outer, *(1,) * len(inner)) for side in _sides(lhs, center)]
    b = [side.reshape(*inner) for side in _sides(rhs, center)]
    common = _product_of_extents(
        [x.apply("maximum", y) for x, y in zip(a[:2], b[:2], strict=True)],
        [x.apply("minimum", y) for x, y in zip(a[2:], b[2:], strict=True)],
    )
    union = _product_of_extents(a[:2], a[2:]) + _product_of_extents(b[:2], b[2:]) - common
    some = union.apply("greater_scalar", scalar=0, is_int=False)
    zero = common * 0.0
    return some.apply("where", common / some.apply("where", union, zero + 1.0), zero)


def _product_of_extents(low: Sequence[Operand], high: Sequence[Operand]) -> Operand:
    width, height = ((b - a).apply("relu") for a, b in zip(low, high, strict=True))
    area: Operand = width * height
    return area


register_composed(
    "box_iou",
    _box_iou,
    ("lhs", "rhs"),
    (Attr("format", "str", "corner", choices=FORMATS),),
    mxnet=("_npx_box_iou", "_contrib_box_iou"),
    nonnegative=ALWAYS,
)


# ---- what is learned of boxes -------------------------------------------------------------------------------


def _box_encode(
    attrs: Attrs, samples: Operand, matches: Operand, anchors: Operand, refs: Operand, means: Operand, stds: Operand
) -> list[Operand]:
    """Distances of anchors (B, N, 4) from the boxes that they match, where a sample is positive; and where it is."""
    op = "box_encode"
    want_rank(op, "samples", samples.type, 2, "(B, N)")
    batch, count = samples.shape
    want_shape(op, "matches", matches.type, (batch, count), "one for each sample")
    for name, x in (("anchors", anchors), ("refs", refs)):
        want_rank(op, name, x.type, 3)
        _want_boxes(op, name, x.type)
        want_dtype(op, name, x.type, samples.type.dtype, "samples")
    if anchors.shape[1] != count or anchors.shape[0] not in (1, batch) or refs.shape[0] != batch:
        raise ShapeError(f"{op}: anchors {anchors.type} and refs {refs.type} do not fit samples {samples.type}")
    for name, x in (("means", means), ("stds", stds)):
        want_shape(op, name, x.type, (4,))
    index = matches.cast(np.int64).reshape(batch, count, 1).apply("broadcast_to", shape=(batch, count, 4))
    limit = index.apply("clip", a_min=0, a_max=refs.shape[1] - 1)
    found = _centers(refs.apply("take_along_axis", limit, axis=1))
    own = _centers(anchors)
    moved = [(found[i] - own[i]) / own[i + 2] for i in range(2)]
    grown = [(found[i] / own[i]).apply("log") for i in (2, 3)]
    targets = (moved[0].join(moved[1], *grown, axis=-1) - means) / stds
    positive = samples.apply("greater_scalar", scalar=0.5, is_int=False).reshape(batch, count, 1)
    mask = positive.cast(targets.type.dtype).apply("broadcast_to", shape=targets.shape)
    return [positive.apply("where", targets, mask * 0.0), mask]


register_composed(
    "box_encode",
    _box_encode,
    ("samples", "matches", "anchors", "refs", "means", "stds"),
    outputs=2,
    mxnet=("_npx_box_encode", "_contrib_box_encode"),
)


def _box_decode(attrs: Attrs, data: Operand, anchors: Operand) -> Operand:
    op = "box_decode"
    for name, x in (("data", data), ("anchors", anchors)):
        want_rank(op, name, x.type, 3)
        _want_boxes(op, name, x.type)
    want_dtype(op, "anchors", anchors.type, data.type.dtype, "data")
    want_shape(op, "anchors", anchors.type, (1, data.shape[1], 4), "one for each box")
    center = _centers(anchors) if attrs.format == "corner" else _sides(anchors, center=False)
    given = _sides(data, center=False)
    low: list[Operand] = []
    high: list[Operand] = []
    for i in range(2):
        at = given[i] * attrs[f"std{i}"] * center[i + 2] + center[i]
        grown = given[i + 2] * attrs[f"std{i + 2}"]
        if attrs.clip > 0:
            grown = grown.apply("minimum_scalar", scalar=attrs.clip, is_int=False)
        half: Operand = grown.apply("exp") * center[i + 2] * 0.5
        low.append(at - half)
        high.append(at + half)
    return low[0].join(low[1], *high, axis=-1)


register_composed(
    "box_decode",
    _box_decode,
    ("data", "anchors"),
    (
        *(Attr(f"std{i}", "float", 1.0) for i in range(4)),
        Attr("clip", "float", -1.0),
        Attr("format", "str", "center", choices=FORMATS),
    ),
    mxnet=("_npx_box_decode", "_contrib_box_decode"),
)


# ---- which boxes are kept -----------------------------------------------------------------------------------


def pair_overlap(box: Array, others: Array) -> Array:
    """Intersection over union of corners (4,) with others (n, 4); NaN of boxes without an area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.maximum(high - low, 0).prod(1)
    area = np.maximum(box[2:] - box[:2], 0).prod()
    areas = np.maximum(others[:, 2:] - others[:, :2], 0).prod(1)
    return np.asarray(common / (area + areas - common))


def greedy(corners: Array, kinds: Array | None, threshold: float, closed: bool = False) -> Array:
    """Which boxes, the best first, overlap no better one that is kept.

    Args:
        corners: (n, 4).
        kinds: (n,); only boxes of one kind exclude each other. None: all do.
        threshold: the largest overlap, or with `closed` the smallest that is too large.
        closed: whether an overlap of the threshold is too large.
    """
    kept = np.ones(len(corners), np.bool_)
    for i in range(len(corners)):
        if not kept[i]:
            continue
        rest = np.flatnonzero(kept[i + 1 :]) + i + 1
        if kinds is not None:
            rest = rest[kinds[rest] == kinds[i]]
        overlap = pair_overlap(corners[i], corners[rest])
        kept[rest[overlap >= threshold if closed else overlap > threshold]] = False
    return kept


def _infer_box_nms(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "box_nms", types[0]
    want_min_rank(op, "data", data, 2)
    want_float(op, "data", data)
    width = data.shape[-1]
    for name, last in (("coord_start", attrs.coord_start + 3), ("score_index", attrs.score_index)):
        if last >= width:
            raise OpError(f"{op}: {name}={attrs[name]} does not fit rows of {width} numbers: {data}")
    if attrs.id_index >= width:
        raise OpError(f"{op}: id_index={attrs.id_index} does not fit rows of {width} numbers: {data}")
    return [data]


def _swapped_format(boxes: Array, source: str, target: str) -> Array:
    if source == target:
        return boxes
    if source == "center":
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def _box_nms(attrs: Attrs, data: Array) -> Array:
    """Rows by falling score, those that overlap a better one left out; -1 fills the rest."""
    result = np.full(data.shape, -1, data.dtype)
    rows, made = data.reshape(-1, *data.shape[-2:]), result.reshape(-1, *data.shape[-2:])
    where = slice(attrs.coord_start, attrs.coord_start + 4)
    for own, target in zip(rows, made, strict=True):
        scores = own[:, attrs.score_index]
        valid = scores > attrs.valid_thresh
        if attrs.id_index >= 0 and attrs.background_id >= 0:
            valid &= own[:, attrs.id_index] != attrs.background_id
        order = np.argsort(-scores, kind="stable")
        order = order[valid[order]]
        if attrs.topk > 0:
            order = order[: attrs.topk]
        own = own[order]
        boxes = own[:, where].astype(np.promote_types(own.dtype, np.float32))
        kinds = None if attrs.force_suppress or attrs.id_index < 0 else own[:, attrs.id_index]
        kept = greedy(_swapped_format(boxes, attrs.in_format, "corner"), kinds, attrs.overlap_thresh)
        own[:, where] = _swapped_format(boxes, attrs.in_format, attrs.out_format)
        target[: kept.sum()] = own[kept]
    return result


register(
    Op(
        "box_nms",
        _infer_box_nms,
        _box_nms,
        ("data",),
        attrs=(
            Attr("overlap_thresh", "float", 0.5),
            Attr("valid_thresh", "float", 0.0),
            Attr("topk", "int", -1),
            Attr("coord_start", "int", 2, low=0),
            Attr("score_index", "int", 1, low=0),
            Attr("id_index", "int", -1, low=-1),
            Attr("background_id", "int", -1),
            Attr("force_suppress", "bool", False),
            Attr("in_format", "str", "corner", choices=FORMATS),
            Attr("out_format", "str", "corner", choices=FORMATS),
        ),
        mxnet=("_npx_box_nms", "_contrib_box_nms", "_contrib_box_non_maximum_suppression"),
    )
)


def _infer_matching(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "bipartite_matching", types[0]
    want_min_rank(op, "data", data, 2)
    want_float(op, "data", data)
    return [TensorType(data.shape[:-1], data.dtype), TensorType((*data.shape[:-2], data.shape[-1]), data.dtype)]


def _match(attrs: Attrs, data: Array) -> tuple[Array, Array]:
    """Pairs of a row and a column, the best first, none twice; -1 for those without a partner."""
    rows = np.full(data.shape[:-1], -1, data.dtype)
    columns = np.full((*data.shape[:-2], data.shape[-1]), -1, data.dtype)
    width = data.shape[-1]
    scores = data.reshape(-1, data.shape[-2] * width)
    by_row, by_column = rows.reshape(-1, data.shape[-2]), columns.reshape(-1, width)
    for sample, own in enumerate(scores):
        order = np.argsort(own if attrs.is_ascend else -own, kind="stable")
        good = own[order] < attrs.threshold if attrs.is_ascend else own[order] > attrs.threshold
        left = attrs.topk if attrs.topk > 0 else len(own)
        for place in order[good]:
            row, column = divmod(int(place), width)
            if by_row[sample, row] < 0 and by_column[sample, column] < 0:
                by_row[sample, row], by_column[sample, column] = column, row
                left -= 1
                if not left:
                    break
    return rows, columns


register(
    Op(
        "bipartite_matching",
        _infer_matching,
        _match,
        ("data",),
        attrs=(Attr("threshold", "float"), Attr("is_ascend", "bool", False), Attr("topk", "int", -1)),
        outputs=2,
        mxnet=("_npx_bipartite_matching", "_contrib_bipartite_matching"),
    )
)
