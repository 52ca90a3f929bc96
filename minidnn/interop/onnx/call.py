"""What a rule gets to see of a node: its inputs, its attributes, and the means to make nodes of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from minidnn.interop.onnx.builder import Builder
from minidnn.interop.onnx.elements import BY_NUMBER, Element
from minidnn.interop.onnx.maker import Maker, UnsupportedNodeError
from minidnn.interop.onnx.model import Attribute, Constant, ModelGraph, ModelNode, shown
from minidnn.interop.onnx.values import Value
from minidnn.ops.registry import REQUIRED

__all__ = ["RULES", "Call", "Result", "Rule", "UnsupportedNodeError", "rule"]

Array = np.ndarray[Any, Any]
Result = Value | Sequence[Value]
Rule = Callable[["Call"], Result]

# By domain and name.
RULES: dict[tuple[str, str], Rule] = {}


def rule(*names: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Enter a rule for operators of these names."""

    def enter(function: Rule) -> Rule:
        for name in names:
            assert (domain, name) not in RULES, name
            RULES[domain, name] = function
        return function

    return enter


class Graphs(Protocol):
    """Converts graphs inside of a node."""

    def run_graph(self, graph: ModelGraph, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a graph inside of the node that is being read, for these inputs."""

    @property
    def max_trips(self) -> int:
        """How many rounds of a loop are written out."""


class Call(Maker):
    """A node that is being read. Attributes that nobody asks for are refused at the end.

    Args:
        node: the node.
        inputs: its inputs; None for those that are left out.
        attributes: its attributes, those of the function around it put in.
        opset: the version of its set of operators.
        builder: makes nodes.
        graphs: converts graphs inside of the node.
    """

    def __init__(
        self,
        node: ModelNode,
        inputs: Sequence[Value | None],
        attributes: dict[str, Attribute],
        opset: int,
        builder: Builder,
        graphs: Graphs,
    ) -> None:
        super().__init__(node, builder)
        self.node, self.opset, self.graphs = node, opset, graphs
        self.inputs = list(inputs)
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()
        self._attributes = attributes

    @property
    def op(self) -> str:
        return self.node.op

    @property
    def num_outputs(self) -> int:
        return len(self.node.outputs)

    def wants(self, index: int) -> bool:
        """Whether somebody may read that output."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index])

    # ---- inputs

    def __getitem__(self, index: int) -> Value:
        value = self.get(index)
        if value is None:
            self.fail(f"input {index} is missing")
        return value

    def get(self, index: int) -> Value | None:
        """An input; None if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def all(self) -> list[Value]:
        """All inputs of an operator of which none may be left out."""
        return [self[i] for i in range(max(len(self.inputs), 1))]

    def numbers(self, index: int, what: str) -> list[Any]:
        """The elements of an input that decides what the graph is like: numbers and sizes."""
        return self.numbers_of(self[index], what)

    def number(self, index: int, what: str) -> Any:
        """The one element of such an input."""
        return self.one_of(self[index], what)

    def ints(self, index: int, what: str) -> tuple[Any, ...]:
        """Integers and sizes."""
        value = self[index]
        if value.dtype.kind not in "iu":
            self.fail(f"{what} must be integers, got {value.element}")
        return tuple(self.numbers(index, what))

    def plain_ints(self, index: int, what: str) -> tuple[int, ...]:
        """Integers that are used to count axes and the like, and so cannot stay symbolic."""
        return tuple(map(int, self.ints(index, what)))

    # ---- attributes

    def has(self, name: str) -> bool:
        return name in self._attributes

    def _take(self, name: str, kinds: tuple[str, ...], default: Any) -> Any:
        attribute = self._attributes.pop(name, None)
        if attribute is None:
            if default is REQUIRED:
                self.fail(f"attribute {name!r} is required")
            return default
        if attribute.kind not in kinds:
            self.fail(f"attribute {name!r} must be of kind {kinds[0]}, got one {attribute.kind}")
        return attribute.value

    def integer(self, name: str, default: Any = REQUIRED) -> Any:
        return self._take(name, ("int",), default)

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self._take(name, ("int",), default))

    def real(self, name: str, default: Any = REQUIRED) -> Any:
        return self._take(name, ("float",), default)

    def text(self, name: str, default: Any = REQUIRED, choices: Sequence[str] = ()) -> Any:
        value = self._take(name, ("string",), default)
        if choices and value not in choices:
            self.fail(f"attribute {name!r} must be one of {list(choices)}, got {shown(str(value))}")
        return value

    def integers(self, name: str, default: Any = REQUIRED) -> Any:
        value = self._take(name, ("ints",), default)
        return value if value is None else tuple(value)

    def reals(self, name: str, default: Any = REQUIRED) -> Any:
        return self._take(name, ("floats",), default)

    def texts(self, name: str, default: Any = REQUIRED) -> Any:
        return self._take(name, ("strings",), default)

    def tensor(self, name: str, default: Any = REQUIRED) -> Constant | None:
        found: Constant | None = self._take(name, ("tensor",), default)
        return found

    def graph(self, name: str) -> ModelGraph:
        found = self._take(name, ("graph",), REQUIRED)
        assert isinstance(found, ModelGraph)
        return found

    def element(self, name: str, default: Element | None = None) -> Element:
        """An attribute that is the number of an element type."""
        number = self._take(name, ("int",), REQUIRED if default is None else 0)
        found = BY_NUMBER.get(number) if number else default
        if found is None:
            self.refuse(f"attribute {name!r}: elements of type number {number} are not supported")
        return found

    def ignore(self, *names: str) -> None:
        """Pass over attributes that have no meaning at inference, or say what is known anyway."""
        for name in names:
            self._attributes.pop(name, None)

    def finish(self) -> None:
        """Refuse what is left of the attributes."""
        if self._attributes:
            self.refuse(f"attribute {shown(next(iter(self._attributes)))} is not supported")
