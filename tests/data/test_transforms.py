"""Transforms: against torch, Python's colorsys and formulas of their own."""

from __future__ import annotations

import colorsys
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import smooth_picture

import minidnn as mx
from minidnn import image
from minidnn.errors import MXNetError, ShapeError
from minidnn.gluon import nn
from minidnn.gluon.data.vision import transforms
from minidnn.gluon.data.vision.transforms import colors

PICTURE = smooth_picture()  # 30 × 41
NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


def apply(transform: Any, pixels: np.ndarray[Any, Any] = PICTURE) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = transform(mx.np.array(pixels)).asnumpy()
    return result


@pytest.fixture(autouse=True)
def seed() -> None:
    mx.np.random.seed(3)


def test_to_tensor_and_normalize() -> None:
    tensor = torch.from_numpy(NOISE).permute(2, 0, 1).float() / 255
    np.testing.assert_array_equal(apply(transforms.ToTensor(), NOISE), tensor.numpy())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    wanted = (tensor - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    np.testing.assert_allclose(apply(both, NOISE), wanted.numpy(), rtol=1e-6, atol=1e-6)
    batch = np.stack([NOISE, NOISE[::-1]])
    np.testing.assert_allclose(apply(both, batch)[0], wanted.numpy(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(apply(transforms.Normalize(0.5, 2), batch / 255), (batch / 255 - 0.5) / 2, atol=1e-6)


def test_cast_and_further_arguments() -> None:
    assert apply(transforms.Cast("float16")).dtype == np.float16
    x, y = transforms.Cast()(mx.np.array(PICTURE), mx.np.array([1], dtype="int32"))
    assert x.dtype == y.dtype == np.float32
    x, label = transforms.Compose([transforms.Resize(8), transforms.ToTensor()])(mx.np.array(PICTURE), mx.np.array([7]))
    assert (x.shape, label.tolist()) == ((3, 8, 8), [7])


@pytest.mark.parametrize(
    ("size", "keep_ratio", "shape"),
    [(8, False, (8, 8)), ((8, 5), False, (5, 8)), (15, True, (15, 20)), (31, True, (31, 42)), ((8, 5), True, (5, 8))],
)
def test_resize(size: Any, keep_ratio: bool, shape: tuple[int, int]) -> None:
    resize = transforms.Resize(size, keep_ratio)
    assert apply(resize).shape == (*shape, 3)
    np.testing.assert_array_equal(apply(resize), image.resize(PICTURE, shape[1], shape[0]))
    np.testing.assert_array_equal(apply(resize, np.stack([PICTURE, PICTURE[::-1]]))[0], apply(resize))


def test_the_shorter_side_may_be_the_width() -> None:
    assert apply(transforms.Resize(15, keep_ratio=True), PICTURE.transpose(1, 0, 2)).shape == (20, 15, 3)


def test_center_crop() -> None:
    np.testing.assert_array_equal(apply(transforms.CenterCrop(20)), PICTURE[5:25, 10:30])  # of 21 columns, 10 go first
    np.testing.assert_array_equal(apply(transforms.CenterCrop((11, 30))), PICTURE[:, 15:26])
    # A smaller picture: the largest part of the wanted proportions, enlarged.
    np.testing.assert_array_equal(apply(transforms.CenterCrop(60)), image.resize(PICTURE[:, 5:35], 60, 60))
    np.testing.assert_array_equal(apply(transforms.CenterCrop((100, 50))), image.resize(PICTURE[5:25], 100, 50))


def test_crop_resize() -> None:
    np.testing.assert_array_equal(apply(transforms.CropResize(2, 3, 10, 20)), PICTURE[3:23, 2:12])
    wanted = image.resize(PICTURE[3:23, 2:12], 6, 7)
    np.testing.assert_array_equal(apply(transforms.CropResize(2, 3, 10, 20, (6, 7))), wanted)
    with pytest.raises(ShapeError, match="columns 30 to 50 and rows 0 to 10 are not in an image of 41×30"):
        apply(transforms.CropResize(30, 0, 20, 10))


def test_random_crops_are_parts_of_the_picture() -> None:
    where = np.stack(np.broadcast_arrays(*np.mgrid[0:30, 0:41], 0), -1).astype(np.uint8)
    found = set()
    for _ in range(50):
        part = apply(transforms.RandomCrop((9, 6)), where)
        top, left, _ = map(int, part[0, 0])
        np.testing.assert_array_equal(part, where[top : top + 6, left : left + 9])
        found.add((top, left))
    assert len(found) > 30
    padded = apply(transforms.RandomCrop((51, 40), pad=5, pad_value=9))
    np.testing.assert_array_equal(padded[5:35, 5:46], PICTURE)
    assert (padded[:5] == 9).all() and (padded[:, -5:] == 9).all()
    assert apply(transforms.RandomCrop((51, 30), pad=(0, 0, 4, 6))).shape == (30, 51, 3)


def test_random_resized_crops_obey_area_and_ratio() -> None:
    across = np.broadcast_to(np.linspace(0, 255, 400, dtype=np.float32)[:, None], (400, 400, 1))
    spans = []
    for _ in range(40):
        part = apply(transforms.RandomResizedCrop(32, scale=(0.25, 0.5), ratio=(1, 1)), across)
        assert part.shape == (32, 32, 1)
        spans.append((part[0, -1, 0] - part[0, 0, 0]) / 255)
    assert 0.47 < min(spans) < 0.6 and 0.6 < max(spans) < 0.71  # sides of a square: √0.25 to √0.5
    wide = transforms.RandomResizedCrop(8, scale=(1, 1), ratio=(3, 3))  # never fits
    np.testing.assert_array_equal(apply(wide), apply(transforms.CenterCrop(8)))


def test_flips() -> None:
    np.testing.assert_array_equal(apply(transforms.RandomFlipLeftRight(1)), PICTURE[:, ::-1])
    np.testing.assert_array_equal(apply(transforms.RandomFlipTopBottom(p=1)), PICTURE[::-1])
    for flip in (transforms.RandomFlipLeftRight, transforms.RandomFlipTopBottom):
        np.testing.assert_array_equal(apply(flip(0)), PICTURE)
        flipped = [not np.array_equal(apply(flip(0.25)), PICTURE) for _ in range(400)]
        assert 60 < sum(flipped) < 140


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_brightness_contrast_and_saturation(factor: float, dtype: Any) -> None:
    x = NOISE.astype(dtype)
    luma = NOISE.astype(np.float64) @ [0.299, 0.587, 0.114]
    for adjust, wanted in (
        (colors.adjust_brightness, NOISE * factor),
        (colors.adjust_contrast, luma.mean() + (NOISE - luma.mean()) * factor),
        (colors.adjust_saturation, luma[..., None] + (NOISE - luma[..., None]) * factor),
    ):
        result = adjust(x, factor)
        assert result.dtype == dtype
        if dtype == np.uint8:
            wanted = np.clip(wanted, 0, 255)
            assert np.abs(result - np.floor(wanted)).max() <= (0 if factor == 1.0 and wanted is NOISE else 1)
        else:
            np.testing.assert_allclose(result, wanted, atol=1e-3)


@pytest.mark.parametrize("turns", [0.0, 0.1, -0.3, 0.5, 1.0])
def test_hue_is_that_of_hls(turns: float) -> None:
    def turned(pixel: Any) -> Any:
        h, lightness, s = colorsys.rgb_to_hls(*(pixel / 255))
        return np.array(colorsys.hls_to_rgb((h + turns) % 1, lightness, s)) * 255

    wanted = np.apply_along_axis(turned, -1, NOISE.astype(np.float64))
    np.testing.assert_allclose(colors.adjust_hue(NOISE.astype(np.float32), turns), wanted, atol=0.05)
    assert np.abs(colors.adjust_hue(NOISE, turns) - np.floor(wanted)).max() <= 1
    if turns in (0.0, 1.0):
        np.testing.assert_array_equal(colors.adjust_hue(NOISE, turns), NOISE)


def test_random_colours_stay_in_their_range_and_grey_stays_grey() -> None:
    flat = np.full((4, 4, 3), 100, np.uint8)
    seen = [int(apply(transforms.RandomBrightness(0.3), flat)[0, 0, 0]) for _ in range(200)]
    assert 70 <= min(seen) < 75 and 125 < max(seen) <= 130
    for transform in (
        transforms.RandomContrast(0.5),
        transforms.RandomSaturation(0.5),
        transforms.RandomHue(0.5),
        transforms.RandomColorJitter(0, 0.5, 0.5, 0.5),
    ):
        assert np.abs(apply(transform, flat).astype(int) - 100).max() <= 1
        assert apply(transform, PICTURE[:, :, :1]).shape == (30, 41, 1)
    assert not np.array_equal(apply(transforms.RandomColorJitter(0.4, 0.4, 0.4, 0.1)), PICTURE)
    np.testing.assert_array_equal(apply(transforms.RandomColorJitter()), PICTURE)


def test_lighting_and_grey() -> None:
    np.testing.assert_array_equal(apply(transforms.RandomLighting(0)), PICTURE)
    shift = apply(transforms.RandomLighting(0.1), PICTURE.astype(np.float32)) - PICTURE
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0, 0], shift.shape), atol=1e-4)
    grey = apply(transforms.RandomGray(1))
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, np.repeat((PICTURE @ [0.299, 0.587, 0.114])[..., None], 3, -1), rtol=1e-5)
    np.testing.assert_array_equal(apply(transforms.RandomGray(0)), PICTURE)


