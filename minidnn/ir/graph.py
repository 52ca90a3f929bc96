"""The graph: immutable nodes, and `Graph`, a view on some of their outputs.

A `Node` is an operator applied to inputs, or a variable (``op is None``). A fused node (op ``fused``)
holds a graph of its own, its ``subgraph``, and in ``inner_inputs`` the variables of that graph in the order
of the node's inputs; what it computes is what the subgraph computes, so shape inference and the reference
need no case of their own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minidnn.errors import GraphError, OpError
from minidnn.ops.registry import Attrs, Op, TensorType, get_op, register
from minidnn.sizes import Condition, by_example_noting

__all__ = [
    "FUSED",
    "NO_ATTRS",
    "Entry",
    "Graph",
    "Inference",
    "Node",
    "evaluate",
    "infer_types",
    "make_fused",
    "make_like",
    "make_node",
    "make_variable",
    "unfused_outputs",
]

NO_ATTRS = Attrs({})
T = TypeVar("T")

# What quantization puts before the names of nodes and operators.
_QUANTIZED = "quantized_"


def _not_alone(*_: Any) -> Any:
    raise GraphError("a fused node has no meaning without its subgraph")


FUSED = register(Op("fused", infer=_not_alone, reference=_not_alone, inputs=(), kind="fused"))


@dataclass(frozen=True, eq=False, slots=True)
class Inference:
    """What inference has found once.

    Args:
        attrs, subgraph, inputs: of what: the attributes of an operation or its graph, and the types of its inputs.
        outputs: the types of its results.
        conditions: what it decided by sizes. Of a fused node its operations know them.
    """

    attrs: Attrs
    subgraph: Graph | None
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    conditions: Sequence[Condition] = ()

    def is_of(self, node: Node, inputs: Sequence[TensorType]) -> bool:
        return (
            self.attrs is node.attrs
            and self.subgraph is node.subgraph
            and len(self.inputs) == len(inputs)
            and all(map(TensorType.is_identical, self.inputs, inputs))
        )


# As many inferences of a node are kept: symbolic types, some numbers, what passes ask.
_KEPT = 4


@dataclass(frozen=True, eq=False)
class Node:
    """One operation, or one variable.

    Args:
        op: the operator, or None for a variable.
        name: unique within a graph.
        attrs: the operator's checked attributes; empty for a variable.
        inputs: where the inputs come from.
        subgraph: the graph inside a fused node.
        hints: what is known beside the semantics: ``shape``, ``dtype`` and ``init`` of a variable,
            what a pass wants to tell a reader (``with_bn``, ``with_act``, ...) of a fused node.
        inner_inputs: of a fused node, the variables that stand for its inputs in `subgraph`, in order; one that
            the subgraph does not read is a variable all the same.
        serial: position in the order in which nodes were made; random operations of a graph run in this order.
        inferences: what inference has found for it lately; shared by its copies with other inputs.
    """

    op: Op | None
    name: str
    attrs: Attrs = NO_ATTRS
    inputs: tuple[Entry, ...] = ()
    subgraph: Graph | None = None
    hints: Attrs = field(default=NO_ATTRS)
    inner_inputs: tuple[Node, ...] = ()
    serial: int = field(default_factory=itertools.count().__next__)
    inferences: list[Inference] = field(default_factory=list)

    @property
    def is_variable(self) -> bool:
        return self.op is None

    @property
    def op_name(self) -> str:
        return "null" if self.op is None else self.op.name

    @property
    def num_outputs(self) -> int:
        if self.op is None:
            return 1
        if self.subgraph is not None:
            return len(self.subgraph.outputs)
        return self.op.num_outputs(self.attrs)

    def infer_types(self, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """Output types from input types; an error names this node.

        Raises:
            OpError: the inputs do not fit.
        """
        return self.inference(types).outputs

    def inference(self, types: Sequence[TensorType]) -> Inference:
        """What `infer_types` gives, with what was decided by sizes."""
        assert self.op is not None
        for known in self.inferences:
            if known.is_of(self, types):
                return known
        if self.subgraph is not None:
            inside = self.infer_inside(types)
            return self.remember(types, tuple(inside[e] for e in self.subgraph.outputs))
        try:
            return self.remember(types, *by_example_noting(self.op.infer_types, self.attrs, types))
        except OpError as error:
            raise self.locate(error) from None

    def remember(
        self, inputs: Sequence[TensorType], outputs: tuple[TensorType, ...], conditions: Sequence[Condition] = ()
    ) -> Inference:
        """Note what inference has found for these inputs."""
        made = Inference(self.attrs, self.subgraph, tuple(inputs), outputs, conditions)
        self.inferences[:] = [made, *self.inferences[: _KEPT - 1]]
        return made

    def infer_inside(self, types: Sequence[TensorType]) -> dict[Entry, TensorType]:
        """Of a fused node: the types of everything inside, from input types; an error names this node.

        Raises:
            OpError: the inputs do not fit.
        """
        assert self.subgraph is not None
        try:
            return infer_types(self.subgraph, self.feed_inside(types))
        except OpError as error:
            raise self.locate(error) from None

    def locate(self, error: OpError) -> OpError:
        """The error of this node, or of one inside it, with its name."""
        located = type(error)(f"node {self.name!r}: {error}")
        located.layer, located.reason = (error.layer, error.reason) if error.layer else (self.layer, str(error))
        return located

    @property
    def layer(self) -> str:
        """The block that the node is of, where tracing named it so: ``features.0`` of ``features.0_pad``."""
        name, op = self.name.removeprefix(_QUANTIZED), self.op_name.removeprefix(_QUANTIZED)
        match = re.fullmatch(rf"(.+?)_{re.escape(op)}(_\d+)?", name)
        return name if match is None else match[1]

    def compute(self, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], ...]:
        """Output arrays by the NumPy references."""
        assert self.op is not None
        if self.subgraph is not None:
            return evaluate(self.subgraph, self.feed_inside(arrays))
        return self.op.compute(self.attrs, *arrays)

    def feed_inside(self, values: Sequence[T]) -> dict[str, T]:
        """Of a fused node: a value for each input, by the name of the variable inside that stands for it."""
        return {inner.name: value for inner, value in zip(self.inner_inputs, values, strict=True)}

    def bind_inside(self, values: Sequence[T]) -> dict[Entry, T]:
        """Of a fused node: a value for each input, by the entry inside that stands for it."""
        return {inner[0]: value for inner, value in zip(self.inner_inputs, values, strict=True)}

    def __getitem__(self, index: int) -> Entry:
        return Entry(self, index)

    def __repr__(self) -> str:
        return f"<{self.op_name} {self.name}>"


class Entry(NamedTuple):
    """Output number `index` of `node`."""

    # A tuple, as entries are keys wherever graphs are looked at.

    node: Node
    index: int = 0  # type: ignore[assignment] # nobody looks for the position of something in an entry

    def __str__(self) -> str:
        return self.node.name if self.node.num_outputs == 1 else f"{self.node.name}:{self.index}"


class Graph:
    """Some outputs, and everything they are computed from. Immutable.

    Args:
        outputs: the outputs.
        declared: variables that a file lists first, in this order, whether or not an output needs them.

    Attributes:
        hinted_types: the types that follow from hints alone, once they have been found; see `minidnn.ir.infer`.
        structure: for variables in some order, what it computes, told without names; see `minidnn.lowering.repeat`.
    """

    __slots__ = ("_listing", "_operations", "_order", "_variables", "declared", "hinted_types", "outputs", "structure")

    declared: tuple[Node, ...]
    outputs: tuple[Entry, ...]

    def __init__(self, outputs: Iterable[Entry], declared: Iterable[Node] = ()) -> None:
        self.outputs = tuple(outputs)
        self.declared = tuple(declared)
        # Made at the first need.
        self._order: tuple[Node, ...] | None = None
        self._listing: tuple[Node, ...] | None = None
        self._variables: tuple[Node, ...] | None = None
        self._operations: tuple[Node, ...] | None = None
        self.hinted_types: Mapping[Entry, TensorType] | None = None
        self.structure: tuple[tuple[Node, ...], Hashable] | None = None

    def nodes(self) -> tuple[Node, ...]:
        """All nodes, inputs before users: depth first from the outputs, in order of inputs.

        Random operations come in the order in which they were made, so that a seed gives the same numbers
        whatever order their results are used in.
        """
        if self._order is None:
            order = tuple(_topological(self.outputs))
            draws = [n for n in order if n.op is not None and n.op.is_random]
            in_turn = sorted(draws, key=lambda n: n.serial)
            if draws != in_turn:
                order = tuple(_topological([*(n[0] for n in in_turn), *self.outputs]))
            self._order = order
        return self._order

    def listing(self) -> tuple[Node, ...]:
        """All nodes as a file lists them: the declared variables, and `nodes` without them."""
        if self._listing is None:
            first = {node.name: node for node in self.declared}
            first.update({node.name: node for node in self.variables() if node.name in first})
            front = dict.fromkeys(first.values())
            self._listing = (*front, *(node for node in self.nodes() if node not in front))
        return self._listing

    def variables(self) -> tuple[Node, ...]:
        if self._variables is None:
            self._variables = tuple(n for n in self.nodes() if n.op is None)
        return self._variables

    def operations(self) -> tuple[Node, ...]:
        if self._operations is None:
            self._operations = tuple(n for n in self.nodes() if n.op is not None)
        return self._operations

    def consumers(self) -> dict[Entry, list[Node]]:
        """Who reads each entry; a node that reads it twice is there twice. Graph outputs do not count."""
        result: dict[Entry, list[Node]] = {}
        for node in self.nodes():
            for entry in node.inputs:
                result.setdefault(entry, []).append(node)
        return result

    def rewrite(self, change: Callable[[Node, tuple[Entry, ...]], Sequence[Entry] | None]) -> Graph:
        """The graph with nodes replaced, inputs before users.

        `change` gets a node and its already rewritten inputs and gives the entries that stand for the
        node's outputs from now on, or None to keep the node.
        """
        new: dict[Entry, Entry] = {}
        for node in self.nodes():
            inputs = tuple([new.get(e, e) for e in node.inputs]) if new else node.inputs
            replaced = change(node, inputs)
            if replaced is None:
                if inputs == node.inputs:
                    continue
                kept = make_like(node, inputs)
                replaced = [kept[i] for i in range(node.num_outputs)]
            for i, entry in enumerate(replaced):
                new[node[i]] = entry
        if not new and not self.declared:
            return self
        read = set(self.variables())
        for node in self.declared:
            if node not in read:
                new[node[0]] = (change(node, ()) or [node[0]])[0]
        declared = [new.get(node[0], node[0]).node for node in self.declared]
        return type(self)((new.get(e, e) for e in self.outputs), (node for node in declared if node.is_variable))


def _topological(outputs: Sequence[Entry]) -> Iterator[Node]:
    done: set[Node] = set()
    for output in outputs:
        stack = [(output.node, iter(output.node.inputs))] if output.node not in done else []
        while stack:
            node, inputs = stack[-1]
            for entry in inputs:
                child = entry.node
                if child in done:
                    continue
                if child.inputs:
                    stack.append((child, iter(child.inputs)))
                    break
                done.add(child)
                yield child
            else:
                stack.pop()
                done.add(node)
                yield node


def make_variable(name: str, **hints: Any) -> Entry:
    return Entry(Node(None, name, hints=Attrs(hints) if hints else NO_ATTRS))


def make_node(op: Op | str, name: str, inputs: Sequence[Entry], attrs: Mapping[str, Any] | None = None) -> Node:
    """A node with checked attributes."""
    op = get_op(op) if isinstance(op, str) else op
    made = attrs if isinstance(attrs, Attrs) else op.make_attrs(attrs or {})
    wanted = op.input_names(made)
    if len(inputs) != len(wanted):
        raise GraphError(f"node {name!r}: {op.name} takes {len(wanted)} inputs {list(wanted)}, got {len(inputs)}")
    return Node(op, name, made, tuple(inputs))


def make_fused(
    name: str,
    inputs: Sequence[Entry],
    subgraph: Graph,
    hints: Mapping[str, Any] | None = None,
    inner_inputs: Sequence[Node] | None = None,
) -> Node:
    """A fused node.

    Args:
        name: unique in its graph.
        inputs: where its inputs come from.
        subgraph: what it computes.
        hints: see `Node`.
        inner_inputs: the variables of `subgraph` that stand for the inputs, in order; None: those that are named
            ``in0``, ``in1``, ..., as files have them.

    Raises:
        GraphError: the variables of the subgraph are not those of the inputs.
    """
    if inner_inputs is None:
        named = {variable.name: variable for variable in subgraph.variables()}
        inner_inputs = [named.get(f"in{i}") or make_variable(f"in{i}").node for i in range(len(inputs))]
    if len(inner_inputs) != len(inputs):
        raise GraphError(f"node {name!r}: {len(inputs)} inputs, but {len(inner_inputs)} variables inside for them")
    given = set(inner_inputs)
    unknown = [variable.name for variable in subgraph.variables() if variable not in given]
    if unknown:
        raise GraphError(f"node {name!r}: its subgraph reads {unknown[0]!r}, which is none of its inputs")
    return Node(FUSED, name, NO_ATTRS, tuple(inputs), subgraph, Attrs(dict(hints or {})), tuple(inner_inputs))


def unfused_outputs(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    """For `Graph.rewrite`: the outputs of the operations in a fused node; None for any other."""
    if node.subgraph is None:
        return None
    outside = dict(zip(node.inner_inputs, inputs, strict=True))

    def change(inner: Node, inner_inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        return [outside[inner]] if inner.is_variable else unfused_outputs(inner, inner_inputs)

    return node.subgraph.rewrite(change).outputs


def make_like(node: Node, inputs: tuple[Entry, ...], **changes: Any) -> Node:
    """The node with other inputs, and whatever else changes: `dataclasses.replace` without its checks.

    Most nodes of a graph are made again by each rewriting.
    """
    made = object.__new__(Node)
    made.__dict__.update(node.__dict__, inputs=inputs, **changes)
    return made


def infer_types(graph: Graph, feed: Mapping[str, TensorType]) -> dict[Entry, TensorType]:
    """The type of every entry, from the types of the variables.

    Raises:
        GraphError: a variable has no type.
        OpError: the types do not fit; the message names the node.
    """
    types: dict[Entry, TensorType] = {}
    for node in graph.nodes():
        if node.is_variable:
            if node.name not in feed:
                raise GraphError(f"no type is known for variable {node.name!r}")
            types[node[0]] = feed[node.name]
        else:
            for i, t in enumerate(node.infer_types([types[e] for e in node.inputs])):
                types[node[i]] = t
    return types


def evaluate(graph: Graph, feed: Mapping[str, np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], ...]:
    """The outputs by the operators' NumPy references: slow, plain, and the truth the tests compare with."""
    values: dict[Entry, np.ndarray[Any, Any]] = {}
    for node in graph.nodes():
        if node.is_variable:
            if node.name not in feed:
                raise GraphError(f"no value is given for variable {node.name!r}")
            values[node[0]] = feed[node.name]
        else:
            for i, value in enumerate(node.compute([values[e] for e in node.inputs])):
                values[node[i]] = value
    return tuple(values[e] for e in graph.outputs)
