"""Second-order rounding, and the rows whose moments it goes by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidnn.contrib.quantization.tuning.rounding import (
    confirmed_share,
    damp,
    output_error,
    round_weights,
    solve_moments,
)
from minidnn.contrib.quantization.tuning.rows import RowReader
from minidnn.ir.graph import make_node, make_variable

Array = np.ndarray[Any, Any]


def correlated(groups: int, rows: int, depth: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, depth // 4 + 1, depth))
    return rng.standard_normal((groups, rows, depth // 4 + 1)) @ mixing + 0.1 * rng.standard_normal(
        (groups, rows, depth)
    )


def moments_of(x: Array) -> Array:
    return np.swapaxes(x, 1, 2) @ x / x.shape[1]


def plainly_rounded(weight: Array, scale: Array, moments: Array) -> Array:
    """The recursion as the paper has it, column by column, for one group: after each the inverse loses a row."""
    rest, inverse = weight.copy(), np.linalg.inv(moments)
    q = np.zeros_like(weight)
    for k in np.argsort(-np.diag(moments), kind="stable"):
        q[:, k] = np.clip(np.rint(rest[:, k] / scale), -127, 127)
        error = (rest[:, k] - q[:, k] * scale) / inverse[k, k]
        rest -= np.outer(error, inverse[k])
        inverse = inverse - np.outer(inverse[:, k], inverse[k]) / inverse[k, k]
    return q


@pytest.mark.parametrize("depth", [1, 7, 130, 300])
def test_blocks_of_columns_give_what_the_plain_recursion_gives(depth: int) -> None:
    weight = np.random.default_rng(1).standard_normal((1, 6, depth))
    moments = moments_of(correlated(1, 4 * depth + 9, depth))
    q, scale = round_weights(weight, moments, None, 0.01)
    wanted = plainly_rounded(weight[0], scale[0].astype(np.float64), damp(moments, 0.01)[0])
    # An error of the last bit may turn a tie.
    assert np.mean(q[0] != wanted) < 0.005
    assert q.dtype == np.int8 and np.abs(q.astype(int)).max() <= 127


@pytest.mark.parametrize("groups", [1, 5])
def test_rounding_errs_less_at_the_outputs_than_rounding_to_nearest(groups: int) -> None:
    weight = np.random.default_rng(2).standard_normal((groups, 8, 36))
    moments = moments_of(correlated(groups, 200, 36))
    q, scale = round_weights(weight, moments, None, 0.01)
    largest = np.abs(weight).max(2, keepdims=True) / 127
    nearest = np.rint(weight / largest) * largest
    errors = [output_error(weight - w, moments).sum() for w in (q * scale.astype(np.float64)[:, :, None], nearest)]
    assert errors[0] < 0.5 * errors[1]


def test_each_group_is_rounded_by_its_own_moments() -> None:
    weight = np.random.default_rng(3).standard_normal((3, 4, 9))
    moments = moments_of(correlated(3, 60, 9))
    q, scale = round_weights(weight, moments, None, 0.01)
    for g in range(3):
        alone = round_weights(weight[g : g + 1], moments[g : g + 1], None, 0.01)
        assert np.array_equal(q[g], alone[0][0]) and np.array_equal(scale[g], alone[1][0])


def test_weights_make_up_for_what_their_inputs_have_lost() -> None:
    rng = np.random.default_rng(4)
    exact = correlated(1, 400, 12)
    spoiled = exact @ (np.eye(12) + 0.05 * rng.standard_normal((12, 12)))
    weight = rng.standard_normal((1, 5, 12))
    lack = (exact - spoiled) @ np.swapaxes(weight, 1, 2)
    missing = np.swapaxes(spoiled, 1, 2) @ lack / 400
    errors = []
    for known in (missing, None):
        q, scale = round_weights(weight, moments_of(spoiled), known, 1e-4)
        got = spoiled @ np.swapaxes(q * scale.astype(np.float64)[:, :, None], 1, 2)
        errors.append(np.square(got - exact @ np.swapaxes(weight, 1, 2)).mean())
    assert errors[0] < 0.1 * errors[1]


def test_inputs_that_are_always_zero_or_all_alike_are_no_trouble() -> None:
    weight = np.random.default_rng(5).standard_normal((2, 3, 6))
    dead = np.zeros((2, 6, 6))
    alike = np.ones((2, 6, 6))
    for moments in (dead, alike):
        q, scale = round_weights(weight, moments, None, 0.01)
        assert np.isfinite(scale).all() and (scale > 0).all()
        assert np.abs(q * scale[:, :, None] - weight).max() < 2


def test_weights_that_are_zero_stay_zero() -> None:
    q, scale = round_weights(np.zeros((1, 2, 4)), np.eye(4)[None], None, 0.01)
    assert not q.any() and (scale > 0).all()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_moments_are_solved_by_halves_of_their_factor(size: int) -> None:
    rng = np.random.default_rng(size)
    triangle = np.triu(rng.standard_normal((2, size, size)) / size) + 2 * np.eye(size)
    right = rng.standard_normal((2, size, 3))
    found = solve_moments(triangle, right)
    wanted = np.linalg.solve(triangle @ np.swapaxes(triangle, 1, 2), right)
    assert np.abs(found - wanted).max() < 1e-12


def test_moments_in_float32_give_what_those_in_float64_give() -> None:
    depth = 200
    x = correlated(2, 900, depth)
    weight = np.random.default_rng(7).standard_normal((2, 8, depth))
    missing = 0.01 * np.swapaxes(x, 1, 2) @ np.random.default_rng(8).standard_normal((2, 900, 8)) / 900
    moments = moments_of(x)
    found = []
    for kind in (np.float32, np.float64):
        q, scale = round_weights(weight, moments.astype(kind), missing.astype(kind), 0.01)
        assert scale.dtype == np.float32
        found.append(output_error(weight - q * scale.astype(np.float64)[:, :, None], moments))
    assert np.allclose(found[0], found[1], rtol=0.3)
    assert abs(found[0].sum() / found[1].sum() - 1) < 0.05


CONVOLUTIONS = [
    ((2, 3, 11), {"kernel": (3,), "num_filter": 4}),
    ((2, 4, 9, 8), {"kernel": (3, 2), "num_filter": 6, "stride": (2, 1), "pad": (1, 0)}),
    ((1, 4, 9, 9), {"kernel": (3, 3), "num_filter": 4, "dilate": (2, 2), "pad": (2, 1), "num_group": 2}),
    ((2, 5, 6, 6), {"kernel": (3, 3), "num_filter": 10, "pad": (1, 1), "num_group": 5}),
    ((1, 2, 5, 4, 6), {"kernel": (2, 3, 2), "num_filter": 3, "stride": (1, 1, 2)}),
    ((2, 5, 4), {"num_hidden": 3}),
    ((2, 5, 4), {"num_hidden": 3, "flatten": False}),
]


@pytest.mark.parametrize(("shape", "attrs"), CONVOLUTIONS, ids=str)
def test_rows_times_weights_are_the_outputs(shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    op = "convolution" if "kernel" in attrs else "fully_connected"
    node = make_node(op, "layer", [make_variable("x"), make_variable("w")], {**attrs, "no_bias": True})
    x = rng.standard_normal(shape).astype(np.float32)
    if op == "convolution":
        weights = (attrs["num_filter"], shape[1] // attrs.get("num_group", 1), *attrs["kernel"])
    else:
        weights = (3, 20 if node.attrs.flatten else 4)
    w = rng.standard_normal(weights).astype(np.float32)
    (wanted,) = node.compute([x, w])
    reader = RowReader(node, w.shape)
    count = wanted.size // weights[0]
    everything = reader.places(x.shape, count + 1, rng)
    some = reader.places(x.shape, 5, rng)
    assert len(everything) == count and len(some) == min(5, count)
    for places in (everything, some):
        rows = reader.read(x, places)
        got = rows @ np.swapaxes(reader.grouped(w), 1, 2)
        assert np.allclose(got, reader.outputs_at(wanted, places), atol=1e-4)


def test_what_is_lacking_counts_as_far_as_other_rows_confirm_it() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 600, 40)).astype(np.float32)
    noise = rng.standard_normal((2, 600, 5)).astype(np.float32)
    exact = x @ rng.standard_normal((2, 40, 5)).astype(np.float32)
    shares = [confirmed_share(x, exact * a + noise, 0.9, 0.01) for a in (1, 0.1, 0)]
    assert shares[0] > 0.95 > shares[1] > 0.1 > shares[2] >= 0
    assert confirmed_share(x, exact * 0, 0.9, 0.01) == 0


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_confirm_nothing_and_are_no_trouble(rows: int) -> None:
    x, lack = np.zeros((1, rows, 4), np.float32), np.ones((1, rows, 2), np.float32)
    assert confirmed_share(x, lack, 0.5, 0.01) == 0
    share = confirmed_share(x + np.arange(rows, dtype=np.float32)[:, None], lack, 0.5, 0.01)
    assert 0 <= share <= 1
