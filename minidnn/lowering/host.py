"""Operators without a kernel of their own: their NumPy reference, as a host step of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.values import PLAIN, Value
from minidnn.ops.registry import TensorType
from minidnn.plan.program import HostStep

__all__ = ["lower_host"]


def lower_host(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType], reason: str
) -> list[Value]:
    """A step that calls the node's reference on views of its tensors.

    Args:
        builder: gets the step.
        node: the operation.
        inputs: its inputs.
        types: of its outputs.
        reason: why no kernel does it.
    """
    constants = {i: v.array for i, v in enumerate(inputs) if v.array is not None}
    moving = [builder.as_layout(v, v.layout) for v in inputs if v.array is None]
    outputs = [builder.new(t, PLAIN) for t in types]

    def compute(arrays: Sequence[np.ndarray[Any, Any]]) -> Sequence[np.ndarray[Any, Any]]:
        rest = iter(arrays)
        return node.compute([constants[i] if i in constants else next(rest) for i in range(len(inputs))])

    tensors = tuple(v.tensor() for v in moving), tuple(v.tensor() for v in outputs)
    step = HostStep(node.name, compute, *tensors, node.op_name, reason)
    builder.host(step)
    return outputs
