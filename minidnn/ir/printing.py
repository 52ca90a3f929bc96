"""A graph as a table, one row a node, the nodes inside a fused node indented below it; and ``MINIDNN_DEBUG``.

``MINIDNN_DEBUG`` shows on standard error what the compiler did. It holds a comma-separated list of topics: ``graph``
(what goes into and comes out of optimization), ``passes`` (the graph after each pass), ``verify`` (shows nothing, but
checks the graph between passes), ``plan`` (the program), ``asm`` (its kernels); ``all`` means every one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minidnn import settings
from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.infer import known_types
from minidnn.ir.json_format import attrs_to_strings, hints_to_strings
from minidnn.ir.roles import parameter_variables
from minidnn.ops.registry import REQUIRED, Attrs, Op, TensorType
from minidnn.untrusted import html_table, printable

__all__ = ["debug_enabled", "debug_print", "describe_attrs", "format_graph", "graph_html"]

_HEADINGS = ("name", "op", "inputs", "attributes", "type")
_WIDTHS = (40, 20, 48, 56, 32)


def format_graph(graph: Graph) -> str:
    """The table, with types where hints give them. Parameters show only as inputs of their readers."""
    rows = [_HEADINGS, *_all_rows(graph)]
    widths = [min(limit, max(len(row[i]) for row in rows)) for i, limit in enumerate(_WIDTHS)]
    lines = [
        "  ".join(_clip(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def graph_html(graph: Graph) -> str:
    """The table as notebooks show it."""
    return html_table(_HEADINGS, [[cell.replace("  ", "\u2003") for cell in row] for row in _all_rows(graph)])


def _all_rows(graph: Graph) -> list[tuple[str, ...]]:
    try:
        types = known_types(graph)
    except OpError:
        types = {}
    outputs = ", ".join(printable(str(e)) for e in graph.outputs)
    return [*_rows(graph, types, "", {}), ("outputs", "", outputs, "", "")]


def describe_attrs(node: Node) -> str:
    """The attributes that differ from their defaults, and the hints of an operation, as ``key=value`` words."""
    if node.op is None:
        return ""
    words = hints_to_strings(node)
    if node.subgraph is None:
        defaults = _defaults(node.op, node.attrs)
        strings = attrs_to_strings(node.op, node.attrs)
        words = {key: text for key, text in strings.items() if node.attrs[key] != defaults.get(key, REQUIRED)} | words
    return " ".join(f"{key}={printable(text)}" for key, text in words.items())


def _rows(
    graph: Graph, types: Mapping[Entry, TensorType], indent: str, outer: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    hidden = set(parameter_variables(graph))
    for node in graph.nodes():
        if node.is_variable and (node in hidden or node.name in outer):
            continue
        inputs = ", ".join(outer.get(e.node.name, printable(str(e))) for e in node.inputs)
        shown = ", ".join(str(types[node[i]]) for i in range(node.num_outputs) if node[i] in types)
        op = "input" if node.is_variable else node.op_name
        yield indent + printable(node.name), op, inputs, describe_attrs(node), shown
        if node.subgraph is not None:
            names = node.feed_inside([printable(str(e)) for e in node.inputs])
            yield from _rows(node.subgraph, _types_inside(node, types), indent + "  ", names)


def _defaults(op: Op, attrs: Attrs) -> Mapping[str, Any]:
    """The attributes as they are when only the required ones are given (a stride's default has the kernel's rank)."""
    required = {attr.name for attr in op.attrs if attr.default is REQUIRED}
    try:
        made = op.make_attrs({name: attrs[name] for name in required})
    except OpError:
        return {attr.name: attr.default for attr in op.attrs}
    return {name: value for name, value in made.items() if name not in required}


def _types_inside(node: Node, types: Mapping[Entry, TensorType]) -> Mapping[Entry, TensorType]:
    assert node.subgraph is not None
    given = {name: t for name, t in node.feed_inside([types.get(e) for e in node.inputs]).items() if t is not None}
    shapes = {name: t.shape for name, t in given.items()}
    return known_types(node.subgraph, shapes, {name: t.dtype for name, t in given.items()})


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def debug_enabled(topic: str) -> bool:
    """Whether `topic` is asked for; the environment is read again at each call.

    Raises:
        SettingError: the variable names a topic that does not exist.
    """
    return topic in settings.DEBUG.value()


def debug_print(topic: str, title: str, render: Callable[[], str]) -> None:
    """Prints ``render()`` under a headline when `topic` is asked for; otherwise costs nothing."""
    if debug_enabled(topic):
        print(f"[minidnn {topic}] {title}\n{render()}\n", file=sys.stderr, flush=True)
