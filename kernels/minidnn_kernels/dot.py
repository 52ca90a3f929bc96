"""The inner step of a matmul: how a row of A meets a vector of B's columns, for each type and instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn_kernels.element_type import ELEMENT_TYPES
from minidnn_kernels.isa import Isa
from minidnn_kernels.matrix_dot import MatrixDot
from minidnn_kernels.split_dot import SplitDot
from minidnn_kernels.uniform_dot import Dot, SignedBytes

__all__ = ["Dot", "SplitDot", "best_dot", "dot_for"]

Array = np.ndarray[Any, Any]


def dot_for(isa: Isa, data: str, name: str = "") -> Dot:
    """The dot for A of type ``f32`` (B too), ``s16`` (B too; x86 only), or ``s8`` or ``u8`` (B is int8) on that ISA.

    Of ``bf16`` (B too) where the ISA has instructions for it.

    `name` is one of `ElementType.dots`; by default the ISA's own.
    """
    return ELEMENT_TYPES[data].dot(isa, name)


def best_dot(isa: Isa, data: str, weights: Array) -> str:
    """The name of the dot that is fastest for weights [groups, taps, depth, columns] and A of that type.

    Weights of uint16 are bits of bfloat16. Empty where that is the ISA's own.
    """
    if data == "f32" and weights.dtype == np.int8:
        return "int8"
    if data == "f32" and weights.dtype == np.uint16:
        return "bf16"
    dot = dot_for(isa, data)
    if isinstance(dot, MatrixDot):
        return "" if dot.pays(weights.shape[2]) else dot.by_vectors
    if not isinstance(dot, SplitDot):
        return ""
    by_sign = data == "s8" and isa.lanes == SignedBytes.lanes and weights.min(initial=0) >= SignedBytes.least_weight
    other = "signed" if by_sign else "maddwd"
    return "" if dot.pays(weights, isa.lanes, other) else other
