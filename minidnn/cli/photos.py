"""The demo's photos: those in the public domain that scikit-image ships in its wheel, ready for EfficientNet-Lite."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

__all__ = ["PHOTOS", "prepare", "read_photos"]

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
    if importlib.util.find_spec("PIL") is None:
        raise ImportError("minidnn demo needs Pillow: pip install 'minidnn[demo]'")
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
    from PIL import Image

    with Image.open(path) as photo:
        image = photo.convert("RGB")
    factor = size / _CROP / min(image.size)
    width, height = (round(side * factor) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    pixels = (np.asarray(image, np.float32) - np.asarray(mean, np.float32)) / np.asarray(deviation, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
