"""The one door between what users hold (blocks, arrays, symbols) and what runs (lowering, runtime)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.symbol.graph import Graph, evaluate

__all__ = ["CompiledGraph", "compile_graph", "run_op"]


class CompiledGraph:
    def __init__(self, graph: Graph, parameters: Mapping[str, np.ndarray[Any, Any]], inputs: Mapping[str, TensorType]) -> None:
        self._graph, self._parameters, self._names = graph, parameters, list(inputs)

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        feed = dict(zip(self._names, arrays, strict=True))
        return list(evaluate(self._graph, {**self._parameters, **feed}))


def compile_graph(
    graph: Graph, parameters: Mapping[str, np.ndarray[Any, Any]], inputs: Mapping[str, TensorType]
) -> CompiledGraph:
    return CompiledGraph(graph, parameters, inputs)


def run_op(op: Op, attrs: Attrs, arrays: Sequence[Any]) -> tuple[np.ndarray[Any, Any], ...]:
    return op.compute(attrs, *(a._data for a in arrays))
