"""Weights and biases of an int8 network, layer by layer, each with what is before it already quantized."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.contrib.quantization.data import with_progress
from minidnn.contrib.quantization.tuning.report import LayerTuning
from minidnn.contrib.quantization.tuning.rounding import confirmed_share, round_weights
from minidnn.contrib.quantization.tuning.rows import RowReader
from minidnn.contrib.quantization.tuning.stepwise import StepwiseRun
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ops.quantization import calibrated_scale
from minidnn.passes.fold_parameters import take_apart
from minidnn.passes.quantize_weights import quantize_bias, quantize_weight
from minidnn.passes.quantized_graph import ProductParameters, QuantizedGraph

__all__ = ["SEED", "TunedWeights", "tune_weights"]

Array = np.ndarray[Any, Any]

_DAMPING = 0.01
# Second moments are sums in float32: below this share of them nothing is known.
_PRECISION = 1e-6
# Inputs whose moments are looked at together; a deeper layer is rounded so many columns at a time.
_DEPTH = 2304
# Rows on which signal and noise are measured for the report.
_REPORTED = 2048
# Patches of one image are alike: they count as no more than so many rows. Those of dense layers, tokens, are not.
_ROWS_OF_A_SAMPLE = 2
# What int32 holds the sum of whatever the weights; deeper layers have coarser weights than rounding knows of.
_DEEPEST = ((1 << 30) - 1) // (255 * 127)
SEED = 0


@dataclass(frozen=True)
class TunedWeights:
    """What `tune_weights` has found.

    Args:
        parameters: those of the int8 graph.
        outputs: for each output what the int8 network gives, one array a batch.
        layers: what was done to each product.
    """

    parameters: dict[str, Array]
    outputs: list[list[Array]]
    layers: list[LayerTuning]


def tune_weights(
    quantized: QuantizedGraph,
    graph: Graph,
    parameters: Mapping[str, Array],
    names: Mapping[str, tuple[str, str]],
    inputs: Mapping[str, Sequence[Array]],
    logger: logging.Logger | None = None,
) -> TunedWeights:
    """An int8 graph with weights rounded and biases corrected on calibration data.

    Args:
        quantized: the int8 graph, calibrated and folded, its weights rounded to nearest.
        graph: the float32 graph it was made of, each product with a weight and a bias of its own.
        parameters: those of `graph`.
        names: of weight and bias in it, by the product's name.
        inputs: the calibration data: for each input of the graph its arrays, one a batch.
        logger: gets what happens.
    """
    tuned = dict(quantized.parameters)
    floats = StepwiseRun(graph, inputs, parameters)
    integers = StepwiseRun(quantized.graph, inputs, tuned)
    wanted = {node.name: node for node in graph.operations()}
    operations = quantized.graph.operations()
    layers: list[LayerTuning] = []
    for node in with_progress(operations, "Tuning, operation", len(operations), logger):
        own = wanted.get(node.name.removeprefix("quantized_"))
        if own is not None and node.name in quantized.products and own.name in names:
            floats.prepare(own)
            weight, bias = (parameters[name] for name in names[own.name])
            layer = _Layer(node, own, weight, floats, integers)
            layers.append(layer.tune(quantized.products[node.name], weight, bias, tuned))
            floats.run(own)
        elif node.op is not None and node.op.is_random:
            floats.run(wanted[node.name])
            integers.replace(node, [floats.values[wanted[node.name][i]] for i in range(node.num_outputs)])
        integers.run(node)
    return TunedWeights(tuned, integers.outputs(), layers)


class _Layer:
    """One product in both networks, all before it computed."""

    def __init__(self, node: Node, own: Node, weight: Array, floats: StepwiseRun, integers: StepwiseRun) -> None:
        self._floats, self._integers = floats, integers
        self._node, self._own = node, own
        parts = take_apart(own, None)
        self._parts = parts
        self._reader = RowReader(parts.anchor, weight.shape)
        self._real = parts.outer[parts.anchor.inputs[0]]
        inner = (node,) if node.subgraph is None else node.subgraph.operations()
        product = next(n for n in inner if n.op is not None and n.op.anchor is not None and n.op.anchor.is_integer)
        dequantize = next(n for n in inner if n.inputs and n.inputs[0] == product[0])
        self._inside = inner
        self._data = self._outer(product.inputs[0])
        self._scale = self._outer(dequantize.inputs[1])
        source = self._scale.node
        self._by_rows = source.op_name == "quantize" and calibrated_scale(source.attrs) is None

    def _outer(self, entry: Entry) -> Entry:
        node = self._node
        return entry if node.subgraph is None else node.bind_inside(node.inputs)[entry]

    def tune(self, product: ProductParameters, weight: Array, bias: Array, tuned: dict[str, Array]) -> LayerTuning:
        """Put weights, scales and bias into `tuned`."""
        reader = self._reader
        grouped = reader.grouped(weight)
        x, lack, signal = self._read(grouped, bias)
        mean, offset = x.mean(1, dtype=np.float64), lack.mean(1, dtype=np.float64)
        x -= mean[:, None, :].astype(np.float32)
        lack -= offset[:, None, :].astype(np.float32)
        independent = None
        samples = sum(len(batch) for batch in self._floats.values[self._real])
        if reader.is_convolution or x.shape[1] <= samples:
            independent = min(x.shape[1], _ROWS_OF_A_SAMPLE * samples)
        q, steps, how = _solve(grouped, x, lack, mean, independent)
        change = grouped - q * steps[:, :, None]
        shift = np.einsum("gpk,gk->gp", change, mean, dtype=np.float64)
        corrected = bias.astype(np.float64) + (offset + shift).reshape(-1)
        some = _spread(x.shape[1])
        before = lack[:, some]
        after = before + x[:, some] @ np.swapaxes(change, 1, 2)
        _store(product, tuned, q.reshape(weight.shape), steps.reshape(-1), corrected, self._integers.of(self._scale, 0))
        decibels = (_decibel(signal, _mean_square(noise)) for noise in (before, after))
        how += ", ranges of rows" if self._by_rows else ""
        return LayerTuning(self._own.name, how, x.shape[1], *decibels)

    def _read(self, weight: Array, bias: Array) -> tuple[Array, Array, float]:
        """Rows of the inputs (G, R, K) as they are after quantization, what the outputs (G, R, P) lack because of
        that, and the outputs' variance.
        """
        random = np.random.default_rng(SEED)
        integers, real = self._integers.values[self._data], self._floats.values[self._real]
        share = -(-self._reader.most_rows() // len(integers))
        columns = np.swapaxes(weight, 1, 2)
        rows, lacks, variance = [], [], 0.0
        for batch, (quantized, exact) in enumerate(zip(integers, real, strict=True)):
            places = self._reader.places(exact.shape, share, random)
            scale = self._integers.of(self._scale, batch)
            if self._by_rows:
                x = self._reader.read(quantized * scale, places)
            else:
                x = self._reader.read(quantized, places).astype(np.float32)
                x *= scale.reshape(())
            lack = self._reader.read(exact, places)
            output = lack[:, _spread(lack.shape[1], len(integers))] @ columns
            variance += float(output.var(axis=1, dtype=np.float64).mean()) / len(integers)
            lack -= x
            lack = lack @ columns
            added = self._lacking_sum(batch)
            if added is not None:
                lack += self._reader.outputs_at(added, places)
            rows.append(x)
            lacks.append(lack)
        return np.concatenate(rows, 1), np.concatenate(lacks, 1), variance

    def _lacking_sum(self, batch: int) -> Array | None:
        """What the tensor that the epilogue adds first lacks, for the weights can make up for that as well."""
        parts = self._parts
        add = next((n for n in parts.tail if parts.sums in n.inputs), None)
        if add is None or add.op_name != "add":
            return None
        others = [e for e in add.inputs if e != parts.sums]
        twin = next((n for n in self._inside if n.name == add.name), None)
        if len(others) != 1 or twin is None:
            return None
        exact = _inner_value(others[0], self._floats, parts.outer, batch)
        bound = self._node.bind_inside(self._node.inputs)
        found = [value for e in twin.inputs if (value := _inner_value(e, self._integers, bound, batch)) is not None]
        if exact is None or len(found) != 1 or found[0].shape != exact.shape or not self._is_output(exact.shape):
            return None
        return np.asarray(exact - found[0])

    def _is_output(self, shape: Sequence[int]) -> bool:
        """Whether that is the shape of the layer's outputs, not of something that is broadcast to it."""
        data = self._floats.of(self._real, 0)
        channels = self._reader.shape[0]
        if self._reader.is_convolution:
            return len(shape) == data.ndim and shape[1] == channels and math.prod(shape[2:]) > 1
        return shape[-1] == channels and len(shape) == (2 if self._reader.anchor.attrs.flatten else data.ndim)


