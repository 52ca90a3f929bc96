"""Random changes of colours, by the formulas of MXNet's ``image_random-inl.h``.

uint8 stays uint8: results are limited to 0..255 and cut off to integers. Factors are drawn from minidnn's generator.
"""

from __future__ import annotations

import numpy as np

from minidnn import random
from minidnn.gluon.data.vision.transforms.base import Pixels, Transform, check_image

__all__ = [
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomGray",
    "RandomHue",
    "RandomLighting",
    "RandomSaturation",
]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Principal components of ImageNet's colours, times their standard deviations (Krizhevsky et al., 2012).
_LIGHTING = np.array(
    [
        [55.46 * -0.5675, 4.794 * 0.7192, 1.148 * 0.4009],
        [55.46 * -0.5808, 4.794 * -0.0045, 1.148 * -0.8140],
        [55.46 * -0.5836, 4.794 * -0.6948, 1.148 * 0.4203],
    ],
    np.float32,
)


def _limited(values: Pixels, like: Pixels) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8) if like.dtype == np.uint8 else values.astype(like.dtype)


def adjust_brightness(x: Pixels, factor: float) -> Pixels:
    return _limited(x * np.float32(factor), x)


def adjust_contrast(x: Pixels, factor: float) -> Pixels:
    """Away from the mean luma of the image, or towards it."""
    grey = x.astype(np.float32) @ _LUMA if x.shape[-1] == 3 else x
    return _limited(x * np.float32(factor) + np.float32((1 - factor) * grey.mean(dtype=np.float64)), x)


def adjust_saturation(x: Pixels, factor: float) -> Pixels:
    """Away from each pixel's luma, or towards it."""
    if x.shape[-1] == 1:
        return x
    pixels = x.astype(np.float32)
    return _limited(pixels * np.float32(factor) + (pixels @ _LUMA)[..., None] * np.float32(1 - factor), x)


def adjust_hue(x: Pixels, turns: float) -> Pixels:
    """Hues turned around the circle of HLS; lightness and saturation stay.

    Every channel of RGB is ``l - a·max(-1, min(k - 3, 9 - k, 1))`` with ``a = s·min(l, 1 - l)`` and ``k = n + h/30°``
    modulo 12, for n = 0, 8, 4.
    """
    if x.shape[-1] == 1:
        return x
    pixels = x.astype(np.float32) / 255
    high, low = pixels.max(-1), pixels.min(-1)
    spread = high - low
    safe = np.where(spread > 0, spread, 1)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    sixth = np.where(
        high == red, (green - blue) / safe, np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    )
    lightness = (high + low) / 2
    # s·min(l, 1 - l) is half the spread, whatever s is.
    reach = spread / 2
    steps = 2 * sixth + 12 * np.float32(turns)
    channels = []
    for n in (0, 8, 4):
        k = (n + steps) % 12
        channels.append(lightness - reach * np.maximum(-1, np.minimum(np.minimum(k - 3, 9 - k), 1)))
    # What rounding leaves just below an integer would be cut off to the one below.
    return _limited(np.stack(channels, -1) * 255 + (1e-3 if x.dtype == np.uint8 else 0), x)


def adjust_lighting(x: Pixels, alpha: Pixels) -> Pixels:
    return x if x.shape[-1] == 1 else _limited(x + _LIGHTING @ alpha.astype(np.float32), x)


def _uniform(low: float, high: float) -> float:
    return float(random.generator().uniform(low, high))


class _Jitter(Transform):
    """A factor between ``max(0, 1 - amount)`` and ``1 + amount``."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        if amount < 0:
            raise ValueError(f"{type(self).__name__} wants an amount of at least 0, got {amount}")
        self._range = (max(0.0, 1 - amount), 1.0 + amount)


class RandomBrightness(_Jitter):
    """Pixels times a factor between ``max(0, 1 - brightness)`` and ``1 + brightness``."""

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness)

    def _apply(self, x: Pixels) -> Pixels:
        return adjust_brightness(check_image(self, x), _uniform(*self._range))


class RandomContrast(_Jitter):
    """Distances to the mean luma times a factor between ``max(0, 1 - contrast)`` and ``1 + contrast``."""

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast)

    def _apply(self, x: Pixels) -> Pixels:
        return adjust_contrast(check_image(self, x), _uniform(*self._range))


class RandomSaturation(_Jitter):
    """Distances to each pixel's luma times a factor between ``max(0, 1 - saturation)`` and ``1 + saturation``.

    The luma is that of all three channels; MXNet takes the blue one's part alone, by an oversight.
    """

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation)

    def _apply(self, x: Pixels) -> Pixels:
        return adjust_saturation(check_image(self, x), _uniform(*self._range))


class RandomHue(_Jitter):
    """Hues turned by a part of the circle between ``max(0, 1 - hue)`` and ``1 + hue``, 1 being the whole circle."""

    def __init__(self, hue: float) -> None:
        super().__init__(hue)

    def _apply(self, x: Pixels) -> Pixels:
        return adjust_hue(check_image(self, x), _uniform(*self._range))


class RandomColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed, in random order; an amount of 0 leaves one out."""

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        super().__init__()
        changes = (
            (adjust_brightness, brightness, 1.0),
            (adjust_contrast, contrast, 1.0),
            (adjust_saturation, saturation, 1.0),
            (adjust_hue, hue, 0.0),
        )
        self._changes = [change for change in changes if change[1] > 0]

    def _apply(self, x: Pixels) -> Pixels:
        check_image(self, x)
        for place in random.generator().permutation(len(self._changes)):
            adjust, amount, middle = self._changes[place]
            x = adjust(x, middle + _uniform(-amount, amount))
        return x


class RandomLighting(Transform):
    """Noise along the principal components of ImageNet's colours, as AlexNet was trained with.

    Args:
        alpha: its standard deviation.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def _apply(self, x: Pixels) -> Pixels:
        return adjust_lighting(check_image(self, x), random.generator().normal(0, self._alpha, 3))


class RandomGray(Transform):
    """An image as float32, with probability `p` without colours."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def _apply(self, x: Pixels) -> Pixels:
        pixels = check_image(self, x).astype(np.float32)
        if pixels.shape[-1] == 1 or random.generator().random() >= self.p:
            return pixels
        return np.repeat((pixels @ _LUMA)[..., None], 3, -1)
