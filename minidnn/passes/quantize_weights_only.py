"""Dense and recurrent layers whose weights alone are int8: data and sums stay float32."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable, unfused_outputs
from minidnn.ops.recurrent import MATRICES
from minidnn.passes.quantize_weights import quantize_rows
from minidnn.passes.split_stacks import split_stacks

__all__ = ["quantize_weights_only"]

Array = np.ndarray[Any, Any]

# Layers with fewer weights stay as they are: a cache holds them.
_LEAST_WEIGHTS = 4096


def quantize_weights_only(
    graph: Graph, parameters: Mapping[str, Array], excluded: Collection[str]
) -> tuple[Graph, dict[str, Array]]:
    """The graph, not fused, with int8 weights of large dense and recurrent layers and a scale for each row, and values.

    Args:
        graph: a float32 graph, fused or not.
        parameters: values of its parameters, by name.
        excluded: names of operations that stay as they are.

    Raises:
        OpError: weights with NaN or infinity; the message names the layer.
    """
    made = _Weights(*split_stacks(graph.rewrite(unfused_outputs), parameters, excluded))
    rules = {"fully_connected": _dense, "recurrent": _recurrent}

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        rule = rules.get(node.op_name)
        return None if rule is None or node.name in excluded else rule(made, node, inputs)

    result = made.graph.rewrite(change)
    if not made.quantized:
        raise OpError(f"no dense or recurrent layer has {_LEAST_WEIGHTS} weights or more that could become int8")
    used = {node.name for node in result.variables()}
    return result, {name: value for name, value in made.values.items() if name in used}


class _Weights:
    """What parameters of a graph become.

    Args:
        graph: it.
        parameters: their values, by name.
    """

    def __init__(self, graph: Graph, parameters: Mapping[str, Array]) -> None:
        self.graph, self.values = graph, dict(parameters)
        self._names = {node.name for node in graph.nodes()}
        self.quantized: dict[str, tuple[Entry, Entry]] = {}

    def variable(self, name: str, value: Array) -> Entry:
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.values[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    def known(self, entry: Entry) -> Array | None:
        """The value of a parameter of float32."""
        value = self.values.get(entry.node.name) if entry.node.is_variable else None
        return None if value is None or value.dtype != np.float32 else value

    def quantize(self, layer: str, name: str, weight: Array) -> tuple[Entry, Entry]:
        """int8 numbers and scales of all but the last axis, once for all layers that share them.

        Raises:
            OpError: weights with NaN or infinity.
        """
        if name not in self.quantized:
            numbers, scale = quantize_rows(layer, weight)
            self.quantized[name] = self.variable(f"{name}_int8", numbers), self.variable(f"{name}_scale", scale)
        return self.quantized[name]


def _dense(made: _Weights, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    weight = made.known(inputs[1])
    if weight is None or weight.size < _LEAST_WEIGHTS:
        return None
    new = [inputs[0], *made.quantize(node.layer, inputs[1].node.name, weight), *inputs[2:]]
    return [make_node("fully_connected_int8_weight", node.name, new, node.attrs)[0]]


def _recurrent(made: _Weights, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    assert node.op is not None
    given = dict(zip(node.op.input_names(node.attrs), inputs, strict=True))
    matrices = {name: made.known(given[name]) for name in MATRICES if name in given}
    known = {name: weight for name, weight in matrices.items() if weight is not None}
    if node.attrs.int8_weight or len(known) < len(matrices) or sum(w.size for w in known.values()) < _LEAST_WEIGHTS:
        return None
    for name, weight in known.items():
        numbers, scale = made.quantize(node.layer, given[name].node.name, weight)
        given |= {name: numbers, name.replace("weight", "scale"): scale}
    attrs = node.attrs.replace(int8_weight=True)
    new = [given[name] for name in node.op.input_names(attrs)]
    layer = make_node("recurrent", node.name, new, attrs)
    return [layer[i] for i in range(layer.num_outputs)]
