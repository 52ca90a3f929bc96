"""Operators that change the shape, against torch and the documented codes of npx.reshape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops_helpers import infer, normal, reference, shapes, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError


def test_reshape_infers_one_dimension() -> None:
    x = normal(2, 3, 4)
    assert np.array_equal(reference("reshape", x, newshape=(4, -1)), x.reshape(4, 6))
    assert np.array_equal(reference("reshape", x, newshape=(4, 6), order="F"), x.reshape((4, 6), order="F"))
    assert infer("reshape", tensor(0, 3), newshape=(3, 0)).shape == (3, 0)


@pytest.mark.parametrize(
    ("newshape", "message"),
    [
        ((5, -1), r"data of shape \(2, 3, 4\) \(24 elements\) does not fit into shape \(5, -1\)"),
        ((2, 3), "does not fit"),
        ((-1, -1), "only one dimension can be -1"),
        ((0, -1), "does not fit"),
        ((-2, 3), "must be at least -1"),
    ],
)
def test_reshape_refuses(newshape: tuple[int, ...], message: str) -> None:
    with pytest.raises(OpError, match=message):
        infer("reshape", tensor(2, 3, 4), newshape=newshape)


# Each code alone, two together, and both directions.
@pytest.mark.parametrize(
    ("shape", "newshape", "reverse", "wanted"),
    [
        ((2, 3, 8), (-2, -2, 2, -1), False, (2, 3, 2, 4)),
        ((2, 3, 4, 5), (-2, -5, -2), False, (2, 12, 5)),
        ((2, 3, 4, 5), (6, 1, -4), False, (6, 1, 4, 5)),
        ((1, 3, 1, 4), (-3, -2, -3, -2), False, (3, 4)),
        ((1, 1), (-3, -3), False, ()),
        ((2, 3, 4), (-4,), False, (2, 3, 4)),
        ((2, 3, 4), (-2, -1), False, (2, 12)),
        ((2, 3, 4), (-4, -5), True, (2, 12)),
        ((2, 3, 4), (-1, -2), True, (6, 4)),
        ((12, 5), (-6, 3, 4, -2), False, (3, 4, 5)),
        ((12, 5), (-6, -1, 4, -2), False, (3, 4, 5)),
        ((5, 12), (-4, -1, 4, -6), True, (5, 3, 4)),
        ((6,), (2, 3), False, (2, 3)),
        ((0, 4), (-2, -2), False, (0, 4)),
    ],
)
def test_npx_reshape_codes(shape: Any, newshape: Any, reverse: bool, wanted: tuple[int, ...]) -> None:
    x = normal(*shape)
    result = reference("npx_reshape", x, newshape=newshape, reverse=reverse)
    assert result.shape == wanted
    assert np.array_equal(result.ravel(), x.ravel())


@pytest.mark.parametrize(
    ("newshape", "message"),
    [
        ((-2, -2, -2, -2), r"code -2 in .* needs more dimensions than shape \(2, 3, 4\)"),
        ((-4, -5), "code -5 .* needs more dimensions"),
        ((-3, -4), "code -3 .* drops a dimension of size 1 only"),
        ((-6, 3, -1, -4), "code -6 .* product is 2"),
        ((-6, -1, -1, -4), "code -6"),
        ((-6, 0, -1, -4), "code -6"),
        ((-6, 2), "code -6"),
        ((-7,), "must be at least -6"),
        ((-1, -1), "only one dimension can be -1"),
        ((5, -1), "does not fit"),
    ],
)
def test_npx_reshape_refuses(newshape: tuple[int, ...], message: str) -> None:
    with pytest.raises(OpError, match=message):
        infer("npx_reshape", tensor(2, 3, 4), newshape=newshape)


@given(shapes.filter(len), st.data())
def test_transpose_agrees_with_torch(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    x = normal(*shape)
    assert np.array_equal(reference("transpose", x, axes=axes), torch.from_numpy(x).permute(axes).numpy())
    assert reference("transpose", x).shape == shape[::-1]


@given(shapes.filter(lambda s: len(s) > 1), st.data())
def test_moved_axes_agree_with_torch(shape: tuple[int, ...], data: st.DataObject) -> None:
    n = len(shape)
    axis = st.integers(-n, n - 1)
    a, b = data.draw(axis), data.draw(axis)
    x = normal(*shape)
    assert np.array_equal(reference("swapaxes", x, dim1=a, dim2=b), torch.from_numpy(x).swapaxes(a, b).numpy())
    expected = torch.from_numpy(x).movedim(a, b).numpy()
    assert np.array_equal(reference("moveaxis", x, source=a, destination=b), expected)
    order = data.draw(st.permutations(range(n)))
    expected = torch.from_numpy(x).movedim((0, 1), order[:2]).numpy()
    assert np.array_equal(reference("moveaxis", x, source=(0, 1), destination=order[:2]), expected)


def test_axes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="axes must be a permutation of the 3 dimensions"):
        infer("transpose", tensor(2, 3, 4), axes=(0, 1, 1))
    with pytest.raises(ShapeError, match="axes must be a permutation"):
        infer("transpose", tensor(2, 3, 4), axes=(0, 1))
    with pytest.raises(ShapeError, match=r"dim2 must lie in \[-3, 3\)"):
        infer("swapaxes", tensor(2, 3, 4), dim1=0, dim2=3)
    with pytest.raises(OpError, match="duplicate axis"):
        infer("moveaxis", tensor(2, 3, 4), source=(0, 0), destination=(1, 2))
    with pytest.raises(OpError, match="of one length"):
        infer("moveaxis", tensor(2, 3, 4), source=(0, 1), destination=1)


def test_dimensions_of_size_one_come_and_go() -> None:
    x = normal(2, 1, 3, 1)
    assert reference("squeeze", x).shape == (2, 3)
    assert reference("squeeze", x, axis=1).shape == (2, 3, 1)
    assert reference("squeeze", x, axis=(-1, 1)).shape == (2, 3)
    assert reference("expand_dims", x, axis=-1).shape == (2, 1, 3, 1, 1)
    assert reference("expand_dims", x, axis=0).shape == (1, 2, 1, 3, 1)
    with pytest.raises(ShapeError, match="only dimensions of size 1 can be dropped"):
        infer("squeeze", tensor(2, 1), axis=0)
    with pytest.raises(ShapeError, match=r"axis must lie in \[-3, 3\)"):
        infer("expand_dims", tensor(2, 1), axis=3)


def test_flatten_keeps_the_first_dimension() -> None:
    x = normal(2, 3, 4)
    assert np.array_equal(reference("flatten", x), torch.flatten(torch.from_numpy(x), 1).numpy())
    assert reference("flatten", normal(5)).shape == (5, 1)
    assert reference("flatten", np.ones((0, 3, 2), np.float32)).shape == (0, 6)
    with pytest.raises(ShapeError, match="at least 1 dimension"):
        infer("flatten", tensor())


def test_broadcasts() -> None:
    x = normal(3, 1)
    assert np.array_equal(reference("broadcast_to", x, shape=(2, 3, 4)), np.tile(x, (2, 1, 4)))
    assert reference("broadcast_like", x, normal(2, 3, 4)).shape == (2, 3, 4)
    assert reference("broadcast_like", x, normal(7, 5), lhs_axes=1, rhs_axes=-1).shape == (3, 5)
    assert reference("reshape_like", x, normal(1, 3)).shape == (1, 3)
    with pytest.raises(ShapeError, match=r"data of shape \(3, 1\) does not broadcast to \(3,\)"):
        infer("broadcast_to", tensor(3, 1), shape=(3,))
    with pytest.raises(ShapeError, match="do not broadcast"):
        infer("broadcast_like", tensor(3, 2), tensor(3, 4))
    with pytest.raises(OpError, match="lhs_axes and rhs_axes must match"):
        infer("broadcast_like", tensor(3, 1), tensor(3, 4), lhs_axes=(1,))


@given(st.integers(1, 4), st.data())
def test_concatenate_and_stack_agree_with_torch(count: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    axis = data.draw(st.integers(-rank, rank - 1))
    base = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    arrays = []
    for i in range(count):
        base[axis] = data.draw(st.integers(0, 3))
        arrays.append(normal(*base, seed=i))
    expected = torch.cat([torch.from_numpy(a) for a in arrays], axis).numpy()
    assert np.array_equal(reference("concatenate", *arrays, num_args=count, axis=axis), expected)
    same = [normal(2, 3, seed=i) for i in range(count)]
    expected = torch.stack([torch.from_numpy(a) for a in same], axis % 3).numpy()
    assert np.array_equal(reference("stack", *same, num_args=count, axis=axis % 3), expected)


def test_arrays_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"may differ along axis 1 only, got shapes \(2, 3\) and \(3, 3\)"):
        infer("concatenate", tensor(2, 3), tensor(3, 3), num_args=2, axis=1)
    with pytest.raises(ShapeError, match="at least 1 dimension"):
        infer("concatenate", tensor(), tensor(), num_args=2)
    with pytest.raises(TypeMismatchError, match="arg1 must be float32 like arg0"):
        infer("concatenate", tensor(2), tensor(2, dtype="int32"), num_args=2)
    with pytest.raises(ShapeError, match="all inputs must have one shape"):
        infer("stack", tensor(2), tensor(3), num_args=2)
    with pytest.raises(OpError, match="expected 3 inputs"):
        infer("stack", tensor(2), tensor(2), num_args=3)
