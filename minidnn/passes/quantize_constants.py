"""Quantize constants: what is known when a network is quantized need not be quantized at every run.

A factor of a batch_dot, or whatever else is joined with int8, may be a constant or a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Node, make_variable
from minidnn.passes.quantized_graph import QUANTIZING, QuantizedGraph

__all__ = ["constant_ranges", "quantize_constants"]

Array = np.ndarray[Any, Any]


def constant_ranges(layers: Sequence[str], parameters: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Minimum and maximum of those layers that are parameters.

    Raises:
        OpError: NaN or infinity; the message names the parameter.
    """
    ranges = {}
    for name in layers:
        if name in parameters:
            low, high = float(parameters[name].min()), float(parameters[name].max())
            if not np.isfinite([low, high]).all():
                raise OpError(f"{name}: it has NaN or infinity; it cannot be quantized")
            ranges[name] = low, high
    return ranges


def quantize_constants(quantized: QuantizedGraph) -> QuantizedGraph:
    """The graph with integers and scales as parameters, instead of parameters that are quantized."""
    parameters = dict(quantized.parameters)
    names = {node.name for node in quantized.graph.nodes()}

    def variable(name: str, value: Array) -> Entry:
        while name in names:
            name += "_"
        names.add(name)
        parameters[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op_name not in QUANTIZING or not all(e.node.is_variable and e.node.name in parameters for e in inputs):
            return None
        integers, scale = node.compute([parameters[e.node.name] for e in inputs])
        stem = inputs[0].node.name
        return [variable(f"{stem}_{integers.dtype}", integers), variable(f"{stem}_scale", scale)]

    graph = quantized.graph.rewrite(change)
    used = {v.name for v in graph.variables()}
    return replace(quantized, graph=graph, parameters={n: a for n, a in parameters.items() if n in used})
