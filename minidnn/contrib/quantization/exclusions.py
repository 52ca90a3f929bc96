"""What the user wants left in float32, as nodes of the fused graph."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from minidnn.errors import GraphError
from minidnn.ir.graph import Graph, Node
from minidnn.ops.registry import get_op
from minidnn.passes.naming import find_anchor

__all__ = ["find_excluded"]

# MXNet's names of its fused nodes.
_FUSED = {
    "_sg_onednn_conv": "convolution",
    "_sg_onednn_fully_connected": "fully_connected",
    "_sg_onednn_batch_dot": "batch_dot",
    "_sg_mkldnn_conv": "convolution",
    "_sg_mkldnn_fully_connected": "fully_connected",
}


def find_excluded(graph: Graph, layers: Any, matches: Any, operators: Any, label: str = "exclude_layers") -> set[Node]:
    """The operations that are to stay in float32.

    Args:
        graph: the fused float32 graph.
        layers: names of operations, fused (``fused_conv_bn_act_0``) or inside a fused one
            (``features.0_convolution``), or of blocks (``features.0``), or None.
        matches: parts of such names, or None.
        operators: operators by name, ours or MXNet's; of a fused node the one that it is built around, or None.
        label: what the argument of `layers` is called, for errors.

    Raises:
        TypeError: an argument is no list of strings.
        ValueError: a layer is not in the graph, nothing matches, or there is no such operator.
    """
    names = {node: _names(node) for node in graph.operations()}
    found: set[Node] = set()

    def add(argument: str, text: str, hits: set[Node]) -> None:
        if not hits:
            known = sorted({name for own in names.values() for name in own})
            raise ValueError(f"{argument}: no layer fits {text!r}; the network has {known}")
        found.update(hits)

    for text in _strings(label, layers):
        add(label, text, {n for n, own in names.items() if own & {text, text.removesuffix("_output")}})
    for text in _strings("exclude_layers_match", matches):
        add("exclude_layers_match", text, {n for n, own in names.items() if any(text in name for name in own)})
    return found | _by_operator(graph, _strings("exclude_operators", operators))


def _by_operator(graph: Graph, operators: Collection[str]) -> set[Node]:
    found: set[Node] = set()
    for name in operators:
        try:
            op = get_op(_FUSED.get(name, name))
        except GraphError:
            raise ValueError(f"exclude_operators: there is no operator {name!r}") from None
        for node in graph.operations():
            anchor = find_anchor(node)
            inner = node.subgraph.operations() if node.subgraph is not None and anchor is None else (anchor or node,)
            if any(n.op is op for n in inner):
                found.add(node)
    return found


def _names(node: Node) -> set[str]:
    """All names that mean an operation: its own, those of what was fused, and the blocks that they came from."""
    inner = node.subgraph.operations() if node.subgraph is not None else ()
    names = {n.name for n in (node, *inner)}
    for n in (node, *inner):
        # A traced operation is named <block>_<operator>, with a number where that was taken.
        traced = re.fullmatch(rf"(.+)_{re.escape(n.op_name)}(_\d+)?", n.name)
        if traced:
            names.add(traced[1])
    return names


def _strings(label: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(v, str) for v in value):
        raise TypeError(f"{label} must be a list of strings, got {value!r}")
    return list(value)
