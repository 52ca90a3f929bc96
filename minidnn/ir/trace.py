"""Tracing: operators applied to arrays without data are written down as a graph.

    trace = Trace(ndarray)
    x = trace.input("data", TensorType((1, 3, 8, 8), np.dtype("float32")))
    y = trace.run(net.forward, x)
    graph = trace.graph([y])

What a `Trace` knows beside the graph are the concrete arrays it needs: the parameters by name, and the
constants, arrays that met traced ones on the way. Of the arrays it knows what `Traceable` says.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np

from minidnn.errors import GraphError, MXNetError, OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable
from minidnn.ir.sizes import depends_on_size, with_sizes
from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.scope import current_scope
from minidnn.sizes import Condition, Decisions, by_example_noting, example_of
from minidnn.user_code import at_user_line, user_call

__all__ = ["Trace", "Traceable", "current_trace", "innermost_serial", "no_data", "trace_of", "untraced"]


class _State(threading.local):
    """What this thread is in; see `minidnn.scope`. None is a trace that is paused."""

    traces: tuple[Trace[Any] | None, ...] = ()
    # Of the innermost trace, for a look-up that every array makes; 0 if there is none.
    serial: int = 0


_state = _State()


class Traceable:
    """What a trace follows: an array of known type, which is an entry of the graph while it is traced.

    Writing to it makes it another entry.
    """

    __slots__ = ("_trace", "_type")

    _type: TensorType
    _trace: Trace[Any] | None

    @property
    def _entry(self) -> Entry:
        """What a traced array is now."""
        raise NotImplementedError

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


def innermost_serial() -> int:
    """The serial number of the innermost trace of this thread; 0 if there is none, or it is paused."""
    return _state.serial


def _run_in(traces: tuple[Trace[Any] | None, ...], function: Callable[..., Result], args: tuple[Any, ...]) -> Result:
    before = _state.traces, _state.serial
    try:
        _state.traces, _state.serial = traces, traces[-1].serial if traces[-1] is not None else 0
        return function(*args)
    finally:
        _state.traces, _state.serial = before


def untraced(function: Callable[..., Result], *args: Any) -> Result:
    """``function(*args)``, computed and not recorded: for what a network has to have before it is traced."""
    return _run_in((*_state.traces, None), function, args)


def trace_of(arrays: Sequence[Traceable]) -> Trace[Any] | None:
    """The trace the arrays belong to, or None if all of them are concrete.

    Raises:
        GraphError: a traced array is used after its trace has ended, or inside another one.
    """
    for array in arrays:
        if array._trace is not None:
            trace = current_trace()
            if trace is None or array._trace is not trace:
                raise GraphError(
                    f"the traced array {array!r} is used outside the trace it belongs to: "
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
        inputs: name -> the traced array of every input; one that was written to is another entry than its variable.
        views: views of arrays that were made while tracing and have data, by the identity of their buffer, each with
            its window; see `minidnn.numpy.base`.
        serial: the number of the trace; arrays that are made while it records remember it.
    """

    _serials = itertools.count(1)

    def __init__(
        self, array: type[Array], find_values: Callable[[Graph], Sequence[np.ndarray[Any, Any]]] | None = None
    ) -> None:
        self.parameters: dict[str, Array] = {}
        self.constants: dict[str, Array] = {}
        self.decisions = Decisions()
        self.inputs: dict[str, Array] = {}
        self.views: dict[int, list[tuple[Array, Any]]] = {}
        self.serial = next(self._serials)
        self._array = array
        self._traced: dict[str, Array] = {}
        self._names: set[str] = set()
        self._reserved: frozenset[str] = frozenset()
        # By name, how many behind it are taken.
        self._numbers: dict[str, int] = {}
        self._constant_of: dict[tuple[int, int], tuple[Array, Entry]] = {}
        self._find_values = find_values
        self._sizes: dict[Node, int] = {}
        self._fixed: set[Node] = set()
        self._sources: dict[Node, frozenset[Node]] = {}
        self._observed: set[tuple[Entry, bool, int | None]] = set()
        self._is_blind = False

    def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """``function(*args)``, recorded. Traces nest.

        Raises:
            MXNetError: the function asks for values, which are not there; see `no_data`.
        """
        try:
            return _run_in((*_state.traces, self), function, args)
        except ValueError as error:
            # NumPy replaces the error of an array that it cannot put into one of its own.
            if isinstance(error.__cause__, MXNetError) and str(error).startswith("setting an array element"):
                raise error.__cause__ from None
            raise

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for inputs and parameters: no node gets one of them."""
        self._reserved = self._reserved.union(names)

    def input(self, name: str, type_: TensorType) -> Array:
        """A variable of the graph, as an array without data.

        Raises:
            GraphError: the name is taken.
        """
        if name in self._names:
            raise GraphError(f"the input name {name!r} is taken in this trace")
        self._names.add(name)
        entry = make_variable(name, shape=type_.shape, dtype=type_.dtype)
        self.inputs[name] = self._array._traced(entry, type_, self)
        return self.inputs[name]

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
        entries = tuple(map(self.entry, arrays))
        conditions: Sequence[Condition] = ()
        given = [a._type for a in arrays]
        is_unknown = op.has_unknown_size(attrs)
        if is_unknown:
            types = self._find_types(op, attrs, entries)
        else:
            types, conditions = _inferred(op, attrs, given)
        node = Node(op, self.fresh_name(op.name), attrs, entries)
        if not is_unknown:
            node.remember(given, types, conditions)
        self._note_sources(node, types)
        return tuple(self._array._traced(node[i], t, self) for i, t in enumerate(types))

    def entry(self, array: Array) -> Entry:
        """What stands for the array in the graph: a concrete one becomes a constant, as it is now."""
        return self._constant(array) if array._trace is None else array._entry

    def parameter_name(self, array: Array) -> str | None:
        """The name of the parameter that a traced array stands for; None if it is no parameter."""
        return next((name for name, traced in self._traced.items() if traced is array), None)

    def depends_on_values(self, entry: Entry) -> bool:
        """Whether the shape of `entry` may depend on values."""
        return bool(self._sources.get(entry.node))

    def written_inputs(self) -> dict[str, Array]:
        """The inputs that have been written to, by name."""
        return self.run(lambda: {n: a for n, a in self.inputs.items() if a._entry.node.name != n})

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

    def without_notes(self, function: Callable[..., Result], *args: Any) -> Result:
        """``function(*args)``, which may read shapes without fixing the sizes that they depend on."""
        before = self._is_blind
        try:
            self._is_blind = True
            return function(*args)
        finally:
            self._is_blind = before

    def note_shape_read(self, entry: Entry, rank_only: bool = False, axis: int | None = None) -> None:
        """The shape of `entry`, its rank or one size has been read: what it depends on is fixed from now on.

        Only sizes that depend on values are: they are those of the run that the trace is made for.
        """
        sources = self._sources.get(entry.node)
        if self._is_blind or not sources or (entry, rank_only, axis) in self._observed:
            return
        self._observed.add((entry, rank_only, axis))
        sizes = {node: self._sizes[node] for node in sources}
        self._fixed.update(n for n in sources - self._fixed if depends_on_size(entry, n, sizes, rank_only, axis))

    def graph(self, outputs: Sequence[Array]) -> Graph:
        """What has been recorded, from the variables to `outputs`; concrete outputs become constants.

        Raises:
            GraphError: an output is no array of this trace.
        """
        for i, output in enumerate(outputs):
            if not isinstance(output, Traceable):
                raise GraphError(f"output {i} of a traced function must be an array, got {type(output).__name__}")
            if output._trace not in (None, self):
                raise GraphError(f"output {i} belongs to another trace: {output!r}")
        entries = self.run(lambda: list(map(self.entry, outputs)))
        reached = set(Graph(entries).nodes())
        checks = [node[0] for node in self._sizes if node in self._fixed and node not in reached]
        if checks:
            attrs = {"num_args": len(checks) + 1}
            entries[0] = make_node("depend", self.fresh_name("depend"), [entries[0], *checks], attrs)[0]
        return with_sizes(Graph(entries), {node: self._sizes[node] for node in self._fixed})

    def _constant(self, array: Array) -> Entry:
        # A copy, since the array may be written to later; kept once for each state the array was met in.
        key = (id(array), array._version)
        if key not in self._constant_of:
            name = self.fresh_name("constant")
            copied = array.copy()
            self.constants[name] = copied
            entry = make_variable(name, shape=copied._type.shape, dtype=copied._type.dtype)
            self._constant_of[key] = (array, entry)
        return self._constant_of[key][1]

    def fresh_name(self, last: str) -> str:
        """A name for a node that no other has, behind the names of the open scopes."""
        scope = current_scope()
        base = f"{scope}_{last}" if scope else last
        name, number = base, self._numbers.get(base, 0)
        while name in self._names or name in self._reserved:
            number += 1
            name = f"{base}_{number}"
        self._numbers[base] = number
        self._names.add(name)
        return name


def _inferred(op: Op, attrs: Attrs, types: Sequence[TensorType]) -> tuple[tuple[TensorType, ...], Sequence[Condition]]:
    try:
        return by_example_noting(op.infer_types, attrs, types)
    except OpError:
        # The user reads the numbers of the call, not what they stand for.
        numbers = op.make_attrs({name: example_of(value) for name, value in attrs.items()})
        op.infer_types(numbers, [TensorType(example_of(t.shape), t.dtype) for t in types])
        raise


def no_data(entry: Any, what: str) -> MXNetError:
    """The error for asking an array without data for its values; it says where in the user's code that was.

    Args:
        entry: what stands for the array.
        what: what needs the values; the function that the user has called is named before it.
    """
    called = user_call()
    function = f"{called}(): " if called and f"{called}()" not in what else ""
    return MXNetError(
        f"{function}{what} needs the values of {str(entry)!r}, but the network is being traced and only shapes are "
        f"known: compute with mx.np and mx.npx operators, or run the block without hybridize(){at_user_line()}"
    )
