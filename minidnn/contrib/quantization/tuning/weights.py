"""Weights and biases of an int8 network, layer by layer, each with what is before it already quantized."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.contrib.quantization.data import with_progress
from minidnn.contrib.quantization.tuning.rounding import round_weights
from minidnn.contrib.quantization.tuning.rows import RowReader
from minidnn.contrib.quantization.tuning.stepwise import StepwiseRun
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.passes.naming import find_anchor
from minidnn.passes.quantize_weights import quantize_bias, quantize_weight
from minidnn.passes.quantized_graph import ProductParameters, QuantizedGraph

__all__ = ["TunedWeights", "tune_weights"]

Array = np.ndarray[Any, Any]

_DAMPING = 0.01
_PRECISION = 1e-6
_SEED = 0


@dataclass
class _Sums:
    """What is known of a layer's rows: of the quantized inputs x, of what the outputs lack y."""

    count: int
    moments: Array  # (G, K, K)
    missing: Array  # (G, K, P)
    inputs: Array  # (G, K), the sum of x
    lack: Array  # (G, P), the sum of y


@dataclass(frozen=True)
class TunedWeights:
    """What `tune_weights` has found.

    Args:
        parameters: those of the int8 graph.
        wanted: for each output what the float32 network gives, one array a batch.
        outputs: likewise, what the int8 network gives.
    """

    parameters: dict[str, Array]
    wanted: list[list[Array]]
    outputs: list[list[Array]]


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
    for node in with_progress(operations, "Tuning, operation", len(operations), logger):
        own = wanted.get(node.name.removeprefix("quantized_"))
        if own is not None and node.name in quantized.products and own.name in names:
            floats.prepare(own)
            weight, bias = (parameters[name] for name in names[own.name])
            _tune(node, own, quantized.products[node.name], weight, bias, integers, floats, tuned)
            floats.run(own)
        elif node.op is not None and node.op.is_random:
            floats.run(wanted[node.name])
            integers.replace(node, [floats.values[wanted[node.name][i]] for i in range(node.num_outputs)])
        integers.run(node)
    for entry in graph.outputs:
        floats.run(entry.node)
    return TunedWeights(tuned, floats.outputs(), integers.outputs())


def _tune(
    node: Node,
    own: Node,
    product: ProductParameters,
    weight: Array,
    bias: Array,
    integers: StepwiseRun,
    floats: StepwiseRun,
    tuned: dict[str, Array],
) -> None:
    anchor, float_anchor = _any_anchor(node), find_anchor(own)
    assert float_anchor is not None
    reader = RowReader(float_anchor, weight.shape)
    data, scale = _quantized_data(node, anchor)
    real = _outer(own, float_anchor.inputs[0])
    data_scale = float(np.asarray(integers.of(scale, 0)).reshape(-1)[0])
    grouped = reader.grouped(weight).astype(np.float64)
    sums = _gather(reader, grouped, integers.values[data], floats.values[real], data_scale)
    mean, lack = sums.inputs / sums.count, sums.lack / sums.count
    raw = sums.moments / sums.count
    trust = sums.count / (sums.count + reader.depth)
    moments = trust * (raw - mean[:, :, None] * mean[:, None, :])
    diagonal = np.einsum("gkk->gk", moments)
    # What few rows show of two inputs together is chance for a part; of each by itself they show more.
    diagonal /= trust
    # Sums in float32: below this share nothing is known.
    diagonal += _PRECISION * np.einsum("gkk->gk", raw).mean(1, keepdims=True)
    missing = trust * (sums.missing / sums.count - mean[:, :, None] * lack[:, None, :])
    q, steps = _rounded(grouped, moments, missing)
    change = grouped - q * steps.astype(np.float64)[:, :, None]
    corrected = bias.astype(np.float64) + (lack + np.einsum("gpk,gk->gp", change, mean)).reshape(-1)
    _store(product, tuned, q.reshape(weight.shape), steps.reshape(-1), corrected, data_scale)


def _rounded(weight: Array, moments: Array, missing: Array) -> tuple[Array, Array]:
    """Integers and scales; rounded to nearest where the moments cannot be factored."""
    try:
        return round_weights(weight, moments, missing, _DAMPING)
    except np.linalg.LinAlgError:
        q, scale = quantize_weight(weight.reshape(-1, weight.shape[2]))
        return q.reshape(weight.shape), scale.reshape(weight.shape[:2])


def _store(
    product: ProductParameters, tuned: dict[str, Array], q: Array, steps: Array, bias: Array, data_scale: float
) -> None:
    assert product.bias is not None
    known = tuned[product.bias]
    if known.dtype == np.int32:
        integers, q, steps = quantize_bias(bias, q, steps, data_scale)
        tuned[product.bias] = integers.reshape(known.shape)
    else:
        tuned[product.bias] = bias.astype(np.float32).reshape(known.shape)
    tuned[product.weight], tuned[product.scale] = q, steps


def _gather(reader: RowReader, weight: Array, integers: Sequence[Array], real: Sequence[Array], scale: float) -> _Sums:
    random = np.random.default_rng(_SEED)
    depth, outputs = weight.shape[2], weight.shape[1]
    groups = weight.shape[0]
    sums = _Sums(
        0,
        np.zeros((groups, depth, depth)),
        np.zeros((groups, depth, outputs)),
        np.zeros((groups, depth)),
        np.zeros((groups, outputs)),
    )
    share = -(-reader.most_rows() // len(integers))
    columns = np.swapaxes(weight, 1, 2).astype(np.float32)
    for quantized, exact in zip(integers, real, strict=True):
        places = reader.places(exact.shape, share, random)
        x = reader.read(quantized, places).astype(np.float32)
        x *= np.float32(scale)
        lack = (reader.read(exact, places) - x) @ columns
        transposed = np.swapaxes(x, 1, 2)
        sums.count += len(places)
        sums.moments += transposed @ x
        sums.missing += transposed @ lack
        sums.inputs += x.sum(1, dtype=np.float64)
        sums.lack += lack.sum(1, dtype=np.float64)
    return sums


def _any_anchor(node: Node) -> Node:
    """The integer product of an operation of an int8 graph."""
    inner = (node,) if node.subgraph is None else node.subgraph.operations()
    return next(n for n in inner if n.op is not None and n.op.anchor is not None and n.op.anchor.is_integer)


def _quantized_data(node: Node, anchor: Node) -> tuple[Entry, Entry]:
    """The integers that a product multiplies, and their scale."""
    assert node.subgraph is not None
    dequantize = next(n for n in node.subgraph.operations() if n.inputs and n.inputs[0] == anchor[0])
    return _outer(node, anchor.inputs[0]), _outer(node, dequantize.inputs[1])


def _outer(node: Node, entry: Entry) -> Entry:
    return entry if node.subgraph is None else node.bind_inside(node.inputs)[entry]
