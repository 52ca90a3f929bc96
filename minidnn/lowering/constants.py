"""Operators of which all is known when a graph is lowered, since they read no numbers: their results are constants."""

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
    """``arange`` and ``eye``, and what depends on the types of inputs alone: what their references make."""
    unread = [np.broadcast_to(np.zeros((), v.type.dtype), v.shape) for v in inputs]
    return [builder.parameter(np.ascontiguousarray(array)) for array in node.compute(unread)]
