"""Collectors: what watches a network run on calibration data and gives the range of every layer."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import numpy as np

from minidnn.errors import DataError

__all__ = ["CalibrationCollector", "CheckedCollector", "NaiveCollector", "finite_range"]

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
