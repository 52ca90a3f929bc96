"""``mx.image``: images as arrays: decoded, resized, cut, rotated.

Where a size is wanted, it is (width, height). `interp` is 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos, by
OpenCV's rules; 9 chooses bicubic to enlarge, area to shrink, and bilinear otherwise; 10 one of 0 to 4 at random.
Random choices draw from the generator that ``mx.np.random.seed`` seeds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn import random
from minidnn.errors import DataError, ShapeError, TypeMismatchError
from minidnn.image_pixels import Pixels, decode, encode, is_grey, pad, read_encoded, resize, short_size
from minidnn.missing import raising
from minidnn.numpy.base import as_native
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "center_crop",
    "color_normalize",
    "copyMakeBorder",
    "decode",
    "encode",
    "fixed_crop",
    "imdecode",
    "imread",
    "imresize",
    "imrotate",
    "is_grey",
    "random_crop",
    "random_rotate",
    "random_size_crop",
    "read_encoded",
    "resize",
    "resize_short",
    "scale_down",
    "short_size",
]

_TRIALS = 10  # MXNet's, of a random area that fits
Rectangle = tuple[int, int, int, int]


def imdecode(buf: Any, flag: int = 1, to_rgb: bool = True, out: Any = None) -> ndarray:
    """Decode a JPEG or PNG.

    Args:
        buf: bytes, or an array of uint8.
        flag: 1: colours; 0: grey.
        to_rgb: the order red, green, blue; otherwise blue, green, red.
        out: None.

    Returns:
        ``(H, W, 3)`` or ``(H, W, 1)``, uint8.

    Raises:
        DataError: it cannot be decoded.
    """
    if out is not None:
        raise ValueError("imdecode() makes an array of its own: out must be None")
    data = buf if isinstance(buf, bytes) else np.asarray(buf, np.uint8).tobytes()
    pixels = decode(data, flag)
    return ndarray._wrap(pixels if to_rgb or not flag else np.ascontiguousarray(pixels[:, :, ::-1]))


def imread(filename: str | os.PathLike[str], flag: int = 1, to_rgb: bool = True) -> ndarray:
    """Decode a file; see `imdecode`.

    Raises:
        DataError: it cannot be decoded; the message names it.
    """
    try:
        return imdecode(read_encoded(filename), flag, to_rgb)
    except DataError as error:
        raise DataError(f"{os.fspath(filename)}: {error}") from None


def imresize(src: Any, w: int, h: int, interp: int = 1) -> ndarray:
    """An image ``(H, W, C)`` as ``(h, w, C)``; see `resize`."""
    return _wrap(_resized(_image(src), w, h, interp))


def _image(src: Any) -> Pixels:
    pixels = np.asarray(src)
    if pixels.ndim != 3 or not pixels.size:
        raise ShapeError(f"an image is (H, W, C), got {pixels.shape}")
    return pixels


def _wrap(pixels: Pixels) -> ndarray:
    return ndarray._wrap(as_native(pixels))


def _resized(pixels: Pixels, width: int, height: int, interp: int) -> Pixels:
    """`resize` that also knows the methods 9 and 10."""
    if interp == 9:
        grows = (height > pixels.shape[0], width > pixels.shape[1])
        shrinks = (height < pixels.shape[0], width < pixels.shape[1])
        interp = 2 if all(grows) else 3 if all(shrinks) else 1
    elif interp == 10:
        interp = int(random.generator().integers(5))
    return resize(pixels, width, height, interp)


def resize_short(src: Any, size: int, interp: int = 2) -> ndarray:
    """An image ``(H, W, C)`` whose shorter side becomes `size`, the longer one being rounded down."""
    pixels = _image(src)
    width, height = short_size(pixels.shape[0], pixels.shape[1], size)
    return _wrap(_resized(pixels, width, height, interp))


def scale_down(src_size: Sequence[int], size: Sequence[float]) -> tuple[int, int]:
    """The largest size of the proportions of `size` that fits into `src_size` and is not larger than `size`."""
    (width, height), (w, h) = src_size, size
    if height < h:
        w, h = w * height / h, height
    if width < w:
        w, h = width, h * width / w
    return int(w), int(h)


def copyMakeBorder(  # noqa: N802 # the name is MXNet's and OpenCV's
    src: Any, top: int, bot: int, left: int, right: int, type: int = 0, value: float = 0.0, values: Sequence[float] = ()
) -> ndarray:
    """An image ``(H, W, C)`` with a border.

    Args:
        src: uint8 or float32.
        top, bot, left, right: rows and columns to add.
        type: 0 of one value, 1 the edge's, 2 mirrored with the edge, 3 from the other side, 4 mirrored without it.
        value: of the border of type 0.
        values: one for each channel, instead.
    """
    pixels = _image(src)
    colour = tuple(map(float, values)) or (float(value),) * pixels.shape[2]
    return _wrap(pad(pixels, (top, bot, left, right), type, colour))


def fixed_crop(
    src: Any, x0: int, y0: int, w: int, h: int, size: Sequence[int] | None = None, interp: int = 2
) -> ndarray:
    """The rectangle of an image ``(H, W, C)`` that begins at column `x0` and row `y0`, resized to `size` or not.

    Raises:
        ShapeError: it is not inside the image.
    """
    pixels = _image(src)
    height, width = pixels.shape[:2]
    if x0 < 0 or y0 < 0 or w < 1 or h < 1 or x0 + w > width or y0 + h > height:
        raise ShapeError(f"columns {x0} to {x0 + w} and rows {y0} to {y0 + h} are not in an image of {width}×{height}")
    part = pixels[y0 : y0 + h, x0 : x0 + w]
    return _wrap(part if size is None else _resized(part, size[0], size[1], interp))


def _fitting(src: Any, size: Sequence[int]) -> tuple[Pixels, int, int]:
    """The image, and width and height of what is cut out of it for a result of `size`: at least 1."""
    pixels = _image(src)
    w, h = scale_down((pixels.shape[1], pixels.shape[0]), size)
    return pixels, max(1, w), max(1, h)


def center_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[ndarray, Rectangle]:
    """The middle of an image ``(H, W, C)``, enlarged where the image is smaller than `size`.

    Returns:
        That, and what was cut out: (column, row, width, height).
    """
    pixels, w, h = _fitting(src, size)
    x0, y0 = (pixels.shape[1] - w) // 2, (pixels.shape[0] - h) // 2
    return fixed_crop(pixels, x0, y0, w, h, size, interp), (x0, y0, w, h)


def random_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[ndarray, Rectangle]:
    """As `center_crop`, at a random place."""
    pixels, w, h = _fitting(src, size)
    x0, y0 = _place(pixels, w, h)
    return fixed_crop(pixels, x0, y0, w, h, size, interp), (x0, y0, w, h)


def _place(pixels: Pixels, w: int, h: int) -> tuple[int, int]:
    draw = random.generator()
    return int(draw.integers(pixels.shape[1] - w + 1)), int(draw.integers(pixels.shape[0] - h + 1))


def random_size_crop(
    src: Any, size: Sequence[int], area: float | tuple[float, float], ratio: tuple[float, float], interp: int = 2
) -> tuple[ndarray, Rectangle]:
    """A part of random area and proportions, resized to `size`; the middle where ten tries did not fit.

    Args:
        src: an image ``(H, W, C)``.
        size: of the result.
        area: smallest and largest share of the image's area; one number is the smallest.
        ratio: smallest and largest width / height, drawn evenly on the logarithmic scale.
        interp: see above.

    Returns:
        That, and what was cut out: (column, row, width, height).
    """
    pixels, draw = _image(src), random.generator()
    low, high = (area, 1.0) if isinstance(area, (int, float)) else area
    for _ in range(_TRIALS):
        target = draw.uniform(low, high) * pixels.shape[0] * pixels.shape[1]
        proportion = math.exp(draw.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * proportion)), round(math.sqrt(target / proportion))
        if 0 < w <= pixels.shape[1] and 0 < h <= pixels.shape[0]:
            x0, y0 = _place(pixels, w, h)
            return fixed_crop(pixels, x0, y0, w, h, size, interp), (x0, y0, w, h)
    return center_crop(pixels, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> ndarray:
    """``(src - mean) / std`` as float32; a `mean` or `std` of None is left out. `src` stays as it is."""
    pixels: Pixels = np.asarray(src, np.float32)
    if mean is not None:
        pixels = pixels - np.asarray(mean, np.float32)
    if std is not None:
        pixels = pixels / np.asarray(std, np.float32)
    return _wrap(pixels)


_Array = np.ndarray[Any, Any]


def imrotate(src: Any, rotation_degrees: Any, zoom_in: bool = False, zoom_out: bool = False) -> ndarray:
    """Images rotated anticlockwise, in the size they had; 0 where nothing comes from inside.

    Args:
        src: ``(C, H, W)`` or ``(N, C, H, W)``, float32.
        rotation_degrees: an angle; of a batch also one for each image.
        zoom_in: enlarge until no corner is empty.
        zoom_out: shrink until the whole image is inside.

    Raises:
        TypeMismatchError: the images are not float32.
        TypeError: several angles for one image.
        ShapeError: another rank, or not as many angles as images.
        ValueError: `zoom_in` and `zoom_out` both.
    """
    if zoom_in and zoom_out:
        raise ValueError("zoom_in and zoom_out cannot both be true")
    pictures = np.asarray(src)
    if pictures.dtype != np.float32:
        raise TypeMismatchError(f"images to rotate are float32, got {pictures.dtype}: call it after ToTensor")
    if pictures.ndim not in (3, 4):
        raise ShapeError(f"images to rotate are (C, H, W) or (N, C, H, W), got {pictures.shape}")
    one = isinstance(rotation_degrees, Real) or np.ndim(rotation_degrees) == 0
    if pictures.ndim == 3:
        if not one:
            raise TypeError("one image has one angle, a number")
        return ndarray._wrap(_rotated(pictures, float(rotation_degrees), zoom_in, zoom_out))
    angles = np.full(len(pictures), float(rotation_degrees)) if one else np.asarray(rotation_degrees, np.float64)
    if angles.shape != (len(pictures),):
        raise ShapeError(f"{len(pictures)} images want as many angles, got {angles.shape}")
    rotated = np.empty_like(pictures, order="C")
    for out, picture, angle in zip(rotated, pictures, angles, strict=True):
        out[:] = _rotated(picture, float(angle), zoom_in, zoom_out)
    return ndarray._wrap(rotated)


def random_rotate(src: Any, angle_limits: Sequence[float], zoom_in: bool = False, zoom_out: bool = False) -> ndarray:
    """`imrotate` by an angle between the two of `angle_limits`, drawn for each image of a batch."""
    low, high = angle_limits
    angles = random.generator().uniform(low, high, None if np.ndim(src) == 3 else len(src))
    return imrotate(src, angles, zoom_in, zoom_out)


def _rotated(picture: _Array, degrees: float, zoom_in: bool, zoom_out: bool) -> _Array:
    height, width = picture.shape[1:]
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    # The rectangle around the rotated image, as shares of the image's own sides.
    across = abs(cosine) + abs(sine) * height / width
    down = abs(cosine) + abs(sine) * width / height
    scale = max(across, down) if zoom_out else min(1 / across, 1 / down) if zoom_in else 1.0
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    x, y = np.arange(width) - middle_x, (np.arange(height) - middle_y)[:, None]
    return _sampled(picture, (x * cosine - y * sine) * scale + middle_x, (x * sine + y * cosine) * scale + middle_y)


def _sampled(picture: _Array, x: _Array, y: _Array) -> _Array:
    """The image at columns `x` and rows `y`; what is beyond its edges is 0."""
    height, width = picture.shape[1:]
    left, top = np.floor(x), np.floor(y)
    result = np.zeros((picture.shape[0], *x.shape))
    for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            at = row[inside].astype(np.intp), column[inside].astype(np.intp)
            result[:, inside] += picture[:, *at] * (share_x * share_y)[inside]
    return result.astype(np.float32)


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
