"""Graphs for inputs of any size: the sizes of inputs as symbols, and the graph for sizes that are known.

The hint ``shape`` of an input holds ints and symbols, the hint ``guards`` what was decided by sizes while the graph was
traced. Attributes of operators may hold sizes that follow from the symbols. `find_sizes` takes the numbers of a call,
`bind_graph` puts them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from minidnn.errors import OpError, ShapeError
from minidnn.ir.graph import Entry, Graph, Node, infer_types, make_variable
from minidnn.ir.infer import hinted_type, known_types
from minidnn.ops.registry import Attrs, TensorType
from minidnn.sizes import Decisions, Guard, Size, bind, example_of, has_sizes, symbols_of

__all__ = [
    "bind_examples",
    "bind_graph",
    "bind_known",
    "check_shapes",
    "example_shapes",
    "example_sizes",
    "find_sizes",
    "fits",
    "format_sizes",
    "guards_of",
    "input_types",
    "is_tied",
    "settle",
    "shapes_of",
    "symbolic_types",
]

# What the axes of an input of that many dimensions are called.
_AXES: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("N",),
    2: ("N", "L"),
    3: ("N", "L", "C"),
    4: ("N", "C", "H", "W"),
    5: ("N", "C", "D", "H", "W"),
}

# How many sets of sizes that may have to be equal are tried; further ones are numbers.
_MAX_TRIALS = 64


def symbolic_types(types: Sequence[TensorType], decisions: Decisions) -> list[TensorType]:
    """The types with a symbol for every size of every axis.

    Inputs whose first axis agrees share its symbol.
    """
    names: set[str] = set()
    first: dict[int, Size] = {}
    result = []
    for type_ in types:
        axes = _AXES.get(type_.ndim, ("N", *(f"D{i}" for i in range(1, type_.ndim))))
        shape: list[Size] = []
        for axis, (name, number) in enumerate(zip(axes, type_.shape, strict=True)):
            if axis == 0 and number in first:
                shape.append(first[number])
                continue
            shape.append(decisions.symbol(_fresh(name, names), number))
            if axis == 0:
                first[number] = shape[0]
        result.append(TensorType(tuple(shape), type_.dtype))
    return result


def _fresh(name: str, names: set[str]) -> str:
    number, fresh = 1, name
    while fresh in names:
        number += 1
        fresh = f"{name}{number}"
    names.add(fresh)
    return fresh


def input_types(graph: Graph) -> dict[str, TensorType]:
    """The types of variables whose shapes hold symbols, by name."""
    return {
        v.name: TensorType(v.hints["shape"], v.hints["dtype"])
        for v in _variables(graph)
        if has_sizes(v.hints.get("shape"))
    }


def guards_of(graph: Graph) -> tuple[Guard, ...]:
    """What was decided by sizes."""
    return tuple(guard for v in _variables(graph) for guard in v.hints.get("guards", ()))


def format_sizes(graph: Graph, names: Sequence[str]) -> str:
    """What the graph says of the sizes of its inputs, a line each, and then of decisions by them.

    Args:
        graph: the graph.
        names: of its inputs.
    """
    known = {v.name: v.hints.get("shape") for v in _variables(graph)}
    lines = []
    for name in names:
        shape = known.get(name)
        traced = f", traced with {example_of(shape)}" if has_sizes(shape) else ""
        lines.append(f"{name}: {'any shape' if shape is None else shape}{traced}")
    guards = guards_of(graph)
    lines += ["decisions:" if guards else "no decision depends on a size", *(f"  {guard}" for guard in guards)]
    return "\n".join(lines)


def is_tied(graph: Graph) -> bool:
    """Whether the graph is only for inputs of the shapes that its hints say, by its attributes or by decisions."""
    return bool(guards_of(graph)) or any(map(_has_sized_attrs, graph.nodes()))


def find_sizes(graph: Graph, shapes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The numbers of the symbols when inputs have these shapes.

    Args:
        graph: the graph; without symbols there is nothing to find.
        shapes: of inputs, by name.

    Raises:
        ShapeError: the shapes are not those of the graph, or what was decided while it was traced would be decided
            otherwise; the message names the input or the decision.
    """
    found: dict[str, Any] = {}
    where: dict[str, str] = {}
    for variable in _variables(graph):
        type_ = hinted_type(variable)
        if type_ is None or variable.name not in shapes:
            continue
        name, shape = variable.name, tuple(shapes[variable.name])
        wanted = f"input {name!r} must have shape {type_.shape}, got {shape}"
        if len(shape) != type_.ndim:
            raise ShapeError(f"{wanted}: expected {type_.ndim} dimensions")
        for axis, (size, number) in enumerate(zip(type_.shape, shape, strict=True)):
            if not isinstance(size, Size):
                if size != number:
                    raise ShapeError(f"{wanted}: dimension {axis} is {size} in the network as it was traced")
            elif size.name is not None and found.setdefault(size.name, number) != number:
                raise ShapeError(f"{wanted}: {size} is {found[size.name]} in input {where[size.name]!r}")
            elif size.name is not None:
                where.setdefault(size.name, name)
    for guard in guards_of(graph):
        if symbols_of((guard.left, guard.right)) <= found.keys() and not guard.holds(found):
            numbers = ", ".join(f"{s} = {found[s]}" for s in sorted(symbols_of((guard.left, guard.right))))
            raise ShapeError(
                f"the network was traced for {guard}, which does not hold for {numbers}: forward() decides by this size"
            )
    return found


