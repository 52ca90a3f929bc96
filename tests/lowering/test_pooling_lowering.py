"""Pooling, reductions, softmax and layer normalization against the references in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import check, compared, compiled, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN

var = make_variable
layouts = st.sampled_from([PLAIN, CHANNELS_LAST])


@st.composite
def pools(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Attributes of a pool, and a shape it fits."""
    rank = draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    # A longer stride may put the last window behind the input, which is refused.
    stride = tuple(draw(st.integers(1, k - p)) for k, p in zip(kernel, pad, strict=True))
    spatial = tuple(max(1, k - 2 * p) + draw(st.integers(0, 7)) for k, p in zip(kernel, pad, strict=True))
    attrs = {
        "kernel": kernel,
        "stride": stride,
        "pad": pad,
        "pool_type": draw(st.sampled_from(["max", "avg", "sum"])),
        "pooling_convention": draw(st.sampled_from(["valid", "full"])),
        "count_include_pad": draw(st.booleans()),
        "global_pool": draw(st.integers(0, 5)) == 0,
    }
    return attrs, (draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 8, 17, 70])), *spatial)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(pools(), layouts, layouts)
def test_any_pool(made: tuple[dict[str, Any], tuple[int, ...]], source: str, target: str) -> None:
    attrs, shape = made
    check(Graph([node("pooling", var("x"), **attrs)]), {"x": normal(*shape)}, (), {"x": source}, [target])


def test_a_window_over_the_edge_counts_as_the_operator_says() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    for count_include_pad, corner in ((True, 4 / 9), (False, 1.0)):
        attrs: dict[str, Any] = {"kernel": (3, 3), "pad": (1, 1), "pool_type": "avg"}
        graph = Graph([node("pooling", var("x"), count_include_pad=count_include_pad, **attrs)])
        (actual,) = run(compiled(graph, {"x": x}), [x])
        np.testing.assert_allclose(actual[0, 0, 0, 0], corner, rtol=1e-6)


def test_padding_is_below_every_number_for_a_maximum() -> None:
    x = np.full((1, 3, 4, 4), -5, np.float32)
    graph = Graph([node("pooling", var("x"), kernel=(3, 3), pad=(1, 1), pool_type="max")])
    np.testing.assert_array_equal(run(compiled(graph, {"x": x}), [x])[0], -5)


def test_nan_wins_where_the_window_sees_it() -> None:
    x = normal(1, 3, 6, 6)
    x[0, 1, 2, 2] = np.nan
    for pool_type in ("max", "avg"):
        graph = Graph([node("pooling", var("x"), kernel=(2, 2), stride=(2, 2), pool_type=pool_type)])
        seen = np.isnan(run(compiled(graph, {"x": x}), [x])[0])
        assert seen.sum() == 1
        assert seen[0, 1, 1, 1]


@pytest.mark.parametrize("op", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, (), (0,), (1,), (-1,), (0, 1), (1, 2), (2, 3), (-2, -1), (0, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_reductions_over_any_axes(op: str, axis: tuple[int, ...] | None, keepdims: bool, layout: str) -> None:
    graph = Graph([node(op, var("x"), axis=axis, keepdims=keepdims)])
    check(graph, {"x": normal(2, 9, 4, 5)}, (), {"x": layout})


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from(["softmax", "log_softmax"]),
    st.sampled_from([None, 0.5, 2.0]),
    layouts,
    st.data(),
)
def test_softmax_along_any_axis(
    shape: list[int], op: str, temperature: float | None, layout: str, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    graph = Graph([node(op, var("x"), axis=axis, temperature=temperature)])
    feed = {"x": normal(*shape) * np.float32(5)}
    program = check(graph, feed, (), {"x": layout if len(shape) > 2 else PLAIN})
    assert "rows_loop" in steps(program)


@pytest.mark.parametrize("axis", [-1, 1, 2, 0])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("constants", [["gamma", "beta"], []])
def test_layer_norm_along_any_axis(axis: int, layout: str, constants: list[str]) -> None:
    x = normal(3, 4, 5, 17)
    n = x.shape[axis]
    graph = Graph([node("layer_norm", var("x"), var("gamma"), var("beta"), axis=axis, eps=1e-5)])
    feed = {"x": x, "gamma": normal(n, seed=1), "beta": normal(n, seed=2)}
    assert "rows_loop" in steps(check(graph, feed, constants, {"x": layout}))


@pytest.mark.parametrize(("op", "dtype"), [("pooling", "float64"), ("pooling", "float16"), ("softmax", "float64")])
def test_other_dtypes_go_to_numpy(op: str, dtype: str) -> None:
    attrs: dict[str, dict[str, Any]] = {"pooling": {"kernel": (2, 2), "pool_type": "max"}}
    x = normal(2, 3, 4, 5).astype(dtype)
    program = compiled(Graph([node(op, var("x"), **attrs.get(op, {}))]), {"x": x})
    assert "host" in steps(program)
    assert run(program, [x])[0].dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8", "uint8", "int64", "uint64"])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_places_of_the_largest_elements(dtype: str, layout: str) -> None:
    # Many equal elements, so that the first of several shows.
    x = (
        np.rint(2 * normal(2, 19, 7, 6)).astype(dtype)
        if dtype[0] != "u"
        else np.abs(3 * normal(2, 19, 7, 6)).astype(dtype)
    )
    for column_major in (False, True):
        attrs = {"kernel": (3, 2), "stride": (2, 1), "dilate": (1, 2), "pad": (1, 2, 1, 0)}
        (places,) = compared("max_pool_indices", {"x": x}, (), {"x": layout}, column_major=column_major, **attrs)
        assert places.dtype == np.int64


@pytest.mark.parametrize("shape", [(3, 2, 9), (1, 3, 4, 5, 6)])
def test_places_along_one_and_three_axes(shape: tuple[int, ...]) -> None:
    rank = len(shape) - 2
    attrs = {"kernel": (2,) * rank, "stride": (2,) * rank, "dilate": (1,) * rank, "pad": (0, 1) * rank}
    compared("max_pool_indices", {"x": normal(*shape)}, **attrs)


def test_places_of_nan_and_infinity_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x = np.full((1, 1, 4, 4), -np.inf, np.float32)
    x[0, 0, 1, 3] = np.nan
    x[0, 0, 2, 1] = -1
    attrs = {"kernel": (2, 2), "stride": (2, 2), "dilate": (1, 1), "pad": (0,) * 4}
    (got,) = compared("max_pool_indices", {"x": x}, **attrs)
    wanted = torch.nn.functional.max_pool2d(torch.from_numpy(x), 2, return_indices=True)[1]
    np.testing.assert_array_equal(got, wanted.numpy())
