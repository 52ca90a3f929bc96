"""Runs a graph node by node, so that a callback sees what every node reads and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn import engine
from minidnn.ir.graph import Entry, Graph, Node, make_like, make_variable
from minidnn.ir.roles import input_roles
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import TensorType

__all__ = ["Callback", "Monitor"]

Callback = Callable[[str, str, ndarray], Any]
_Array = np.ndarray[Any, Any]


class Monitor:
    """A graph in one-node pieces, each compiled on its own.

    Args:
        graph: the graph, fused or not.
        values: the values of parameters and constants, by name.
    """

    def __init__(self, graph: Graph, values: Mapping[str, _Array]) -> None:
        self._graph = graph
        self._values = values
        self._pieces: dict[Node, tuple[list[TensorType], Callable[[Sequence[_Array]], list[_Array]]]] = {}

    def run(self, feed: Mapping[str, _Array], callback: Callback, monitor_all: bool) -> list[_Array]:
        """The outputs for these data variables.

        Args:
            feed: the values of the data variables, by name.
            callback: called with the name of an array, the operator's name (MXNet's, where it has one) and the
                array. An output is called ``<node>_output``, or ``<node>_output<i>`` where there are several; an
                input ``<node>_<what the operator calls it>``.
            monitor_all: whether it sees inputs too.
        """
        last_use = {entry: node for node in self._graph.operations() for entry in node.inputs}
        keep = set(self._graph.outputs)
        known: dict[Entry, _Array] = {}
        for node in self._graph.nodes():
            if node.is_variable:
                known[node[0]] = feed[node.name] if node.name in feed else self._values[node.name]
                continue
            inputs = [known[entry] for entry in node.inputs]
            label = _op_label(node)
            if monitor_all:
                for name, array in zip(_input_names(node), inputs, strict=True):
                    callback(f"{node.name}_{name}", label, _shown(array))
            outputs = self._compute(node, inputs)
            for i, array in enumerate(outputs):
                known[node[i]] = array
                number = i if len(outputs) > 1 else ""
                callback(f"{node.name}_output{number}", label, _shown(array))
            for entry in node.inputs:
                if last_use[entry] is node and entry not in keep:
                    known.pop(entry, None)
        return [known[entry] for entry in self._graph.outputs]

    def _compute(self, node: Node, inputs: Sequence[_Array]) -> list[_Array]:
        is_data = [not (entry.node.is_variable and entry.node.name in self._values) for entry in node.inputs]
        data = [array for array, wanted in zip(inputs, is_data, strict=True) if wanted]
        types = [TensorType.of(array) for array in inputs]
        made_for, run = self._pieces.get(node, (None, None))
        if run is None or made_for != types:
            variables = tuple(make_variable(f"in{i}") for i in range(len(inputs)))
            piece = make_like(node, variables)
            named = {v.node.name: a for v, a in zip(variables, inputs, strict=True)}
            given = {v.node.name: t for v, t, wanted in zip(variables, types, is_data, strict=True) if wanted}
            constants = {name: array for name, array in named.items() if name not in given}
            graph = Graph(piece[i] for i in range(piece.num_outputs))
            run = engine.compile_graph(graph, constants, given)
            # Types change from run to run where sizes depend on values.
            self._pieces[node] = types, run
        return run(data)


def _shown(array: _Array) -> ndarray:
    """For the callback's eyes: other nodes read the same memory, so it cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return ndarray._wrap(view)


def _op_label(node: Node) -> str:
    assert node.op is not None
    return node.op.mxnet[0] if node.op.mxnet else node.op.name


def _input_names(node: Node) -> list[str]:
    """What the operator calls its inputs; numbered from the second of a name on."""
    names: list[str] = []
    for role in input_roles(node):
        count = sum(name.rstrip("0123456789") == role.name for name in names)
        names.append(f"{role.name}{count}" if count else role.name)
    return names
