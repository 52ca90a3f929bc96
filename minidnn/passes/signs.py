"""Which values of a graph cannot be negative, whatever the input: those behind a ReLU and its like."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.passes.regions import data_inputs

__all__ = ["nonnegative_entries"]


def nonnegative_entries(graph: Graph, given: frozenset[Entry] = frozenset()) -> frozenset[Entry]:
    """The entries that are known not to be negative; `given` are variables of which that is known."""
    known = set(given)
    for node in graph.operations():
        if node.subgraph is not None:
            inside = frozenset(inner for inner, outer in node.bind_inside(node.inputs).items() if outer in known)
            found = nonnegative_entries(node.subgraph, inside)
            known.update(node[i] for i, e in enumerate(node.subgraph.outputs) if e in found)
        elif _is_nonnegative(node, [e in known for e in data_inputs(node)]):
            known.update(node[i] for i in range(node.num_outputs))
    return frozenset(known)


def _is_nonnegative(node: Node, inputs: Sequence[bool]) -> bool:
    assert node.op is not None
    return node.op.nonnegative is not None and bool(node.op.nonnegative(node.attrs, inputs))
