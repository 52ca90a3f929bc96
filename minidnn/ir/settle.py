"""Which sizes of a traced graph can be any, which are equal to others, and which can be no other number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_variable
from minidnn.ir.shape_checks import ShapeChecks
from minidnn.ir.symbolic import bind_graph, input_types, symbols_by_name
from minidnn.ops.registry import TensorType
from minidnn.sizes import Guard, Size, bind, has_sizes, symbols_of

__all__ = ["settle"]


def settle(graph: Graph, guards: Sequence[Guard]) -> Graph:
    """The graph in which sizes that cannot be others are numbers, as channels are; guards are hints of its inputs.

    Args:
        graph: as it was traced: all variables have their types as hints.
        guards: what was decided.
    """
    symbolic = input_types(graph)
    symbols = symbols_by_name(graph)
    known = [g for g in guards if symbols_of((g.left, g.right)) <= symbols.keys()]
    values = _settled(graph, known, symbols)
    noted = [replace(g, left=bind(g.left, values), right=bind(g.right, values)) for g in known]
    mine: dict[str, list[Guard]] = {}
    for guard in noted:
        if has_sizes((guard.left, guard.right)):
            mine.setdefault(_first_input(guard, symbolic, values), []).append(guard)

    def change(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if not node.is_variable or node.name not in mine:
            return None
        return [make_variable(node.name, **{**node.hints, "guards": tuple(mine[node.name])})]

    bound = bind_graph(graph, values)
    return bound.rewrite(change) if mine else bound


def _first_input(guard: Guard, symbolic: Mapping[str, TensorType], values: Mapping[str, Any]) -> str:
    """The input that a guard stands at: the first one that brings one of its symbols."""
    wanted = symbols_of((guard.left, guard.right))
    return next(name for name, t in symbolic.items() if symbols_of(bind(t.shape, values)) & wanted)


class _Settling:
    """Finds which symbols can be other numbers.

    Args:
        graph: as it was traced.
        guards: what was decided.
        examples: the numbers of the symbols in the call that was traced.
    """

    def __init__(self, graph: Graph, guards: Sequence[Guard], examples: Mapping[str, int]) -> None:
        self._checks = ShapeChecks(graph)
        self._examples = examples
        self._guards: dict[str, list[Guard]] = {}
        for guard in guards:
            for name in symbols_of((guard.left, guard.right)):
                self._guards.setdefault(name, []).append(guard)

    def can_vary(self, name: str) -> bool:
        """Whether the graph holds for another number of this symbol too."""
        return any(self._holds([name], number) for number in _others(self._examples[name]))

    def find_group(self, name: str, free: Set[str]) -> list[str] | None:
        """The symbols among `free` that vary with this one; None if it is always the number that it is."""
        groups = (self._grow(name, number, free) for number in _others(self._examples[name]))
        return next((group for group in groups if group is not None), None)

    def _grow(self, name: str, number: int, free: Set[str]) -> list[str] | None:
        group = [name]
        while not self._holds(group, number):
            # What this number would change names the sizes that have to change with it.
            sizes = self._with(group, number)
            broken = [*self._broken_guards(group, sizes), *(guard for guard, _ in self._checks.broken(sizes, group))]
            met = frozenset[str]().union(*(symbols_of((guard.left, guard.right)) for guard in broken))
            more = sorted(s for s in met & free if s not in group and self._examples[s] == self._examples[name])
            if not more:
                return None
            group += more
        return group

    def _holds(self, names: Sequence[str], number: int) -> bool:
        sizes = self._with(names, number)
        if self._broken_guards(names, sizes):
            return False
        try:
            self._checks.check(sizes, names)
        except OpError:
            return False
        return True

    def _with(self, names: Sequence[str], number: int) -> dict[str, int]:
        return {**self._examples, **dict.fromkeys(names, number)}

    def _broken_guards(self, names: Sequence[str], sizes: Mapping[str, int]) -> list[Guard]:
        return [g for name in names for g in self._guards.get(name, ()) if not g.holds(sizes)]


def _settled(graph: Graph, guards: Sequence[Guard], symbols: Mapping[str, Size]) -> dict[str, Any]:
    """For every symbol itself, another that it always equals, or the number that it always is."""
    settling = _Settling(graph, guards, {name: size.example for name, size in symbols.items()})
    values: dict[str, Any] = {name: size for name, size in symbols.items() if settling.can_vary(name)}
    for name, size in symbols.items():
        if name not in values:
            group = settling.find_group(name, symbols.keys() - values.keys())
            values.update({name: size.example} if group is None else dict.fromkeys(group, size))
    return values


def _others(number: int) -> tuple[int, ...]:
    """Numbers to try; 1 is none of them, which fits nearly everything by broadcasting."""
    tried = (number + 1, number - 1, 2 * number, 3 * number + 1)
    return tuple(dict.fromkeys(n for n in tried if n > 1 and n != number))
