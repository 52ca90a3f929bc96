"""Equalization: channels that leave most of their layer's integers unused are scaled up, and down again behind it.

One scale has to do for all channels of a tensor, so a channel of small numbers is rounded coarsely. Where what computes
a tensor can be scaled channel by channel and all that read it can undo that, nothing but the rounding changes: a
convolution or dense layer through a ReLU or another function that scales with its argument (Nagel et al., 2019,
"Data-Free Quantization", arXiv:1906.04721), a layer normalization in front of dense layers (Xiao et al., 2022,
"SmoothQuant", arXiv:2211.10438). What adds the normalized tensor to something else, as the layers of BERT do around
them, multiplies it by what undoes the scales, in the same kernel. Where every output of a reader sees all channels of
a row, constants are moved as well: channels that lie to one side of zero, as outliers of layer normalizations do, are
centered (Wei et al., 2023, "Outlier Suppression+", arXiv:2304.09145). Through ``clip(x, 0, b)`` a channel is scaled up
no further than to b: within the range that calibration has seen the clip does the same as before, and beyond it
saturates, as any calibrated range does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.contrib.quantization.tuning.chains import Chain
from minidnn.ir.graph import Entry, Graph, Node, make_like, make_node, make_variable
from minidnn.passes.quantized_graph import layer_output
from minidnn.passes.regions import fuse_region

__all__ = ["Equalizer"]

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
# Rows of a tensor, evenly spread, whose ranges are looked at where each has one of its own.
_ROWS = 4096
_TINY = float(np.finfo(np.float32).tiny)


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
        self._changes: dict[str, tuple[int, _Change]] = {}
        self._restore: dict[Entry, tuple[str, str | None]] = {}

    def scaled(self, name: str, arrays: Sequence[Array]) -> Iterable[Array]:
        """What the equalized network has for a layer.

        Args:
            name: of the layer.
            arrays: what it gives on calibration data, batch by batch.
        """
        chain = self._chains.get(name)
        if chain is not None:
            self._decide(chain, arrays)
        if name not in self._changes:
            return arrays
        axis, change = self._changes[name]
        return (change.of(array, axis) for array in arrays)

    def _decide(self, chain: Chain, arrays: Sequence[Array]) -> None:
        change = _choose(chain, self.parameters, arrays)
        if change is None:
            return
        values = self.parameters
        self.changed.append(chain)
        self._changes.update((layer, (chain.axis, change)) for layer in chain.layers)
        for name in chain.scaled:
            value = values[name]
            values[name] = change.of(value, 0) if name == chain.added else change.scaled(value, 0)
        for reader in chain.readers:
            weight = values[reader.weight]
            if change.centers.any():
                values[reader.bias] = (values[reader.bias] + weight @ change.centers).astype(np.float32)
            columns = reader.columns(weight) / reader.per_group(change.factors)
            values[reader.weight] = columns.astype(np.float32).reshape(weight.shape)
        if chain.adders:
            factors = self._add(f"{chain.entry.node.name}_restore", np.reciprocal(change.factors))
            centers = self._add(f"{chain.entry.node.name}_center", change.centers) if change.centers.any() else None
            self._restore[chain.entry] = factors, centers

    def _add(self, name: str, value: Array) -> str:
        while name in self.parameters:
            name += "_"
        self.parameters[name] = value.astype(np.float32)
        return name

    def apply(self, graph: Graph) -> Graph:
        """The graph to `parameters`: what adds a tensor that has been scaled undoes that.

        Args:
            graph: with operations of the same names as the one that the chains are of.
        """
        chains = {chain.entry.node.name: chain for chain in self.changed if chain.adders}

        def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
            region: list[Node] = []
            operands = list(inputs)
            for number, entry in enumerate(node.inputs):
                chain = chains.get(entry.node.name)
                if chain is None or node.name not in [adder.name for adder in chain.adders]:
                    continue
                factors, centers = self._restore[chain.entry]
                operands[number] = inputs[number]
                for op, name in (("multiply", factors), ("add", centers)):
                    if name is not None:
                        value = self.parameters[name]
                        variable = make_variable(name, shape=value.shape, dtype=value.dtype)
                        region.append(make_node(op, f"{node.name}_{op}_restored", (operands[number], variable)))
                        operands[number] = region[-1][0]
            if not region:
                return None
            region.append(make_like(node, tuple(operands)))
            made = {n[0] for n in region}
            outside = {e: e for n in region for e in n.inputs if e not in made}
            fused = fuse_region(region, outside, node.name, node.hints)
            return [fused[i] for i in range(node.num_outputs)]

        return graph.rewrite(change) if chains else graph


@dataclass(frozen=True)
class _Change:
    """What is done to the channels of a tensor: the centers are taken away, then they are multiplied by the factors.

    Args:
        factors: (C,).
        centers: (C,).
    """

    factors: Array
    centers: Array

    def of(self, array: Array, axis: int) -> Array:
        """A tensor with its channels along an axis; where it is flat, each is several elements."""
        if not self.centers.any():
            return self.scaled(array, axis)
        return self.scaled(array - _along(self.centers, array, axis), axis)

    def scaled(self, array: Array, axis: int) -> Array:
        return np.asarray((array * _along(self.factors, array, axis)).astype(np.float32))


def _along(values: Array, array: Array, axis: int) -> Array:
    """Numbers of the channels, as they are used with an array; where it is flat, each for several elements."""
    size = array.shape[axis]
    return np.repeat(values, size // len(values)).reshape(size, *(1,) * (array.ndim - 1 - axis))


# ---- how much ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Channels:
    """Least and largest number, mean and mean square of every channel, each (C,)."""

    low: Array
    high: Array
    mean: Array
    square: Array

    @property
    def middle(self) -> Array:
        return (self.low + self.high) / 2

    def largest(self, centers: Array) -> Array:
        """The largest magnitudes without the centers."""
        return np.asarray(np.maximum(self.high - centers, centers - self.low))

    def power(self, centers: Array) -> Array:
        """The mean squares without the centers."""
        return np.asarray(self.square - 2 * centers * self.mean + np.square(centers))


def _channels(arrays: Sequence[Array], axis: int) -> _Channels:
    rest = tuple(i for i in range(arrays[0].ndim) if i != axis)
    low = np.min([array.min(axis=rest) for array in arrays], axis=0).astype(np.float64)
    high = np.max([array.max(axis=rest) for array in arrays], axis=0).astype(np.float64)
    count = sum(array.size // array.shape[axis] for array in arrays)
    mean = sum(array.sum(axis=rest, dtype=np.float64) for array in arrays) / count
    square = sum(np.square(array).sum(axis=rest, dtype=np.float64) for array in arrays) / count
    return _Channels(low, high, np.asarray(mean), np.asarray(square))


def _choose(chain: Chain, values: Mapping[str, Array], arrays: Sequence[Array]) -> _Change | None:
    """What to do to the channels; None if it is best to leave them."""
    channels = _channels(arrays, chain.axis)
    nothing = np.zeros(len(channels.low))
    largest = channels.largest(nothing)
    top = chain.bound if chain.bound is not None else float(largest.max(initial=0))
    if top <= 0 or not np.isfinite(channels.square).all():
        return None
    if chain.by_rows:
        centers = [nothing] if chain.added is None else [nothing, channels.middle]
        tried = [_Change(f, c) for c in centers for f in _factors_of_rows(chain, values, channels.largest(c))]
        rows = _some_rows(arrays)
    else:
        tried, rows = [_Change(f, nothing) for f in _factors_of_tensor(largest, top)], largest[None]
    noises = [_noise(chain, values, change.of(rows, 1), channels, change) for change in tried]
    best = int(np.argmin(noises))
    return tried[best] if noises[best] < _WORTHWHILE * noises[0] else None


def _factors_of_tensor(largest: Array, top: float) -> list[Array]:
    """What can be tried for a tensor with one range, at least 1; the first are ones."""
    with np.errstate(divide="ignore"):
        full = np.where(largest > 0, np.clip(top / (_HEADROOM * largest), 1, _LARGEST_FACTOR), 1)
    return [full**share for share in _SHARES]


def _factors_of_rows(chain: Chain, values: Mapping[str, Array], largest: Array) -> list[Array]:
    """What can be tried where each row has its range, so that nothing is cut off; the first are ones.

    Factors make channels alike, and the more so the less that of their weights.
    """
    weights = np.zeros(len(largest))
    for reader in chain.readers:
        weight = np.abs(reader.columns(values[reader.weight])).max(axis=(1, 3)).reshape(-1)
        weights = np.maximum(weights, weight / max(float(weight.max(initial=0)), _TINY))
    alive = (largest > 0) & (weights > 0)
    found = [np.ones(len(largest))]
    for share in _SHARES[1:]:
        for other in (0.0, 1 - share):
            factors = np.ones(len(largest))
            factors[alive] = weights[alive] ** other / largest[alive] ** share
            factors[alive] /= np.median(factors[alive]) if alive.any() else 1
            found.append(np.clip(factors, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR))
    return found


def _some_rows(arrays: Sequence[Array]) -> Array:
    """Rows, evenly spread over all."""
    count = sum(array.size // array.shape[-1] for array in arrays)
    step = max(1, count // _ROWS)
    return np.concatenate([array.reshape(-1, array.shape[-1])[::step] for array in arrays])


def _noise(chain: Chain, values: Mapping[str, Array], rows: Array, channels: _Channels, change: _Change) -> float:
    """About how much noise there is at the readers' outputs, as shares of their signals.

    Args:
        rows: (R, C), after the change; what has one range has a step for each.
        channels: before it.
    """
    steps_of_rows = np.abs(rows).max(axis=1) / (_LEVELS if chain.signed else _UNSIGNED)
    step = float(np.square(steps_of_rows, dtype=np.float64).mean())
    total = 0.0
    for reader in chain.readers:
        scale, square = reader.per_group(change.factors), reader.per_group(channels.square)
        weight = reader.columns(values[reader.weight]).astype(np.float64)
        signal = (np.square(weight) * square).sum()
        if not signal > 0:
            continue
        inputs = step * (np.square(weight / scale)).sum()
        steps = np.abs(weight / scale).max(axis=(2, 3)) / _LEVELS
        taps = weight.shape[3]
        power = reader.per_group(channels.power(change.centers)) * np.square(scale)
        weights = (np.square(steps) * power.sum(axis=(2, 3)) * taps).sum()
        total += float((inputs + _ROUNDING * weights) / 12 / signal)
    return total
