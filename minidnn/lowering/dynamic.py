"""Quantization without calibration: the range of a tensor, or of each sample in it, is found when it is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.epilogue import quantized_type
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.quantization import calibrated_scale, count_batch_axes
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS, ExtremaSpec
from minidnn_kernels.scales import SCALES_ARGUMENTS, ScalesSpec

__all__ = ["lower_dynamic_quantize"]

_PART_ELEMENTS = 16 * 1024
_PART_ROWS = 1024


def lower_dynamic_quantize(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Three steps: extrema, part by part; the scales from them; the quantization. None if it is calibrated."""
    data = inputs[0]
    if calibrated_scale(node.attrs) is not None or data.array is not None or data.type.dtype != FLOAT32.dtype:
        return None
    count = count_batch_axes(node.attrs.batch_axes, data.type.ndim)
    # What has a range of its own lies together in memory.
    source = builder.as_layout(data, data.layout if count <= 1 else PLAIN)
    rows, size = math.prod(data.shape[:count]), math.prod(data.shape[count:])
    extrema = _add_extrema(builder, node.name, source, rows, size)
    scale, inverse = builder.new(types[1]), builder.new(TensorType((rows,), FLOAT32.dtype))
    _add_scales(builder, node, count > 0, (extrema, scale, inverse))
    result = builder.new(types[0], source.layout)
    _add_quantization(builder, node, (result, source, inverse), rows, size)
    return [result, scale]


def _add_extrema(builder: Builder, name: str, source: Value, rows: int, size: int) -> Value:
    """A step for minima and maxima, float32 [rows, chunks, 2]."""
    chunk = max(_PART_ELEMENTS, -(-rows * size // PARTS))
    chunks = -(-size // chunk)
    extrema = builder.new(TensorType((rows, chunks, 2), FLOAT32.dtype))
    row = EXTREMA_ARGUMENTS.fill(
        kernel=Kernel(ExtremaSpec()),
        source=builder.address(source),
        target=extrema.address,
        count=size,
        chunk=chunk,
        chunks=chunks,
        rows=rows,
    )
    parts = max(1, min(PARTS, rows * chunks, -(-rows * size // _PART_ELEMENTS)))
    cost = Cost(2 * rows * size, source.nbytes)
    builder.native(f"{name}_range", "extrema_loop", row, parts, cost)
    return extrema


def _add_scales(builder: Builder, node: Node, by_sample: bool, tensors: tuple[Value, Value, Value]) -> None:
    """A step for the scale of each row, and its inverse."""
    extrema, scale, inverse = tensors
    rows, chunks, _ = extrema.shape
    row = SCALES_ARGUMENTS.fill(
        kernel=Kernel(ScalesSpec(quantized_type(node.attrs.out_type).name, by_sample)),
        extrema=extrema.address,
        scales=scale.address,
        inverses=inverse.address,
        chunks=chunks,
        rows=rows,
    )
    parts = max(1, min(PARTS, rows * chunks // _PART_ROWS))
    cost = Cost(2 * rows * chunks, sum(t.nbytes for t in tensors))
    builder.native(f"{node.name}_scale", "scales_loop", row, parts, cost)


def _add_quantization(builder: Builder, node: Node, tensors: tuple[Value, Value, Value], rows: int, size: int) -> None:
    """A step that multiplies each row with its inverse scale and stores integers."""
    result, source, _ = tensors
    instructions = (Instruction("load", operand=1), Instruction("multiply", (0, 1)))
    stored, item = quantized_type(node.attrs.out_type), FLOAT32.bytes
    epilogue = Epilogue(instructions, ("tensor", "scalar"), stored.name)
    shape: tuple[int, ...] = (rows, size)
    strides: list[tuple[int, ...]] = [(size * stored.bytes, stored.bytes), (size * item, item), (item, 0)]
    if rows == 1:
        shape, strides = (size,), [(stored.bytes,), (item,), (0,)]
    cost = Cost(2 * rows * size, source.nbytes + result.nbytes)
    add_rows_step(builder, node.name, Kernel(ElementwiseSpec(epilogue)), tensors, shape, strides, cost)
