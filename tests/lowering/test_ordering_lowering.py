"""Sorting, searching, quantiles, running sums and one-hot rows as steps, against the operators' references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, channels_last, compared, compiled, normal, run, steps

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


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint64"])
def test_searches_in_sorted_elements(dtype: str) -> None:
    some = np.sort(np.abs(X[0, 0, 0])).astype(dtype)
    values = np.abs(X[1, 0]).astype(dtype)
    if some.dtype.kind == "f":
        some[-1], values[0, :2] = np.nan, (np.nan, -np.inf)
    for side in ("left", "right"):
        for parameters in ((), ("a",)):
            compared("searchsorted", {"a": some, "v": values}, parameters, tolerance=0, side=side)
    compared("searchsorted", {"a": some[3:4], "v": values.astype(np.float32)}, tolerance=0)
    compared("searchsorted", {"a": some[:16], "v": np.arange(-3, 5)}, tolerance=0)


@pytest.mark.parametrize(
    "dtypes", [("float32", "float32"), ("int32", "int64"), ("float16", "float32"), ("bool", "int8")]
)
def test_membership(dtypes: tuple[str, str]) -> None:
    element, test = X[0, 0].astype(dtypes[0]), np.array([[3, 1], [-2, 7]], dtypes[1])
    if dtypes[0] == "float32":
        element[0, :2], test[0, 0] = (np.nan, -0.0), 0.0
    for invert in (False, True):
        for parameters in ((), ("test_elements",)):
            compared("isin", {"element": element, "test_elements": test}, parameters, tolerance=0, invert=invert)


def check_partition(op: str, x: Array, kth: tuple[int, ...], axis: int | None) -> None:
    made = make_node(op, op, [make_variable("x")], {"kth": kth, "axis": axis})
    program = compiled(Graph([made[0]]), {"x": x})
    assert "host" not in steps(program)
    (got,) = run(program, [x])
    flat = x.reshape(-1) if axis is None else x
    axis = -1 if axis is None else axis
    if op == "argpartition":
        np.testing.assert_array_equal(np.sort(got, axis), np.sort(np.argsort(flat, axis), axis))
        got = np.take_along_axis(flat, got, axis)
    ordered = np.sort(flat, axis)
    np.testing.assert_array_equal(np.sort(got, axis), ordered)
    for k in kth:
        element = np.take(got, [k], axis)
        np.testing.assert_array_equal(element, np.take(ordered, [k], axis))
        before, after = np.split(got, [k % got.shape[axis]], axis)
        assert (before <= element).all() and (after >= element).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_partitions(dtype: str) -> None:
    for op in ("partition", "argpartition"):
        check_partition(op, X.astype(dtype), (2, -1), 1)
        check_partition(op, X.astype(dtype), (100,), None)


def test_places_by_several_keys() -> None:
    keys = {"a": X[0, 0], "b": X[1, 0].astype(np.int8), "c": X[2, 0].astype(np.float16)}
    for axis in (-1, 0):
        compared("lexsort", keys, tolerance=0, num_args=3, axis=axis)


METHODS = [
    *("inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen"),
    *("weibull", "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_quantiles(dtype: str) -> None:
    x = (normal(3, 4, 10) * 5).astype(dtype)
    tolerance = 1e-3 if dtype == "float16" else 1e-6
    for axis, keepdims in ((None, False), ((1,), True), ((-1, 0), False)):
        feed = {"data": x}
        compared("quantile", feed, q=(0.0, 0.3, 1.0), axis=axis, keepdims=keepdims, tolerance=tolerance)
        compared("percentile", feed, q=72.5, axis=axis, keepdims=keepdims, tolerance=tolerance)
        compared("median", feed, axis=axis, keepdims=keepdims, tolerance=tolerance)
        compared("nanmedian", feed, axis=axis, keepdims=keepdims, tolerance=tolerance)


@pytest.mark.parametrize("method", METHODS)
def test_ways_to_interpolate(method: str) -> None:
    for n in (1, 6, 7):
        compared(
            "quantile", {"data": normal(3, n)}, q=((0.0, 0.2), (0.51, 0.99)), axis=(1,), method=method, tolerance=1e-6
        )


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_quantiles_of_what_has_nan() -> None:
    x = normal(4, 9)
    x[0, 3], x[2], x[3, 1] = np.nan, np.nan, np.inf
    feed = {"data": x}
    for op in ("median", "nanmedian"):
        compared(op, feed, axis=(1,), tolerance=1e-6)
    for op in ("quantile", "nanquantile"):
        compared(op, feed, q=(0.1, 0.5, 1.0), axis=(1,), tolerance=1e-6)
    compared("nanpercentile", feed, q=30, axis=(0,), keepdims=True, tolerance=1e-6)
