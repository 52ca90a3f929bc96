"""Types of a graph's entries from what the caller of a picture or a summary gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minidnn.errors import GraphError, OpError
from minidnn.ir.graph import Entry, Graph
from minidnn.ir.infer import known_types
from minidnn.ops.registry import TensorType

__all__ = ["given_types"]


def given_types(
    graph: Graph | object, shape: Mapping[str, Sequence[int]] | None, dtype: Mapping[str, Any] | Any = None
) -> Mapping[Entry, TensorType]:
    """The types that follow from shapes by name and dtypes by name (or one dtype for all these shapes).

    Where neither is given, they are what the graph itself knows; nothing, if that does not fit together.

    Raises:
        TypeError: the graph is something else, such as a block.
        GraphError: a name is not in the graph.
        OpError: the types do not fit; the message names the node.
    """
    if not isinstance(graph, Graph):
        wanted = "a symbol, such as net.export(None)[0] of a network that was hybridized and called"
        raise TypeError(f"expected {wanted}, got {type(graph).__name__}")
    shapes = dict(shape or {})
    dtypes = dict(dtype) if isinstance(dtype, Mapping) else dict.fromkeys(shapes, dtype) if dtype is not None else {}
    names = [v.name for v in graph.variables()]
    for name in (*shapes, *dtypes):
        if name not in names:
            raise GraphError(f"there is no variable {name!r}; the graph has {names}")
    try:
        return known_types(graph, shapes, dtypes)
    except OpError:
        if shapes or dtypes:
            raise
        return {}
