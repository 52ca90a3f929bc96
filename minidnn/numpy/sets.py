"""Arrays as sets of their elements."""

from __future__ import annotations

from typing import Any, NamedTuple

from minidnn.dispatch import invoke_one
from minidnn.numpy.base import apply
from minidnn.numpy.convert import as_array, as_operand
from minidnn.numpy.delegated import _delegate
from minidnn.numpy.manipulation import ravel
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
    return invoke_one("isin", ravel(as_operand(ar1)), as_operand(ar2), invert=invert)


def unique_all(x: Any) -> UniqueAll:
    """The different elements, sorted; the first position of each; each element's position among them; their counts.

    Positions are those in the flattened array; `inverse_indices` has the shape of `x`.
    """
    return UniqueAll(*apply(ndarray, "unique", [as_array(x)], {}))


def unique_inverse(x: Any) -> UniqueInverse:
    """The different elements, sorted, and each element's position among them, in the shape of `x`."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any) -> ndarray:
    """The different elements, sorted."""
    return unique_all(x).values
