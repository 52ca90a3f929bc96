"""Quantization without calibration: the range of a tensor, or of each sample in it, is found when it is there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.anchor import arguments_row
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.parts import PARTS
from minidnn.lowering.tail import QUANTIZED_OUTPUTS
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.ops.ranges import calibrated_scale, count_batch_axes, scale_of_range, scales_of_ranges
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Argument, Cost, HostStep, Kernel
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.extrema import ExtremaArguments, ExtremaSpec

__all__ = ["lower_dynamic_quantize"]

_PART_ELEMENTS = 16 * 1024
_FLOAT32 = np.dtype(np.float32)


def lower_dynamic_quantize(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Three steps: extrema, part by part; the scales from them; the quantization. None if it is calibrated."""
    data = inputs[0]
    if calibrated_scale(node.attrs) is not None or data.array is not None or data.type.dtype != _FLOAT32:
        return None
    count = count_batch_axes(node.attrs.batch_axes, data.type.ndim)
    # What has a range of its own lies together in memory.
    source = builder.as_layout(data, data.layout if count <= 1 else PLAIN)
    rows, size = math.prod(data.shape[:count]), math.prod(data.shape[count:])
    extrema = _add_extrema(builder, node.name, source, rows, size)
    scale, inverse = builder.new(types[1]), builder.new(TensorType((rows,), _FLOAT32))
    builder.host(_scale_step(node, count > 0, extrema, scale, inverse))
    result = builder.new(types[0], source.layout)
    _add_quantization(builder, node, (result, source, inverse), rows, size)
    return [result, scale]


def _add_extrema(builder: Builder, name: str, source: Value, rows: int, size: int) -> Value:
    """A step for minima and maxima, float32 [rows, chunks, 2]."""
    chunk = max(_PART_ELEMENTS, -(-rows * size // PARTS))
    chunks = -(-size // chunk)
    extrema = builder.new(TensorType((rows, chunks, 2), _FLOAT32))
    names: dict[str, Argument] = {
        "KERNEL": Kernel(ExtremaSpec()),
        "SOURCE": builder.address(source),
        "TARGET": extrema.address,
        "COUNT": size,
        "CHUNK": chunk,
        "CHUNKS": chunks,
        "ROWS": rows,
    }
    parts = max(1, min(PARTS, rows * chunks, -(-rows * size // _PART_ELEMENTS)))
    cost = Cost(2 * rows * size, source.nbytes)
    builder.native(f"{name}_range", "extrema_loop", arguments_row(ExtremaArguments(), names), parts, cost)
    return extrema


def _scale_step(node: Node, by_sample: bool, extrema: Value, scale: Value, inverse: Value) -> HostStep:
    out_type, shape = node.attrs.out_type, scale.shape

    def find_scales(arrays: Sequence[Array]) -> Sequence[Array]:
        lows, highs = arrays[0][..., 0].min(1), arrays[0][..., 1].max(1)
        if by_sample:
            found = scales_of_ranges(lows, highs, out_type)
        else:
            found = np.full(1, scale_of_range(float(lows[0]), float(highs[0]), out_type))
        return [found.reshape(shape), np.float32(1) / found]

    return HostStep(f"{node.name}_scale", find_scales, (extrema.tensor(),), (scale.tensor(), inverse.tensor()))


def _add_quantization(builder: Builder, node: Node, tensors: tuple[Value, Value, Value], rows: int, size: int) -> None:
    """A step that multiplies each row with its inverse scale and stores integers."""
    result, source, _ = tensors
    instructions = (Instruction("load", operand=1), Instruction("multiply", (0, 1)))
    epilogue = Epilogue(instructions, ("tensor", "scalar"), QUANTIZED_OUTPUTS[node.attrs.out_type])
    shape: tuple[int, ...] = (rows, size)
    strides: list[tuple[int, ...]] = [(size, 1), (4 * size, 4), (4, 0)]
    if rows == 1:
        shape, strides = (size,), [(1,), (4,), (0,)]
    cost = Cost(2 * rows * size, source.nbytes + result.nbytes)
    add_rows_step(builder, node.name, Kernel(ElementwiseSpec(epilogue)), tensors, shape, strides, cost)
