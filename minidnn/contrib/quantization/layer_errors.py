"""How much each layer of an int8 network errs against the float32 network that it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.contrib.quantization.data import CalibrationData, with_progress
from minidnn.contrib.quantization.network import FusedNetwork, fuse_block, input_names, make_block
from minidnn.errors import GraphError
from minidnn.gluon.block import HybridBlock, SymbolBlock
from minidnn.ir.graph import Node
from minidnn.ops.quantization import quantize_array
from minidnn.symbol.symbol import Symbol
from minidnn.untrusted import html_table

__all__ = ["LayerError", "LayerErrors", "layer_errors"]

Array = np.ndarray[Any, Any]

_PREFIX = "quantized_"


@dataclass(frozen=True)
class LayerError:
    """One layer.

    Args:
        name: of the operation in the float32 graph.
        own: signal to quantization noise in dB of its output when its inputs are the float32 network's, rounded
            as the int8 network rounds them: what this layer adds.
        accumulated: the same with the inputs that the int8 network gives it: what has come together up to here.
    """

    name: str
    own: float
    accumulated: float


@dataclass(frozen=True)
class LayerErrors(Sequence[LayerError]):
    """All quantized layers, the one that errs most by itself first. ``print`` shows a table."""

    layers: tuple[LayerError, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __iter__(self) -> Iterator[LayerError]:
        return iter(self.layers)

    def _repr_html_(self) -> str:
        rows = [(e.name, f"{e.own:.1f}", f"{e.accumulated:.1f}") for e in self.layers]
        return html_table(("layer", "own dB", "accumulated dB"), rows, (1, 2))

    def __str__(self) -> str:
        width = max([len("layer"), *(len(layer.name) for layer in self.layers)])
        lines = [f"{'layer':{width}}  {'own dB':>8}  {'accumulated dB':>14}"]
        lines += [f"{e.name:{width}}  {e.own:8.1f}  {e.accumulated:14.1f}" for e in self.layers]
        return "\n".join(lines)


def layer_errors(net: HybridBlock, qnet: SymbolBlock, data: Any) -> LayerErrors:
    """The errors of every layer of `qnet` that computes, on some data.

    The layers of `qnet` run by their operators' references, so a few samples are enough work.

    Args:
        net: the float32 network.
        qnet: what `quantize_net` made of it.
        data: a few batches in any form that `quantize_net` takes as calib_data.

    Raises:
        TypeError: a network is no such block.
        GraphError: `qnet` has no quantized layers, or not those of `net`.
    """
    if not isinstance(net, HybridBlock):
        raise TypeError(f"net must be a HybridBlock, got {type(net).__name__}")
    if not isinstance(qnet, SymbolBlock):
        raise TypeError(f"qnet must be a SymbolBlock made by quantize_net, got {type(qnet).__name__}")
    batches = CalibrationData(data, input_names(net, len(qnet._argument_names())))
    fused = fuse_block(net, batches.first.arguments)
    graph = qnet._own_graph()
    operations = {node.name for node in fused.symbol.operations()}
    layers = {n: name for n in graph.symbol.operations() if (name := _layer(n)) is not None}
    unknown = [name for name in layers.values() if name not in operations]
    if not layers or unknown:
        what = f"layer {unknown[0]!r} of qnet is not in net" if unknown else "qnet has no quantized layers"
        raise GraphError(f"{what}: it must be what quantize_net made of net")
    parameters = {name: np.asarray(array) for name, array in graph.arrays().items()}
    sums = {name: np.zeros(3) for name in layers.values()}
    for batch in with_progress(batches, "Comparing layers, batch", batches.count):
        wanted = _run_float(fused, batch.arrays)
        inputs = {name: np.asarray(array) for name, array in zip(fused.inputs, batch.arrays, strict=True)}
        _add_errors(graph.symbol, layers, {**parameters, **inputs}, wanted, sums)
    errors = [LayerError(name, _decibel(s, own), _decibel(s, total)) for name, (s, own, total) in sums.items()]
    return LayerErrors(tuple(sorted(errors, key=lambda e: (e.own, e.accumulated))))


def _layer(node: Node) -> str | None:
    """The float32 operation whose value a node of the int8 graph gives, where that is a layer that computes."""
    if node.subgraph is not None and node.name.startswith(_PREFIX):
        return node.name.removeprefix(_PREFIX)
    if node.op_name == "requantize":
        return node.name.removesuffix("_requantize")
    # The dequantize behind a product that gives int32.
    if node.op_name == "dequantize" and node.attrs.per_channel:
        return node.name.removesuffix("_dequantize")
    return None


def _run_float(network: FusedNetwork, batch: Sequence[Any]) -> dict[str, Array]:
    """What every operation of the float32 network gives, by its name."""
    found: dict[str, Array] = {}

    def keep(name: str, op_name: str, array: Any) -> None:
        found[name.removesuffix("_output")] = np.asarray(array)

    block = make_block(network.symbol, network.inputs, network.parameters)
    block.register_op_hook(keep)
    block(*batch)
    return found


def _add_errors(
    symbol: Symbol,
    layers: dict[Node, str],
    feed: dict[str, Array],
    wanted: dict[str, Array],
    sums: dict[str, Array],
) -> None:
    """Adds squares of signal, own noise and accumulated noise to `sums`."""
    real: dict[Any, Array] = {}
    ideal: dict[Any, Array] = {}
    for node in symbol.nodes():
        if node.is_variable:
            real[node[0]] = ideal[node[0]] = feed[node.name]
            continue
        if node.op is not None and node.op.is_random:
            # Both networks get the same numbers: what differs is the quantization's doing alone.
            real[node[0]] = ideal[node[0]] = wanted[node.name]
            continue
        outputs = node.compute([real[e] for e in node.inputs])
        own = node.compute([ideal[e] for e in node.inputs])
        real.update({node[i]: a for i, a in enumerate(outputs)})
        if node in layers:
            value = wanted[layers[node]].astype(np.float64)
            noise = [np.square(_to_real(a) - value).sum() for a in (own, outputs)]
            sums[layers[node]] += np.array([np.square(value).sum(), *noise])
            own = _rounded_like(wanted[layers[node]], own)
        elif node.name in wanted:
            own = (wanted[node.name],)
        ideal.update({node[i]: a for i, a in enumerate(own)})


def _to_real(outputs: Sequence[Array]) -> Array:
    value = outputs[0].astype(np.float64)
    return value if len(outputs) == 1 else value * outputs[1].astype(np.float64)


def _rounded_like(value: Array, outputs: Sequence[Array]) -> tuple[Array, ...]:
    """The float32 network's value in the form in which the int8 network hands it on."""
    if len(outputs) == 1:
        return (value,)
    return quantize_array(value, _scale(outputs), outputs[0].dtype.name), outputs[1]


def _scale(outputs: Sequence[Array]) -> Any:
    """One number, or one for each sample."""
    return outputs[1].reshape(()) if outputs[1].size == 1 else outputs[1]


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
