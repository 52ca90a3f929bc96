"""MXNet 2's switches for NumPy semantics: they exist and change nothing, because nothing else is offered here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

from minidnn.errors import MXNetError

__all__ = [
    "is_np_array",
    "is_np_default_dtype",
    "is_np_shape",
    "np_array",
    "np_default_dtype",
    "np_shape",
    "reset_np",
    "set_np",
    "set_np_default_dtype",
    "set_np_shape",
    "use_np",
    "use_np_array",
    "use_np_default_dtype",
    "use_np_shape",
]

_T = TypeVar("_T")


def set_np(shape: bool = True, array: bool = True, dtype: bool = False) -> None:
    """Does nothing: NumPy shapes and arrays are always on."""


def reset_np() -> None:
    """Does nothing: there is no other semantics to go back to."""


def use_np(func: _T) -> _T:
    """A decorator of functions and classes that gives them back unchanged."""
    return func


use_np_shape = use_np_array = use_np_default_dtype = use_np


def is_np_array() -> bool:
    """True: every array is a ``mx.np.ndarray``."""
    return True


def is_np_shape() -> bool:
    """True: ``()`` is a scalar's shape, and unknown dimensions are written -1."""
    return True


def is_np_default_dtype() -> bool:
    """False: float32 is the default dtype, as in MXNet."""
    return False


def set_np_default_dtype(is_np_default_dtype: bool = True) -> bool:
    """Keeps float32, the default dtype; the previous state, False.

    Raises:
        MXNetError: NumPy's default dtypes are asked for.
    """
    if is_np_default_dtype:
        raise MXNetError(
            "the default dtype is float32 here, never NumPy's float64; pass dtype='float64' where it matters"
        )
    return False


def set_np_shape(active: bool) -> bool:
    """Does nothing; the previous state is always True."""
    return True


@contextlib.contextmanager
def np_shape(active: bool = True) -> Iterator[None]:
    """A context manager, and a decorator, that changes nothing."""
    yield


np_array = np_default_dtype = np_shape
