"""PyTorch's legacy file: five pickles one after the other, then the storages' raw bytes.

The pickles: a magic number, the protocol version, facts about the machine that wrote it, the object (with
persistent ids for the storages), the list of the storages' keys. Then, in the order of that list, for each
storage the number of its elements as an int64 and the elements, little endian whatever machine wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_machine import read_pickle
from minidnn.interop._pickle_objects import shorten
from minidnn.interop._torch_tensors import GLOBALS, Storage, Storages

__all__ = ["LegacyFile"]

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
