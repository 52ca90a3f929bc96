"""Facts about dtypes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidnn.numpy.convert import to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.elementwise import promote

__all__ = [
    "boolean_dtypes",
    "can_cast",
    "finfo",
    "floating_dtypes",
    "iinfo",
    "integer_dtypes",
    "min_scalar_type",
    "numeric_dtypes",
    "promote_types",
    "result_type",
]

integer_dtypes = [np.dtype(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")]
floating_dtypes = [np.dtype(t) for t in ("float16", "float32", "float64")]
numeric_dtypes = [*integer_dtypes, *floating_dtypes]
boolean_dtypes = [np.dtype(np.bool_)]


class FloatInfo(NamedTuple):
    """Limits of a float dtype, as Python's numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float


class IntegerInfo(NamedTuple):
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int


def _dtype_of(x: Any) -> Any:
    return x.dtype if isinstance(x, ndarray) else x


def finfo(dtype: Any) -> FloatInfo:
    """The limits of a float dtype, or of an array's.

    Raises:
        ValueError: it is no float dtype.
    """
    info = np.finfo(_dtype_of(dtype))
    return FloatInfo(info.bits, float(info.eps), float(info.max), float(info.min), float(info.tiny))


def iinfo(dtype: Any) -> IntegerInfo:
    """The limits of an integer dtype, or of an array's.

    Raises:
        ValueError: it is no integer dtype.
    """
    info = np.iinfo(_dtype_of(dtype))
    return IntegerInfo(info.bits, int(info.max), int(info.min))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether every value of the dtype `from_`, or of an array's, is one of the dtype `to`."""
    return bool(np.can_cast(_dtype_of(from_), _dtype_of(to)))


def promote_types(type1: Any, type2: Any) -> np.dtype[Any]:
    """The smallest dtype that holds all values of both, by NumPy's rules."""
    return np.promote_types(type1, type2)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype of an operator's result on these arrays and dtypes: the widest float, or NumPy's rule without floats.

    Raises:
        ValueError: there are none, or one is neither an array nor a dtype.
    """
    if not arrays_and_dtypes:
        raise ValueError("result_type: at least one array or dtype is required")
    dtypes = []
    for x in arrays_and_dtypes:
        try:
            dtypes.append(np.dtype(x.dtype if isinstance(x, (ndarray, np.ndarray)) else x))
        except TypeError:
            raise ValueError(f"result_type: arrays and dtypes are wanted, got {x!r}") from None
    return promote(*dtypes)


def min_scalar_type(a: Any) -> np.dtype[Any]:
    """For one number the smallest dtype that holds it, for an array its dtype."""
    if isinstance(a, ndarray):
        return np.min_scalar_type(to_numpy(a)) if not a.shape else a.dtype
    return np.min_scalar_type(a)
