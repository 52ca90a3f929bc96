"""A model as a graph of ours, for inputs of given types: the walk over its nodes, functions and inner graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import GraphError, OpError
from minidnn.interop.onnx import rules
from minidnn.interop.onnx.builder import Builder, FindValues
from minidnn.interop.onnx.call import RULES, Call, UnsupportedNodeError
from minidnn.interop.onnx.model import Attribute, Function, Model, ModelGraph, ModelNode, shown
from minidnn.interop.onnx.rules.integers import move_quantized
from minidnn.interop.onnx.schemas import body_of, has_body
from minidnn.interop.onnx.values import Value
from minidnn.ir.graph import Graph
from minidnn.ir.trace import Trace
from minidnn.ops.registry import TensorType
from minidnn.scope import run_in_scope
from minidnn.sizes import Decisions

__all__ = ["MAX_TRIPS", "Conversion", "Converted", "check_operators"]

assert rules.__all__ is not None  # the rules enter themselves in the table

# Rounds of a loop that are written out, unless said otherwise.
MAX_TRIPS = 1024
# Calls of functions in functions, and nodes of everything written out.
_MAX_DEPTH = 32
_MAX_NODES = 100_000


def check_operators(model: Model) -> None:
    """Raise UnsupportedNodeError for the first operator that there is no rule for, and nothing that it is made of."""
    for node in needed(model.graph.nodes, [port.name for port in model.graph.outputs]):
        key = node.domain, node.op
        if key not in RULES and (*key, node.overload) not in model.functions and not has_body(node, model.opsets):
            raise UnsupportedNodeError(f"{model.label}: {_no_rule(node, model.opsets.get(node.domain, 1))}")


def _no_rule(node: ModelNode, version: int) -> str:
    return f"{node}: the operator is not supported (version {version} of its set)"


@dataclass(frozen=True)
class Converted:
    """A model for inputs of given types.

    Args:
        graph: what it computes; as a trace gives it, before sizes are settled.
        constants: the values of its variables that are no inputs, by name.
        parameters: names of those that are constants of the file, and that nothing has been computed from already.
        decisions: what was decided by sizes.
    """

    graph: Graph
    constants: Mapping[str, np.ndarray[Any, Any]]
    parameters: tuple[str, ...]
    decisions: Decisions


class Conversion:
    """One conversion of a model.

    Args:
        model: the model.
        find_values: the values of entries in the call that it is for; None: there is no call.
        max_trips: rounds of a loop that are written out at most.
    """

    def __init__(self, model: Model, find_values: FindValues | None = None, max_trips: int = MAX_TRIPS) -> None:
        self.max_trips = max_trips
        self.trace: Trace[Value] = Trace(Value, find_values)
        self._model = model
        self._builder = Builder(self.trace, find_values)
        self._scopes: list[dict[str, Value | None]] = []
        self._functions: list[tuple[Function, Mapping[str, Attribute]]] = []
        self._count = 0
        self.trace.reserve((*(port.name for port in model.inputs), *model.graph.constants))

    def run(self, types: Sequence[TensorType]) -> Converted:
        """The graph for inputs of these types, in their dtypes, of sizes that are symbols of `trace.decisions`.

        Raises:
            GraphError: an operator, or an attribute of one, is not supported; the message names file, node, operator
                and attribute.
            NeedsValuesError: something depends on values, and there are none.
            OpError: shapes or dtypes do not fit; the message names the node.
        """
        try:
            return self.trace.run(self._run, types)
        except (GraphError, OpError) as error:
            raise type(error)(f"{self._model.label}: {error}") from None

    def _run(self, types: Sequence[TensorType]) -> Converted:
        model, builder = self._model, self._builder
        scope: dict[str, Value | None] = {}
        for port, type_ in zip(model.inputs, types, strict=True):
            assert port.element is not None
            scope[port.name] = builder.input(port.name, type_, port.element)
        outputs = self._graph(model.graph, scope)
        graph = builder.finish(outputs, [port.name for port in model.graph.outputs])
        arrays = {**self.trace.parameters, **self.trace.constants}
        used = {variable.name for variable in graph.variables()}
        constants = {name: v.array for name, v in arrays.items() if name in used and v.array is not None}
        parameters = (n for n in self.trace.parameters if n in constants and n not in builder.folded)
        return Converted(graph, constants, tuple(parameters), self.trace.decisions)

    def _graph(self, graph: ModelGraph, scope: dict[str, Value | None]) -> list[Value]:
        for name, constant in graph.constants.items():
            if name not in scope:
                scope[name] = self._builder.constant(constant, name if not self._scopes else "")
        wanted = [port.name for port in graph.outputs]
        self._scopes.append(scope)
        try:
            self._nodes(graph.nodes, wanted)
            return [self._look_up(name, None) for name in wanted]
        finally:
            self._scopes.pop()

    def run_graph(self, graph: ModelGraph, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a graph inside of the node that is being read."""
        if len(inputs) != len(graph.inputs):
            raise GraphError(f"graph {shown(graph.name)} takes {len(graph.inputs)} inputs, got {len(inputs)}")
        return self._graph(graph, {port.name: v for port, v in zip(graph.inputs, inputs, strict=True)})

    def _nodes(self, nodes: Sequence[ModelNode], wanted: Sequence[str]) -> None:
        """Those nodes that what is wanted depends on."""
        for node in needed(nodes, wanted):
            self._count += 1
            if self._count > _MAX_NODES:
                raise GraphError(f"{node}: with functions and loops written out there are more than {_MAX_NODES} nodes")
            results = self._node(node)
            for name, value in zip(node.outputs, results, strict=False):
                if name:
                    self._scopes[-1][name] = value

    def _look_up(self, name: str, node: ModelNode | None) -> Value:
        for scope in reversed(self._scopes):
            if name in scope:
                value = scope[name]
                if value is None:
                    break
                return value
        where = "" if node is None else f"{node}: "
        raise GraphError(f"{where}{shown(name)} has no value: the output that it is was not made, or left out")

    def _optional(self, name: str, node: ModelNode) -> Value | None:
        if not name or any(name in scope and scope[name] is None for scope in reversed(self._scopes)):
            return None
        return self._look_up(name, node)

    def _node(self, node: ModelNode) -> Sequence[Value | None]:
        inputs = [self._optional(name, node) for name in node.inputs]
        attributes = self._attributes(node)
        function = self._model.functions.get((node.domain, node.op, node.overload))
        opset = self._opset(node.domain)
        scope = (node.name or next(filter(None, node.outputs), node.op)).replace("\n", " ")
        if function is not None:
            return self._inline(node, function, inputs, attributes)
        rule = RULES.get((node.domain, node.op))
        if rule is None:
            types = [None if v is None else (v.element, v._type.shape) for v in inputs]
            body = body_of(node, self._opsets(), types, attributes)
            if body is None:
                raise UnsupportedNodeError(_no_rule(node, opset))
            return self._inline(node, body, inputs, attributes)
        call = Call(node, inputs, attributes, opset, self._builder, self)
        return self._apply(rule, call) if self._functions else run_in_scope(scope, self._apply, rule, call)

    def _apply(self, rule: Any, call: Call) -> Sequence[Value]:
        try:
            moved = move_quantized(call, rule)
            result = rule(call) if moved is None else moved
        except (OpError, GraphError) as error:
            if str(error).startswith("node "):
                raise
            raise type(error)(f"{call.node}: {error}") from None
        except (ArithmeticError, AttributeError, AssertionError, LookupError, TypeError, ValueError) as error:
            # Attributes and inputs in a combination that nothing has refused before.
            raise OpError(f"{call.node}: {type(error).__name__}: {str(error)[:200]}") from error
        call.finish()
        results = [result] if isinstance(result, Value) else list(result)
        missing = [name for name in call.node.outputs[len(results) :] if name]
        if missing:
            call.fail(f"it has {len(results)} outputs, {shown(missing[0])} is one more")
        return results

    def _opsets(self) -> Mapping[str, int]:
        return self._functions[-1][0].opsets if self._functions else self._model.opsets

    def _opset(self, domain: str) -> int:
        return self._opsets().get(domain, self._model.opsets.get(domain, 1))

    def _attributes(self, node: ModelNode) -> dict[str, Attribute]:
        """The node's attributes, those that refer to the function around it looked up there."""
        given = self._functions[-1][1] if self._functions else {}
        found: dict[str, Attribute] = {}
        for name, attribute in node.attributes.items():
            if attribute.kind != "reference":
                found[name] = attribute
            elif attribute.value in given:
                found[name] = given[attribute.value]
        return found

    def _inline(
        self, node: ModelNode, function: Function, inputs: Sequence[Value | None], given: Mapping[str, Attribute]
    ) -> list[Value | None]:
        """The outputs of the nodes that a function stands for."""
        if len(self._functions) >= _MAX_DEPTH:
            raise GraphError(f"{node}: functions call each other more than {_MAX_DEPTH} deep")
        if len(inputs) > len(function.inputs):
            raise GraphError(f"{node}: the function takes {len(function.inputs)} inputs, got {len(inputs)}")
        unknown = [name for name in given if name not in function.attributes]
        if unknown:
            raise GraphError(f"{node}: the function has no attribute {shown(unknown[0])}")
        scope: dict[str, Value | None] = dict.fromkeys(function.inputs)
        scope.update(zip(function.inputs, inputs, strict=False))
        outer, self._scopes = self._scopes, [scope]
        self._functions.append((function, {**function.defaults, **given}))
        wanted = [name for name, read in zip(function.outputs, node.outputs, strict=False) if read]
        label = node.name or next(filter(None, node.outputs), node.op)
        try:
            run_in_scope(label if len(self._functions) == 1 else "", self._nodes, function.nodes, wanted)
            return [scope.get(name) for name in function.outputs]
        finally:
            self._scopes = outer
            self._functions.pop()


def needed(nodes: Sequence[ModelNode], wanted: Sequence[str]) -> list[ModelNode]:
    """The nodes that something depends on, in their order."""
    names = set(wanted)
    found = []
    for node in reversed(nodes):
        if names.intersection(filter(None, node.outputs)):
            found.append(node)
            names.update(_reads(node))
    return found[::-1]


def _reads(node: ModelNode) -> set[str]:
    names = {*filter(None, node.inputs)}
    for attribute in node.attributes.values():
        if attribute.kind == "graph":
            inner: ModelGraph = attribute.value
            names.update(port.name for port in inner.outputs)
            names.update(*map(_reads, inner.nodes))
    return names
