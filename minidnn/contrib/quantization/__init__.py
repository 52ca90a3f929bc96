"""int8 inference: `quantize_net` makes an int8 network of a float32 one.

The names that calibration uses for layers are those of the graph after the fusion passes: ``<node>_output``, as
``net.optimize_for(x)`` and ``print(net.export(None)[0])`` show them, and the input's own name, ``data``.
Scripts that import all names of MXNet's module find ``cpu`` and NumPy's ``np`` among them; so they do here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minidnn.contrib.quantization.api import quantization_stages, quantize_model, quantize_net
from minidnn.contrib.quantization.collector import CalibrationCollector, NaiveCollector
from minidnn.contrib.quantization.entropy import EntropyCollector, kl_threshold
from minidnn.contrib.quantization.histogram import Histogram, HistogramCollector, MSECollector, PercentileCollector
from minidnn.contrib.quantization.layer_errors import LayerError, LayerErrors, layer_errors
from minidnn.contrib.quantization.tuning.report import LayerTuning, Tuning, read_tuning
from minidnn.device import cpu
from minidnn.missing import raising

__all__ = [
    "CalibrationCollector",
    "EntropyCollector",
    "Histogram",
    "HistogramCollector",
    "LayerError",
    "LayerErrors",
    "LayerTuning",
    "MSECollector",
    "NaiveCollector",
    "PercentileCollector",
    "Tuning",
    "cpu",
    "kl_threshold",
    "layer_errors",
    "np",
    "quantization_stages",
    "quantize_model",
    "quantize_net",
    "read_tuning",
]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
