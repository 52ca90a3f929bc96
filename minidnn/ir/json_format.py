"""MXNet's symbol JSON: ``nodes``, ``arg_nodes``, ``node_row_ptr``, ``heads``, ``attrs``.

Attributes are strings, as MXNet writes them; what is known beside the semantics (a variable's shape and
dtype) stands in attributes between double underscores. The graph inside a fused node is the one element of
the node's ``subgraphs``; those of a loop or a branch are its attributes that are graphs, in order. A graph read back
is the graph that was written, to the last bit of a float.

The reader trusts nothing: its memory is bounded by the size of the text, which is bounded, and whatever is
wrong is a `DataError` or a `GraphError` that names the node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Protocol

import numpy as np

from minidnn.errors import DataError, GraphError, OpError
from minidnn.formats import FORMAT, FORMAT_KEY, VERSION_KEY, check_format, version
from minidnn.ir.bodies import body_names
from minidnn.ir.control_flow import bodies_by_name, has_bodies
from minidnn.ir.graph import FUSED, Entry, Graph, Node, make_fused, make_node, make_variable
from minidnn.ir.json_values import (
    field,
    format_literal,
    hints_to_strings,
    is_hint,
    is_text,
    read_hints,
    read_symbols,
    shown,
    sized,
    want,
)
from minidnn.ops.registry import Attrs, Op, get_op
from minidnn.sizes import Size, has_sizes, is_same

__all__ = [
    "MAX_BYTES",
    "MAX_NESTING",
    "MAX_NODES",
    "VERSION",
    "Call",
    "Dialect",
    "Inlined",
    "attrs_to_strings",
    "from_json",
    "hints_to_strings",
    "subgraphs_of",
    "to_json",
]

# The largest networks people run make about one megabyte of text; a text of nothing but empty lists takes thirty
# times its size when it is parsed.
MAX_BYTES = 16 << 20
MAX_NODES = 100_000
_MAX_INPUTS = 4 * MAX_NODES
MAX_NESTING = 4
_MAX_ATTRIBUTE = 1 << 16
_MAX_OUTPUTS = 1 << 16
# Nodes that one of a subgraph may become where it is put into the graph around it.
_ADDED = 8
VERSION = {"is_np_shape": ["int", 1], "mxnet_version": ["int", 20000]}

# MXNet notes it at every node; it says where a profile lists the node.
_PROFILER = "__profiler_scope__"


@dataclass(frozen=True)
class Call:
    """An operator of the registry, its attributes (strings, or values) and its inputs."""

    op: str
    attrs: Mapping[str, Any]
    inputs: Sequence[Entry]


@dataclass(frozen=True)
class Inlined:
    """What a node of a file is, by nodes that have been made.

    Args:
        outputs: its outputs.
    """

    outputs: Sequence[Entry]


class Dialect(Protocol):
    """Names and attributes of operators in a file."""

    def expands(self, op: str) -> bool:
        """Whether the operator may become several nodes, at most one for each input and two."""

    def has_subgraphs(self, op: str) -> bool:
        """Whether the operator may have subgraphs, beside a fused node."""

    def translate(
        self, op: str, name: str, attrs: Mapping[str, str], inputs: Sequence[Entry], subgraphs: Sequence[Graph] = ()
    ) -> Call | Inlined:
        """What an operator of the file, called `name` there, means.

        Raises:
            GraphError, OpError: attributes that do not fit or say what minidnn lacks.
        """


class _Registry:
    """The names of the registry, MXNet's among them, and its attributes."""

    def expands(self, op: str) -> bool:
        return False

    def has_subgraphs(self, op: str) -> bool:
        return has_bodies(op)

    def translate(
        self, op: str, name: str, attrs: Mapping[str, str], inputs: Sequence[Entry], subgraphs: Sequence[Graph] = ()
    ) -> Call:
        return Call(op, attrs if not subgraphs else {**attrs, **bodies_by_name(op, subgraphs)}, inputs)


# ---- writing ------------------------------------------------------------------------------------


