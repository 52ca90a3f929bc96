"""Histograms and thresholds against NumPy and against a literal implementation of the published algorithm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidnn.contrib.quantization import (
    EntropyCollector,
    Histogram,
    MSECollector,
    NaiveCollector,
    PercentileCollector,
    kl_threshold,
)
from minidnn.contrib.quantization.entropy import find_spikes, kl_divergences, without_spikes

Array = np.ndarray[Any, Any]


# ---- KL: the algorithm as it was published, bin by bin ---------------------------------------------


def smooth(p: list[float], eps: float = 0.0001) -> list[float] | None:
    zeros = sum(v == 0 for v in p)
    nonzeros = len(p) - zeros
    if nonzeros == 0:
        return None
    take = eps * zeros / nonzeros
    if take >= 1:
        return None
    result = [eps if v == 0 else v - take for v in p]
    return None if min(result) <= 0 else result


def divergence_at(hist: list[int], reach: int, levels: int) -> float:
    middle = len(hist) // 2
    start, stop = middle - reach, middle + reach + 1
    inside = [float(v) for v in hist[start:stop]]
    p = list(inside)
    p[0] += sum(hist[:start])
    p[-1] += sum(hist[stop:])
    merged = len(inside) // levels
    q = [0.0] * len(inside)
    for j in range(levels):
        first = j * merged
        last = len(inside) if j == levels - 1 else first + merged
        filled = sum(v != 0 for v in p[first:last])
        for k in range(first, last):
            if p[k] != 0:
                q[k] = sum(inside[first:last]) / filled
    p_smooth, q_smooth = smooth(p), smooth(q)
    if p_smooth is None or q_smooth is None:
        return math.inf
    p_sum, q_sum = sum(p_smooth), sum(q_smooth)
    return sum(a / p_sum * math.log((a / p_sum) / (b / q_sum)) for a, b in zip(p_smooth, q_smooth, strict=True))


def literal_divergences(hist: list[int], levels: int) -> list[float]:
    return [divergence_at(hist, reach, levels) for reach in range(levels // 2, len(hist) // 2 + 1)]


def literal_threshold(hist: list[int], threshold: float, levels: int) -> float:
    found = literal_divergences(hist, levels)
    edges = np.linspace(-threshold, threshold, len(hist) + 1)
    reach = levels // 2 + int(np.argmin(found))
    return float(edges[len(hist) // 2 + reach + 1])


DISTRIBUTIONS = {
    "normal": lambda rng: rng.standard_normal(20_000),
    "laplace": lambda rng: rng.laplace(size=20_000),
    "relu": lambda rng: np.maximum(rng.standard_normal(20_000), 0),
    "outliers": lambda rng: np.concatenate([rng.standard_normal(20_000), [80.0, -75.0]]),
    "sparse": lambda rng: rng.choice([0.0, 1.0, 2.5], 500),
    "uniform": lambda rng: rng.uniform(-1, 1, 20_000),
    "one sided": lambda rng: rng.exponential(size=20_000),
}


@pytest.mark.parametrize("levels", [15, 31])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_kl_is_that_of_the_literal_algorithm(name: str, levels: int) -> None:
    data = DISTRIBUTIONS[name](np.random.default_rng(1))
    top = float(np.abs(data).max())
    counts, _ = np.histogram(data, bins=401, range=(-top, top))
    wanted = literal_divergences(counts.tolist(), levels)
    np.testing.assert_allclose(kl_divergences(counts, levels), wanted, rtol=1e-8, atol=1e-10)
    assert kl_threshold(counts, top, levels) == pytest.approx(literal_threshold(counts.tolist(), top, levels))


@pytest.mark.parametrize(("levels", "distribution"), [(255, "outliers"), (511, "one sided")])
def test_kl_with_8001_bins_is_that_of_the_literal_algorithm(levels: int, distribution: str) -> None:
    data = DISTRIBUTIONS[distribution](np.random.default_rng(2))
    top = float(np.abs(data).max())
    counts, _ = np.histogram(data, bins=8001, range=(-top, top))
    ours = kl_divergences(counts, levels)
    # The literal algorithm takes minutes for all candidates.
    for index in (0, 1, 200, int(np.argmin(ours)), len(ours) - 1):
        assert ours[index] == pytest.approx(divergence_at(counts.tolist(), levels // 2 + index, levels), rel=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=31, max_size=61).filter(lambda h: len(h) % 2 == 1))
def test_kl_of_any_histogram_is_that_of_the_literal_algorithm(hist: list[int]) -> None:
    ours, wanted = kl_divergences(np.array(hist), 7), np.array(literal_divergences(hist, 7))
    np.testing.assert_allclose(ours, wanted, rtol=1e-7, atol=1e-9)


def test_kl_without_candidates_keeps_the_range() -> None:
    assert kl_threshold(np.zeros(8001), 3.0) == 3.0
    assert kl_threshold(np.ones(101), 3.0) == 3.0


def test_kl_cuts_outliers_off_and_leaves_a_uniform_distribution_whole() -> None:
    rng = np.random.default_rng(0)
    for data, low, high in ((DISTRIBUTIONS["outliers"](rng), 2.5, 20), (rng.uniform(-1, 1, 10**6), 0.95, 1.0)):
        top = float(np.abs(data).max())
        counts, _ = np.histogram(data, bins=8001, range=(-top, top))
        assert low < kl_threshold(counts, top) <= high


# ---- histograms -----------------------------------------------------------------------------------


def test_one_array_is_counted_as_numpy_counts() -> None:
    data = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    histogram = Histogram(801)
    histogram.add(data)
    top = float(np.abs(data).max())
    wanted, edges = np.histogram(data, bins=801, range=(-top, top))
    np.testing.assert_allclose(histogram.edges, edges)
    # A number on an edge may fall to either side.
    assert np.abs(histogram.counts - wanted).sum() <= 10
    assert (histogram.low, histogram.high) == (data.min(), data.max())


def test_growing_adds_bins_of_the_same_width_as_mxnet_does() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-1, 1, 1000), rng.uniform(-1.5, 1.5, 1000)
    histogram = Histogram(101)
    histogram.add(first)
    old_threshold, old_counts = histogram.threshold, histogram.counts.copy()
    histogram.add(second)
    # MXNet's combine_histogram.
    step = 2 * old_threshold / 101
    half = int((np.abs(second).max() - old_threshold) // step + 1)
    threshold = half * step + old_threshold
    wanted, _ = np.histogram(second, bins=101 + 2 * half, range=(-threshold, threshold))
    wanted[half:-half] += old_counts
    assert histogram.threshold == pytest.approx(threshold)
    np.testing.assert_array_equal(histogram.counts, wanted)


def test_memory_does_not_grow_whatever_comes() -> None:
    histogram = Histogram(101)
    for power in range(-30, 30):
        histogram.add(np.array([10.0**power, -(10.0**power), 0.0]))
        assert 101 <= len(histogram.counts) <= 4 * 101
        assert len(histogram.counts) % 2 == 1
        assert histogram.threshold >= 10.0**power
    assert histogram.counts.sum() == 60 * 3
    assert histogram.counts[0] + histogram.counts[-1] <= 2


def test_merging_keeps_the_counts_where_they_are() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.uniform(-1, 1, 5000) * 1.3**n for n in range(12)]
    histogram = Histogram(101)
    for part in parts:
        histogram.add(part)
    wanted, _ = np.histogram(np.concatenate(parts), bins=histogram.edges)
    assert histogram.counts.sum() == wanted.sum()
    # What was counted in wide bins before may lie one bin beside.
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(wanted)).max() <= 0.02 * wanted.sum()


def test_zeros_before_the_first_number_are_in_the_middle() -> None:
    histogram = Histogram(11)
    histogram.add(np.zeros(7))
    assert histogram.threshold == 0
    histogram.add(np.array([1.0, -1.0]))
    assert histogram.counts.tolist() == [1, 0, 0, 0, 0, 7, 0, 0, 0, 0, 1]
    histogram.add(np.empty(0))
    assert histogram.counts.sum() == 9


@pytest.mark.parametrize("bins", [0, 1, 8000])
def test_bins_are_odd(bins: int) -> None:
    with pytest.raises(ValueError, match=f"bins must be odd and at least 3, got {bins}"):
        Histogram(bins)


# ---- collectors -----------------------------------------------------------------------------------


def collected(collector: Any, *arrays: Array, name: str = "layer") -> tuple[float, float]:
    collector.include_layers = [name]
    for array in arrays:
        collector.collect(name, "op", np.asarray(array, np.float32))
        collector.collect("another", "op", np.full(3, 1e9))
    found = collector.post_collect()
    assert set(found) == {name}
    return found[name]  # type: ignore[no-any-return]


def test_naive_is_minimum_and_maximum_over_all_batches() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((4, 5)).astype(np.float32) for _ in range(5)]
    everything = np.stack(arrays)
    assert collected(NaiveCollector(), *arrays) == (everything.min(), everything.max())


@pytest.mark.parametrize("collector", [EntropyCollector(), MSECollector(), PercentileCollector()])
@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-42])
def test_a_constant_layer_has_a_finite_range(collector: Any, value: float) -> None:
    low, high = collected(type(collector)(), np.full((3, 4), value), np.full(2, value))
    assert math.isfinite(low) and math.isfinite(high)
    assert low <= 0 <= high
    if value > 1e-40:
        assert high == pytest.approx(value, rel=0.02)


def test_entropy_is_one_sided_where_nothing_is_negative() -> None:
    data = np.random.default_rng(0).exponential(size=30_000)
    low, high = collected(EntropyCollector(), data)
    assert low == 0 and 2 < high < data.max()
    counts, _ = np.histogram(data.astype(np.float32), bins=8001, range=(-data.max(), data.max()))
    assert high == pytest.approx(kl_threshold(counts, float(data.max()), 511), rel=0.02)
    assert collected(EntropyCollector("int8"), data)[1] != high
    low, high = collected(EntropyCollector(), data - 1)
    assert low == -high


@pytest.mark.parametrize("percentile", [50, 90, 99.5, 100])
def test_percentile_holds_that_share_of_the_magnitudes(percentile: float) -> None:
    data = np.random.default_rng(0).standard_normal(100_000)
    low, high = collected(PercentileCollector(percentile), data)
    assert high == pytest.approx(np.percentile(np.abs(data), percentile), rel=2e-3)
    assert low == -high


@pytest.mark.parametrize("percentile", [0, -1, 101])
def test_a_percentile_lies_between_0_and_100(percentile: float) -> None:
    with pytest.raises(ValueError, match=f"got {percentile}"):
        PercentileCollector(percentile)


def test_mse_is_no_worse_than_any_other_threshold() -> None:
    data = np.random.default_rng(0).laplace(size=50_000)

    def error(threshold: float) -> float:
        step = threshold / 127
        return float(np.square(np.clip(np.rint(data / step), -127, 127) * step - data).mean())

    _, threshold = collected(MSECollector(), data)
    best = min(error(t) for t in np.linspace(0.5, np.abs(data).max(), 400))
    assert error(threshold) <= best * 1.01
    assert threshold < np.abs(data).max()


# ---- many equal numbers ---------------------------------------------------------------------------

SPIKES: dict[str, Any] = {
    "half zeros": lambda r, n: np.where(r.random(n) < 0.5, 0, r.standard_normal(n)),
    "mostly zeros": lambda r, n: np.where(r.random(n) < 0.95, 0, r.standard_normal(n)),
    "black borders of normalized images": lambda r, n: np.where(r.random(n) < 0.3, -2.1, r.standard_normal(n)),
    "grey borders": lambda r, n: np.where(r.random(n) < 0.3, 0.7, r.standard_normal(n)),
    "a rare ReLU": lambda r, n: np.maximum(r.standard_normal(n) - 2, 0),
    "a ReLU6": lambda r, n: np.clip(3 * r.standard_normal(n), 0, 6),
    "probabilities": lambda r, n: r.dirichlet(np.full(100, 0.1), n // 100).reshape(-1),
    "bytes": lambda r, n: r.integers(0, 256, n) / 255,
    "black with one pixel": lambda r, n: np.eye(1, n, 5)[0],
    "two numbers": lambda r, n: r.choice([-0.3, 1.0], n),
    "zeros and an outlier": lambda r, n: np.concatenate([np.zeros(n), r.standard_normal(n // 4), [90.0]]),
}


def rounding_error(data: Array, threshold: float, levels: int) -> float:
    step = threshold / levels
    return float(np.square(np.clip(np.rint(data / step), -levels, levels) * step - data).mean())


@pytest.mark.parametrize("blank", [False, True], ids=["one batch", "blank batches"])
@pytest.mark.parametrize("dtype", ["auto", "int8", "uint8"])
@pytest.mark.parametrize("name", SPIKES)
def test_entropy_of_many_equal_numbers_is_about_as_good_as_minimum_and_maximum(
    name: str, dtype: str, blank: bool
) -> None:
    data = SPIKES[name](np.random.default_rng(3), 40_000).astype(np.float32)
    batches = [np.zeros(30_000), data, np.zeros(30_000)] if blank else [data]
    _, threshold = collected(EntropyCollector(dtype), *batches)
    levels = 255 if data.min() >= 0 and dtype != "int8" else 127
    least = rounding_error(data.astype(np.float64), float(np.abs(data).max()), levels)
    # Numbers that the largest magnitude says exactly have to be said to a histogram's resolution.
    resolution = (np.abs(data).max() / 8001) ** 2
    assert rounding_error(data.astype(np.float64), threshold, levels) <= 2.1 * least + resolution


@pytest.mark.parametrize("name", ["normal", "laplace", "outliers", "uniform", "one sided"])
def test_entropy_without_equal_numbers_is_that_of_the_published_algorithm(name: str) -> None:
    data = DISTRIBUTIONS[name](np.random.default_rng(5)).astype(np.float32)
    histogram = Histogram()
    histogram.add(data)
    wanted = kl_threshold(histogram.counts, histogram.threshold, 511 if data.min() >= 0 else 255)
    assert collected(EntropyCollector(), data)[1] == wanted


def test_a_spike_is_a_bin_that_sticks_out() -> None:
    smooth = np.random.default_rng(0).poisson(1000 * np.exp(-(np.linspace(-3, 3, 401) ** 2) / 2))
    assert not find_spikes(smooth).any()
    spiked = smooth.copy()
    spiked[[0, 200, 333]] = 50_000
    assert np.flatnonzero(find_spikes(spiked)).tolist() == [0, 200, 333]
    np.testing.assert_allclose(without_spikes(spiked), smooth, atol=120)
    assert not find_spikes(np.bincount([0, 400, 7], minlength=401)[:401] + smooth).any()