def _inner_value(entry: Entry, run: StepwiseRun, outer: Mapping[Entry, Entry], batch: int) -> Array | None:
    """What an operand in an epilogue is that hangs on no sums, in float32; None where it does.

    Args:
        entry: inside a fused node.
        run: has what the node reads.
        outer: what entries inside are outside.
    """
    if entry in outer:
        return run.of(outer[entry], batch)
    node = entry.node
    if node.op is None or node.op.anchor is not None or node.subgraph is not None:
        return None
    inputs = [_inner_value(e, run, outer, batch) for e in node.inputs]
    known = [value for value in inputs if value is not None]
    return node.compute(known)[entry.index] if len(known) == len(inputs) else None


def _solve(weight: Array, x: Array, lack: Array, mean: Array, independent: int | None) -> tuple[Array, Array, str]:
    """Integers (G, P, K) and scales (G, P), and how they were found.

    Args:
        weight: (G, P, K).
        x: (G, R, K), the inputs without their means.
        lack: (G, R, P), what the outputs lack, without their means.
        mean: (G, K), of the inputs.
        independent: how many of the rows count as independent of each other; None: all.
    """
    groups, outputs, depth = weight.shape
    rows = x.shape[1]
    if depth > _DEEPEST:
        return (*_nearest(weight), "nearest, too deep")
    # What few rows show of two inputs together is chance for a part.
    known = rows if independent is None else independent
    trust = known / (known + min(depth, _DEPTH))
    parts = [slice(start, min(start + _DEPTH, depth)) for start in range(0, depth, _DEPTH)]
    # Of several blocks none may choose for the others.
    scale = None if len(parts) == 1 else quantize_weight(weight.reshape(-1, depth))[1].reshape(groups, outputs)
    q = np.empty(weight.shape, np.int8)
    for part in parts:
        some, own = x[:, :, part], weight[:, :, part]
        moments = np.swapaxes(some, 1, 2) @ some
        moments *= np.float32(trust / rows)
        diagonal = np.einsum("gkk->gk", moments)
        diagonal /= np.float32(trust)
        raw = diagonal + np.square(mean[:, part])
        diagonal += _PRECISION * raw.mean(1, keepdims=True)
        missing = np.swapaxes(some, 1, 2) @ lack
        missing *= np.float32(trust / rows)
        try:
            if independent is None:
                missing *= np.float32(confirmed_share(some, lack, trust, _DAMPING))
            q[:, :, part], scale = round_weights(own, moments, missing, _DAMPING, scale)
        except np.linalg.LinAlgError:
            return (*_nearest(weight), "nearest, singular")
        if part is not parts[-1]:
            change = own - q[:, :, part] * scale[:, :, None]
            lack = lack + some @ np.swapaxes(change, 1, 2)
    assert scale is not None
    return q, scale, "second order" if len(parts) == 1 else f"second order, {len(parts)} blocks"


def _nearest(weight: Array) -> tuple[Array, Array]:
    q, scale = quantize_weight(weight.reshape(-1, weight.shape[2]))
    return q.reshape(weight.shape), scale.reshape(weight.shape[:2])


def _spread(rows: int, batches: int = 1) -> slice:
    """Every so many of the rows of one of the batches: as many as a report needs."""
    return slice(None, None, max(1, rows * batches // _REPORTED))


def _store(
    product: ProductParameters, tuned: dict[str, Array], q: Array, steps: Array, bias: Array, data_scale: Array
) -> None:
    assert product.bias is not None
    known = tuned[product.bias]
    if known.dtype == np.int32:
        integers, q, steps = quantize_bias(bias, q, steps, float(data_scale.reshape(-1)[0]))
        tuned[product.bias] = integers.reshape(known.shape)
    else:
        tuned[product.bias] = bias.astype(np.float32).reshape(known.shape)
    tuned[product.weight], tuned[product.scale] = q, steps


def _mean_square(values: Array) -> float:
    return float(np.square(values, dtype=np.float64).mean()) if values.size else 0.0


def _decibel(signal: float, noise: float) -> float:
    if noise <= 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
