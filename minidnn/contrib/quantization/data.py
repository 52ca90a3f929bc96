"""Calibration data in all its forms, as batches that are tuples of arrays."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minidnn.errors import DataError
from minidnn.gluon.structure import Spec, flatten, in_order_of, matches
from minidnn.numpy.convert import as_array
from minidnn.numpy.creation import zeros
from minidnn.numpy.multiarray import ndarray

__all__ = ["Batch", "CalibrationData", "with_progress", "zeros_like_shapes"]

_log = logging.getLogger(__name__)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """What a network is called with.

    Args:
        arguments: of `forward`: arrays, or nested lists, tuples and dicts of them, None, numbers and strings.
        arrays: those in it, in order.
        labels: what stands behind the arguments.
    """

    arguments: tuple[Any, ...]
    arrays: tuple[ndarray, ...]
    labels: tuple[Any, ...] = ()


# Samples of a plain array that are run at a time.
_SAMPLES = 32


class CalibrationData:
    """An iterable of batches, read once.

    Args:
        source: an array of samples along its first axis, which is cut into batches of 32; or any iterable of
            batches: a DataLoader, a list, a generator. A batch is an array; a list or tuple, or has one as its
            attribute ``data``, whose items are the network's arguments; or a dict that has them by their names, or
            is the only one. What comes behind the arguments are labels, and left out.
        inputs: the names of the network's arguments.
        limit: the largest number of batches; None for all.

    Raises:
        TypeError: `source` or a batch is something else.
        ValueError: `limit` is not a positive integer.
        DataError: there are no batches, or one has too few arguments, or others than the first.

    Attributes:
        first: the first batch.
        count: how many there are, if that is known.
    """

    def __init__(self, source: Any, inputs: Sequence[str], limit: int | None = None) -> None:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1):
            raise ValueError(f"num_calib_batches must be a positive integer or None, got {limit!r}")
        self._inputs = inputs
        self._spec: Spec | None = None
        self.count: int | None = None
        if isinstance(source, (ndarray, np.ndarray)):
            self._source = _slices(source)
            self.count = -(-len(source) // _SAMPLES) if np.ndim(source) else 0
        else:
            self._source = _iterate(source)
            self.count = _length(source)
        if limit is not None:
            self._source = itertools.islice(self._source, int(limit))
            self.count = None if self.count is None else min(self.count, int(limit))
        self.first = self._take(0, next(self._source, None))

    def __iter__(self) -> Iterator[Batch]:
        yield self.first
        for number, batch in enumerate(self._source, 1):
            yield self._take(number, batch)

    def _take(self, number: int, batch: Any) -> Batch:
        if batch is None:
            raise DataError("calib_data is empty: there is no batch to calibrate with")
        items = self._items(number, batch)
        if len(items) < len(self._inputs):
            raise DataError(
                f"batch {number} of calib_data has {len(items)} arrays; the network has {len(self._inputs)} inputs"
            )
        arguments = tuple(_converted(number, i, item) for i, item in enumerate(items[: len(self._inputs)]))
        if self._spec is not None:
            arguments = in_order_of(self._spec, arguments)
        arrays, spec = _flatten(number, arguments)
        if not arrays:
            # Numbers in lists are values beside arrays; alone they are arrays written down.
            arguments = tuple(_array(number, i, item) for i, item in enumerate(arguments))
            arrays, spec = _flatten(number, arguments)
        if self._spec is None:
            self._spec = spec
        elif not matches(self._spec, spec):
            raise DataError(
                f"batch {number} of calib_data must be nested, and beside arrays have the values, as batch 0: "
                f"{self._spec.describe()}, got {spec.describe()}"
            )
        for position, array in enumerate(arrays):
            _check(number, position, array)
        return Batch(arguments, tuple(arrays), _labels(batch, items[len(self._inputs) :]))

    def _items(self, number: int, batch: Any) -> Sequence[Any]:
        """The arguments, and what else a batch has behind them."""
        if hasattr(batch, "__array__"):
            return [batch]
        if isinstance(batch, Mapping):
            named = all(name in batch for name in self._inputs)
            return [batch[name] for name in self._inputs] if named else [batch]
        items = getattr(batch, "data", batch)
        if hasattr(items, "__array__"):
            return [items]
        if not isinstance(items, (list, tuple)):
            raise TypeError(
                f"batch {number} of calib_data must be an array, or a list, tuple or dict of arrays, "
                f"got {type(batch).__name__}"
            )
        return items


def _labels(batch: Any, rest: Sequence[Any]) -> tuple[Any, ...]:
    """The labels of a batch: what its items have behind the arguments, or of MXNet's DataBatch its own attribute."""
    own = () if isinstance(batch, (ndarray, np.ndarray, Mapping, list, tuple)) else getattr(batch, "label", None)
    found = rest or (() if own is None else own if isinstance(own, (list, tuple)) else (own,))
    return tuple(found)


def _iterate(source: Any) -> Iterator[Any]:
    try:
        if isinstance(source, (str, bytes, Mapping)):
            raise TypeError
        return iter(source)
    except TypeError:
        raise TypeError(
            "calib_data must be a DataLoader, an array or any iterable of batches, "
            f"got {type(source).__name__}: {source!r:.80}"
        ) from None


def _length(source: Any) -> int | None:
    """How many batches there are, if that can be said: it is for the progress bar alone, and no reason to fail."""
    try:
        return len(source)
    except Exception:
        return None


def _slices(array: ndarray | np.ndarray[Any, Any]) -> Iterator[Any]:
    if not np.ndim(array):
        raise DataError("calib_data is a single number; it must have samples along its first axis")
    return (array[i : i + _SAMPLES] for i in range(0, len(array), _SAMPLES))


def _flatten(number: int, arguments: tuple[Any, ...]) -> tuple[list[ndarray], Spec]:
    return flatten(arguments, lambda value: TypeError(f"batch {number} of calib_data: {value!r:.80} is no array"))


def _converted(number: int, position: int, value: Any) -> Any:
    """An argument with all that is no array of ours, no value and no container made an array."""
    if isinstance(value, (ndarray, np.generic, str, bool, int, float, type(None))):
        return value
    if isinstance(value, dict):
        return {key: _converted(number, position, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_converted(number, position, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return _array(number, position, value)


def _array(number: int, position: int, value: Any) -> ndarray:
    try:
        return as_array(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"batch {number} of calib_data: input {position} must be an array, got {type(value).__name__}: {error}"
        ) from None


def _check(number: int, position: int, array: ndarray) -> None:
    if array.size == 0:
        raise DataError(f"batch {number} of calib_data: input {position} is empty, of shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(np.asarray(array)).all():
        raise DataError(f"batch {number} of calib_data: input {position} has NaN or infinity")


def with_progress(
    items: Iterable[Item], description: str, total: int | None, logger: logging.Logger | None = None
) -> Iterator[Item]:
    """The items, with a progress bar where standard error is a terminal, and a line in the log for each.

    Args:
        items: what is worked on.
        description: what is done, such as ``Calibrating, batch``.
        total: how many there are, if that is known.
        logger: gets the lines; None: this module's.
    """
    shown: Iterable[Item] = items
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        shown = track(items, description, total=total, console=Console(stderr=True), transient=True)
    for number, item in enumerate(shown, 1):
        yield item
        (logger or _log).info("%s %d%s done", description, number, "" if total is None else f" of {total}")


def zeros_like_shapes(shapes: Any) -> tuple[ndarray, ...]:
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
    return zeros([int(n) for n in shape], getattr(described, "dtype", np.float32))
