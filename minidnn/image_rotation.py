"""Rotation of images about their middle, sampled bilinearly as MXNet's ``BilinearSampler`` does, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from minidnn import random
from minidnn.errors import ShapeError, TypeMismatchError
from minidnn.numpy.multiarray import ndarray

__all__ = ["imrotate", "random_rotate"]

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
