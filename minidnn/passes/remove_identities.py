"""Operations that give back what they got are taken out: at inference they only cost time and hide fusions."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.ir.graph import Entry, Graph, Node, make_node
from minidnn.ir.infer import known_types

__all__ = ["remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Take out identities, dropouts, casts to the same dtype, transposes that cancel, reshapes of reshapes.

    Of two transposes in a row that do not cancel, one remains.
    """
    types = known_types(graph)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op is not None and node.op.is_identity:
            before, after = types.get(node.inputs[0]), types.get(node[0])
            # A dropout makes floats of integers; without types it is taken to be among floats. A cast says its dtype.
            same = before.dtype == after.dtype if before and after else "dtype" not in node.attrs
            return [inputs[0]] if same else None
        if node.op_name == "transpose":
            return _transpose(node, inputs[0])
        if node.op_name == "reshape":
            return _reshape(node, inputs[0])
        return None

    return graph.rewrite(change)


def _transpose(node: Node, data: Entry) -> Sequence[Entry] | None:
    """The transpose `node` of `data`, which may be a transpose itself, as one transpose or none."""
    if data.node.op_name != "transpose":
        return None
    first, second = data.node.attrs.axes, node.attrs.axes
    if not first and not second:
        return [data.node.inputs[0]]
    # Without axes a transpose reverses all of them, and the other one says how many there are.
    ndim = len(first or second)
    first, second = (axes or tuple(reversed(range(ndim))) for axes in (first, second))
    if not all(len(p) == ndim and all(a is not None and -ndim <= a < ndim for a in p) for p in (first, second)):
        return None
    axes = tuple(first[axis] % ndim for axis in second)
    if axes == tuple(range(ndim)):
        return [data.node.inputs[0]]
    return [make_node("transpose", node.name, [data.node.inputs[0]], {"axes": axes})[0]]


def _reshape(node: Node, data: Entry) -> Sequence[Entry] | None:
    source = data
    # What keeps the elements in row-major order might as well not stand in front of a reshape.
    while (op := source.node.op) is not None and op.holds(op.keeps_order, source.node.attrs):
        source = source.node.inputs[0]
    if source == data or node.attrs.order != "C":
        return None
    return [make_node("reshape", node.name, [source], node.attrs)[0]]
