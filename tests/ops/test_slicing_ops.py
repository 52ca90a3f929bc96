"""Slicing, splitting, repeating and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from ops_helpers import infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError

bound = st.none() | st.integers(-8, 8)


@given(st.lists(st.tuples(bound, bound, st.sampled_from([None, 1, 2, -1, -3])), min_size=1, max_size=3))
def test_slice_is_pythons(parts: list[tuple[Any, Any, Any]]) -> None:
    x = np.arange(6 * 4 * 5).reshape(6, 4, 5)
    begin, end, step = zip(*parts, strict=True)
    expected = x[tuple(slice(*p) for p in parts)]
    assert np.array_equal(reference("slice", x, begin=begin, end=end, step=step), expected)


def test_slices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OpError, match="of one length"):
        infer("slice", tensor(2, 3), begin=(0, 0), end=(1,))
    with pytest.raises(ShapeError, match="begin has 3 numbers, data only 2"):
        infer("slice", tensor(2, 3), begin=(0, 0, 0), end=(1, 1, 1))
    with pytest.raises(OpError, match="step must not be zero"):
        infer("slice", tensor(2, 3), begin=(0,), end=(1,), step=(0,))


@given(st.integers(-3, 2), st.integers(-6, 6), bound)
def test_slice_axis_is_pythons(axis: int, begin: int, end: int | None) -> None:
    x = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    expected = np.moveaxis(np.moveaxis(x, axis, 0)[begin:end], 0, axis)
    assert np.array_equal(reference("slice_axis", x, axis=axis, begin=begin, end=end), expected)


def test_slice_like_takes_the_first_elements() -> None:
    x = normal(4, 5, 6)
    assert np.array_equal(reference("slice_like", x, normal(2, 3, 4)), x[:2, :3, :4])
    assert np.array_equal(reference("slice_like", x, normal(2, 3), axes=(1,)), x[:, :3])
    with pytest.raises(ShapeError, match="both inputs need the same rank"):
        infer("slice_like", tensor(4, 5), tensor(2))
    with pytest.raises(ShapeError, match="cannot be sliced to the size of"):
        infer("slice_like", tensor(4, 5), tensor(2, 7))


def test_split_into_equal_sections_or_at_positions() -> None:
    x = normal(2, 6, 3)
    pieces = reference("split", x, sections=3, axis=1)
    for mine, theirs in zip(pieces, torch.tensor_split(torch.from_numpy(x), 3, 1), strict=True):
        assert np.array_equal(mine, theirs.numpy())
    pieces = reference("split", x, indices=(0, 1, 4), axis=-2)
    for mine, theirs in zip(pieces, torch.tensor_split(torch.from_numpy(x), (1, 4), 1), strict=True):
        assert np.array_equal(mine, theirs.numpy())
    assert [p.shape for p in reference("split", x, sections=2, axis=0, squeeze_axis=True)] == [(6, 3)] * 2
    assert [p.shape[0] for p in reference("split", x, indices=(0, 9, 1))] == [2, 0, 1]


def test_splits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="axis 1 of size 6 does not divide into 4 equal sections"):
        infer("split", tensor(2, 6), sections=4, axis=1)
    with pytest.raises(OpError, match="give sections or indices"):
        infer("split", tensor(2, 6))
    with pytest.raises(OpError, match="the first at 0"):
        infer("split", tensor(2, 6), indices=(1, 2))
    with pytest.raises(ShapeError, match="squeeze_axis needs pieces of size 1"):
        infer("split", tensor(2, 6), sections=3, axis=1, squeeze_axis=True)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_repeat_agrees_with_torch(axis: int | None) -> None:
    x = normal(2, 3)
    expected = torch.repeat_interleave(torch.from_numpy(x), 3, axis).numpy()
    assert np.array_equal(reference("repeat", x, repeats=3, axis=axis), expected)
    assert reference("repeat", x, repeats=0, axis=axis).size == 0


@pytest.mark.parametrize("reps", [(2,), (2, 3), (2, 1, 3), (0, 2)])
def test_tile_agrees_with_torch(reps: tuple[int, ...]) -> None:
    x = normal(2, 3)
    assert np.array_equal(reference("tile", x, reps=reps), torch.tile(torch.from_numpy(x), reps).numpy())


def test_flip_and_roll_agree_with_torch() -> None:
    x = normal(3, 4, 5)
    t = torch.from_numpy(x)
    assert np.array_equal(reference("flip", x), t.flip(0, 1, 2).numpy())
    assert np.array_equal(reference("flip", x, axis=(0, -1)), t.flip(0, 2).numpy())
    assert np.array_equal(reference("roll", x, shift=7), t.roll(7).numpy())
    assert np.array_equal(reference("roll", x, shift=(2, -1), axis=(0, 2)), t.roll((2, -1), (0, 2)).numpy())
    with pytest.raises(OpError, match="duplicate axis"):
        infer("flip", tensor(2, 3), axis=(0, 0))
    with pytest.raises(OpError, match="without axis shift must be one number"):
        infer("roll", tensor(2, 3), shift=(1, 2))
    with pytest.raises(OpError, match="one for each axis"):
        infer("roll", tensor(2, 3), shift=(1, 2, 3), axis=(0, 1))


@pytest.mark.parametrize(("mode", "theirs"), [("constant", "constant"), ("edge", "replicate"), ("reflect", "reflect")])
def test_pad_agrees_with_torch(mode: str, theirs: str) -> None:
    x = normal(2, 3, 4, 5)
    value = 2.5 if mode == "constant" else None
    expected = F.pad(torch.from_numpy(x), (1, 2, 3, 0), theirs, value).numpy()
    attrs = {"constant_values": 2.5} if mode == "constant" else {}
    actual = reference("pad", x, pad_width=((0, 0), (0, 0), (3, 0), (1, 2)), mode=mode, **attrs)
    assert np.array_equal(actual, expected)


def test_pad_width_can_be_short() -> None:
    x = np.array([[1, 2]], np.int32)
    assert reference("pad", x, pad_width=1).tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]]
    assert reference("pad", x, pad_width=(0, 1)).tolist() == [[1, 2, 0], [0, 0, 0]]
    assert reference("pad", x, pad_width=((0, 0), (2, 1)), mode="symmetric").tolist() == [[2, 1, 1, 2, 2]]
    assert reference("pad", x, pad_width="[[0,0],[0,1]]").tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    ("attrs", "error", "message"),
    [
        ({"pad_width": ((-1, 0), (0, 0))}, OpError, "pairs of non-negative integers"),
        ({"pad_width": "x"}, OpError, "pairs of non-negative integers"),
        ({"pad_width": ((1, 1),) * 3}, ShapeError, "pad_width has 3 pairs for 2 dimensions"),
        ({"pad_width": 1, "mode": "wrap"}, OpError, "'mode' must be one of"),
    ],
)
def test_pads_that_do_not_fit_are_refused(attrs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        infer("pad", tensor(2, 3), **attrs)


def test_nothing_cannot_be_repeated_by_padding() -> None:
    with pytest.raises(ShapeError, match="mode 'edge' has nothing to repeat"):
        infer("pad", tensor(0), pad_width=1, mode="edge")
    with pytest.raises(TypeMismatchError, match="must be 0 or 1 for bools"):
        infer("pad", tensor(2, dtype="bool"), pad_width=1, constant_values=2)
