"""Pictures read at positions that a network computes: grids, regions, deformed convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Node
from minidnn.lowering.anchor import Anchor
from minidnn.lowering.builder import Builder
from minidnn.lowering.matmul import lower_convolution
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.ops.registry import TensorType, get_op
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.blend import TAP, BlendSpec
from minidnn_kernels.elements import element_code
from minidnn_kernels.sampling import (
    DEFORM_ARGUMENTS,
    GRID_ARGUMENTS,
    GRID_MODES,
    GRID_PADDINGS,
    REGION_ARGUMENTS,
    REGION_STATUS,
    SPATIAL,
)

__all__ = ["lower_deformable_sampling", "lower_grid_sample", "lower_max_roi_pool", "lower_roi_align"]

_FLOAT, _INDEX = np.dtype(np.float32), np.dtype(np.int64)
_PART_ELEMENTS = 4 * 1024


def _elements(builder: Builder, data: Value, result: Value) -> tuple[Value, dict[str, Any]] | None:
    """The picture with its channels innermost, and what is the same in all rows of arguments."""
    dtype = data.type.dtype
    if dtype.name not in ("float32", "float64") or data.array is not None:
        return None
    source = builder.as_layout(data, CHANNELS_LAST)
    return source, {
        "kernel": Kernel(BlendSpec(dtype.name)),
        "source": builder.address(source),
        "target": result.address,
        "code": element_code(dtype),
        "item": dtype.itemsize,
        "batch": data.shape[0],
        "channels": data.shape[1],
    }


def _parts(rows: int, elements: int) -> int:
    return max(1, min(PARTS, rows, elements // _PART_ELEMENTS))


def lower_grid_sample(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``grid_sample``: the channels of each position together."""
    data, grid = inputs[0], builder.as_layout(inputs[1], PLAIN)
    result = builder.new(types[0], CHANNELS_LAST)
    described = _elements(builder, data, result)
    if described is None:
        return None
    source, elements = described
    rank, a = data.type.ndim - 2, node.attrs
    positions = math.prod(types[0].shape[2:])
    row = GRID_ARGUMENTS.fill(
        **elements,
        shape=[*(1,) * (SPATIAL - rank), *data.shape[2:]],
        rank=rank,
        grid=builder.address(grid),
        positions=positions,
        mode=GRID_MODES.index(a.mode),
        padding=GRID_PADDINGS.index(a.padding),
        align=int(a.align_corners),
    )
    taps = {"nearest": 1, "linear": 2, "cubic": 4}[a.mode] ** rank
    cost = Cost(2 * taps * result.type.size, source.nbytes + grid.nbytes + result.nbytes)
    rows = data.shape[0] * positions
    builder.native(node.name, "grid_sample_loop", row, _parts(rows, result.type.size), cost)
    return [result]


# ---- regions ---------------------------------------------------------------------------------------------


def _add_regions(
    builder: Builder, node: Node, data: Value, type: TensorType, loop: str, refuse: Callable[[Array], None], **more: Any
) -> list[Value] | None:
    result = builder.new(type, CHANNELS_LAST)
    described = _elements(builder, data, result)
    if described is None:
        return None
    source, elements = described
    height, width = data.shape[2:]
    parts = _parts(type.shape[0], type.size)
    status = builder.new(TensorType((parts, REGION_STATUS.words), _INDEX))
    row = REGION_ARGUMENTS.fill(
        **elements,
        **more,
        height=height,
        width=width,
        regions=type.shape[0],
        rows=type.shape[2],
        columns=type.shape[3],
        scale=int(np.float64(node.attrs.scale).view(np.int64)),
        status=status.address,
    )
    scratch = (height + width + 4) * TAP.words * WORD_BYTES
    cost = Cost(2 * type.size, source.nbytes + result.nbytes)
    builder.native(node.name, loop, row, parts, cost, scratch)
    builder.check(status, refuse)
    return [result]


def _met(words: Array) -> tuple[int, int, int, Array]:
    """The least and the greatest picture, the first region that cannot be pooled, or -1, and its numbers."""
    at = REGION_STATUS.position
    least, most = int(words[:, at("least")].min()), int(words[:, at("most")].max())
    (bad,) = np.nonzero(words[:, at("region")] >= 0)
    first = words[bad[0]] if len(bad) else words[0]
    roi = np.ascontiguousarray(first[at("roi") : at("roi") + 4]).view(np.float64)
    return least, most, int(first[at("region")]), roi


