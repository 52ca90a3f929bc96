"""MXNet's NDArray list: the ``.params`` files of MXNet 1, which MXNet 2 reads too.

Little-endian throughout: uint64 0x112, uint64 0, uint64 count and so many arrays, uint64 count and so many names (each
a uint64 length and UTF-8), none or one for each array. The layouts of an array, after ``src/ndarray/ndarray.cc``:

========= ========== ============ ========================= =====================================================
version   magic      storage type shape                     then
========= ========== ============ ========================= =====================================================
before 1  none       none         uint32 rank, uint32 sizes int32 device type, int32 device, int32 dtype, elements
1         0xF993FAC8 none         uint32 rank, int64 sizes  the same
2         0xF993FAC9 int32        int32 rank, int64 sizes   the same
3         0xF993FACA int32        int32 rank, int64 sizes   the same
========= ========== ============ ========================= =====================================================

Before version 1 the rank stands where the magic would. Version 3 has NumPy's shapes: a rank of 0 is a scalar, where it
is no array at all in the older ones.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np

from minidnn.errors import DataError
from minidnn.untrusted import MAX_RANK, is_possible

__all__ = ["MAGIC", "as_native", "read_list", "write_list"]

MAGIC = struct.pack("<QQ", 0x112, 0)

_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_MAX_RECORDS = 1 << 20
_MAX_NAME = 1 << 16
_CPU = struct.pack("<ii", 1, 0)
_STORAGES = {1: "row_sparse", 2: "csr"}

# mshadow's type codes.
_BFLOAT16 = 12
_CODES = ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8")
_DTYPES = {code: np.dtype(name).newbyteorder("<") for code, name in enumerate(_CODES)}
_CODE_OF_DTYPE = {np.dtype(name): code for code, name in enumerate(_CODES)}


@dataclass(frozen=True)
class _Record:
    shape: tuple[int, ...]
    code: int
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_list(file: BinaryIO, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an open file of `size` bytes, by name; without names ``arr_0``, ``arr_1``, ...

    bfloat16 comes widened to float32, every other dtype as it is.

    Raises:
        DataError: the file is damaged, truncated, or holds what is not supported; the message names the record.
    """
    return _Reader(file, size).read()


