"""The pooling microkernels alone: maxima with NaN, scaled sums, any number of pixels and channels."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn_kernels.pooling import PoolSpec


def _pool(machine: Machine, spec: PoolSpec, pixels: Array, factor: float = 1.0) -> Array:
    """The pool of pixels (count, channels), given in any order of addresses or at equal distances."""
    count, channels = pixels.shape
    target = Watched((channels,), fill=-77)
    extra = words(0, pixels.strides[0])
    extra[:1].view(np.float32)[0] = factor
    if spec.strided:
        where = pixels
    else:
        addresses = address(pixels) + np.arange(count)[::-1] * pixels.strides[0]
        where = np.ascontiguousarray(addresses, np.int64)
    machine.call(spec, target.address, where, count, channels, extra)
    target.assert_untouched_around()
    return target.array


def _pixels(count: int, channels: int) -> Array:
    return np.random.default_rng(count * 100 + channels).standard_normal((count, channels)).astype(np.float32)


@pytest.mark.parametrize("strided", [False, True])
def test_every_number_of_channels(machine: Machine, strided: bool) -> None:
    for channels in range(1, 71):
        pixels = _pixels(5, channels)
        np.testing.assert_array_equal(_pool(machine, PoolSpec("max", strided), pixels), pixels.max(0))
        actual = _pool(machine, PoolSpec("sum", strided), pixels, 0.2)
        np.testing.assert_allclose(actual, pixels.mean(0, dtype=np.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("count", [1, 2, 9, 50])
def test_any_number_of_pixels(machine: Machine, strided: bool, count: int) -> None:
    pixels = _pixels(count, 37)
    np.testing.assert_array_equal(_pool(machine, PoolSpec("max", strided), pixels), pixels.max(0))
    actual = _pool(machine, PoolSpec("sum", strided), pixels, 1.0)
    np.testing.assert_allclose(actual, pixels.sum(0, dtype=np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strided", [False, True])
def test_special_values(machine: Machine, strided: bool) -> None:
    pixels = np.array(
        [
            [np.nan, 1.0, -np.inf, np.inf, -np.inf, -0.0, np.inf],
            [2.0, np.nan, -np.inf, 1.0, -3.0, 0.0, -np.inf],
        ],
        np.float32,
    )
    highest = _pool(machine, PoolSpec("max", strided), pixels)
    np.testing.assert_array_equal(highest, [np.nan, np.nan, -np.inf, np.inf, -3.0, 0.0, np.inf])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(_pool(machine, PoolSpec("sum", strided), pixels), pixels.sum(0))


@pytest.mark.parametrize("strided", [False, True])
def test_long_sums_lose_no_more_than_short_ones(machine: Machine, strided: bool) -> None:
    for count in (33, 1000, 8000):
        pixels = np.full((count, 5), 0.1, np.float32)
        actual = _pool(machine, PoolSpec("sum", strided), pixels, 1.0)
        np.testing.assert_allclose(actual, count * np.float64(np.float32(0.1)), rtol=2e-6)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so_in_long_sums(machine: Machine, value: float) -> None:
    for position in (0, 40, 99):
        pixels = np.ones((100, 3), np.float32)
        pixels[position, 1] = value
        np.testing.assert_array_equal(_pool(machine, PoolSpec("sum"), pixels), [100, value, 100])


def test_no_pixels_give_the_neutral_element(machine: Machine) -> None:
    pixels = np.zeros((0, 3), np.float32)
    np.testing.assert_array_equal(_pool(machine, PoolSpec("max"), pixels), [-np.inf] * 3)
    np.testing.assert_array_equal(_pool(machine, PoolSpec("sum"), pixels), [0.0] * 3)


def test_names_speak() -> None:
    assert PoolSpec("max").name == "f32_pool_max"
    assert PoolSpec("sum", strided=True).name == "f32_global_pool_sum"
