"""Batchify functions: a list of samples becomes a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.numpy.base import as_native
from minidnn.numpy.multiarray import ndarray

__all__ = ["Append", "AsList", "Group", "Pad", "Stack"]


def _wrap(array: np.ndarray[Any, Any]) -> ndarray:
    return ndarray._wrap(as_native(array))


class Stack:
    """Arrays of one shape, or numbers, along a new first axis; tuples part by part, as a list of such batches.

    Args:
        use_shared_mem: accepted for MXNet's sake: a DataLoader moves batches through shared memory by itself.

    Raises:
        ShapeError: the shapes differ.
    """

    def __init__(self, use_shared_mem: bool = False) -> None:
        self._use_shared_mem = use_shared_mem

    def __call__(self, data: Sequence[Any]) -> Any:
        if isinstance(data[0], (tuple, list)):
            return [self([sample[i] for sample in data]) for i in _parts(data)]
        arrays = [np.asarray(sample) for sample in data]
        shapes = {array.shape: i for i, array in reversed([*enumerate(arrays)])}
        if len(shapes) > 1:
            found = ", ".join(f"{shape} of sample {i}" for shape, i in sorted(shapes.items(), key=lambda x: x[1])[:4])
            raise ShapeError(
                f"samples of one batch must have one shape, got {found}; resize or crop them, or batch them with Pad"
            )
        return _wrap(np.stack(arrays))


def _parts(data: Sequence[Any]) -> range:
    counts = {len(sample) for sample in data}
    if len(counts) > 1:
        raise ShapeError(f"samples of one batch must have one number of parts, got {sorted(counts)}")
    return range(counts.pop())


class Pad:
    """Arrays of one rank, each filled up at its ends to the largest size along every axis, then stacked.

    Args:
        val: what to fill with.
        dtype: of the batch; None: that of the first sample.
        round_to: the sizes are rounded up to a multiple of this.
        use_shared_mem: accepted for MXNet's sake.

    Raises:
        ShapeError: the ranks differ.
    """

    def __init__(
        self, val: float | None = None, dtype: Any = None, round_to: int | None = None, use_shared_mem: bool = False
    ) -> None:
        self._val = 0 if val is None else val
        self._dtype, self._round_to = dtype, round_to

    def __call__(self, data: Sequence[Any]) -> ndarray:
        if isinstance(data[0], tuple):
            raise TypeError("Pad() batches one part of a sample; use Group(Pad(), Pad(), ...) for tuples")
        arrays = [np.asarray(sample) for sample in data]
        if len({array.ndim for array in arrays}) > 1:
            raise ShapeError(f"samples to pad must have one rank, got {sorted({array.ndim for array in arrays})}")
        step = self._round_to or 1
        shape = [step * math.ceil(max(sizes) / step) for sizes in zip(*(array.shape for array in arrays), strict=True)]
        batch = np.full((len(arrays), *shape), self._val, self._dtype or arrays[0].dtype)
        for row, array in zip(batch, arrays, strict=True):
            row[tuple(slice(size) for size in array.shape)] = array
        return _wrap(batch)


class Append:
    """A list of the samples as arrays, whatever their shapes.

    Args:
        expand: with a new axis of size 1.
        batch_axis: where that is.
        use_shared_mem: accepted for MXNet's sake.
    """

    def __init__(self, expand: bool = True, batch_axis: int = 0, use_shared_mem: bool = False) -> None:
        self._expand, self._axis = expand, batch_axis

    def __call__(self, data: Sequence[Any]) -> list[ndarray]:
        arrays = [np.asarray(sample) for sample in data]
        return [_wrap(np.expand_dims(array, self._axis) if self._expand else array) for array in arrays]


class AsList:
    """The samples as they are, in a list."""

    def __call__(self, data: Sequence[Any]) -> list[Any]:
        return list(data)


class Group:
    """One batchify function for each part of the samples: ``Group(Stack(), Pad())``.

    Args:
        fn, args: the functions; or one list of them.

    Raises:
        ShapeError: the samples have another number of parts.
    """

    def __init__(self, fn: Callable[..., Any] | Sequence[Callable[..., Any]], *args: Callable[..., Any]) -> None:
        functions = (fn, *args) if callable(fn) else (*fn, *args)
        if not all(map(callable, functions)):
            raise TypeError(f"Group wants batchify functions, got {functions}")
        self._functions = functions

    def __call__(self, data: Sequence[Any]) -> tuple[Any, ...]:
        if len(_parts(data)) != len(self._functions):
            raise ShapeError(f"samples of {len(data[0])} parts, and {len(self._functions)} functions to batch them")
        return tuple(fn([sample[i] for sample in data]) for i, fn in enumerate(self._functions))
