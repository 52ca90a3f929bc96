"""Rotation against SciPy's interpolation; what random rotations and random application may do."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import minidnn as mx
from minidnn import image
from minidnn.errors import ShapeError
from minidnn.gluon.data.vision import transforms


def tensor(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).random(shape, np.float32)


def by_scipy(picture: np.ndarray, degrees: float, scale: float = 1.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(picture.shape[1:]) - 1) / 2
    offset = middle - turn @ middle
    return np.stack([ndimage.affine_transform(c, turn, offset, order=1, mode="grid-constant") for c in picture])


@pytest.mark.parametrize("degrees", [0, 10, -33.5, 90, 135, 360, 725])
@pytest.mark.parametrize("shape", [(3, 7, 12), (1, 9, 9), (2, 1, 5)])
def test_a_rotation_is_scipys(degrees: float, shape: tuple[int, ...]) -> None:
    picture = tensor(*shape)
    found = transforms.Rotate(degrees)(mx.np.array(picture)).asnumpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_scipy(picture, degrees), atol=1e-5)


def test_right_goes_up_at_ninety_degrees() -> None:
    picture = np.zeros((1, 3, 3), np.float32)
    picture[0, 1, 2] = 1
    for degrees, (row, column) in {90: (0, 1), 180: (1, 0), 270: (2, 1)}.items():
        turned = image.imrotate(picture, degrees).asnumpy()
        assert turned[0, row, column] == pytest.approx(1)
        assert np.abs(turned).sum() == pytest.approx(1)


@pytest.mark.parametrize("degrees", [20, 100, -45])
def test_zooming_in_leaves_no_corner_empty_and_zooming_out_shows_the_whole_picture(degrees: float) -> None:
    ones = np.ones((1, 40, 60), np.float32)
    inner = image.imrotate(ones, degrees, zoom_in=True).asnumpy()
    assert inner[:, 1:-1, 1:-1].min() > 0.99
    assert image.imrotate(ones, degrees).asnumpy().min() == 0
    framed = np.zeros((1, 40, 60), np.float32)
    for row, column in itertools.product((2, 37), (2, 57)):
        framed[0, row - 2 : row + 3, column - 2 : column + 3] = 1
    outer = image.imrotate(framed, degrees, zoom_out=True).asnumpy()[0]
    assert ndimage.label(outer > 0.3)[1] == 4
    for found in (inner, image.imrotate(ones, degrees, zoom_out=True).asnumpy()):
        angle = abs(np.deg2rad(degrees))
        wide = (60 * abs(np.cos(angle)) + 40 * np.sin(angle)) / 60
        high = (40 * abs(np.cos(angle)) + 60 * np.sin(angle)) / 40
        scale = min(1 / wide, 1 / high) if found is inner else max(wide, high)
        np.testing.assert_allclose(found, by_scipy(ones, degrees, scale), atol=1e-4)


def test_every_picture_of_a_batch_has_its_angle() -> None:
    batch = tensor(3, 2, 6, 8)
    angles = [0.0, 30.0, 200.0]
    wanted = np.stack([by_scipy(picture, angle) for picture, angle in zip(batch, angles, strict=True)])
    np.testing.assert_allclose(image.imrotate(mx.np.array(batch), mx.np.array(angles)).asnumpy(), wanted, atol=1e-5)
    same = np.stack([by_scipy(picture, 30) for picture in batch])
    np.testing.assert_allclose(transforms.Rotate(30)(mx.np.array(batch)).asnumpy(), same, atol=1e-5)


def test_a_random_rotation_draws_from_the_seed_within_its_limits() -> None:
    picture = mx.np.array(tensor(1, 5, 5))
    rotate = transforms.RandomRotation((10, 20))
    mx.np.random.seed(4)
    first = rotate(picture).asnumpy()
    mx.np.random.seed(4)
    assert np.array_equal(first, rotate(picture).asnumpy())
    assert any(np.allclose(first, by_scipy(picture.asnumpy(), a), atol=0.02) for a in np.linspace(10, 20, 101))
    twins = rotate(mx.np.array(np.repeat(picture.asnumpy()[None], 2, 0))).asnumpy()
    assert not np.array_equal(twins[0], twins[1])
    never = transforms.RandomRotation((10, 20), rotate_with_proba=0)
    assert np.array_equal(never(picture).asnumpy(), picture.asnumpy())
    assert isinstance(pickle.loads(pickle.dumps(rotate)), transforms.RandomRotation)  # noqa: S301
    label = rotate(picture, 3)[1]
    assert label == 3


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda: transforms.RandomRotation((5, -5)), ValueError, "angle_limits"),
        (lambda: transforms.RandomRotation((0, 5), rotate_with_proba=1.1), ValueError, "probability"),
        (lambda: transforms.Rotate(5)(mx.np.ones((3, 4, 5), dtype="uint8")), TypeError, "float32, got uint8"),
        (lambda: transforms.Rotate(5)(mx.np.ones((4, 5))), ShapeError, r"got \(4, 5\)"),
        (lambda: transforms.Rotate(5, True, True)(mx.np.ones((3, 4, 5))), ValueError, "cannot both be true"),
        (lambda: image.imrotate(mx.np.ones((3, 4, 5)), [1.0, 2.0]), TypeError, "one image has one angle"),
        (lambda: image.imrotate(mx.np.ones((3, 1, 4, 5)), [1.0, 2.0]), ShapeError, "3 images want as many angles"),
    ],
)
def test_what_cannot_be_rotated_is_refused(made: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made()


@pytest.mark.parametrize("kind", [transforms.RandomApply, transforms.HybridRandomApply])
def test_random_application_happens_as_often_as_its_probability_says(kind: Any) -> None:
    picture = mx.np.ones((4, 4, 3), dtype="uint8")
    apply = kind(transforms.Cast("float32"), 0.3)
    apply.hybridize()
    mx.np.random.seed(0)
    often = sum(apply(picture).dtype == np.float32 for _ in range(1000))
    assert 250 < often < 350
    assert kind(transforms.Cast(), 0)(picture, 7)[1] == 7


def test_functions_are_composed_as_well_as_blocks() -> None:
    composed = transforms.Compose([lambda x: x + 1, transforms.ToTensor(), np.negative])
    assert composed(mx.np.zeros((1, 1, 1))).tolist() == [[[-1 / np.float32(255)]]]


def test_only_hybrid_blocks_may_be_applied_at_random_as_hybrid_blocks() -> None:
    with pytest.raises(ValueError, match="is not a HybridBlock"):
        transforms.HybridRandomApply(transforms.Compose([transforms.Cast()]))
    assert transforms.RandomApply(lambda x: x + 1, 1)(mx.np.zeros(2)).tolist() == [1, 1]
