"""Tracing: operators applied to arrays without data are written down as a graph.

    with Trace() as trace:
        x = trace.input("data", TensorType((1, 3, 8, 8), np.dtype("float32")))
        y = net.forward(x)
    symbol = trace.graph([y])

What a `Trace` knows beside the graph are the concrete arrays it needs: the parameters by name, and the
constants, arrays that met traced ones on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from minidnn.errors import GraphError, MXNetError
from minidnn.ir.graph import Entry, Node, make_variable
from minidnn.numpy import multiarray
from minidnn.ops.registry import Attrs, Op, TensorType

if TYPE_CHECKING:
    from minidnn.numpy.multiarray import ndarray
    from minidnn.symbol.symbol import Symbol

__all__ = ["Trace", "current_scope", "current_trace", "name_scope", "no_data", "trace_of"]


class _State(threading.local):
    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.scopes: list[str] = []


_state = _State()


@contextmanager
def name_scope(name: str) -> Iterator[None]:
    """Names given inside begin with `name`; scopes nest. An empty name adds nothing."""
    _state.scopes.append(name)
    try:
        yield
    finally:
        _state.scopes.pop()


def current_scope() -> str:
    """The names of the open scopes, joined by dots: ``features.0.conv1``."""
    return ".".join(name for name in _state.scopes if name)


def current_trace() -> Trace | None:
    """The innermost trace that is recording in this thread."""
    return _state.traces[-1] if _state.traces else None


def trace_of(arrays: Sequence[ndarray]) -> Trace | None:
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


class Trace:
    """A graph in the making; a context manager that records while it is entered.

    Attributes:
        parameters: name -> concrete array, of every parameter that was asked for.
        constants: name -> a copy of every other concrete array that met a traced one.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, ndarray] = {}
        self.constants: dict[str, ndarray] = {}
        self._traced: dict[str, ndarray] = {}
        self._names: set[str] = set()
        self._constant_of: dict[tuple[int, int], tuple[ndarray, Entry]] = {}
        self._aliased: set[Entry] = set()

    def __enter__(self) -> Trace:
        _state.traces.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        # A generator that was left half-way may have entered more in between; all of it ends here.
        while _state.traces and _state.traces.pop() is not self:
            pass

    def input(self, name: str, type_: TensorType) -> ndarray:
        """A variable of the graph, as an array without data.

        Raises:
            GraphError: the name is taken.
        """
        if name in self._names:
            raise GraphError(f"the input name {name!r} is taken in this trace")
        self._names.add(name)
        entry = make_variable(name, shape=type_.shape, dtype=type_.dtype)
        return multiarray.ndarray._traced(entry, type_, self)

    def parameter(self, name: str, array: ndarray, **hints: Any) -> ndarray:
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
            entry = make_variable(name, **{"shape": array.shape, "dtype": array.dtype, **hints})
            self._traced[name] = multiarray.ndarray._traced(entry, TensorType.of(array), self)
            self.parameters[name] = array
        return self._traced[name]

    def record(self, op: Op, attrs: Attrs, arrays: Sequence[ndarray]) -> tuple[ndarray, ...]:
        """Write down one operation; the outputs have types and no data.

        Raises:
            OpError: the inputs do not fit.
        """
        types = op.infer_types(attrs, [a._type for a in arrays])
        entries = tuple(a._entry if a._entry is not None else self._constant(a) for a in arrays)
        node = Node(op, self._fresh_name(op.name), attrs, entries)
        return tuple(multiarray.ndarray._traced(node[i], t, self) for i, t in enumerate(types))

    def note_view(self, array: ndarray, view: ndarray) -> None:
        """Remember that `view` would, without a trace, be a view on the memory of `array`."""
        self._aliased.update(a._entry for a in (array, view) if a._entry is not None)

    def may_be_aliased(self, entry: Entry) -> bool:
        """Whether a write to the array of `entry` would, without a trace, also change another array.

        That is so for variables (the caller sees its own array change), for views, and for what has views.
        """
        return entry.node.is_variable or entry in self._aliased

    def graph(self, outputs: Sequence[ndarray]) -> Symbol:
        """What has been recorded, from the variables to `outputs`; concrete outputs become constants.

        Raises:
            GraphError: an output is no array of this trace.
        """
        from minidnn.symbol.symbol import Symbol

        entries = []
        for i, output in enumerate(outputs):
            if not isinstance(output, multiarray.ndarray):
                raise GraphError(f"output {i} of a traced function must be an array, got {type(output).__name__}")
            if output._entry is None:
                entries.append(self._constant(output))
            elif output._trace is not self:
                raise GraphError(f"output {i} belongs to another trace: {output._entry}")
            else:
                entries.append(output._entry)
        return Symbol(entries)

    def _constant(self, array: ndarray) -> Entry:
        # A copy, since the array may be written to later; kept once for each state the array was met in.
        key = (id(array), array._version)
        if key not in self._constant_of:
            name = self._fresh_name("constant")
            copied = array.copy()
            self.constants[name] = copied
            entry = make_variable(name, shape=copied.shape, dtype=copied.dtype)
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


def no_data(entry: Entry, what: str) -> MXNetError:
    """The error for asking an array without data for its values."""
    return MXNetError(
        f"{what} needs the values of {str(entry)!r}, but the network is being traced and only shapes are known: "
        "compute with mx.np and mx.npx operators, or run the block without hybridize()"
    )
