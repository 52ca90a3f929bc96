"""Sequences for cells: as one array or a list of times; and states to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minidnn import npx
from minidnn import numpy as np
from minidnn.device import cpu
from minidnn.errors import OpError, ShapeError
from minidnn.ir.trace import current_trace
from minidnn.numpy.convert import as_array, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.recurrent_cells import check_lengths

__all__ = ["axis_of_time", "given_lengths", "make_states", "masked", "merged", "reversed_times", "separated"]


def make_states(info: Sequence[Mapping[str, Any]], func: Callable[..., Any], given: Mapping[str, Any]) -> list[Any]:
    """One array for each state, made by ``func(shape=..., device=..., dtype=...)``; `given` goes before `info`."""
    return [
        func(shape=said["shape"], device=said.get("device") or cpu(), dtype=said.get("dtype", "float32"))
        for said in ({**one, **given} for one in info)
    ]


def axis_of_time(cell: str, layout: str) -> int:
    """Where time is in a layout.

    Raises:
        ValueError: another than ``NT...`` or ``TN...``.
    """
    if layout[:2] not in ("NT", "TN"):
        raise ValueError(f"{cell}: layout must begin with 'NT' or 'TN', got {layout!r}")
    return layout.index("T")


def merged(cell: str, inputs: Any, length: int | None, axis: int) -> ndarray:
    """All times as one array; a list has an array ``(batch, ...)`` for each time.

    Raises:
        ShapeError: there are more or fewer times than `length`.
        OpError: there is nothing.
    """
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise OpError(f"{cell}: inputs must not be empty")
        inputs = np.stack([as_array(x) for x in inputs], axis=axis)
    array = as_array(inputs)
    if array.ndim < 2 or length not in (None, array.shape[axis]):
        raise ShapeError(f"{cell}: inputs must have {length} times, got shape {array.shape} with time at axis {axis}")
    return array


def separated(cell: str, inputs: Any, length: int | None, axis: int) -> list[ndarray]:
    """All times as a list.

    Raises:
        ShapeError: there are more or fewer times than `length`.
    """
    if isinstance(inputs, (list, tuple)):
        if not inputs or length not in (None, len(inputs)):
            raise ShapeError(f"{cell}: inputs must have {length} times, got {len(inputs)}")
        return [as_array(x) for x in inputs]
    array = merged(cell, inputs, length, axis)
    parts = npx.slice_channel(array, array.shape[axis], axis, squeeze_axis=True)
    return parts if isinstance(parts, list) else [parts]


def given_lengths(cell: str, valid_length: Any, times: int) -> ndarray:
    """The lengths of sequences; where they have values, these are checked.

    Raises:
        OpError: one is below 0 or above `times`.
    """
    lengths = as_array(valid_length)
    if lengths.ndim != 1:
        raise ShapeError(f"{cell}: valid_length must have 1 dimension, got shape {lengths.shape}")
    if current_trace() is None:
        check_lengths(cell, to_numpy(lengths), times)
    return lengths


def masked(data: ndarray, valid_length: ndarray, axis: int) -> ndarray:
    """Zeros behind the end of each sequence."""
    return npx.sequence_mask(data, valid_length, True, axis=axis)


def reversed_times(times: Sequence[ndarray], valid_length: ndarray | None) -> list[ndarray]:
    """Each sequence from its end to its begin; what lies behind its end stays."""
    if valid_length is None:
        return [*reversed(times)]
    turned = npx.sequence_reverse(np.stack([*times], axis=0), valid_length, True)
    parts = npx.slice_channel(turned, len(times), 0, squeeze_axis=True)
    return parts if isinstance(parts, list) else [parts]
