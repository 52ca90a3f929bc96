"""Products of float32 data by weights in bfloat16, and what bfloat16 is in memory: the upper half of a float32.

NumPy has no such dtype: weights are uint16 that hold its bits. What a product means is the float32 operator with the
weights widened. Where a CPU multiplies bfloat16, kernels round the data to it as well, so results are not equal to the
bit from machine to machine; sums are float32 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.ops import convolution, dense  # noqa: F401 - their operators are registered first
from minidnn.ops.checks import want_dtype
from minidnn.ops.registry import Attrs, Op, TensorType, get_op, list_ops, register
from minidnn.ops.traits import AnchorTraits

__all__ = ["BITS", "round_to_bfloat16", "widen_bfloat16"]

Array = np.ndarray[Any, Any]

# The dtype that bfloat16 has in arrays and graphs.
BITS = np.dtype(np.uint16)

# What is rounded at a time: a large layer would take several times its memory.
_BLOCK = 1 << 20


def round_to_bfloat16(numbers: Array) -> Array:
    """The bits of the nearest bfloat16 of float32 numbers, half to even: NaN stays, what is too large is infinite."""
    result = np.empty(numbers.size, BITS)
    flat = np.ascontiguousarray(numbers, np.float32).reshape(-1)
    for begin in range(0, flat.size, _BLOCK):
        part = flat[begin : begin + _BLOCK]
        bits = part.view(np.uint32)
        upper = bits >> 16
        # Wraps for NaN alone.
        rounded = (bits + (0x7FFF + (upper & 1))) >> 16
        result[begin : begin + _BLOCK] = np.where(np.isnan(part), upper | 0x40, rounded)
    return result.reshape(numbers.shape)


def widen_bfloat16(bits: Array) -> Array:
    """The float32 numbers of bits of bfloat16; exact."""
    widened = bits.astype(np.uint32)
    widened <<= 16
    return widened.view(np.float32)


def _infer(name: str, float_op: Op, attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    data, weight, *bias = types
    want_dtype(name, "weight", weight, BITS, "bits of bfloat16")
    return list(float_op.infer(attrs, [data, TensorType(weight.shape, data.dtype), *bias]))


def _register_product(float_op: Op, anchor: AnchorTraits) -> None:
    name = anchor.bfloat16
    register(
        replace(
            float_op,
            name=name,
            infer=lambda attrs, types: _infer(name, float_op, attrs, types),
            reference=lambda attrs, data, weight, *bias: float_op.reference(attrs, data, widen_bfloat16(weight), *bias),
            infer_parameters=None,
            mxnet=(),
            anchor=replace(anchor, integer="", bfloat16=""),
        )
    )


for _op in map(get_op, list_ops()):
    if _op.anchor is not None and _op.anchor.bfloat16:
        _register_product(_op, _op.anchor)
