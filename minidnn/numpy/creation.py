"""Functions that make arrays. The default dtype is float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.numpy.base import apply, as_dtype, as_native, check_order, deliver
from minidnn.numpy.convert import (
    Shape,
    as_array,
    as_host,
    as_shape,
    check_device,
    find_traced,
    is_scalar,
    own,
    to_numpy,
)
from minidnn.numpy.multiarray import ndarray
from minidnn.sizes import has_sizes

__all__ = [
    "arange",
    "array",
    "asarray",
    "ascontiguousarray",
    "copy",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "identity",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]


def array(object: Any, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """An array of its own from anything that looks like one.

    Args:
        object: an array of ours or NumPy's (of any memory layout and byte order), nested lists, a number.
        dtype: by default that of an array, except that NumPy's float64 becomes float32; float32 for
            everything else.
        device, ctx: a CPU.

    Raises:
        TypeMismatchError: `object` is not made of numbers.
    """
    check_device(device or ctx)
    if isinstance(object, ndarray):
        return object.astype(object.dtype if dtype is None else dtype)
    if find_traced(object) is not None:
        return as_array(object, dtype)
    host = as_host(object, dtype)
    return ndarray._wrap(np.array(host, order="C"))


def asarray(obj: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> ndarray:
    """`obj` itself if it is an array of ours with that dtype, else `array(obj)`."""
    if isinstance(obj, ndarray) and not copy:
        check_device(device)
        return as_array(obj, dtype)
    return array(obj, dtype, device)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """As `asarray`; memory layout is the compiler's business."""
    return asarray(a, dtype)


def from_dlpack(x: Any) -> ndarray:
    """A copy of an array of another library that speaks DLPack, such as a torch tensor on the CPU."""
    return ndarray._wrap(as_native(np.array(np.from_dlpack(x))))


def copy(a: Any) -> ndarray:
    """An array of its own with the same elements."""
    return as_array(a).copy()


def empty(shape: Shape, dtype: Any = None, order: str = "C", device: Any = None, ctx: Any = None) -> ndarray:
    """An array whose elements are whatever was in memory.

    Raises:
        UnsupportedError: `order` is not ``C``, here and wherever else an array is made.
    """
    check_order("empty", order)
    check_device(device or ctx)
    sizes = as_shape(shape)
    return _filled(sizes, 0, dtype) if has_sizes(sizes) else own(np.empty(sizes, as_dtype(dtype or np.float32)))


def _filled(shape: Shape, value: float, dtype: Any) -> ndarray:
    """An array of one number, recorded where its shape depends on the sizes of a network being traced."""
    sizes = as_shape(shape)
    if has_sizes((*sizes, value)):
        return apply(ndarray, "full", (), {"shape": sizes, "value": value, "dtype": as_dtype(dtype or np.float32)})[0]
    return own(np.full(sizes, value, as_dtype(dtype or np.float32)))


def zeros(shape: Shape, dtype: Any = None, order: str = "C", device: Any = None, ctx: Any = None) -> ndarray:
    """An array of zeros."""
    check_order("zeros", order)
    check_device(device or ctx)
    return _filled(shape, 0, dtype)


def ones(shape: Shape, dtype: Any = None, order: str = "C", device: Any = None, ctx: Any = None) -> ndarray:
    """An array of ones."""
    check_order("ones", order)
    check_device(device or ctx)
    return _filled(shape, 1, dtype)


