"""Larger graphs from smaller ones: operators applied to graphs, with names that stay unique."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import numpy as np

from minidnn.errors import GraphError
from minidnn.ir.graph import Entry, Graph, Node, make_node

__all__ = ["Arithmetic", "check_names", "compose"]

# Numbers for the names of nodes, one sequence for each operator, as MXNet's NameManager has them.
_counters: dict[str, itertools.count[int]] = defaultdict(itertools.count)


def compose(op: str, inputs: Sequence[Entry], name: str | None, attrs: Mapping[str, Any]) -> Node:
    """A new node on top of `inputs`; without a name it gets the operator's and a number.

    Raises:
        GraphError: an unknown operator, a wrong number of inputs, a duplicate name.
        OpError: attributes that do not fit.
    """
    taken = check_names(inputs)
    if name is None:
        name = next(n for n in (f"{op}{i}" for i in _counters[op]) if n not in taken)
    elif name in taken:
        raise GraphError(f"{op}: the name {name!r} is taken")
    return make_node(op, name, inputs, attrs)


def check_names(outputs: Sequence[Entry]) -> set[str]:
    """The names of all nodes.

    Raises:
        GraphError: two nodes have one name.
    """
    named: dict[str, Node] = {}
    for node in Graph(outputs).nodes():
        if named.setdefault(node.name, node) is not node:
            raise GraphError(f"two different nodes are named {node.name!r}")
    return set(named)


class Arithmetic(Graph):
    """A graph of one output as a number: ``a + b``, ``2 * a``, ``-a``, ``a @ b``, ``a > 0``; ``==`` compares graphs."""

    __slots__ = ()

    def single_output(self) -> Entry:
        """The output, of a graph that has only one.

        Raises:
            GraphError: it has several.
        """
        if len(self.outputs) != 1:
            raise GraphError(f"an operand must have one output, got {len(self.outputs)}: {self!r}")
        return self.outputs[0]

    def _apply(self, op: str, *others: Arithmetic, **attrs: Any) -> Self:
        operands = [self.single_output(), *(other.single_output() for other in others)]
        return type(self)([compose(op, operands, None, attrs)[0]])

    def _binary(self, op: str, other: Any) -> Self:
        """``self op other``; the reversed forms (``rsubtract``) exist for a scalar only."""
        if isinstance(other, Arithmetic):
            return self._apply(op, other)
        if isinstance(other, np.generic):
            other = other.item()
        if not isinstance(other, (int, float)):
            return cast(Self, NotImplemented)
        return self._apply(f"{op}_scalar", scalar=float(other), is_int=isinstance(other, int))

    def __add__(self, other: Any) -> Self:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Self:
        return self._binary("add", other)

    def __sub__(self, other: Any) -> Self:
        return self._binary("subtract", other)

    def __rsub__(self, other: Any) -> Self:
        return self._binary("rsubtract", other)

    def __mul__(self, other: Any) -> Self:
        return self._binary("multiply", other)

    def __rmul__(self, other: Any) -> Self:
        return self._binary("multiply", other)

    def __truediv__(self, other: Any) -> Self:
        return self._binary("true_divide", other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._binary("rtrue_divide", other)

    def __floordiv__(self, other: Any) -> Self:
        return self._binary("floor_divide", other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self._binary("rfloor_divide", other)

    def __mod__(self, other: Any) -> Self:
        return self._binary("mod", other)

    def __rmod__(self, other: Any) -> Self:
        return self._binary("rmod", other)

    def __gt__(self, other: Any) -> Self:
        return self._binary("greater", other)

    def __ge__(self, other: Any) -> Self:
        return self._binary("greater_equal", other)

    def __lt__(self, other: Any) -> Self:
        return self._binary("less", other)

    def __le__(self, other: Any) -> Self:
        return self._binary("less_equal", other)

    def __pow__(self, other: Any) -> Self:
        return self._binary("power", other)

    def __rpow__(self, other: Any) -> Self:
        return self._binary("rpower", other)

    def __matmul__(self, other: Any) -> Self:
        return self._apply("matmul", other) if isinstance(other, Arithmetic) else NotImplemented

    def __neg__(self) -> Self:
        return self._apply("negative")

    def __abs__(self) -> Self:
        return self._apply("abs")
