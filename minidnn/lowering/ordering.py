"""Sorting, searching, running sums and products, and ones at given places, along any axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import transposed
from minidnn.lowering.gather import can_move
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.elements import element_code
from minidnn_kernels.order import CUMULATE_ARGUMENTS, ONE_HOT_ARGUMENTS, SEARCH_ARGUMENTS, SORT_ARGUMENTS, SORT_WORDS

__all__ = ["lower_cumulative", "lower_one_hot", "lower_searchsorted", "lower_sort", "lower_topk"]

_PART_ELEMENTS = 4 * 1024
# Of a row that is sorted: each thread has scratch memory for one.
_MOST_SORTED = 1 << 22


def _parts(rows: int, elements: int) -> int:
    return max(1, min(PARTS, rows, elements // _PART_ELEMENTS))


def lower_sort(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``sort`` and ``argsort``."""
    is_places = node.op_name == "argsort"
    made = _sorted(builder, node, inputs[0], node.attrs.axis, None, node.attrs.descending, types, is_places)
    return None if made is None else made


def lower_topk(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``topk`` but for masks."""
    a, kind = node.attrs, node.attrs.ret_typ
    if kind == "mask":
        return None
    descending = not a.is_ascend
    if kind == "both":
        return _sorted(builder, node, inputs[0], a.axis, a.k or None, descending, types, None)
    return _sorted(builder, node, inputs[0], a.axis, a.k or None, descending, types, kind == "indices")


def _sorted(
    builder: Builder,
    node: Node,
    data: Value,
    axis: int | None,
    kept: int | None,
    descending: bool,
    types: Sequence[TensorType],
    places_only: bool | None,
) -> list[Value] | None:
    """Values, places, or where `places_only` is None both, of the first `kept` elements along an axis."""
    code = element_code(data.type.dtype)
    place_dtype = types[-1].dtype
    place_code = element_code(place_dtype)
    if data.array is not None or code is None or place_code is None:
        return None
    plain = builder.as_layout(data, PLAIN)
    if axis is None:
        plain, axis = Value(TensorType((data.type.size,), data.type.dtype), builder.address(plain)), 0
    axis %= plain.type.ndim
    count = plain.shape[axis]
    if count > _MOST_SORTED:
        return None
    order = [d for d in range(plain.type.ndim) if d != axis] + [axis]
    source = transposed(builder, plain, order)
    kept = count if kept is None else kept
    shape = (*source.shape[:-1], kept)
    rows, item = math.prod(source.shape[:-1]), data.type.dtype.itemsize
    values = builder.new(TensorType(shape, data.type.dtype)) if not places_only else None
    places = builder.new(TensorType(shape, place_dtype)) if places_only is not False else None
    row = SORT_ARGUMENTS.fill(
        source=builder.address(source),
        rows=rows,
        count=count,
        code=code,
        item=item,
        kept=kept,
        descending=int(descending),
        values=0 if values is None else values.address,
        places=0 if places is None else places.address,
        place_code=place_code,
        place_item=place_dtype.itemsize,
    )
    size = source.type.size
    cost = Cost(size * max(1, count.bit_length()), source.nbytes)
    scratch = SORT_WORDS * WORD_BYTES * count
    builder.native(node.name, "sort_loop", row, _parts(rows, size), cost, scratch=scratch)
    back = [order.index(d) for d in range(len(order))]
    return [transposed(builder, v, back) for v in (values, places) if v is not None]


def lower_searchsorted(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``searchsorted`` of elements of one type."""
    some, values = (builder.as_layout(v, PLAIN) for v in inputs)
    code = element_code(some.type.dtype)
    if code is None or values.type.dtype != some.type.dtype:
        return None
    result = builder.new(types[0])
    row = SEARCH_ARGUMENTS.fill(
        sorted=builder.address(some),
        count=some.type.size,
        values=builder.address(values),
        total=values.type.size,
        code=code,
        item=some.type.dtype.itemsize,
        right=int(node.attrs.side == "right"),
        target=result.address,
    )
    operations = values.type.size * max(1, some.type.size.bit_length())
    cost = Cost(operations, some.nbytes + values.nbytes + result.nbytes)
    builder.native(node.name, "search_loop", row, _parts(values.type.size, operations), cost)
    return [result]


def lower_cumulative(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``cumsum`` and ``cumprod``."""
    data, type, axis = inputs[0], types[0], node.attrs.axis
    codes = element_code(data.type.dtype), element_code(type.dtype)
    if data.array is not None or None in codes or (data.type.dtype.kind == "f" and type.dtype.kind != "f"):
        return None
    if type.dtype == np.bool_:
        return None
    source, result = builder.as_layout(data, PLAIN), builder.new(type)
    axis = 0 if axis is None else axis % type.ndim
    inner = math.prod(type.shape[axis + 1 :])
    outer = type.size // (inner * type.shape[axis])
    row = CUMULATE_ARGUMENTS.fill(
        source=builder.address(source),
        target=result.address,
        outer=outer,
        count=type.shape[axis],
        inner=inner,
        code=codes[0],
        item=data.type.dtype.itemsize,
        target_code=codes[1],
        target_item=type.dtype.itemsize,
        is_product=int(node.op_name == "cumprod"),
        is_single=int(type.dtype == np.float32),
    )
    cost = Cost(type.size, source.nbytes + result.nbytes)
    builder.native(node.name, "cumulate_loop", row, _parts(outer * inner, type.size), cost)
    return [result]


def lower_one_hot(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``one_hot``."""
    data, type = inputs[0], types[0]
    code = element_code(data.type.dtype)
    if data.array is not None or code is None or not can_move(type.dtype):
        return None
    source, result = builder.as_layout(data, PLAIN), builder.new(type)
    with np.errstate(all="ignore"):
        numbers = np.array([node.attrs.off_value, node.attrs.on_value]).astype(type.dtype)
    row = ONE_HOT_ARGUMENTS.fill(
        places=builder.address(source),
        code=code,
        place_item=data.type.dtype.itemsize,
        target=result.address,
        rows=data.type.size,
        depth=node.attrs.depth,
        item=type.dtype.itemsize,
        numbers=builder.table(numbers),
    )
    builder.native(node.name, "one_hot_loop", row, _parts(data.type.size, type.size), Cost(0, result.nbytes))
    return [result]
