"""The operators of single-shot detectors: anchors, what is learned of them, and detections (Liu et al., SSD, 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.boxes import greedy, pair_overlap
from minidnn.ops.checks import want_float, want_rank, want_shape
from minidnn.ops.composed import Operand, register_composed
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__: list[str] = []

Array = np.ndarray[Any, Any]
FLOAT = np.dtype(np.float32)


def _numbers(op: str, attrs: Attrs, name: str, count: int | None = None) -> tuple[float, ...]:
    value = attrs[name]
    value = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) and np.isfinite(n) for n in value):
        raise OpError(f"{op}: {name} must be numbers, got {value}")
    if count is not None and len(value) != count:
        raise OpError(f"{op}: {name} must have {count} numbers, got {value}")
    return value


def _want_anchors(op: str, t: TensorType) -> Any:
    want_rank(op, "anchor", t, 3, "(1, anchors, 4)")
    want_float(op, "anchor", t)
    want_shape(op, "anchor", t, (1, t.shape[1], 4))
    return t.shape[1]


# ---- anchors ------------------------------------------------------------------------------------------------


def _check_prior(attrs: Attrs) -> None:
    op = "multibox_prior"
    for name in ("sizes", "ratios"):
        if not _numbers(op, attrs, name) or min(_numbers(op, attrs, name)) <= 0:
            raise OpError(f"{op}: {name} must be positive numbers, got {attrs[name]}")
    for name in ("steps", "offsets"):
        _numbers(op, attrs, name, 2)


def _infer_prior(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "multibox_prior", types[0]
    want_rank(op, "data", data, 4, "(N, C, H, W)")
    want_float(op, "data", data)
    each = len(_numbers(op, attrs, "sizes")) + len(_numbers(op, attrs, "ratios")) - 1
    return [TensorType((1, data.shape[2] * data.shape[3] * each, 4), data.dtype)]


def _prior(attrs: Attrs, data: Array) -> Array:
    """At each pixel a box of every size with the first ratio, then of the first size with every other ratio."""
    height, width = data.shape[2:]
    sizes, ratios = _numbers("", attrs, "sizes"), np.sqrt(_numbers("", attrs, "ratios"))
    shapes = [(s * ratios[0], s / ratios[0]) for s in sizes] + [(sizes[0] * r, sizes[0] / r) for r in ratios[1:]]
    half = np.array([(w * height / max(width, 1) / 2, h / 2) for w, h in shapes])
    steps = [step if step > 0 else 1 / max(n, 1) for step, n in zip(attrs.steps, (height, width), strict=True)]
    y = (np.arange(height) + attrs.offsets[0]) * steps[0]
    x = (np.arange(width) + attrs.offsets[1]) * steps[1]
    middle = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1)[:, :, None]
    boxes = np.concatenate([middle - half, middle + half], -1).reshape(1, -1, 4)
    return np.asarray(np.clip(boxes, 0, 1) if attrs.clip else boxes)


register(
    Op(
        "multibox_prior",
        _infer_prior,
        _prior,
        ("data",),
        attrs=(
            Attr("sizes", "tree", (1.0,)),
            Attr("ratios", "tree", (1.0,)),
            Attr("clip", "bool", False),
            Attr("steps", "tree", (-1.0, -1.0)),
            Attr("offsets", "tree", (0.5, 0.5)),
        ),
        check=_check_prior,
        mxnet=("_npx_multibox_prior", "_contrib_MultiBoxPrior"),
    )
)


# ---- targets ------------------------------------------------------------------------------------------------

_VARIANCES = Attr("variances", "tree", (0.1, 0.1, 0.2, 0.2))


def _check_variances(op: str) -> Any:
    def check(attrs: Attrs) -> None:
        if not all(v > 0 for v in _numbers(op, attrs, "variances", 4)):
            raise OpError(f"{op}: variances must be positive, got {attrs.variances}")

    return check


def _infer_target(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (anchor, label, scores) = "multibox_target", types
    count = _want_anchors(op, anchor)
    want_rank(op, "label", label, 3, "(N, objects, class and box)")
    want_float(op, "label", label)
    if label.shape[2] < 5:
        raise OpError(f"{op}: label must have a class and four corners in each row, got {label}")
    want_rank(op, "cls_pred", scores, 3, "(N, classes, anchors)")
    want_float(op, "cls_pred", scores)
    batch = label.shape[0]
    want_shape(op, "cls_pred", scores, (batch, scores.shape[1], count), "a number for each anchor")
    box = TensorType((batch, 4 * count), anchor.dtype)
    return [box, box, TensorType((batch, count), anchor.dtype)]


def _target(attrs: Attrs, anchor: Array, label: Array, scores: Array) -> tuple[Array, Array, Array]:
    anchors = anchor[0].astype(np.float64)
    batch, count = label.shape[0], len(anchors)
    boxes = np.zeros((batch, count, 4), anchor.dtype)
    mask = np.zeros((batch, count, 4), anchor.dtype)
    kinds = np.full((batch, count), attrs.ignore_label, anchor.dtype)
    for sample, own in enumerate(label):
        ends = np.flatnonzero(own[:, 0] == -1)
        objects = own[: ends[0] if ends.size else len(own)].astype(np.float64)
        if not len(objects) or not count:
            continue
        overlaps = np.nan_to_num(np.stack([pair_overlap(o[1:5], anchors) for o in objects], 1))
        matched, best = _matched(attrs, overlaps)
        positive = matched >= 0
        negative = _negatives(attrs, positive, best, scores[sample])
        kinds[sample, negative] = 0
        kinds[sample, positive] = objects[matched[positive], 0] + 1
        mask[sample, positive] = 1
        boxes[sample, positive] = _encoded(anchors[positive], objects[matched[positive], 1:5], attrs.variances)
    return boxes.reshape(batch, -1), mask.reshape(batch, -1), kinds


def _matched(attrs: Attrs, overlaps: Array) -> tuple[Array, Array]:
    """The object of each anchor, -1 for none, and the largest overlap of each.

    Every object gets the anchor that it overlaps most, the best pair first; then every anchor that overlaps an object
    by more than the threshold gets that object.
    """
    matched = np.full(len(overlaps), -1)
    left = overlaps.copy()
    for _ in range(overlaps.shape[1]):
        place, object_ = divmod(int(left.argmax()), overlaps.shape[1])
        if not left[place, object_] > 1e-6:
            break
        matched[place] = object_
        left[place], left[:, object_] = -1, -1
    best = overlaps.max(1)
    if attrs.overlap_threshold > 0:
        more = (matched < 0) & (best > attrs.overlap_threshold)
        matched[more] = overlaps[more].argmax(1)
    return matched, best


def _negatives(attrs: Attrs, positive: Array, best: Array, scores: Array) -> Array:
    """Which anchors are learned to be background: all others, or those that are most wrong about it."""
    if attrs.negative_mining_ratio <= 0:
        return ~positive
    wanted = max(int(positive.sum() * attrs.negative_mining_ratio), attrs.minimum_negative_samples)
    possible = np.flatnonzero(~positive & (best < attrs.negative_mining_thresh))
    logits = scores[:, possible].astype(np.float64)
    background = np.exp(logits[0] - logits.max(0)) / np.exp(logits - logits.max(0)).sum(0)
    chosen = np.zeros_like(positive)
    chosen[possible[np.argsort(background, kind="stable")[:wanted]]] = True
    return chosen


def _encoded(anchors: Array, boxes: Array, variances: Sequence[float]) -> Array:
    size, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    moved = ((boxes[:, :2] + boxes[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / size
    return np.asarray(np.concatenate([moved, np.log(wanted / size)], 1) / np.array(variances))


register(
    Op(
        "multibox_target",
        _infer_target,
        _target,
        ("anchor", "label", "cls_pred"),
        attrs=(
            Attr("overlap_threshold", "float", 0.5),
            Attr("ignore_label", "float", -1.0),
            Attr("negative_mining_ratio", "float", -1.0),
            Attr("negative_mining_thresh", "float", 0.5),
            Attr("minimum_negative_samples", "int", 0, low=0),
            _VARIANCES,
        ),
        outputs=3,
        check=_check_variances("multibox_target"),
        mxnet=("_npx_multibox_target", "_contrib_MultiBoxTarget"),
    )
)


# ---- detections ---------------------------------------------------------------------------------------------


def _infer_detection(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (scores, moves, anchor) = "multibox_detection", types
    count = _want_anchors(op, anchor)
    want_rank(op, "cls_prob", scores, 3, "(N, classes, anchors)")
    want_float(op, "cls_prob", scores)
    want_float(op, "loc_pred", moves)
    want_shape(op, "cls_prob", scores, (*scores.shape[:2], count), "a number for each anchor")
    want_shape(op, "loc_pred", moves, (scores.shape[0], 4 * count), "four numbers for each anchor")
    if scores.shape[1] < 2:
        raise OpError(f"{op}: cls_prob must have the background and at least one class, got {scores}")
    return [TensorType((scores.shape[0], count, 6), scores.dtype)]


def _mark_overlaps(attrs: Attrs, data: Array) -> Array:
    """Rows by falling score, as far as that is large enough; class -1 where a box overlaps a better one too much.

    Rows behind the last one are -1 altogether.
    """
    result = np.full(data.shape, -1, data.dtype)
    for own, rows in zip(data, result, strict=True):
        order = np.argsort(-own[:, 1], kind="stable")
        order = order[own[order, 1] >= attrs.threshold]
        found = own[order]
        if 0 < attrs.nms_threshold <= 1:
            top = min(attrs.nms_topk, len(order)) if attrs.nms_topk > 0 else len(order)
            wide = found[:top].astype(np.promote_types(data.dtype, np.float32), copy=False)
            kept = np.zeros(len(order), np.bool_)
            kept[:top] = greedy(wide[:, 2:], None if attrs.force_suppress else wide[:, 0], attrs.nms_threshold, True)
            found[~kept, 0] = -1
        rows[: len(order)] = found
    return result


def _infer_mark_overlaps(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "mark_overlaps", types[0]
    want_float(op, "data", data)
    want_rank(op, "data", data, 3, "(N, boxes, class and score and corners)")
    want_shape(op, "data", data, (*data.shape[:2], 6), "class, score and four corners in a row")
    return [data]


_THRESHOLD, _NMS_THRESHOLD = Attr("threshold", "float", 0.01), Attr("nms_threshold", "float", 0.5)
_FORCE_SUPPRESS, _NMS_TOPK = Attr("force_suppress", "bool", False), Attr("nms_topk", "int", -1)
_MARKS = (_THRESHOLD, _NMS_THRESHOLD, _FORCE_SUPPRESS, _NMS_TOPK)

register(Op("mark_overlaps", _infer_mark_overlaps, _mark_overlaps, ("data",), attrs=_MARKS))


def _detection(attrs: Attrs, scores: Operand, moves: Operand, anchor: Operand) -> Operand:
    """Class, score and corners of each anchor that is no background, as ``mark_overlaps`` gives them."""
    _infer_detection(attrs, [scores.type, moves.type, anchor.type])
    batch, kinds, count = scores.shape
    if attrs.background_id >= 0:
        rest = [
            scores.cut(1, begin, end)
            for begin, end in ((0, attrs.background_id), (attrs.background_id + 1, kinds))
            if begin < min(end, kinds)
        ]
        scores = rest[0] if len(rest) == 1 else rest[0].join(rest[1], axis=1)
    kind = scores.apply("argmax", axis=1).cast(scores.type.dtype).reshape(batch, count, 1)
    score = scores.apply("max", axis=(1,)).reshape(batch, count, 1)
    dtype = np.promote_types(anchor.type.dtype, np.float32)
    sides = [anchor.cast(dtype).cut(2, i, i + 1) for i in range(4)]
    given = [
        moves.cast(dtype).reshape(batch, count, 4).cut(2, i, i + 1) * float(dtype.type(v))
        for i, v in enumerate(attrs.variances)
    ]
    low, high = [], []
    for d in range(2):
        size = sides[d + 2] - sides[d]
        middle = given[d] * size + (sides[d] + sides[d + 2]) / 2
        half = given[d + 2].apply("exp") * size / 2
        low.append(middle - half)
        high.append(middle + half)
    corners = low[0].join(low[1], *high, axis=2)
    if attrs.clip:
        corners = corners.apply("clip", a_min=0, a_max=1)
    rows = kind.join(score, corners.cast(scores.type.dtype), axis=2)
    return rows.apply("mark_overlaps", **{a.name: attrs[a.name] for a in _MARKS})


register_composed(
    "multibox_detection",
    _detection,
    ("cls_prob", "loc_pred", "anchor"),
    (
        Attr("clip", "bool", True),
        _THRESHOLD,
        Attr("background_id", "int", 0, low=-1),
        _NMS_THRESHOLD,
        _FORCE_SUPPRESS,
        _VARIANCES,
        _NMS_TOPK,
    ),
    check=_check_variances("multibox_detection"),
    mxnet=("_npx_multibox_detection", "_contrib_MultiBoxDetection"),
)
