"""Tracing: operators applied to arrays without data are written down as a graph.

    trace = Trace(ndarray)
    x = trace.input("data", TensorType((1, 3, 8, 8), np.dtype("float32")))
    y = trace.run(net.forward, x)
    graph = trace.graph([y])

What a `Trace` knows beside the graph are the concrete arrays it needs: the parameters by name, and the
constants, arrays that met traced ones on the way. Of the arrays it knows what `Traceable` says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np

from minidnn.errors import GraphError, MXNetError, OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable
from minidnn.ir.sizes import depends_on_size, with_sizes
from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.scope import current_scope, user_line
from minidnn.sizes import Decisions, by_example, example_of

__all__ = ["Trace", "Traceable", "current_trace", "no_data", "trace_of", "untraced"]


class _State(threading.local):
    """What this thread is in; see `minidnn.scope`. None is a trace that is paused."""

    traces: tuple[Trace[Any] | None, ...] = ()


_state = _State()


class Traceable:
    """What a trace follows: an array of known type, which is an entry of the graph while it is traced."""

    __slots__ = ("_entry", "_trace", "_type")

    _type: TensorType
    _entry: Entry | None
    _trace: Trace[Any] | None

    @classmethod
    def _traced(cls, entry: Entry, type_: TensorType, trace: Trace[Any]) -> Self:
        """An array without data: `entry` of the graph that `trace` is recording."""
        raise NotImplementedError

    @property
    def _version(self) -> int:
        """Number of writes to the memory so far, through this array or any view of it."""
        raise NotImplementedError

    def copy(self) -> Self:
        """An array of its own with the same elements."""
        raise NotImplementedError


Array = TypeVar("Array", bound=Traceable)
Result = TypeVar("Result")


def current_trace() -> Trace[Any] | None:
    """The innermost trace that is recording in this thread; None if there is none, or it is paused."""
    return _state.traces[-1] if _state.traces else None


def untraced(function: Callable[..., Result], *args: Any) -> Result:
    """``function(*args)``, computed and not recorded: for what a network has to have before it is traced."""
    before = _state.traces
    try:
        _state.traces = (*before, None)
        return function(*args)
    finally:
        _state.traces = before


def trace_of(arrays: Sequence[Traceable]) -> Trace[Any] | None:
    """The trace the arrays belong to, or None if all of them are concrete.

    Raises:
        GraphError: a traced array is used after its trace has ended, or inside another one.
    """
    for array in arrays:
        if array._entry is not None:
            trace = current_trace()
            if trace is None or array._trace is not trace:
                raise GraphError(
                    f"the traced array {array._entry} is used outside the trace it belongs to: "
                    "an array that forward() computed while it was traced has been kept somewhere"
                )
            return trace
    return None


class Trace(Generic[Array]):
    """A graph in the making.

    Results whose size depends on values get their type from the values of one run, the one that the trace is made
    for. Whatever reads a shape that depends on such a size fixes the size in the graph.

    Args:
        array: the class of the arrays it gives.
        find_values: the values of entries in that run; None where there are none, so that such results are refused.

    Attributes:
        parameters: name -> concrete array, of every parameter that was asked for.
        constants: name -> a copy of every other concrete array that met a traced one.
        decisions: what was decided by sizes.
    """

    def __init__(
        self, array: type[Array], find_values: Callable[[Graph], Sequence[np.ndarray[Any, Any]]] | None = None
    ) -> None:
        self.parameters: dict[str, Array] = {}
        self.constants: dict[str, Array] = {}
        self.decisions = Decisions()
        self._array = array
        self._traced: dict[str, Array] = {}
        self._names: set[str] = set()
        self._constant_of: dict[tuple[int, int], tuple[Array, Entry]] = {}
        self._aliased: set[Entry] = set()
        self._find_values = find_values
        self._sizes: dict[Node, int] = {}
        self._fixed: set[Node] = set()
        self._sources: dict[Node, frozenset[Node]] = {}
        self._observed: set[tuple[Entry, bool]] = set()

    def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """``function(*args)``, recorded. Traces nest."""
        before = _state.traces
        try:
            _state.traces = (*before, self)
            return function(*args)
        finally:
            _state.traces = before

    def input(self, name: str, type_: TensorType) -> Array:
        """A variable of the graph, as an array without data.

        Raises:
            GraphError: the name is taken.
        """
        if name in self._names:
            raise GraphError(f"the input name {name!r} is taken in this trace")
        self._names.add(name)
        entry = make_variable(name, shape=type_.shape, dtype=type_.dtype)
        return self._array._traced(entry, type_, self)

    def parameter(self, name: str, array: Array, **hints: Any) -> Array:
        """The variable of a parameter: the same one each time the name is asked for.

        Args:
            name: dotted name of the parameter.
            array: its value; `self.parameters` keeps it.
            hints: what else to note at the variable (``init``, ...), beside shape and dtype.

        Raises:
            GraphError: the name belongs to an input or a node.
        """
        if name not in self._traced:
            if name in self._names:
                raise GraphError(f"the parameter name {name!r} is taken in this trace")
            self._names.add(name)
            entry = make_variable(name, **{"shape": array._type.shape, "dtype": array._type.dtype, **hints})
            self._traced[name] = self._array._traced(entry, array._type, self)
            self.parameters[name] = array
        return self._traced[name]

    def record(self, op: Op, attrs: Attrs, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """Write down one operation; the outputs have types and no data.

        Raises:
            OpError: the inputs do not fit.
            MXNetError: the size of the result depends on values, and there are none.
        """
        entries = tuple(a._entry if a._entry is not None else self._constant(a) for a in arrays)
        if op.has_unknown_size(attrs):
            types = self._find_types(op, attrs, entries)
        else:
            types = _inferred(op, attrs, [a._type for a in arrays])
        node = Node(op, self._fresh_name(op.name), attrs, entries)
        self._note_sources(node, types)
        return tuple(self._array._traced(node[i], t, self) for i, t in enumerate(types))

    def _find_types(self, op: Op, attrs: Attrs, entries: Sequence[Entry]) -> tuple[TensorType, ...]:
        if self._find_values is None:
            raise no_data(entries[0], f"{op.name}, whose result has a size that depends on values,")
        values = self._find_values(Graph(entries))
        return tuple(map(TensorType.of, op.compute(attrs, *values)))

    def _note_sources(self, node: Node, types: Sequence[TensorType]) -> None:
        """Remember what sizes the types of `node` may depend on."""
        found = frozenset[Node]().union(*(self._sources.get(e.node, frozenset()) for e in node.inputs))
        if node.op is not None and node.op.has_unknown_size(node.attrs):
            self._sizes[node] = types[-1].shape[0]
            found |= {node}
        if found:
            self._sources[node] = found

    def note_shape_read(self, entry: Entry, rank_only: bool = False) -> None:
        """Python has read the shape of `entry`, or its rank: sizes it depends on are fixed in the graph from now on."""
        sources = self._sources.get(entry.node)
        if not sources or (entry, rank_only) in self._observed:
            return
        self._observed.add((entry, rank_only))
        sizes = {node: self._sizes[node] for node in sources}
        self._fixed.update(n for n in sources - self._fixed if depends_on_size(entry, n, sizes, rank_only))

    def note_view(self, array: Array, view: Array) -> None:
        """Remember that `view` would, without a trace, be a view on the memory of `array`."""
        self._aliased.update(a._entry for a in (array, view) if a._entry is not None)

    def may_be_aliased(self, entry: Entry) -> bool:
        """Whether a write to the array of `entry` would, without a trace, also change another array.

        That is so for variables (the caller sees its own array change), for views, and for what has views.
        """
        return entry.node.is_variable or entry in self._aliased

    def graph(self, outputs: Sequence[Array]) -> Graph:
        """What has been recorded, from the variables to `outputs`; concrete outputs become constants.

        Raises:
            GraphError: an output is no array of this trace.
        """
        entries = []
        for i, output in enumerate(outputs):
            if not isinstance(output, Traceable):
                raise GraphError(f"output {i} of a traced function must be an array, got {type(output).__name__}")
            if output._entry is None:
                entries.append(self._constant(output))
            elif output._trace is not self:
                raise GraphError(f"output {i} belongs to another trace: {output._entry}")
            else:
                entries.append(output._entry)
        reached = set(Graph(entries).nodes())
        checks = [node[0] for node in self._sizes if node in self._fixed and node not in reached]
        if checks:
            attrs = {"num_args": len(checks) + 1}
            entries[0] = make_node("depend", self._fresh_name("depend"), [entries[0], *checks], attrs)[0]
        return with_sizes(Graph(entries), {node: self._sizes[node] for node in self._fixed})

    def _constant(self, array: Array) -> Entry:
        # A copy, since the array may be written to later; kept once for each state the array was met in.
        key = (id(array), array._version)
        if key not in self._constant_of:
            name = self._fresh_name("constant")
            copied = array.copy()
            self.constants[name] = copied
            entry = make_variable(name, shape=copied._type.shape, dtype=copied._type.dtype)
            self._constant_of[key] = (array, entry)
        return self._constant_of[key][1]

    def _fresh_name(self, last: str) -> str:
        scope = current_scope()
        base = f"{scope}_{last}" if scope else last
        name, number = base, 0
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name


def _inferred(op: Op, attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
    try:
        return by_example(op.infer_types, attrs, types)
    except OpError:
        # The user reads the numbers of the call, not what they stand for.
        numbers = op.make_attrs({name: example_of(value) for name, value in attrs.items()})
        op.infer_types(numbers, [TensorType(example_of(t.shape), t.dtype) for t in types])
        raise


def no_data(entry: Entry, what: str) -> MXNetError:
    """The error for asking an array without data for its values; it says where in the user's code that was."""
    line = user_line()
    return MXNetError(
        f"{what} needs the values of {str(entry)!r}, but the network is being traced and only shapes are known: "
        f"compute with mx.np and mx.npx operators, or run the block without hybridize(){line and f' (at {line})'}"
    )
