"""A node of MXNet's while it is read, and how an operator of MXNet 1 is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minidnn.errors import GraphError
from minidnn.ir.graph import Entry, Graph, make_node
from minidnn.ir.json_format import Call, Inlined
from minidnn.ir.json_values import parse_literal

__all__ = ["MxnetNode", "Upgrade"]


@dataclass(frozen=True)
class MxnetNode:
    """A node of MXNet's on the way: its attributes can be asked for, and those nobody asked for are refused."""

    op: str
    name: str
    attrs: dict[str, str]
    inputs: Sequence[Entry]
    subgraphs: Sequence[Graph] = ()

    def text(self, key: str, default: str) -> str:
        return self.attrs.pop(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        return self.text(key, str(default)).lower() in ("1", "true")

    def ints(self, key: str, default: str = "()") -> tuple[int, ...]:
        """Integers as a tuple; one alone counts as one."""
        text = self.text(key, default)
        value = parse_literal(text)
        value = (value,) if type(value) is int else () if value is None else value
        if isinstance(text, str) and text.startswith("["):
            value = parse_literal(f"({text[1:-1]},)" if text[1:-1].strip(", ") else "()")
        if not isinstance(value, tuple) or not all(type(n) is int for n in value):
            raise GraphError(f"{self.op}: attribute {key!r} must be integers, got {text[:80]!a}")
        return value

    def axes(self, key: str, default: str = "None") -> tuple[int, ...] | None:
        """Integers, or None where there are none."""
        return self.ints(key, default) or None

    def drop(self, *keys: str) -> None:
        """Pass over attributes that have no meaning at inference on a CPU."""
        for key in keys:
            self.attrs.pop(key, None)

    def input(self, index: int = 0) -> Entry:
        if index >= len(self.inputs):
            raise GraphError(f"{self.op}: it has {len(self.inputs)} inputs, {index + 1} are needed")
        return self.inputs[index]

    def before(self, suffix: str, op: str, attrs: Mapping[str, Any], *inputs: Entry) -> Entry:
        """A node that comes before the one that has the name."""
        return make_node(op, f"{self.name}_{suffix}", inputs, attrs)[0]

    def constant(self, suffix: str, value: float) -> Entry:
        """A vector of one float32 number."""
        return self.before(suffix, "full", {"shape": (1,), "value": value, "dtype": "float32"})

    def named_all(self, op: str, attrs: Mapping[str, Any], *inputs: Entry) -> list[Entry]:
        """All outputs of a node that has the name."""
        made = make_node(op, self.name, inputs, attrs)
        return [made[i] for i in range(made.num_outputs)]

    def named(self, op: str, attrs: Mapping[str, Any], *inputs: Entry) -> Entry:
        """The output of a node that has the name."""
        return self.named_all(op, attrs, *inputs)[0]

    def number(self, key: str) -> float | None:
        """A number, or None where there is none."""
        text = self.text(key, "None")
        value = parse_literal(text)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise GraphError(f"{self.op}: attribute {key!r} must be a number, got {text[:80]!a}")
        return None if value is None else float(value)

    def check_attrs(self) -> None:
        """Refuse attributes that nobody has asked for."""
        if self.attrs:
            raise GraphError(f"{self.op}: attribute {next(iter(self.attrs))[:80]!a} is not supported")

    def finish(self, op: str, attrs: Mapping[str, Any], *inputs: Entry) -> Call:
        self.check_attrs()
        return Call(op, attrs, inputs)


@dataclass(frozen=True)
class Upgrade:
    """How an operator of MXNet 1 is read, and of which of our operators it is made.

    `key`: an attribute that only MXNet's node has, where our own operator has the same name.
    """

    read: Callable[[MxnetNode], Call | Inlined]
    meaning: str
    key: str | None = None
