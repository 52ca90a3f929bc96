"""Names and hints of fused nodes: what a reader sees of a fusion, in MXNet's words."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.ir.graph import Entry, Graph, Node, make_like
from minidnn.ops.registry import Attrs

__all__ = ["find_anchor", "name_fused_nodes"]

_MAX_WORDS = 8
_HINTS = ("with_bn", "with_act", "with_sum", "with_postsum_act", "with_eltwise")


def find_anchor(node: Node) -> Node | None:
    """The anchor on floats: the node itself, or the one inside a fused node; None where there is none."""
    inner = (node,) if node.subgraph is None else node.subgraph.operations()
    return next((n for n in inner if n.op is not None and n.op.anchor is not None and not n.op.anchor.is_integer), None)


def name_fused_nodes(graph: Graph) -> Graph:
    """The graph with fused nodes named ``fused_<anchor>_<tail>_<n>``, n counting in topological order.

    A fused node with an anchor gets MXNet's hints too, each ``'true'`` or not there: ``with_bn``; ``with_sum``, it
    adds another tensor; ``with_act``, an activation before the sum; ``with_postsum_act``, one after it; and at dense
    layers ``with_eltwise``, any operation on one tensor.
    """
    taken = {node.name for node in graph.nodes() if node.subgraph is None}
    count = 0

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        nonlocal count
        if node.subgraph is None:
            return None
        stem = _stem(node.subgraph)
        while f"{stem}_{count}" in taken:
            count += 1
        hints = {key: value for key, value in node.hints.items() if key not in _HINTS}
        named = make_like(node, inputs, name=f"{stem}_{count}", hints=Attrs(hints | _mxnet_hints(node)))
        count += 1
        return [named[i] for i in range(named.num_outputs)]

    return graph.rewrite(change)


def _stem(subgraph: Graph) -> str:
    family, tail = "elementwise", []
    for node in subgraph.operations():
        assert node.op is not None
        if node.op.anchor is not None:
            family = node.op.anchor.label
        else:
            tail.append(node.op.word)
    words = tail[:_MAX_WORDS] + (["more"] if len(tail) > _MAX_WORDS else [])
    return "_".join(["fused", family, *words])


def _mxnet_hints(node: Node) -> dict[str, str]:
    assert node.subgraph is not None
    anchor = find_anchor(node)
    if anchor is None:
        return {}
    assert anchor.op is not None and anchor.op.anchor is not None
    found: set[str] = set()
    for inner in node.subgraph.operations():
        assert inner.op is not None
        if inner.op.affine is not None:
            found.add("with_bn")
        elif inner.op.word == "add" and len(inner.inputs) > 1:
            found.add("with_sum")
        elif inner.op.is_activation:
            found.add("with_postsum_act" if "with_sum" in found else "with_act")
        if inner.op.anchor is None and inner.op.affine is None and len(inner.inputs) == 1:
            found.add(anchor.op.anchor.eltwise_hint)
    return {key: "true" for key in _HINTS if key in found}