def test_random_apply() -> None:
    for p, wanted in ((1, PICTURE[::-1]), (0, PICTURE)):
        np.testing.assert_array_equal(apply(transforms.RandomApply(transforms.RandomFlipTopBottom(1), p)), wanted)


def test_composition_can_be_hybridized_pickled_and_used_on_any_size() -> None:
    parts = [transforms.Resize(12, keep_ratio=True), transforms.CenterCrop(8), transforms.ToTensor()]
    for kind in (transforms.Compose, transforms.HybridCompose):
        composed = kind(parts)
        assert len(composed) == 3
        composed.hybridize()
        for pixels in (PICTURE, NOISE):
            assert apply(composed, pixels).shape == (3, 8, 8)
        again = pickle.loads(pickle.dumps(composed))  # noqa: S301
        np.testing.assert_array_equal(apply(again), apply(composed))
    with pytest.raises(ValueError, match="not a HybridBlock"):
        transforms.HybridCompose([nn.Lambda(lambda x: x)])


def test_a_transform_in_a_traced_network_is_an_error_that_names_it() -> None:
    net = nn.HybridSequential()
    net.add(transforms.Resize(8), nn.Flatten())
    net[1].hybridize()
    net._active = True
    with pytest.raises(MXNetError, match="Resize"):
        net(mx.np.array(PICTURE))