class _Reader:
    """Headers first, then names, then elements: nothing is allocated before the file is known to hold it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._position = len(MAGIC)
        self._where = "header"

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        self._file.seek(self._position)
        count = self._count("arrays")
        records = [self._header(i) for i in range(count)]
        self._where = "names"
        names = self._names(count)
        if self._position != self._size:
            self._refuse(f"{self._size - self._position} bytes follow the last name")
        return {name: self._array(name, record) for name, record in zip(names, records, strict=True)}

    def _refuse(self, why: str) -> NoReturn:
        raise DataError(f"{self._where}: {why}")

    def _take(self, count: int, what: str) -> bytes:
        left = self._size - self._position
        data = self._file.read(count) if count <= left else b""
        if len(data) != count:
            self._refuse(f"truncated: {what} takes {count} bytes, {left} are left")
        self._position += count
        return data

    def _numbers(self, form: str, what: str) -> tuple[Any, ...]:
        form = "<" + form
        return struct.unpack(form, self._take(struct.calcsize(form), what))

    def _count(self, what: str) -> int:
        (count,) = self._numbers("Q", f"the number of {what}")
        if count > _MAX_RECORDS:
            self._refuse(f"it announces {count} {what}; more than {_MAX_RECORDS} are refused")
        return int(count)

    def _header(self, index: int) -> _Record:
        self._where = f"record {index}"
        (magic,) = self._numbers("I", "its magic")
        if magic in (_V2, _V3):
            (storage,) = self._numbers("i", "its storage type")
            if storage != 0:
                kind = _STORAGES.get(storage, f"unknown ({storage})")
                self._refuse(f"its storage type is {kind}; only dense arrays can be read")
        if magic in (_V1, _V2, _V3):
            (rank,) = self._numbers("i", "its rank")
        else:
            rank = magic
        if rank == -1 or (rank == 0 and magic != _V3):
            self._refuse("it is an array without a shape")
        if not 0 <= rank <= MAX_RANK:
            hint = " (or its magic is none)" if rank == magic else ""
            self._refuse(f"its rank is {rank}{hint}; at most {MAX_RANK} dimensions are possible")
        shape = self._numbers(f"{rank}{'q' if magic in (_V1, _V2, _V3) else 'I'}", "its shape")
        self._take(len(_CPU), "its device")
        (code,) = self._numbers("i", "its dtype")
        if code != _BFLOAT16 and code not in _DTYPES:
            self._refuse(f"its dtype has the code {code}; there are 0 to {_BFLOAT16}")
        dtype = np.dtype("<u2") if code == _BFLOAT16 else _DTYPES[code]
        if not is_possible(shape):
            self._refuse(f"its shape {_shown(shape)} is not possible")
        record = _Record(shape, code, dtype, self._position)
        left = self._size - self._position
        if record.nbytes > left:
            self._refuse(f"truncated: {dtype.name}{list(shape)} takes {record.nbytes} bytes, {left} are left")
        self._position += record.nbytes
        self._file.seek(self._position)
        return record

    def _names(self, arrays: int) -> list[str]:
        count = self._count("names")
        if count == 0:
            return [f"arr_{i}" for i in range(arrays)]
        if count != arrays:
            self._refuse(f"there are {count} names for {arrays} arrays")
        names: dict[str, None] = {}
        for index in range(count):
            self._where = f"record {index}"
            (length,) = self._numbers("Q", "the length of its name")
            if length > _MAX_NAME:
                self._refuse(f"its name has {length} bytes; more than {_MAX_NAME} are refused")
            data = self._take(length, "its name")
            try:
                name = data.decode("utf-8")
            except UnicodeDecodeError:
                self._refuse(f"its name is not UTF-8: {data[:40]!r}")
            if name in names:
                self._refuse(f"duplicate name {name[:80]!a}")
            names[name] = None
        return list(names)

    def _array(self, name: str, record: _Record) -> np.ndarray[Any, Any]:
        array = np.empty(record.shape, record.dtype)
        self._file.seek(record.offset)
        if self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            self._where = f"record {name[:80]!a}"
            self._refuse("truncated while it was being read")
        return as_native(array, record.code == _BFLOAT16)


def as_native(stored: np.ndarray[Any, Any], is_bfloat16: bool) -> np.ndarray[Any, Any]:
    """Elements as a file has them, in this machine's byte order; not copied where they need not be.

    Args:
        stored: of any byte order; bools of any byte; bfloat16 as uint16.
        is_bfloat16: widen to float32, whose upper half a bfloat16 is.
    """
    if is_bfloat16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    if stored.dtype == np.bool_:
        # NumPy promises nothing for a boolean whose byte is neither 0 nor 1.
        return np.asarray(np.not_equal(stored.view(np.uint8), 0))
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def write_list(file: BinaryIO, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays in version 2, which MXNet 1 and 2 read; scalars and empty arrays, which MXNet 1 lacks, in 3.

    Raises:
        DataError: a dtype that MXNet has no code for; the message names the record.
    """
    file.write(MAGIC + struct.pack("<Q", len(arrays)))
    for name, array in arrays.items():
        code = _CODE_OF_DTYPE.get(array.dtype.newbyteorder("="))
        if code is None:
            raise DataError(f"record {name!a}: MXNet's NDArray list holds no {array.dtype} arrays")
        magic = _V2 if array.ndim and array.size else _V3
        file.write(struct.pack(f"<Iii{array.ndim}q", magic, 0, array.ndim, *array.shape))
        file.write(_CPU + struct.pack("<i", code))
        file.write(np.ascontiguousarray(array, _DTYPES[code]).data)
    file.write(struct.pack("<Q", len(arrays)))
    for name in arrays:
        data = name.encode()
        file.write(struct.pack("<Q", len(data)) + data)


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape))[:80]
