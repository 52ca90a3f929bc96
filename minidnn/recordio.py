"""RecordIO, the container in which MXNet keeps images and labels: readers, writers, and the header of an image record.

A file is a row of records. Each is the magic number 0xced7230a, a word with the kind of the part in its upper 3 bits
and the length in its lower 29, the data, and zeros up to a multiple of 4 bytes. Where the data itself has the magic
number at a multiple of 4, the record is split there: the number is left out, and stands between the parts when they
are joined. All numbers are little-endian. The format is that of ``dmlc/recordio.h``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, TextIO

import numpy as np

import minidnn.image as image
from minidnn.errors import DataError

__all__ = ["IRHeader", "MXIndexedRecordIO", "MXRecordIO", "pack", "pack_img", "unpack", "unpack_img"]

_MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", _MAGIC)
_WORDS = struct.Struct("<II")
_LENGTH_BITS = 29
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")
_MAX_LINE = 1 << 16  # characters of the index


class MXRecordIO:
    """A record file, written or read from its start to its end.

    A reader may be pickled (the copy starts at the same record) and shared between threads and forked processes.

    Args:
        uri: path of the file.
        flag: ``r`` to read, ``w`` to write a new file.

    Raises:
        ValueError: another flag.
        OSError: the file cannot be opened.
    """

    def __init__(self, uri: str | os.PathLike[str], flag: str) -> None:
        if flag not in ("r", "w"):
            raise ValueError(f"flag must be 'r' or 'w', got {flag!r}")
        self.uri = os.fspath(uri)
        self.flag = flag
        self.writable = flag == "w"
        self.is_open = False
        self._file: BinaryIO | None = None
        self.open()

    def open(self) -> None:
        """Open the file; a writer empties it."""
        self._file = Path(self.uri).open("wb" if self.writable else "rb")  # noqa: SIM115 # close() closes it
        self._position = 0
        self.is_open = True

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.is_open = False

    def reset(self) -> None:
        """Go back to the first record; a writer empties the file."""
        self.close()
        self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        if self.writable:
            raise TypeError(f"{self.uri}: a writer of records cannot be pickled")
        return {**self.__dict__, "_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.is_open:
            position = self._position
            MXRecordIO.open(self)
            self._position = position

    def tell(self) -> int:
        """Where the next record begins: bytes from the start of the file."""
        return self._position

    def write(self, buf: bytes) -> None:
        """Append a record.

        Raises:
            ValueError: the record is 512 MiB or longer, which the format cannot say, or the file is not open to write.
        """
        file = self._opened(for_writing=True)
        buf = bytes(buf)
        if len(buf) >= 1 << _LENGTH_BITS:
            raise ValueError(f"{self.uri}: a record must be shorter than 512 MiB, got {len(buf)} bytes")
        cuts = _aligned_magics(buf)
        starts = [0, *(cut + 4 for cut in cuts)]
        for number, (start, end) in enumerate(zip(starts, [*cuts, len(buf)], strict=True)):
            last = number == len(cuts)
            kind = (_WHOLE if last else _FIRST) if number == 0 else (_LAST if last else _MIDDLE)
            part = buf[start:end]
            padding = b"\0" * (-len(part) % 4)
            file.write(_WORDS.pack(_MAGIC, kind << _LENGTH_BITS | len(part)) + part + padding)
            self._position += _WORDS.size + len(part) + len(padding)

    def read(self) -> bytes | None:
        """The next record; None at the end of the file.

        Raises:
            DataError: the file is damaged or truncated there; the message says where.
            ValueError: the file is not open for reading.
        """
        self._opened(for_writing=False)
        if self._position == self._size():
            return None
        record, self._position = self._read_at(self._position, f"the record at byte {self._position}")
        return record

    def _opened(self, for_writing: bool) -> BinaryIO:
        if self._file is None:
            raise ValueError(f"{self.uri}: the file is closed")
        if self.writable != for_writing:
            raise ValueError(f"{self.uri}: opened {'for writing' if self.writable else 'for reading'} only")
        return self._file

    def _size(self) -> int:
        return os.fstat(self._opened(for_writing=False).fileno()).st_size

    def _read_at(self, position: int, what: str) -> tuple[bytes, int]:
        """The record that begins at `position`, and where the next does; no state of the reader is used or changed."""
        parts: list[bytes] = []
        size = self._size()
        while True:
            kind, part, position = self._read_part(position, size, what)
            if kind not in ((_MIDDLE, _LAST) if parts else (_WHOLE, _FIRST)):
                raise DataError(f"{self.uri}: {what} is damaged: a part of kind {kind} cannot stand there")
            parts.append(part)
            if kind in (_WHOLE, _LAST):
                return _MAGIC_BYTES.join(parts), position

    def _read_part(self, position: int, size: int, what: str) -> tuple[int, bytes, int]:
        file = self._opened(for_writing=False)
        if not 0 <= position <= size - _WORDS.size:
            raise DataError(f"{self.uri}: {what} is truncated: the file has {size} bytes, its header ends beyond them")
        magic, word = _WORDS.unpack(os.pread(file.fileno(), _WORDS.size, position))
        if magic != _MAGIC:
            raise DataError(f"{self.uri}: {what} is damaged: it begins with {magic:#010x}, not with {_MAGIC:#010x}")
        kind, length = word >> _LENGTH_BITS, word & ((1 << _LENGTH_BITS) - 1)
        position += _WORDS.size
        if length > size - position:
            raise DataError(f"{self.uri}: {what} is truncated: {length} bytes are declared, {size - position} are left")
        part = os.pread(file.fileno(), length, position)
        if len(part) != length:
            raise DataError(f"{self.uri}: {what} is truncated: the file became shorter while it was read")
        return kind, part, min(position + length + -length % 4, size)


def _aligned_magics(buf: bytes) -> list[int]:
    found, at = [], buf.find(_MAGIC_BYTES)
    while at >= 0:
        if at % 4 == 0:
            found.append(at)
        at = buf.find(_MAGIC_BYTES, at + (4 if at % 4 == 0 else 1))
    return found


class MXIndexedRecordIO(MXRecordIO):
    """A record file with an index, read in any order.

    Args:
        idx_path: the index: a line a record, its key and its position with a tab between.
        uri, flag: as for `MXRecordIO`.
        key_type: what makes a key of its text.

    Attributes:
        keys: the keys in the order of the index.
        idx: the position of each.

    Raises:
        DataError: a line of the index is not a key and a position.
    """

    def __init__(
        self,
        idx_path: str | os.PathLike[str],
        uri: str | os.PathLike[str],
        flag: str,
        key_type: Callable[[Any], Any] = int,
    ) -> None:
        self.idx_path = os.fspath(idx_path)
        self.key_type = key_type
        self.idx: dict[Any, int] = {}
        self.keys: list[Any] = []
        self.fidx: TextIO | None = None
        super().__init__(uri, flag)

    def open(self) -> None:
        """Open the file and read the index; a writer empties both."""
        super().open()
        self.idx, self.keys = {}, []
        if self.writable:
            self.fidx = Path(self.idx_path).open("w", encoding="utf-8")  # noqa: SIM115 # close() closes it
            return
        try:
            self._read_index()
        except BaseException:
            self.close()
            raise

    def _read_index(self) -> None:
        with Path(self.idx_path).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(iter(partial(lines.readline, _MAX_LINE), ""), 1):
                if not line.strip():
                    continue
                try:
                    text, position = line.strip().split("\t")
                    if len(line) == _MAX_LINE:
                        raise ValueError(line)
                    key = self.key_type(text)
                    self.idx[key] = int(position)
                except ValueError:
                    raise DataError(
                        f"{self.idx_path}: line {number} is not a key and a position with a tab between: {line[:60]!r}"
                    ) from None
                self.keys.append(key)

    def close(self) -> None:
        """Close both files."""
        super().close()
        if self.fidx is not None:
            self.fidx.close()
            self.fidx = None

    def seek(self, idx: Any) -> None:
        """Let `read` go on with the record of this key.

        Raises:
            KeyError: there is none.
        """
        self._opened(for_writing=False)
        self._position = self.idx[idx]

    def read_idx(self, idx: Any) -> bytes:
        """The record of a key.

        Raises:
            KeyError: there is none.
            DataError: the record is damaged or truncated; the message names it.
        """
        position = self.idx[idx]
        return self._read_at(position, f"record {idx!r} at byte {position}")[0]

    def write_idx(self, idx: Any, buf: bytes) -> None:
        """Append a record under a key."""
        key, position = self.key_type(idx), self.tell()
        self.write(buf)
        assert self.fidx is not None
        self.fidx.write(f"{key}\t{position}\n")
        self.idx[key] = position
        self.keys.append(key)


class IRHeader(NamedTuple):
    """What stands in front of an image in its record.

    Attributes:
        flag: the number of labels that follow the header; 0: the one in it.
        label: a number, or an array of float32.
        id: of the image.
        id2: its higher bits, mostly 0.
    """

    flag: int
    label: Any
    id: int
    id2: int


def pack(header: IRHeader | tuple[Any, ...], s: bytes) -> bytes:
    """A record of a header and an image's bytes.

    Args:
        header: its label is a number or a list of numbers; its flag is set to fit.
        s: the encoded image.

    Raises:
        DataError: the label is made of something else than numbers, or an id does not fit into 64 bits.
    """
    header = IRHeader(*header)
    labels = b""
    try:
        if isinstance(header.label, Number):
            header = header._replace(flag=0)
        else:
            array = np.asarray(header.label).astype("<f4", casting="same_kind" if _is_numeric(header.label) else "no")
            header = header._replace(flag=array.size, label=0.0)
            labels = array.tobytes()
        return _HEADER.pack(*header) + labels + s
    except (TypeError, ValueError, struct.error, OverflowError) as error:
        raise DataError(f"no header of an image record: {header!r}: {error}") from None


def _is_numeric(label: Any) -> bool:
    return np.asarray(label).dtype.kind in "biuf"


def unpack(s: bytes) -> tuple[IRHeader, bytes]:
    """The header and the image's bytes of a record.

    Raises:
        DataError: the record is too short for its header or for the labels that the header announces.
    """
    if len(s) < _HEADER.size:
        raise DataError(f"an image record begins with {_HEADER.size} bytes of header, got {len(s)} bytes in all")
    header, s = IRHeader(*_HEADER.unpack_from(s)), s[_HEADER.size :]
    if header.flag:
        if header.flag > len(s) // 4:
            raise DataError(f"an image record announces {header.flag} labels and has {len(s)} bytes for them")
        label = np.frombuffer(s, "<f4", header.flag).astype(np.float32)
        header, s = header._replace(label=label), s[4 * header.flag :]
    return header, s


def pack_img(header: IRHeader | tuple[Any, ...], img: Any, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """A record of a header and an image, which is encoded.

    Args:
        header: as for `pack`.
        img: uint8, ``(H, W, 3)`` in the order blue, green, red, as OpenCV and MXNet have it, or ``(H, W)``.
        quality: 1 to 100 for JPEG, the compression 1 to 9 for PNG.
        img_fmt: ``.jpg`` or ``.png``.
    """
    return pack(header, image.encode(np.asarray(img), img_fmt, quality))


def unpack_img(s: bytes, iscolor: int = -1) -> tuple[IRHeader, np.ndarray[Any, Any]]:
    """The header and the decoded image of a record.

    Args:
        s: the record.
        iscolor: 1: ``(H, W, 3)``; 0: grey, ``(H, W)``; -1: as it is in the file. Colours are in the order blue, green,
            red, as in MXNet.

    Raises:
        DataError: the record or its image is damaged.
    """
    header, encoded = unpack(s)
    if iscolor < 0:
        iscolor = 0 if image.is_grey(encoded) else 1
    pixels = image.decode(encoded, iscolor)
    return header, pixels[:, :, 0] if not iscolor else np.ascontiguousarray(pixels[:, :, ::-1])
