"""What stands between the brackets of ``x[...]``."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry
from minidnn.ir.trace import Trace, current_trace
from minidnn.numpy.base import Array, ArrayBase, as_native
from minidnn.sizes import Size, as_index, by_example, has_sizes, is_same

__all__ = ["is_basic", "note_view", "record_assignment", "record_index", "to_numpy_key", "trace_of_key"]


def to_numpy_key(key: Any) -> Any:
    """The key with our arrays replaced by NumPy's.

    Raises:
        MXNetError: one of them is traced, so that its values are not known.
    """
    if isinstance(key, tuple):
        return tuple(to_numpy_key(k) for k in key)
    if isinstance(key, ArrayBase):
        return key._read("an array used as an index")
    return key


def _is_integer(k: Any) -> bool:
    return isinstance(k, (int, np.integer, Size)) and not isinstance(k, (bool, np.bool_))


def is_basic(key: Any) -> bool:
    """Whether the key has only integers, slices, None and `...`: then the result is a view."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(k is None or k is Ellipsis or isinstance(k, slice) or _is_integer(k) for k in parts)


def trace_of_key(key: Any) -> Trace[Any] | None:
    """The trace of the arrays in the key that are being traced, or of sizes in it; None if there are none."""
    parts = key if isinstance(key, tuple) else (key,)
    if any(map(_has_sizes, parts)):
        return current_trace()
    return next((k._trace for k in parts if isinstance(k, ArrayBase) and k._trace is not None), None)


def _has_sizes(part: Any) -> bool:
    return has_sizes((part.start, part.stop) if isinstance(part, slice) else part)


@dataclass(frozen=True)
class _Window:
    """How a view sees, and writes to, the array that ``array[key]`` is a view of."""

    array: ArrayBase
    key: Any

    def read(self) -> Entry:
        return _record_basic(self.array, self.key)._value

    def write(self, value: ArrayBase) -> None:
        self.array._replace(record_assignment(self.array, self.key, value))


def note_view(array: ArrayBase, key: Any, view: ArrayBase) -> None:
    """Remember that ``view = array[key]`` has the memory of an array that was made while tracing."""
    trace = current_trace()
    if trace is not None and trace.serial == array._buffer.serial:
        trace.views.setdefault(id(array._buffer), []).append((view, _Window(array, key)))


def record_index(array: Array, key: Any) -> Array:
    """Indexing of a traced array, or with traced arrays, as operators.

    Raises:
        IndexError: the key does not fit the shape.
    """
    if not is_basic(key):
        return _record_advanced(array, key)
    view = _record_basic(array, key)
    view._buffer, view._window, view._seen = array._buffer, _Window(array, key), array._buffer.version
    return view


def record_assignment(array: Array, key: Any, value: Any) -> Array:
    """What a traced array is after ``array[key] = value``, as an operator.

    Raises:
        IndexError: the key does not fit the shape.
    """
    parts: list[Any] = []
    indices: list[ArrayBase] = []
    for part in key if isinstance(key, tuple) else (key,):
        index = _as_index(array, part)
        if isinstance(index, ArrayBase):
            indices.append(index)
        parts.append(_encoded(index))
    written = value if isinstance(value, ArrayBase) else type(array)._wrap(as_native(np.asarray(value)))
    return array._apply("index_assign", written, *indices, key=parts)


def _encoded(part: Any) -> Any:
    """A part of a key as the attribute of the operator has it."""
    if part is None:
        return "new"
    if part is Ellipsis:
        return "rest"
    if isinstance(part, slice):
        return tuple(None if n is None else operator.index(n) for n in (part.start, part.stop, part.step))
    return "array" if isinstance(part, ArrayBase) else operator.index(part)


def _record_basic(array: Array, key: Any) -> Array:
    """Integers, slices, None and `...`, as slice, squeeze and expand_dims operators."""
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
        # Of a size that depends on values only this error depends, and the operators check it too.
        size = array._type.shape[position]
        if isinstance(part, slice):
            begin.append(None if part.start is None else as_index(part.start))
            end.append(None if part.stop is None else as_index(part.stop))
            step.append(None if part.step is None else operator.index(part.step))
        else:
            index = as_index(part)
            if not by_example(_is_within, index, size):
                raise IndexError(f"index {index} is out of bounds for axis {position} with size {size}")
            begin.append(index)
            end.append(index + 1 if not is_same(index, -1) else None)
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
    return result


def _is_within(index: Any, size: Any) -> bool:
    return bool(-size <= index < size)


def _record_advanced(array: Array, key: Any) -> Array:
    """With arrays of positions or masks among the parts: slices and new axes first, then an index operator."""
    whole = tuple(_as_index(array, part) for part in (key if isinstance(key, tuple) else (key,)))
    _check_masks(array, whole)
    parts = [p for part in whole for p in (part.nonzero() if _is_mask(part) else (part,))]
    is_array = [isinstance(p, ArrayBase) or _is_integer(p) for p in parts]
    places = [i for i, found in enumerate(is_array) if found]
    # What lies between the arrays, be it an ellipsis for no axes, sends their dimensions to the front.
    front = not all(is_array[places[0] : places[-1] + 1])
    expanded = _expand_ellipsis(tuple(parts), array.ndim)
    sliced = _record_basic(array, tuple(p if p is None or isinstance(p, slice) else slice(None) for p in expanded))
    axes = [i for i, p in enumerate(expanded) if isinstance(p, ArrayBase) or _is_integer(p)]
    indices = [_position_array(array, expanded[i]) for i in axes]
    return sliced._apply("index", *indices, axes=axes, front=front)


def _position_array(array: Array, part: Any) -> Any:
    return part if isinstance(part, ArrayBase) else type(array)._wrap(np.asarray(operator.index(part), np.int64))


def _as_index(array: Array, part: Any) -> Any:
    """A part of a key, with arrays instead of lists.

    Raises:
        IndexError: it is nothing that can be an index.
    """
    if part is None or part is Ellipsis or isinstance(part, slice) or _is_integer(part):
        return part
    index = part if isinstance(part, ArrayBase) else _index_array(array, part)
    if index.dtype == np.bool_ and not index.ndim:
        raise IndexError("while tracing, arrays cannot be indexed with a single bool")
    if index.dtype.kind not in "biu":
        raise IndexError(f"arrays used as indices must be of integers or bools, got {index._type}")
    return index


def _is_mask(part: Any) -> bool:
    return isinstance(part, ArrayBase) and part.dtype == np.bool_


def _check_masks(array: Array, parts: tuple[Any, ...]) -> None:
    """A mask must have the shape of the axes that it stands for.

    Raises:
        IndexError: one has not.
    """
    counts = [0 if p is None or p is Ellipsis else p.ndim if _is_mask(p) else 1 for p in parts]
    position = 0
    for part, count in zip(parts, counts, strict=True):
        if part is Ellipsis:
            position += array.ndim - sum(counts)
        wanted = array._type.shape[position : position + count]
        if _is_mask(part) and part._type.shape != wanted:
            raise IndexError(f"a mask must have the shape {wanted} of what it selects from, got {part._type.shape}")
        position += count


def _index_array(array: Array, part: Any) -> Any:
    host = np.asarray(part)
    if not host.size and not isinstance(part, np.ndarray):
        host = host.astype(np.int64)
    return type(array)._wrap(as_native(host))


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
