"""The demo's photos: those in the public domain that scikit-image ships in its wheel, ready for EfficientNet-Lite."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from minidnn.errors import DataError
from minidnn.image_headers import JPEG, PNG, has_module
from minidnn.image_pixels import Pixels, decode

__all__ = ["PHOTOS", "prepare", "read_photos", "read_rgb"]

PHOTOS = ("chelsea.png", "coffee.png", "camera.png", "rocket.jpg", "astronaut.png")
_CROP = 0.875  # of the shorter side, as the network was evaluated when it was trained


def _folder() -> Path:
    """scikit-image's data folder, found without importing it (which takes longer than the demo)."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("minidnn demo needs photos, and Pillow to read them: pip install 'minidnn[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_photos(size: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Name and pixels ``(1, 3, size, size)`` of each photo.

    Raises:
        ImportError: scikit-image or Pillow is missing; the message says how to install them.
    """
    folder = _folder()
    if all(importlib.util.find_spec(name) is None for name in ("PIL", "simplejpeg", "cv2")):
        raise ImportError("minidnn demo needs Pillow, or simplejpeg and OpenCV: pip install 'minidnn[demo]'")
    photos = [folder / name for name in PHOTOS if (folder / name).is_file()]
    if not photos:
        raise ImportError(f"the installed scikit-image brings none of {', '.join(PHOTOS)}: pip install 'minidnn[demo]'")
    for path in photos:
        yield path.stem, prepare(path, size)


def prepare(
    path: Path | BinaryIO, size: int, mean: Sequence[float] = (127,) * 3, deviation: Sequence[float] = (128,) * 3
) -> np.ndarray[Any, Any]:
    """A photo as networks take it: resized, the middle cropped, ``(pixel - mean) / deviation``, channels first.

    Args:
        path: of the photo, or its file.
        size: height and width of what is returned.
        mean, deviation: of red, green and blue, pixels being 0..255; without them as EfficientNet-Lite takes it.

    Returns:
        ``(1, 3, size, size)``, float32.
    """
    image = read_rgb(path)
    factor = size / _CROP / min(image.shape[:2])
    height, width = (round(side * factor) for side in image.shape[:2])
    left, top = (width - size) // 2, (height - size) // 2
    image = _resize(image, width, height)[top : top + size, left : left + size]
    pixels = (image.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def read_rgb(path: Path | BinaryIO) -> Pixels:
    """The pixels ``(H, W, 3)``, by Pillow, which reads most formats, or by what decodes JPEG and PNG without it."""
    if has_module("PIL"):
        from PIL import Image

        try:
            with Image.open(path) as photo:
                return np.array(photo.convert("RGB"))
        except Image.DecompressionBombError as error:
            raise DataError(str(error)) from None
    data = path.read_bytes() if isinstance(path, Path) else path.read()
    if not data.startswith((JPEG, PNG)):
        raise ImportError("images other than JPEG and PNG need Pillow: pip install pillow")
    return decode(data)


def _resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """The image in another size, by bicubic interpolation over as many pixels as become one: Pillow's rule."""
    columns = _bicubic_weights(pixels.shape[1], width)
    rows = _bicubic_weights(pixels.shape[0], height)
    wide = _rounded(np.einsum("hwc,xw->hxc", pixels.astype(np.float64), columns, optimize=True))
    return _rounded(np.einsum("hxc,yh->yxc", wide.astype(np.float64), rows, optimize=True))


def _rounded(values: np.ndarray[Any, Any]) -> Pixels:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def _bicubic_weights(old: int, new: int) -> np.ndarray[Any, Any]:
    """What each of `old` pixels counts for in each of `new`: ``(new, old)``.

    R. Keys: Cubic convolution interpolation for digital image processing. IEEE Transactions on Acoustics, Speech and
    Signal Processing 29 (6), 1981; with a = -0.5, stretched where the image shrinks.
    """
    stretch = max(old / new, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * (old / new)
    x = np.abs(np.arange(old) + 0.5 - centres) / stretch
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    normalized: np.ndarray[Any, Any] = weights / weights.sum(1, keepdims=True)
    return normalized
