"""MXNet's ``.params`` files, and its ``.npy`` files: which format one has is seen from its first bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidnn.errors import DataError
from minidnn.interop.mxnet_list import MAGIC, read_list, write_list
from minidnn.interop.mxnet_npz import NPY_MAGIC, read_npy, read_npz, write_npy, write_npz
from minidnn.replacing import replacing

__all__ = ["FORMATS", "is_mxnet_file", "may_lack_names", "read_params", "save_array", "save_params"]

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # the second one is that of a file without entries
_WRITERS = {"mxnet": write_npz, "mxnet1": write_list}

# ``mxnet`` is what MXNet 2 writes, ``mxnet1`` what MXNet 1 writes and both read.
FORMATS = tuple(_WRITERS)


def is_mxnet_file(head: bytes) -> bool:
    """Whether a file that begins with these bytes (16, or all there are) is one of MXNet's."""
    return head.startswith((*_ZIP_STARTS, NPY_MAGIC)) or head[:16] == MAGIC


def may_lack_names(head: bytes) -> bool:
    """Whether a file that begins so is of a kind that can hold arrays without names: a zip file cannot."""
    return head.startswith(NPY_MAGIC) or head[:16] == MAGIC


def read_params(file: BinaryIO) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file by name, with the prefixes ``arg:`` and ``aux:`` they may have.

    The one array of a ``.npy`` file, which MXNet 2 writes where one array is saved, is ``arr_0``.

    Raises:
        DataError: the file is damaged, truncated, or holds what is not supported; the message names the record.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(len(MAGIC))
    file.seek(0)
    if head.startswith(NPY_MAGIC):
        return {"arr_0": read_npy(file, size)}
    return read_list(file, size) if head == MAGIC else read_npz(file, size)


def save_params(path: str | os.PathLike[str], arrays: Mapping[str, Any], format: str = "mxnet") -> None:
    """Write named arrays to a file of MXNet's: the whole file or none of it.

    Args:
        path: where; an existing file is replaced at the end, in one step.
        arrays: names and arrays (`mx.np.ndarray` or `numpy.ndarray`).
        format: one of `FORMATS`.

    Raises:
        DataError: a dtype that MXNet lacks; the message names the record.
        ValueError: an unknown format.
        OSError: the file cannot be written.
    """
    if format not in _WRITERS:
        raise ValueError(f"there is no format {format!r} of MXNet's files; there are {list(_WRITERS)}")
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    with replacing(Path(path)) as scratch, scratch.open("wb") as file:
        try:
            _WRITERS[format](file, plain)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def save_array(path: str | os.PathLike[str], array: Any) -> None:
    """Write one array as MXNet 2 does, to a ``.npy`` file; see `save_params`."""
    with replacing(Path(path)) as scratch, scratch.open("wb") as file:
        try:
            write_npy(file, np.asarray(array))
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
