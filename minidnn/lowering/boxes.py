"""Boxes by falling score, without those that overlap a better one; and pairs of boxes that match best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.boxes import (
    BOX_ROWS_ARGUMENTS,
    BOX_WORDS,
    MATCH_ARGUMENTS,
    SUPPRESSED_ARGUMENTS,
    SUPPRESSION_ARGUMENTS,
)
from minidnn_kernels.elements import element_code
from minidnn_kernels.order import SORT_WORDS

__all__ = ["lower_bipartite_matching", "lower_box_nms", "lower_mark_overlaps", "lower_non_max_suppression"]

_FLOATS = ("float32", "float64")
_INDEX = np.dtype(np.int64)
# Of a sample that is looked at, or of its pairs: each thread has scratch memory for one.
_MOST_BOXES = 1 << 20
# Operations that a box costs, for the profiler: it is compared with some others.
_BOX_OPERATIONS = 500


def _number(value: float, dtype: np.dtype[Any]) -> int:
    """A float64 in a word, rounded to the type of what it is compared with."""
    return int(np.float64(dtype.type(value)).view(np.int64))


def _add_box_rows(builder: Builder, node: Node, data: Value, **more: int) -> list[Value] | None:
    dtype, (count, width) = data.type.dtype, data.shape[-2:]
    if dtype.name not in _FLOATS or data.array is not None or count > _MOST_BOXES:
        return None
    source, result = builder.as_layout(data, PLAIN), builder.new(data.type)
    batch = data.type.size // (count * width)
    row = BOX_ROWS_ARGUMENTS.fill(
        source=builder.address(source),
        target=result.address,
        batch=batch,
        count=count,
        width=width,
        code=element_code(dtype),
        item=dtype.itemsize,
        **more,
    )
    cost = Cost(_BOX_OPERATIONS * batch * count, 2 * source.nbytes)
    scratch = BOX_WORDS * WORD_BYTES * count
    builder.native(node.name, "box_rows_loop", row, min(batch, PARTS), cost, scratch)
    return [result]


def lower_box_nms(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``box_nms``."""
    a, data = node.attrs, inputs[0]
    dtype = data.type.dtype
    return _add_box_rows(
        builder,
        node,
        data,
        box=a.coord_start,
        score=a.score_index,
        kind=a.id_index,
        background=a.background_id,
        most=a.topk if a.topk > 0 else data.shape[-2],
        all_kinds=int(a.force_suppress),
        source_center=int(a.in_format == "center"),
        target_center=int(a.out_format == "center"),
        overlap=_number(a.overlap_thresh, dtype),
        valid=_number(a.valid_thresh, dtype),
        closed=0,
        marks=0,
    )


def lower_mark_overlaps(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``mark_overlaps``: classes, scores and corners."""
    a, data = node.attrs, inputs[0]
    dtype, is_limited = data.type.dtype, 0 < a.nms_threshold <= 1
    return _add_box_rows(
        builder,
        node,
        data,
        box=2,
        score=1,
        kind=0,
        background=-1,
        most=a.nms_topk if a.nms_topk > 0 and is_limited else data.shape[-2],
        all_kinds=int(a.force_suppress),
        source_center=0,
        target_center=0,
        overlap=_number(a.nms_threshold if is_limited else math.inf, dtype),
        valid=_number(a.threshold, dtype),
        closed=1,
        marks=1,
    )


def lower_non_max_suppression(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``non_max_suppression``: the boxes of each sample and class, then all of them one after the other."""
    boxes, scores = (builder.as_layout(v, PLAIN) for v in inputs)
    samples, kinds, count = scores.shape
    if boxes.type.dtype.name not in _FLOATS or scores.type.dtype.name not in _FLOATS or count > _MOST_BOXES:
        return None
    a, pairs, most = node.attrs, samples * kinds, types[0].shape[0] // (samples * kinds)
    kept, counts = builder.new(TensorType((pairs, most), _INDEX)), builder.new(TensorType((pairs,), _INDEX))
    rows, total = (builder.new(t) for t in types)
    row = SUPPRESSION_ARGUMENTS.fill(
        boxes=builder.address(boxes),
        box_code=element_code(boxes.type.dtype),
        box_item=boxes.type.dtype.itemsize,
        scores=builder.address(scores),
        score_code=element_code(scores.type.dtype),
        score_item=scores.type.dtype.itemsize,
        samples=samples,
        kinds=kinds,
        count=count,
        most=most,
        center=int(a.center_point),
        overlap=_number(a.iou_threshold, np.dtype(np.float64)),
        has_valid=int(a.score_threshold is not None),
        valid=_number(a.score_threshold or 0.0, scores.type.dtype),
        kept=kept.address,
        counts=counts.address,
    )
    cost = Cost(_BOX_OPERATIONS * scores.type.size, boxes.nbytes + scores.nbytes)
    scratch = BOX_WORDS * WORD_BYTES * count
    builder.native(node.name, "suppression_loop", row, min(pairs, PARTS), cost, scratch)
    row = SUPPRESSED_ARGUMENTS.fill(
        kept=kept.address,
        counts=counts.address,
        samples=samples,
        kinds=kinds,
        most=most,
        rows=rows.address,
        total=total.address,
    )
    builder.native(node.name, "suppressed_loop", row, 1, Cost(0, rows.nbytes))
    return [rows, total]


def lower_bipartite_matching(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``bipartite_matching``."""
    a, data = node.attrs, inputs[0]
    dtype, (rows, columns) = data.type.dtype, data.shape[-2:]
    if dtype.name not in _FLOATS or data.array is not None or rows * columns > _MOST_BOXES:
        return None
    source, results = builder.as_layout(data, PLAIN), [builder.new(t) for t in types]
    batch = data.type.size // (rows * columns)
    row = MATCH_ARGUMENTS.fill(
        scores=builder.address(source),
        batch=batch,
        rows=rows,
        columns=columns,
        code=element_code(dtype),
        item=dtype.itemsize,
        ascending=int(a.is_ascend),
        threshold=_number(a.threshold, dtype),
        most=a.topk if a.topk > 0 else rows * columns,
        by_row=results[0].address,
        by_column=results[1].address,
    )
    cost = Cost(_BOX_OPERATIONS * data.type.size, source.nbytes + sum(v.nbytes for v in results))
    scratch = SORT_WORDS * WORD_BYTES * rows * columns
    builder.native(node.name, "match_loop", row, min(batch, PARTS), cost, scratch)
    return results