def lower_roi_align(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``roi_align``."""
    data, rois, samples = inputs[0], builder.as_layout(inputs[1], PLAIN), builder.as_layout(inputs[2], PLAIN)
    item, batch = rois.type.dtype.itemsize, data.shape[0]

    def refuse(words: Array) -> None:
        least, most, region, roi = _met(words)
        if least < 0 or most >= batch:
            raise OpError(f"roi_align: batch_indices must lie in [0, {batch}), got {least}..{most}")
        if region >= 0:
            raise OpError(f"roi_align: region {region} is too large: {roi}")

    return _add_regions(
        builder,
        node,
        data,
        types[0],
        "roi_align_loop",
        refuse,
        rois=builder.address(rois),
        roi_pitch=4 * item,
        samples=builder.address(samples),
        sample_code=element_code(samples.type.dtype),
        sample_pitch=samples.type.dtype.itemsize,
        points=node.attrs.samples,
        is_max=int(node.attrs.mode == "max"),
        aligned=int(node.attrs.aligned),
    )


def lower_max_roi_pool(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``max_roi_pool``: the first number of a region is its picture."""
    data, rois = inputs[0], builder.as_layout(inputs[1], PLAIN)
    item, batch = rois.type.dtype.itemsize, data.shape[0]

    def refuse(words: Array) -> None:
        least, most, region, roi = _met(words)
        if least < 0 or most >= batch:
            sample = least if least < 0 else most
            raise OpError(f"max_roi_pool: a region is of sample {sample}, data has {batch}")
        if region >= 0:
            raise OpError(f"max_roi_pool: region {region} has no finite corners: {roi}")

    return _add_regions(
        builder,
        node,
        data,
        types[0],
        "max_roi_pool_loop",
        refuse,
        rois=builder.address(rois) + item,
        roi_pitch=5 * item,
        samples=builder.address(rois),
        sample_code=element_code(rois.type.dtype),
        sample_pitch=5 * item,
        points=0,
        is_max=1,
        aligned=0,
    )


# ---- deformed convolutions -------------------------------------------------------------------------------


def lower_deformable_sampling(builder: Builder, anchor: Anchor) -> Value | None:
    """``deformable_sampling``: what each tap reads, side by side, and a product with the weights."""
    data, weight = anchor.inputs[:2]
    offset, *mask = (builder.as_layout(v, PLAIN) for v in anchor.inputs[2:])
    if data.type.dtype != _FLOAT or weight.array is None:
        return None
    a, (batch, channels, height, width) = anchor.attrs, data.shape
    filters, each, *kernel = weight.shape
    taps, (rows, columns) = math.prod(kernel), anchor.type.shape[2:]
    sampled = builder.new(TensorType((batch, channels * taps, rows, columns), _FLOAT), CHANNELS_LAST)
    described = _elements(builder, data, sampled)
    if described is None:
        return None
    source, elements = described
    row = DEFORM_ARGUMENTS.fill(
        **elements,
        height=height,
        width=width,
        offsets=builder.address(offset),
        factors=builder.address(mask[0]) if mask else 0,
        rows=rows,
        columns=columns,
        kernel_height=kernel[0],
        kernel_width=kernel[1],
        stride=list(a.stride),
        dilate=list(a.dilate),
        pad=[a.pad[0], a.pad[2]],
        groups=a.num_group,
        offset_groups=a.offset_group,
        piece=math.gcd(each, channels // a.offset_group),
    )
    cost = Cost(8 * sampled.type.size, source.nbytes + offset.nbytes + sampled.nbytes)
    positions = batch * rows * columns
    builder.native(
        f"{anchor.name}_samples", "deform_loop", row, _parts(positions, sampled.type.size), cost, 0, sampled.type
    )
    array = weight.array
    matrix = builder.share(
        "taps first",
        [array],
        lambda: np.ascontiguousarray(array.transpose(0, 2, 3, 1).reshape(filters, taps * each, 1, 1)),
    )
    attrs = get_op("convolution").make_attrs(
        {"kernel": (1, 1), "num_filter": filters, "num_group": a.num_group, "no_bias": True}
    )
    return lower_convolution(builder, replace(anchor, attrs=attrs, inputs=(sampled, builder.parameter(matrix))))
