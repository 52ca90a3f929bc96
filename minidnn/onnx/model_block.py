"""`ModelBlock`: a model of another framework as a block, whose graph is made for the sizes it is called with."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from minidnn.errors import GraphError, OpError, ShapeError, TypeMismatchError
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon._symbol_block import SymbolBlock
from minidnn.gluon.parameter import Parameter
from minidnn.gluon.program import BlockGraph
from minidnn.gluon.structure import ARRAY, Spec
from minidnn.interop.onnx import Converted, FindValues, NeedsValuesError, Port, UnsupportedNodeError, Value
from minidnn.ir.axes import Axes, symbolic_types
from minidnn.ir.graph import Graph, Node
from minidnn.ir.infer import hinted_type
from minidnn.ir.settle import settle
from minidnn.ir.shape_checks import ShapeChecks
from minidnn.ir.symbolic import find_sizes, with_examples
from minidnn.ir.trace import Trace
from minidnn.numpy.multiarray import ndarray
from minidnn.onnx.values import CallValues
from minidnn.ops.registry import TensorType
from minidnn.sizes import Decisions, example_of
from minidnn.symbol.symbol import Symbol

__all__ = ["ModelBlock"]

# Sizes that a graph is made for before it is called, the first axis apart: most networks halve pictures five times.
_GUESSES = ((2, (64, 96, 128, 160)), (1, (224, 224, 224, 224)), (1, (32, 32, 32, 32)), (2, (7, 11, 13, 17)))


class Described(Protocol):
    """What a block knows of its model."""

    @property
    def label(self) -> str:
        """What errors call it."""

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts by name."""


class Converts(Protocol):
    """One conversion of a model into a graph."""

    @property
    def trace(self) -> Trace[Value]: ...

    def run(self, types: Sequence[TensorType]) -> Converted:
        """The graph for inputs of these types, whose sizes are symbols of `trace.decisions`."""