def full(
    shape: Shape,
    fill_value: Any,
    dtype: Any = None,
    order: str = "C",
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """An array filled with a number, or with an array that is broadcast to the shape.

    The default dtype is bool for a bool, that of an array, and float32 otherwise.
    """
    check_order("full", order)
    check_device(device or ctx)
    if is_scalar(fill_value):
        dtype = dtype or (np.bool_ if isinstance(fill_value, (bool, np.bool_)) else np.float32)
    if is_scalar(fill_value) and has_sizes((as_shape(shape), fill_value)):
        return deliver(_filled(shape, fill_value, dtype), out)
    filled = as_array(fill_value, dtype)
    if filled._trace is not None:
        return deliver(filled.broadcast_to(as_shape(shape)), out)
    value = np.asarray(filled)
    return deliver(own(np.array(np.broadcast_to(value, as_shape(shape)))), out)


def empty_like(
    prototype: Any, dtype: Any = None, device: Any = None, order: str = "C", subok: bool = False, shape: Any = None
) -> ndarray:
    """An array like `prototype`, whose elements are whatever was in memory."""
    like = as_array(prototype)
    return empty(like.shape if shape is None else shape, dtype or like.dtype, order, device)


def zeros_like(
    a: Any, dtype: Any = None, order: str = "C", device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """Zeros in the shape and dtype of `a`."""
    return full_like(a, 0, dtype, order, device, out, ctx)


def ones_like(
    a: Any, dtype: Any = None, order: str = "C", device: Any = None, out: ndarray | None = None, ctx: Any = None
) -> ndarray:
    """Ones in the shape and dtype of `a`."""
    return full_like(a, 1, dtype, order, device, out, ctx)


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "C",
    device: Any = None,
    out: ndarray | None = None,
    ctx: Any = None,
) -> ndarray:
    """An array in the shape and dtype of `a`, filled with a number."""
    like = as_array(a)
    return full(like.shape, fill_value, dtype or like.dtype, order, device, out, ctx)


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None, device: Any = None, ctx: Any = None
) -> ndarray:
    """Evenly spaced numbers from `start` up to, without, `stop`; float32 by default, for integers too."""
    check_device(device or ctx)
    if has_sizes((start, stop, step)):
        first, last = (0, start) if stop is None else (start, stop)
        attrs = {"start": first, "stop": last, "step": step, "dtype": dtype or np.float32}
        return apply(ndarray, "arange", (), attrs)[0]
    numbers = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return own(numbers.astype(dtype or np.float32))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    device: Any = None,
    ctx: Any = None,
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop`; with `retstep` also the distance between them."""
    check_device(device or ctx)
    _check_count("linspace", num)
    if find_traced((start, stop)) is not None:
        return _record_linspace(start, stop, num, endpoint, retstep, dtype, axis)
    first, last = (np.asarray(to_numpy(x), np.float64) for x in (start, stop))
    # NumPy rounds down to integers, where a cast would round towards zero.
    numbers, step = np.linspace(first, last, num, endpoint, retstep=True, dtype=dtype or np.float32, axis=axis)
    result = own(numbers)
    return (result, float(step) if np.ndim(step) == 0 else own(step.astype(np.float32))) if retstep else result


def _check_count(function: str, num: Any) -> None:
    """Raises OpError unless `num` is a number of samples."""
    if not isinstance(num, (int, np.integer)) or num < 0:
        raise OpError(f"{function}: num must be an integer that is not negative, got {num!r}")


def _record_linspace(start: Any, stop: Any, num: int, endpoint: bool, retstep: bool, dtype: Any, axis: int) -> Any:
    """`linspace` between arrays that are being traced."""
    first, last = (x if x.dtype.kind == "f" else x.astype(np.float32) for x in map(as_array, (start, stop)))
    if first.dtype == last.dtype == np.float16:
        first, last = first.astype(np.float32), last.astype(np.float32)
    distance = ndarray._binary("subtract", last, first)
    parts = max(num - 1 if endpoint else num, 1)
    shares = ndarray._wrap(np.arange(num, dtype=np.float32) / np.float32(parts)).reshape((num, *(1,) * distance.ndim))
    numbers = ndarray._binary("add", first, ndarray._binary("multiply", distance, shares))
    numbers = numbers._apply("moveaxis", source=0, destination=axis)
    if dtype is not None and np.dtype(dtype).kind in "iu":
        numbers = numbers._apply("floor")
    numbers = numbers.astype(dtype or np.float32, copy=False)
    return (numbers, ndarray._binary("true_divide", distance, parts)) if retstep else numbers


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: float = 10.0,
    dtype: Any = None,
    axis: int = 0,
    device: Any = None,
    ctx: Any = None,
) -> ndarray:
    """`num` numbers from ``base**start`` to ``base**stop``, evenly spaced on the logarithmic scale."""
    check_device(device or ctx)
    _check_count("logspace", num)
    if find_traced((start, stop)) is not None:
        exponents = _record_linspace(start, stop, num, endpoint, False, None, axis)
        return ndarray._binary("power", base, exponents).astype(dtype or np.float32, copy=False)
    first, last = (np.asarray(to_numpy(x), np.float64) for x in (start, stop))
    return own(np.logspace(first, last, num, endpoint, base, axis=axis).astype(dtype or np.float32))


def eye(
    N: int,  # noqa: N803
    M: int | None = None,  # noqa: N803
    k: int = 0,
    dtype: Any = None,
    device: Any = None,
    ctx: Any = None,
) -> ndarray:
    """Ones on diagonal `k` of an N×M matrix of zeros."""
    check_device(device or ctx)
    rows, columns = as_shape((N, N if M is None else M))
    if has_sizes((rows, columns, k)):
        return apply(ndarray, "eye", (), {"N": rows, "M": columns, "k": k, "dtype": dtype or np.float32})[0]
    return own(np.eye(rows, columns, k, dtype or np.float32))


def identity(n: int, dtype: Any = None, device: Any = None, ctx: Any = None) -> ndarray:
    """The n×n identity matrix."""
    return eye(n, dtype=dtype, device=device, ctx=ctx)
