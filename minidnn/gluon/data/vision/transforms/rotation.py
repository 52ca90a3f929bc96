"""Rotations of tensors, after ToTensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn import image, random
from minidnn.gluon.data.vision.transforms.base import Pixels, Transform

__all__ = ["RandomRotation", "Rotate"]


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