def fits(graph: Graph, shapes: Mapping[str, Sequence[Any]]) -> bool:
    """Whether inputs of these shapes are among those the graph says it is for.

    Raises:
        ShapeError: they are not, and it is tied to them.
    """
    symbolic = input_types(graph)
    try:
        find_sizes(graph, {name: shape for name, shape in shapes.items() if name in symbolic})
    except ShapeError:
        if is_tied(graph):
            raise
        return False
    return True


def bind_known(graph: Graph, shapes: Mapping[str, Sequence[Any]]) -> Graph:
    """The graph for inputs of these shapes, if it is tied to shapes; what they leave open stays symbolic.

    Raises:
        ShapeError: the shapes are not those of the graph; see `find_sizes`.
    """
    if not is_tied(graph):
        return graph
    inputs = input_types(graph)
    return bind_graph(graph, find_sizes(graph, {name: shape for name, shape in shapes.items() if name in inputs}))


def bind_examples(graph: Graph) -> Graph:
    """The graph for the call that was traced, if attributes depend on sizes: for files that hold numbers only."""
    if not any(_has_sized_attrs(node) for node in graph.nodes()):
        return graph
    shapes = {name: example_of(t.shape) for name, t in input_types(graph).items()}
    return bind_graph(graph, find_sizes(graph, shapes))


def example_sizes(graph: Graph) -> dict[str, int]:
    """The numbers of the symbols in the call that was traced."""
    return {name: size.example for name, size in _symbols(graph).items()}


def example_shapes(graph: Graph, types: Mapping[str, TensorType]) -> dict[str, tuple[int, ...]]:
    """What shape the first output of each node had in the call that was traced, by name; of nodes inside others too.

    Args:
        graph: without sizes that depend on values.
        types: of the variables; what the graph says of the shapes of inputs goes first.
    """
    traced = {name: TensorType(example_of(t.shape), t.dtype) for name, t in input_types(graph).items()}
    bound = bind_graph(graph, example_sizes(graph))
    return dict(_shapes_by_name(bound, {**types, **traced}))


def _shapes_by_name(graph: Graph, feed: Mapping[str, TensorType]) -> Iterator[tuple[str, tuple[int, ...]]]:
    types = infer_types(graph, feed)
    for node in graph.operations():
        yield node.name, types[node[0]].shape
        if node.subgraph is not None:
            yield from _shapes_by_name(node.subgraph, node.feed_inside([types[e] for e in node.inputs]))


