"""Sorting, running sums and one-hot rows as steps, against the operators' references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, channels_last, compiled, normal, run, steps

from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN

# Many equal elements, so that their order shows.
X = np.rint(3 * normal(3, 5, 4, 17))
TYPES = pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool"])


def check(op: str, x: Array, layout: str = PLAIN, **attrs: Any) -> None:
    made = make_node(op, op, [make_variable("x")], attrs)
    program = compiled(Graph([made[i] for i in range(made.num_outputs)]), {"x": x}, (), {"x": layout})
    assert "host" not in steps(program)
    got = run(program, [channels_last(x) if layout == CHANNELS_LAST else x])
    for value, wanted in zip(got, made.compute([x]), strict=True):
        assert value.dtype == wanted.dtype
        np.testing.assert_array_equal(value, wanted)


@TYPES
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_sorts(dtype: str, layout: str) -> None:
    x = X.astype(dtype)
    for axis in (0, 1, -1, None):
        for descending in (False, True):
            check("sort", x, layout, axis=axis, descending=descending)
            check("argsort", x, layout, axis=axis, descending=descending)


@pytest.mark.parametrize("kind", ["value", "indices", "both"])
def test_the_largest_and_the_smallest(kind: str) -> None:
    for axis, k in ((1, 3), (-1, 17), (None, 7), (0, 0)):
        for ascending in (False, True):
            check("topk", X, axis=axis, k=k, ret_typ=kind, is_ascend=ascending, dtype="int64")


def test_nan_zeros_and_infinity_in_order() -> None:
    x = np.array([0.0, np.nan, -0.0, np.inf, -np.inf, 1, np.nan, -1, 0.0, -1e-40], np.float32)
    for descending in (False, True):
        check("argsort", x, descending=descending)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint8", "bool"])
def test_running_sums_and_products(dtype: str) -> None:
    x = X.astype(dtype)
    for axis in (0, 2, -1, None):
        check("cumsum", x, CHANNELS_LAST, axis=axis)
        with np.errstate(all="ignore"):
            check("cumprod", x[:2, :2, :2, :3].copy(), axis=axis)
    check("cumsum", x, axis=1, dtype="float64")
    check("cumsum", np.full(100_000, 0.1, np.float32), axis=0)


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "bool"])
def test_one_hot_rows(dtype: str) -> None:
    for places in (np.arange(-2, 10).reshape(3, 4), np.array([0.5, -0.5, -1.5, np.nan, 1e30, 6.9], np.float32)):
        check("one_hot", places, depth=7, dtype=dtype, on_value=1.0, off_value=0.0)
    check("one_hot", np.array([1, 2], np.int32), depth=4, dtype=dtype, on_value=0.0, off_value=1.0)
