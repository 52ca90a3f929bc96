"""Operators without inputs, whose sizes are known when a graph is lowered: their results are constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.values import Value
from minidnn.ops.registry import TensorType

__all__ = ["lower_full", "lower_made"]


def lower_full(builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]) -> list[Value]:
    """``full``: one number; a step that reads it as an array has it written out."""
    number = np.full((), node.attrs.value, types[0].dtype)
    return [builder.parameter(np.broadcast_to(number, types[0].shape))]


def lower_made(builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]) -> list[Value]:
    """``arange`` and ``eye``: what their references make."""
    return [builder.parameter(np.ascontiguousarray(array)) for array in node.compute([])]
