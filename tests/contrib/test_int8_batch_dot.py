"""int8 ``batch_dot``: its kernel is float32's, and exact all the same."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import npx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import ShapeError
from minidnn.gluon import HybridBlock, nn


class Product(HybridBlock):
    def __init__(self, transpose_a: bool, transpose_b: bool) -> None:
        super().__init__()
        self._how = {"transpose_a": transpose_a, "transpose_b": transpose_b}

    def forward(self, a: Any, b: Any) -> Any:
        return npx.batch_dot(npx.relu(a), b, **self._how) * 0.5


def _factors(depth: int, transpose_a: bool, transpose_b: bool) -> list[Any]:
    random = np.random.default_rng(depth)
    a, b = random.standard_normal((3, 5, depth), np.float32), random.standard_normal((3, depth, 7), np.float32)
    # Numbers at the ends of their ranges, all of one sign, make the largest sums.
    a[0], b[0] = 4.0, -4.0
    return [mx.np.array(np.swapaxes(x, 1, 2) if t else x) for x, t in ((a, transpose_a), (b, transpose_b))]


def _run(factors: list[Any], *transposed: bool) -> np.ndarray[Any, Any]:
    net = Product(*transposed)
    net.initialize()
    quantized = quantize_net(net, calib_mode="naive", calib_data=[tuple(factors)])
    result: np.ndarray[Any, Any] = quantized(*factors).asnumpy()
    return result


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("depth", [1, 9, 514, 515])
def test_it_gives_what_integers_give(
    depth: int, transposed: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = _factors(depth, *transposed)
    actual = _run(factors, *transposed)
    monkeypatch.setattr(sys.modules["minidnn.lowering.lower"], "anchor_rule", lambda name: lambda *_: None)
    # Now the operator's own reference, with int32 sums.
    np.testing.assert_array_equal(actual, _run(factors, *transposed))


def test_it_is_near_float32() -> None:
    factors = _factors(64, False, True)
    net = Product(False, True)
    expected = net(*factors).asnumpy()
    error = _run(factors, False, True) - expected
    assert np.square(error).mean() < 1e-3 * np.square(expected).mean()


def test_sums_beyond_what_float32_holds_take_the_other_way() -> None:
    """514 products of 255 by 128 stay below 2^24."""
    for depth, kernel in ((514, True), (515, False)):
        net = Product(False, False)
        net.initialize()
        factors = _factors(depth, False, False)
        quantized = quantize_net(net, calib_mode="naive", calib_data=[tuple(factors)])
        quantized(*factors)
        with mx.profiler.profile() as profile:
            quantized(*factors).wait_to_read()
        assert any("igemm" in step.kernel for step in profile.steps()) == kernel


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("depth", [65_793, 65_794, 140_000])
def test_sums_that_int32_would_not_hold_stay_in_float32(depth: int, transposed: tuple[bool, bool], mode: str) -> None:
    factors = [mx.np.ones((1, depth, 2) if transposed[0] else (1, 2, depth))]
    factors += [mx.np.ones((1, 3, depth) if transposed[1] else (1, depth, 3))]
    quantized = quantize_net(Product(*transposed), calib_mode=mode, calib_data=[tuple(factors)])
    np.testing.assert_allclose(quantized(*factors).asnumpy(), depth / 2, rtol=0.01)
    assert any("int8" in str(n.attrs) for n in quantized.export(None)[0].operations()) == (depth == 65_793)


def test_a_network_that_meets_more_products_later_refuses_them() -> None:
    product = Product(False, False)
    quantized = quantize_net(product, calib_mode="naive", calib_data=[(mx.np.ones((1, 2, 9)), mx.np.ones((1, 9, 3)))])
    with pytest.raises(ShapeError, match="sums of 65794 products of uint8 by int8 may exceed int32"):
        quantized(mx.np.ones((1, 2, 65_794)), mx.np.ones((1, 65_794, 3)))


@pytest.mark.parametrize("depth", [70_000, 180_000, 300_000, 4_300_000])
def test_dense_layers_of_any_depth_are_near_float32(depth: int) -> None:
    layer = nn.Dense(2, in_units=depth)
    layer.initialize()
    layer.weight.set_data(mx.np.ones((2, depth)))
    x = mx.np.ones((3, depth))
    for mode in ("none", "naive"):
        got = quantize_net(layer, calib_mode=mode, calib_data=[x])(x).asnumpy()
        np.testing.assert_allclose(got, depth, rtol=0.01)
