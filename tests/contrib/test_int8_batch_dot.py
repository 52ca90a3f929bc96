"""int8 ``batch_dot``: its kernel is float32's, and exact all the same."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import npx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock


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
    rules = sys.modules["minidnn.lowering.lower"]._ANCHORS  # type: ignore[attr-defined]
    monkeypatch.setitem(rules, "quantized_batch_dot", lambda *_: None)
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
