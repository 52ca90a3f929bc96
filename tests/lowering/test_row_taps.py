"""Few channels: a row of the kernel as one tap gives what its taps one by one give."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from int8_layers import HOST_ISAS, assert_exact, integers
from small_graphs import Array, check, node, normal, run

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.plan.program import NativeStep, Program
from minidnn_kernels.matmul import MATMUL_ARGUMENTS

var = make_variable

# Kernel, stride, pad, dilation, spatial size.
Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]
GEOMETRIES: list[Geometry] = [
    ((3,), (1,), (1,), (1,), (9,)),
    ((7,), (2,), (3,), (1,), (20,)),
    ((4,), (3,), (0,), (1,), (13,)),
    ((5,), (1,), (4,), (1,), (3,)),
    ((3, 3), (1, 1), (1, 1), (1, 1), (6, 7)),
    ((7, 7), (2, 2), (3, 3), (1, 1), (17, 18)),
    ((3, 2), (2, 3), (2, 1), (2, 1), (9, 8)),
    ((2, 5), (1, 4), (0, 2), (1, 1), (5, 12)),
    ((1, 3), (1, 2), (0, 0), (1, 1), (4, 10)),
    ((2, 2, 3), (1, 2, 2), (1, 0, 2), (1, 1, 1), (4, 5, 6)),
    ((3, 1, 2), (1, 1, 1), (1, 1, 1), (1, 2, 1), (3, 3, 4)),
]


def _convolution(op: str, geometry: Geometry, filters: int, groups: int = 1) -> Graph:
    kernel, stride, pad, dilate, _ = geometry
    attrs: dict[str, Any] = {"kernel": kernel, "stride": stride, "pad": pad, "dilate": dilate}
    return Graph([node(op, *map(var, "xwb"), name="conv", num_filter=filters, num_group=groups, **attrs)])


def _taps(program: Program) -> int:
    """Of the one matmul in the program."""
    (step,) = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "matmul_loop"]
    taps = step.arguments[MATMUL_ARGUMENTS.position("taps")]
    assert isinstance(taps, int)
    return taps


def _check_float(geometry: Geometry, channels: int, filters: int, groups: int = 1, layout: str = PLAIN) -> int:
    kernel, size = geometry[0], geometry[-1]
    weight = normal(filters, channels // groups, *kernel, seed=1) / np.float32(math.sqrt(channels * math.prod(kernel)))
    feed = {"x": normal(2, channels, *size), "w": weight, "b": normal(filters, seed=2)}
    graph = _convolution("convolution", geometry, filters, groups)
    return _taps(check(graph, feed, ["w", "b"], {"x": layout}, [layout]))


def _check_integers(isa: str, geometry: Geometry, channels: int, signed: bool, groups: int = 1) -> int:
    kernel, size = geometry[0], geometry[-1]
    filters = 6 * groups
    parameters: dict[str, Array] = {
        "w": integers((filters, channels // groups, *kernel), True),
        "b": np.arange(filters, dtype=np.int32) * 1001,
    }
    graph = _convolution("quantized_convolution", geometry, filters, groups)
    return _taps(assert_exact(isa, graph, parameters, {"x": integers((2, channels, *size), signed)}))


@pytest.fixture(autouse=True)
def _directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_float32(geometry: Geometry) -> None:
    for channels, layout in itertools.product(range(1, 10), (PLAIN, CHANNELS_LAST)):
        taps = math.prod(geometry[0]) if channels > 8 else math.prod(geometry[0][:-1])
        assert _check_float(geometry, channels, 5 + 7 * channels, layout=layout) == taps


@pytest.mark.parametrize("isa", HOST_ISAS)
@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
def test_integers(isa: str, signed: bool) -> None:
    for geometry, channels in itertools.product(GEOMETRIES, range(1, 10)):
        taps = math.prod(geometry[0]) if channels > 8 else math.prod(geometry[0][:-1])
        assert _check_integers(isa, geometry, channels, signed) == taps


# A dilated row is not contiguous, one of a single tap needs no joining, a group's channels lie apart.
SEPARATE: list[tuple[Geometry, int]] = [
    (((3,), (1,), (1,), (2,), (9,)), 1),
    (((3, 3), (1, 1), (1, 1), (1, 2), (8, 9)), 1),
    (((3, 1), (1, 1), (1, 0), (1, 1), (8, 9)), 1),
    (((1, 1), (1, 1), (0, 0), (1, 1), (8, 9)), 1),
    (((3, 3), (1, 1), (1, 1), (1, 1), (8, 9)), 2),
]


@pytest.mark.parametrize(("geometry", "groups"), SEPARATE, ids=str)
def test_rows_that_are_not_joined(geometry: Geometry, groups: int) -> None:
    assert _check_float(geometry, 4, 6, groups) == math.prod(geometry[0])
    for isa, signed in itertools.product(HOST_ISAS, (False, True)):
        assert _check_integers(isa, geometry, 4, signed, groups) == math.prod(geometry[0])


@pytest.mark.parametrize("fill", [0.0, 2.0])
@pytest.mark.parametrize("low", [(1, 3), (0, 2), (2, 0)])
def test_padding_in_front(low: tuple[int, int], fill: float) -> None:
    width = ((0, 0), (0, 0), (low[0], 1), (low[1], 2))
    padded = node("pad", var("x"), pad_width=width, constant_values=fill)
    graph = Graph([node("convolution", padded, var("w"), kernel=(3, 3), num_filter=5, pad=(1, 1), no_bias=True)])
    feed = {"x": normal(2, 3, 6, 5), "w": normal(5, 3, 3, 3)}
    for layout in (PLAIN, CHANNELS_LAST):
        assert _taps(check(graph, feed, ["w"], {"x": layout})) == 3


def test_nan_reaches_the_windows_that_see_it_and_no_others() -> None:
    data = normal(1, 3, 8, 8)
    data[0, 1, 4, 7] = np.nan
    graph = _convolution("convolution", ((3, 3), (1, 1), (1, 1), (1, 1), (8, 8)), 5)
    weight = normal(5, 3, 3, 3)
    program = check(graph, {"x": normal(1, 3, 8, 8), "w": weight, "b": normal(5)}, ["w", "b"])
    (actual,) = run(program, [data])
    seen = np.zeros((8, 8), bool)
    seen[3:6, 6:8] = True
    np.testing.assert_array_equal(np.isnan(actual[0]), np.broadcast_to(seen, (5, 8, 8)))