class ModelBlock(SymbolBlock):
    """A block that computes a model of another framework.

    The graph is made for inputs of any size; where the model decides something by sizes, or by values, it is made again
    for those that decide otherwise.

    Args:
        model: the model.

    Raises:
        GraphError: the model has inputs that are no tensors.
    """

    def __init__(self, model: Described) -> None:
        HybridBlock.__init__(self)
        self._active = True
        self._model = model
        self._input_names = [port.name for port in model.inputs]
        self._structure = None
        self._known_graph: BlockGraph | None = None
        self._guessed: BlockGraph | None = None
        for port in (*model.inputs, *model.outputs):
            if port.kind != "tensor" or (port.element is None and port in model.inputs):
                raise UnsupportedNodeError(f"{model.label}: {port.name[:80]!a} must be a tensor of numbers")

    def _conversion(self, find_values: FindValues | None) -> Converts:
        """A conversion of the model."""
        raise NotImplementedError

    def _output(self, count: int) -> Spec:
        """How the outputs are nested in what a call gives."""
        return ARRAY if count == 1 else Spec(list, None, (ARRAY,) * count)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts that the file carries, by name."""
        return self._model.metadata

    @property
    def _symbol(self) -> Symbol:  # type: ignore[override] # made when it is asked for
        if self._known_graph is None:
            raise GraphError(
                f"{self._model.label}: what the graph is like depends on the inputs; call the network once before"
            )
        return self._known_graph.symbol

    def __repr__(self) -> str:
        ports = ", ".join(f"{port.name}: {_described(port)}" for port in self._model.inputs)
        return f"{type(self).__name__}({self._model.label}: {ports} -> {len(self._model.outputs)})"

    @property
    def ports(self) -> Sequence[Port]:
        """Names, elements and shapes of the inputs; sizes are numbers, names, or None."""
        return self._model.inputs

    @property
    def is_known(self) -> bool:
        """Whether there is a graph already, or one that does not depend on values of inputs."""
        return self._known_graph is not None

    def example_shapes(self, batch: int, sizes: Mapping[str, int]) -> list[tuple[int, ...]]:
        """Shapes of inputs that the model can be tried with.

        Args:
            batch: the size of first axes that are open and have no number in `sizes`.
            sizes: numbers of sizes by their names.
        """
        ports = self._model.inputs
        shapes = self._traced_shapes() or _guessed_shapes(ports, *_GUESSES[1])
        batches = {p.shape[0]: batch for p in ports if p.shape and isinstance(p.shape[0], str)}
        numbers = {**batches, **sizes}

        def number(axis: int, declared: Any, guess: int) -> int:
            if isinstance(declared, int):
                return declared
            return numbers.get(declared, guess if axis else batch)

        return [
            tuple(number(axis, *pair) for axis, pair in enumerate(zip(_declared(port, shape), shape, strict=True)))
            for port, shape in zip(ports, shapes, strict=True)
        ]

    def _traced_shapes(self) -> list[tuple[int, ...]] | None:
        """The shapes of the inputs that the graph was made for."""
        if self._known_graph is None:
            return None
        types = {v.name: hinted_type(v) for v in self._known_graph.symbol.variables()}
        found = [types.get(port.name) for port in self._model.inputs]
        shapes = [tuple(example_of(t.shape)) for t in found if t is not None]
        return shapes if len(shapes) == len(found) else None

    # ---- graphs

    def _guess(self) -> None:
        """Make the graph for sizes of the declared shapes, if they are known or can be guessed."""
        ports = self._model.inputs
        if any(port.shape is None for port in ports):
            return
        is_open = any(not isinstance(n, int) for port in ports for n in port.shape or ())
        for first, others in _GUESSES:
            try:
                self._guessed = self._known_graph = self._convert(_guessed_shapes(ports, first, others), None)
                return
            except NeedsValuesError:
                return
            except (OpError, ArithmeticError):
                # Sizes that the network cannot have, or an error that the first call will show.
                if not is_open:
                    raise

    def _convert(
        self, shapes: Sequence[tuple[int, ...]], find_values: CallValues | None, axes: Axes | None = None
    ) -> BlockGraph:
        finder: FindValues | None = None if find_values is None else find_values.find
        conversion = self._conversion(finder)
        types = _symbolic_types(self._model.inputs, shapes, conversion.trace.decisions, axes or {})
        if find_values is not None:
            find_values.begin(conversion.trace, types)
        converted = conversion.run(types)
        converted.decisions.is_open = False
        graph = converted.graph
        variables = {node.name: node for node in graph.variables()}
        inputs = [variables.get(name) or conversion.trace.inputs[name]._entry.node for name in self._input_names]
        graph = _settled(graph, inputs, converted)
        self._take_parameters(converted)
        symbol = Symbol(graph.outputs, graph.declared)
        used = set(symbol.list_inputs())
        parameters = {name: p for name, p in self._reg_params.items() if name in used}
        constants = {
            name: ndarray._wrap(array)
            for name, array in converted.constants.items()
            if name in used and name not in parameters
        }
        output = self._output(len(graph.outputs))
        return BlockGraph(symbol, tuple(self._input_names), parameters, constants, output, symbol)

    def _take_parameters(self, converted: Converted) -> None:
        """Make parameters of the floats of the file that the first graph reads as they are."""
        if self._reg_params:
            return
        for name in converted.parameters:
            array = converted.constants[name]
            if array.dtype.kind == "f" and array.ndim:
                parameter = Parameter(name, grad_req="null", shape=array.shape, dtype=array.dtype)
                parameter.load(ndarray._wrap(np.array(array)), adopt=True)
                self._reg_params[name] = parameter

    def _trace_graph(self, arrays: Sequence[ndarray], spec: Spec, axes: Axes | None = None) -> BlockGraph:
        self._check_types(arrays)
        shapes = [tuple(example_of(a.shape)) for a in arrays]
        axes = self._axes if axes is None else axes
        guessed = None if axes else self._guessed_for(shapes)
        if guessed is not None:
            return guessed
        concrete = all(a._trace is None for a in arrays)
        values = CallValues(dict(zip(self._input_names, arrays, strict=True))) if concrete else None
        made = self._convert(shapes, values, axes)
        if self._known_graph is None:
            self._known_graph = made
        return made

    def _guessed_for(self, shapes: Sequence[tuple[int, ...]]) -> BlockGraph | None:
        """The graph that was made before any call, as if for a call of these shapes; None if it does not hold there."""
        made = self._guessed
        if made is None:
            return None
        traced = made.traced
        try:
            sizes = find_sizes(traced, dict(zip(made.inputs, shapes, strict=True)))
            ShapeChecks(traced).check(sizes)
        except OpError:
            return None
        graph = with_examples(Graph(traced.outputs, traced.declared), sizes)
        symbol = Symbol(graph.outputs, graph.declared)
        return replace(made, symbol=symbol, traced=symbol)

    def _own_graph(self) -> BlockGraph:
        assert self._symbol is not None
        assert self._known_graph is not None
        return self._known_graph

    def _types_that_fit(self) -> Sequence[TensorType]:
        return () if self._known_graph is None else super()._types_that_fit()

    # ---- inputs

    def _flatten_inputs(self, args: tuple[Any, ...]) -> tuple[list[ndarray], Spec]:
        if not args and not self._input_names:
            return [], Spec(tuple)
        return super()._flatten_inputs(args)

    def _check_types(self, arrays: Sequence[ndarray]) -> None:
        """Whether the inputs are what the model declares."""
        ports = self._model.inputs
        if len(arrays) != len(ports):
            names = [port.name for port in ports]
            raise ShapeError(f"{self._own_label()}: expected {len(ports)} inputs {names}, got {len(arrays)}")
        sizes: dict[str, Any] = {}
        for port, array in zip(ports, arrays, strict=True):
            assert port.element is not None
            wanted = f"{self._own_label()}: input {port.name!r} must be {_described(port)}"
            if array.dtype != port.element.outside:
                raise TypeMismatchError(f"{wanted}, got {array._type}")
            if port.shape is None:
                continue
            if len(port.shape) != array.ndim:
                raise ShapeError(f"{wanted}, got shape {array.shape}: expected {len(port.shape)} dimensions")
            for axis, (n, m) in enumerate(zip(port.shape, example_of(array.shape), strict=True)):
                if isinstance(n, int) and n != m:
                    raise ShapeError(f"{wanted}, got shape {array.shape}: dimension {axis} is {n} in the model")
                if isinstance(n, str) and sizes.setdefault(n, m) != m:
                    raise ShapeError(f"{wanted}, got shape {array.shape}: {n} is {sizes[n]} in another place")

    def infer_shape(self, *args: Any) -> None:
        """Check the inputs; all parameters have their shapes."""
        arrays, _ = self._flatten_inputs(args)
        self._check_types(arrays)

    def forward(self, *args: Any) -> Any:
        """Compute the model operator by operator; within a trace, this puts its graph into the traced one."""
        arrays, _ = self._flatten_inputs(args)
        made = self._trace_graph(arrays, ARRAY)
        feed = {name: parameter.data() for name, parameter in made.parameters.items()}
        feed |= dict(made.constants)
        feed |= dict(zip(self._input_names, arrays, strict=True))
        return self._replayed(made.symbol, feed, made.output)


def _described(port: Port) -> str:
    shape = "" if port.shape is None else "[" + ", ".join("?" if n is None else str(n) for n in port.shape) + "]"
    return f"{port.element}{shape}"


def _settled(graph: Graph, inputs: Sequence[Node], converted: Converted) -> Graph:
    """The graph with sizes that cannot be others as numbers; it names all inputs, also those that nothing reads."""
    if not {*inputs} <= {*graph.variables()}:
        graph = Graph(graph.outputs, inputs)
    return settle(graph, converted.decisions.guards)


def _guessed_shapes(ports: Sequence[Port], first: int, others: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes of inputs: the sizes that are known, and guesses for the others, the same for the same name."""
    named: dict[str, int] = {}
    rest = 0
    shapes = []
    for port in ports:
        shape = []
        for axis, n in enumerate(port.shape or ()):
            if isinstance(n, int):
                shape.append(n)
                continue
            guess = first if axis == 0 else others[rest % len(others)]
            if isinstance(n, str) and n in named:
                guess = named[n]
            elif axis:
                rest += 1
            if isinstance(n, str):
                named[n] = guess
            shape.append(guess)
        shapes.append(tuple(shape))
    return shapes


