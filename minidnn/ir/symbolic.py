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
from minidnn.ir.graph import Entry, Graph, Node, infer_types, make_like, make_variable
from minidnn.ir.infer import hinted_type
from minidnn.ops.registry import Attrs, TensorType
from minidnn.sizes import Guard, Size, bind, example_of, has_sizes, structure_of, symbols_of

__all__ = [
    "bind_examples",
    "bind_graph",
    "bind_known",
    "bind_node",
    "bind_types",
    "example_sizes",
    "find_sizes",
    "fits",
    "format_sizes",
    "guards_of",
    "has_sized_attrs",
    "input_types",
    "is_tied",
    "symbols_by_name",
    "variables_of",
    "with_examples",
]


def input_types(graph: Graph) -> dict[str, TensorType]:
    """The types of variables whose shapes hold symbols, by name."""
    sized = [v for v in variables_of(graph) if v.hints.has_sizes]
    return {v.name: TensorType(v.hints["shape"], v.hints["dtype"]) for v in sized if has_sizes(v.hints.get("shape"))}


def guards_of(graph: Graph) -> tuple[Guard, ...]:
    """What was decided by sizes."""
    return tuple(guard for v in variables_of(graph) for guard in v.hints.get("guards", ()))


def format_sizes(graph: Graph, names: Sequence[str]) -> str:
    """What the graph says of the sizes of its inputs, a line each, and then of decisions by them.

    Args:
        graph: the graph.
        names: of its inputs.
    """
    known = {v.name: v.hints.get("shape") for v in variables_of(graph)}
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
    return bool(guards_of(graph)) or any(map(has_sized_attrs, graph.nodes()))


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
    for variable in variables_of(graph):
        type_ = hinted_type(variable) if variable.name in shapes else None
        if type_ is None:
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
    if not any(has_sized_attrs(node) for node in graph.nodes()):
        return graph
    shapes = {name: example_of(t.shape) for name, t in input_types(graph).items()}
    return bind_graph(graph, find_sizes(graph, shapes))


def example_sizes(graph: Graph) -> dict[str, int]:
    """The numbers of the symbols in the call that was traced."""
    return {name: size.example for name, size in symbols_by_name(graph).items()}


def with_examples(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph as if it had been traced with these sizes.

    Args:
        graph: it must hold for them.
        sizes: of all its symbols, by name.
    """
    symbols: dict[str, Any] = {name: Size.symbol(name, number) for name, number in sizes.items()}
    guards = {
        v.name: tuple(replace(g, left=bind(g.left, symbols), right=bind(g.right, symbols)) for g in v.hints["guards"])
        for v in variables_of(graph)
        if "guards" in v.hints
    }

    def change(node: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        return (
            [make_variable(node.name, **{**node.hints, "guards": guards[node.name]})] if node.name in guards else None
        )

    bound = bind_graph(graph, symbols)
    return bound.rewrite(change) if guards else bound


def types_by_name(graph: Graph, types: Mapping[str, TensorType]) -> dict[str, tuple[TensorType, ...]]:
    """What each node makes, by its name, in symbols; of nodes inside others too.

    Args:
        graph: without sizes that depend on values.
        types: of the variables; what the graph says of the shapes of inputs goes first.
    """
    same: dict[Any, TensorType] = {}
    found = _types_by_name(graph, {**types, **input_types(graph)})
    return {name: tuple([same.setdefault(_structure_of(t), t) for t in made]) for name, made in found}


def _structure_of(type_: TensorType) -> Any:
    return structure_of(type_.shape), type_.dtype, example_of(type_.shape)


def _types_by_name(graph: Graph, feed: Mapping[str, TensorType]) -> Iterator[tuple[str, tuple[TensorType, ...]]]:
    types = infer_types(graph, feed)
    for node in graph.operations():
        yield node.name, tuple(types[node[i]] for i in range(node.num_outputs))
        if node.subgraph is not None:
            yield from _types_by_name(node.subgraph, node.feed_inside([types[e] for e in node.inputs]))


def bind_types(
    types: Mapping[str, tuple[TensorType, ...]], sizes: Mapping[str, Any]
) -> dict[str, tuple[TensorType, ...]]:
    """The types for these sizes, which must be all that they hold."""
    bound: dict[int, TensorType] = {}

    def bind_type(type_: TensorType) -> TensorType:
        if id(type_) not in bound:
            fixed = not has_sizes(type_.shape)
            bound[id(type_)] = type_ if fixed else TensorType(bind(type_.shape, sizes), type_.dtype)
        return bound[id(type_)]

    return {name: tuple(map(bind_type, made)) for name, made in types.items()}


def has_sized_attrs(node: Node) -> bool:
    return node.attrs.has_sizes or (node.subgraph is not None and any(map(has_sized_attrs, node.subgraph.nodes())))


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
    return _bound(graph, {**symbols_by_name(graph), **sizes})


def symbols_by_name(graph: Graph) -> dict[str, Size]:
    sizes = (size for t in input_types(graph).values() for size in t.shape)
    return {size.name: size for size in sizes if isinstance(size, Size) and size.name is not None}


def _bound(graph: Graph, sizes: Mapping[str, Any]) -> Graph:
    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op is None:
            return _bound_variable(node, sizes)
        if not has_sized_attrs(node):
            return None
        made = make_like(bind_node(node, sizes), inputs)
        return [made[i] for i in range(made.num_outputs)]

    return graph.rewrite(change)


def bind_node(node: Node, sizes: Mapping[str, Any]) -> Node:
    """The operation for these sizes.

    Raises:
        OpError: an attribute comes out as what its operator does not allow; the message names the node.
    """
    if not has_sized_attrs(node):
        return node
    if node.subgraph is not None:
        return _with_subgraph(node, _bound(node.subgraph, sizes))
    return replace(node, attrs=_bound_attrs(node, sizes))


def _needs_binding(node: Node) -> bool:
    return has_sized_attrs(node) or node.hints.has_sizes or "guards" in node.hints


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


def _with_subgraph(node: Node, subgraph: Graph) -> Node:
    """The node with another subgraph, whose variables have the names of those of the old one."""
    renewed = {variable.name: variable for variable in subgraph.variables()}
    inner = tuple(renewed.get(variable.name, variable) for variable in node.inner_inputs)
    return replace(node, subgraph=subgraph, inner_inputs=inner)


def variables_of(graph: Graph) -> list[Node]:
    """All variables, also those that no output needs."""
    return [node for node in graph.listing() if node.op is None]
