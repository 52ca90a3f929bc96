"""Run a float32 network on calibration data while a collector watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import CalibrationCollector, CheckedCollector, finite_range
from minidnn.contrib.quantization.data import CalibrationData
from minidnn.contrib.quantization.network import FusedNetwork, make_block
from minidnn.errors import DataError, MXNetError, OpError
from minidnn.ir.graph import Entry, Graph
from minidnn.passes.quantized_graph import layer_output
from minidnn.symbol.symbol import Symbol

__all__ = ["collect_ranges", "ending_at"]


def collect_ranges(
    network: FusedNetwork, layers: Sequence[str], data: CalibrationData, collector: CalibrationCollector
) -> Mapping[str, tuple[float, float]]:
    """What the collector says after one pass over the data.

    The graph runs only as far as the last layer that is wanted; inputs of the network are shown to the collector
    too.

    Raises:
        DataError: NaN or infinity in a layer that is wanted; the message names batch and layer.
        OpError: a batch does not fit the network; the message names both.
        TypeError: the collector gives no dictionary.
    """
    collector.include_layers = list(layers)
    wanted = set(layers)
    trusted = isinstance(collector, CheckedCollector)

    def observe(name: str, op_name: str, array: Any) -> None:
        if name in wanted and not trusted:
            finite_range(name, np.asarray(array))
        collector.collect(name, op_name, array)

    part = ending_at(network.symbol, wanted)
    block = None
    if any(not e.node.is_variable for e in part.outputs):
        block = make_block(part, _used(part, network.inputs), network.parameters)
        block.register_op_hook(observe)
    for number, batch in enumerate(data.with_progress()):
        try:
            named = dict(zip(network.inputs, batch.arrays, strict=True))
            for name, array in named.items():
                observe(name, "null", array)
            if block is not None:
                block(*(named[name] for name in block._input_names))
        except (DataError, OpError) as error:
            raise type(error)(f"batch {number} of calib_data: {error}") from None
    ranges = collector.post_collect()
    if not isinstance(ranges, Mapping):
        raise TypeError(
            f"{type(collector).__name__}.post_collect() must give a dictionary of ranges, got {type(ranges).__name__}"
        )
    return ranges


def ending_at(symbol: Symbol, layers: set[str]) -> Symbol:
    """The graph as far as these layers; those that others are computed from are not outputs, to be freed early."""
    found = [n[i] for n in symbol.nodes() for i in range(n.num_outputs) if layer_output(n[i]) in layers]
    if not found:
        raise MXNetError("no layer is wanted")
    last: list[Entry] = []
    covered: set[Entry] = set()
    for entry in reversed(found):
        if entry not in covered:
            last.append(entry)
            covered.update(e for n in Graph([entry]).nodes() for e in n.inputs)
    return Symbol(last)


def _used(symbol: Symbol, inputs: Sequence[str]) -> list[str]:
    names = set(symbol.list_inputs())
    return [name for name in inputs if name in names]
