"""The end of quantization: a collector's ranges go into the nodes that quantize, constants are quantized once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Node, make_node, make_variable
from minidnn.passes.quantized_graph import QUANTIZING, PlannedRange, QuantizedGraph

__all__ = ["calibrate", "constant_ranges", "quantize_constants"]


def calibrate(quantized: QuantizedGraph, ranges: Mapping[str, tuple[float, float]]) -> QuantizedGraph:
    """The graph with ``min_calib_range``, ``max_calib_range`` and the final ``out_type`` in every quantizing node.

    Args:
        quantized: what `insert` made.
        ranges: minimum and maximum for every name in ``quantized.layers()``; others do not count.

    Raises:
        OpError: a range is missing, is no pair of numbers, is not finite, or has its minimum above its maximum.
    """

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op_name not in QUANTIZING or node.name not in quantized.ranges:
            return None
        planned = quantized.ranges[node.name]
        low, high = _range(planned, ranges)
        uint8 = node.attrs.out_type == "uint8" or (planned.uint8_if_positive and low >= 0)
        attrs = {
            **node.attrs,
            "min_calib_range": low,
            "max_calib_range": high,
            "out_type": "uint8" if uint8 else "int8",
        }
        made = make_node(node.op_name, node.name, inputs, attrs)
        return made[0], made[1]

    return replace(quantized, graph=quantized.graph.rewrite(change))


def _range(planned: PlannedRange, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    pairs = [_checked(layer, ranges) for layer in planned.layers]
    return min(low for low, _ in pairs), max(high for _, high in pairs)


def _checked(layer: str, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    if layer not in ranges:
        raise OpError(f"calibration gave no range for layer {layer!r}; it gave some for {sorted(ranges)[:8]}")
    try:
        low, high = (float(bound) for bound in ranges[layer])
    except (TypeError, ValueError):
        raise OpError(f"layer {layer!r}: a range must be a pair of numbers, got {ranges[layer]!r}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise OpError(f"layer {layer!r}: a range must be finite, got ({low}, {high})")
    if low > high:
        raise OpError(f"layer {layer!r}: the minimum of a range must not be above its maximum, got ({low}, {high})")
    return low, high


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
