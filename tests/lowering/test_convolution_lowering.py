"""Convolutions of every geometry, with and without a tail, against the references in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from forced_algorithms import ESTIMATE, Preference
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tails import TAILS, Network, add_tail
from small_graphs import Array, check, compiled, fuse, inner, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.lowering.winograd import Winograd
from minidnn_kernels.winograd import F2X3, F4X3, Scheme

var = make_variable
layouts = st.sampled_from([PLAIN, CHANNELS_LAST])


@st.composite
def geometries(draw: st.DrawFn, rank: int) -> dict[str, Any]:
    """Kernel, stride, dilate and pad, and a spatial size that they fit in."""
    largest = 4 if rank < 3 else 3
    sizes = {"kernel": (1, largest), "stride": (1, 3), "dilate": (1, 2), "pad": (0, 2)}
    chosen = {k: tuple(draw(st.integers(*v)) for _ in range(rank)) for k, v in sizes.items()}
    spare = [draw(st.integers(0, 8 if rank < 3 else 3)) for _ in range(rank)]
    least = zip(chosen["kernel"], chosen["dilate"], chosen["pad"], spare, strict=True)
    chosen["spatial"] = tuple(max(1, d * (k - 1) + 1 - 2 * p) + s for k, d, p, s in least)
    return chosen


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Graph, Network]:
    """A convolution and up to three nodes behind it."""
    rank = draw(st.integers(1, 3))
    geometry = draw(geometries(rank))
    groups = draw(st.sampled_from([1, 1, 2, 3, 9]))
    depth, filters = draw(st.sampled_from([1, 2, 3, 8, 17])), draw(st.sampled_from([1, 2, 5, 16, 17, 33]))
    if draw(st.booleans()) and groups > 1:
        depth = filters = 1  # depthwise
    network = Network()
    images, spatial = draw(st.integers(1, 3)), geometry.pop("spatial")
    data = network.new(images, groups * depth, *spatial)
    weight = network.new(groups * filters, depth, *geometry["kernel"], constant=True)
    no_bias = draw(st.booleans())
    bias = [] if no_bias else [network.new(groups * filters, constant=True)]
    attrs = {"num_filter": groups * filters, "num_group": groups, "no_bias": no_bias, **geometry}
    made = node("convolution", data, weight, *bias, **attrs)
    g = geometry
    output = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, d, p in zip(spatial, g["kernel"], g["stride"], g["dilate"], g["pad"], strict=True)
    )
    for i, kind in enumerate(draw(st.lists(st.sampled_from(TAILS), max_size=3))):
        made = add_tail(network, made, (images, groups * filters, *output), kind, f"{kind}{i}")
    return network.graph([made], fused=draw(st.booleans())), network


@settings(deadline=None, derandomize=True, max_examples=80)
@given(convolutions(), layouts, layouts)
def test_any_convolution_with_any_tail(made: tuple[Graph, Network], source: str, target: str) -> None:
    graph, network = made
    check(graph, network.feed, network.parameters, {"v0": source}, [target])


def _plain(
    shape: tuple[int, ...], filters: int, kernel: tuple[int, ...], num_group: int = 1, **attrs: Any
) -> tuple[Graph, dict[str, Array]]:
    """A convolution without bias, of ``x`` by ``w``, and numbers for both."""
    attrs = {"kernel": kernel, "num_filter": filters, "num_group": num_group, "no_bias": True, **attrs}
    graph = Graph([node("convolution", var("x"), var("w"), **attrs)])
    depth = shape[1] // num_group
    weight = normal(filters, depth, *kernel, seed=1) / np.float32(math.sqrt(depth * math.prod(kernel)))
    return graph, {"x": normal(*shape), "w": weight}


@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "groups"),
    [
        ((1, 2, 50, 50), 8, (40, 40), 1),  # more pointers in a strip than a part's stack has room for
        ((1, 1, 100, 100), 8, (90, 90), 1),
        ((1, 3, 40, 40), 3, (30, 30), 3),
        ((2, 2, 9, 9, 9), 5, (9, 9, 9), 1),
        ((1, 2, 60), 3, (60,), 1),
    ],
)
def test_kernels_of_many_taps(shape: tuple[int, ...], filters: int, kernel: tuple[int, ...], groups: int) -> None:
    graph, feed = _plain(shape, filters, kernel, num_group=groups)
    assert "matmul_loop" in steps(check(graph, feed, ["w"]))


def test_more_taps_than_there_are_pointers_go_to_numpy() -> None:
    graph, feed = _plain((1, 1, 9000), 2, (8200,))
    assert steps(check(graph, feed, ["w"])) == ["host"]


def test_every_remainder_of_channels_and_filters() -> None:
    for number in (*range(1, 20), 31, 32, 33, 63, 65):
        graph, feed = _plain((1, number, 3, 5), number, (1, 1))
        check(graph, feed, ["w"])


@pytest.mark.parametrize("width", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_strips_of_every_width(width: int, stride: int) -> None:
    graph, feed = _plain((2, 9, 4, width), 9, (3, 3), num_group=9, pad=(1, 1), stride=(stride, stride))
    assert "depthwise_loop" in steps(check(graph, feed, ["w"]))


def test_depthwise_with_a_multiplier_is_a_grouped_convolution() -> None:
    graph, feed = _plain((1, 5, 6, 6), 10, (3, 3), num_group=5)
    assert "matmul_loop" in steps(check(graph, feed, ["w"]))


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 13])
@pytest.mark.parametrize("pad", [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("scheme", [F4X3, F2X3], ids=["f4x3", "f2x3"])
def test_winograd_gives_what_the_direct_way_gives(
    size: int, pad: tuple[int, int], scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network()
    images, channels, filters = 2, 33, 35
    data, weight = network.new(images, channels, size, size + 1), network.new(filters, channels, 3, 3, constant=True)
    made = node("convolution", data, weight, kernel=(3, 3), pad=pad, num_filter=filters, no_bias=True)
    shape = (images, filters, size - 2 + 2 * pad[0], size - 1 + 2 * pad[1])
    for kind in ("batch_norm", "residual", "relu"):
        made = add_tail(network, made, shape, kind, kind)
    graph = network.graph([made], fused=True)
    monkeypatch.setattr(ESTIMATE, Preference(Winograd(scheme)))
    assert "winograd_loop" in steps(check(graph, network.feed, network.parameters))
    monkeypatch.undo()
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    assert "matmul_loop" in steps(check(graph, network.feed, network.parameters))


@pytest.mark.parametrize(("channels", "bound"), [(8, 1e-5), (64, 2e-5), (512, 5e-5)])
def test_winograds_error_is_bounded(channels: int, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ESTIMATE, Preference(Winograd(F4X3)))
    graph, feed = _plain((1, channels, 13, 13), 17, (3, 3), pad=(1, 1))
    assert "winograd_loop" in steps(check(graph, feed, ["w"], tolerance=bound))


def test_winograd_is_chosen_for_large_images_and_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, feed = _plain((1, 64, 40, 40), 64, (3, 3), pad=(1, 1))
    assert "winograd_loop" in steps(compiled(graph, feed, ["w"]))
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    assert "winograd_loop" not in steps(compiled(graph, feed, ["w"]))


def test_nan_comes_through() -> None:
    for kernel, groups in (((3, 3), 1), ((3, 3), 8), ((1, 1), 1)):
        graph, feed = _plain((1, 8, 9, 9), 8, kernel, num_group=groups)
        feed["x"][0, 3, 4, 4] = np.nan
        (actual,) = run(compiled(graph, feed, ["w"]), [feed["x"]])
        assert np.isnan(actual).any()
        assert not np.isnan(actual).all()


@pytest.mark.parametrize("pad", [(0, 0), (1, 2)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_zero_padding_in_front_is_absorbed(pad: tuple[int, int], groups: int, layout: str) -> None:
    padded = node("pad", var("x"), pad_width=((0, 0), (0, 0), (1, 2), (3, 0)), constant_values=0.0)
    attrs: dict[str, Any] = {"kernel": (3, 3), "num_filter": 4, "num_group": groups, "stride": (2, 1)}
    graph = Graph([node("convolution", padded, var("w"), pad=pad, no_bias=True, **attrs)])
    feed = {"x": normal(2, 12, 6, 5), "w": normal(4, 12 // groups, 3, 3)}
    made = steps(check(graph, feed, ["w"], {"x": layout}, [CHANNELS_LAST]))
    assert made.count("copy_loop") == (layout == PLAIN), "nothing but the reorder of the input is copied"


@pytest.mark.parametrize(
    ("width", "fill"), [(((0, 0), (0, 0), (1, 1), (1, 1)), 2.0), (((0, 0), (1, 0), (0, 0), (0, 0)), 0.0)]
)
def test_padding_that_a_convolution_cannot_do_is_written(width: tuple[tuple[int, int], ...], fill: float) -> None:
    padded = node("pad", var("x"), pad_width=width, constant_values=fill)
    channels = 3 + sum(width[1])
    graph = Graph([node("convolution", padded, var("w"), kernel=(3, 3), num_filter=4, no_bias=True)])
    check(graph, {"x": normal(2, 3, 6, 5), "w": normal(4, channels, 3, 3)}, ["w"])


@pytest.mark.parametrize("constant", [[], ["b"]])
def test_weights_that_are_computed_go_to_numpy(constant: list[str]) -> None:
    graph = Graph([node("convolution", var("x"), var("w"), var("b"), kernel=(3, 3), num_filter=4)])
    feed = {"x": normal(1, 3, 5, 5), "w": normal(4, 3, 3, 3), "b": normal(4)}
    assert steps(check(graph, feed, constant)) == ["host"]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_dtypes_go_to_numpy(dtype: str) -> None:
    graph, feed = _plain((1, 3, 5, 5), 4, (3, 3))
    wide = {k: v.astype(dtype) for k, v in feed.items()}
    program = compiled(graph, wide, ["w"])
    assert steps(program) == ["host"]
    assert run(program, [wide["x"]])[0].dtype == dtype


def test_a_tail_without_a_kernel_is_done_node_by_node() -> None:
    x, w = inner(2)
    made = node("relu", node("convolution", x, w, kernel=(1, 1), num_filter=4, no_bias=True))
    made = node("add_scalar", node("unwrap", made), scalar=1.0)
    graph = fuse("fused", [var("x"), var("w")], [made])
    made_steps = steps(check(graph, {"x": normal(1, 3, 4, 4), "w": normal(4, 3, 1, 1)}, ["w"]))
    assert made_steps.count("matmul_loop") == 1
    assert made_steps.count("host") == 1


def test_the_anchor_may_be_an_output_beside_the_tail() -> None:
    x, w = inner(2)
    anchor = node("convolution", x, w, kernel=(1, 1), num_filter=4, no_bias=True)
    feed = {"x": normal(1, 4, 3, 3), "w": normal(4, 4, 1, 1)}
    for outputs in ([anchor, node("relu", anchor)], [node("relu", anchor), anchor]):
        check(fuse("fused", [var("x"), var("w")], outputs), feed, ["w"])


def test_the_same_constant_is_kept_once() -> None:
    x, w = var("x"), var("w")
    first = node("convolution", x, w, kernel=(1, 1), num_filter=8, no_bias=True, name="a")
    second = node("convolution", first, w, kernel=(1, 1), num_filter=8, no_bias=True, name="b")
    program = check(Graph([second]), {"x": normal(1, 8, 4, 4), "w": normal(8, 8, 1, 1)}, ["w"])
    # Pixel table and zeros are shared; the weights are packed for each layer.
    assert len(program.constants) == 4
