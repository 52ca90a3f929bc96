"""Operators that compute nothing and may refuse a run: looked at when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.values import PLAIN, Array, Value
from minidnn.ops.registry import TensorType

__all__ = ["lower_constraint", "lower_depend", "lower_expected"]


def lower_expected(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``expect_values``: the values themselves, if they are those that the graph was made for."""
    if inputs[0].array is not None:
        return None
    value = builder.as_layout(inputs[0], PLAIN)
    wanted = np.array(node.attrs.expected, value.type.dtype).tobytes()

    def refuse(array: Array) -> None:
        # The same bytes are the same values; others may be, and the record knows.
        if array.tobytes() != wanted:
            node.compute([array])

    builder.check(value, refuse, decides=True)
    return [value]


def lower_constraint(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``constraint_check``: True, if all values are."""
    if inputs[0].array is not None:
        return None
    builder.check(builder.as_layout(inputs[0], PLAIN), lambda array: node.compute([array]))
    return [builder.parameter(np.array(True))]


def lower_depend(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``depend``: the first input; what the others are is looked at on its own."""
    return None if inputs[0].array is not None else [inputs[0]]
