"""Sizes that depend on values: which shapes of a graph change with the number of elements that an operation finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, infer_types
from minidnn.ops.registry import TensorType
from minidnn.sizes import example_of

__all__ = ["depends_on_size", "with_sizes"]

# Shapes follow sizes monotonically (slices, windows, sums, products), so few numbers tell whether they follow at all.
_LARGE = 1 << 20


def with_sizes(graph: Graph, sizes: Mapping[Node, int]) -> Graph:
    """The graph with the sizes of these operations fixed."""

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node not in sizes:
            return None
        fixed = replace(node, inputs=inputs, attrs=node.attrs.replace(size=sizes[node]))
        return [fixed[i] for i in range(node.num_outputs)]

    return graph.rewrite(change)


def depends_on_size(
    entry: Entry, node: Node, sizes: Mapping[Node, int], rank_only: bool = False, axis: int | None = None
) -> bool:
    """Whether the shape of `entry`, or its rank alone, or one size, changes with the number that `node` finds.

    Args:
        entry: all variables that it is computed from have their types as hints.
        node: an operation whose size depends on values.
        sizes: of all such operations that `entry` is computed from, as found in one run.
        rank_only: look at the rank alone.
        axis: look at the size of this axis alone.
    """
    shapes: set[int | tuple[int, ...]] = set()
    for size in (sizes[node], 0, 1, 2, sizes[node] + 1, _LARGE):
        try:
            shape = _shape(entry, {**sizes, node: size})
        except OpError:
            continue  # with so many elements the graph cannot be planned at all
        shapes.add(len(shape) if rank_only else example_of(shape if axis is None else shape[axis]))
    return len(shapes) > 1


def _shape(entry: Entry, sizes: Mapping[Node, int]) -> tuple[int, ...]:
    graph = with_sizes(Graph([entry]), sizes)
    types = {v.name: TensorType(v.hints["shape"], v.hints["dtype"]) for v in graph.variables()}
    return infer_types(graph, types)[graph.outputs[0]].shape
