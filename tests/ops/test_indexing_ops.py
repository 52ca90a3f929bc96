"""Operators that pick by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_clips_or_wraps(axis: int) -> None:
    x = normal(4, 5, 6)
    indices = np.array([[0, 2], [-1, 9]])
    size = x.shape[axis]
    for mode, inside in (("clip", np.clip(indices, 0, size - 1)), ("wrap", indices % size)):
        taken = reference("take", x, indices, axis=axis, mode=mode)
        assert np.array_equal(taken, np.take(x, inside, axis))
    assert np.array_equal(reference("take", x, indices.astype(np.float32)), reference("take", x, indices))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_embedding_agrees_with_torch(dtype: str) -> None:
    table = normal(7, 3)
    positions = np.array([[0, 6, 2], [1, 1, 5]])
    expected = F.embedding(torch.from_numpy(positions), torch.from_numpy(table)).numpy()
    actual = reference("embedding", positions.astype(dtype), table, input_dim=7, output_dim=3)
    assert np.array_equal(actual, expected)


def test_embedding_clips_what_is_out_of_range() -> None:
    table = normal(7, 3)
    wild = np.array([-5, 700, np.nan, np.inf, -np.inf], np.float32)
    actual = reference("embedding", wild, table, input_dim=7, output_dim=3)
    assert np.array_equal(actual, table[[0, 6, 0, 6, 0]])
    huge = np.array([np.iinfo(np.uint64).max], np.uint64)
    assert np.array_equal(reference("embedding", huge, table, input_dim=7, output_dim=3), table[[6]])


def test_embedding_refuses() -> None:
    with pytest.raises(ShapeError, match=r"weight must have shape \(7, 3\) \(input_dim, output_dim\)"):
        infer("embedding", tensor(2, dtype="int32"), tensor(3, 7), input_dim=7, output_dim=3)
    with pytest.raises(TypeMismatchError, match="data must be integers"):
        infer("embedding", tensor(2, dtype="bool"), tensor(7, 3), input_dim=7, output_dim=3)
    op = get_op("embedding")
    assert op.infer_parameters is not None
    assert op.infer_parameters(op.make_attrs({"input_dim": 7, "output_dim": 3}), tensor(2)) == {"weight": (7, 3)}


def test_one_hot_agrees_with_torch() -> None:
    positions = np.array([[0, 3], [2, 1]])
    expected = F.one_hot(torch.from_numpy(positions), 4).numpy()
    assert np.array_equal(reference("one_hot", positions, depth=4), expected)
    assert infer("one_hot", tensor(2), depth=4).dtype == "float32"
    outside = reference("one_hot", np.array([-1, 4]), depth=4, on_value=2, off_value=-1, dtype="int8")
    assert outside.tolist() == [[-1] * 4] * 2
    assert outside.dtype == np.int8


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_pick_takes_one_element_of_each_line(axis: int, keepdims: bool) -> None:
    x = normal(3, 4, 5)
    index = np.random.default_rng(1).integers(0, x.shape[axis], np.delete(x.shape, axis))
    expected = torch.gather(torch.from_numpy(x), axis, torch.from_numpy(index).unsqueeze(axis)).numpy()
    actual = reference("pick", x, index, axis=axis, keepdims=keepdims)
    assert np.array_equal(actual, expected if keepdims else expected.squeeze(axis))
    assert np.array_equal(reference("pick", x, np.expand_dims(index, axis), axis=axis, keepdims=keepdims), actual)


def test_pick_clips_wraps_and_refuses() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert reference("pick", x, np.array([-1, 7])).tolist() == [0, 5]
    assert reference("pick", x, np.array([-1, 7]), mode="wrap").tolist() == [2, 4]
    with pytest.raises(ShapeError, match=r"index must have shape \(2,\) or \(2, 1\)"):
        infer("pick", tensor(2, 3), tensor(3))


def test_gather_nd_reads_positions_by_rows() -> None:
    x = normal(3, 4, 5)
    indices = np.array([[0, 2, -1], [1, 3, 0]])
    assert np.array_equal(reference("gather_nd", x, indices), x[[0, 2, 2], [1, 3, 0]])
    assert np.array_equal(reference("gather_nd", x, indices[:1].astype(np.float32)), x[[0, 2, -1]])
    with pytest.raises(OpError, match=r"row 1 of indices must lie in \[-4, 4\), got 0\.\.4"):
        reference("gather_nd", x, np.array([[0, 0], [0, 4]]))
    with pytest.raises(ShapeError, match=r"indices must have 1\.\.3 rows"):
        infer("gather_nd", tensor(3, 4, 5), tensor(4, 2, dtype="int64"))


@settings(deadline=None)
@given(st.data(), st.booleans())
def test_topk_agrees_with_torch(data: st.DataObject, ascending: bool) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    x = normal(*shape)
    values, indices = torch.topk(torch.from_numpy(x), k, axis, largest=not ascending)
    attrs: dict[str, Any] = {"axis": axis, "k": k, "is_ascend": ascending}
    both = reference("topk", x, ret_typ="both", dtype="int64", **attrs)
    assert_close(both[0], values.numpy())
    assert np.array_equal(both[1], indices.numpy())
    assert np.array_equal(reference("topk", x, ret_typ="value", **attrs), both[0])
    mask = reference("topk", x, ret_typ="mask", **attrs)
    assert np.array_equal(np.sort(x[mask == 1]), np.sort(both[0].ravel()))
    assert mask.sum() == both[0].size


def test_topk_keeps_equal_elements_in_order() -> None:
    x = np.array([2, 5, 5, 1, 5], np.float32)
    assert reference("topk", x, k=4).tolist() == [1, 2, 4, 0]
    assert reference("topk", x, k=0, is_ascend=True).tolist() == [3, 0, 1, 2, 4]
    assert reference("topk", x.reshape(1, 5), k=2, axis=None).shape == (2,)
    with pytest.raises(ShapeError, match="k must be at most the 5 elements"):
        infer("topk", tensor(5), k=6)


@pytest.mark.parametrize("axis", [0, 1])
def test_sequence_mask_writes_behind_the_ends(axis: int) -> None:
    x = normal(4, 3, 2)
    lengths = np.array([1, 4, 0] if axis == 0 else [2, 0, 3, 1], np.float32)
    out = reference("sequence_mask", x, lengths, use_sequence_length=True, value=-1, axis=axis)
    for position in np.ndindex(*x.shape):
        step, sequence = position[axis], position[1 - axis]
        assert out[position] == (x[position] if step < lengths[sequence] else -1)
    assert np.array_equal(reference("sequence_mask", x), x)
    with pytest.raises(ShapeError, match=r"sequence_length must have shape \(3,\)"):
        infer("sequence_mask", tensor(4, 3), tensor(4), use_sequence_length=True)


def test_arange_like_counts_in_the_shape_of_its_input() -> None:
    x = normal(2, 3)
    assert reference("arange_like", x).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert reference("arange_like", x, start=1, step=0.5, axis=-1).tolist() == [1, 1.5, 2]
    assert reference("arange_like", x, repeat=2).tolist() == [[0, 0, 1], [1, 2, 2]]
    assert reference("shape_array", x).tolist() == [2, 3]
    with pytest.raises(ShapeError, match="axis must lie in"):
        infer("arange_like", tensor(2, 3), axis=2)
