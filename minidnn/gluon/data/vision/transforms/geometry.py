"""Sizes, crops and flips. Sizes are an integer, or (width, height); random choices draw from minidnn's generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

import minidnn.image as image
from minidnn import random
from minidnn.errors import ShapeError
from minidnn.gluon.data.vision.transforms.base import Pixels, Transform, check_image, size_pair

__all__ = [
    "CenterCrop",
    "CropResize",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipTopBottom",
    "RandomResizedCrop",
    "RandomRotation",
    "Resize",
    "Rotate",
]

_TRIALS = 10  # MXNet's, of a random area that fits


def _resize(x: Pixels, size: tuple[int, int], interpolation: int) -> Pixels:
    if x.ndim == 3:
        return image.resize(x, *size, interpolation)
    return np.stack([image.resize(picture, *size, interpolation) for picture in x])


def _scale_down(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """The largest width and height of the proportions of `size` that are in the image, at most `size`."""
    w, h = float(size[0]), float(size[1])
    if height < h:
        w, h = w * height / h, float(height)
    if width < w:
        w, h = float(width), h * width / w
    return max(1, int(w)), max(1, int(h))


def _crop(x: Pixels, across: float, down: float, size: tuple[int, int], interpolation: int) -> Pixels:
    """`size` of `x`, at a share of the room there is; where `x` is smaller, what fits is resized."""
    height, width = x.shape[-3:-1]
    w, h = _scale_down(height, width, size)
    left, top = int(across * (width - w)), int(down * (height - h))
    return _resize(x[..., top : top + h, left : left + w, :], size, interpolation)


class Resize(Transform):
    """An image, or a batch ``(N, H, W, C)``, in another size, by OpenCV's rules.

    Args:
        size: width and height. An integer is both, or with `keep_ratio` the shorter side.
        keep_ratio: keep the proportions (with an integer).
        interpolation: 0 nearest, 1 bilinear, 2 bicubic, 3 area, 4 Lanczos.
    """

    def __init__(self, size: int | Sequence[int], keep_ratio: bool = False, interpolation: int = 1) -> None:
        super().__init__()
        self._size, self._interpolation = size_pair(size), interpolation
        self._short = int(size) if keep_ratio and isinstance(size, (int, np.integer)) else None

    def _apply(self, x: Pixels) -> Pixels:
        height, width = check_image(self, x, batches=True).shape[-3:-1]
        size = self._size if self._short is None else image.short_size(height, width, self._short)
        return _resize(x, size, self._interpolation)


class CenterCrop(Transform):
    """The middle of an image; a smaller one is enlarged.

    Args:
        size: width and height of the result.
        interpolation: see `Resize`.
    """

    def __init__(self, size: int | Sequence[int], interpolation: int = 1) -> None:
        super().__init__()
        self._size, self._interpolation = size_pair(size), interpolation

    def _apply(self, x: Pixels) -> Pixels:
        return _crop(check_image(self, x, batches=True), 0.5, 0.5, self._size, self._interpolation)


class CropResize(Transform):
    """A rectangle of an image or a batch, resized or not.

    Args:
        x, y: its left and upper edge.
        width, height: its size.
        size: that of the result; None: as it is.
        interpolation: see `Resize`.

    Raises:
        ShapeError: (when called) the rectangle is not inside the image.
    """

    def __init__(
        self,
        x: int,
        y: int,
        width: int,
        height: int,
        size: int | Sequence[int] | None = None,
        interpolation: int | None = None,
    ) -> None:
        super().__init__()
        size_pair((width, height))
        self._left, self._top, self._width, self._height = x, y, width, height
        self._size = None if size is None else size_pair(size)
        self._interpolation = 1 if interpolation is None else interpolation

    def _apply(self, x: Pixels) -> Pixels:
        height, width = check_image(self, x, batches=True).shape[-3:-1]
        right, bottom = self._left + self._width, self._top + self._height
        if self._left < 0 or self._top < 0 or right > width or bottom > height:
            raise ShapeError(
                f"CropResize: columns {self._left} to {right} and rows {self._top} to {bottom} are not in an image of "
                f"{width}×{height}"
            )
        part = x[..., self._top : bottom, self._left : right, :]
        return part if self._size is None else _resize(part, self._size, self._interpolation)


class RandomCrop(Transform):
    """A random part of an image; a smaller one is enlarged.

    Args:
        size: width and height of the result.
        pad: rows and columns added first: on all sides, or (above, below, left, right).
        pad_value: what they are filled with.
        interpolation: see `Resize`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        pad: int | Sequence[int] | None = None,
        pad_value: float = 0,
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._size, self._interpolation, self._pad_value = size_pair(size), interpolation, pad_value
        sides = [pad] * 4 if isinstance(pad, int) else [*(pad or ())]
        if len(sides) not in (0, 4):
            raise ValueError(f"pad must be an integer, or four of them, got {pad!r}")
        self._pad = sides

    def _apply(self, x: Pixels) -> Pixels:
        check_image(self, x)
        if self._pad:
            above, below, left, right = self._pad
            x = np.pad(x, ((above, below), (left, right), (0, 0)), constant_values=self._pad_value)
        across, down = random.generator().random(2)
        return _crop(x, across, down, self._size, self._interpolation)


