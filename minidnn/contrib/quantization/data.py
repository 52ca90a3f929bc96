"""Calibration data in all its forms, as batches that are tuples of arrays."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = ["Batch", "CalibrationData", "zeros_like_shapes"]

Batch = tuple[ndarray, ...]

# Samples of a plain array that are run at a time.
_SAMPLES = 32


class CalibrationData:
    """An iterable of batches, read once.

    Args:
        source: an array of samples along its first axis, which is cut into batches of 32; or any iterable of
            batches: a DataLoader, a list, a generator. A batch is an array, a list or tuple of arrays, or has them
            as its attribute ``data``. Arrays beyond the network's inputs are labels, and left out.
        inputs: the number of the network's inputs.
        limit: the largest number of batches; None for all.

    Raises:
        TypeError: `source` or a batch is something else.
        ValueError: `limit` is not a positive integer.
        DataError: there are no batches, or one has too few arrays.
    """

    def __init__(self, source: Any, inputs: int, limit: int | None = None) -> None:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1):
            raise ValueError(f"num_calib_batches must be a positive integer or None, got {limit!r}")
        self._inputs = inputs
        self._count: int | None = None
        if isinstance(source, (ndarray, np.ndarray)):
            self._source = _slices(source)
            self._count = -(-len(source) // _SAMPLES) if np.ndim(source) else 0
        elif isinstance(source, Iterable) and not isinstance(source, (str, bytes, dict)):
            self._source = iter(source)
            self._count = len(source) if isinstance(source, Sized) else None
        else:
            raise TypeError(
                "calib_data must be a DataLoader, an array or any iterable of batches, "
                f"got {type(source).__name__}: {source!r:.80}"
            )
        if limit is not None:
            self._source = itertools.islice(self._source, int(limit))
            self._count = None if self._count is None else min(self._count, int(limit))
        self.first = self._take(0, next(self._source, None))

    def __iter__(self) -> Iterator[Batch]:
        yield self.first
        for number, batch in enumerate(self._source, 1):
            yield self._take(number, batch)

    def with_progress(self) -> Iterator[Batch]:
        """The batches, with a progress bar where standard error is a terminal."""
        if not sys.stderr.isatty():
            return iter(self)
        from rich.console import Console
        from rich.progress import track

        return iter(track(self, "Calibrating", total=self._count, console=Console(stderr=True), transient=True))

    def _take(self, number: int, batch: Any) -> Batch:
        if batch is None:
            raise DataError("calib_data is empty: there is no batch to calibrate with")
        arrays = getattr(batch, "data", batch) if not isinstance(batch, (ndarray, np.ndarray)) else [batch]
        if not isinstance(arrays, (list, tuple)):
            raise TypeError(
                f"batch {number} of calib_data must be an array, or a list or tuple of arrays, "
                f"got {type(batch).__name__}"
            )
        if len(arrays) < self._inputs:
            raise DataError(
                f"batch {number} of calib_data has {len(arrays)} arrays; the network has {self._inputs} inputs"
            )
        return tuple(_checked(number, i, array) for i, array in enumerate(arrays[: self._inputs]))


def _slices(array: ndarray | np.ndarray[Any, Any]) -> Iterator[Any]:
    if not np.ndim(array):
        raise DataError("calib_data is a single number; it must have samples along its first axis")
    return (array[i : i + _SAMPLES] for i in range(0, len(array), _SAMPLES))


def _checked(number: int, position: int, value: Any) -> ndarray:
    try:
        array = as_array(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"batch {number} of calib_data: input {position} must be an array, got {type(value).__name__}: {error}"
        ) from None
    if array.size == 0:
        raise DataError(f"batch {number} of calib_data: input {position} is empty, of shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(np.asarray(array)).all():
        raise DataError(f"batch {number} of calib_data: input {position} has NaN or infinity")
    return array


def zeros_like_shapes(shapes: Any) -> Batch:
    """Zeros of the shapes that the user lists: tuples, or objects with ``shape`` and perhaps ``dtype``.

    Raises:
        TypeError: it is no list of shapes.
    """
    if isinstance(shapes, tuple) and all(isinstance(n, (int, np.integer)) for n in shapes):
        shapes = [shapes]
    if not isinstance(shapes, (list, tuple)) or not shapes:
        raise TypeError(f"data_shapes must be a list of shapes, one for each input, got {shapes!r}")
    return tuple(_zeros(described) for described in shapes)


def _zeros(described: Any) -> ndarray:
    # MXNet's DataDesc is a tuple of name and shape with further attributes.
    shape = getattr(described, "shape", described)
    if isinstance(shape, (list, tuple)) and len(shape) == 2 and isinstance(shape[0], str):
        shape = shape[1]
    if not isinstance(shape, (list, tuple)) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise TypeError(f"data_shapes: a shape must be a tuple of positive integers, got {described!r}")
    return as_array(np.zeros([int(n) for n in shape], getattr(described, "dtype", np.float32)))
