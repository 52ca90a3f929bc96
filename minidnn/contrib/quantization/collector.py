"""Collectors: what watches a network run on calibration data and gives the range of every layer; and that run."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.contrib.quantization.data import Batch, CalibrationData, with_progress
from minidnn.contrib.quantization.network import FusedNetwork, make_block
from minidnn.errors import DataError, MXNetError, OpError
from minidnn.ir.graph import Entry, Graph
from minidnn.passes.quantized_graph import layer_output
from minidnn.symbol.symbol import Symbol

__all__ = ["CalibrationCollector", "CheckedCollector", "NaiveCollector", "collect_ranges", "ending_at", "finite_range"]

Array = np.ndarray[Any, Any]


class CalibrationCollector(ABC):
    """Base of all collectors.

    Attributes:
        include_layers: names of the layers whose ranges are needed; set before the first batch.
        min_max_dict: for the subclass to fill: name -> (minimum, maximum).
    """

    def __init__(self) -> None:
        self.include_layers: Collection[str] = []
        self.min_max_dict: dict[str, tuple[float, float]] = {}

    @abstractmethod
    def collect(self, name: str, op_name: str, arr: Any) -> None:
        """Called for the output of every layer, for every batch.

        Args:
            name: of the output, ``<node>_output``; ``data`` and the like for an input of the network.
            op_name: the operator's name, MXNet's where it has one; ``null`` for an input of the network.
            arr: an `mx.np.ndarray` that cannot be written to.
        """

    def post_collect(self) -> dict[str, tuple[float, float]]:
        """Called once after the last batch; gives (minimum, maximum) for every name in `include_layers`."""
        return self.min_max_dict


class CheckedCollector(CalibrationCollector):
    """A collector that passes by layers whose range nobody needs, and refuses NaN and infinity in the others."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        super().__init__()
        self.logger = logger

    def collect(self, name: str, op_name: str, arr: Any) -> None:
        """See `CalibrationCollector.collect`.

        Raises:
            DataError: there is NaN or infinity in the array; the message names the layer.
        """
        if name not in self.include_layers:
            return
        array = np.asarray(arr)
        low, high = finite_range(name, array)
        if self.logger:
            self.logger.debug("Collecting layer %s min_range=%f, max_range=%f", name, low, high)
        self.add(name, array, low, high)

    @abstractmethod
    def add(self, name: str, array: Array, low: float, high: float) -> None:
        """Take one array of a layer into account, whose smallest and largest numbers are `low` and `high`."""


class NaiveCollector(CheckedCollector):
    """The smallest and the largest number of each layer over all batches: ``calib_mode='naive'``."""

    def add(self, name: str, array: Array, low: float, high: float) -> None:
        before = self.min_max_dict.get(name, (low, high))
        self.min_max_dict[name] = min(low, before[0]), max(high, before[1])


def finite_range(name: str, array: Array) -> tuple[float, float]:
    """Minimum and maximum of what layer `name` gave.

    Raises:
        DataError: there is NaN or infinity in it.
    """
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"layer {name!r} has NaN or infinity in calibration: its range is ({low}, {high})")
    return low, high


def collect_ranges(
    network: FusedNetwork,
    layers: Sequence[str],
    data: CalibrationData | Sequence[Batch],
    collector: CalibrationCollector,
    logger: logging.Logger | None = None,
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
    count = data.count if isinstance(data, CalibrationData) else len(data)
    for number, batch in enumerate(with_progress(data, "Calibrating, batch", count, logger)):
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
