"""Dense layers whose weights alone are int8: data and sums stay float32, and a quarter of the bytes is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable, unfused_outputs
from minidnn.passes.quantize_weights import fold_affine, quantize_weight

__all__ = ["quantize_weights_only"]

Array = np.ndarray[Any, Any]

# Layers with fewer weights stay as they are: a cache holds them.
_LEAST_WEIGHTS = 4096


def quantize_weights_only(
    graph: Graph, parameters: Mapping[str, Array], excluded: Collection[str]
) -> tuple[Graph, dict[str, Array]]:
    """The graph, not fused, with int8 weights of large dense layers, a scale for each unit, and the values of all.

    Args:
        graph: a float32 graph, fused or not.
        parameters: values of its parameters, by name.
        excluded: names of operations that stay as they are.

    Raises:
        OpError: weights with NaN or infinity; the message names the layer.
    """
    plain = graph.rewrite(unfused_outputs)
    values: dict[str, Array] = dict(parameters)
    names = {node.name for node in plain.nodes()}
    made: dict[str, tuple[Entry, Entry]] = {}

    def variable(name: str, value: Array) -> Entry:
        while name in names:
            name += "_"
        names.add(name)
        values[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op_name != "fully_connected" or node.name in excluded or not inputs[1].node.is_variable:
            return None
        source = inputs[1].node.name
        weight = values.get(source)
        if weight is None or weight.dtype != np.float32 or weight.size < _LEAST_WEIGHTS:
            return None
        if source not in made:
            fold_affine(node.layer, weight, None, None)
            numbers, scale = quantize_weight(weight)
            made[source] = variable(f"{source}_int8", numbers), variable(f"{source}_scale", scale)
        new = [inputs[0], *made[source], *inputs[2:]]
        return [make_node("fully_connected_int8_weight", node.name, new, node.attrs)[0]]

    result = plain.rewrite(change)
    if not made:
        raise OpError(f"no dense layer has {_LEAST_WEIGHTS} weights or more that could become int8")
    used = {node.name for node in result.variables()}
    return result, {name: value for name, value in values.items() if name in used}
