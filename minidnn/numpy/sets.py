"""Arrays as sets of their elements."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidnn.numpy.convert import as_array, own, to_numpy
from minidnn.numpy.delegated import _delegate
from minidnn.numpy.multiarray import ndarray

__all__ = ["in1d", "setxor1d", "unique_all", "unique_inverse", "unique_values"]

setxor1d = _delegate("setxor1d", "The elements that exactly one of two arrays has, sorted.")


class UniqueAll(NamedTuple):
    """What `unique_all` returns."""

    values: ndarray
    indices: ndarray
    inverse_indices: ndarray
    counts: ndarray


class UniqueInverse(NamedTuple):
    """What `unique_inverse` returns."""

    values: ndarray
    inverse_indices: ndarray


def in1d(ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False) -> ndarray:
    """Whether each element of the flattened `ar1` occurs in `ar2`, or with `invert` does not."""
    first, second = (np.ravel(to_numpy(as_array(a))) for a in (ar1, ar2))
    return own(np.isin(first, second, assume_unique=assume_unique, invert=invert))


def unique_all(x: Any) -> UniqueAll:
    """The different elements, sorted; the first position of each; each element's position among them; their counts.

    Positions are those in the flattened array; `inverse_indices` has the shape of `x`.
    """
    data = to_numpy(as_array(x))
    values, indices, inverse, counts = np.unique(data, True, True, True)
    return UniqueAll(own(values), own(indices), own(inverse.reshape(data.shape)), own(counts))


def unique_inverse(x: Any) -> UniqueInverse:
    """The different elements, sorted, and each element's position among them, in the shape of `x`."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any) -> ndarray:
    """The different elements, sorted."""
    return own(np.unique(to_numpy(as_array(x))))
