"""Equalization changes the numbers between layers, never the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from quantization_helpers import Residual, draw, fill

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization.collector import CheckedCollector, collect_ranges
from minidnn.contrib.quantization.data import CalibrationData
from minidnn.contrib.quantization.network import FusedNetwork, fuse_block, make_block
from minidnn.contrib.quantization.tuning.chains import find_chains
from minidnn.contrib.quantization.tuning.equalize import Equalizer
from minidnn.gluon import nn
from minidnn.passes.fold_parameters import fold_parameters
from minidnn.passes.quantize_mark import mark
from minidnn.passes.quantized_graph import layer_output
from minidnn.symbol.symbol import Symbol

Array = np.ndarray[Any, Any]


class Call(gluon.HybridBlock):
    def __init__(self, function: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self._function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self._function(self, x)


def _clip(x: Any) -> Any:
    return mx.np.clip(x, 0, 6)


def _two_readers(b: Any, x: Any) -> Any:
    y = b.one(x)
    return b.two(y) + b.three(y)


def _normalized(b: Any, x: Any) -> Any:
    y = b.norm(x)
    return mx.npx.relu(b.one(y)) + b.two(y)


def _around(b: Any, x: Any) -> Any:
    y = b.norm(x)
    return mx.npx.relu(b.two(mx.npx.relu(b.one(y))) + y)


def _around_one(y: Any, b: Any) -> Any:
    return b.two(y) + y


def _summed(y: Any, b: Any) -> Any:
    return b.one(y).sum() + y.sum()


def _beside(y: Any, b: Any) -> Any:
    return b.one(y).sum() + mx.np.exp(-y) * y


def _read_by_others(b: Any, x: Any) -> Any:
    y = b.one(x)
    return b.two(y).sum() + y


def sequence(*layers: Any) -> Any:
    net = nn.HybridSequential()
    net.add(*layers)
    return net


NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...], int]] = {
    "relu": (lambda: sequence(nn.Dense(12, activation="relu", in_units=8), nn.Dense(5)), (40, 8), 1),
    "no activation": (lambda: sequence(nn.Dense(12, in_units=8), nn.Dense(5)), (40, 8), 1),
    "of rows": (
        lambda: sequence(nn.Dense(12, activation="relu", in_units=8, flatten=False), nn.Dense(5, flatten=False)),
        (4, 10, 8),
        1,
    ),
    "clip": (
        lambda: Call(
            lambda b, x: b.three(_clip(b.two(_clip(b.one(x))))),
            one=nn.Conv2D(8, 3, padding=1, in_channels=4),
            two=nn.Conv2D(8, 3, padding=1, groups=8, in_channels=8),
            three=nn.Conv2D(5, 1, in_channels=8),
        ),
        (8, 4, 9, 9),
        2,
    ),
    "groups": (
        lambda: sequence(nn.Conv2D(6, 3, in_channels=4, activation="relu"), nn.Conv2D(9, 3, groups=3, in_channels=6)),
        (8, 4, 9, 9),
        1,
    ),
    "pooling, flattening": (
        lambda: sequence(
            nn.Conv2D(6, 3, in_channels=4, activation="relu"),
            nn.MaxPool2D(2),
            nn.AvgPool2D(2),
            nn.Flatten(),
            nn.Dense(5),
        ),
        (8, 4, 14, 14),
        1,
    ),
    "two readers": (
        lambda: Call(
            _two_readers,
            one=nn.Dense(12, activation="relu", in_units=8),
            two=nn.Dense(5, in_units=12),
            three=nn.Dense(5, in_units=12),
        ),
        (40, 8),
        1,
    ),
    "layer normalization": (
        lambda: Call(
            _normalized,
            norm=nn.LayerNorm(in_channels=8),
            one=nn.Dense(5, flatten=False, in_units=8),
            two=nn.Dense(5, flatten=False, in_units=8),
        ),
        (4, 10, 8),
        1,
    ),
    "around dense layers": (
        lambda: Call(
            _around,
            norm=nn.LayerNorm(in_channels=8),
            one=nn.Dense(8, flatten=False, in_units=8),
            two=nn.Dense(8, flatten=False, in_units=8),
        ),
        (4, 10, 8),
        1,
    ),
    "around what reads it": (
        lambda: Call(
            lambda b, x: _around_one(b.norm(x), b),
            norm=nn.LayerNorm(in_channels=8),
            two=nn.Dense(8, flatten=False, in_units=8),
        ),
        (4, 10, 8),
        0,
    ),
    "convolution around what reads it": (
        lambda: Call(
            lambda b, x: _around_one(mx.npx.relu(b.one(x)), b),
            one=nn.Conv2D(6, 3, in_channels=4),
            two=nn.Conv2D(6, 1, in_channels=6),
        ),
        (4, 4, 8, 8),
        0,
    ),
    "beside dense layers": (
        lambda: Call(
            lambda b, x: _beside(b.norm(x), b),
            norm=nn.LayerNorm(in_channels=8),
            one=nn.Dense(5, flatten=False, in_units=8),
        ),
        (4, 10, 8),
        1,
    ),
    "normalized and summed up": (
        lambda: Call(
            lambda b, x: _summed(b.norm(x), b),
            norm=nn.LayerNorm(in_channels=8),
            one=nn.Dense(5, flatten=False, in_units=8),
        ),
        (4, 10, 8),
        0,
    ),
    "sigmoid between": (lambda: sequence(nn.Dense(12, activation="sigmoid", in_units=8), nn.Dense(5)), (40, 8), 0),
    "residual": (lambda: Residual(8), (4, 8, 6, 6), 1),
    "read by others": (
        lambda: Call(
            _read_by_others,
            one=nn.Dense(12, activation="relu", in_units=8),
            two=nn.Dense(5, in_units=12),
        ),
        (40, 8),
        0,
    ),
}


def folded(net: Any, x: Any) -> tuple[FusedNetwork, dict[str, tuple[str, str]]]:
    fused = fuse_block(net, (x,))
    marks = mark(fused.symbol, fused.parameters.keys(), "full")
    graph, parameters, names = fold_parameters(fused.symbol, fused.parameters, marks.products)
    return FusedNetwork(Symbol(graph.outputs), fused.inputs, parameters, fused.structure), names


def equalized(network: FusedNetwork, names: dict[str, tuple[str, str]], x: Any) -> tuple[FusedNetwork, list[str]]:
    """The network with channels scaled, and the names of the layers that changed."""
    equalizer = Equalizer(network.parameters, list(find_chains(network.symbol, network.parameters, names)))
    layers = [layer_output(n[i]) for n in network.symbol.operations() for i in range(n.num_outputs)]
    batch = [CalibrationData([x], ["data"]).first]
    predicted, collected = Seen(equalizer), Seen(None)
    collect_ranges(network, layers, batch, predicted)
    symbol = Symbol(equalizer.apply(network.symbol).outputs)
    new = FusedNetwork(symbol, network.inputs, equalizer.parameters, network.structure)
    collect_ranges(new, layers, batch, collected)
    for name, array in collected.arrays.items():
        assert np.abs(predicted.arrays[name] - array).max() <= 1e-4 * np.abs(array).max(), name
    return new, [chain.entry.node.name for chain in equalizer.changed]


class Seen(CheckedCollector):
    """What layers give, as an equalizer says it will be."""

    def __init__(self, equalizer: Equalizer | None) -> None:
        super().__init__()
        self.equalizer = equalizer
        self.arrays: dict[str, Array] = {}

    def add(self, name: str, array: Array, low: float, high: float) -> None:
        (found,) = [array] if self.equalizer is None else self.equalizer.scaled(name, [array])
        self.arrays[name] = found.copy()


def uneven(net: Any, shape: tuple[int, ...]) -> Any:
    """The network with channels of very different sizes in its first layer with parameters."""
    fill(net, (1, *shape[1:]), seed=1)
    for name, parameter in net.collect_params().items():
        if name.startswith(("0.", "one", "norm", "conv1")) and name.endswith(("weight", "gamma")):
            value = parameter.data().asnumpy()
            factors = np.geomspace(0.01, 1, len(value)).reshape(-1, *(1,) * (value.ndim - 1))
            parameter.set_data(mx.np.array((value * factors).astype(np.float32)))
    return net


@pytest.mark.parametrize("name", NETS)
def test_the_function_stays_the_same(name: str) -> None:
    make, shape, count = NETS[name]
    net, x = uneven(make(), shape), mx.np.array(draw(*shape))
    network, names = folded(net, x)
    before = {key: value.copy() for key, value in network.parameters.items()}
    new, changed = equalized(network, names, x)
    values = new.parameters
    assert len(changed) == count
    assert [node.name for node in new.symbol.operations()] == [node.name for node in network.symbol.operations()]
    assert all(np.array_equal(before[key], network.parameters[key]) for key in before)
    for symbol, parameters, same in ((network.symbol, before, True), (new.symbol, values, not changed)):
        got = make_block(symbol, network.inputs, parameters)(x).asnumpy()
        wanted = net(x).asnumpy()
        assert np.abs(got - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1)
        assert same == all(np.array_equal(before[key], parameters[key]) for key in before)


def test_channels_become_alike_and_stay_within_a_clip() -> None:
    make, shape, _ = NETS["clip"]
    net, x = uneven(make(), shape), mx.np.array(draw(*shape))
    network, names = folded(net, x)
    new, changed = equalized(network, names, x)
    values = new.parameters
    seen: dict[str, Array] = {}
    for key, parameters in (("before", network.parameters), ("after", values)):
        block = make_block(network.symbol, network.inputs, parameters)
        block.register_op_hook(
            lambda name, op, array, key=key: seen.setdefault(f"{key} {name}", np.asarray(array).max(axis=(0, 2, 3)))
        )
        block(x)
    for name in changed:
        before, after = (seen[f"{key} {name}_output"] for key in ("before", "after"))
        assert after.max() <= 6
        alive = before > 0
        assert after.max() / after[alive].min() < before.max() / before[alive].min()


def test_dead_channels_are_left_alone() -> None:
    make, shape, _ = NETS["relu"]
    net, x = uneven(make(), shape), mx.np.array(draw(*shape))
    net[0].bias.set_data(mx.np.array(np.where(np.arange(12) == 3, -1e6, 0).astype(np.float32)))
    network, names = folded(net, x)
    values = equalized(network, names, x)[0].parameters
    weight = names[next(iter(names))][0]
    assert np.array_equal(values[weight][3], network.parameters[weight][3])
    assert all(np.isfinite(value).all() for value in values.values())


def test_channels_to_one_side_of_zero_are_centered_behind_a_normalization() -> None:
    make, shape, _ = NETS["around dense layers"]
    net, x = uneven(make(), shape), mx.np.array(draw(*shape))
    net.norm.gamma.set_data(mx.np.ones(8))
    net.norm.beta.set_data(mx.np.array(np.where(np.arange(8) == 5, 30, 0).astype(np.float32)))
    network, names = folded(net, x)
    new, (name, *_) = equalized(network, names, x)
    rows: dict[str, Array] = {}
    for key, of in (("before", network), ("after", new)):
        block = make_block(of.symbol, of.inputs, of.parameters)
        block.register_op_hook(lambda name, op, array, key=key: rows.setdefault(f"{key} {name}", np.asarray(array)))
        block(x)
    before, after = (rows[f"{key} {name}_output"] for key in ("before", "after"))
    assert np.abs(before[..., 5] - 30).max() < 4
    assert np.abs(after.max(axis=(0, 1)) + after.min(axis=(0, 1))).max() < 1e-4
    assert np.abs(after).max(-1).mean() * 4 < np.abs(before).max(-1).mean()
