"""`plot_network`: a symbol as a Graphviz graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minidnn.ir.graph import Graph
from minidnn.untrusted import printable
from minidnn.viz.picture import Arrow, Picture, make_picture
from minidnn.viz.svg import draw_svg
from minidnn.viz.types import given_types

if TYPE_CHECKING:
    from minidnn.viz.digraph import NetworkDigraph

__all__ = ["draw_digraph", "plot_network"]

_NODE_STYLE = {"shape": "box", "style": "filled", "fontname": "Helvetica", "fontsize": "12"}


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

    Operators are coloured by family; a fused node lists what is inside. Where not all is float32, edges and outlines
    have a colour for each dtype, and there is a legend.

    Args:
        symbol: the graph.
        title: its name, and the stem of the file that ``render()`` writes.
        save_format: ``'pdf'``, ``'png'``, ``'svg'`` or another of Graphviz's formats.
        shape: shapes of the inputs by name; with them every edge shows the shape of what flows along it.
        dtype: dtypes of the inputs by name, or one for all.
        node_attrs: Graphviz attributes for all nodes.
        hide_weights: whether to leave out the parameters.

    Returns:
        A `graphviz.Digraph`, which a notebook shows as a picture. Its ``source`` is the text of the graph;
        ``render()``, ``view()`` and ``pipe()`` need Graphviz's program ``dot`` and say how to get it where it is
        missing.

    Raises:
        GraphError: a name in `shape` or `dtype` is not in the graph.
        OpError: the shapes do not fit; the message names the node.
        ValueError: an unknown format.
    """
    types = given_types(symbol, shape, dtype)
    picture = make_picture(symbol, types, labels=shape is not None, hide_weights=hide_weights)
    return draw_digraph(picture, title, save_format, node_attrs)


def draw_digraph(
    picture: Picture, title: str, save_format: str, node_attrs: Mapping[str, str] | None = None
) -> NetworkDigraph:
    """The picture for Graphviz.

    Raises:
        ValueError: an unknown format.
    """
    from graphviz import escape

    from minidnn.viz.digraph import NetworkDigraph  # deferred: it loads graphviz

    digraph = NetworkDigraph(name=title, format=save_format, node_attr={**_NODE_STYLE, **(node_attrs or {})})
    digraph.drawing = lambda: draw_svg(picture, title)
    arrows: dict[int, list[Arrow]] = {}
    for arrow in picture.arrows:
        arrows.setdefault(arrow.reader, []).append(arrow)
    for place, box in enumerate(picture.boxes):
        style = {"fillcolor": box.fill, "tooltip": escape(printable(box.name))}
        if picture.legend:
            style |= {"color": box.outline, "penwidth": "2"}
        if box.is_variable:
            style["shape"] = "oval"
        # Identifiers of our own: a colon in a name would mean a port to Graphviz.
        digraph.node(f"n{place}", escape("\n".join(box.lines)), _attributes={**style, **(node_attrs or {})})
        for arrow in arrows.get(place, ()):
            # Drawn from reader to source and pointing backwards, which puts the inputs at the bottom.
            style = {"color": arrow.colour, "fontcolor": arrow.colour} if picture.legend else {}
            digraph.edge(f"n{place}", f"n{arrow.source}", arrow.label, _attributes=style, dir="back", arrowtail="open")
    if picture.legend:
        with digraph.subgraph(name="cluster_legend", graph_attr={"label": "dtype"}) as legend:
            for dtype, colour in picture.legend:
                legend.node(f"legend_{dtype}", dtype, shape="plaintext", style="", fontcolor=colour)
    return digraph
