"""Equalization: channels that leave most of their layer's integers unused are scaled up, and down again behind it.

One scale has to do for all channels of a tensor, so a channel of small numbers is rounded coarsely. Where what computes
a tensor can be scaled channel by channel and all that read it can undo that, nothing but the rounding changes: a
convolution or dense layer through a ReLU or another function that scales with its argument (Nagel et al., 2019,
"Data-Free Quantization", arXiv:1906.04721), a layer normalization in front of dense layers (Xiao et al., 2022,
"SmoothQuant", arXiv:2211.10438). What adds the normalized tensor to something else, as the layers of BERT do around
them, multiplies it by what undoes the scales, in the same kernel. Through ``clip(x, 0, b)`` a channel is scaled up no
further than to b: within the range that calibration has seen the clip does the same as before, and beyond it saturates,
as any calibrated range does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        self._factors: dict[str, tuple[int, Array]] = {}
        self._restore: dict[Entry, str] = {}

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
        factors = _choose(chain, self.parameters, arrays)
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
        if chain.adders:
            name = f"{chain.entry.node.name}_restore"
            while name in values:
                name += "_"
            values[name] = np.reciprocal(factors).astype(np.float32)
            self._restore[chain.entry] = name

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
                value = self.parameters[self._restore[chain.entry]]
                factors = make_variable(self._restore[chain.entry], shape=value.shape, dtype=value.dtype)
                region.append(make_node("multiply", f"{node.name}_restored", (inputs[number], factors)))
                operands[number] = region[-1][0]
            if not region:
                return None
            region.append(make_like(node, tuple(operands)))
            made = {n[0] for n in region}
            outside = {e: e for n in region for e in n.inputs if e not in made}
            fused = fuse_region(region, outside, node.name, node.hints)
            return [fused[i] for i in range(node.num_outputs)]

        return graph.rewrite(change) if chains else graph


def _along(factors: Array, array: Array, axis: int) -> Array:
    """The channels' factors, as they are multiplied with an array; where it is flat, each for several elements."""
    size = array.shape[axis]
    return np.repeat(factors, size // len(factors)).reshape(size, *(1,) * (array.ndim - 1 - axis))


def _scaled(value: Array, factors: Array) -> Array:
    return np.asarray((value * factors).astype(np.float32))


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


def _choose(chain: Chain, values: Mapping[str, Array], arrays: Sequence[Array]) -> Array | None:
    """A factor for each channel; None if it is best to leave them."""
    largest, squares = _channels(arrays, chain.axis)
    top = chain.bound if chain.bound is not None else float(largest.max(initial=0))
    if top <= 0 or not np.isfinite(squares).all():
        return None
    rows = _some_rows(arrays) if chain.by_rows else largest[None]
    candidates = _factors_of_rows(chain, values, largest) if chain.by_rows else _factors_of_tensor(largest, top)
    noises = [_noise(chain, values, rows, squares, factors) for factors in candidates]
    best = int(np.argmin(noises))
    return candidates[best] if noises[best] < _WORTHWHILE * noises[0] else None


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
    """Magnitudes of rows, evenly spread over all."""
    count = sum(array.size // array.shape[-1] for array in arrays)
    step = max(1, count // _ROWS)
    return np.asarray(np.abs(np.concatenate([array.reshape(-1, array.shape[-1])[::step] for array in arrays])))


def _noise(chain: Chain, values: Mapping[str, Array], rows: Array, square: Array, factors: Array) -> float:
    """About how much noise there is at the readers' outputs, as shares of their signals.

    Args:
        rows: (R, C), magnitudes; what has one range has a step for each.
    """
    steps_of_rows = (rows * factors).max(axis=1) / (_LEVELS if chain.signed else _UNSIGNED)
    step = float(np.square(steps_of_rows).mean())
    total = 0.0
    for reader in chain.readers:
        scale, power = reader.per_group(factors), reader.per_group(square)
        weight = reader.columns(values[reader.weight]).astype(np.float64)
        signal = (np.square(weight) * power).sum()
        if not signal > 0:
            continue
        inputs = step * (np.square(weight / scale)).sum()
        steps = np.abs(weight / scale).max(axis=(2, 3)) / _LEVELS
        taps = weight.shape[3]
        weights = (np.square(steps) * (power * np.square(scale)).sum(axis=(2, 3)) * taps).sum()
        total += float((inputs + _ROUNDING * weights) / 12 / signal)
    return total
