"""Calibrate: the ranges that a collector has found go into the nodes that quantize."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Node, make_node
from minidnn.passes.quantized_graph import QUANTIZING, PlannedRange, QuantizedGraph

__all__ = ["calibrate"]


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
