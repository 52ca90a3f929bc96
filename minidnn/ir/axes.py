"""The sizes of inputs as symbols, and what they are called: by users, or by the position of their axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from minidnn.errors import ShapeError
from minidnn.ir.graph import Entry, Graph, Node, make_variable
from minidnn.ir.symbolic import bind_graph, input_types, symbols_by_name, variables_of
from minidnn.ops.registry import TensorType
from minidnn.sizes import Decisions, Size, bind, example_of

__all__ = ["Axes", "named_axes", "rename_sizes", "symbolic_types"]

# Names of axes, by input and number of the axis.
Axes = Mapping[str, Mapping[int, str]]

# What the axes of an input of that many dimensions are called, if they have no names.
_AXES: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("N",),
    2: ("N", "L"),
    3: ("N", "L", "C"),
    4: ("N", "C", "H", "W"),
    5: ("N", "C", "D", "H", "W"),
}


def symbolic_types(
    types: Mapping[str, TensorType], decisions: Decisions, axes: Axes | None = None
) -> dict[str, TensorType]:
    """The types of inputs, by name, with a symbol for every size of every axis.

    Axes of one name share its symbol; so do first axes without one whose numbers agree with those of other inputs.

    Args:
        types: in numbers.
        decisions: whose symbols they are.
        axes: names of axes; those of inputs and axes that are not there are of no account.

    Raises:
        ShapeError: two axes of one name have different sizes.
    """
    named = _named_axes(types, axes or {}, decisions)
    names = {size.name for size in named.values()}
    first: dict[int, Size] = {}
    for (_, axis), given in named.items():
        if axis == 0:
            first.setdefault(given.example, given)
    result = {}
    for input_, type_ in types.items():
        shape: list[Size] = []
        for axis, number in enumerate(type_.shape):
            size: Size | None = named.get((input_, axis))
            if size is None and axis == 0:
                size = first.get(number)
            if size is None:
                size = decisions.symbol(_fresh(_axis_name(axis, type_.ndim), names), number)
            if axis == 0:
                first.setdefault(number, size)
            shape.append(size)
        result[input_] = TensorType(tuple(shape), type_.dtype)
    return result


def _named_axes(types: Mapping[str, TensorType], axes: Axes, decisions: Decisions) -> dict[tuple[str, int], Size]:
    """The symbols of axes that have names, by input and axis."""
    made: dict[str, Size] = {}
    where: dict[str, tuple[str, int]] = {}
    result = {}
    for input_, type_ in types.items():
        for axis, name in axes.get(input_, {}).items():
            if axis >= type_.ndim:
                continue
            number = type_.shape[axis]
            size = made.setdefault(name, decisions.symbol(name, number))
            if size.example != number:
                other, other_axis = where[name]
                raise ShapeError(
                    f"{name!r} names axis {other_axis} of input {other!r}, which is {size.example}, and "
                    f"axis {axis} of input {input_!r}, which is {number}: axes of one name have one size"
                )
            where.setdefault(name, (input_, axis))
            result[input_, axis] = size
    return result


def named_axes(types: Mapping[str, TensorType]) -> dict[str, dict[int, str]]:
    """What the axes of inputs are called whose types are given in symbols."""
    return {
        input_: {axis: n.name for axis, n in enumerate(t.shape) if isinstance(n, Size) and n.name is not None}
        for input_, t in types.items()
    }


def _axis_name(axis: int, ndim: int) -> str:
    names = _AXES.get(ndim)
    return names[axis] if names is not None else f"D{axis}" if axis else "N"


def _fresh(name: str, names: set[str | None]) -> str:
    number, fresh = 1, name
    while fresh in names:
        number += 1
        fresh = f"{name}{number}"
    names.add(fresh)
    return fresh


def rename_sizes(graph: Graph, axes: Axes) -> Graph:
    """The graph whose symbols have the names that users give to the axes of its inputs; numbers stay what they are.

    Raises:
        ShapeError: axes of one name had different sizes when the graph was traced.
    """
    types = {name: t for name, t in input_types(graph).items() if name in axes}
    examples = {name: TensorType(example_of(t.shape), t.dtype) for name, t in types.items()}
    renamed: dict[str, Size] = {}
    for (input_, axis), size in _named_axes(examples, axes, Decisions()).items():
        old = types[input_].shape[axis]
        if isinstance(old, Size) and old.name is not None:
            renamed.setdefault(old.name, Size.symbol(str(size), size.example))
    taken: set[str | None] = {size.name for size in renamed.values()}
    for name, size in symbols_by_name(graph).items():
        if name not in renamed:
            renamed[name] = Size.symbol(_fresh(name, taken), size.example)
    guards = {v.name: v.hints["guards"] for v in variables_of(graph) if "guards" in v.hints}

    def change(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if not node.is_variable or node.name not in guards:
            return None
        mine = tuple(replace(g, left=bind(g.left, renamed), right=bind(g.right, renamed)) for g in guards[node.name])
        return [make_variable(node.name, **{**node.hints, "guards": mine})]

    return bind_graph(graph, renamed).rewrite(change)
