"""The link between parameters and the trace that is running: `Parameter.data` asks here first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from minidnn import engine
from minidnn.errors import MXNetError
from minidnn.initializer import Initializer
from minidnn.ir.axes import Axes, symbolic_types
from minidnn.ir.graph import Graph
from minidnn.ir.symbolic import bind_graph
from minidnn.ir.trace import Trace, current_trace
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.sizes import example_of

__all__ = ["Recordable", "Recording", "current_recording"]


class Recordable(Protocol):
    """What a recording asks of a parameter; see `minidnn.gluon.Parameter`."""

    init: str | Initializer | None

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def shape(self) -> tuple[int, ...] | None: ...

    @property
    def is_initialized(self) -> bool: ...

    @property
    def shape_is_known(self) -> bool: ...

    def concrete(self) -> ndarray: ...


class Recording:
    """A trace together with the names of the parameters it may meet.

    Args:
        names: structural name -> parameter, of the block that is traced. A parameter that stands under several
            names goes by the last one, as in MXNet.
        inputs: the data variables by name: arrays of the call that is traced. Their values decide nothing but the sizes
            that depend on values.
        shapes_only: parameters need no values yet, only shapes.
        axes: names of axes of the inputs.
    """

    def __init__(
        self,
        names: Mapping[str, Recordable],
        inputs: Mapping[str, ndarray],
        shapes_only: bool = False,
        axes: Axes | None = None,
    ) -> None:
        self.trace = Trace(ndarray, self._find_values)
        known = {name: TensorType(example_of(a._type.shape), a._type.dtype) for name, a in inputs.items()}
        types = symbolic_types(known, self.trace.decisions, axes)
        self.inputs = [self.trace.input(name, type_) for name, type_ in types.items()]
        self.variables = [array._entry.node for array in self.inputs if array._entry is not None]
        self._numbers = {size.name: size.example for t in types.values() for size in t.shape}
        self._concrete = inputs
        self.used: dict[str, Any] = {}
        self._names = {id(parameter): name for name, parameter in names.items()}
        self._shapes_only = shapes_only

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, recorded; parameters give traced arrays meanwhile."""
        before = _state.recordings
        try:
            _state.recordings = (*before, self)
            return self.trace.run(function, *args)
        finally:
            _state.recordings = before

    def parameter(self, parameter: Recordable) -> ndarray:
        """The traced array that stands for the parameter.

        Raises:
            MXNetError: the parameter belongs to no block of the tree that is traced.
        """
        name = self._names.get(id(parameter))
        if name is None:
            raise MXNetError(
                f"Unknown input to HybridBlock: parameter {parameter.name!r} is used in forward() but is registered "
                "with none of its blocks; assign it as an attribute of a block"
            )
        self.used[name] = parameter
        init = _describe(parameter.init)
        hints = {} if init is None else {"init": init}
        return self.trace.parameter(name, self._value(parameter), **hints)

    def _find_values(self, graph: Graph) -> list[np.ndarray[Any, Any]]:
        """The values of the graph's outputs in the call that is traced."""
        graph = bind_graph(graph, self._numbers)
        known = {**self._concrete, **self.trace.parameters, **self.trace.constants}
        values = {v.name: known[v.name]._read("a size that depends on values") for v in graph.variables()}
        data = {name: values.pop(name) for name in self._concrete if name in values}
        types = {name: TensorType.of(array) for name, array in data.items()}
        return engine.compile_graph(graph, values, types)(list(data.values()))

    def _value(self, parameter: Recordable) -> ndarray:
        if self._shapes_only and not parameter.is_initialized and parameter.shape_is_known:
            # One zero, seen as an array of that shape: it is never read.
            return ndarray._wrap(np.broadcast_to(np.zeros((), parameter.dtype), parameter.shape or ()))
        return parameter.concrete()


def _describe(init: str | Initializer | None) -> str | None:
    """The initializer as the text of a hint; None for what JSON cannot hold, or only at length (a whole array)."""
    if init is None or isinstance(init, str):
        return init
    try:
        text = init.dumps()
    except TypeError:
        return None
    return text if len(text) < 1000 else None


class _State(threading.local):
    """What this thread is in; see `minidnn.scope`."""

    recordings: tuple[Recording, ...] = ()


_state = _State()


def current_recording() -> Recording | None:
    """The recording whose trace is the innermost one of this thread; None where arrays are computed."""
    if not _state.recordings:
        return None
    recording = _state.recordings[-1]
    return recording if current_trace() is recording.trace else None
