"""`mx.npx.image`: operators on images as arrays of pixels, ``(H, W, C)`` or batches ``(N, H, W, C)``.

`to_tensor`, `normalize`, `crop` and the flips are made of operators, and work in a network that is being traced;
`resize` is computed on the values at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn.dispatch import binary, invoke_one
from minidnn.errors import OpError, ShapeError
from minidnn.generator import generator
from minidnn.image_pixels import resize as _resize
from minidnn.image_pixels import short_size
from minidnn.missing import raising
from minidnn.numpy.convert import as_array, own, to_numpy
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "crop",
    "flip_left_right",
    "flip_top_bottom",
    "normalize",
    "random_crop",
    "random_flip_left_right",
    "random_flip_top_bottom",
    "resize",
    "to_tensor",
]

Pair = float | Sequence[float]


def _images(function: str, data: Any) -> ndarray:
    x = as_array(data)
    if x.ndim not in (3, 4):
        raise ShapeError(f"image.{function}: images (H, W, C) or (N, H, W, C) are wanted, got shape {x.shape}")
    return x


def to_tensor(data: Any) -> ndarray:
    """Pixels in 0..255 as float32 in 0..1, channels first: ``(C, H, W)`` or ``(N, C, H, W)``."""
    x = _images("to_tensor", data).astype(np.float32, copy=False)
    return binary("true_divide", invoke_one("moveaxis", x, source=-1, destination=-3), 255.0)


def normalize(data: Any, mean: Pair = 0.0, std: Pair = 1.0) -> ndarray:
    """``(x - mean) / std`` of float tensors ``(C, H, W)`` or ``(N, C, H, W)``.

    Args:
        data: the tensors.
        mean, std: a number, or one for each channel.

    Raises:
        OpError: a `std` is zero, or the numbers of channels differ.
    """
    x = _images("normalize", data)
    values = [np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std)]
    for name, value in zip(("mean", "std"), values, strict=True):
        if len(value) not in (1, x.shape[-3]):
            raise OpError(f"image.normalize: {name} has {len(value)} numbers, the tensor shape {x.shape}")
    if not values[1].all():
        raise OpError(f"image.normalize: std must not be zero, got {std}")
    return binary("true_divide", binary("subtract", x, values[0]), values[1])


def crop(data: Any, x: int, y: int, width: int, height: int) -> ndarray:
    """The rectangle of `width` and `height` whose left upper corner is at column `x`, row `y`.

    Raises:
        OpError: it reaches over the edge.
    """
    images = _images("crop", data)
    rows, columns = images.shape[-3:-1]
    if not (0 <= x <= x + width <= columns and 0 <= y <= y + height <= rows and width > 0 and height > 0):
        raise OpError(
            f"image.crop: {width} columns from {x} and {height} rows from {y} do not lie in an image of {columns} "
            f"columns and {rows} rows"
        )
    return images[..., y : y + height, x : x + width, :]


def resize(data: Any, size: int | Sequence[int], keep_ratio: bool = False, interp: int = 1) -> ndarray:
    """Images of another size.

    Args:
        data: the images.
        size: (width, height), or one number for both; with `keep_ratio` for the shorter side.
        keep_ratio: whether the shape of the image stays.
        interp: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos.

    Raises:
        OpError: a size below 1.
        MXNetError: the network is being traced.
    """
    host = to_numpy(_images("resize", data))
    numbers = (size,) if isinstance(size, int) else tuple(size)
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise OpError(f"image.resize: one or two numbers of at least 1 are wanted as size, got {size}")
    rows, columns = host.shape[-3:-1]
    width, height = numbers if len(numbers) == 2 else numbers * 2
    if keep_ratio and len(numbers) == 1:
        width, height = short_size(rows, columns, numbers[0])
    if host.ndim == 3:
        return own(np.atleast_3d(_resize(host, width, height, interp)))
    return own(np.stack([np.atleast_3d(_resize(image, width, height, interp)) for image in host]))


def flip_left_right(data: Any) -> ndarray:
    """Columns in reverse order."""
    return invoke_one("flip", _images("flip_left_right", data), axis=-2)


def flip_top_bottom(data: Any) -> ndarray:
    """Rows in reverse order."""
    return invoke_one("flip", _images("flip_top_bottom", data), axis=-3)


def random_flip_left_right(data: Any, p: float = 0.5) -> ndarray:
    """Columns in reverse order, with probability `p`."""
    return flip_left_right(data) if generator().random() < p else _images("random_flip_left_right", data)


def random_flip_top_bottom(data: Any, p: float = 0.5) -> ndarray:
    """Rows in reverse order, with probability `p`."""
    return flip_top_bottom(data) if generator().random() < p else _images("random_flip_top_bottom", data)


def random_crop(
    data: Any,
    xrange: Sequence[float] = (0.0, 1.0),
    yrange: Sequence[float] = (0.0, 1.0),
    width: int = 0,
    height: int = 0,
) -> ndarray:
    """A rectangle of `width` and `height` at a random place.

    Args:
        data: the images.
        xrange, yrange: from which to which share of the room that is left its left and upper edge may lie.
        width, height: of the rectangle, no larger than the image.
    """
    images = _images("random_crop", data)
    rows, columns = images.shape[-3:-1]
    places = [
        int(generator().uniform(low, high) * max(room, 0) + 0.5)
        for (low, high), room in ((xrange, columns - width), (yrange, rows - height))
    ]
    return crop(images, places[0], places[1], width, height)


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
