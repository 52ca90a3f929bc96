"""Gathers, scatters and repetitions as steps, against NumPy: values, layouts, and indices beyond their axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, channels_last, compiled, node, normal, run, steps

from minidnn.errors import OpError
from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN

var = make_variable
X = normal(2, 5, 4, 7)
RNG = np.random.default_rng(3)


def computed(
    op: str, feed: dict[str, Array], layout: str = PLAIN, parameters: tuple[str, ...] = (), **attrs: Any
) -> Array:
    """The result of one operator, of which NumPy runs no step; the first input has that layout."""
    first = next(iter(feed))
    layouts = {first: layout}
    program = compiled(Graph([node(op, *map(var, feed), **attrs)]), feed, parameters, layouts)
    assert "host" not in steps(program)
    moving = {name: a for name, a in feed.items() if name not in parameters}
    arrays = [channels_last(a) if layouts.get(n) == CHANNELS_LAST else a for n, a in moving.items()]
    arrays = [
        a if layouts.get(n) == CHANNELS_LAST else np.ascontiguousarray(a) for n, a in zip(moving, arrays, strict=True)
    ]
    return run(program, arrays)[0]


def equal(actual: Array, expected: Any) -> None:
    assert actual.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(actual, expected)


LAYOUTS = pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
TYPES = pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "float16"])


@LAYOUTS
@TYPES
def test_repeats_and_shifts(layout: str, dtype: str) -> None:
    x = (4 * X).astype(dtype)
    equal(computed("repeat", {"x": x}, layout, repeats=3, axis=2), x.repeat(3, 2))
    equal(computed("repeat", {"x": x}, layout, repeats=2, axis=None), x.repeat(2))
    equal(computed("tile", {"x": x}, layout, reps=(2, 1, 3)), np.tile(x, (2, 1, 3)))
    equal(computed("tile", {"x": x}, layout, reps=(2, 1, 1, 3, 1)), np.tile(x, (2, 1, 1, 3, 1)))
    equal(computed("roll", {"x": x}, layout, shift=(3, -1), axis=(3, 1)), np.roll(x, (3, -1), (3, 1)))
    equal(computed("roll", {"x": x}, layout, shift=(5,)), np.roll(x, 5))


@LAYOUTS
@TYPES
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_all_pads(layout: str, dtype: str, mode: Any) -> None:
    x, width = (4 * X).astype(dtype), ((1, 0), (0, 2), (3, 9), (1, 1))
    equal(computed("pad", {"x": x}, layout, pad_width=width, mode=mode), np.pad(x, width, mode))


@LAYOUTS
def test_repetitions_of_several_axes_are_one_step(layout: str) -> None:
    rows = node("repeat", var("x"), repeats=2, axis=2, name="rows")
    both = node(
        "pad", node("repeat", rows, repeats=3, axis=3, name="columns"), pad_width=((0, 0),) * 3 + ((1, 2),), mode="edge"
    )
    program = compiled(Graph([both]), {"x": X}, (), {"x": layout}, [layout])
    assert steps(program) == ["gather_loop"]
    given = channels_last(X) if layout == CHANNELS_LAST else X
    equal(run(program, [given])[0], np.pad(X.repeat(2, 2).repeat(3, 3), ((0, 0),) * 3 + ((1, 2),), "edge"))


@LAYOUTS
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_indices_that_are_clipped_or_wrapped(layout: str, dtype: str) -> None:
    index = RNG.integers(0 if dtype == "uint8" else -9, 9, (3, 2)).astype(dtype)
    for axis in (0, 1, 3):
        for mode in ("clip", "wrap"):
            wanted = np.take(X, index.astype(int), axis, mode=mode)
            equal(computed("take", {"x": X, "i": index}, layout, axis=axis, mode=mode), wanted)
    chosen = RNG.integers(0, 9, (2, 5, 7)).astype(dtype)
    places = np.minimum(chosen.astype(int), 3)[:, :, None]
    wanted = np.take_along_axis(X, places, 2)
    equal(computed("pick", {"x": X, "i": chosen}, layout, axis=2), wanted[:, :, 0])
    equal(computed("pick", {"x": X, "i": chosen[:, :, None]}, layout, axis=2, keepdims=True), wanted)


def test_floats_as_indices_are_rounded_down_and_nan_is_the_first() -> None:
    index = np.array([1.9, -0.5, np.nan, np.inf, -np.inf, 1e30], np.float32)
    equal(computed("take", {"x": X, "i": index}, axis=1), X[:, [1, 0, 0, 4, 0, 4]])


def test_large_unsigned_indices_are_not_negative() -> None:
    index = np.array([2**64 - 1, 3], np.uint64)
    equal(computed("take", {"x": X, "i": index}, axis=1), X[:, [4, 3]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("parameters", [("w",), ()])
def test_embedding(dtype: str, parameters: tuple[str, ...]) -> None:
    weight, ids = (9 * normal(9, 6)).astype(dtype), RNG.integers(-2, 12, (3, 5))
    got = computed("embedding", {"i": ids, "w": weight}, PLAIN, parameters, input_dim=9, output_dim=6)
    equal(got, weight[np.clip(ids, 0, 8)])


@LAYOUTS
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_indices_that_count_from_both_ends(layout: str, dtype: str) -> None:
    index = RNG.integers(-4, 4, (2, 5, 4, 3)).astype(dtype)
    equal(computed("take_along_axis", {"x": X, "i": index}, layout, axis=3), np.take_along_axis(X, index, 3))
    narrow = index[:1, :, :1]
    equal(computed("take_along_axis", {"x": X, "i": narrow}, layout, axis=3), np.take_along_axis(X, narrow, 3))
    i, j = index[0, 0], index[0, 0, 0]
    equal(computed("index", {"x": X, "i": i}, layout, axes=(2,)), X[:, :, i])
    equal(computed("index", {"x": X, "i": i, "j": j}, layout, axes=(1, 3)), X[:, i, :, j].reshape(4, 3, 2, 4))
    equal(computed("index", {"x": X, "i": i, "j": j}, layout, axes=(1, 2)), X[:, i, j])
    rows = RNG.integers(-2, 2, (3, 6)).astype(dtype)
    for known in ((), ("i",)):
        equal(computed("gather_nd", {"x": X, "i": rows}, layout, known), X[tuple(rows)])


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint64", "float16"])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatters(dtype: str, reduction: str) -> None:
    if dtype == "float16" and reduction != "none":
        pytest.skip("halves are only moved")
    x, updates = (abs(4 * X) + 1).astype(dtype), (abs(3 * normal(6, 4, 7, seed=2)) + 1).astype(dtype)
    ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}.get(reduction)
    points = np.array([[0, 1], [1, -1], [-2, 1], [0, 0], [1, 4], [0, 1]])
    wanted = x.copy()
    if ufunc is None:
        wanted[tuple(points.T)] = updates
    else:
        ufunc.at(wanted, tuple(points.T), updates)
    for known in ((), ("i",), ("i", "u")):
        feed = {"x": x, "i": points, "u": updates}
        got = computed("scatter_points", feed, PLAIN, known, reduction=reduction)
        np.testing.assert_allclose(got, wanted, 1e-6)
    index = RNG.integers(-7, 7, (2, 4, 3, 5))
    small = (abs(3 * normal(*index.shape, seed=2)) + 1).astype(dtype)
    places = [*np.indices(index.shape, sparse=True)]
    places[3] = index
    wanted = x.copy()
    if ufunc is None:
        wanted[tuple(places)] = small
    else:
        ufunc.at(wanted, tuple(places), small)
    got = computed("scatter_elements", {"x": x, "i": index, "u": small}, axis=3, reduction=reduction)
    np.testing.assert_allclose(got, wanted, 1e-6)


def test_writes_at_positions() -> None:
    rows, value = RNG.integers(-2, 2, (2, 3)), normal(1, 4, 7)
    wanted = X.copy()
    np.add.at(wanted, tuple(rows), value)
    for known in ((), ("i",)):
        made = computed("index_add", {"x": X, "i": rows, "v": value}, PLAIN, known)
        np.testing.assert_allclose(made, wanted, 1e-6)
    wanted = X.copy()
    wanted[np.array([1, 0])] = X
    equal(computed("index_update", {"x": X, "i": np.array([1, 0]), "v": X}), wanted)


def test_a_scatter_of_many_rows_by_several_threads() -> None:
    x, updates, index = normal(300, 400), normal(500, 400, seed=1), RNG.integers(0, 300, (500, 1))
    wanted = x.copy()
    for row, update in zip(index[:, 0], updates, strict=True):
        wanted[row] = update
    equal(computed("scatter_points", {"x": x, "i": index, "u": updates}), wanted)


BEYOND = [
    ("index", {"x": X, "i": np.array([0, 5])}, {"axes": (1,)}, IndexError, "indices 0..5 are out of bounds for axis 1"),
    ("index", {"x": X, "i": np.array([-6, 0])}, {"axes": (1,)}, IndexError, "indices -6..0 are out of bounds"),
    ("take_along_axis", {"x": X[0, 0], "i": np.full((4, 1), 7)}, {"axis": 1}, IndexError, "out of bounds for axis 1"),
    (
        "gather_nd",
        {"x": X, "i": np.array([[0], [9]])},
        {},
        OpError,
        r"row 1 of indices must lie in \[-5, 5\), got 9..9",
    ),
    ("gather_nd", {"x": X, "i": np.array([[np.nan]], np.float32)}, {}, OpError, "row 0 of indices must lie"),
    ("scatter_points", {"x": X[0, 0], "i": np.array([[4]]), "u": X[0, 0, :1]}, {}, OpError, r"axis 0 .* got 4..4"),
    (
        *("scatter_elements", {"x": X[0, 0], "i": np.array([[-9]]), "u": X[0, 0, :1, :1]}, {"axis": 1}, OpError),
        r"indices along axis 1 must lie in \[-7, 7\), got -9..-9",
    ),
    ("index_add", {"x": X, "i": np.array([2]), "v": X[:1]}, {}, OpError, "index_add: positions along axis 0 must lie"),
]


@pytest.mark.parametrize(("op", "feed", "attrs", "error", "message"), BEYOND)
def test_an_index_beyond_its_axis_is_an_error(
    op: str, feed: dict[str, Array], attrs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        computed(op, feed, **attrs)


def test_a_refused_run_leaves_the_program_usable() -> None:
    program = compiled(Graph([node("index", var("x"), var("i"), axes=(0,))]), {"x": X, "i": np.array([0])})
    for _ in range(2):
        with pytest.raises(IndexError):
            run(program, [X, np.array([2])])
        equal(run(program, [X, np.array([1])])[0], X[[1]])
