"""Products of int8 tensors that a run computes, by the kernels of float32."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from minidnn.lowering.anchor import Anchor
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import add_rows_step
from minidnn.lowering.matmul import lower_batch_dot
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, Kernel
from minidnn_kernels.element_type import FLOAT32, element_type_of
from minidnn_kernels.elementwise import ElementwiseSpec
from minidnn_kernels.epilogue import Epilogue, tensor_kind

__all__ = ["lower_quantized_batch_dot"]


def lower_quantized_batch_dot(builder: Builder, anchor: Anchor) -> Value | None:
    """An int8 ``batch_dot`` with its epilogue, by the kernel of float32; None where that would not be exact.

    Both factors are computed by the run, so nothing can be packed ahead, and there is nothing to gain from int8.
    Float32 holds all integers up to 2^24: with fewer products in a sum every step of it is exact.
    """
    left, right = anchor.inputs
    depth = left.shape[-2] if anchor.attrs.transpose_a else left.shape[-1]
    dtypes = [value.type.dtype for value in (left, right)]
    if not anchor.following or any(dtype not in (np.int8, np.uint8) for dtype in dtypes):
        return None
    # The largest number of a type is the least one of int8 without its sign.
    if depth * math.prod(max(-np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in dtypes) > 2**24:
        return None
    factors = tuple(_as_float(builder, anchor.name, value) for value in (left, right))
    return lower_batch_dot(builder, replace(anchor, inputs=factors))


def _as_float(builder: Builder, name: str, value: Value) -> Value:
    """An 8-bit tensor's numbers as float32."""
    source = builder.as_layout(value, PLAIN)
    result = builder.new(TensorType(value.shape, np.dtype(np.float32)))
    type = element_type_of(value.type.dtype)
    assert type is not None
    kernel = Kernel(ElementwiseSpec(Epilogue((), (tensor_kind(type),))))
    cost = Cost(0, source.nbytes + result.nbytes)
    add_rows_step(builder, name, kernel, [result, source], (value.type.size,), [(FLOAT32.bytes,), (type.bytes,)], cost)
    return result
