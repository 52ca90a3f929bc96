"""Whether a graph that was traced in symbols holds for given numbers.

While it was traced, operators decided by the sizes of that call: two were equal, one was 1, a kernel fitted in.
Inference notes what it decides (`minidnn.ir.graph.Inference`). Where all of it would be decided the same way again, an
operator gives what the graph says; where not, inference with numbers tells, for that operator alone: each is right if
it makes of the inputs that the graph says the outputs that the graph says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from minidnn.errors import ShapeError, SizeError
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.infer import hinted_type, known_types
from minidnn.ir.symbolic import bind_node, has_sized_attrs
from minidnn.ops.registry import TensorType
from minidnn.sizes import Condition, Guard, bind, structure_of, symbols_of

__all__ = ["ShapeChecks", "shapes_of"]


class ShapeChecks:
    """What must hold of sizes for a graph to be right, collected once and checked for many sizes.

    Args:
        graph: as it was traced: all variables have their types as hints.
    """

    def __init__(self, graph: Graph) -> None:
        self._types = shapes_of(graph)
        self._operations = graph.operations()
        # What was decided, each once, with the positions of the operations that decided it.
        self._conditions: dict[Any, tuple[Guard, list[int]]] = {}
        # Operations that are checked by inference or by their attributes whatever the sizes are.
        self._unsure: dict[int, frozenset[str]] = {}
        self._sized: dict[int, frozenset[str]] = {}
        for position, node in enumerate(self._operations):
            self._add(position, node)
        self._of_symbol: dict[str, list[Any]] = {}
        for key, (guard, _) in self._conditions.items():
            for name in symbols_of((guard.left, guard.right)):
                self._of_symbol.setdefault(name, []).append(key)

    def _add(self, position: int, node: Node) -> None:
        types = [self._types[e] for e in node.inputs if e in self._types]
        if has_sized_attrs(node):
            self._sized[position] = _symbols_in_attrs(node)
        if len(types) < len(node.inputs):
            return
        if node[0] not in self._types:
            self._unsure[position] = symbols_of(tuple(t.shape for t in types)) | self._sized.get(position, frozenset())
            return
        for left, relation, right, outcome in _decided(node, types):
            key = structure_of(left), relation, structure_of(right), outcome
            if key not in self._conditions:
                self._conditions[key] = Guard(left, relation, right, outcome), []
            self._conditions[key][1].append(position)

    def broken(self, sizes: Mapping[str, int], names: Collection[str]) -> list[tuple[Guard, Sequence[int]]]:
        """What would be decided otherwise, with the positions of the operations that would.

        Args:
            sizes: numbers of all symbols.
            names: those of the symbols that have other numbers than in the call that was traced.
        """
        keys = dict.fromkeys(key for name in names for key in self._of_symbol.get(name, ()))
        return [self._conditions[key] for key in keys if not self._conditions[key][0].holds(sizes)]

    def check(self, sizes: Mapping[str, int], names: Collection[str] | None = None) -> None:
        """Whether what the graph says of shapes is so for these sizes; arguments as for `broken`, None for all.

        Raises:
            ShapeError: a shape comes out otherwise; the message names the node.
            OpError: shapes or attributes do not fit; the message names the node.
        """
        changed = sizes.keys() if names is None else names
        doubted = {position for _, positions in self.broken(sizes, changed) for position in positions}
        doubted |= {position for position, symbols in self._unsure.items() if not symbols.isdisjoint(changed)}
        sized = {position for position, symbols in self._sized.items() if not symbols.isdisjoint(changed)}
        try:
            for position in sorted(doubted | sized):
                node = bind_node(self._operations[position], sizes)
                if position in doubted:
                    self._infer(self._operations[position], node, sizes)
        except (ArithmeticError, IndexError) as error:
            raise ShapeError(str(error)) from None

    def _infer(self, node: Node, bound: Node, sizes: Mapping[str, int]) -> None:
        try:
            found = bound.infer_types([_bound(self._types[e], sizes) for e in node.inputs])
        except SizeError:
            return  # not known before a run
        for i, type_ in enumerate(found):
            said = self._types[node[i]].shape
            if bind(said, sizes) != type_.shape:
                raise ShapeError(
                    f"node {node.name!r}: it was traced for a result of shape {said}, "
                    f"which is {bind(said, sizes)} here, but has shape {type_.shape}"
                )


def _bound(type_: TensorType, sizes: Mapping[str, int]) -> TensorType:
    return TensorType(bind(type_.shape, sizes), type_.dtype)


def _symbols_in_attrs(node: Node) -> frozenset[str]:
    if node.subgraph is None:
        return symbols_of(tuple(node.attrs.values()))
    return frozenset[str]().union(*map(_symbols_in_attrs, node.subgraph.operations()))


def _decided(node: Node, types: Sequence[TensorType]) -> Iterator[Condition]:
    """What inference decides by sizes for an operation, or for those in a fused node."""
    if node.subgraph is None:
        yield from node.inference(types).conditions
        return
    inside = node.infer_inside(types)
    for inner in node.subgraph.operations():
        yield from _decided(inner, [inside[e] for e in inner.inputs])


def shapes_of(graph: Graph) -> Mapping[Entry, TensorType]:
    """The types of everything in a traced graph, in symbols, as far as they are known.

    Hints are taken as they are: a size of 0 is one.
    """
    unusual = [v for v in graph.variables() if hinted_type(v) is None]
    shapes = {v.name: v.hints["shape"] for v in unusual if isinstance(v.hints.get("shape"), tuple)}
    return known_types(graph, shapes)
