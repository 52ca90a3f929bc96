"""Arrays to and from other libraries, without a copy where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import DataError, TypeMismatchError
from minidnn.numpy.base import as_native
from minidnn.numpy.multiarray import ndarray as _Array

__all__ = ["from_dlpack", "from_numpy", "to_dlpack_for_read", "to_dlpack_for_write"]

_CPU = 1  # kDLCPU of https://dmlc.github.io/dlpack/latest/c_api.html


class _Capsule:
    """A capsule as NumPy wants it: inside an object that hands it out."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_CPU, 0)


class _Writable:
    """The memory of an array that NumPy marks as read-only since capsules of the old kind do not say what they are."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array  # keeps the memory
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _shared(host: np.ndarray[Any, Any]) -> _Array:
    """An array on memory that others can write to, or a copy where kernels could not read it."""
    native = as_native(host)
    result = _Array._wrap(native)
    if np.may_share_memory(native, host):
        result._buffer.share()
    return result


def from_dlpack(x: Any) -> _Array:
    """An array on the memory of a DLPack capsule, or of an array of another library, such as a torch tensor.

    What one writes, the other sees. Memory that kernels cannot read (not contiguous, another byte order) is copied. A
    capsule can be used once.

    Raises:
        TypeMismatchError: `x` is neither, or its dtype is unsupported.
        DataError: the memory is not a CPU's, or the capsule has been used.
    """
    if hasattr(x, "__dlpack__"):
        device = x.__dlpack_device__()[0]
        if device != _CPU:
            raise DataError(f"from_dlpack: the memory must be a CPU's (DLPack's device type 1), got type {int(device)}")
        x = x.__dlpack__()
    if type(x).__name__ != "PyCapsule":
        raise TypeMismatchError(f"from_dlpack: a capsule or an array with __dlpack__ is wanted, got {type(x).__name__}")
    try:
        host = np.from_dlpack(_Capsule(x))
    except (ValueError, BufferError, RuntimeError, SystemError) as error:
        raise DataError(f"from_dlpack: the capsule holds no tensor, or has been used: {error}") from None
    return _shared(np.asarray(_Writable(host)))


def to_dlpack_for_read(data: _Array) -> Any:
    """A DLPack capsule with a copy of the elements."""
    return data.to_dlpack_for_read()


def to_dlpack_for_write(data: _Array) -> Any:
    """A DLPack capsule with the array's own memory; what others write there, the array sees."""
    return data.to_dlpack_for_write()


def from_numpy(ndarray: np.ndarray[Any, Any], zero_copy: bool = True) -> _Array:
    """A NumPy array as ours.

    Args:
        ndarray: the array.
        zero_copy: on the same memory, which NumPy then marks as read-only; otherwise a copy.

    Raises:
        ValueError: `zero_copy` and the array is not C-contiguous.
        TypeMismatchError: it is no NumPy array, or its dtype is unsupported.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeMismatchError(f"from_numpy: a NumPy array is wanted, got {type(ndarray).__name__}")
    if not zero_copy:
        return _Array._wrap(as_native(np.array(ndarray, order="C")))
    if not ndarray.flags.c_contiguous:
        raise ValueError("from_numpy: only a C-contiguous array can be taken without a copy; use zero_copy=False")
    result = _shared(ndarray.view())
    ndarray.flags.writeable = False
    return result
