"""Softmax, log-softmax, layer normalization and quantization of one row, of every length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn.ops.quantization import quantize_array, scale_of_range
from minidnn_kernels.element_type import ELEMENT_TYPES
from minidnn_kernels.rows import RowSpec


def _row(machine: Machine, operation: str, x: Array, number: float = 1.0, gamma: Array | None = None) -> Array:
    target = Watched(x.shape, fill=-77)
    beta = None if gamma is None else gamma[::-1].copy()
    extra = words(0, *(0 if a is None else address(a) for a in (gamma, beta)))
    extra[:1].view(np.float32)[0] = number
    machine.call(RowSpec(operation), address(x), target.address, x.size, extra, 0)
    target.assert_untouched_around()
    return target.array


def _softmax(x: Array) -> Array:
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max())
    shares: Array = powers / powers.sum()
    return shares


def _lengths(machine: Machine) -> list[int]:
    return [*range(1, 3 * machine.isa.lanes + 2), 100, 1001]


def test_softmax_of_every_length(machine: Machine) -> None:
    for count in _lengths(machine):
        x = (np.random.default_rng(count).standard_normal(count) * 5).astype(np.float32)
        np.testing.assert_allclose(_row(machine, "softmax", x), _softmax(x), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(_row(machine, "log_softmax", x), np.log(_softmax(x)), rtol=1e-6, atol=1e-6)


def test_layer_norm_of_every_length(machine: Machine) -> None:
    for count in _lengths(machine):
        rng = np.random.default_rng(count)
        x, gamma = (rng.standard_normal(count).astype(np.float32) for _ in range(2))
        actual = _row(machine, "layer_norm", x, 1e-5, gamma)
        wide = x.astype(np.float64)
        normal = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)
        np.testing.assert_allclose(actual, normal * gamma + gamma[::-1], rtol=1e-5, atol=1e-5)


def test_layer_norm_does_not_cancel_far_from_zero(machine: Machine) -> None:
    x = (np.random.default_rng(0).standard_normal(333) + 3000).astype(np.float32)
    actual = _row(machine, "layer_norm", x, 1e-5, np.ones(333, np.float32)) - 1
    wide = x.astype(np.float64)
    np.testing.assert_allclose(actual, (wide - wide.mean()) / wide.std(), atol=2e-3)


def _quantized(machine: Machine, x: Array, output: str) -> tuple[Array, np.float32]:
    target, scale = Watched(x.shape, ELEMENT_TYPES[output].dtype, fill=77), np.zeros(1, np.float32)
    machine.call(RowSpec("quantize", output), address(x), target.address, x.size, 0, address(scale))
    target.assert_untouched_around()
    return target.array, scale[0]


@pytest.mark.parametrize("output", ["s8", "u8"])
def test_quantization_of_every_length(machine: Machine, output: str) -> None:
    dtype = ELEMENT_TYPES[output].dtype.name
    for count in _lengths(machine):
        x = np.random.default_rng(count).standard_normal(count).astype(np.float32)
        made, scale = _quantized(machine, x, output)
        wanted = scale_of_range(x.min(), x.max(), dtype)
        assert scale == wanted
        np.testing.assert_array_equal(made, quantize_array(x, wanted, dtype))


@pytest.mark.parametrize("output", ["s8", "u8"])
def test_quantization_of_rows_without_a_range(machine: Machine, output: str) -> None:
    for number, wanted in ((0.0, 1.0), (1e-40, 1.0), (np.nan, np.nan), (np.inf, np.nan), (-np.inf, np.nan)):
        made, scale = _quantized(machine, np.array([0, number, 0], np.float32), output)
        np.testing.assert_equal(scale, np.float32(wanted))
        assert np.isnan(wanted) or not made.any()


def test_one_element(machine: Machine) -> None:
    x = np.array([-123.0], np.float32)
    assert _row(machine, "softmax", x) == 1
    assert _row(machine, "log_softmax", x) == 0
    assert _row(machine, "layer_norm", x, 1e-5, np.array([2.0], np.float32)) == 2


@pytest.mark.parametrize("size", [100.0, 1e4, 3e38])
def test_large_values_do_not_overflow(machine: Machine, size: float) -> None:
    x = np.array([size, 0, -size, size, 1, 2, 3, 4, 5], np.float32)
    np.testing.assert_allclose(_row(machine, "softmax", x), [0.5, 0, 0, 0.5, 0, 0, 0, 0, 0], atol=1e-7)


def test_minus_infinity_has_no_share(machine: Machine) -> None:
    for count in (2, 5, 8, 9, 17):
        x = np.zeros(count, np.float32)
        x[1:] = -np.inf
        np.testing.assert_array_equal(_row(machine, "softmax", x), [1, *[0] * (count - 1)])
        np.testing.assert_array_equal(_row(machine, "log_softmax", x), [0, *[-np.inf] * (count - 1)])


@pytest.mark.parametrize("x", [[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, -np.inf, -np.inf]])
@pytest.mark.parametrize("operation", ["softmax", "log_softmax"])
def test_rows_without_an_answer_are_nan_somewhere(machine: Machine, operation: str, x: list[float]) -> None:
    row = np.array(x, np.float32)
    with np.errstate(invalid="ignore"):
        expected = _softmax(row)
    assert np.isnan(expected).any()
    assert np.isnan(_row(machine, operation, row)).any()


def test_temperature_scales_before_the_maximum_is_taken(machine: Machine) -> None:
    x = np.array([1, 2, 4, 8, 16, 1, 2, 3, 4, 5, 6], np.float32)
    np.testing.assert_allclose(_row(machine, "softmax", x, 0.25), _softmax(x * 0.25), rtol=1e-6)
    # Divided by a negative temperature, the smallest element is the likeliest.
    np.testing.assert_allclose(_row(machine, "softmax", x, -1.0), _softmax(-x), rtol=1e-6, atol=1e-12)


def test_softmax_sums_to_one_and_keeps_the_order(machine: Machine) -> None:
    x = np.sort(np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 10)
    shares = _row(machine, "softmax", x)
    assert abs(shares.sum(dtype=np.float64) - 1) < 1e-6
    assert all(a <= b for a, b in pairwise(shares))
