"""Winograd's algorithm, however its work is cut: into blocks of one image or several, and into filters."""

from __future__ import annotations

import itertools

import pytest
from forced_algorithms import ESTIMATE, Preference
from int8_layers import Layer, assert_exact
from small_graphs import check, node, normal, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering import winograd
from minidnn.lowering.winograd import Cut, Winograd
from minidnn.runtime.library import library
from minidnn_kernels.winograd import F2X3, F2X3_INT, F4X3, F4X3_INT, Scheme

every_cut = pytest.mark.parametrize("cut", [Cut(n, f) for n, f in itertools.product((1, 2, 5, 40), (1, 2, 3))], ids=str)
var = make_variable


@pytest.mark.parametrize("scheme", [F4X3, F2X3], ids=["f4x3", "f2x3"])
@every_cut
def test_float32(scheme: Scheme, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_choose_cut", lambda *_: cut)
    monkeypatch.setattr(ESTIMATE, Preference(Winograd(scheme)))
    graph = Graph([node("convolution", *map(var, "xw"), kernel=(3, 3), pad=(1, 1), num_filter=101, no_bias=True)])
    feed = {"x": normal(3, 33, 7, 5), "w": normal(101, 33, 3, 3, seed=1)}
    assert "winograd_loop" in steps(check(graph, feed, ["w"], tolerance=2e-5))


@pytest.mark.parametrize("scheme", [F4X3_INT, F2X3_INT], ids=["f4x3", "f2x3"])
@every_cut
def test_integers(scheme: Scheme, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_choose_cut", lambda *_: cut)
    monkeypatch.setattr(ESTIMATE, Preference(Winograd(scheme)))
    layer = Layer((3, 33, 7, 5), 101, kernel=3, pad=(1, 1), residual="int8")
    graph, parameters, _ = layer.node()
    isa = library().isa
    made = steps(assert_exact(isa.name, graph, parameters, layer.feed(signed=False)))
    assert ("winograd_loop" in made) == (isa.arch == "x86_64")


def _plan(data: tuple[int, ...], filters: int, monkeypatch: pytest.MonkeyPatch) -> winograd.WinogradPlan:
    made = []
    make_plan = winograd.make_plan

    def note(scheme: Scheme, product: winograd.Product) -> winograd.WinogradPlan:
        made.append(make_plan(scheme, product))
        return made[-1]

    monkeypatch.setattr(winograd, "make_plan", note)
    monkeypatch.setattr(ESTIMATE, Preference(Winograd(F4X3)))
    attrs = {"kernel": (3, 3), "pad": (1, 1), "num_filter": filters, "no_bias": True}
    graph = Graph([node("convolution", *map(var, "xw"), **attrs)])
    check(graph, {"x": normal(*data), "w": normal(filters, data[1], 3, 3, seed=1)}, ["w"], tolerance=1e-4)
    (plan,) = made
    return plan


def test_few_pixels_of_many_channels_are_cut_by_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan((1, 256, 14, 14), 256, monkeypatch)
    assert plan.cut.filter_parts > 1
    assert plan.cut.part_blocks > 4, "weights are not read again for every few blocks"
    plan = _plan((16, 128, 7, 7), 256, monkeypatch)
    assert plan.cut.part_blocks > 4, "a part has blocks of several images"


def test_many_pixels_of_few_channels_are_cut_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = _plan((1, 16, 56, 56), 16, monkeypatch)
    assert plan.cut.filter_parts == 1
    assert plan.parts >= 8
