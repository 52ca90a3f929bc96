"""Zip files that others wrote: read in bounded pieces, and not believed."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from minidnn.errors import DataError
from minidnn.untrusted import shorten

__all__ = ["ZIP_ERRORS", "Guarded", "check_entries", "read_entry_into"]

_ENCRYPTED = 0x1
_MAX_READ = 1 << 24  # bytes in one piece; the directory of a file of 100,000 tensors has some 10 MB
_CHUNK = 1 << 20
ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, OSError)


class Guarded:
    """The file, read in pieces of a bounded size: the directory's own word is not taken for how long it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(min(count, _MAX_READ + 1) if count >= 0 else _MAX_READ + 1)
        if len(data) > _MAX_READ:
            raise DataError(f"a part of it has more than {_MAX_READ} bytes")
        return data

    def seekable(self) -> bool:
        return True


def read_entry_into(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, buffer: memoryview) -> None:
    """Fill `buffer` from an entry, whose checksum is compared where it ends with the buffer."""
    done = 0
    try:
        with archive.open(entry) as source:
            while done < len(buffer):
                count = source.readinto(buffer[done : done + _CHUNK])  # type: ignore[attr-defined]
                if not count:
                    break
                done += count
            source.read(1)  # reaching the end is what makes zipfile compare the checksum
    except ZIP_ERRORS as error:
        raise DataError(f"entry {shorten(entry.filename)} is damaged: {error}") from None
    if done < len(buffer):
        raise DataError(f"entry {shorten(entry.filename)} is truncated: {done} of {len(buffer)} bytes")


def check_entries(entries: list[zipfile.ZipInfo], size: int, writer: str) -> dict[str, zipfile.ZipInfo]:
    """The entries by name, once each of them is stored as it is and all of them fit into a file of `size` bytes."""
    result: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in entries:
        name = shorten(entry.filename)
        if entry.filename in result:
            raise DataError(f"duplicate entry {name} in the zip file")
        if entry.flag_bits & _ENCRYPTED:
            raise DataError(f"entry {name} is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise DataError(f"entry {name} is compressed; {writer} writes its files uncompressed")
        result[entry.filename] = entry
        total += entry.file_size
    if total > size:
        raise DataError(f"damaged or truncated zip file: its entries claim {total} bytes, the file has {size}")
    return result
