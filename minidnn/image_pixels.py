"""Decoding, encoding and resizing of images as NumPy arrays: what ``mx.image`` and the data sets are made of.

JPEG is decoded by libjpeg-turbo (simplejpeg), which, asked to be strict, refuses a damaged image instead of filling
it with grey; PNG, JPEG in CMYK, and resizing are OpenCV's, which MXNet used as well. Both are imported when they are
first needed: ``pip install 'minidnn[data]'``. Where one is missing, the other or Pillow decodes. What a file says of
itself is checked before a decoder sees it.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.errors import DataError, ShapeError, TypeMismatchError
from minidnn.image_headers import (
    JPEG,
    PNG,
    check_jpeg,
    check_size,
    has_module,
    jpeg_header,
    module,
    png_header,
    strip_png,
)

__all__ = ["Pixels", "decode", "encode", "is_grey", "pad", "read_encoded", "resize", "short_size"]

Pixels = np.ndarray[Any, Any]

# Bytes of a file: more than JPEGs and all but noise in PNGs of the most pixels that are read take.
MAX_ENCODED = 1 << 29
# Some cameras and programs leave a few bytes behind the image, before the end marker. Many of them are what a decoder
# could make nothing of, in an image that was changed in its middle.
_LITTER = re.compile(r"(\d+) extraneous bytes before marker")
_MOST_LITTER = 128
_PNG_GREY = (0, 4)  # colour types: grey, grey with alpha


def read_encoded(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file that may be a JPEG or PNG; of one that is none, not all are read.

    Raises:
        DataError: it is neither, or too large for one.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        head = file.read(len(PNG))
        if not head.startswith((JPEG, PNG)):
            raise _unknown(head, os.fstat(file.fileno()).st_size)
        data = head + file.read(MAX_ENCODED)
    if len(data) > MAX_ENCODED:
        raise DataError(f"an image of more than {MAX_ENCODED} bytes")
    return data


def is_grey(data: bytes) -> bool:
    """Whether an encoded image has no colours.

    Raises:
        DataError: it is neither JPEG nor PNG.
    """
    if data.startswith(JPEG):
        return jpeg_header(data)[2] == "Gray"
    if data.startswith(PNG):
        return png_header(data)[3] in _PNG_GREY
    raise _unknown(data, len(data))


def _unknown(head: bytes, size: int) -> DataError:
    return DataError(f"neither JPEG nor PNG: {size} bytes that begin with {head[:8].hex(' ') or 'nothing'}")


def decode(data: bytes, flag: int = 1) -> Pixels:
    """A JPEG or PNG as pixels, whatever its mode: grey, RGB, CMYK, with alpha (dropped), 16 bits (the upper 8).

    The orientation that a camera notes is not applied, as in MXNet.

    Args:
        data: the file's bytes.
        flag: 1: red, green, blue; 0: grey.

    Returns:
        uint8, ``(H, W, 3)`` or ``(H, W, 1)``.

    Raises:
        DataError: another format; damaged or truncated; more than 134 million pixels.
    """
    if data.startswith(JPEG):
        height, width, space = jpeg_header(data)
        check_jpeg(data, height, width)
        if space not in ("CMYK", "YCCK") and has_module("simplejpeg"):
            return _decode_jpeg(data, "RGB" if flag else "GRAY")
        # OpenCV fills what is missing with grey, and says nothing that a program could hear.
        if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise DataError("a truncated JPEG: its end marker is missing")
    elif data.startswith(PNG):
        data = strip_png(data)
    else:
        raise _unknown(data, len(data))
    if not has_module("cv2") and has_module("PIL"):
        return _decode_by_pillow(data, flag)
    cv2 = module("cv2")
    mode = cv2.IMREAD_COLOR if flag else cv2.IMREAD_GRAYSCALE
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DataError(f"a damaged image: {error}") from None
    if decoded is None:
        raise DataError("a damaged or truncated image")
    return np.ascontiguousarray(decoded[:, :, ::-1]) if flag else decoded[:, :, None]


def _decode_by_pillow(data: bytes, flag: int) -> Pixels:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode.startswith("I"):  # 16 bits: converted, they would be cut off at 255
                grey = (np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)[:, :, None]
                return np.repeat(grey, 3, 2) if flag else grey
            pixels = np.array(image.convert("RGB" if flag else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"a damaged image: {error}") from None
    return pixels if flag else pixels[:, :, None]


def _decode_jpeg(data: bytes, space: str) -> Pixels:
    decoder = module("simplejpeg")
    pixels: Pixels
    try:
        pixels = decoder.decode_jpeg(data, space, strict=True)
    except ValueError as error:
        litter = _LITTER.search(str(error))
        if litter is None or int(litter[1]) > _MOST_LITTER:
            raise DataError(f"a damaged JPEG: {error}") from None
        pixels = decoder.decode_jpeg(data, space, strict=False)
    return pixels


def encode(pixels: Pixels, extension: str = ".jpg", quality: int = 95) -> bytes:
    """Pixels as JPEG or PNG.

    Args:
        pixels: uint8, ``(H, W, 3)`` in the order blue, green, red, or ``(H, W)``, or ``(H, W, 1)``.
        extension: ``.jpg``, ``.jpeg`` or ``.png``.
        quality: 1 to 100 for JPEG, the compression 1 to 9 for PNG.

    Raises:
        ValueError: another format.
        TypeMismatchError, ShapeError: the pixels are something else.
    """
    if pixels.dtype != np.uint8:
        raise TypeMismatchError(f"an image is made of uint8, got {pixels.dtype}")
    if not pixels.size or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ShapeError(f"an image is (H, W), (H, W, 1) or (H, W, 3), got {pixels.shape}")
    cv2 = module("cv2")
    kind = extension.lower()
    if kind in (".jpg", ".jpeg"):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    elif kind == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, min(quality, 9)]
    else:
        raise ValueError(f"images are written as .jpg, .jpeg or .png, got {extension!r}")
    done, encoded = cv2.imencode(kind, np.ascontiguousarray(pixels), options)
    if not done:
        raise DataError(f"an image of shape {pixels.shape} could not be encoded as {kind}")
    return bytes(encoded)


def resize(pixels: Pixels, width: int, height: int, interpolation: int = 1) -> Pixels:
    """Pixels in another size, by OpenCV's rules, which are MXNet's.

    Args:
        pixels: ``(H, W, C)``, uint8 or float32.
        width, height: of the result.
        interpolation: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos.

    Raises:
        ShapeError, TypeMismatchError, ValueError: an argument is something else.
    """
    if pixels.ndim != 3 or not pixels.size:
        raise ShapeError(f"an image to resize is (H, W, C), got {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.float32):
        raise TypeMismatchError(f"an image to resize is uint8 or float32, got {pixels.dtype}")
    if interpolation not in range(5):
        raise ValueError(f"interpolation must be 0 to 4, got {interpolation!r}")
    if width < 1 or height < 1:
        raise ValueError(f"a size must be positive, got {width}×{height}")
    check_size(height, width)
    if pixels.shape[:2] == (height, width):
        return pixels
    resized: Pixels = module("cv2").resize(np.ascontiguousarray(pixels), (width, height), interpolation=interpolation)
    return resized.reshape(height, width, pixels.shape[2])


def short_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Width and height of an image whose shorter side becomes `size`, the longer one being rounded down."""
    return (size, height * size // width) if height > width else (width * size // height, size)


def pad(pixels: Pixels, sides: tuple[int, int, int, int], kind: int, value: tuple[float, ...]) -> Pixels:
    """Pixels with rows and columns around them.

    Args:
        pixels: ``(H, W, C)``, uint8 or float32.
        sides: how many above, below, on the left, on the right.
        kind: OpenCV's: 0 of one value, 1 the edge's, 2 mirrored with the edge, 3 from the other side, 4 mirrored
            without the edge.
        value: of each channel, for kind 0.

    Raises:
        ShapeError, ValueError: an argument is something else.
    """
    if pixels.ndim != 3 or not pixels.size:
        raise ShapeError(f"an image to pad is (H, W, C), got {pixels.shape}")
    if kind not in range(5) or min(sides) < 0:
        raise ValueError(f"a border is of kind 0 to 4 and has no negative sides, got kind {kind} and {sides}")
    above, below, left, right = sides
    height, width = pixels.shape[0] + above + below, pixels.shape[1] + left + right
    check_size(height, width)
    source = np.ascontiguousarray(pixels)
    padded: Pixels = module("cv2").copyMakeBorder(source, above, below, left, right, kind, value=value)
    return padded.reshape(height, width, pixels.shape[2])
