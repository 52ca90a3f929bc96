"""What encoded images say of themselves, checked before a decoder sees them.

A decoder believes what a file says: how large the image is, how long a chunk. Here every length is compared with the
bytes that are there, an image with what its compressed bytes can unfold into at most, and of a PNG only the chunks
that make the pixels are left. After that a decoder takes no more memory than some hundred times the file.

PNG: https://www.w3.org/TR/png-3/. JPEG: ITU-T T.81.
"""

from __future__ import annotations

import struct
import zlib
from importlib import import_module
from typing import Any

from minidnn.errors import DataError

__all__ = [
    "JPEG",
    "MAX_PIXELS",
    "PNG",
    "check_jpeg",
    "check_size",
    "has_module",
    "jpeg_header",
    "module",
    "png_header",
    "strip_png",
]

# Larger images are refused before memory is taken for them: 400 MB as RGB.
MAX_PIXELS = 1 << 27
JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"

_IHDR = struct.Struct(">IIBBBBB")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_MAX_CHUNK = (1 << 31) - 1
# Deflate makes at most 258 bytes of two bits: https://zlib.net/zlib_tech.html.
_MAX_DEFLATE = 1032
# The longest contents of the chunks that are left; IDAT has no limit of its own.
_KEPT = {b"IHDR": 13, b"PLTE": 768, b"tRNS": 256, b"IDAT": _MAX_CHUNK, b"IEND": 0}
# A Huffman code takes at least a bit, and each 8 × 8 block of the image at least one; an arithmetic code takes less.
_PIXELS_PER_JPEG_BYTE = 512
_PIXELS_PER_ARITHMETIC_BYTE = 1 << 15
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers of frames, C0 to CF
_FIRST_ARITHMETIC = 0xC9
_FRAME = struct.Struct(">HHBHHB")  # marker, length, bits, height, width, components
_SPACES = {1: "Gray", 3: "YCbCr", 4: "CMYK"}  # by number of components
_SCAN = b"\xff\xda"
_MAX_SCANS = 500  # each one is a walk over the image; encoders make some ten


def module(name: str) -> Any:
    """A library for images.

    Raises:
        ImportError: it is not installed; the message says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"images need {name}: pip install 'minidnn[data]' ({error})") from error


def has_module(name: str) -> bool:
    """Whether that library is installed and can be imported."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def check_size(height: int, width: int) -> None:
    """Compare an image with the largest one that is read.

    Raises:
        DataError: it has no pixels, or more than `MAX_PIXELS`.
    """
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"an image of {width}×{height} pixels; at most {MAX_PIXELS} are read")


# ---- PNG --------------------------------------------------------------------------------------------


def png_header(data: bytes) -> tuple[int, int, int, int]:
    """Height, width, bits of a pixel, and colour type.

    Raises:
        DataError: the header is missing, damaged, or says what is not possible.
    """
    (length,) = struct.unpack(">I", data[8:12].rjust(4, b"\0"))
    if data[12:16] != b"IHDR" or length != _IHDR.size or len(data) < 16 + _IHDR.size + 4:
        raise DataError("a PNG without its header")
    width, height, depth, colour, compression, filtering, interlace = _IHDR.unpack_from(data, 16)
    check_size(height, width)
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise DataError(
            f"a PNG whose header is damaged: {depth} bits, colour type {colour}, methods {compression}, {filtering} "
            f"and {interlace}"
        )
    return height, width, depth * _CHANNELS[colour], colour


def strip_png(data: bytes) -> bytes:
    """The PNG with nothing but the chunks that make its pixels.

    Texts, profiles and animations are left out, among them those that unfold into gigabytes.

    Raises:
        DataError: a chunk is damaged, of an unknown critical type, or longer than the file; or the file ends before
            the image does, or the image is larger than what the file can hold.
    """
    height, width, bits, _ = png_header(data)
    kept, pixels, position, name = [PNG], 0, len(PNG), b""
    while name != b"IEND":
        if len(data) - position < 12:
            raise DataError(f"a truncated PNG: it ends within a chunk, at byte {len(data)}")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not name.isalpha():
            raise DataError(f"a damaged PNG: {name!r} at byte {position} is no type of a chunk")
        if length > _KEPT.get(name, _MAX_CHUNK) or end > len(data):
            left = len(data) - position - 12
            raise DataError(f"a damaged or truncated PNG: chunk {name.decode()} of {length} bytes, {left} are left")
        if name in _KEPT:
            if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise DataError(f"a damaged PNG: the checksum of chunk {name.decode()} at byte {position} is wrong")
            kept.append(data[position:end])
            pixels += length if name == b"IDAT" else 0
        elif name[:1].isupper():
            raise DataError(f"a damaged PNG: chunk {name.decode()} is unknown")
        position = end
    if height * width * bits // 8 > pixels * _MAX_DEFLATE:
        raise DataError(f"a damaged or truncated PNG: {width}×{height} pixels in {pixels} bytes")
    return b"".join(kept)


# ---- JPEG -------------------------------------------------------------------------------------------


def jpeg_header(data: bytes) -> tuple[int, int, str]:
    """Height, width and colour space.

    Raises:
        DataError: it is none that can be read.
    """
    if not has_module("simplejpeg"):
        return _read_frame(data)
    try:
        height, width, space, _ = module("simplejpeg").decode_jpeg_header(data, strict=True)
    except ValueError as error:
        raise DataError(f"no JPEG that can be read: {error}") from None
    check_size(height, width)
    return height, width, space


def check_jpeg(data: bytes, height: int, width: int) -> None:
    """Compare the size of an image with that of its file.

    Raises:
        DataError: the image is larger than what the file can hold, or has more scans than any encoder makes.
    """
    is_arithmetic = data[_find_frame(data) + 1] >= _FIRST_ARITHMETIC
    if height * width > (_PIXELS_PER_ARITHMETIC_BYTE if is_arithmetic else _PIXELS_PER_JPEG_BYTE) * len(data):
        raise DataError(f"a damaged or truncated JPEG: {width}×{height} pixels in {len(data)} bytes")
    scans = data.count(_SCAN)
    if scans > _MAX_SCANS:
        raise DataError(f"a JPEG of {scans} scans; more than {_MAX_SCANS} are refused")


def _read_frame(data: bytes) -> tuple[int, int, str]:
    """Height, width and colour space by the number of components, from the header of the frame."""
    position = _find_frame(data)
    if len(data) < position + _FRAME.size:
        raise DataError("a truncated JPEG: it ends within the header of its frame")
    _, _, _, height, width, components = _FRAME.unpack_from(data, position)
    if components not in _SPACES:
        raise DataError(f"a damaged JPEG, or none that can be read: {components} components")
    check_size(height, width)
    return height, width, _SPACES[components]


def _find_frame(data: bytes) -> int:
    """Where the header of the frame begins, whose marker says how the image is coded."""
    position = 2
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position] != 0xFF:
            break
        if marker == 0xFF:  # fills a gap
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            return position
        else:
            position += 2 + length
    raise DataError("a damaged JPEG: the header of its frame cannot be found")
