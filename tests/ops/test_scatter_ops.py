"""`index_add`, `index_update`, `sequence_reverse` and `constraint_check` against loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops_helpers import infer, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError

A = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
ROWS = [
    (np.array([[0, 0], [0, 2], [0, 3]], np.int32), np.array([10, 20], np.float32)),
    (np.array([[1, 1, 0], [2, 2, 0]], np.int64), np.arange(12, dtype=np.float32).reshape(3, 4)),
    (np.array([[1, 1, 0], [2, 2, -3]], np.int64), np.arange(4, dtype=np.int32)),
    (np.array([[0, 1]], np.int8), np.ones((1, 3, 1), np.float32)),
    (np.array([1, 0, 1], np.int32), np.arange(12, dtype=np.float64).reshape(3, 1, 4)),
    (np.array(1, np.int32), np.float32(5)[None]),
]


def written(add: bool, ind: Any, val: Any) -> Any:
    """One position after the other."""
    result, places = A.copy(), np.atleast_1d(ind).reshape(ind.shape[0] if ind.ndim == 2 else 1, -1).T
    values = np.broadcast_to(val, (len(places), *A.shape[places.shape[1] :]))
    for place, value in zip(places, values, strict=True):
        result[tuple(place)] = result[tuple(place)] + value if add else value
    return result


@pytest.mark.parametrize("ind, val", ROWS)
def test_positions_are_written_one_after_the_other(ind: Any, val: Any) -> None:
    before = A.copy()
    np.testing.assert_array_equal(reference("index_add", A, ind, val), written(True, ind, val))
    np.testing.assert_array_equal(reference("index_update", A, ind, val), written(False, ind, val))
    np.testing.assert_array_equal(A, before)


@pytest.mark.parametrize("op", ["index_add", "index_update"])
def test_what_does_not_fit_is_refused(op: str) -> None:
    positions = tensor(2, 5, dtype="int32")
    with pytest.raises(TypeMismatchError, match="ind must be of an integer dtype"):
        infer(op, tensor(3, 4), tensor(2, 5), tensor(5))
    with pytest.raises(ShapeError, match="ind must have at most two dimensions"):
        infer(op, tensor(3, 4), tensor(1, 2, 5, dtype="int32"), tensor(5))
    with pytest.raises(ShapeError, match="positions along 2 axes, but a has 1"):
        infer(op, tensor(3), positions, tensor(5))
    with pytest.raises(ShapeError, match=r"val of shape \(3,\) does not broadcast|do not broadcast"):
        infer(op, tensor(3, 4), positions, tensor(3))
    with pytest.raises(ShapeError, match=r"val of shape \(7, 5\) does not broadcast to \(5,\)"):
        infer(op, tensor(3, 4), positions, tensor(7, 5))
    for outside in (-3, 2):
        with pytest.raises(OpError, match=r"positions along axis 0 must lie in \[-2, 2\)"):
            reference(op, A, np.array([outside]), np.float32([0]))


def test_sequences_are_reversed_up_to_their_length() -> None:
    data = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    length = np.array([1, 3, 4], np.int32)
    want = data.copy()
    for i, n in enumerate(length):
        want[:n, i] = data[:n, i][::-1]
    np.testing.assert_array_equal(reference("sequence_reverse", data, length, use_sequence_length=True), want)
    np.testing.assert_array_equal(reference("sequence_reverse", data), data[::-1])
    with pytest.raises(ShapeError, match=r"sequence_length must have shape \(3,\)"):
        infer("sequence_reverse", tensor(4, 3, 2), tensor(4), use_sequence_length=True)


def test_a_constraint_that_is_violated_raises_its_message() -> None:
    assert reference("constraint_check", np.array([True, True])).item() is True
    with pytest.raises(ValueError, match="scales are positive"):
        reference("constraint_check", np.array([True, False]), msg="scales are positive")
    with pytest.raises(TypeMismatchError, match="input must be bool"):
        infer("constraint_check", tensor(2))
