"""Several hundred crops of freely licensed photos, and how far two networks agree on them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx

__all__ = [
    "LABELS",
    "Agreement",
    "Crops",
    "agreement",
    "make_crops",
    "make_labelled",
    "make_many_crops",
    "read_photos",
    "run_batches",
]

# In the public domain, CC0 or CC BY, and shipped in the wheels of these packages.
_PHOTOS = {
    "skimage": (
        "data/chelsea.png",
        "data/coffee.png",
        "data/rocket.jpg",
        "data/astronaut.png",
        "data/hubble_deep_field.jpg",
        "data/motorcycle_left.png",
        "data/retina.jpg",
    ),
    "sklearn": ("datasets/images/flower.jpg", "datasets/images/china.jpg"),
}
# Likewise; with those above they give many crops.
_MORE_PHOTOS = {
    "skimage": (
        "data/ihc.png",
        "data/camera.png",
        "data/coins.png",
        "data/clock_motion.png",
        "data/moon.png",
        "data/brick.png",
        "data/grass.png",
        "data/gravel.png",
        "data/page.png",
    ),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}
# Photos of packages that no test needs: those that are installed are looked at.
_FURTHER_PHOTOS = {
    "skimage": ("data/motorcycle_right.png",),
    "gradio": (
        "media_assets/images/cheetah.jpg",
        "media_assets/images/cheetah1.jpg",
        "test_data/cheetah2.jpg",
        "media_assets/images/lion.jpg",
    ),
    "ultralytics": ("assets/bus.jpg", "assets/zidane.jpg"),
    "imgaug": ("quokka.jpg",),
}
# Classes of ImageNet that some of the photos show: cats, cups, missiles and shuttles, motor scooters, palaces and
# monasteries, tripods and cameras, clocks, uniforms, stone walls, cheetahs, a lion, buses, suits and ties,
# a wallaby's kin.
LABELS = {
    "chelsea": (281, 282, 285),
    "coffee": (504, 967, 968),
    "rocket": (657, 744, 812),
    "motorcycle_left": (665, 670),
    "china": (663, 698, 832),
    "camera": (759, 872),
    "clock_motion": (409, 892),
    "grace_hopper": (457, 652),
    "brick": (825,),
    "motorcycle_right": (665, 670),
    "cheetah": (293,),
    "cheetah1": (293,),
    "cheetah2": (293,),
    "lion": (291,),
    "bus": (654, 779, 874),
    "zidane": (834, 906),
    "quokka": (104,),
}
_SIZE = 224
_CROPS = 40  # of each photo
_MANY = 60  # likewise, where there are to be many
_CALIBRATION = 60  # of all crops


@dataclass(frozen=True)
class Crops:
    """Crops ``(N, 3, 224, 224)``, float32, as EfficientNet-Lite takes them; the two sets share no crop."""

    calibration: np.ndarray[Any, Any]
    test: np.ndarray[Any, Any]


def make_crops() -> Crops:
    """60 crops to calibrate on and 300 to compare on: at random, but the same ones every time.

    Raises:
        ImportError: scikit-image or scikit-learn is not installed.
    """
    random = np.random.default_rng(0)
    crops = [_crop(photo, random) for photo in read_photos() for _ in range(_CROPS)]
    shuffled = np.stack(crops)[random.permutation(len(crops))]
    return Crops(shuffled[:_CALIBRATION], shuffled[_CALIBRATION:])


def make_many_crops(size: int = _SIZE) -> tuple[Crops, list[str]]:
    """60 crops of size x size to calibrate on and 1080 to compare on, and the names of the photos of the latter.

    Raises:
        ImportError: scikit-image, scikit-learn or matplotlib is not installed.
    """
    random = np.random.default_rng(1)
    names, crops = [], []
    for photos in (_PHOTOS, _MORE_PHOTOS):
        for name, photo in zip(_names(photos), read_photos(photos), strict=True):
            names += [name] * _MANY
            crops += [_crop(photo, random, size) for _ in range(_MANY)]
    order = random.permutation(len(crops))
    shuffled = np.stack(crops)[order]
    return Crops(shuffled[:_CALIBRATION], shuffled[_CALIBRATION:]), [names[i] for i in order[_CALIBRATION:]]


def make_labelled(size: int = _SIZE) -> tuple[list[str], np.ndarray[Any, Any]]:
    """The names of all labelled photos that are installed, and the square in the middle of each: (N, 3, size, size).

    Raises:
        ImportError: scikit-image or scikit-learn is not installed.
    """
    found = {}
    for photos in (_PHOTOS, _MORE_PHOTOS, _FURTHER_PHOTOS):
        there = {package: names for package, names in photos.items() if importlib.util.find_spec(package)}
        chosen = {package: [n for n in names if Path(n).stem in LABELS] for package, names in there.items()}
        for name, photo in zip(_names(chosen), read_photos(chosen), strict=True):
            side = min(photo.size)
            left, top = ((n - side) // 2 for n in photo.size)
            found[name] = _resized(photo, (left, top, left + side, top + side), size)
    return list(found), np.stack(list(found.values()))


def _names(photos: Mapping[str, Sequence[str]]) -> list[str]:
    return [Path(name).stem for names in photos.values() for name in names]


def read_photos(photos: Mapping[str, Sequence[str]] = _PHOTOS) -> list[Any]:
    """Photos that packages have in files, as Pillow's RGB images.

    Raises:
        ImportError: a package is not installed.
    """
    from PIL import Image

    found = []
    for package, names in photos.items():
        for name in names:
            with Image.open(_folder(package) / name) as photo:
                found.append(photo.convert("RGB"))
    return found


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"the photos come with {package}: pip install '.[test]'")
    return Path(spec.submodule_search_locations[0])


def _crop(image: Any, random: np.random.Generator, size: int = _SIZE) -> np.ndarray[Any, Any]:
    """A square of 35 to 100 % of the shorter side, anywhere, every second one mirrored."""
    width, height = image.size
    side = random.uniform(0.35, 1.0) * min(width, height)
    left, top = random.uniform(0, width - side), random.uniform(0, height - side)
    box = (int(left), int(top), int(left + side), int(top + side))
    crop = _resized(image, box, size)
    return crop[:, :, ::-1] if random.random() < 0.5 else crop


def _resized(image: Any, box: tuple[int, int, int, int], size: int) -> np.ndarray[Any, Any]:
    """A part of a photo as EfficientNet-Lite takes it, ``(3, size, size)``."""
    from PIL import Image

    part = image.crop(box).resize((size, size), Image.Resampling.BICUBIC)
    return ((np.asarray(part, np.float32) - 127) / 128).transpose(2, 0, 1)


def run_batches(net: Any, images: np.ndarray[Any, Any], batch: int) -> np.ndarray[Any, Any]:
    """The scores of all images, whose number is a multiple of `batch`."""
    return np.concatenate([net(mx.np.array(part)).asnumpy() for part in np.split(images, len(images) // batch)])


@dataclass(frozen=True)
class Agreement:
    """How far a network agrees with a reference.

    Args:
        top1: share of samples for which both choose the same class.
        in_top5: share for which the class the reference chooses is among the five likeliest of the other.
        sqnr: signal-to-quantization-noise ratio of the scores, in dB.
    """

    top1: float
    in_top5: float
    sqnr: float

    def __str__(self) -> str:
        return f"top-1 agrees {self.top1:.3f}, in top-5 {self.in_top5:.3f}, SQNR {self.sqnr:5.1f} dB"


def agreement(reference: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Agreement:
    """How far the scores `other` agree with those of the `reference`, both ``(N, classes)``."""
    chosen = reference.argmax(1)
    noise = np.square(other - reference, dtype=np.float64).sum()
    return Agreement(
        float(np.mean(other.argmax(1) == chosen)),
        float((np.argsort(-other, 1)[:, :5] == chosen[:, None]).any(1).mean()),
        float(10 * np.log10(np.square(reference, dtype=np.float64).sum() / noise)),
    )
