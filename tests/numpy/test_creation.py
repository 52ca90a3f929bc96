"""Making arrays: float32 by default."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from minidnn import cpu
from minidnn import numpy as np
from minidnn.errors import MXNetError, TypeMismatchError


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (3, "float32"),
        ([1, 2], "float32"),
        ([[True], [False]], "float32"),
        ((1.5, 2), "float32"),
        (onp.zeros(2), "float32"),
        (onp.float64(2), "float32"),
        (onp.zeros(2, "float16"), "float16"),
        (onp.zeros(2, "int64"), "int64"),
        (onp.zeros(2, "uint8"), "uint8"),
        (onp.zeros(2, "bool"), "bool"),
        (np.zeros(2, dtype="float64"), "float64"),
        ([np.zeros(2, dtype="int32"), np.ones(2)], "float32"),
    ],
)
def test_dtypes_of_new_arrays(value: Any, dtype: str) -> None:
    assert np.array(value).dtype == dtype
    assert np.array(value, dtype="int8").dtype == "int8"


def test_any_numpy_array_is_accepted_and_copied() -> None:
    base = onp.arange(24, dtype=onp.float32).reshape(4, 6)
    readonly = base.copy()
    readonly.flags.writeable = False
    unaligned = onp.frombuffer(b"\0" + base.tobytes(), onp.uint8)[1:].view(onp.float32).reshape(4, 6)
    for odd in (base[::-1, ::2], base.T, base.astype(">f4"), readonly, onp.asfortranarray(base), unaligned):
        x = np.array(odd)
        assert onp.array_equal(x.asnumpy(), odd)
        assert x.dtype == onp.float32
        x[...] = 0
    assert base[1, 1] == 7
    assert np.array(base.astype(">i2")).dtype == onp.int16


@pytest.mark.parametrize("value", ["text", [[1, 2], [3]], object(), [1j], onp.array(["a"]), onp.array([1j]), {}])
def test_what_is_not_made_of_numbers_is_refused(value: Any) -> None:
    with pytest.raises(TypeMismatchError):
        np.array(value)


def test_filled_arrays() -> None:
    for shape in ((2, 3), [2, 3], (onp.int64(2), 3)):
        assert np.zeros(shape).tolist() == [[0] * 3] * 2
    assert np.ones(3).dtype == "float32"
    assert np.empty((2, 0)).shape == (2, 0)
    assert np.full((2,), 7).tolist() == [7, 7]
    assert np.full(2, True).dtype == "bool"
    assert np.full((2, 2), onp.array([1, 2])).dtype == "int64"
    assert np.zeros(2, dtype=int).dtype == "int64"
    with pytest.raises(ValueError, match="no negative numbers"):
        np.zeros((2, -1))


def test_likes_take_shape_and_dtype() -> None:
    x = np.array([[1, 2]], dtype="int8")
    assert (np.zeros_like(x).dtype, np.ones_like(x).tolist()) == (onp.int8, [[1, 1]])
    assert np.full_like(x, 3, dtype="float16").dtype == "float16"
    assert np.empty_like(x).shape == (1, 2)
    out = np.zeros((1, 2), dtype="int8")
    assert np.ones_like(x, out=out) is out
    assert out.tolist() == [[1, 1]]


def test_ranges() -> None:
    assert np.arange(3).tolist() == [0, 1, 2]
    assert np.arange(3).dtype == "float32"
    assert np.arange(2, 8, 3, dtype="int32").tolist() == [2, 5]
    assert np.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.linspace(0, 1, 4, endpoint=False, retstep=True)[1] == 0.25
    assert np.logspace(0, 2, 3).tolist() == [1, 10, 100]
    assert np.eye(2, 3, 1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert np.identity(2).tolist() == [[1, 0], [0, 1]]


def test_asarray_copies_only_when_it_must() -> None:
    x = np.ones(2)
    assert np.asarray(x) is np.ascontiguousarray(x) is x
    assert np.asarray(x, dtype="int8").dtype == "int8"
    assert np.asarray(x, copy=True) is not x
    assert np.copy(x) is not x


def test_devices_are_checked() -> None:
    assert np.zeros(2, device=cpu(), ctx=cpu(1)).shape == (2,)
    with pytest.raises(MXNetError, match="CPUs only"):
        np.zeros(2, device="gpu(0)")


def test_constants_and_dtypes_are_there() -> None:
    assert np.newaxis is None
    assert np.pi == onp.pi
    assert np.isnan(np.nan)
    assert np.array([1], dtype=np.int8).dtype == np.int8
    assert np.array([0, 1]).astype(np.bool).dtype == np.bool_
    assert all(hasattr(np, name) for name in np.__all__)
    assert len(set(np.__all__)) == len(np.__all__)
