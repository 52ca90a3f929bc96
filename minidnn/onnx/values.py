"""The values of a call, for what a model decides by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn import engine
from minidnn.ir.graph import Entry, Graph, Node, evaluate, make_variable
from minidnn.ir.symbolic import bind_graph
from minidnn.ir.trace import Trace
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType
from minidnn.sizes import Size

__all__ = ["CallValues"]

Array = np.ndarray[Any, Any]


class CallValues:
    """Finds values of entries of a graph in the making.

    Args:
        arrays: the inputs of the call, by name.
    """

    def __init__(self, arrays: Mapping[str, ndarray]) -> None:
        self._arrays = arrays
        self._found: dict[Entry, Array] = {}
        self._numbers: dict[str, int] = {}
        self._trace: Trace[Any] | None = None

    def begin(self, trace: Trace[Any], types: Sequence[TensorType]) -> None:
        """Say which trace the graphs come from, and what the symbols of its inputs stand for."""
        self._trace = trace
        sizes = (n for t in types for n in t.shape if isinstance(n, Size))
        self._numbers = {size.name: size.example for size in sizes if size.name is not None}

    def find(self, graph: Graph) -> list[Array]:
        """The values of the graph's outputs."""
        wanted = [e for e in graph.outputs if e not in self._found]
        if wanted:
            self._found.update(zip(wanted, self._computed(wanted), strict=True))
        return [self._found[e] for e in graph.outputs]

    def _computed(self, wanted: Sequence[Entry]) -> Sequence[Array]:
        assert self._trace is not None
        known = {f"{e.node.name}:{e.index}": a for e, a in self._found.items()}

        def change(node: Node, _: Any) -> list[Entry] | None:
            outputs = [node[i] for i in range(node.num_outputs)]
            if node.is_variable or not all(e in self._found for e in outputs):
                return None
            return [
                make_variable(f"{node.name}:{e.index}", shape=self._found[e].shape, dtype=self._found[e].dtype)
                for e in outputs
            ]

        rest = bind_graph(Graph(wanted).rewrite(change), self._numbers)
        arrays = {**self._trace.parameters, **self._trace.constants}
        values = {v.name: arrays[v.name].array for v in rest.variables() if v.name in arrays}
        feed = {
            v.name: known[v.name] if v.name in known else self._arrays[v.name]._read("what a model decides by")
            for v in rest.variables()
            if v.name not in values
        }
        if any(node.op is not None and node.op.anchor is not None for node in rest.nodes()):
            types = {name: TensorType.of(array) for name, array in feed.items()}
            return engine.compile_graph(rest, values, types)(list(feed.values()))
        return evaluate(rest, {**feed, **values})