def _has_sized_attrs(node: Node) -> bool:
    return node.attrs.has_sizes or (node.subgraph is not None and any(map(_has_sized_attrs, node.subgraph.nodes())))


def bind_graph(graph: Graph, sizes: Mapping[str, Any]) -> Graph:
    """The graph for these sizes: numbers, or other sizes, in place of symbols, in hints and attributes.

    Args:
        graph: the graph.
        sizes: what stands for symbols; those that are not among them, of inputs that nothing needs, stay.

    Raises:
        OpError: an attribute comes out as what its operator does not allow; the message names the node.
    """
    if not sizes or not any(map(_needs_binding, graph.listing())):
        return graph
    return _bound(graph, {**_symbols(graph), **sizes})


def _symbols(graph: Graph) -> dict[str, Size]:
    sizes = (size for t in input_types(graph).values() for size in t.shape)
    return {size.name: size for size in sizes if isinstance(size, Size) and size.name is not None}


def _bound(graph: Graph, sizes: Mapping[str, Any]) -> Graph:
    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op is None:
            return _bound_variable(node, sizes)
        if not _has_sized_attrs(node):
            return None
        if node.subgraph is not None:
            made = _with_subgraph(node, inputs, _bound(node.subgraph, sizes))
        else:
            made = replace(node, inputs=inputs, attrs=_bound_attrs(node, sizes))
        return [made[i] for i in range(made.num_outputs)]

    return graph.rewrite(change)


def _needs_binding(node: Node) -> bool:
    return _has_sized_attrs(node) or "guards" in node.hints or has_sizes(node.hints.get("shape"))


def _bound_variable(node: Node, sizes: Mapping[str, Any]) -> list[Entry] | None:
    if not _needs_binding(node):
        return None
    hints = {key: value for key, value in node.hints.items() if key != "guards"}
    return [make_variable(node.name, **{**hints, "shape": bind(hints["shape"], sizes)})]


def _bound_attrs(node: Node, sizes: Mapping[str, Any]) -> Attrs:
    assert node.op is not None
    try:
        return node.op.bind_attrs(node.attrs, sizes)
    except OpError as error:
        raise type(error)(f"node {node.name!r}: {error}") from None


def _with_subgraph(node: Node, inputs: tuple[Entry, ...], subgraph: Graph) -> Node:
    """The node with another subgraph, whose variables have the names of those of the old one."""
    renewed = {variable.name: variable for variable in subgraph.variables()}
    inner = tuple(renewed.get(variable.name, variable) for variable in node.inner_inputs)
    return replace(node, inputs=inputs, subgraph=subgraph, inner_inputs=inner)


def check_shapes(
    graph: Graph, bound: Graph, sizes: Mapping[str, int], said: Mapping[Entry, TensorType] | None = None
) -> None:
    """Whether what the graph says of shapes is so for these sizes.

    While it was traced, operators took sizes for equal, or for 1, where they were so in that call.

    Args:
        graph: as it was traced: all variables have their types as hints.
        bound: the same graph for these sizes.
        sizes: numbers of the symbols.
        said: the types of the graph as it was traced, where they are known already.

    Raises:
        ShapeError: a shape comes out otherwise; the message names the node.
        OpError: shapes do not fit; the message names the node.
    """
    try:
        said, found = said or shapes_of(graph), shapes_of(bound)
    except (ArithmeticError, IndexError) as error:
        raise ShapeError(str(error)) from None
    for node, same in zip(graph.nodes(), bound.nodes(), strict=True):
        for i in range(node.num_outputs):
            # Sizes that depend on values are not known before a run.
            if node[i] not in said or same[i] not in found:
                continue
            shape = bind(said[node[i]].shape, sizes)
            if shape != found[same[i]].shape:
                raise ShapeError(
                    f"node {node.name!r}: it was traced for a result of shape {said[node[i]].shape}, "
                    f"which is {shape} here, but has shape {found[same[i]].shape}"
                )


