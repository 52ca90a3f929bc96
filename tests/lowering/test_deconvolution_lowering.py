"""Transposed convolutions of every geometry, with and without a tail, against the references in float64 and torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tails import TAILS, Network, add_tail
from small_graphs import Array, assert_close, check, compiled, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.plan.program import NativeStep, Program
from minidnn_kernels.transposed import TRANSPOSED_ARGUMENTS

var = make_variable
layouts = st.sampled_from([PLAIN, CHANNELS_LAST])
TORCH = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _output(spatial: tuple[int, ...], g: dict[str, Any]) -> tuple[int, ...]:
    numbers = zip(spatial, *(g[name] for name in ("kernel", "stride", "dilate", "pad", "adj")), strict=True)
    return tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p + a for n, k, s, d, p, a in numbers)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A spatial size and attributes that leave some output of it."""
    rank = draw(st.integers(1, 3))
    largest = 5 if rank < 3 else 3

    def several(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    spatial = several(1, 9 if rank < 3 else 4)
    g: dict[str, Any] = {"kernel": several(1, largest), "stride": several(1, 4), "dilate": several(1, 3)}
    g["adj"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(g["stride"], g["dilate"], strict=True))
    whole = _output(spatial, {**g, "pad": (0,) * rank})
    g["pad"] = tuple(draw(st.integers(0, min(4, (size - 1) // 2))) for size in whole)
    return spatial, g


@st.composite
def channels(draw: st.DrawFn) -> tuple[int, int, int]:
    """Groups, and input and output channels of each."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 9, 35]))
    if draw(st.booleans()) and groups > 1:
        return groups, 1, 1
    return groups, draw(st.sampled_from([1, 2, 3, 8, 17])), draw(st.sampled_from([1, 2, 5, 16, 33]))


@settings(deadline=None, derandomize=True, max_examples=120)
@given(geometries(), channels(), st.integers(1, 3), st.booleans())
def test_any_deconvolution_gives_what_torch_gives(
    geometry: tuple[tuple[int, ...], dict[str, Any]],
    channels: tuple[int, int, int],
    images: int,
    bias: bool,
) -> None:
    (spatial, g), (groups, depth, filters) = geometry, channels
    weight = normal(groups * depth, filters, *g["kernel"], seed=1)
    feed = {"x": normal(images, groups * depth, *spatial), "w": weight}
    if bias:
        feed["b"] = normal(groups * filters, seed=2)
    attrs = {"num_filter": groups * filters, "num_group": groups, "no_bias": not bias, **g}
    program = compiled(Graph([node("deconvolution", *map(var, feed), **attrs)]), feed, ["w", "b"][: 1 + bias])
    assert "host" not in steps(program)
    (actual,) = run(program, [feed["x"]])
    tensors = [torch.from_numpy(a).double() for a in feed.values()]
    given_to_torch = {"stride": g["stride"], "padding": g["pad"], "output_padding": g["adj"], "dilation": g["dilate"]}
    expected = TORCH[len(spatial)](*tensors, groups=groups, **given_to_torch).numpy()
    assert actual.shape == expected.shape
    assert_close(actual, expected, 1e-5)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    geometries(), channels(), st.integers(1, 2), st.lists(st.sampled_from(TAILS), max_size=3), st.booleans(), layouts
)
def test_any_deconvolution_with_any_tail(
    geometry: tuple[tuple[int, ...], dict[str, Any]],
    channels: tuple[int, int, int],
    images: int,
    tails: list[str],
    fused: bool,
    layout: str,
) -> None:
    (spatial, g), (groups, depth, filters) = geometry, channels
    network = Network()
    data = network.new(images, groups * depth, *spatial)
    weight = network.new(groups * depth, filters, *g["kernel"], constant=True)
    made = node("deconvolution", data, weight, num_filter=groups * filters, num_group=groups, **g)
    shape = (images, groups * filters, *_output(spatial, g))
    for i, kind in enumerate(tails):
        made = add_tail(network, made, shape, kind, f"{kind}{i}")
    check(network.graph([made], fused), network.feed, network.parameters, {"v0": layout}, [layout])


def _plain(
    shape: tuple[int, ...], filters: int, kernel: tuple[int, ...], num_group: int = 1, **attrs: Any
) -> tuple[Graph, dict[str, Array]]:
    """A transposed convolution without bias, of ``x`` by ``w``, and numbers for both."""
    attrs = {"kernel": kernel, "num_filter": filters, "num_group": num_group, **attrs}
    graph = Graph([node("deconvolution", var("x"), var("w"), **attrs)])
    weight = normal(shape[1], filters // num_group, *kernel, seed=1)
    return graph, {"x": normal(*shape), "w": weight / np.float32(math.sqrt(shape[1] // num_group))}


def _arguments(program: Program) -> tuple[Any, ...]:
    """Of the one step of phases."""
    (step,) = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "transposed_loop"]
    return step.arguments


def test_a_whole_tail_is_one_step() -> None:
    network = Network()
    data, weight = network.new(2, 20, 7, 6), network.new(20, 19, 4, 4, constant=True)
    made = node("deconvolution", data, weight, kernel=(4, 4), stride=(2, 2), pad=(1, 1), num_filter=19)
    for kind in ("batch_norm", "residual", "relu"):
        made = add_tail(network, made, (2, 19, 14, 12), kind, kind)
    layouts = {"v0": CHANNELS_LAST, "v6": CHANNELS_LAST}
    program = check(network.graph([made], fused=True), network.feed, network.parameters, layouts, [CHANNELS_LAST])
    assert steps(program) == ["transposed_loop"]


def test_every_remainder_of_channels_and_filters() -> None:
    for number in (*range(1, 20), 31, 32, 33, 63, 65):
        for groups in (1, number):
            graph, feed = _plain((1, number, 3, 5), number, (3, 2), groups, stride=(2, 2))
            assert "transposed_loop" in steps(check(graph, feed, ["w"]))


@pytest.mark.parametrize("size", range(1, 14))
@pytest.mark.parametrize("groups", [1, 9])
def test_rows_of_every_length(size: int, groups: int) -> None:
    graph, feed = _plain((2, 9, 3, size), 9, (3, 4), groups, stride=(2, 3), pad=(1, 0))
    assert "transposed_loop" in steps(check(graph, feed, ["w"]))


@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "stride", "blocked"),
    [
        ((1, 40, 60, 60), 24, (4, 4), (2, 2), {"blocks"}),  # blocks of pixels
        ((1, 128, 5, 5), 160, (4, 4), (2, 2), {"phase_blocks"}),  # each part reads the weights of some phases
        ((1, 256, 9, 9), 300, (3, 1), (1, 2), {"phase_blocks", "panel_blocks"}),
        ((3, 48, 20, 20), 48, (2, 2), (2, 2), set()),
        ((1, 2, 4, 4), 3, (40, 40), (20, 20), set()),
    ],
)
def test_work_in_parts(
    shape: tuple[int, ...], filters: int, kernel: tuple[int, ...], stride: tuple[int, ...], blocked: set[str]
) -> None:
    graph, feed = _plain(shape, filters, kernel, stride=stride)
    arguments = _arguments(check(graph, feed, ["w"]))
    counts = {
        name: arguments[TRANSPOSED_ARGUMENTS.position(name)] for name in ("blocks", "phase_blocks", "panel_blocks")
    }
    assert {name for name, count in counts.items() if count > 1} >= blocked


@pytest.mark.parametrize(
    ("shape", "groups", "pad", "loop"),
    [
        ((1, 64, 40, 40), 1, 1, "winograd_loop"),
        ((1, 12, 9, 9), 1, 0, "matmul_loop"),
        ((1, 3, 9, 9), 1, 4, "matmul_loop"),  # more padding than the kernel reaches: the window begins inside
        ((2, 12, 9, 9), 12, 4, "depthwise_loop"),
        ((2, 12, 9, 9), 4, 2, "matmul_loop"),
    ],
)
def test_stride_1_is_a_convolution(shape: tuple[int, ...], groups: int, pad: int, loop: str) -> None:
    graph, feed = _plain(shape, shape[1], (3, 3), groups, pad=(pad, pad))
    made = steps(check(graph, feed, ["w"]))
    assert loop in made
    assert not {"host", "transposed_loop"} & set(made)


@pytest.mark.parametrize("kernel", [(4,), (3, 4), (2, 4, 3)])
def test_a_single_input_is_multiplied_by_each_tap_once(kernel: tuple[int, ...]) -> None:
    graph, feed = _plain((2, 10, *(1,) * len(kernel)), 17, kernel)
    program = check(graph, feed, ["w"])
    (step,) = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "transposed_loop"]
    assert step.cost.operations == 2 * 2 * 10 * 17 * math.prod(kernel)


def test_only_the_taps_of_a_phase_are_multiplied() -> None:
    graph, feed = _plain((1, 8, 10, 12), 16, (4, 6), stride=(2, 3))
    program = check(graph, feed, ["w"])
    (step,) = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "transposed_loop"]
    # Every phase has 2 x 2 taps.
    assert step.cost.operations == 2 * 4 * (2 * 9 + 4) * (3 * 11 + 6) * 8 * 16


def test_outputs_without_a_tap_are_the_tail_of_nothing() -> None:
    network = Network()
    data, weight = network.new(1, 5, 3, 3), network.new(5, 7, 1, 2, constant=True)
    made = node("deconvolution", data, weight, kernel=(1, 2), stride=(3, 4), num_filter=7)
    made = add_tail(network, made, (1, 7, 7, 10), "batch_norm", "norm")
    program = check(network.graph([made], fused=True), network.feed, network.parameters)
    assert steps(program).count("transposed_loop") == 1


@pytest.mark.parametrize("target", [(9, 10), (7, 4), (1, 11)])
def test_target_shape(target: tuple[int, int]) -> None:
    graph, feed = _plain((1, 3, 4, 5), 4, (3, 3), stride=(2, 2), target_shape=target)
    program = check(graph, feed, ["w"])
    assert "transposed_loop" in steps(program)


def test_a_phase_of_more_taps_than_there_are_pointers_goes_to_numpy() -> None:
    graph, feed = _plain((1, 1, 3), 2, (2 * 8193,), stride=(2,))
    assert steps(check(graph, feed, ["w"])) == ["host"]


def test_a_stride_of_too_many_phases_goes_to_numpy() -> None:
    graph, feed = _plain((1, 2, 3), 2, (3,), stride=(1025,))
    assert steps(check(graph, feed, ["w"])) == ["host"]


def test_geometry_takes_little_memory_whatever_the_image() -> None:
    graph, feed = _plain((1, 1, 3000, 3000), 1, (6, 6), stride=(3, 3))
    assert sum(constant.nbytes for constant in compiled(graph, feed, ["w"]).constants) < 10_000


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pad", [(0, 0), (1, 2)])
@pytest.mark.parametrize("groups", [1, 12])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_zero_padding_in_front_is_absorbed(stride: int, pad: tuple[int, int], groups: int, layout: str) -> None:
    padded = node("pad", var("x"), pad_width=((0, 0), (0, 0), (1, 2), (3, 0)), constant_values=0.0)
    attrs: dict[str, Any] = {"kernel": (3, 3), "num_filter": 12, "num_group": groups, "stride": (stride, 2)}
    graph = Graph([node("deconvolution", padded, var("w"), pad=pad, **attrs)])
    feed = {"x": normal(2, 12, 6, 5), "w": normal(12, 12 // groups, 3, 3)}
    made = steps(check(graph, feed, ["w"], {"x": layout}, [CHANNELS_LAST]))
    assert made.count("copy_loop") == (layout == PLAIN), "nothing but the reorder of the input is copied"


def test_padding_that_is_not_zero_is_written() -> None:
    padded = node("pad", var("x"), pad_width=((0, 0), (0, 0), (1, 1), (2, 1)), constant_values=2.0)
    graph = Graph([node("deconvolution", padded, var("w"), kernel=(3, 3), stride=(2, 2), num_filter=4)])
    check(graph, {"x": normal(2, 3, 6, 5), "w": normal(3, 4, 3, 3)}, ["w"])


def test_nan_reaches_the_outputs_that_see_it_and_no_others() -> None:
    for groups in (1, 8):
        graph, feed = _plain((1, 8, 5, 5), 8, (3, 3), groups, stride=(2, 2))
        feed["x"][0, 3, 2, 4] = np.nan
        (actual,) = run(compiled(graph, feed, ["w"]), [feed["x"]])
        seen = np.zeros((8, 11, 11), bool)
        seen[3 if groups > 1 else slice(None), 4:7, 8:11] = True
        np.testing.assert_array_equal(np.isnan(actual[0]), seen)


@pytest.mark.parametrize("constant", [[], ["b"]])
def test_weights_that_are_computed_go_to_numpy(constant: list[str]) -> None:
    made = node("deconvolution", var("x"), var("w"), var("b"), kernel=(3, 3), num_filter=4, no_bias=False)
    feed = {"x": normal(1, 3, 5, 5), "w": normal(3, 4, 3, 3), "b": normal(4)}
    assert steps(check(Graph([made]), feed, constant)) == ["host"]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_dtypes_go_to_numpy(dtype: str) -> None:
    graph, feed = _plain((1, 3, 5, 5), 4, (3, 3), stride=(2, 2))
    wide = {k: v.astype(dtype) for k, v in feed.items()}
    program = compiled(graph, wide, ["w"])
    assert steps(program) == ["host"]
    assert run(program, [wide["x"]])[0].dtype == dtype