@pytest.mark.parametrize(
    ("make", "pixels", "message"),
    [
        (lambda: transforms.Resize(8), PICTURE[:, :, 0], r"Resize wants images .* got \(30, 41\)"),
        (lambda: transforms.CenterCrop(8), np.zeros((4, 4, 2), np.uint8), "CenterCrop wants .* 1 or 3 channels"),
        (lambda: transforms.RandomCrop(8), np.zeros((0, 4, 3), np.uint8), r"RandomCrop .* got \(0, 4, 3\)"),
        (lambda: transforms.ToTensor(), np.zeros(3, np.uint8), "ToTensor wants"),
        (lambda: transforms.Normalize((1, 2), 1), np.zeros((3, 4, 4)), "2 values as mean"),
        (lambda: transforms.Normalize(0, (1, 2)), np.zeros((3, 4, 4)), "2 values as std"),
        (lambda: transforms.RandomHue(0.1), np.zeros((2, 4, 4, 3)), "RandomHue wants"),
    ],
)
def test_wrong_shapes_are_refused(make: Any, pixels: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        apply(make(), pixels)


@pytest.mark.parametrize(
    "make",
    [
        lambda: transforms.Resize(0),
        lambda: transforms.Resize((8, 8, 8)),
        lambda: transforms.CenterCrop((8, -1)),
        lambda: transforms.RandomCrop(8, pad=(1, 2)),
        lambda: transforms.Normalize(0, 0),
        lambda: transforms.RandomBrightness(-1),
    ],
)
def test_wrong_arguments_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"size must be|pad must be|std must|at least 0"):
        make()
