"""Equalization: channels that leave most of their layer's integers unused are scaled up, and down again behind it.

One scale has to do for all channels of a tensor, so a channel of small numbers is rounded coarsely. Where what computes
a tensor can be scaled channel by channel and all that read it can undo that, nothing but the rounding changes: a
convolution or dense layer through a ReLU or another function that scales with its argument (Nagel et al., 2019,
"Data-Free Quantization", arXiv:1906.04721), a layer normalization in front of dense layers (Xiao et al., 2022,
"SmoothQuant", arXiv:2211.10438). Through ``clip(x, 0, b)`` a channel is scaled up no further than to b: within the
range that calibration has seen the clip does the same as before, and beyond it saturates, as any calibrated range does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.infer import known_types
from minidnn.ir.roles import input_roles
from minidnn.passes.fold_parameters import take_apart
from minidnn.passes.quantized_graph import layer_output
from minidnn.passes.regions import data_inputs

__all__ = ["Chain", "Equalizer", "find_chains"]

Array = np.ndarray[Any, Any]

# Shares of full equalization, in the exponent, that are tried.
_SHARES = np.linspace(0, 1, 9)
_LARGEST_FACTOR = 64.0
# Room for what other data has beyond the largest number of a channel: it must not be cut off.
_HEADROOM = 2.0
# Second-order rounding leaves about this share of the noise that rounding to nearest makes.
_ROUNDING = 0.25
# Channels are left alone unless the noise becomes less than this share.
_WORTHWHILE = 0.7
_LEVELS = 127
_UNSIGNED = 255


@dataclass(frozen=True)
class _Reader:
    """A product that reads a tensor: how it multiplies its channels.

    Args:
        weight: the name of its weights.
        shape: as which the weights are (outputs, channels, rest), for one group after the other.
        groups: of a convolution.
    """

    weight: str
    shape: tuple[int, int, int]
    groups: int

    def columns(self, weight: Array) -> Array:
        """(G, P, C, rest): the weights by group, output, channel."""
        outputs, channels, rest = self.shape
        return weight.reshape(self.groups, outputs // self.groups, channels, rest)

    def per_group(self, values: Array) -> Array:
        """A number for each channel of the tensor, as (G, 1, C, 1)."""
        return values.reshape(self.groups, 1, self.shape[1], 1)


@dataclass(frozen=True)
class Chain:
    """A tensor whose channels can be scaled.

    Args:
        entry: the tensor.
        axis: of its channels.
        scaled: names of the parameters that scale it, each with a number or a row for each channel.
        readers: all that read it.
        layers: its name as collectors see it, and those of what carries its channels to the readers.
        bound: beyond which it is clipped; None if it is not.
        signed: whether it has negative numbers.
    """

    entry: Entry
    axis: int
    scaled: tuple[str, ...]
    readers: tuple[_Reader, ...]
    layers: tuple[str, ...]
    bound: float | None
    signed: bool


class Equalizer:
    """Scales channels, tensor by tensor in the order in which the network computes them.

    Args:
        parameters: of the float32 graph.
        chains: its tensors whose channels can be scaled.

    Attributes:
        parameters: of the same function with channels that use the integers better.
        changed: the tensors that have been scaled.
        layers: the names of all `chains` as collectors see them, which `scaled` has to be given.
    """

    def __init__(self, parameters: Mapping[str, Array], chains: Sequence[Chain]) -> None:
        self.parameters = dict(parameters)
        self.changed: list[Chain] = []
        self._chains = {layer_output(chain.entry): chain for chain in chains}
        self.layers = tuple(self._chains)
        self._factors: dict[str, tuple[int, Array]] = {}

    def scaled(self, name: str, arrays: Sequence[Array]) -> Iterable[Array]:
        """What the equalized network has for a layer.

        Args:
            name: of the layer.
            arrays: what it gives on calibration data, batch by batch.
        """
        chain = self._chains.get(name)
        if chain is not None:
            self._decide(chain, arrays)
        if name not in self._factors:
            return arrays
        axis, factors = self._factors[name]
        return (_scaled(array, _along(factors, array, axis)) for array in arrays)

    def _decide(self, chain: Chain, arrays: Sequence[Array]) -> None:
        factors = _choose(chain, self.parameters, _channels(arrays, chain.axis))
        if factors is None:
            return
        values = self.parameters
        self.changed.append(chain)
        self._factors.update((layer, (chain.axis, factors)) for layer in chain.layers)
        for name in chain.scaled:
            values[name] = _scaled(values[name], factors.reshape(-1, *(1,) * (values[name].ndim - 1)))
        for reader in chain.readers:
            weight = values[reader.weight]
            columns = reader.columns(weight) / reader.per_group(factors)
            values[reader.weight] = columns.astype(np.float32).reshape(weight.shape)


def _along(factors: Array, array: Array, axis: int) -> Array:
    """The channels' factors, as they are multiplied with an array; where it is flat, each for several elements."""
    size = array.shape[axis]
    return np.repeat(factors, size // len(factors)).reshape(size, *(1,) * (array.ndim - 1 - axis))


def _scaled(value: Array, factors: Array) -> Array:
    return np.asarray((value * factors).astype(np.float32))


# ---- which tensors -----------------------------------------------------------------------------------


def find_chains(graph: Graph, parameters: Mapping[str, Array], names: Mapping[str, tuple[str, str]]) -> Iterator[Chain]:
    """The tensors whose channels can be scaled.

    Args:
        graph: each of its products with a weight and a bias of its own.
        parameters: their values, by name.
        names: of weight and bias, by the product's name.
    """
    types, consumers = known_types(graph), graph.consumers()
    used: dict[str, int] = {}
    for node in graph.operations():
        for entry in node.inputs:
            if entry.node.is_variable:
                used[entry.node.name] = used.get(entry.node.name, 0) + 1
    for node in graph.operations():
        entry = node[0]
        if node.num_outputs != 1 or entry not in types:
            continue
        source = _source(node, types[entry].ndim, names)
        if source is None or any(used[name] != 1 for name in source[0]):
            continue
        scaled, axis, bound, signed = source
        channels = parameters[scaled[0]].shape[0]
        readers, layers = _readers(graph, entry, axis, channels, consumers, parameters, names, types)
        if readers:
            yield Chain(entry, axis, scaled, tuple(readers), tuple(layers), bound, signed)


def _source(
    node: Node, ndim: int, names: Mapping[str, tuple[str, str]]
) -> tuple[tuple[str, ...], int, float | None, bool] | None:
    """What scales the channels of a result, their axis, where it is clipped, and whether it may be negative."""
    if node.op_name == "layer_norm":
        axis = node.attrs.axis % ndim
        own = [e.node for e, role in zip(node.inputs, input_roles(node), strict=True) if role.is_parameter]
        if axis != ndim - 1 or not own or not all(v.is_variable for v in own):
            return None
        return tuple(v.name for v in own), axis, None, True
    if node.name not in names:
        return None
    parts = take_apart(node, None)
    bound, signed = None, True
    for step in parts.tail:
        if len(step.inputs) != 1:
            return None
        if step.op_name == "clip" and step.attrs.a_min == 0 and step.attrs.a_max is not None:
            bound = float(step.attrs.a_max) if bound is None else min(bound, float(step.attrs.a_max))
        elif not (step.op_name == "relu" or (step.op_name == "activation" and step.attrs.act_type == "relu")):
            return None
        signed = False
    if "kernel" in parts.anchor.attrs:
        return names[node.name], 1, bound, signed
    return names[node.name], ndim - 1, bound, signed


def _readers(
    graph: Graph,
    entry: Entry,
    axis: int,
    channels: int,
    consumers: Mapping[Entry, Sequence[Node]],
    parameters: Mapping[str, Array],
    names: Mapping[str, tuple[str, str]],
    types: Mapping[Entry, Any],
) -> tuple[list[_Reader], list[str]]:
    """All products that read a tensor, directly or through what does the same to every channel, and all that is on the
    way; none where others read it.
    """
    found: list[_Reader] = []
    layers: list[str] = []
    nothing: tuple[list[_Reader], list[str]] = [], []
    pending = [entry]
    while pending:
        value = pending.pop()
        layers.append(layer_output(value))
        if value in graph.outputs or value not in types:
            return nothing
        for node in consumers.get(value, ()):
            if node.name in names:
                reader = _reader(node, value, axis, channels, parameters, names, types[value].ndim)
                if reader is None:
                    return nothing
                found.append(reader)
            elif _keeps_channels(node, axis) and data_inputs(node) == [value]:
                pending.append(node[0])
            else:
                return nothing
    return found, layers


def _keeps_channels(node: Node, axis: int) -> bool:
    """Whether an operation gives a multiple of a channel for a multiple of it."""
    attrs = node.attrs
    if node.op_name == "pooling":
        return bool(axis == 1 and attrs.pool_type in ("max", "avg") and not str(attrs.layout).endswith("C"))
    if node.op_name == "pad":
        assert node.op is not None
        width = attrs.pad_width
        return node.op.holds(node.op.scale_transparent, attrs) and tuple(width[axis if axis < len(width) else 0]) == (
            0,
            0,
        )
    return node.op_name == "relu" or (node.op_name == "flatten" and axis == 1)


def _reader(
    node: Node,
    value: Entry,
    axis: int,
    channels: int,
    parameters: Mapping[str, Array],
    names: Mapping[str, tuple[str, str]],
    ndim: int,
) -> _Reader | None:
    parts = take_apart(node, None)
    if node.inputs.count(value) != 1 or parts.outer[parts.anchor.inputs[0]] != value:
        return None
    weight = names[node.name][0]
    shape, attrs = parameters[weight].shape, parts.anchor.attrs
    if "kernel" in attrs:
        size = int(np.prod(shape[2:]))
        fits = axis == 1 and shape[1] * attrs.num_group == channels
        return _Reader(weight, (shape[0], shape[1], size), int(attrs.num_group)) if fits else None
    if axis != (1 if attrs.flatten else ndim - 1) or shape[1] % channels:
        return None
    return _Reader(weight, (shape[0], channels, shape[1] // channels), 1)


# ---- how much ----------------------------------------------------------------------------------------


def _channels(arrays: Sequence[Array], axis: int) -> tuple[Array, Array]:
    """The largest magnitude and the mean square of every channel."""
    largest, squares, count = np.zeros(()), np.zeros(()), 0
    for array in arrays:
        rest = tuple(i for i in range(array.ndim) if i != axis)
        largest = np.maximum(largest, np.maximum(array.max(axis=rest), -array.min(axis=rest)))
        squares = squares + np.square(array).sum(axis=rest, dtype=np.float64)
        count += array.size // array.shape[axis]
    return largest.astype(np.float64), squares / count


def _choose(chain: Chain, values: Mapping[str, Array], seen: tuple[Array, Array]) -> Array | None:
    """A factor for each channel, at least 1; None if it is best to leave them."""
    largest, squares = seen
    top = chain.bound if chain.bound is not None else float(largest.max(initial=0))
    if top <= 0 or not np.isfinite(squares).all():
        return None
    with np.errstate(divide="ignore"):
        full = np.where(largest > 0, np.clip(top / (_HEADROOM * largest), 1, _LARGEST_FACTOR), 1)
    noises = [_noise(chain, values, largest, squares, full**share) for share in _SHARES]
    best = int(np.argmin(noises))
    return full ** _SHARES[best] if noises[best] < _WORTHWHILE * noises[0] else None


def _noise(chain: Chain, values: Mapping[str, Array], largest: Array, square: Array, factors: Array) -> float:
    """About how much noise there is at the readers' outputs, as shares of their signals."""
    step = (factors * largest).max() / (_LEVELS if chain.signed else _UNSIGNED)
    total = 0.0
    for reader in chain.readers:
        scale, power = reader.per_group(factors), reader.per_group(square)
        weight = reader.columns(values[reader.weight]).astype(np.float64)
        signal = (np.square(weight) * power).sum()
        if not signal > 0:
            continue
        inputs = step**2 * (np.square(weight / scale)).sum()
        steps = np.abs(weight / scale).max(axis=(2, 3)) / _LEVELS
        taps = weight.shape[3]
        weights = (np.square(steps) * (power * np.square(scale)).sum(axis=(2, 3)) * taps).sum()
        total += float((inputs + _ROUNDING * weights) / 12 / signal)
    return total
