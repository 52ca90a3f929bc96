"""What stands between the brackets of ``x[...]``."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from minidnn.errors import MXNetError
from minidnn.ir.trace import no_data
from minidnn.numpy.base import Array, ArrayBase

__all__ = ["is_basic", "record_basic", "to_numpy_key"]


def to_numpy_key(key: Any) -> Any:
    """The key with our arrays replaced by NumPy's.

    Raises:
        MXNetError: one of them is traced, so that its values are not known.
    """
    if isinstance(key, tuple):
        return tuple(to_numpy_key(k) for k in key)
    if isinstance(key, ArrayBase):
        if key._entry is not None:
            raise no_data(key._entry, "an array used as an index")
        return key._data
    return key


def _is_integer(k: Any) -> bool:
    return isinstance(k, (int, np.integer)) and not isinstance(k, (bool, np.bool_))


def is_basic(key: Any) -> bool:
    """Whether the key has only integers, slices, None and `...`: then the result is a view."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(k is None or k is Ellipsis or isinstance(k, slice) or _is_integer(k) for k in parts)


def record_basic(array: Array, key: Any) -> Array:
    """Basic indexing of a traced array, as slice, squeeze and expand_dims operators.

    Raises:
        IndexError: the key does not fit the shape.
        MXNetError: the key is not basic.
    """
    if not is_basic(key):
        raise MXNetError(
            "while tracing, arrays can be indexed with integers, slices, None and ... only; "
            f"got {key!r}: use mx.np.take, mx.npx.pick or mx.npx.gather_nd"
        )
    parts = _expand_ellipsis(key if isinstance(key, tuple) else (key,), array.ndim)
    begin: list[int | None] = []
    end: list[int | None] = []
    step: list[int | None] = []
    dropped: list[int] = []
    added: list[int] = []
    position = 0
    for part in parts:
        if part is None:
            added.append(position - len(dropped) + len(added))
            continue
        size = array.shape[position]
        if isinstance(part, slice):
            begin.append(None if part.start is None else operator.index(part.start))
            end.append(None if part.stop is None else operator.index(part.stop))
            step.append(None if part.step is None else operator.index(part.step))
        else:
            index = operator.index(part)
            if not -size <= index < size:
                raise IndexError(f"index {index} is out of bounds for axis {position} with size {size}")
            begin.append(index)
            end.append(index + 1 if index != -1 else None)
            step.append(None)
            dropped.append(position)
        position += 1
    result = array
    if any(x is not None for x in (*begin, *end, *step)):
        last = max(i for i in range(len(begin)) if (begin[i], end[i], step[i]) != (None, None, None)) + 1
        result = result._apply("slice", begin=begin[:last], end=end[:last], step=step[:last])
    if dropped:
        result = result._apply("squeeze", axis=tuple(dropped))
    for axis in added:
        result = result._apply("expand_dims", axis=axis)
    if result is array:
        result = array._apply("identity")
    assert array._trace is not None
    array._trace.note_view(array, result)
    return result


def _expand_ellipsis(parts: tuple[Any, ...], ndim: int) -> tuple[Any, ...]:
    used = sum(part is not None and part is not Ellipsis for part in parts)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if used > ndim:
        raise IndexError(f"too many indices: the array has {ndim} dimensions, {used} were indexed")
    if len(dots) > 1:
        raise IndexError("an index can have only one ellipsis ('...')")
    fill = (slice(None),) * (ndim - used)
    if not dots:
        return (*parts, *fill)
    return (*parts[: dots[0]], *fill, *parts[dots[0] + 1 :])
