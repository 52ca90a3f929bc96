"""Regions: sets of nodes that become one fused node. What may join one, and the step that makes the node.

A region is a list of nodes in topological order. Its last node is the exit: the only one whose value anything
outside reads. Every other value leads to the exit, so a path that leaves a region starts at its exit and cannot come
back, for the graph has no cycle; neither has the graph of fused nodes, whatever disjoint regions are chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_fused, make_like, make_variable
from minidnn.ir.infer import known_types
from minidnn.ir.roles import input_roles
from minidnn.ops.registry import TensorType
from minidnn.passes.legality import can_join_epilogue
from minidnn.passes.naming import name_fused_nodes

__all__ = [
    "MAX_REGION",
    "GraphView",
    "Region",
    "data_inputs",
    "fuse_region",
    "fuse_regions",
    "is_float32",
    "parameters_are_variables",
    "reads_as_parameter",
]

Region = list[Node]

# More operations than any network chains; a bound on what one kernel has to hold.
MAX_REGION = 64

_FLOAT32 = np.dtype(np.float32)
_NAME_OF_INPUT = re.compile(r"in\d+")


class GraphView:
    """A graph with what is asked of it again and again: readers, outputs, types, positions."""

    def __init__(self, graph: Graph) -> None:
        self.operations = graph.operations()
        self.types = known_types(graph)
        self.position = {node: i for i, node in enumerate(graph.nodes())}
        self._consumers = graph.consumers()
        self._outputs = frozenset(graph.outputs)
        self._joinable: dict[Node, bool] = {}

    def consumers(self, entry: Entry) -> list[Node]:
        """The nodes that read the entry, each once."""
        return list(dict.fromkeys(self._consumers.get(entry, ())))

    def is_output(self, entry: Entry) -> bool:
        return entry in self._outputs

    def only_consumer(self, entry: Entry) -> Node | None:
        """The node that reads the entry, if it is one and reads it once and the graph does not give it back."""
        readers = self._consumers.get(entry, ())
        return readers[0] if len(readers) == 1 and not self.is_output(entry) else None

    def ndim(self, entry: Entry) -> int | None:
        known = self.types.get(entry)
        return None if known is None else known.ndim

    def can_join(self, node: Node) -> bool:
        """Whether a kernel can go on with `node`: see `can_join_epilogue`."""
        if node not in self._joinable:
            self._joinable[node] = can_join_epilogue(node, self.types) and (
                node.op is None or node.op.affine is None or parameters_are_variables(node)
            )
        return self._joinable[node]

    def same_shape(self, first: Entry, second: Entry) -> bool:
        """Whether both shapes are known and equal."""
        a, b = self.types.get(first), self.types.get(second)
        return a is not None and b is not None and a.shape == b.shape


def data_inputs(node: Node) -> list[Entry]:
    """The inputs of an operation that are not parameters."""
    return [e for e, role in zip(node.inputs, input_roles(node), strict=True) if not role.is_parameter]


def reads_as_parameter(node: Node, entry: Entry) -> bool:
    """Whether an operation takes the entry as one of its parameters."""
    return any(e == entry and role.is_parameter for e, role in zip(node.inputs, input_roles(node), strict=True))


def parameters_are_variables(node: Node) -> bool:
    """Whether every parameter of an operation is a variable, not something computed."""
    return all(e.node.is_variable for e, role in zip(node.inputs, input_roles(node), strict=True) if role.is_parameter)


def is_float32(type: TensorType | None) -> bool:
    """Whether a type is float32, as far as it is known."""
    return type is None or type.dtype == _FLOAT32


def fuse_regions(graph: Graph, regions: Sequence[Region]) -> Graph:
    """The graph with every region made into one fused node; regions are disjoint. Names are given again."""
    region_of_exit = {region[-1]: region for region in regions}
    members = {node for region in regions for node in region}
    renewed: dict[Entry, Entry] = {}

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node in members:
            renewed.update(zip(node.inputs, inputs, strict=True))
        region = region_of_exit.get(node)
        return None if region is None else [fuse_region(region, renewed)[0]]

    return name_fused_nodes(graph.rewrite(change))


def fuse_region(
    region: Region, renewed: Mapping[Entry, Entry], name: str = "fused", hints: Mapping[str, Any] | None = None
) -> Node:
    """The fused node of a region whose inputs from outside are now `renewed`; its outputs are the exit's."""
    inside: dict[Entry, Entry] = {}
    variables: dict[Entry, Entry] = {}
    names: set[str] = set()

    def operand(entry: Entry) -> Entry:
        if entry in inside:
            return inside[entry]
        outer = renewed[entry]
        if outer not in variables:
            variables[outer] = make_variable(f"in{len(variables)}")
        return variables[outer]

    def place(node: Node, inputs: Sequence[Entry]) -> Node:
        # A trailing underscore keeps in0, in1, ... for the inputs, and names apart that were so outside.
        name = node.name
        while name in names or _NAME_OF_INPUT.fullmatch(name):
            name += "_"
        names.add(name)
        return make_like(node, tuple(inputs), name=name)

    for node in region:
        operands = [operand(e) for e in node.inputs]
        if node.subgraph is None:
            placed = place(node, operands)
            inside.update({node[i]: placed[i] for i in range(node.num_outputs)})
            continue
        local = node.bind_inside(operands)
        for inner in node.subgraph.operations():
            placed = place(inner, [local[e] for e in inner.inputs])
            local.update({inner[i]: placed[i] for i in range(inner.num_outputs)})
        inside.update({node[i]: local[output] for i, output in enumerate(node.subgraph.outputs)})
    exit_ = region[-1]
    subgraph = Graph(inside[exit_[i]] for i in range(exit_.num_outputs))
    return make_fused(name, list(variables), subgraph, hints, [e.node for e in variables.values()])
