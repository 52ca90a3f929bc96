"""Indexing: views and copies, reading and writing, as NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from minidnn import numpy as np

HOST = onp.arange(2 * 3 * 4, dtype=onp.float32).reshape(2, 3, 4)


@given(basic_indices((2, 3, 4), allow_newaxis=True, max_dims=6))
def test_basic_indices_read_and_write_as_numpys(key: Any) -> None:
    x, host = np.array(HOST), HOST.copy()
    view = x[key]
    assert isinstance(view, np.ndarray)
    assert onp.array_equal(view.asnumpy(), host[key])
    assert view.shape == onp.shape(host[key])
    x[key] = -1
    host[key] = -1
    assert onp.array_equal(x.asnumpy(), host)
    assert (view == -1).all()


@pytest.mark.parametrize(
    "key",
    [
        [0, 1, 0],
        (slice(None), [2, 0]),
        (onp.array([1, 0]), onp.array([2, -1])),
        HOST > 5,
        (0, HOST[0] > 5),
        (slice(None), onp.array([True, False, True])),
        (Ellipsis, onp.array([[0, 3]])),
    ],
)
def test_integer_and_boolean_arrays_give_copies(key: Any) -> None:
    x = np.array(HOST)
    taken = x[key]
    assert onp.array_equal(taken.asnumpy(), HOST[key])
    taken[...] = -1
    assert onp.array_equal(x.asnumpy(), HOST)
    host = HOST.copy()
    x[key], host[key] = 7, 7
    assert onp.array_equal(x.asnumpy(), host)


def test_our_own_arrays_are_keys() -> None:
    x = np.array(HOST)
    assert onp.array_equal(x[np.array([1, 0], dtype="int32")].asnumpy(), HOST[[1, 0]])
    assert onp.array_equal(x[x > 5].asnumpy(), HOST[HOST > 5])
    x[x > 5] = np.array(0)
    assert x.max() == 5
    x[0] = np.ones((3, 4))
    x[1, 0] = [1, 2, 3, 4]
    assert x[1, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("key", [2, (0, 3), (0, 0, 0, 0), "a", 1.5, onp.array([5])])
def test_keys_that_do_not_fit_are_numpys_errors(key: Any) -> None:
    with pytest.raises(IndexError):
        np.array(HOST)[key]


@given(st.integers(-2, 1))
def test_one_element_is_an_array_without_dimensions(i: int) -> None:
    x = np.array([1, 2])
    assert x[i].shape == ()
    x[i] += 5
    assert x[i].item() in (6, 7)
