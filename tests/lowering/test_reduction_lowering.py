"""Reductions of all types over all axes as steps, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, channels_last, compiled, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN

AXES = (None, (0,), (1,), (3,), (1, 2), (2, 3), (0, 2), (1, 3), (0, 1, 3))
X = 3 * normal(2, 21, 4, 18)


def computed(op: str, x: Array, layout: str = PLAIN, **attrs: Any) -> Array:
    program = compiled(Graph([node(op, make_variable("x"), **attrs)]), {"x": x}, (), {"x": layout})
    assert "host" not in steps(program), (op, x.dtype, attrs)
    return run(program, [channels_last(x) if layout == CHANNELS_LAST else x])[0]


def check(op: str, x: Array, layout: str, axis: Any, **attrs: Any) -> None:
    wide = x.astype(np.float64) if x.dtype.kind == "f" else x
    wanted = getattr(np, op)(wide, axis=axis, **attrs)
    got = computed(op, x, layout, axis=axis, **attrs)
    assert got.shape == np.shape(wanted)
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5, err_msg=f"{op} {x.dtype} {axis}")


@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "var", "std", "any", "all"])
def test_floats_over_any_axes(op: str, layout: str) -> None:
    for axis in AXES:
        for keepdims in (False, True):
            check(op, X, layout, axis, keepdims=keepdims)


@pytest.mark.parametrize("dtype", ["float64", "int8", "uint8", "int32", "int64", "uint64", "bool"])
def test_other_types(dtype: str) -> None:
    x = X.astype(dtype)
    with np.errstate(over="ignore"):
        for op in ("sum", "prod", "max", "min", "any", *(() if dtype == "bool" else ("mean", "var"))):
            check(op, x, PLAIN, (1,) if op != "prod" else (2,))
            check(op, x, CHANNELS_LAST, (3,))
    assert computed("sum", x, axis=(1,)).dtype == np.sum(x, 1).dtype


@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_places_of_extremes(op: str, dtype: str, layout: str) -> None:
    x = X.astype(dtype)
    for axis in (None, 0, 1, 2, 3):
        got = computed(op, x, layout, axis=axis)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, getattr(np, op)(x, axis))
        np.testing.assert_array_equal(computed(op, x, layout, axis=axis, keepdims=True).reshape(got.shape), got)


@pytest.mark.parametrize("op", ["max", "min", "argmax", "argmin", "sum", "mean"])
def test_nan_and_infinity(op: str) -> None:
    x = np.array(
        [[1, np.nan, 3, np.nan], [np.inf, -np.inf, 0, 1], [-np.inf] * 4, [np.inf] * 4, [-0.0, 0.0, 5, 5]], np.float32
    )
    with np.errstate(invalid="ignore"):
        for axis in (0, 1):
            wanted = getattr(np, op)(x, axis=axis)
            axes = axis if op.startswith("arg") else (axis,)
            np.testing.assert_array_equal(computed(op, np.tile(x, (1, 1)), axis=axes), wanted)
            long = np.ascontiguousarray(np.broadcast_to(x[:, :, None], (*x.shape, 40)))
            spread = getattr(np, op)(long, axis=axis)
            np.testing.assert_array_equal(computed(op, long, axis=axes), spread)


def test_a_long_sum_keeps_its_digits() -> None:
    x = np.full((3, 300_001), 0.1, np.float32)
    np.testing.assert_allclose(computed("sum", x, axis=(1,)), x.astype(np.float64).sum(1), 1e-7)


def test_variance_that_counts_less() -> None:
    np.testing.assert_allclose(computed("var", X, axis=(1, 3), ddof=1), X.var((1, 3), np.float64, ddof=1), 1e-5)


def test_integers_wrap_around_as_numpy_has_it() -> None:
    x = np.full((2, 40), 2**62, np.int64)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(computed("sum", x, axis=(1,)), x.sum(1))


@pytest.mark.parametrize("op", ["max", "sum", "var", "argmax"])
def test_many_short_rows(op: str) -> None:
    x = normal(4, 5, 40, 6)
    for axis in (3,) if op == "argmax" else ((3,), (1, 3), (0, 3), (0, 1, 3)):
        for layout in (PLAIN, CHANNELS_LAST):
            check(op, x, layout, axis)
    np.testing.assert_array_equal(computed("argmin", x[:, :, :, ::-1].copy(), axis=3), x[:, :, :, ::-1].argmin(3))
