"""3x3 convolutions of stride 1 by Winograd's algorithm, where that is faster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from minidnn.lowering.anchor import Anchor, Weights, arguments_row, make_tail, tail_bytes, tail_context
from minidnn.lowering.builder import Builder
from minidnn.lowering.geometry import Window, tap_pixels
from minidnn.lowering.matmul_step import Panels, Shape, add_matmul_step
from minidnn.lowering.tail import Tail, dtype_name
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Array, Value
from minidnn.lowering.winograd_plan import WinogradPlan, make_plan
from minidnn.ops.registry import TensorType
from minidnn.runtime.program import Argument, Cost, Kernel
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_integer_panels, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.winograd import (
    InputTransform,
    OutputTransform,
    Scheme,
    WinogradArguments,
    fits_int32,
    schemes_for,
    start_of_sums,
)

__all__ = ["lower_winograd"]

# The ends of a type.
_ENDS = {"u8": (0, 255), "s8": (-128, 127)}


def lower_winograd(builder: Builder, anchor: Anchor, weights: Weights, window: Window) -> Value | None:
    """The convolution and its tail; None if the direct way is faster, or the tail is not for a kernel.

    Weights are those of a convolution with their bias, which int8 adds to the sums and float32 in the tail.
    ``MINIDNN_WINOGRAD=0`` switches it off.
    """
    slides = window.kernel == (3, 3) and window.stride == window.dilate == (1, 1) and anchor.attrs.num_group == 1
    if not slides or os.environ.get("MINIDNN_WINOGRAD") == "0":
        return None
    data = anchor.inputs[0]
    dtype = dtype_name(data.type.dtype)
    assert weights.matrix is not None and dtype is not None
    _, _, channels, filters = weights.matrix.shape
    kernels = weights.matrix[0].reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)
    schemes = _exact_schemes(builder.isa, kernels, weights.bias, dtype)
    plan = make_plan(schemes, builder.isa, data.shape[0], channels, filters, window)
    if plan is None:
        return None
    behind = replace(weights, bias=None) if plan.scheme.integer else weights
    tail = make_tail(builder, anchor, behind, CHANNELS_LAST, 1)
    if tail is None:
        return None
    panels = _pack(builder, plan, kernels, weights.bias)
    return _Steps(builder, anchor, plan, tail, panels, window).add()


def _exact_schemes(isa: Isa, kernels: Array, bias: Array | None, dtype: str) -> tuple[Scheme, ...]:
    """Those for the type; for integers those that are exact with these numbers."""
    schemes = schemes_for(isa, dtype)
    if dtype == "f32":
        return schemes
    # The transform takes two vectors of channels at a time.
    if bias is None or kernels.shape[1] < 2 * isa.lanes:
        return ()
    return tuple(scheme for scheme in schemes if fits_int32(scheme, kernels, bias, _ENDS[dtype]))


def _pack(builder: Builder, plan: WinogradPlan, kernels: Array, bias: Array | None) -> Panels:
    """The transformed weights, an image of panels for each product."""
    lanes, scheme = builder.isa.lanes, plan.scheme
    transformed, width = scheme.transform_weights(kernels)[:, None], plan.tiling.vectors * lanes
    if scheme.integer:
        assert bias is not None
        packed, _ = pack_integer_panels(transformed, start_of_sums(scheme, bias), width, plan.dot, lanes)
    else:
        packed = pack_panels(transformed, width)
    count = packed.shape[1]
    pitch = packed.nbytes // (scheme.products * count)
    return Panels(builder.constant(packed), count, pitch, 0, count * pitch, plan.steps)


@dataclass(frozen=True)
class _Steps:
    """What the steps of a plan are made of."""

    builder: Builder
    anchor: Anchor
    plan: WinogradPlan
    tail: Tail
    panels: Panels
    window: Window

    def add(self) -> Value:
        """Add them; what they give."""
        builder, anchor, plan, window = self.builder, self.anchor, self.plan, self.window
        images, channels = anchor.inputs[0].shape[:2]
        filters = anchor.type.shape[1]
        source = builder.as_layout(anchor.inputs[0], CHANNELS_LAST)
        result = builder.new(anchor.result, CHANNELS_LAST)
        context = tail_context(builder, self.tail, result, filters)
        input_table, output_table = _tables(plan.scheme, window)
        pixel_pitch = channels * source.type.dtype.itemsize
        dtype = dtype_name(source.type.dtype)
        assert dtype is not None
        names: dict[str, Argument] = {
            "INPUT_KERNEL": Kernel(InputTransform(plan.scheme, dtype)),
            "OUTPUT_KERNEL": Kernel(OutputTransform(plan.scheme, self.tail.epilogue)),
            "SOURCE": builder.address(source),
            "ZEROS": builder.zeros(channels),
            "IMAGE_PITCH": window.input[0] * window.input[1] * pixel_pitch,
            "PIXEL_PITCH": pixel_pitch,
            "INPUT_TABLE": builder.constant(input_table),
            "OUTPUT_TABLE": builder.constant(output_table),
            "PRODUCTS": plan.scheme.products,
            "BLOCK_PIXELS": plan.scheme.output**2,
            "BLOCKS": plan.blocks,
            "PART_BLOCKS": plan.part_blocks,
            "IMAGE_PARTS": plan.image_parts,
            "CHANNELS": channels,
            "FILTERS": filters,
            "ROW_PITCH": plan.row_bytes,
            "PIXELS": window.pixels,
        }
        # What the convolution is worth, not what this algorithm does: shares of the peak may exceed one.
        operations = 2 * images * window.pixels * window.taps * channels * filters
        weight_bytes = plan.scheme.products * self.panels.image_pitch
        moved = source.nbytes + weight_bytes + tail_bytes(self.tail, result)
        add = self._add_stages if plan.staged else self._add_one
        add(names, context, images * plan.image_parts, Cost(operations, moved))
        return result

    def _add_one(self, names: dict[str, Argument], context: Sequence[Argument], parts: int, cost: Cost) -> None:
        """One step for everything."""
        plan, filters = self.plan, self.anchor.type.shape[1]
        width = plan.tiling.vectors * self.builder.isa.lanes
        data = "s16" if plan.scheme.integer else "f32"
        tile = TileSpec(plan.tiling.rows, plan.tiling.vectors, self._sums_as_they_are(), data=data)
        names |= {
            "TILE": Kernel(tile),
            "TAIL_TILE": Kernel(replace(tile, masked=filters % width != 0)),
            "STEPS": plan.steps,
            "WEIGHTS": self.panels.address,
            "PANEL_PITCH": self.panels.pitch,
            "ROWS": plan.tiling.rows,
            "COLUMNS": width,
        }
        scratch = plan.scheme.products * plan.part_blocks * (plan.row_bytes + filters * 4)
        row = arguments_row(WinogradArguments(), names, context)
        self.builder.native(self.anchor.name, "winograd_loop", row, parts, cost, scratch)

    def _add_stages(self, names: dict[str, Argument], context: Sequence[Argument], parts: int, cost: Cost) -> None:
        """A step for each transform, and one for the products between them."""
        builder, plan, anchor = self.builder, self.plan, self.anchor
        scheme, filters = plan.scheme, anchor.type.shape[1]
        rows, depth = anchor.type.shape[0] * plan.blocks, plan.row_bytes // scheme.itemsize
        made = builder.new(TensorType((scheme.products, rows, depth), np.dtype(scheme.element)))
        row = arguments_row(WinogradArguments(), {**names, "TRANSFORMED": made.address}, context)
        builder.native(anchor.name, "winograd_input_loop", row, parts, Cost(0, made.nbytes))

        sums_type = TensorType((scheme.products, rows, filters), np.dtype(np.int32 if scheme.integer else np.float32))
        product = Anchor(anchor.name, anchor.attrs, (made,), sums_type, sums_type)
        window = Window((rows,), (rows,), (1,), (1,), (1,), (0,))
        shape = Shape(scheme.products, 1, 1, depth, filters, depth)
        tail = Tail(self._sums_as_they_are(), ())
        sums = add_matmul_step(
            builder, product, tail, plan.tiling, made, self.panels, window, shape, PLAIN, cost=cost
        )
        row = arguments_row(WinogradArguments(), {**names, "SUMS": sums.address}, context)
        builder.native(anchor.name, "winograd_output_loop", row, parts, Cost(0, sums.nbytes))

    def _sums_as_they_are(self) -> Epilogue:
        return Epilogue(output="s32" if self.plan.scheme.integer else "f32")


@lru_cache(maxsize=64)
def _tables(scheme: Scheme, window: Window) -> tuple[Array, Array]:
    """Input pixels int32 [blocks, products], -1 in the padding; output pixels [blocks, pixels], -1 beyond the edge."""
    edge, size = (scheme.output,) * 2, (scheme.input,) * 2
    high, wide = (-(-n // scheme.output) for n in window.output)
    inputs = replace(window, output=(high, wide), kernel=size, stride=edge)
    outputs = Window(window.output, (high, wide), edge, edge, (1, 1), (0, 0))
    return tap_pixels(inputs), np.ascontiguousarray(tap_pixels(outputs))
