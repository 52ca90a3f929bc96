"""Batches on their way from a worker process: the arrays through a file in shared memory, all else through the pipe.

The worker writes the arrays of a batch into one new file; the receiver maps it and removes its name at once, so that
the memory is freed with the last array. Nothing is copied at the receiver.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minidnn.numpy.multiarray import ndarray

__all__ = ["PackedBatch", "make_folder", "pack", "unpack"]

_ALIGNMENT = 64
_SMALL = 1 << 16  # bytes that the pipe carries as well
_SHARED_MEMORY = Path("/dev/shm")


class _Slot(NamedTuple):
    """Stands for an array in the batch's tree."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ours: bool


class PackedBatch(NamedTuple):
    """What goes through the pipe.

    Attributes:
        tree: the batch, with slots for its arrays where there is a file.
        path: the file; None where the arrays stayed in the tree.
    """

    tree: Any
    path: str | None


def make_folder() -> str:
    """A folder of its own for the files, in memory where the system has that."""
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    return tempfile.mkdtemp(prefix=f"minidnn-batches-{os.getpid()}-", dir=parent)


def pack(batch: Any, folder: str) -> PackedBatch:
    """A batch ready for the pipe: nested tuples, lists and dicts of arrays and of what can be pickled."""
    arrays: list[np.ndarray[Any, Any]] = []
    end = 0

    def store(value: Any) -> Any:
        nonlocal end
        if not isinstance(value, (ndarray, np.ndarray)) or value.dtype.hasobject:
            return value
        ours = isinstance(value, ndarray)
        array = np.ascontiguousarray(value).reshape(value.shape)
        slot = _Slot(end, array.shape, array.dtype, ours)
        arrays.append(array)
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return slot

    tree = _map(batch, store)
    if end < _SMALL:
        return PackedBatch(batch, None)
    descriptor, path = tempfile.mkstemp(dir=folder)
    try:
        offset = 0
        for array in arrays:
            _write(descriptor, array, offset)
            offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        os.ftruncate(descriptor, end)
    except OSError:
        # Shared memory is small in many containers; the pipe is slower, and always there.
        Path(path).unlink()
        return PackedBatch(batch, None)
    finally:
        os.close(descriptor)
    return PackedBatch(tree, path)


def _write(descriptor: int, array: np.ndarray[Any, Any], offset: int) -> None:
    left = array.reshape(-1).view(np.uint8).data
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def unpack(packed: PackedBatch) -> Any:
    """The batch that was packed; its arrays can be written to."""
    if packed.path is None:
        return packed.tree
    with Path(packed.path).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    Path(packed.path).unlink()

    def fetch(value: Any) -> Any:
        if not isinstance(value, _Slot):
            return value
        array = np.ndarray(value.shape, value.dtype, memory, value.offset)
        return ndarray._wrap(array) if value.ours else array

    return _map(packed.tree, fetch)


def _map(tree: Any, fn: Any) -> Any:
    if isinstance(tree, _Slot):
        return fn(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(item, fn) for item in tree))
    if type(tree) in (tuple, list):
        return type(tree)(_map(item, fn) for item in tree)
    if type(tree) is dict:
        return {key: _map(item, fn) for key, item in tree.items()}
    return fn(tree)
