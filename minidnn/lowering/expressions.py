"""Elementwise arithmetic that a rule needs beside its kernel, written with operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from minidnn.ir.graph import Entry, Graph, make_node, make_variable
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import lower_elementwise
from minidnn.lowering.values import Value
from minidnn.ops.registry import TensorType

__all__ = ["apply", "compute"]


def apply(op: str, *inputs: Entry, **attrs: object) -> Entry:
    """The result of an elementwise operator."""
    return make_node(op, op, inputs, attrs)[0]


def compute(
    builder: Builder, name: str, inputs: Mapping[str, Value], make: Callable[..., Entry], type: TensorType
) -> Value | None:
    """What `make` computes of variables with the names of `inputs`, as one step; None if the kernel cannot do it."""
    variables = {key: make_variable(key) for key in inputs}
    nodes = Graph([make(**variables)]).operations()
    return lower_elementwise(builder, name, nodes, {variables[key]: value for key, value in inputs.items()}, type)