def settle(graph: Graph, guards: Sequence[Guard]) -> Graph:
    """The graph in which sizes that cannot be others are numbers, as channels are; guards are hints of its inputs.

    Args:
        graph: as it was traced: all variables have their types as hints.
        guards: what was decided.
    """
    symbolic = input_types(graph)
    values = _settled(graph, guards)
    noted = _relevant(guards, values)

    mine = {name: tuple(g for g in noted if _first_input(g, symbolic) == name) for name in symbolic}

    def change(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if not node.is_variable or not mine.get(node.name):
            return None
        return [make_variable(node.name, **{**node.hints, "guards": mine[node.name]})]

    return bind_graph(graph, values).rewrite(change)


def _settled(graph: Graph, guards: Sequence[Guard]) -> dict[str, Any]:
    """For every symbol itself, another that it always equals, or the number that it always is."""
    symbols = {name: size.example for name, size in _symbols(graph).items()}
    said = shapes_of(graph)
    varying = [name for name in symbols if _can_vary(graph, guards, [name], symbols, said)]
    values: dict[str, Any] = {name: Size.symbol(name, symbols[name]) for name in varying}
    left = [name for name in symbols if name not in values]
    trials = iter(range(_MAX_TRIALS))
    while left:
        first, *others = left
        equal = [name for name in others if symbols[name] == symbols[first]]
        together = [[first, *equal]] if len(equal) > 1 else []
        together += [[first, name] for name in equal]
        tried = (names for names, _ in zip(together, trials, strict=False))
        group = next((names for names in tried if _can_vary(graph, guards, names, symbols, said)), None)
        for name in group or [first]:
            values[name] = symbols[first] if group is None else Size.symbol(first, symbols[first])
        left = [name for name in left if name not in values]
    return values


def _relevant(guards: Sequence[Guard], values: Mapping[str, Any]) -> list[Guard]:
    """The guards that sizes which are still symbols can break."""
    bound = [
        replace(g, left=bind(g.left, values), right=bind(g.right, values))
        for g in guards
        if symbols_of((g.left, g.right)) <= values.keys()
    ]
    return [g for g in bound if has_sizes((g.left, g.right))]


def _first_input(guard: Guard, symbolic: Mapping[str, TensorType]) -> str | None:
    """The input that a guard stands at: the last one that brings one of its symbols, so that all are known there."""
    wanted = symbols_of((guard.left, guard.right))
    return next((name for name, t in symbolic.items() if symbols_of(t.shape) & wanted), None)


def _can_vary(
    graph: Graph,
    guards: Sequence[Guard],
    names: Sequence[str],
    numbers: Mapping[str, int],
    said: Mapping[Entry, TensorType],
) -> bool:
    """Whether the graph holds for another number of these symbols too, the same for all of them."""
    mine = [g for g in guards if not symbols_of((g.left, g.right)).isdisjoint(names)]
    mine = [g for g in mine if symbols_of((g.left, g.right)) <= numbers.keys()]
    for other in _others(numbers[names[0]]):
        tried = {**numbers, **dict.fromkeys(names, other)}
        if not all(guard.holds(tried) for guard in mine):
            continue
        try:
            bound = bind_graph(graph, tried)
            check_shapes(graph, bound, tried, said)
        except (OpError, ArithmeticError):
            continue
        return True
    return False


def _others(number: int) -> tuple[int, ...]:
    """Numbers to try; 1 is none of them, which fits nearly everything by broadcasting."""
    tried = (number + 1, number - 1, 2 * number, 3 * number + 1)
    return tuple(dict.fromkeys(n for n in tried if n > 1 and n != number))


def _variables(graph: Graph) -> list[Node]:
    """All variables, also those that no output needs."""
    return [node for node in graph.listing() if node.is_variable]


def shapes_of(graph: Graph) -> dict[Entry, TensorType]:
    """The types of everything in a traced graph, in symbols, as far as they are known."""
    hints = {v.name: v.hints for v in graph.variables()}
    shapes = {name: hint["shape"] for name, hint in hints.items()}
    return known_types(graph, shapes, {name: hint["dtype"] for name, hint in hints.items()})
