"""PyTorch's two file formats.

The zip holds one folder with ``data.pkl``, ``data/KEY`` for each storage, and ``byteorder``. The legacy file is five
pickles one after the other, then the storages' raw bytes.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_machine import read_pickle
from minidnn.interop._torch_tensors import GLOBALS, Storage, Storages
from minidnn.interop._zip_files import ZIP_ERRORS, Guarded, check_entries, read_entry_into
from minidnn.untrusted import shorten

__all__ = ["LegacyFile", "ZipFile", "archive_kind"]

_BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}
_MAX_SMALL = 64  # bytes; ``byteorder`` holds one word
_CHUNK = 1 << 20


class ZipFile:
    """An open zip file: its object, and its storages on demand."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        try:
            self._zip = zipfile.ZipFile(cast(BinaryIO, Guarded(file)))
        except ZIP_ERRORS as error:
            raise DataError(f"damaged or truncated zip file: {error}") from None
        kind = archive_kind(self._zip.namelist())
        if kind is not None:
            raise DataError(f"{kind}, not a checkpoint of weights: save model.state_dict() by torch.save")
        self._entries = check_entries(self._zip.infolist(), size, "PyTorch")
        pickles = [name for name in self._entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"a zip file, but not a PyTorch checkpoint: {len(pickles)} entries named FOLDER/data.pkl")
        self._folder = pickles[0].removesuffix("data.pkl")
        order = self._bytes("byteorder", _MAX_SMALL) if self._folder + "byteorder" in self._entries else b"little"
        if order not in _BYTE_ORDERS:
            raise DataError(f"entry byteorder says neither little nor big but {shorten(order.decode('latin-1'))!r}")
        self._order = _BYTE_ORDERS[order]
        self.object: Any = self._read_pickle(Storages())

    def _read_pickle(self, storages: Storages) -> Any:
        entry = self._entry("data.pkl")
        try:
            # Read as it is interpreted, so that what is no pickle is refused at its first byte.
            with io.BufferedReader(cast(io.RawIOBase, self._zip.open(entry))) as source:
                loaded = read_pickle(
                    source, entry.file_size, GLOBALS, lambda identity: storages.load(identity, legacy=False)
                )
                while source.read(_CHUNK):  # reaching the end is what makes zipfile compare the checksum
                    pass
        except DataError:
            raise
        except ZIP_ERRORS as error:
            raise DataError(f"entry {shorten(entry.filename)} is damaged: {error}") from None
        return loaded

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if self._folder + name not in self._entries:
            raise DataError(f"entry {shorten(name)} is not in the file")
        return self._entries[self._folder + name]

    def _bytes(self, name: str, limit: int) -> bytes:
        entry = self._entry(name)
        if entry.file_size > limit:
            raise DataError(f"entry {shorten(name)} has {entry.file_size} bytes, more than the {limit} it may have")
        data = bytearray(entry.file_size)
        read_entry_into(self._zip, entry, memoryview(data))
        return bytes(data)

    def read(self, storages: Iterable[Storage]) -> dict[str, np.ndarray[Any, Any]]:
        """The raw elements of these storages, by key."""
        result: dict[str, np.ndarray[Any, Any]] = {}
        for storage in storages:
            entry = self._entry(f"data/{storage.key}")
            if entry.file_size != storage.nbytes:
                raise DataError(
                    f"storage {shorten(storage.key)}: {storage.count} elements need {storage.nbytes} bytes, "
                    f"the entry has {entry.file_size}"
                )
            if self._order == ">" and storage.type.name == "UntypedStorage":
                raise DataError(f"storage {storage.key}: untyped bytes of a big-endian machine cannot be read")
            raw = np.empty(storage.count, storage.type.stored.newbyteorder(self._order))
            read_entry_into(self._zip, entry, raw.view(np.uint8).data)
            result[storage.key] = raw
        return result


def archive_kind(names: Iterable[str]) -> str | None:
    """What of PyTorch's a zip file with these entries is, if it is none that ``torch.save`` wrote."""
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return "a TorchScript archive (of torch.jit.save)"
    if inner & {"archive_format", "models/model.json"} or "serialized_exported_program.json" in {*names}:
        return "a .pt2 archive (of torch.export.save)"
    return None


_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class LegacyFile:
    """An open legacy file: its object, and its storages on demand."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        if read_pickle(file, size) != _MAGIC:
            raise DataError("a pickle, but not a PyTorch checkpoint: the magic number is missing")
        protocol = read_pickle(file, size)
        if protocol != _PROTOCOL:
            raise DataError(f"protocol version {_PROTOCOL} is read, the file has another")
        read_pickle(file, size)
        self._storages = Storages()
        self.object: Any = read_pickle(file, size, GLOBALS, lambda identity: self._storages.load(identity, legacy=True))

    def _find(self) -> dict[str, int]:
        """Where each storage's elements start; all of them are checked against the file's size here."""
        keys, storages = read_pickle(self._file, self._size), self._storages.by_key
        if type(keys) is not list or not all(type(key) is str for key in keys):
            raise DataError("the list of storage keys is damaged")
        positions: dict[str, int] = {}
        for key in keys:
            storage = storages.get(key)
            if storage is None or key in positions:
                raise DataError(f"the list of storage keys names {shorten(key)} twice or for no tensor")
            header = self._file.read(8)
            count = int.from_bytes(header, "little", signed=True)
            if len(header) == 8 and count != storage.count:
                raise DataError(f"storage {key}: the pickle says {storage.count} elements, the data {count}")
            position = self._file.tell()
            if len(header) < 8 or storage.nbytes > self._size - position:
                left = self._size - position
                raise DataError(f"truncated: storage {key} needs {storage.nbytes} bytes, {left} are left")
            positions[key] = position
            self._file.seek(storage.nbytes, os.SEEK_CUR)
        missing = storages.keys() - positions.keys()
        if missing:
            raise DataError(f"storage {shorten(min(missing))} is not in the file")
        return positions

    def read(self, storages: Iterable[Storage]) -> dict[str, np.ndarray[Any, Any]]:
        """The raw elements of these storages, by key; to be called once."""
        positions = self._find()
        result: dict[str, np.ndarray[Any, Any]] = {}
        for storage in storages:
            raw = np.empty(storage.count, storage.type.stored.newbyteorder("<"))
            self._file.seek(positions[storage.key])
            if self._file.readinto(raw.view(np.uint8).data) != storage.nbytes:  # type: ignore[attr-defined]
                raise DataError(f"truncated: storage {storage.key} cannot be read whole")
            result[storage.key] = raw
        return result
