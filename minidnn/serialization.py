"""Dictionaries of arrays on disk, in the safetensors format; files of MXNet's are known by their first bytes.

The safetensors format is a little-endian uint64 (the header's length), a JSON header that gives each record its dtype,
shape and byte range, and the bytes: https://github.com/huggingface/safetensors. Nothing in it can run.

Files are written by the `safetensors` package. They are read here, record by record, for two reasons: an
error can name the record, and a file that shrinks while it is read is an error and not a bus error, which
it would be for a memory map.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from minidnn.errors import DataError
from minidnn.formats import NOTE_KEY, check_format, note, read_note
from minidnn.interop import mxnet_list, mxnet_params
from minidnn.replacing import replacing
from minidnn.untrusted import MAX_RANK, is_possible

__all__ = ["load", "metadata", "save"]

_BFLOAT16 = "BF16"
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "U64": "<u8",
    "I32": "<i4",
    "U32": "<u4",
    "I16": "<i2",
    "U16": "<u2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
    "C64": "<c8",
    _BFLOAT16: "<u2",  # its bits
}
_WRITABLE = frozenset(np.dtype(code).newbyteorder("=") for code in _DTYPES.values())
_METADATA = "__metadata__"
_MAX_HEADER = 100_000_000  # the format's own limit


def save(path: str | os.PathLike[str], arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write named arrays to a safetensors file: the whole file or none of it.

    Args:
        path: where; an existing file is replaced at the end, in one step.
        arrays: names and arrays (`mx.np.ndarray` or `numpy.ndarray`), of any memory layout and byte order.
        metadata: texts to keep in the header; without any, it says which minidnn wrote the file.

    Raises:
        DataError: a dtype the format has no name for; the message names the record.
        OSError: the file cannot be written.
    """
    import safetensors.numpy

    plain: dict[str, np.ndarray[Any, Any]] = {}
    for name, array in arrays.items():
        if name == _METADATA:
            raise DataError(f"{path}: {name!r} is a name the safetensors format keeps for itself")
        value = np.asarray(array)
        native = value.dtype.newbyteorder("=")
        if native not in _WRITABLE:
            raise DataError(f"{path}: record {name!r}: safetensors holds no {value.dtype} arrays")
        plain[name] = np.ascontiguousarray(value, dtype=native).reshape(value.shape)
    try:
        with replacing(Path(path)) as scratch:
            # One text at most: the package writes several in another order each time.
            notes = dict(metadata) if metadata else {NOTE_KEY: note()}
            safetensors.numpy.save_file(plain, scratch, metadata=notes)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path}: cannot write the file: {error}") from None


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Read a safetensors file, or one of MXNet's, into arrays that own their memory, in the file's order.

    NumPy has no bfloat16: such records come widened to float32.

    Raises:
        DataError: the file is damaged, truncated or holds a dtype NumPy lacks; the message names the record.
        OSError: the file is missing or cannot be read.
    """
    with Path(path).open("rb") as file:
        is_mxnet = mxnet_params.is_mxnet_file(file.read(16))
        file.seek(0)
        if not is_mxnet:
            return _Reader(path, file).read()
        try:
            return mxnet_params.read_params(file)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text that `save` was given for a safetensors file's header; of one of MXNet's files nothing.

    Raises:
        DataError: the header is damaged.
        OSError: the file is missing or cannot be read.
    """
    with Path(path).open("rb") as file:
        is_mxnet = mxnet_params.is_mxnet_file(file.read(16))
        file.seek(0)
        found = {} if is_mxnet else _Reader(path, file).metadata()
    notes = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in notes if isinstance(value, str) and key != NOTE_KEY}


@dataclass(frozen=True)
class _Record:
    name: str
    dtype: np.dtype[Any]
    is_bfloat16: bool
    shape: tuple[int, ...]
    begin: int
    end: int


class _Reader:
    def __init__(self, path: str | os.PathLike[str], file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self) -> dict[str, np.ndarray[Any, Any]]:
        header, start = self._header()
        notes = header.get(_METADATA)
        check_format(read_note(notes.get(NOTE_KEY) if isinstance(notes, dict) else None), str(self._path))
        records = [self._record(name, entry) for name, entry in header.items() if name != _METADATA]
        self._check_coverage(records, start)
        return {record.name: self._array(record, start) for record in records}

    def metadata(self) -> Any:
        return self._header()[0].get(_METADATA)

    def _refuse(self, why: str, record: str | None = None) -> NoReturn:
        where = f"{self._path}: record {record[:80]!r}: " if record is not None else f"{self._path}: "
        raise DataError(where + why)

    def _header(self) -> tuple[dict[str, Any], int]:
        if self._size < 8:
            self._refuse(f"not a safetensors file: {self._size} bytes are less than the header's length takes")
        (length,) = struct.unpack("<Q", self._file.read(8))
        if length > _MAX_HEADER or length > self._size - 8:
            self._refuse(
                f"not a safetensors file, or truncated: it announces a header of {length} bytes, "
                f"{self._size - 8} follow"
            )
        try:
            header = json.loads(self._file.read(length), object_pairs_hook=self._unique)
        except (ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            self._refuse(f"not a safetensors file: its header is not JSON ({type(error).__name__})")
        if not isinstance(header, dict):
            self._refuse("not a safetensors file: its header is not a JSON object")
        return header, 8 + length

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                self._refuse("duplicate name in the header", name)
            result[name] = value
        return result

    def _record(self, name: str, entry: Any) -> _Record:
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            self._refuse("its header entry needs dtype, shape and data_offsets", name)
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in _DTYPES:
            self._refuse(f"dtype {str(code)[:40]!r} cannot be read; {sorted(_DTYPES)} can", name)
        if not _are_sizes(shape) or len(shape) > MAX_RANK:
            self._refuse(f"its shape is not a list of at most {MAX_RANK} sizes", name)
        if not _are_sizes(offsets) or len(offsets) != 2:
            self._refuse("its data_offsets are not two byte positions", name)
        dtype = np.dtype(_DTYPES[code])
        needed = dtype.itemsize
        for size in shape:
            needed *= size
        if needed == 0 and not is_possible(shape, dtype.itemsize):
            self._refuse(f"its shape {str(shape)[:80]} is not possible", name)
        begin, end = offsets
        if end - begin != needed:
            self._refuse(f"{code}{shape} takes {needed} bytes, its data_offsets give it {end - begin}", name)
        return _Record(name, dtype, code == _BFLOAT16, tuple(shape), begin, end)

    def _check_coverage(self, records: list[_Record], start: int) -> None:
        """The records must cover the data without holes or overlaps, as the format demands."""
        position = 0
        for record in sorted(records, key=lambda r: (r.begin, r.end)):
            if record.begin != position:
                self._refuse(f"it begins at byte {record.begin} of the data, {position} was expected", record.name)
            position = record.end
            if start + position > self._size:
                self._refuse(f"truncated: it ends at byte {start + position}, the file at {self._size}", record.name)
        if start + position != self._size:
            self._refuse(f"{self._size - start - position} bytes follow the last record")

    def _array(self, record: _Record, start: int) -> np.ndarray[Any, Any]:
        array = np.empty(record.shape, record.dtype)
        self._file.seek(start + record.begin)
        if self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            self._refuse("truncated while it was being read", record.name)
        return mxnet_list.as_native(array, record.is_bfloat16)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)
