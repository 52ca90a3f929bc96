"""Int8 convolutions by Winograd's algorithm: bit for bit what the direct sums are, or not by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forced_algorithms import ESTIMATE, Preference
from int8_layers import HOST_ISAS, Layer, assert_exact, integers
from small_graphs import Array, steps

from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.lowering.winograd import Winograd
from minidnn_kernels.isa import get_isa
from minidnn_kernels.winograd import F2X3_INT, F4X3_INT, Scheme

ISAS = [name for name in HOST_ISAS if get_isa(name).arch == "x86_64"]
every_isa = pytest.mark.parametrize("isa", ISAS)
every_scheme = pytest.mark.parametrize("scheme", [F4X3_INT, F2X3_INT], ids=["f4x3", "f2x3"])
signedness = pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])


def _force(monkeypatch: pytest.MonkeyPatch, *wanted: Scheme) -> Preference:
    """The first of these that fits is chosen."""
    preference = Preference(*map(Winograd, wanted))
    monkeypatch.setattr(ESTIMATE, preference)
    return preference


def _fitting(preference: Preference) -> list[Scheme]:
    return [algorithm.scheme for algorithm in preference.fitting if isinstance(algorithm, Winograd)]


def _channels(isa: str) -> int:
    """Not whole pairs of vectors, and an odd number."""
    return 2 * get_isa(isa).lanes + 3


@every_isa
@signedness
@every_scheme
def test_images_of_every_size(isa: str, signed: bool, scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, scheme)
    for size in range(3, 14):
        for number, pad in enumerate(((0, 0), (1, 1), (2, 0))):
            data = (1 + (size + number) % 3, _channels(isa), size, 3 + (5 * size + number) % 11)
            layer = Layer(data, 19, kernel=3, pad=pad, out="int32")
            graph, parameters, _ = layer.node()
            assert "winograd_loop" in steps(assert_exact(isa, graph, parameters, layer.feed(signed)))


@every_isa
@every_scheme
def test_every_remainder_of_channels_and_filters(isa: str, scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, scheme)
    lanes = get_isa(isa).lanes
    for more in range(lanes + 2):
        layer = Layer((1, 2 * lanes + more, 7, 6), 1 + 3 * more, kernel=3, pad=(1, 1), out="int32")
        graph, parameters, _ = layer.node()
        assert "winograd_loop" in steps(assert_exact(isa, graph, parameters, layer.feed(bool(more % 2))))


@every_isa
@signedness
@every_scheme
def test_tails(isa: str, signed: bool, scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, scheme)
    plain = Layer((2, _channels(isa), 9, 6), 2 * get_isa(isa).lanes + 5, kernel=3, pad=(1, 1))
    for residual in ("", "int8", "float32"):
        for out in ("int8", "uint8", "float32"):
            layer = replace(plain, residual=residual, out=out)
            graph, parameters, _ = layer.node()
            program = assert_exact(isa, graph, parameters, layer.feed(signed))
            assert [name for name in steps(program) if name != "copy_loop"] == ["winograd_loop"]


def _extreme(channels: int, data: int, weight: int, bias: int) -> tuple[Graph, dict[str, Array], dict[str, Array]]:
    """A convolution of nothing but one number by nothing but another, its parameters, its input."""
    attrs = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 6}
    graph = Graph([make_node("quantized_convolution", "sums", [make_variable(n) for n in "xwb"], attrs)[0]])
    dtype = np.uint8 if data >= 0 else np.int8
    parameters = {"w": np.full((6, channels, 3, 3), weight, np.int8), "b": np.full(6, bias, np.int32)}
    return graph, parameters, {"x": np.full((1, channels, 9, 9), data, dtype)}


@every_isa
@every_scheme
def test_extremes_of_data_and_weights(isa: str, scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, scheme)
    for data, weight in ((255, 127), (255, -128), (-128, -128), (-128, 127)):
        graph, parameters, feed = _extreme(100, data, weight, 77)
        assert "winograd_loop" in steps(assert_exact(isa, graph, parameters, feed))


@every_isa
def test_sums_that_do_not_fit_are_done_another_way(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preference = _force(monkeypatch, F4X3_INT, F2X3_INT)
    # Of 9 x 64 products of 255 by 127, the sum is below 2^24.2.
    for bias, wanted in (
        (0, (F4X3_INT, F2X3_INT)),
        (2**25 - 9 * 64 * 255 * 127 - 1, (F4X3_INT, F2X3_INT)),
        (2**25 - 9 * 64 * 255 * 127, (F2X3_INT,)),
        (-(2**25), (F2X3_INT,)),
        (2**29 - 9 * 64 * 255 * 127 - 1, (F2X3_INT,)),
        (2**29 - 9 * 64 * 255 * 127, ()),
        (-(2**31), ()),
    ):
        graph, parameters, feed = _extreme(64, 255, 127, bias)
        made = steps(assert_exact(isa, graph, parameters, feed))
        assert _fitting(preference) == list(wanted)
        preference.fitting.clear()
        assert ("winograd_loop" in made) == bool(wanted)
        assert ("matmul_loop" in made) == (not wanted)


@every_isa
def test_too_few_channels_and_other_geometries_are_done_directly(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    preference = _force(monkeypatch, F4X3_INT)
    lanes = get_isa(isa).lanes
    for layer in (
        Layer((1, 2 * lanes - 1, 9, 9), 16, kernel=3, out="int32"),
        Layer((1, 64, 9, 9), 16, kernel=3, stride=2, out="int32"),
        Layer((1, 64, 9, 9), 16, kernel=2, out="int32"),
        Layer((1, 64, 9, 9), 16, kernel=3, groups=2, out="int32"),
    ):
        graph, parameters, _ = layer.node()
        assert "winograd_loop" not in steps(assert_exact(isa, graph, parameters, layer.feed(False)))
    attrs = {"kernel": (3, 3), "dilate": (1, 2), "num_filter": 6}
    graph = Graph([make_node("quantized_convolution", "sums", [make_variable(n) for n in "xwb"], attrs)[0]])
    parameters = {"w": integers((6, 64, 3, 3), True), "b": np.zeros(6, np.int32)}
    assert "winograd_loop" not in steps(assert_exact(isa, graph, parameters, {"x": integers((1, 64, 9, 9), False)}))
    assert not _fitting(preference)


@every_isa
@signedness
def test_it_is_chosen_for_large_layers_and_can_be_switched_off(
    isa: str, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Layer((1, 64, 56, 56), 64, kernel=3, pad=(1, 1), residual="int8")
    graph, parameters, _ = layer.node()
    feed = layer.feed(signed)
    program = assert_exact(isa, graph, parameters, feed)
    assert "winograd_loop" in steps(program)
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    assert "winograd_loop" not in steps(assert_exact(isa, graph, parameters, feed))


@every_isa
def test_it_is_not_chosen_for_one_pixel(isa: str) -> None:
    layer = Layer((1, 256, 3, 3), 256, kernel=3)
    graph, parameters, _ = layer.node()
    assert "winograd_loop" not in steps(assert_exact(isa, graph, parameters, layer.feed(False)))
