"""Every algorithm for a product on every shape that it fits, and how the one that is taken is chosen."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from forced_algorithms import ESTIMATE, Preference
from int8_layers import Layer, assert_exact
from small_graphs import check, compiled, node, normal, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.algorithms import ALGORITHMS
from minidnn.lowering.product import Algorithm, Product
from minidnn.lowering.winograd import Winograd
from minidnn.runtime.library import library

var = make_variable
_IDS = [f"{i}_{algorithm.name}" for i, algorithm in enumerate(ALGORITHMS)]
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=_IDS)

# Data, filters, kernel, stride, padding, groups.
_SHAPES = [
    ((2, 3, 11, 9), 18, 3, 1, 1, 1),
    ((1, 3, 13, 8), 5, 5, 2, 2, 1),
    ((2, 8, 6, 7), 9, 3, 1, 0, 1),
    ((1, 37, 9, 6), 21, 3, 1, 1, 1),
    ((2, 37, 5, 5), 21, 1, 1, 0, 1),
    ((1, 40, 8, 8), 12, 3, 2, 1, 4),
    ((2, 19, 9, 10), 19, 3, 1, 1, 19),
    ((1, 2, 7, 7), 2, 3, 2, 1, 2),
]
_FLOAT = ("depthwise", "merged_rows", "direct", "winograd_f4x3", "winograd_f2x3")


def _costs(wanted: Algorithm, monkeypatch: pytest.MonkeyPatch) -> Preference:
    preference = Preference(wanted)
    monkeypatch.setattr(ESTIMATE, preference)
    return preference


@pytest.mark.parametrize("name", _FLOAT)
def test_every_algorithm_of_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Schemes of one name are for float32 and for integers; of these the first is the former.
    wanted = next(a for a in ALGORITHMS if a.name == name and not (isinstance(a, Winograd) and a.scheme.integer))
    ran = 0
    for (data, filters, kernel, stride, pad, groups), seed in zip(_SHAPES, range(99), strict=False):
        preference = _costs(wanted, monkeypatch)
        attrs = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "pad": (pad,) * 2}
        graph = Graph([node("convolution", *map(var, "xwb"), num_filter=filters, num_group=groups, **attrs)])
        scale = np.float32((kernel * kernel * data[1] / groups) ** 0.5)
        weight = normal(filters, data[1] // groups, kernel, kernel, seed=seed) / scale
        check(graph, {"x": normal(*data, seed=seed + 1), "w": weight, "b": normal(filters)}, ["w", "b"], tolerance=2e-5)
        assert "direct" in [algorithm.name for algorithm in preference.fitting]
        ran += wanted in preference.fitting
    assert ran, "it fits none of the shapes"


@every_algorithm
@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
def test_every_algorithm_of_int8_is_exact(algorithm: Algorithm, signed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    isa = library().isa
    for data, filters, kernel, stride, pad, groups in _SHAPES:
        _costs(algorithm, monkeypatch)
        layer = Layer(data, filters, kernel, stride, (pad, pad), groups, out="int32")
        graph, parameters, _ = layer.node()
        assert_exact(isa.name, graph, parameters, layer.feed(signed))
        layer = replace(layer, out="int8", residual="int8")
        graph, parameters, _ = layer.node()
        assert_exact(isa.name, graph, parameters, layer.feed(signed))


def test_the_cheapest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph([node("convolution", var("x"), var("w"), kernel=(3, 3), num_filter=40, no_bias=True)])
    feed = {"x": normal(1, 40, 9, 9), "w": normal(40, 40, 3, 3)}
    asked: list[Product] = []

    def cost(of_direct: float, of_winograd: float) -> str:
        def estimate(algorithm: Algorithm, product: Product) -> float:
            asked.append(product)
            return of_winograd if algorithm.name.startswith("winograd") else of_direct

        monkeypatch.setattr(ESTIMATE, estimate)
        (loop,) = [s for s in steps(compiled(graph, feed, ["w"])) if s != "copy_loop"]
        return loop

    assert cost(1.0, 2.0) == "matmul_loop"
    assert cost(2.0, 1.0) == "winograd_loop"
    assert cost(1.0, 1.0) == "matmul_loop", "of two that take the same time the first is taken"
    assert {(p.images, p.groups, p.depth, p.columns) for p in asked} == {(1, 1, 40, 40)}


@every_algorithm
def test_costs_grow_with_the_work(algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the images take twice as long, or as long where weights are what takes it."""
    if os.environ.get("MINIDNN_WINOGRAD") == "0":
        pytest.skip("switched off")
    seen: list[tuple[int, float]] = []

    def estimate(candidate: Algorithm, product: Product) -> float:
        if candidate == algorithm:
            seen.append((product.images, candidate.cycles(product)))
        return candidate.cycles(product)

    monkeypatch.setattr(ESTIMATE, estimate)
    integer = algorithm in ALGORITHMS[4:]
    groups = 64 if algorithm.name == "depthwise" else 1
    channels = 3 if algorithm.name == "merged_rows" else 64
    for images in (1, 2, 4):
        layer = Layer((images, channels, 20, 20), 64, 3, 1, (1, 1), groups, out="int32")
        graph, parameters, _ = layer.node()
        if integer:
            compiled(graph, {**parameters, **layer.feed(False)}, list(parameters))
        else:
            attrs = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 64, "num_group": groups, "no_bias": True}
            plain = Graph([node("convolution", var("x"), var("w"), **attrs)])
            feed = {"x": normal(images, channels, 20, 20), "w": normal(64, channels // groups, 3, 3)}
            compiled(plain, feed, ["w"])
    if not seen:
        pytest.skip("not on this machine")
    cycles = dict(seen)
    assert 0 < cycles[1] <= cycles[2] <= cycles[4] <= 4 * cycles[1]
