"""The way from a fused float32 graph to an int8 one, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import CalibrationCollector, NaiveCollector, collect_ranges
from minidnn.contrib.quantization.data import CalibrationData
from minidnn.contrib.quantization.entropy import EntropyCollector
from minidnn.contrib.quantization.exclusions import find_excluded
from minidnn.contrib.quantization.network import FusedNetwork
from minidnn.errors import GraphError
from minidnn.ir.graph import Graph, Node
from minidnn.ir.printing import debug_print, format_graph
from minidnn.ir.verify import verify_if_asked
from minidnn.passes import run_passes
from minidnn.passes.quantize_calibrate import calibrate, constant_ranges, quantize_constants
from minidnn.passes.quantize_fold import fold_bias, fold_types
from minidnn.passes.quantize_insert import insert
from minidnn.passes.quantize_mark import Marks, mark
from minidnn.passes.quantize_weights_only import quantize_weights_only
from minidnn.passes.quantized_graph import QuantizedGraph, is_quantized
from minidnn.passes.split_stacks import split_stacks
from minidnn.symbol.symbol import Symbol

__all__ = [
    "WEIGHT_ONLY",
    "Options",
    "Stages",
    "find_floats",
    "finish_stages",
    "insert_marked",
    "make_collector",
    "make_marks",
    "needed_ranges",
    "run_stages",
    "run_weight_only",
    "with_layers_split",
]

_log = logging.getLogger(__name__)

_DTYPES = ("auto", "int8", "uint8")
WEIGHT_ONLY = "weight-only"
_MODES = ("full", "smart", WEIGHT_ONLY)
_GRANULARITIES = ("tensor-wise", "channel-wise")
_CALIBRATIONS = ("none", "naive", "entropy", "custom", "tuned")


@dataclass(frozen=True)
class Options:
    """How to quantize; see `quantize_net`.

    Raises:
        ValueError: an option has a value that does not exist.
    """

    quantized_dtype: str = "auto"
    quantize_mode: str = "full"
    quantize_granularity: str = "tensor-wise"
    calib_mode: str = "none"
    exclude_layers: Any = None
    exclude_layers_match: Any = None
    exclude_operators: Any = None

    def __post_init__(self) -> None:
        for name, legal in (
            ("quantized_dtype", _DTYPES),
            ("quantize_mode", _MODES),
            ("quantize_granularity", _GRANULARITIES),
            ("calib_mode", _CALIBRATIONS),
        ):
            if getattr(self, name) not in legal:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: it must be one of {list(legal)}")
        if self.quantize_mode == WEIGHT_ONLY and self.calib_mode != "none":
            raise ValueError(f"quantize_mode={WEIGHT_ONLY!r} needs no ranges: calib_mode must be 'none'")


@dataclass(frozen=True)
class Stages:
    """The graph at each stage; ``print`` shows one as a table.

    Args:
        fused: float32, after the fusion passes.
        inserted: integer products, with quantize, dequantize and requantize nodes wherever types differ.
        calibrated: the same with the ranges in the nodes; None without calibration.
        quantized: the int8 graph: those nodes folded into the operations around them.
    """

    fused: Symbol
    inserted: QuantizedGraph
    calibrated: QuantizedGraph | None
    quantized: QuantizedGraph


def run_stages(
    network: FusedNetwork,
    options: Options,
    data: CalibrationData | None,
    collector: CalibrationCollector | None,
    logger: logging.Logger | None,
) -> Stages:
    """All stages.

    Raises:
        GraphError: the network is int8 already.
        DataError, OpError: the data or what the collector made of it does not do; the message names the layer.
    """
    logger = logger or _log
    marks = make_marks(network, options.quantize_mode, find_floats(network, options), collector is not None)
    inserted = insert_marked(network, marks, options)
    ranges: Mapping[str, tuple[float, float]] | None = None
    if collector is not None and data is not None:
        layers = needed_ranges(network, inserted)
        logger.info("Collecting ranges of %d layers", len(layers))
        ranges = collect_ranges(network, layers, data, collector, logger) if layers else {}
    stages = finish_stages(network, inserted, ranges)
    total = len(network.symbol.operations())
    count = len(marks.products) + len(marks.recurrent) + len(marks.transparent)
    logger.info("Quantized %d of %d operations", count, total)
    return stages


def find_floats(network: FusedNetwork, options: Options) -> set[Node]:
    """The operations that the options leave in float32."""
    return find_excluded(
        network.symbol, options.exclude_layers, options.exclude_layers_match, options.exclude_operators
    )


def with_layers_split(network: FusedNetwork, options: Options) -> FusedNetwork:
    """The network with every layer of a stack of recurrent ones by itself, unless the options leave it in float32."""
    names = {node.name for node in find_floats(network, options)}
    graph, parameters = split_stacks(network.symbol, network.parameters, names)
    return replace(network, symbol=Symbol(graph.outputs), parameters=parameters)


def make_marks(
    network: FusedNetwork, mode: str, floats: Collection[Node], calibrated: bool, tuned: bool = False
) -> Marks:
    """What is to be quantized.

    Args:
        network: the float32 network.
        mode: ``full`` or ``smart``.
        floats: operations that stay float32.
        calibrated: whether ranges are known before inference.
        tuned: whether more is in int8 than MXNet has, and ranges of dense layers that work on rows are not known.

    Raises:
        GraphError: the network is int8 already.
    """
    marks = mark(network.symbol, network.parameters.keys(), mode, floats, calibrated, tuned)
    if not marks.products and not marks.recurrent and is_quantized(network.symbol):
        raise GraphError("there is nothing to quantize: the network is int8 already")
    return marks


def insert_marked(network: FusedNetwork, marks: Marks, options: Options) -> QuantizedGraph:
    """The graph with int8 products, not calibrated yet."""
    per_channel = options.quantize_granularity == "channel-wise"
    inserted = insert(network.symbol, network.parameters, marks, options.quantized_dtype, per_channel)
    _show("insert", inserted)
    return inserted


def needed_ranges(network: FusedNetwork, inserted: QuantizedGraph) -> list[str]:
    """The layers whose ranges calibration has to find: those that are not parameters."""
    return [layer for layer in inserted.layers() if layer not in network.parameters]


def finish_stages(
    network: FusedNetwork, inserted: QuantizedGraph, ranges: Mapping[str, tuple[float, float]] | None
) -> Stages:
    """All stages, from the ranges of `needed_ranges`; None: they are found at every inference."""
    stage, calibrated = inserted, None
    if ranges is not None:
        known = constant_ranges(inserted.layers(), network.parameters)
        stage = calibrated = calibrate(inserted, {**ranges, **known})
        _show("calibrate", calibrated)
    quantized = fold_types(fold_bias(quantize_constants(stage)))
    _show("fold", quantized)
    return Stages(network.symbol, inserted, calibrated, quantized)


def run_weight_only(network: FusedNetwork, options: Options) -> tuple[Graph, dict[str, np.ndarray[Any, Any]]]:
    """The graph with int8 weights of large dense and recurrent layers, fused again, and the values of its parameters.

    Raises:
        OpError: there is no such layer, or weights have NaN or infinity; the message names the layer.
    """
    chosen = options.exclude_layers, options.exclude_layers_match, options.exclude_operators
    excluded = find_excluded(network.symbol, *chosen)
    names = {
        inner.name for node in excluded for inner in (node, *(node.subgraph.operations() if node.subgraph else ()))
    }
    graph, parameters = quantize_weights_only(network.symbol, network.parameters, names)
    return run_passes(graph), parameters


def make_collector(
    options: Options, custom: Any, data: Any, logger: logging.Logger | None
) -> CalibrationCollector | None:
    """The collector of a calibration mode; None for mode ``none``.

    Raises:
        ValueError: mode ``custom`` without a collector, a collector for another mode, or no data.
        TypeError: the custom collector is none.
    """
    mode = options.calib_mode
    if mode != "custom" and custom is not None:
        raise ValueError(f"LayerOutputCollector belongs to calib_mode='custom', but calib_mode is {mode!r}")
    if mode == "none":
        return None
    if mode == "custom" and custom is None:
        raise ValueError("calib_mode='custom' needs a LayerOutputCollector")
    if mode == "custom" and not isinstance(custom, CalibrationCollector):
        what = f"the class {custom.__name__}, not an object of it" if isinstance(custom, type) else repr(custom)
        raise TypeError(f"LayerOutputCollector must be a CalibrationCollector, got {what}")
    if data is None:
        raise ValueError(f"calib_mode={mode!r} needs calib_data")
    if mode == "tuned":
        return None
    if mode == "custom":
        return custom  # type: ignore[no-any-return]
    return NaiveCollector(logger) if mode == "naive" else EntropyCollector(options.quantized_dtype, logger=logger)


def _show(name: str, stage: QuantizedGraph) -> None:
    verify_if_asked(stage.graph, lambda: f"after {name}")
    count = len(stage.graph.operations())
    debug_print("passes", f"after {name}: {count} operations", lambda: format_graph(stage.graph))
