"""Quantization without calibration: the range of a tensor is found when it is there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.parts import PARTS
from minidnn.lowering.tail import quantized_type
from minidnn.lowering.values import Array, Value
from minidnn.ops.ranges import calibrated_scale, scale_of_range
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, HostStep, Kernel
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.extrema import EXTREMA_ARGUMENTS, ExtremaSpec

__all__ = ["lower_dynamic_quantize"]

_PART_ELEMENTS = 16 * 1024


def lower_dynamic_quantize(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Three steps: extrema, part by part; the scale from them; the quantization. None if it is calibrated."""
    data = inputs[0]
    if calibrated_scale(node.attrs) is not None or data.array is not None or data.type.dtype != FLOAT32.dtype:
        return None
    count, out_type = data.type.size, node.attrs.out_type
    source = builder.as_layout(data, data.layout)
    chunk = max(_PART_ELEMENTS, -(-count // PARTS))
    parts = -(-count // chunk)
    extrema = builder.new(TensorType((parts, 2), FLOAT32.dtype))
    row = EXTREMA_ARGUMENTS.fill(
        kernel=Kernel(ExtremaSpec()),
        source=builder.address(source),
        target=extrema.address,
        count=count,
        chunk=chunk,
    )
    cost = Cost(2 * count, data.nbytes)
    builder.native(f"{node.name}_range", "extrema_loop", row, parts, cost)
    scale, inverse = (builder.new(TensorType((1,), FLOAT32.dtype)) for _ in range(2))

    def find_scale(arrays: Sequence[Array]) -> Sequence[Array]:
        found = scale_of_range(float(arrays[0][:, 0].min()), float(arrays[0][:, 1].max()), out_type)
        return [np.full(1, found), np.full(1, np.float32(1) / found)]

    step = HostStep(f"{node.name}_scale", find_scale, (extrema.tensor(),), (scale.tensor(), inverse.tensor()))
    builder.host(step)
    result = builder.new(types[0], source.layout)
    stored = quantized_type(out_type)
    instructions = (Instruction("load", operand=1), Instruction("multiply", (0, 1)))
    epilogue = Epilogue(instructions, ("tensor", "scalar"), stored.name)
    strides = [(stored.bytes,), (FLOAT32.bytes,), (0,)]
    tensors = [result, source, inverse]
    cost = Cost(2 * count, data.nbytes + result.nbytes)
    add_rows_step(builder, node.name, Kernel(ElementwiseSpec(epilogue)), tensors, (count,), strides, cost)
    return [result, scale]
