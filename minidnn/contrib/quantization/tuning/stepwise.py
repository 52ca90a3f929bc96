"""A graph that runs operation by operation, each over all batches before the next one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.contrib.quantization.network import make_block
from minidnn.ir.graph import Entry, Graph, Node, make_like, make_variable
from minidnn.ir.symbolic import bind_node, find_sizes, has_sized_attrs
from minidnn.numpy.multiarray import ndarray
from minidnn.symbol.symbol import Symbol

__all__ = ["StepwiseRun"]

Array = np.ndarray[Any, Any]


class StepwiseRun:
    """Values of a graph over all batches, from the inputs on; those that no later operation reads are dropped.

    Args:
        graph: what runs.
        inputs: for each input of the graph its arrays, one a batch.
        parameters: values of the other variables, by name; what is in it when an operation runs counts.

    Attributes:
        values: of each entry that exists, one array a batch.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Sequence[Array]], parameters: Mapping[str, Array]) -> None:
        self._graph = graph
        self._parameters = parameters
        self._readers = Counter(e for node in graph.operations() for e in set(node.inputs))
        self._done: set[Node] = set()
        self.values: dict[Entry, list[Array]] = {}
        self._batches = len(next(iter(inputs.values()), ()))
        for variable in graph.variables():
            if variable.name in inputs:
                self.values[variable[0]] = list(inputs[variable.name])
        self._kept = set(graph.outputs)
        self._sizes = [
            find_sizes(graph, {name: arrays[batch].shape for name, arrays in inputs.items()})
            for batch in range(self._batches)
        ]

    def run(self, node: Node) -> None:
        """Compute an operation, those it depends on before it, unless that has been done."""
        for step in Graph([node[0]]).operations():
            if step not in self._done:
                self._step(step)

    def prepare(self, node: Node) -> None:
        """Compute what an operation reads."""
        for entry in node.inputs:
            if not entry.node.is_variable:
                self.run(entry.node)

    def replace(self, node: Node, values: Sequence[Sequence[Array]]) -> None:
        """Take these for the outputs of an operation, a list of batches for each, instead of computing them."""
        for i, batches in enumerate(values):
            self._keep(node[i], list(batches))
        self._finish(node)

    def outputs(self) -> list[list[Array]]:
        """What the graph gives: of each output a list of batches."""
        return [[self.of(e, batch) for batch in range(self._batches)] for e in self._graph.outputs]

    def of(self, entry: Entry, batch: int) -> Array:
        """The value of an entry, a parameter included."""
        if entry in self.values:
            return self.values[entry][batch]
        return self._parameters[entry.node.name]

    def _step(self, node: Node) -> None:
        data = [e for e in dict.fromkeys(node.inputs) if e in self.values]
        results: list[list[Array]] = [[] for _ in range(node.num_outputs)]
        blocks: dict[Any, Any] = {}
        last = [e for e in data if self._readers[e] == 1 and e not in self._kept]
        for batch, sizes in enumerate(self._sizes):
            # Only what names sizes is another operation for other sizes.
            key = tuple(sizes.items()) if has_sized_attrs(node) else ()
            if data and key not in blocks:
                blocks[key] = self._block(bind_node(node, sizes), data)
            if data:
                outputs = blocks[key](*(ndarray._wrap(self.values[e][batch]) for e in data))
            else:
                outputs = bind_node(node, sizes).compute([self.of(e, batch) for e in node.inputs])
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            for found, output in zip(results, outputs, strict=True):
                found.append(np.asarray(output))
            for entry in last:
                self.values[entry][batch] = np.empty(0)  # its memory is wanted
        for i, found in enumerate(results):
            self._keep(node[i], found)
        self._finish(node)

    def _keep(self, entry: Entry, batches: list[Array]) -> None:
        if self._readers[entry] or entry in self._kept:
            self.values[entry] = batches

    def _finish(self, node: Node) -> None:
        self._done.add(node)
        for entry in set(node.inputs):
            self._readers[entry] -= 1
            if not self._readers[entry] and entry not in self._kept:
                self.values.pop(entry, None)

    def _block(self, node: Node, data: Sequence[Entry]) -> Any:
        """The operation alone, compiled."""
        names = {variable.name for variable in (e.node for e in node.inputs) if variable.is_variable}
        fresh: dict[Entry, Entry] = {}
        for number, entry in enumerate(data):
            name = f"input{number}"
            while name in names:
                name += "_"
            fresh[entry] = make_variable(name)
        alone = make_like(node, tuple(fresh.get(e, e) for e in node.inputs))
        symbol = Symbol([alone[i] for i in range(node.num_outputs)])
        return make_block(symbol, [e.node.name for e in fresh.values()], self._parameters)
