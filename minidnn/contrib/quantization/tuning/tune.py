"""``calib_mode='tuned'``: an int8 network as near to the float32 one as calibration data can bring it.

The steps, in this order: channels are equalized and tensors shifted; ranges of activations are chosen; layer by layer,
weights are rounded and biases corrected; where a bound on what may be lost is not kept, the layers that cost most stay
float32, as few as keep it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from minidnn.contrib.quantization.collector import CheckedCollector, NaiveCollector, ending_at
from minidnn.contrib.quantization.data import Batch, CalibrationData, with_progress
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
from minidnn.contrib.quantization.tuning.chains import find_chains
from minidnn.contrib.quantization.tuning.equalize import Equalizer
from minidnn.contrib.quantization.tuning.goal import Goal, count_samples, sqnr
from minidnn.contrib.quantization.tuning.report import Tuning, with_tuning
from minidnn.contrib.quantization.tuning.shift import Shifter, find_shifts
from minidnn.contrib.quantization.tuning.stepwise import StepwiseRun
from minidnn.contrib.quantization.tuning.weights import SEED, TunedWeights, tune_weights
from minidnn.errors import DataError
from minidnn.passes.fold_parameters import average_by_pooling, fold_parameters
from minidnn.passes.quantize_mark import Marks, find_quantized
from minidnn.passes.quantized_graph import QuantizedGraph, layer_output
from minidnn.symbol.symbol import Symbol

__all__ = ["tune"]

Array = np.ndarray[Any, Any]
Outputs = list[list[Array]]

_log = logging.getLogger(__name__)

# Samples on which each layer's cost is measured.
_SENSITIVITY_SAMPLES = 16


def tune(
    network: FusedNetwork,
    options: Options,
    data: CalibrationData,
    accuracy: Any = None,
    logger: logging.Logger | None = None,
) -> Stages:
    """All stages of the tuned network, or of one with ranges of minimum and maximum where that errs less.

    Raises:
        GraphError: the network is int8 already.
        DataError, OpError, TypeError, ValueError: see `quantize_net`.
    """
    goal = None if accuracy is None else Goal(accuracy)
    batches = list(data)
    note = "" if goal is None else goal.check(batches)
    tuner = _Tuner(network, options, batches, logger or _log)
    if note:
        tuner.logger.warning("%s", note)
    naive, outputs = tuner.naive()
    if not naive.quantized.products:
        return naive
    best = tuner.attempt(())
    if goal is not None and not goal.is_kept(tuner.wanted, best.weights.outputs, batches):
        best = tuner.keep(goal, best)
    wanted = tuner.wanted
    baseline, found = sqnr(wanted, outputs), sqnr(wanted, best.weights.outputs)
    made = Tuning(
        found,
        baseline,
        count_samples(batches),
        equalized=tuple(tuner.equalized),
        shifted=tuple(tuner.shifted),
        floats=best.floats,
        layers=tuple(best.weights.layers),
        seed=SEED,
        note=note,
    )
    if not found >= baseline:
        tuner.logger.warning("Tuning errs more (%.1f dB) than minimum and maximum (%.1f dB) do", found, baseline)
        made = replace(made, sqnr=baseline, equalized=(), shifted=(), layers=(), floats=(), is_naive=True)
        return replace(naive, quantized=with_tuning(naive.quantized, made))
    tuner.logger.info("%s", made.summary())
    tuned = replace(best.stages.quantized, parameters=best.weights.parameters)
    return replace(best.stages, fused=network.symbol, quantized=with_tuning(tuned, made))


@dataclass(frozen=True)
class _Attempt:
    """A tuned network, some layers of which stay float32."""

    stages: Stages
    weights: TunedWeights
    floats: tuple[str, ...]


class _Tuner:
    """Tunes one network, again with other layers in float32."""

    def __init__(
        self, network: FusedNetwork, options: Options, batches: Sequence[Batch], logger: logging.Logger
    ) -> None:
        self.logger = logger
        self.equalized: list[str] = []
        self.shifted: list[str] = []
        self._network, self._batches = network, batches
        # A scale for each channel costs nothing.
        self._options = replace(options, quantize_granularity="channel-wise")
        self._excluded = find_floats(network, options)
        self._folded: FusedNetwork | None = None
        self._names: dict[str, tuple[str, str]] = {}
        self._ranges: Mapping[str, tuple[float, float]] = {}

    @cached_property
    def wanted(self) -> Outputs:
        """What the float32 network gives on the calibration data, as it was before any step of tuning."""
        return self._float_outputs(self._batches)

    def naive(self) -> tuple[Stages, Outputs]:
        """The network with ranges of minimum and maximum, and what it gives on the calibration data."""
        network, options = self._network, self._options
        marks = make_marks(network, options.quantize_mode, self._excluded, calibrated=True)
        inserted = insert_marked(network, marks, options)
        graph, parameters, self._names = fold_parameters(network.symbol, network.parameters, marks.products)
        graph = average_by_pooling(graph)
        self._folded = FusedNetwork(Symbol(graph.outputs), network.inputs, parameters, network.structure)
        chains = list(find_chains(graph, parameters, self._names))
        naive, least_error = NaiveCollector(self.logger), MSECollector(options.quantized_dtype)
        equalizer = Equalizer(parameters, chains)
        shifter = Shifter(list(find_shifts(graph, self._names)))

        def see(name: str, op_name: str, arrays: Sequence[Array]) -> None:
            _show(naive, name, op_name, arrays)
            _show(least_error, name, op_name, shifter.shifted(name, equalizer.scaled(name, arrays)))

        known = find_quantized(self._marks(self._folded, ()))
        layers = dict.fromkeys([*needed_ranges(network, inserted), *equalizer.layers, *shifter.layers, *known])
        naive.include_layers = least_error.include_layers = list(layers)
        # One pass for all: running every operation by itself takes its time.
        self._run_through(network, layers, see)
        stages = finish_stages(network, inserted, naive.post_collect())
        if not marks.products:
            return stages, []
        graph, parameters = shifter.apply(equalizer.apply(graph), equalizer.parameters, self._names)
        self._folded = replace(self._folded, symbol=Symbol(graph.outputs), parameters=parameters)
        self.equalized = [chain.entry.node.name for chain in equalizer.changed]
        self.shifted = [shift.entry.node.name for shift in shifter.changed]
        self._ranges = least_error.post_collect()
        return stages, self._outputs(stages.quantized, self._batches)

    def attempt(self, floats: Collection[str]) -> _Attempt:
        """The tuned network where these layers, and what the user excludes, stay float32."""
        assert self._folded is not None
        folded = self._folded
        stages = self._stages(floats)
        names = {name: own for name, own in self._names.items() if name not in floats}
        graph, parameters = folded.symbol, folded.parameters
        weights = tune_weights(stages.quantized, graph, parameters, names, self._inputs(), self.logger)
        return _Attempt(stages, weights, tuple(sorted(floats)))

    def _stages(self, floats: Collection[str]) -> Stages:
        assert self._folded is not None
        folded = self._folded
        inserted = insert_marked(folded, self._marks(folded, floats), self._options)
        unknown = [layer for layer in needed_ranges(folded, inserted) if layer not in self._ranges]
        collector = MSECollector(self._options.quantized_dtype)
        if unknown:
            collector.include_layers = unknown
            self._run_through(folded, unknown, lambda *seen: _show(collector, *seen))
            self._ranges = {**self._ranges, **collector.post_collect()}
        return finish_stages(folded, inserted, self._ranges)

    def _marks(self, folded: FusedNetwork, floats: Collection[str]) -> Marks:
        names = {node.name for node in self._excluded} | set(floats)
        kept = {node for node in folded.symbol.operations() if node.name in names}
        return make_marks(folded, self._options.quantize_mode, kept, calibrated=True, tuned=True)

    def keep(self, goal: Goal, all_int8: _Attempt) -> _Attempt:
        """The network with the fewest layers in float32 that keeps the goal, in the order of what they cost."""
        order = self._by_cost(all_int8)
        attempts: dict[int, _Attempt] = {0: all_int8}

        def is_kept(count: int) -> bool:
            if count not in attempts:
                self.logger.info("Trying with %d layers in float32", count)
                attempts[count] = self.attempt(order[:count])
            return goal.is_kept(self.wanted, attempts[count].weights.outputs, self._batches)

        high = 1
        while high < len(order) and not is_kept(high):
            high *= 2
        low, high = high // 2, min(high, len(order))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_kept(middle) else (middle, high)
        is_kept(high)
        return attempts[high]

    def _by_cost(self, all_int8: _Attempt) -> list[str]:
        """All products, those first that spoil the outputs most when they alone are int8."""
        batches = self._few_samples()
        wanted = self._float_outputs(batches)
        products = list(self._names)
        costs: dict[str, float] = {}
        # No bar: collecting ranges in the loop may show its own.
        for number, name in enumerate(products, 1):
            self.logger.info("Measuring what layer %d of %d costs", number, len(products))
            quantized = self._stages([other for other in products if other != name]).quantized
            tuned = all_int8.weights.parameters
            parameters = {
                own: tuned[own] if own in tuned and tuned[own].shape == value.shape else value
                for own, value in quantized.parameters.items()
            }
            costs[name] = sqnr(wanted, self._outputs(replace(quantized, parameters=parameters), batches))
        return sorted(products, key=lambda name: (costs[name], name))

    def _few_samples(self) -> list[Batch]:
        first = self._batches[0]
        arrays = tuple(array[:_SENSITIVITY_SAMPLES] if array.ndim else array for array in first.arrays)
        return [replace(first, arrays=arrays)]

    def _run_through(
        self, network: FusedNetwork, layers: Collection[str], see: Callable[[str, str, Sequence[Array]], None]
    ) -> None:
        """Show what layers give, all batches of one after those of the other, as `collect_ranges` does batch by batch.

        What nobody reads any more is dropped.
        """
        self.logger.info("Collecting ranges of %d layers", len(layers))
        wanted = set(layers)
        inputs = self._inputs()
        for name, arrays in inputs.items():
            see(name, "null", arrays)
        if not wanted - inputs.keys():
            return
        part = ending_at(network.symbol, wanted)
        run = StepwiseRun(part, inputs, network.parameters)
        operations = part.operations()
        for node in with_progress(operations, "Calibrating, operation", len(operations), self.logger):
            run.run(node)
            for i in range(node.num_outputs):
                if layer_output(node[i]) in wanted:
                    see(layer_output(node[i]), node.op_name, run.values[node[i]])

    def _inputs(self) -> dict[str, list[Array]]:
        return {name: [np.asarray(b.arrays[i]) for b in self._batches] for i, name in enumerate(self._network.inputs)}

    def _float_outputs(self, batches: Sequence[Batch]) -> Outputs:
        return _run(make_block(self._network.symbol, self._network.inputs, self._network.parameters), batches)

    def _outputs(self, quantized: QuantizedGraph, batches: Sequence[Batch]) -> Outputs:
        block = make_block(Symbol(quantized.graph.outputs), self._network.inputs, quantized.parameters)
        return _run(block, batches)


def _show(collector: CheckedCollector, name: str, op_name: str, arrays: Iterable[Array]) -> None:
    for number, array in enumerate(arrays):
        try:
            collector.collect(name, op_name, array)
        except DataError as error:
            raise DataError(f"batch {number} of calib_data: {error}") from None


def _run(block: Any, batches: Sequence[Batch]) -> Outputs:
    """What a block gives: of each output a list of batches."""
    found: list[list[Array]] = []
    for batch in batches:
        outputs: Any = block(*batch.arrays)
        found.append([np.asarray(a) for a in (outputs if isinstance(outputs, list) else [outputs])])
    return [[batch[i] for batch in found] for i in range(len(found[0]))]
