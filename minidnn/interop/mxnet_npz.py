"""The ``.params`` files of MXNet 2: zip files of ``NAME.npy`` entries, stored as they are.

An entry is an array in NumPy's format (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html); its
header is matched against the one form that MXNet and NumPy write, not evaluated.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, cast

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._torch_zip import ZIP_ERRORS, Guarded, check_entries, read_entry_into
from minidnn.interop.mxnet_list import as_native

__all__ = ["NPY_MAGIC", "read_npy", "read_npz", "write_npy", "write_npz"]

_SUFFIX = ".npy"
_SPARSE = ("/format", "/data", "/indices", "/indptr", "/shape")
NPY_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?)([a-zA-Z?]\d*)', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d+(?:, ?|(?=\))))*)\),? ?\}\s*"
)
_MAX_HEADER = 4096
_MAX_RANK = 32
_MAX_BYTES = 1 << 47
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
        data = np.empty(entry.file_size, np.uint8)
        read_entry_into(archive, entry, data.data)
        try:
            result[record] = read_npy(data)
        except DataError as error:
            raise DataError(f"record {shown}: {error}") from None
    return result


def _leaves_folder(name: str) -> bool:
    """Whether a file of this name, unpacked, could come to lie elsewhere. Nothing is unpacked here, but by others."""
    parts = name.replace("\\", "/").split("/")
    return not parts[0] or ".." in parts or (len(parts[0]) == 2 and parts[0][1] == ":")


def read_npy(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array that the bytes of an entry, or of a ``.npy`` file, describe; a copy.

    Raises:
        DataError: they are not those of a plain array, or of another length.
    """
    header, start = _npy_header(data)
    match = _HEADER.fullmatch(header)
    if match is None:
        raise DataError(f"its header {header.strip()[:80]!a} is not that of a plain array")
    order, kind, fortran, numbers = match.groups()
    if kind != _BFLOAT16 and kind not in _DTYPES:
        raise DataError(f"dtype {order + kind!r} cannot be read; {sorted(_DTYPES)} can")
    dtype = _DTYPES.get(kind, np.dtype(np.uint16)).newbyteorder(">" if order == ">" else "<")
    sizes = numbers.replace(",", " ").split()
    if len(sizes) > _MAX_RANK or any(len(n) > 15 for n in sizes):
        raise DataError(f"its shape ({numbers[:80]}) is not possible")
    shape = tuple(map(int, sizes))
    elements = data[start:].copy()  # aligned, whatever the header's length
    nbytes = math.prod(shape) * dtype.itemsize
    # NumPy counts the bytes of an empty array as if its empty dimensions were 1 long.
    if math.prod(max(n, 1) for n in shape) * 8 > _MAX_BYTES or nbytes != elements.size:
        raise DataError(f"{dtype.name}{list(shape)} takes {nbytes} bytes, {elements.size} are there")
    array = elements.view(dtype).reshape(shape, order="F" if fortran == "True" else "C")
    return np.asarray(as_native(array, kind == _BFLOAT16), order="C")


def _npy_header(data: np.ndarray[Any, Any]) -> tuple[str, int]:
    """The header's text, and where the elements begin."""
    head = data[:12].tobytes()
    if head[:6] != NPY_MAGIC or len(head) < 12 or head[6] not in (1, 2, 3):
        raise DataError(f"it is not an array in NumPy's format: it starts with {head!r}")
    form, start = ("<H", 10) if head[6] == 1 else ("<I", 12)
    (length,) = struct.unpack(form, head[8:start])
    if length > min(_MAX_HEADER, data.size - start):
        raise DataError(f"its header of {length} bytes is longer than what is there or possible")
    return data[start : start + length].tobytes().decode("latin-1"), start + length


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
