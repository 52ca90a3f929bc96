"""Masked softmax, masked and reversed sequences, triangles, and what depends on shapes alone: no step on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_graphs import compared, normal

from minidnn.lowering.values import CHANNELS_LAST, PLAIN

RNG = np.random.default_rng(4)
SHAPES = [
    ((3, 4, 19), (3, 4, 19), -1),
    ((2, 3, 5, 17), (2, 1, 1, 17), -1),
    ((2, 3, 5, 17), (3, 5, 17), 1),
    ((2, 9, 5, 6), (2, 9, 1, 6), 2),
    ((7,), (1,), 0),
    ((5, 8), (5, 8), 0),
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("shape", "mask", "axis"), SHAPES)
def test_masked_softmax(shape: tuple[int, ...], mask: tuple[int, ...], axis: int, dtype: str) -> None:
    x, kept = (3 * normal(*shape)).astype(dtype), RNG.random(mask) < 0.6
    if len(mask) > 1:
        kept[..., 0, :] = False
    layout = PLAIN if len(shape) < 3 else CHANNELS_LAST
    tolerance = 1e-5 if dtype == "float32" else 1e-2
    for op in ("masked_softmax", "masked_log_softmax"):
        for parameters, temperature in (((), 2.5), (("mask",), None)):
            feed = {"x": x, "mask": kept}
            attrs: dict[str, Any] = {"axis": axis, "temperature": temperature}
            (got,) = compared(op, feed, parameters, {"x": layout}, tolerance, **attrs)
        scores = torch.from_numpy(x.astype(np.float32)).masked_fill(
            torch.from_numpy(~np.broadcast_to(kept, shape)), -np.inf
        )
        wanted = torch.softmax(scores, axis) if op == "masked_softmax" else torch.log_softmax(scores, axis)
        empty = 0.0 if op == "masked_softmax" else -np.inf
        np.testing.assert_allclose(got, wanted.nan_to_num(empty, neginf=-np.inf).numpy(), tolerance, tolerance)


def test_masked_softmax_of_what_is_no_number() -> None:
    x = normal(4, 21)
    x[0, 3], x[1, 20], x[2, 0] = np.nan, np.inf, -np.inf
    for op in ("masked_softmax", "masked_log_softmax"):
        compared(op, {"x": x, "mask": RNG.random((4, 21)) < 0.7}, tolerance=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("lengths", ["int32", "float32", "uint8", "float64"])
def test_sequences_of_lengths(lengths: str, dtype: str) -> None:
    x = (5 * normal(5, 3, 4, 2)).astype(dtype)
    odd = [-2, np.nan, 9] if lengths.startswith("float") else [-2, 3, 9] if lengths == "int32" else [0, 3, 9]
    length = np.array(odd, lengths)
    with np.errstate(invalid="ignore"):
        compared("sequence_mask", {"x": x, "n": length}, tolerance=0, use_sequence_length=True, value=1.0)
        compared("sequence_reverse", {"x": x, "n": length}, tolerance=0, use_sequence_length=True)
    other = np.array([0, 2, 3, 1, 7]).astype(lengths)
    (got,) = compared("sequence_mask", {"x": x, "n": other}, tolerance=0, use_sequence_length=True, axis=1)
    for sample, n in enumerate(other.astype(int)):
        np.testing.assert_array_equal(got[sample, :n], x[sample, :n])
        assert not got[sample, n:].any()


def test_sequences_without_lengths() -> None:
    x = normal(4, 3, 2)
    (same,) = compared("sequence_mask", {"x": x}, tolerance=0)
    (turned,) = compared("sequence_reverse", {"x": x}, tolerance=0)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(turned, x[::-1])


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
@pytest.mark.parametrize("k", [-2, 0, 3])
def test_triangles(k: int, dtype: str) -> None:
    for x in (normal(2, 4, 5), normal(4)):
        for op, wanted in (("tril", np.tril), ("triu", np.triu)):
            (got,) = compared(op, {"x": x.astype(dtype)}, tolerance=0, k=k)
            np.testing.assert_array_equal(got, wanted(x.astype(dtype), k))


def test_what_depends_on_shapes_alone() -> None:
    x = normal(2, 3, 4, 5)
    compared("shape_array", {"x": x}, tolerance=0)
    compared("arange_like", {"x": x}, tolerance=0, axis=2, start=2.0, step=0.5, repeat=2)
    compared("multibox_prior", {"x": x}, tolerance=0, sizes=(0.5, 0.25), ratios=(1.0, 2.0))
    compared("div_sqrt_dim", {"x": x}, tolerance=1e-6)
