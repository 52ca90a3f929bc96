"""From what users pass to arrays, and into the arrays they want results in."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.device import Device
from minidnn.errors import ShapeError, TypeMismatchError
from minidnn.numpy.base import apply, as_dtype, as_native, is_scalar
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.checks import INTEGERS
from minidnn.ops.elementwise import promote
from minidnn.sizes import Size, as_index

__all__ = [
    "Shape",
    "as_array",
    "as_host",
    "as_operand",
    "as_shape",
    "check_device",
    "find_traced",
    "is_scalar",
    "own",
    "to_numpy",
    "wrap",
]

Shape = int | tuple[int, ...] | list[int]

_FLOAT64 = np.dtype(np.float64)


def as_array(x: Any, dtype: Any = None) -> ndarray:
    """`x` as an array of ours: arrays as they are, lists and numbers as float32 unless `dtype` says otherwise.

    Raises:
        TypeMismatchError: it is made of something else than numbers.
    """
    if isinstance(x, ndarray):
        return x if dtype is None else x.astype(dtype, copy=False)
    if isinstance(x, (list, tuple)) and find_traced(x) is not None:
        return _stack_traced(x, np.dtype(np.float32 if dtype is None else dtype))
    return ndarray._wrap(as_host(x, dtype))


def as_operand(x: Any) -> ndarray:
    """As `as_array`, but lists and numbers keep integers, which NumPy computes with."""
    if isinstance(x, (ndarray, np.ndarray, np.generic)):
        return as_array(x)
    if find_traced(x) is not None:
        return _stack_traced(x, promote(*_dtypes_in(x)))
    host = np.asarray(to_numpy(x))
    if host.dtype in INTEGERS or host.dtype == np.bool_:
        return as_array(host)
    return as_array(x, promote(*_dtypes_in(x)) if _has_arrays(x) else None)


def _has_arrays(x: Any) -> bool:
    """Whether there is an array of ours in nested lists."""
    return any(map(_has_arrays, x)) if isinstance(x, (list, tuple)) else isinstance(x, ndarray)


def _dtypes_in(x: Any) -> list[np.dtype[Any]]:
    """The dtypes of all arrays and numbers in nested lists."""
    return [t for part in x for t in _dtypes_in(part)] if isinstance(x, (list, tuple)) else [as_operand(x).dtype]


def _stack_traced(x: Any, dtype: np.dtype[Any]) -> ndarray:
    """Nested lists with traced arrays among their elements."""
    if not isinstance(x, (list, tuple)):
        return as_array(x, dtype)
    parts = [_stack_traced(part, dtype) for part in x]
    return apply(ndarray, "stack", parts, {"num_args": len(parts), "axis": 0})[0]


def as_host(x: Any, dtype: Any = None) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array that kernels can read, by the rules of `mx.np.array`.

    A NumPy array or scalar keeps its dtype, except that float64 becomes float32, the default; everything
    else (lists, Python's numbers) becomes float32. It may share memory with `x`.
    """
    dtype = None if dtype is None else as_dtype(dtype)
    if isinstance(x, (np.ndarray, np.generic)):
        if dtype is None:
            dtype = np.float32 if x.dtype.newbyteorder("=") == _FLOAT64 else x.dtype
        host = np.asarray(x)
    else:
        try:
            host = np.asarray(to_numpy(x), dtype=np.float32 if dtype is None else dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise TypeMismatchError(f"{type(x).__name__} cannot become an array: {error}") from None
    return as_native(host if dtype is None else host.astype(dtype, copy=False))


def as_shape(shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of Python's integers.

    Raises:
        ShapeError: a negative number.
    """
    numbers = (shape,) if is_scalar(shape) else tuple(shape)
    result = tuple(map(as_index, numbers))
    if any(not isinstance(n, Size) and n < 0 for n in result):
        raise ShapeError(f"a shape must have no negative numbers, got {result}")
    return result


def check_device(device: Any) -> None:
    """Accepts None and CPUs.

    Raises:
        MXNetError: another device.
    """
    if device is not None and not isinstance(device, Device):
        Device(str(device).split("(")[0])


def find_traced(value: Any) -> ndarray | None:
    """An array of a network being traced, at any depth of lists, tuples and dictionaries; None if there is none."""
    if isinstance(value, ndarray):
        return value if value._trace is not None else None
    if isinstance(value, dict):
        return find_traced(tuple(value.values()))
    if isinstance(value, (list, tuple)):
        return next((found for found in map(find_traced, value) if found is not None), None)
    return None


def to_numpy(value: Any) -> Any:
    """`value` with every array of ours, at any depth of lists, tuples and dictionaries, as NumPy's, read-only.

    Raises:
        MXNetError: an array is traced.
    """
    if isinstance(value, ndarray):
        return np.asarray(value)
    if isinstance(value, dict):
        return {key: to_numpy(v) for key, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_numpy(v) for v in value)
    return value


def own(array: Any) -> ndarray:
    """A NumPy array as ours; copied where it is a view on something else."""
    host = np.asarray(array)
    return ndarray._wrap(host if host.base is None and host.flags.writeable else host.copy())


def wrap(value: Any) -> Any:
    """NumPy's arrays of numbers in `value`, at any depth of lists and tuples, as ours."""
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return own(value)
    if isinstance(value, (list, tuple)):
        parts = [wrap(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
