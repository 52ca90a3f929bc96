"""Which values of a graph cannot be negative, whatever the input: those behind a ReLU and its like."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.passes.regions import data_inputs

__all__ = ["nonnegative_entries"]

_ALWAYS = frozenset({"abs", "exp", "relu", "sigmoid", "softmax", "softrelu", "sqrt", "square"})
_ACTIVATIONS = frozenset({"relu", "sigmoid", "softrelu"})

# Not negative if none of their data inputs is.
_KEEPS = frozenset(
    {
        "add", "broadcast_to", "ceil", "concatenate", "dropout", "expand_dims", "fix", "flatten", "flip", "floor",
        "identity", "leaky_relu", "max", "mean", "min", "minimum", "moveaxis", "multiply", "npx_reshape", "pooling",
        "repeat", "reshape", "rint", "roll", "silu", "slice", "slice_axis", "split", "squeeze", "stack", "sum",
        "swapaxes", "tanh", "tile", "transpose", "trunc",
    }
)  # fmt: skip
_SCALAR_KEEPS = frozenset({"add_scalar", "maximum_scalar", "minimum_scalar", "multiply_scalar", "true_divide_scalar"})


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
    op, attrs = node.op_name, node.attrs
    if op in _ALWAYS or (op == "activation" and attrs.act_type in _ACTIVATIONS):
        return True
    if op == "clip":
        return attrs.a_min is not None and attrs.a_min >= 0
    if op == "maximum":
        return any(inputs)
    if op == "maximum_scalar" and attrs.scalar >= 0:
        return True
    if op in _SCALAR_KEEPS:
        return all(inputs) and attrs.scalar >= 0
    if op == "pad":
        return all(inputs) and (attrs.constant_values >= 0 if attrs.mode == "constant" else attrs.mode == "edge")
    if op == "activation":
        return all(inputs) and attrs.act_type in {"tanh", "softsign"}
    return op in _KEEPS and bool(inputs) and all(inputs)
