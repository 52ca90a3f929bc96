"""`print_summary`: a symbol as a table of layers, shapes and numbers of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.roles import input_roles, parameter_variables
from minidnn.ops.registry import TensorType
from minidnn.untrusted import printable
from minidnn.viz.types import given_types

__all__ = ["print_summary"]


def print_summary(
    symbol: Graph,
    shape: Mapping[str, Sequence[int]] | None = None,
    line_length: int = 120,
    positions: Sequence[float] = (0.44, 0.64, 0.74, 1.0),
) -> None:
    """Print a row for each layer, as MXNet does: name and operator, shape of the output without the first dimension
    (the batch), number of parameters, and where the inputs come from, a line for each.

    A parameter that several layers share counts for the first of them. What is unknown for want of shapes is
    printed as ``?``, and the total then says "at least".

    Args:
        symbol: the graph.
        shape: shapes of the inputs by name, where the graph does not know them.
        line_length: width of the table in characters.
        positions: where the columns end, as parts of the width.

    Raises:
        GraphError: a name in `shape` is not in the graph.
        OpError: the shapes do not fit; the message names the node.
    """
    types = given_types(symbol, shape)
    ends = [int(line_length * p) if p <= 1 else int(p) for p in positions]
    seen: set[Entry] = set()
    total, complete = 0, True
    print("_" * line_length)
    print(_row(("Layer (type)", "Output Shape", "Param #", "Previous Layer"), ends))
    print("=" * line_length)
    parameters = set(parameter_variables(symbol))
    rows = [node for node in symbol.nodes() if node not in parameters]
    for node in rows:
        count = None if node.is_variable else _count(node, types, seen)
        complete = complete and (count is not None or node.is_variable)
        total += count or 0
        shapes = [_by(types[node[i]].shape[1:]) if node[i] in types else "?" for i in range(node.num_outputs)]
        previous = [printable(str(e)) for e in dict.fromkeys(node.inputs) if e.node not in parameters]
        number = "0" if node.is_variable else "?" if count is None else str(count)
        first, *others = previous or [""]
        print(_row((f"{printable(node.name)}({node.op_name})", " ".join(shapes), number, first), ends))
        for other in others:
            print(_row(("", "", "", other), ends))
        print(("=" if node is rows[-1] else "_") * line_length)
    print(f"Total params: {'' if complete else 'at least '}{total}")
    print("_" * line_length)


def _count(node: Node, types: Mapping[Entry, TensorType], seen: set[Entry]) -> int | None:
    """Numbers in the parameters of a node that nobody before it had; None where a shape is unknown."""
    total: int | None = 0
    for entry, role in zip(node.inputs, input_roles(node), strict=True):
        if not role.is_parameter or entry in seen:
            continue
        seen.add(entry)
        known = types.get(entry)
        total = None if total is None or known is None else total + known.size
    return total


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _row(cells: Sequence[str], ends: Sequence[int]) -> str:
    line = ""
    for cell, end in zip(cells, ends, strict=True):
        line = (line + cell)[: end - 1].ljust(end)
    return line.rstrip()