class RandomResizedCrop(Transform):
    """A part of an image of random area and proportions, resized; its middle where ten tries did not fit.

    Args:
        size: width and height of the result.
        scale: smallest and largest share of the area; one number is the smallest.
        ratio: smallest and largest width / height of the part, drawn evenly on the logarithmic scale.
        interpolation: see `Resize`.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: float | tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: int = 1,
    ) -> None:
        super().__init__()
        self._size, self._interpolation, self._ratio = size_pair(size), interpolation, ratio
        self._scale = (scale, 1.0) if isinstance(scale, (int, float)) else scale

    def _apply(self, x: Pixels) -> Pixels:
        height, width = check_image(self, x).shape[:2]
        draw = random.generator()
        for _ in range(_TRIALS):
            area = draw.uniform(*self._scale) * height * width
            ratio = math.exp(draw.uniform(math.log(self._ratio[0]), math.log(self._ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(draw.random() * (width - w)), int(draw.random() * (height - h))
                return _resize(x[top : top + h, left : left + w], self._size, self._interpolation)
        return _crop(x, 0.5, 0.5, self._size, self._interpolation)


class _RandomFlip(Transform):
    _axis: int

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def _apply(self, x: Pixels) -> Pixels:
        check_image(self, x)
        return np.flip(x, self._axis) if random.generator().random() < self.p else x


class RandomFlipLeftRight(_RandomFlip):
    """An image mirrored with probability `p`: its left and right exchanged."""

    _axis = 1


class RandomFlipTopBottom(_RandomFlip):
    """An image turned upside down with probability `p`: its top and bottom exchanged."""

    _axis = 0


class Rotate(Transform):
    """Tensors ``(C, H, W)`` or ``(N, C, H, W)``, float32, rotated anticlockwise about their middle.

    Args:
        rotation_degrees: the angle.
        zoom_in: enlarge until no corner is empty.
        zoom_out: shrink until the whole image is inside.

    Raises:
        ValueError: (when called) `zoom_in` and `zoom_out` both.
        TypeMismatchError, ShapeError: (when called) the tensor is another.
    """

    def __init__(self, rotation_degrees: float, zoom_in: bool = False, zoom_out: bool = False) -> None:
        super().__init__()
        self._args = rotation_degrees, zoom_in, zoom_out

    def _apply(self, x: Pixels) -> Pixels:
        return np.asarray(image.imrotate(x, *self._args))


class RandomRotation(Transform):
    """`Rotate` by an angle drawn for each image.

    Args:
        angle_limits: the least and the largest angle.
        zoom_in, zoom_out: see `Rotate`.
        rotate_with_proba: probability that anything is rotated.

    Raises:
        ValueError: the limits are not in order, or the probability is none.
    """

    def __init__(
        self,
        angle_limits: Sequence[float],
        zoom_in: bool = False,
        zoom_out: bool = False,
        rotate_with_proba: float = 1.0,
    ) -> None:
        super().__init__()
        lower, upper = angle_limits
        if lower >= upper:
            raise ValueError(f"angle_limits must be (lower, upper), got {angle_limits!r}")
        if not 0 <= rotate_with_proba <= 1:
            raise ValueError(f"rotate_with_proba must be a probability, 0 to 1, got {rotate_with_proba}")
        self._args = (lower, upper), zoom_in, zoom_out
        self._probability = rotate_with_proba

    def _apply(self, x: Pixels) -> Pixels:
        if random.generator().random() >= self._probability:
            return x
        return np.asarray(image.random_rotate(x, *self._args))
