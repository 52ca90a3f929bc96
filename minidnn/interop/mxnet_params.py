"""MXNet's ``.params`` and ``.npy`` files: which format one has is seen from its first bytes.

MXNet 2 writes zip files of ``NAME.npy`` entries, stored as they are. An entry is an array in NumPy's format
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html); its header is matched against the one form
that MXNet and NumPy write, not evaluated. The list of MXNet 1 is in `minidnn.interop.mxnet_list`.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._zip_files import ZIP_ERRORS, Guarded, check_entries
from minidnn.interop.mxnet_list import MAGIC, as_native, read_list, write_list
from minidnn.replacing import replacing
from minidnn.untrusted import MAX_RANK, is_possible

__all__ = [
    "FORMATS",
    "NPY_MAGIC",
    "is_mxnet_file",
    "may_lack_names",
    "read_npy",
    "read_npz",
    "read_params",
    "save_array",
    "save_params",
    "write_npy",
    "write_npz",
]

_SUFFIX = ".npy"
_SPARSE = ("/format", "/data", "/indices", "/indptr", "/shape")
NPY_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?)([a-zA-Z?]\d*)', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d+(?:, ?|(?=\))))*)\),? ?\}\s*"
)
_MAX_HEADER = 4096
_CHUNK = 1 << 20
_BFLOAT16 = "b2"  # MXNet's own; NumPy has none
_KINDS = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
_DTYPES = {kind: np.dtype(kind) for kind in _KINDS}


def read_npz(file: BinaryIO, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file of `size` bytes, by name.

    Raises:
        DataError: the file is damaged, truncated, or holds what is not supported; the message names the record.
    """
    try:
        archive = zipfile.ZipFile(cast(BinaryIO, Guarded(file)))
    except ZIP_ERRORS as error:
        raise DataError(f"damaged or truncated zip file: {error}") from None
    result: dict[str, np.ndarray[Any, Any]] = {}
    for name, entry in check_entries(archive.infolist(), size, "MXNet").items():
        record = name.removesuffix(_SUFFIX)
        shown = ascii(record[:80])
        if record == name:
            raise DataError(f"record {shown}: MXNet's zip files hold NAME.npy entries and nothing else")
        if _leaves_folder(record):
            raise DataError(f"record {shown}: a path outside the archive's own folder")
        if record.endswith(_SPARSE):
            raise DataError(f"record {shown}: it is part of a sparse array; only dense arrays can be read")
        try:
            with archive.open(entry) as source:
                result[record] = read_npy(cast(BinaryIO, source), entry.file_size)
        except DataError as error:
            raise DataError(f"record {shown}: {error}") from None
        except ZIP_ERRORS as error:
            raise DataError(f"record {shown}: entry {shown} is damaged: {error}") from None
    return result


def _leaves_folder(name: str) -> bool:
    """Whether a file of this name, unpacked, could come to lie elsewhere. Nothing is unpacked here, but by others."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":")


def read_npy(source: BinaryIO, size: int) -> np.ndarray[Any, Any]:
    """The array that an entry, or a ``.npy`` file, of `size` bytes describes.

    Raises:
        DataError: it is not that of a plain array, or of another length.
    """
    header, start = _npy_header(source, size)
    match = _HEADER.fullmatch(header)
    if match is None:
        raise DataError(f"its header {header.strip()[:80]!a} is not that of a plain array")
    order, kind, fortran, numbers = match.groups()
    if kind != _BFLOAT16 and kind not in _DTYPES:
        raise DataError(f"dtype {order + kind!r} cannot be read; {sorted(_DTYPES)} can")
    dtype = _DTYPES.get(kind, np.dtype(np.uint16)).newbyteorder(">" if order == ">" else "<")
    sizes = numbers.replace(",", " ").split()
    if len(sizes) > MAX_RANK or any(len(n) > 15 for n in sizes):
        raise DataError(f"its shape ({numbers[:80]}) is not possible")
    shape = tuple(map(int, sizes))
    nbytes = math.prod(shape) * dtype.itemsize
    if not is_possible(shape) or nbytes != size - start:
        raise DataError(f"{dtype.name}{list(shape)} takes {nbytes} bytes, {size - start} are there")
    array = np.empty(math.prod(shape), dtype)
    _fill(source, array.view(np.uint8).data)
    array = array.reshape(shape, order="F" if fortran == "True" else "C")
    return np.asarray(as_native(array, kind == _BFLOAT16), order="C")


def _fill(source: BinaryIO, buffer: memoryview) -> None:
    done = 0
    while done < len(buffer):
        count = source.readinto(buffer[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise DataError(f"truncated while it was being read: {done} of {len(buffer)} bytes")
        done += count
    source.read(1)  # reaching the end is what makes zipfile compare the checksum


def _npy_header(source: BinaryIO, size: int) -> tuple[str, int]:
    """The header's text, and where the elements begin."""
    head = source.read(10)
    wide = head[6:7] in (b"\2", b"\3")
    head += source.read(2) if wide else b""
    if head[:6] != NPY_MAGIC or len(head) < 10 + 2 * wide or head[6] not in (1, 2, 3) or size < 12:
        raise DataError(f"it is not an array in NumPy's format: it starts with {head!r}")
    (length,) = struct.unpack("<I" if wide else "<H", head[8:])
    if length > min(_MAX_HEADER, size - len(head)):
        raise DataError(f"its header of {length} bytes is longer than what is there or possible")
    return source.read(length).decode("latin-1"), len(head) + length


def write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays as MXNet 2 does.

    Raises:
        DataError: a dtype that MXNet lacks; the message names the record.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if "\0" in name or name.endswith(_SPARSE) or _leaves_folder(name):
                raise DataError(f"record {name!a}: an array of that name would not be read back")
            with archive.open(zipfile.ZipInfo(name + _SUFFIX), "w", force_zip64=array.nbytes >> 31 > 0) as entry:
                try:
                    write_npy(cast(BinaryIO, entry), array)
                except DataError as error:
                    raise DataError(f"record {name!a}: {error}") from None


def write_npy(file: BinaryIO, array: np.ndarray[Any, Any]) -> None:
    """Write one array in NumPy's format.

    Raises:
        DataError: a dtype that MXNet lacks.
    """
    native = array.dtype.newbyteorder("=")
    if native not in _DTYPES.values():
        raise DataError(f"MXNet has no {array.dtype} arrays")
    np.lib.format.write_array(file, np.asarray(array, native, order="C"), allow_pickle=False)


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