def _symbolic_types(
    ports: Sequence[Port], shapes: Sequence[tuple[int, ...]], decisions: Decisions, axes: Axes
) -> list[TensorType]:
    """Types of inputs, with a symbol for each size that the model leaves open, one for all of one name.

    Names are those of `axes`, then those of the file.
    """
    given: dict[str, TensorType] = {}
    names: dict[str, dict[int, str]] = {}
    spelled: dict[str, str] = {}
    for port, numbers in zip(ports, shapes, strict=True):
        assert port.element is not None
        given[port.name] = TensorType(tuple(numbers), port.element.outside)
        users = axes.get(port.name, {})
        names[port.name] = {}
        for axis, n in enumerate(_declared(port, numbers)):
            if not isinstance(n, int) and (axis in users or n is not None):
                names[port.name][axis] = users[axis] if axis in users else _spelled(str(n), spelled)
    made = symbolic_types(given, decisions, names)
    return [_with_numbers(made[port.name], _declared(port, shape)) for port, shape in zip(ports, shapes, strict=True)]


def _declared(port: Port, numbers: Sequence[int]) -> tuple[Any, ...]:
    return (None,) * len(numbers) if port.shape is None else port.shape


def _with_numbers(type_: TensorType, declared: Sequence[Any]) -> TensorType:
    """The type with the sizes that the model fixes."""
    shape = tuple(n if isinstance(n, int) else size for n, size in zip(declared, type_.shape, strict=True))
    return TensorType(shape, type_.dtype)


def _spelled(name: str, spelled: dict[str, str]) -> str:
    """A name of a file as one that Python could have, another one for each other name."""
    if name not in spelled:
        text = re.sub(r"\W", "_", name[:40], flags=re.ASCII)
        if not text or text[0].isdigit() or keyword.iskeyword(text):
            text = f"_{text}"
        while text in spelled.values():
            text += "_"
        spelled[name] = text
    return spelled[name]
