"""Operations that give back what they got are taken out: at inference they only cost time and hide fusions."""

from __future__ import annotations

from collections.abc import Sequence

from minidnn.symbol.graph import Entry, Graph, Node
from minidnn.symbol.infer import known_types

__all__ = ["remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Take out identities, dropouts and casts to the same dtype."""
    types = known_types(graph)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op_name in {"identity", "dropout", "cast"}:
            before, after = types.get(node.inputs[0]), types.get(node[0])
            if before == after if before is not None else node.op_name != "cast":
                return [inputs[0]]
        return None

    return graph.rewrite(change)
