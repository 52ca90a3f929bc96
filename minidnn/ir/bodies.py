"""Graphs as attributes of operators."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, evaluate, infer_types, make_like, unfused_outputs
from minidnn.ops.registry import Body, Op, TensorType

__all__ = ["GraphBody", "body_names"]

Array = np.ndarray[Any, Any]
Types = Sequence[TensorType]


def body_names(op: Op) -> tuple[str, ...]:
    """The attributes that are graphs, in order."""
    return tuple(attr.name for attr in op.attrs if attr.kind == "graph")


def _numbered(entries: Sequence[Entry], number: Mapping[Node, int]) -> tuple[tuple[int, int], ...]:
    return tuple((number[e.node], e.index) for e in entries)


class GraphBody(Body):
    """A graph as an attribute.

    Args:
        graph: what it computes of its variables.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = Graph(graph.rewrite(unfused_outputs).outputs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of its inputs, in order."""
        return tuple(variable.name for variable in self.graph.variables())

    @cached_property
    def _key(self) -> Hashable:
        number = {node: i for i, node in enumerate(self.graph.nodes())}
        rows = tuple((node.op_name, node.name, node.attrs, _numbered(node.inputs, number)) for node in number)
        return rows, _numbered(self.graph.outputs, number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GraphBody) and (self is other or self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"GraphBody({len(self.names)} -> {len(self.graph.outputs)})"

    def infer(self, types: Types) -> list[TensorType]:
        """Types of its outputs, by those of its inputs."""
        inside = self.types_inside(types)
        return [inside[e] for e in self.graph.outputs]

    def compute(self, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """Its outputs by the references."""
        return evaluate(self.graph, dict(zip(self.names, arrays, strict=True)))

    def inline(self, inputs: Sequence[Entry], prefix: str) -> list[Entry]:
        """Its outputs for these inputs, by nodes whose names begin with `prefix`."""
        given = dict(zip(self.names, inputs, strict=True))

        def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry]:
            if node.is_variable:
                return [given[node.name]]
            made = make_like(node, inputs, name=f"{prefix}{node.name}")
            return [made[i] for i in range(made.num_outputs)]

        return list(self.graph.rewrite(change).outputs)

    def types_inside(self, types: Types) -> dict[Entry, TensorType]:
        """Types of all entries, by those of its inputs."""
        return infer_types(self.graph, dict(zip(self.names, types, strict=True)))
