"""`plot_network`: a symbol as a Graphviz graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minidnn.ops.registry import TensorType
from minidnn.symbol.graph import Entry, Graph, Node
from minidnn.symbol.printing import describe_attrs, printable
from minidnn.symbol.roles import parameter_variables
from minidnn.viz.types import given_types

if TYPE_CHECKING:
    from minidnn.viz.digraph import NetworkDigraph

__all__ = ["plot_network"]

# ColorBrewer's Set3, which MXNet's pictures use too: one colour a family of operators.
_INPUT, _ANCHOR, _ACTIVATION, _NORMALIZATION, _POOLING, _SHAPE, _REDUCTION, _OTHER = (
    "#8dd3c7",
    "#fb8072",
    "#ffffb3",
    "#bebada",
    "#80b1d3",
    "#fdb462",
    "#b3de69",
    "#fccde5",
)
_COLOUR_OF_KIND = {
    "anchor": _ANCHOR,
    "elementwise": _ACTIVATION,
    "normalization": _NORMALIZATION,
    "pooling": _POOLING,
    "shape": _SHAPE,
    "reduction": _REDUCTION,
}
_NODE_STYLE = {"shape": "box", "style": "filled", "fontname": "Helvetica", "fontsize": "12"}
_MAX_LINE = 60


def plot_network(
    symbol: Graph,
    title: str = "plot",
    save_format: str = "pdf",
    shape: Mapping[str, Sequence[int]] | None = None,
    dtype: Mapping[str, Any] | Any = None,
    node_attrs: Mapping[str, str] | None = None,
    hide_weights: bool = True,
) -> NetworkDigraph:
    """A picture of the graph, from the inputs at the bottom to the outputs at the top, as MXNet draws it.

    Operators are coloured by family; a fused node lists what is inside.

    Args:
        symbol: the graph.
        title: its name, and the stem of the file that ``render()`` writes.
        save_format: ``'pdf'``, ``'png'``, ``'svg'`` or another of Graphviz's formats.
        shape: shapes of the inputs by name; with them every edge shows the shape of what flows along it.
        dtype: dtypes of the inputs by name, or one for all.
        node_attrs: Graphviz attributes for all nodes.
        hide_weights: whether to leave out the parameters.

    Returns:
        A `graphviz.Digraph`. Its ``source`` is the text of the graph; ``render()``, ``view()`` and ``pipe()`` need
        Graphviz's program ``dot`` and say how to get it where it is missing.

    Raises:
        GraphError: a name in `shape` or `dtype` is not in the graph.
        OpError: the shapes do not fit; the message names the node.
        ValueError: an unknown format.
    """
    from graphviz import escape

    from minidnn.viz.digraph import NetworkDigraph

    types = given_types(symbol, shape, dtype) if shape is not None else {}
    digraph = NetworkDigraph(name=title, format=save_format, node_attr={**_NODE_STYLE, **(node_attrs or {})})
    hidden = set(parameter_variables(symbol)) if hide_weights else set()
    # Identifiers of our own: a colon in a name would mean a port to Graphviz.
    shown = {node: f"n{i}" for i, node in enumerate(n for n in symbol.nodes() if n not in hidden)}
    for node, identifier in shown.items():
        style = {"fillcolor": _colour(node), "tooltip": escape(printable(node.name))}
        if node.is_variable:
            style["shape"] = "oval"
        digraph.node(identifier, escape(_label(node)), _attributes={**style, **(node_attrs or {})})
        for entry in dict.fromkeys(node.inputs):
            if entry.node in shown:
                # Drawn from reader to source and pointing backwards, which puts the inputs at the bottom.
                label = _edge_label(entry, types)
                digraph.edge(identifier, shown[entry.node], label=label, dir="back", arrowtail="open")
    return digraph


def _label(node: Node) -> str:
    lines = [node.name]
    if node.subgraph is not None:
        lines += [_operation(inner) for inner in node.subgraph.operations()]
    elif not node.is_variable:
        lines.append(_operation(node))
    return "\n".join(_clip(printable(line)) for line in lines)


def _operation(node: Node) -> str:
    """The operator in the words of its field: ``convolution 3x3/2, 64``."""
    attrs = node.attrs
    if node.op_name in {"convolution", "deconvolution"}:
        groups = f", {attrs.num_group} groups" if attrs.num_group > 1 else ""
        return f"{node.op_name} {_window(node)}, {attrs.num_filter}{groups}"
    if node.op_name == "pooling":
        return f"pooling {attrs.pool_type}, {'global' if attrs.global_pool else _window(node)}"
    if node.op_name == "fully_connected":
        return f"fully_connected {attrs.num_hidden}"
    if node.op_name in {"activation", "leaky_relu"}:
        return f"{node.op_name} {attrs.act_type}"
    if node.op is not None and node.op.kind == "normalization":
        return node.op_name
    return f"{node.op_name} {describe_attrs(node)}".rstrip()


def _window(node: Node) -> str:
    """Kernel and stride, one number for equal strides: ``3x3/2``."""
    kernel, stride = node.attrs.kernel, node.attrs.stride
    return f"{_by(kernel)}/{_by(stride[:1] if len(set(stride)) == 1 else stride)}"


def _colour(node: Node) -> str:
    if node.op is None:
        return _INPUT
    if node.subgraph is not None:
        inside = [_colour(inner) for inner in node.subgraph.operations()]
        return _ANCHOR if _ANCHOR in inside else inside[0]
    return _COLOUR_OF_KIND.get(node.op.kind, _OTHER)


def _edge_label(entry: Entry, types: Mapping[Entry, TensorType]) -> str:
    known = types.get(entry)
    if known is None:
        return ""
    return _by(known.shape) or "scalar"


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _clip(line: str) -> str:
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"
