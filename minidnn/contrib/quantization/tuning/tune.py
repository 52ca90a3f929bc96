"""``calib_mode='tuned'``: an int8 network as near to the float32 one as calibration data can bring it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import NaiveCollector, collect_ranges
from minidnn.contrib.quantization.data import Batch, CalibrationData
from minidnn.contrib.quantization.histogram import MSECollector
from minidnn.contrib.quantization.network import FusedNetwork, make_block
from minidnn.contrib.quantization.stages import (
    Options,
    Stages,
    find_floats,
    finish_stages,
    insert_marked,
    make_marks,
    needed_ranges,
)
from minidnn.contrib.quantization.tuning.weights import tune_weights
from minidnn.passes.fold_parameters import fold_parameters
from minidnn.passes.quantized_graph import QuantizedGraph
from minidnn.symbol.symbol import Symbol

__all__ = ["tune"]

Array = np.ndarray[Any, Any]

_log = logging.getLogger(__name__)


def tune(network: FusedNetwork, options: Options, data: CalibrationData, logger: logging.Logger | None) -> Stages:
    """All stages of the tuned network, or of one with ranges of minimum and maximum where that errs less.

    Raises:
        GraphError: the network is int8 already.
        DataError, OpError: see `quantize_net`.
    """
    logger = logger or _log
    batches = list(data)
    options = replace(options, quantize_granularity="channel-wise")
    floats = find_floats(network, options)
    marks = make_marks(network, options.quantize_mode, floats, True)
    inserted = insert_marked(network, marks, options)
    layers = needed_ranges(network, inserted)
    naive = finish_stages(network, inserted, _ranges(network, layers, batches, NaiveCollector(logger), logger))
    if not marks.products:
        return naive
    graph, parameters, names = fold_parameters(network.symbol, network.parameters, marks.products)
    folded = FusedNetwork(Symbol(graph.outputs), network.inputs, parameters, network.structure)
    excluded = {node.name for node in floats}
    marks = make_marks(
        folded, options.quantize_mode, {n for n in graph.operations() if n.name in excluded}, calibrated=True
    )
    inserted = insert_marked(folded, marks, options)
    ranges = _ranges(folded, needed_ranges(folded, inserted), batches, MSECollector(options.quantized_dtype), logger)
    stages = finish_stages(folded, inserted, ranges)
    inputs = {name: [np.asarray(b.arrays[i]) for b in batches] for i, name in enumerate(network.inputs)}
    made = tune_weights(stages.quantized, graph, parameters, names, inputs, logger)
    baseline = _error(made.wanted, _outputs(network, naive.quantized, batches))
    error = _error(made.wanted, made.outputs)
    if not error <= baseline:
        logger.warning("Tuning gave more noise than minimum and maximum, which are taken instead")
        return naive
    return replace(stages, fused=network.symbol, quantized=replace(stages.quantized, parameters=made.parameters))


def _ranges(
    network: FusedNetwork, layers: Sequence[str], batches: Sequence[Batch], collector: Any, logger: logging.Logger
) -> Mapping[str, tuple[float, float]]:
    return collect_ranges(network, layers, batches, collector, logger) if layers else {}


def _outputs(network: FusedNetwork, quantized: QuantizedGraph, batches: Sequence[Batch]) -> list[list[Array]]:
    """What an int8 graph gives: of each output a list of batches."""
    block = make_block(Symbol(quantized.graph.outputs), network.inputs, quantized.parameters)
    found: list[list[Array]] = [[] for _ in quantized.graph.outputs]
    for batch in batches:
        outputs: Any = block(*batch.arrays)
        for kept, output in zip(found, outputs if isinstance(outputs, list) else [outputs], strict=True):
            kept.append(np.asarray(output))
    return found


def _error(wanted: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> float:
    """Noise as a share of the signal, the mean over all outputs."""
    shares = []
    for exact, output in zip(wanted, got, strict=True):
        noise = signal = 0.0
        for a, b in zip(exact, output, strict=True):
            a64 = a.astype(np.float64)
            noise += float(np.square(a64 - b).sum())
            signal += float(np.square(a64).sum())
        shares.append(noise / signal if signal else noise)
    return float(np.mean(shares))
