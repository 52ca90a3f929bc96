"""Matrix products against torch, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op

small = st.integers(1, 5)


@settings(deadline=None)
@given(st.lists(small, min_size=2, max_size=4).map(tuple), small, st.booleans(), st.booleans())
def test_fully_connected_agrees_with_torch(shape: tuple[int, ...], units: int, flatten: bool, bias: bool) -> None:
    features = int(np.prod(shape[1:])) if flatten else shape[-1]
    x, w, b = normal(*shape), normal(units, features, seed=1), normal(units, seed=2)
    inputs = [x, w, b] if bias else [x, w]
    actual = reference("fully_connected", *inputs, num_hidden=units, flatten=flatten, no_bias=not bias)
    rows = torch.from_numpy(x.reshape(shape[0], -1) if flatten else x)
    expected = torch.nn.functional.linear(rows, *[torch.from_numpy(a) for a in inputs[1:]])
    assert_close(actual, expected.numpy())


def test_fully_connected_knows_its_parameters() -> None:
    op = get_op("fully_connected")
    assert op.infer_parameters is not None
    attrs = op.make_attrs({"num_hidden": 7})
    assert op.infer_parameters(attrs, tensor(2, 3, 4)) == {"weight": (7, 12), "bias": (7,)}
    attrs = op.make_attrs({"num_hidden": 7, "flatten": False, "no_bias": True})
    assert op.infer_parameters(attrs, tensor(2, 3, 4)) == {"weight": (7, 4)}


def test_fully_connected_refuses() -> None:
    with pytest.raises(ShapeError, match=r"weight must have shape \(7, 12\) \(from data \(2, 3, 4\)"):
        infer("fully_connected", tensor(2, 3, 4), tensor(7, 4), num_hidden=7, no_bias=True)
    with pytest.raises(ShapeError, match=r"bias must have shape \(7,\)"):
        infer("fully_connected", tensor(2, 4), tensor(7, 4), tensor(4), num_hidden=7)
    with pytest.raises(ShapeError, match="data must not be empty, got dimension 1 of size zero"):
        infer("fully_connected", tensor(2, 0), tensor(7, 0), num_hidden=7, no_bias=True)
    with pytest.raises(ShapeError, match="data must have at least 1 dimension, got 0"):
        infer("fully_connected", tensor(), tensor(7, 4), num_hidden=7, no_bias=True)
    with pytest.raises(TypeMismatchError, match="data must be float16, float32 or float64, got int64"):
        infer("fully_connected", tensor(2, 4, dtype="int64"), tensor(7, 4), num_hidden=7, no_bias=True)
    with pytest.raises(OpError, match="'num_hidden' must be at least 1"):
        infer("fully_connected", tensor(2, 4), tensor(7, 4), num_hidden=0, no_bias=True)


@settings(deadline=None)
@given(st.lists(small, min_size=1, max_size=2).map(tuple), small, small, small, st.booleans(), st.booleans())
def test_batch_dot_agrees_with_torch(
    batch: tuple[int, ...], n: int, k: int, m: int, transpose_a: bool, transpose_b: bool
) -> None:
    a, b = normal(*batch, n, k), normal(*batch, k, m, seed=1)
    expected = torch.matmul(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    left = np.swapaxes(a, -1, -2) if transpose_a else a
    right = np.swapaxes(b, -1, -2) if transpose_b else b
    assert_close(reference("batch_dot", left, right, transpose_a=transpose_a, transpose_b=transpose_b), expected)


def test_batch_dot_refuses() -> None:
    with pytest.raises(ShapeError, match="lhs must have at least 3 dimensions"):
        infer("batch_dot", tensor(3, 4), tensor(4, 5))
    with pytest.raises(ShapeError, match=r"batch dimensions must be equal, got shapes \(2, 3, 4\) and \(1, 4, 5\)"):
        infer("batch_dot", tensor(2, 3, 4), tensor(1, 4, 5))
    with pytest.raises(ShapeError, match="the summed dimensions differ, 4 and 5"):
        infer("batch_dot", tensor(2, 3, 4), tensor(2, 4, 5), transpose_b=True)
    with pytest.raises(TypeMismatchError, match="rhs must be float32 like lhs, got float64"):
        infer("batch_dot", tensor(2, 3, 4), tensor(2, 4, 5, dtype="float64"))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((4,), (4,)),
        ((3, 4), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (6, 4, 5)),
        ((4,), (2, 4, 5)),
        ((2, 3, 4), (4,)),
    ],
)
def test_matmul_agrees_with_torch(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = normal(*left), normal(*right, seed=1)
    assert_close(reference("matmul", a, b), torch.matmul(torch.from_numpy(a), torch.from_numpy(b)).numpy())


@pytest.mark.parametrize(
    ("left", "right", "equation"),
    [
        ((4,), (4,), "a,a->"),
        ((3, 4), (4, 5), "ab,bc->ac"),
        ((2, 3, 4), (4,), "abc,c->ab"),
        ((2, 3, 4), (6, 4, 5), "abc,dce->abde"),
    ],
)
def test_dot_sums_the_last_with_the_last_but_one(left: tuple[int, ...], right: tuple[int, ...], equation: str) -> None:
    a, b = normal(*left), normal(*right, seed=1)
    expected = torch.einsum(equation, torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert_close(reference("dot", a, b), expected)


@pytest.mark.parametrize("op", ["matmul", "dot"])
def test_products_refuse(op: str) -> None:
    with pytest.raises(ShapeError, match="the summed dimensions differ, 4 and 5"):
        infer(op, tensor(3, 4), tensor(5, 4))
    with pytest.raises(TypeMismatchError, match="rhs must be int32 like lhs"):
        infer(op, tensor(3, 4, dtype="int32"), tensor(4, 5, dtype="int64"))


@pytest.mark.parametrize("op", ["matmul", "dot"])
def test_products_of_integers_are_exact(op: str) -> None:
    a = np.array([[2**53, 1], [1, 1]])
    assert reference(op, a, a).tolist() == (a.astype(object) @ a.astype(object) % 2**64).tolist()
