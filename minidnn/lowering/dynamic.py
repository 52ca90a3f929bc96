"""Quantization without calibration: the range of a tensor, or of each sample in it, is found when it is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.epilogue import EpilogueBuilder, quantized_type
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.quantization import calibrated_scale, count_batch_axes
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.element_type import FLOAT32, UINT8
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS, ExtremaSpec
from minidnn_kernels.rows import EXTRA, ROWS_ARGUMENTS, RowSpec
from minidnn_kernels.scales import SCALES_ARGUMENTS, ScalesSpec

__all__ = ["lower_dynamic_quantize", "lower_dynamic_quantize_linear"]

_PART_ELEMENTS = 16 * 1024
_PART_ROWS = 1024


def lower_dynamic_quantize(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """The range of each row, and integers by it. None if the range is calibrated.

    Rows that are short take one step. Others take three: extrema, part by part; the scales from them; the quantization.
    """
    data = inputs[0]
    if calibrated_scale(node.attrs) is not None or data.array is not None or data.type.dtype != FLOAT32.dtype:
        return None
    count = count_batch_axes(node.attrs.batch_axes, data.type.ndim)
    # What has a range of its own lies together in memory.
    source = builder.as_layout(data, data.layout if count <= 1 else PLAIN)
    rows, size = math.prod(data.shape[:count]), math.prod(data.shape[count:])
    if count > 0 and size <= _PART_ELEMENTS:
        return _lower_rows(builder, node, source, types, rows)
    extrema = _add_extrema(builder, node.name, source, rows, size)
    scale, inverse = builder.new(types[1]), builder.new(TensorType((rows,), FLOAT32.dtype))
    spec = ScalesSpec(quantized_type(node.attrs.out_type).name, count > 0)
    _add_scales(builder, node.name, spec, (extrema, scale, inverse))
    result = builder.new(types[0], source.layout)
    _add_quantization(builder, node, (result, source, inverse), rows, size)
    return [result, scale]


def _lower_rows(builder: Builder, node: Node, source: Value, types: Sequence[TensorType], rows: int) -> list[Value]:
    """One step, in which each row is read once from memory."""
    result, scale, stored = builder.new(types[0], source.layout), builder.new(types[1]), types[0].dtype.itemsize
    size = source.type.size // max(rows, 1)
    row = ROWS_ARGUMENTS.fill(
        kernel=Kernel(RowSpec("quantize", quantized_type(node.attrs.out_type).name)),
        source=builder.address(source),
        target=result.address,
        target_pitch=size * stored,
        rows=rows,
        count=size,
        extra=[0] * EXTRA.words,
        mask=scale.address,
        mask_pitch=FLOAT32.bytes,
    )
    parts = max(1, min(PARTS, rows, source.type.size // _PART_ELEMENTS))
    cost = Cost(4 * source.type.size, source.nbytes + result.nbytes + scale.nbytes)
    builder.native(node.name, "rows_loop", row, parts, cost)
    return [result, scale]


def lower_dynamic_quantize_linear(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """The same with a zero point, for the whole tensor."""
    data = inputs[0]
    if data.array is not None or data.type.dtype != FLOAT32.dtype:
        return None
    source, size = builder.as_layout(data, data.layout), data.type.size
    extrema = _add_extrema(builder, node.name, source, 1, size)
    scale, zero_point = builder.new(types[1]), builder.new(types[2])
    spec = ScalesSpec(UINT8.name, by_sample=False, with_zero_point=True)
    _add_scales(builder, node.name, spec, (extrema, scale, zero_point))
    result, made = builder.new(types[0], source.layout), EpilogueBuilder(_operand, lambda *_: None)
    value = made.load(source)
    assert value is not None
    made.add_quantize_linear(value, (scale, zero_point), UINT8, UINT8.limits)
    bound, item = made.finish(), FLOAT32.bytes
    cost = Cost(4 * size, source.nbytes + result.nbytes)
    strides = [(UINT8.bytes,), (item,), (0,), (0,)]
    kernel = Kernel(ElementwiseSpec(bound.epilogue))
    add_rows_step(builder, node.name, kernel, [result, *bound.operands], (size,), strides, cost, bound.number_words)
    return [result, scale, zero_point]


def _operand(value: Value) -> tuple[Value, str]:
    return value, "scalar" if value.type.size == 1 and not value.shape else "tensor"


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


def _add_scales(builder: Builder, name: str, spec: ScalesSpec, tensors: tuple[Value, Value, Value]) -> None:
    """A step for the scale of each row, and its inverse or zero point."""
    extrema, scale, inverse = tensors
    rows, chunks, _ = extrema.shape
    row = SCALES_ARGUMENTS.fill(
        kernel=Kernel(spec),
        extrema=extrema.address,
        scales=scale.address,
        inverses=inverse.address,
        chunks=chunks,
        rows=rows,
    )
    parts = max(1, min(PARTS, rows * chunks // _PART_ROWS))
    cost = Cost(2 * rows * chunks, sum(t.nbytes for t in tensors))
    builder.native(f"{name}_scale", "scales_loop", row, parts, cost)


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