def to_json(graph: Graph) -> str:
    """The graph as MXNet's symbol JSON, one node a line.

    Raises:
        GraphError: two nodes have one name, or fused nodes are nested too deeply.
    """
    fields = _write_graph(graph, 0)
    fields["attrs"] = {**VERSION, VERSION_KEY: ["str", version()], FORMAT_KEY: ["int", FORMAT]}
    lines = ",\n    ".join(json.dumps(node) for node in fields.pop("nodes"))
    rest = "".join(f",\n  {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
    return f'{{\n  "nodes": [\n    {lines}\n  ]{rest}\n}}\n'


def attrs_to_strings(op: Op, attrs: Attrs) -> dict[str, str]:
    """The attributes of an operation as the strings of its JSON."""
    kinds = {attr.name: attr.kind for attr in op.attrs}
    return {name: _attr_to_string(kinds[name], value) for name, value in attrs.items() if kinds[name] != "graph"}


def subgraphs_of(node: Node) -> list[Graph]:
    """The graphs that a file has inside of a node."""
    if node.subgraph is not None:
        return [_named_as_in_files(node)]
    return [] if node.op is None else [node.attrs[name].graph for name in body_names(node.op)]


def _write_graph(graph: Graph, depth: int) -> dict[str, Any]:
    if depth > MAX_NESTING:
        raise GraphError(f"subgraphs are nested more than {MAX_NESTING} deep")
    number: dict[Node, int] = {}
    names: set[str] = set()
    nodes: list[dict[str, Any]] = []
    row_ptr = [0]
    for node in graph.listing():
        if node.name in names:
            raise GraphError(f"two nodes are named {node.name!r}")
        names.add(node.name)
        number[node] = len(nodes)
        nodes.append(_write_node(node, number, depth))
        row_ptr.append(row_ptr[-1] + node.num_outputs)
    return {
        "nodes": nodes,
        "arg_nodes": [i for node, i in number.items() if node.is_variable],
        "node_row_ptr": row_ptr,
        "heads": [[number[e.node], e.index, 0] for e in graph.outputs],
        "attrs": VERSION,
    }


def _write_node(node: Node, number: Mapping[Node, int], depth: int) -> dict[str, Any]:
    strings = hints_to_strings(node)
    if node.op is not None and node.subgraph is None:
        strings |= attrs_to_strings(node.op, node.attrs)
    name = "null" if node.op is None else (node.op.mxnet or (node.op.name,))[0]
    fields: dict[str, Any] = {"op": name, "name": node.name}
    if strings:
        fields["attrs"] = strings
    fields["inputs"] = [[number[e.node], e.index, 0] for e in node.inputs]
    inside = subgraphs_of(node)
    if inside:
        fields["subgraphs"] = [_write_graph(graph, depth + 1) for graph in inside]
    return fields


def _named_as_in_files(node: Node) -> Graph:
    """The subgraph of a fused node, the variables of its inputs named ``in0``, ``in1``, ... in order."""
    assert node.subgraph is not None
    names = {inner: f"in{i}" for i, inner in enumerate(node.inner_inputs)}
    if all(inner.name == name for inner, name in names.items()):
        return node.subgraph

    def change(inner: Node, _: tuple[Entry, ...]) -> Sequence[Entry] | None:
        return [make_variable(names[inner], **inner.hints)] if inner in names else None

    return node.subgraph.rewrite(change)


def _attr_to_string(kind: str, value: Any) -> str:
    if value is None:
        return "None"
    if kind == "dtype":
        return str(np.dtype(value).name)
    return format_literal(value) if kind == "tree" and not has_sizes(value) else str(value)


# ---- reading ------------------------------------------------------------------------------------


def from_json(text: str, dialect: Dialect | None = None) -> Graph:
    """The graph that `text` describes.

    Args:
        text: as `to_json` writes it, or another program.
        dialect: how the text calls operators; None, or a text that `to_json` wrote: by the names of the registry.

    Raises:
        DataError: the text is not JSON, is too large, or is not of the form.
        GraphError: an unknown operator, a cycle, a missing input, attributes that do not fit, a
            duplicate name. The message names the node.
    """
    if not isinstance(text, str):
        raise DataError(f"symbol JSON must be a string, got {type(text).__name__}")
    if len(text) > MAX_BYTES:
        raise DataError(f"symbol JSON of {len(text)} characters: more than {MAX_BYTES} are refused")
    try:
        fields = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise DataError("symbol JSON is nested too deeply") from None
    except ValueError as error:
        raise DataError(f"not a symbol JSON: {error}") from None
    notes = fields.get("attrs") if isinstance(fields, dict) else None
    is_ours = isinstance(notes, dict) and FORMAT_KEY in notes
    return _Reader(_Registry() if is_ours or dialect is None else dialect).read_graph(fields, "symbol JSON", 0)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


class _Reader:
    """Reads one text; counts nodes and their inputs over all its graphs."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._count = 0
        self._inputs = 0
        self._zero_is_unknown = False
        self._symbols: dict[str, Size] = {}

    def read_graph(self, fields: Any, where: str, depth: int) -> Graph:
        if depth > MAX_NESTING:
            raise DataError(f"{where}: subgraphs are nested more than {MAX_NESTING} deep")
        want(isinstance(fields, dict), f"{where} must be an object with 'nodes' and 'heads'", fields)
        rows = field(fields, "nodes", list, where)
        heads = field(fields, "heads", list, where)
        if depth == 0:
            notes = _notes(fields)
            check_format(notes, where)
            self._zero_is_unknown = not notes.get("is_np_shape")
            self._symbols = _symbols(rows, where)
        self._grow(len(rows), where)
        nodes: list[_Row] = []
        names: set[str] = set()
        for position, row in enumerate(rows):
            node = self._read_node(row, nodes, f"{where}, node {position}", depth)
            if node.name in names:
                raise GraphError(f"{where}: two nodes are named {node.name!r}")
            names.add(node.name)
            nodes.append(node)
        if not heads:
            raise GraphError(f"{where}: 'heads' is empty: a graph needs an output")
        graph = Graph(_entries(heads, nodes, f"{where}, 'heads'", len(rows)))
        return graph if depth else Graph(graph.outputs, _declared([row.outputs[0].node for row in nodes], graph))

    def _grow(self, count: int, where: str) -> None:
        self._count += count
        if self._count > MAX_NODES:
            raise DataError(f"{where}: more than {MAX_NODES} nodes are refused")

    def _read_node(self, row: Any, nodes: Sequence[_Row], where: str, depth: int) -> _Row:
        want(isinstance(row, dict), f"{where} must be an object", row)
        name = field(row, "name", str, where)
        want(0 < len(name) <= _MAX_ATTRIBUTE and is_text(name), f"{where}: 'name' must be a short text", name)
        where = f"{where} ({shown(name)})"
        op_name = field(row, "op", str, where)
        strings = _strings(row, where)
        entries = field(row, "inputs", list, where)
        self._inputs += len(entries)
        if self._inputs > _MAX_INPUTS:
            raise DataError(f"{where}: more than {_MAX_INPUTS} inputs of nodes are refused")
        inputs = list(_entries(entries, nodes, where, None))
        subgraphs = row.get("subgraphs", [])
        want(isinstance(subgraphs, list), f"{where}: 'subgraphs' must be a list", subgraphs)
        hints = {key[2:-2]: value for key, value in strings.items() if is_hint(key) and key != _PROFILER}
        attrs = {key: sized(value, self._symbols) for key, value in strings.items() if not is_hint(key)}
        if op_name == "null":
            want(not inputs, f"{where}: a variable has no inputs", inputs)
            known = read_hints(hints | attrs, where, self._symbols)
            if self._zero_is_unknown and known.get("shape"):
                known["shape"] = tuple(-1 if is_same(n, 0) else n for n in known["shape"])
            return _Row(name, [make_variable(name, **known)])
        inside: list[Graph] = []
        if self._dialect.has_subgraphs(op_name):
            inside = [self.read_graph(graph, f"{where}, subgraph {i}", depth + 1) for i, graph in enumerate(subgraphs)]
            self._grow(_ADDED * sum(len(graph.nodes()) for graph in inside), where)
            subgraphs = []
        if self._dialect.expands(op_name):
            self._grow(len(inputs) + 1, where)
        try:
            call = self._dialect.translate(op_name, name, attrs, inputs, inside)
            if isinstance(call, Inlined):
                return _Row(name, call.outputs)
            op = get_op(call.op)
        except (OpError, GraphError) as error:
            raise GraphError(f"{where}: {error}") from None
        if op is FUSED:
            want(len(subgraphs) == 1, f"{where}: a fused node has one subgraph", len(subgraphs))
            subgraph = self.read_graph(subgraphs[0], where, depth + 1)
            _check_subgraph(subgraph, len(inputs), where)
            return _row(make_fused(name, inputs, subgraph, read_hints(hints | attrs, where)))
        want(not subgraphs, f"{where}: {op.name} has no subgraphs", len(subgraphs))
        return _row(_read_operation(op, name, call.inputs, call.attrs, read_hints(hints, where), where))


@dataclass(frozen=True)
class _Row:
    """A node of the text: its name and what it gives."""

    name: str
    outputs: Sequence[Entry]


def _row(node: Node) -> _Row:
    return _Row(node.name, [node[i] for i in range(node.num_outputs)])


def _symbols(rows: Sequence[Any], where: str) -> dict[str, Size]:
    """The sizes that variables bring by name. What is wrong with a row is said when it is read."""
    symbols: dict[str, Size] = {}
    for position, row in enumerate(rows):
        if isinstance(row, dict) and row.get("op") == "null":
            try:
                strings = _strings(row, "")
            except DataError:
                continue
            hints = {key[2:-2]: value for key, value in strings.items() if is_hint(key)}
            for name, size in read_symbols(hints, f"{where}, node {position} ({shown(row.get('name'))})").items():
                symbols.setdefault(name, size)
    return symbols


def _read_operation(
    op: Op, name: str, inputs: Sequence[Entry], attrs: Mapping[str, Any], hints: Mapping[str, Any], where: str
) -> Node:
    try:
        made = op.make_attrs(attrs)
        # The operator builds the list of its inputs' names: not for any number that a file may hold.
        if made.get("num_args", 0) > len(inputs):
            raise GraphError(f"num_args is {shown(made.num_args)}, but the node has {len(inputs)} inputs")
        node = make_node(op, name, inputs, made)
        outputs = node.num_outputs
    except (OpError, GraphError) as error:
        raise GraphError(f"{where}: {error}") from None
    if outputs > _MAX_OUTPUTS:
        raise GraphError(f"{where}: {outputs} outputs: more than {_MAX_OUTPUTS} are refused")
    return Node(node.op, node.name, node.attrs, node.inputs, hints=Attrs(hints))


def _entries(rows: Any, nodes: Sequence[_Row], where: str, total: int | None) -> Iterator[Entry]:
    """Entries from ``[node, output]`` or ``[node, output, version]``; only earlier nodes may be meant."""
    for row in rows:
        is_pair = isinstance(row, list) and len(row) in (2, 3) and all(type(n) is int for n in row)
        want(is_pair, f"{where}: an input must be [node, output, version]", row)
        number, index = row[0], row[1]
        if not 0 <= number < len(nodes):
            hint = "an input must come before its user; the graph has a cycle, or its nodes are out of order"
            raise GraphError(f"{where}: there is no node {number} " + (f"before it: {hint}" if total is None else ""))
        found = nodes[number]
        if not 0 <= index < len(found.outputs):
            raise GraphError(f"{where}: wants output {index} of node {found.name!r}, which has {len(found.outputs)}")
        yield found.outputs[index]


def _declared(nodes: Sequence[Node], graph: Graph) -> list[Node]:
    """Of a file that lists variables which no output needs, these and the variables at its beginning."""
    needed = {*graph.variables()}
    unneeded = [node for node in nodes if node.is_variable and node not in needed]
    if not unneeded:
        return []
    return [*dict.fromkeys((*takewhile(lambda node: node.is_variable, nodes), *unneeded))]


def _check_subgraph(subgraph: Graph, inputs: int, where: str) -> None:
    wanted = {f"in{i}" for i in range(inputs)}
    unknown = [v.name for v in subgraph.variables() if v.name not in wanted]
    if unknown:
        raise GraphError(f"{where}: its subgraph reads {unknown[0]!r}, but the node has inputs in0 .. in{inputs - 1}")


def _strings(row: Mapping[str, Any], where: str) -> dict[str, str]:
    """The attributes; MXNet called them ``param`` and ``attr`` once."""
    strings: dict[str, str] = {}
    for key in ("param", "attr", "attrs"):
        some = row.get(key, {})
        want(isinstance(some, dict), f"{where}: {key!r} must be an object", some)
        strings.update(some)
    for key, text in strings.items():
        want(isinstance(text, str), f"{where}: attribute {shown(key)} must be a string", text)
        if len(text) > _MAX_ATTRIBUTE:
            raise DataError(f"{where}: attribute {shown(key)} has {len(text)} characters, at most {_MAX_ATTRIBUTE}")
    return strings


def _notes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of all of it, without the types.

    Where it does not say ``is_np_shape``, as in MXNet 1, a size of zero is one that is not known.
    """
    attrs = fields.get("attrs")
    pairs = attrs.items() if isinstance(attrs, dict) else ()
    return {key: pair[1] for key, pair in pairs if isinstance(pair, list) and len(pair) == 2}
