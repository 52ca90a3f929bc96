"""NumPy's functions accept our arrays, and ours NumPy's."""

from __future__ import annotations

import numpy as onp
import pytest
import torch

from minidnn import numpy as np

X = np.array([[1.0, 4.0], [9.0, 16.0]])


def test_conversion_gives_a_view_that_cannot_be_written_to() -> None:
    x = np.ones(3)
    view = onp.asarray(x)
    x[0] = 5
    assert view.tolist() == [5, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    writable = onp.array(x)
    writable[0] = 7
    assert x[0].item() == 5
    assert onp.asarray(x, dtype="float64").dtype == onp.float64
    with pytest.raises(ValueError, match="without a copy"):
        onp.asarray(x, dtype="float64", copy=False)


def test_ufuncs_give_our_arrays() -> None:
    assert isinstance(onp.sqrt(X), np.ndarray)
    assert onp.sqrt(X).tolist() == [[1, 2], [3, 4]]
    host = onp.ones((2, 2), onp.float32)
    for result in (onp.add(host, X), onp.add(X, 1), host + X, onp.divide(X, host), onp.remainder(X, 5), host @ X):
        assert isinstance(result, np.ndarray)
    assert onp.absolute(-X).tolist() == X.tolist()
    assert onp.logaddexp(X, X).shape == (2, 2)
    assert onp.maximum.reduce(X).tolist() == [9, 16]


def test_ufuncs_write_into_our_arrays() -> None:
    out = np.zeros((2, 2))
    assert onp.multiply(X, 2, out=out) is out
    assert out.tolist() == [[2, 8], [18, 32]]
    whole, parts = np.zeros((2, 2)), np.zeros((2, 2))
    assert onp.modf(X / 2, out=(parts, whole)) == (parts, whole)
    assert parts.tolist() == [[0.5, 0], [0.5, 0]]


def test_functions_give_our_arrays() -> None:
    for result in (onp.mean(X), onp.concatenate([X, X]), onp.where(X > 2, X, 0), onp.transpose(X), onp.cumsum(X)):
        assert isinstance(result, np.ndarray)
    assert onp.mean(X).item() == 7.5
    assert isinstance(onp.linalg.norm(X), np.ndarray)
    assert onp.linalg.norm(X, axis=0).shape == (2,)
    assert onp.shape(X) == (2, 2)
    values, counts = onp.unique(X, return_counts=True)
    assert isinstance(values, np.ndarray)
    assert counts.tolist() == [1, 1, 1, 1]
    sign, logarithm = onp.linalg.slogdet(X)
    assert isinstance(logarithm, np.ndarray)
    assert sign.item() == -1


def test_arguments_we_do_not_know_are_numpys_business() -> None:
    assert onp.max(X, initial=99).item() == 99
    assert onp.mean(X, where=onp.asarray(X) > 4).item() == 12.5


def test_numpy_cannot_write_into_our_arrays_behind_our_back() -> None:
    x = np.zeros(3)
    for write in (lambda: onp.copyto(x, 1), lambda: onp.put(x, 0, 1), lambda: onp.add.at(x, [0], 1)):
        with pytest.raises((ValueError, TypeError)):
            write()
    assert not x.any()


def test_torch_takes_and_gives_copies() -> None:
    x = np.array([[1, 2], [3, 4]]).T
    for convert in (torch.from_dlpack, torch.asarray, torch.as_tensor, torch.tensor):
        tensor = convert(x)
        assert tensor.tolist() == [[1, 3], [2, 4]]
        tensor += 1
        assert x.tolist() == [[1, 3], [2, 4]]
    tensor = torch.arange(4, dtype=torch.int32)
    y = np.from_dlpack(tensor)
    tensor += 1
    assert (y.dtype, y.tolist()) == (onp.int32, [0, 1, 2, 3])
    with pytest.raises(BufferError, match="as a copy only"):
        onp.from_dlpack(x, copy=False)


def test_numpy_arrays_are_operands_of_operators() -> None:
    host = onp.arange(4.0).reshape(2, 2)
    assert (X + host).dtype == onp.float64
    assert (X * host[::-1].T).tolist() == (onp.asarray(X) * host[::-1].T).tolist()
    assert (X + host.astype(">f4")).dtype == onp.float32
