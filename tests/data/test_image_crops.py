"""``mx.image``'s crops, borders and sizes, against slices and Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from data_helpers import smooth_picture
from PIL import Image

import minidnn as mx
from minidnn import image
from minidnn.errors import ShapeError


def picture() -> np.ndarray:
    return smooth_picture()  # (30, 41, 3)


@pytest.mark.parametrize(
    ("source", "size", "wanted"),
    [((640, 480), (720, 120), (640, 106)), ((360, 1000), (480, 500), (360, 375)), ((300, 400), (0, 0), (0, 0))],
)
def test_sizes_are_scaled_down_in_proportion(source: Any, size: Any, wanted: Any) -> None:
    assert image.scale_down(source, size) == wanted


def test_a_fixed_crop_is_a_slice_or_that_resized() -> None:
    pixels = picture()
    cut = image.fixed_crop(mx.np.array(pixels), 3, 4, 20, 10)
    assert np.array_equal(cut.asnumpy(), pixels[4:14, 3:23])
    resized = image.fixed_crop(pixels, 3, 4, 20, 10, size=(10, 5), interp=3)
    wanted = np.asarray(Image.fromarray(pixels[4:14, 3:23]).resize((10, 5), Image.Resampling.BOX))
    assert np.abs(resized.asnumpy().astype(int) - wanted).max() <= 1
    for x0, y0, w, h in ((30, 0, 20, 5), (0, 28, 5, 5), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(ShapeError, match="are not in an image of 41×30"):
            image.fixed_crop(pixels, x0, y0, w, h)


def test_a_centre_crop_is_the_middle_or_enlarged() -> None:
    pixels = picture()
    cut, place = image.center_crop(mx.np.array(pixels), (20, 10))
    assert place == (10, 10, 20, 10)
    assert np.array_equal(cut.asnumpy(), pixels[10:20, 10:30])
    enlarged, place = image.center_crop(pixels, (82, 60))
    assert (enlarged.shape, place) == ((60, 82, 3), (0, 0, 41, 30))


def test_random_crops_reach_every_place_and_say_which() -> None:
    pixels = picture()
    mx.np.random.seed(0)
    places = set()
    for _ in range(60):
        cut, (x0, y0, w, h) = image.random_crop(pixels, (39, 29))
        assert np.array_equal(cut.asnumpy(), pixels[y0 : y0 + h, x0 : x0 + w])
        places.add((x0, y0))
    assert places == {(x, y) for x in range(3) for y in range(2)}


def test_crops_of_random_size_keep_area_and_proportions() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    mx.np.random.seed(0)
    for _ in range(50):
        cut, (x0, y0, w, h) = image.random_size_crop(pixels, (32, 24), (0.1, 0.5), (0.5, 2))
        assert cut.shape == (24, 32, 3)
        assert 0.09 < w * h / 20000 < 0.51
        assert 0.48 < w / h < 2.1
        assert x0 + w <= 200
        assert y0 + h <= 100
    assert image.random_size_crop(pixels, (10, 10), 1.0, (9, 10))[1] == (95, 45, 10, 10)


def test_the_shorter_side_is_resized_with_bicubic_interpolation_if_nothing_else_is_said() -> None:
    pixels = picture()
    assert np.array_equal(image.resize_short(pixels, 60).asnumpy(), image.resize(pixels, 82, 60, 2))
    assert np.array_equal(image.resize_short(pixels, 60, 1).asnumpy(), image.resize(pixels, 82, 60, 1))


@pytest.mark.parametrize(("size", "method"), [((60, 50), 2), ((20, 10), 3), ((60, 10), 1)])
def test_method_nine_chooses_by_the_sizes(size: tuple[int, int], method: int) -> None:
    pixels = picture()
    assert np.array_equal(image.imresize(pixels, *size, 9).asnumpy(), image.resize(pixels, *size, method))


def test_method_ten_is_one_of_the_five() -> None:
    pixels = picture()
    wanted = [image.resize(pixels, 20, 10, method) for method in range(5)]
    for _ in range(10):
        found = image.imresize(pixels, 20, 10, interp=10).asnumpy()
        assert any(np.array_equal(found, each) for each in wanted)


@pytest.mark.parametrize(
    ("kind", "mode"), [(0, "constant"), (1, "edge"), (2, "symmetric"), (3, "wrap"), (4, "reflect")]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_borders_are_numpys(kind: int, mode: Any, channels: int) -> None:
    pixels = picture()[..., :channels]
    found = image.copyMakeBorder(mx.np.array(pixels), 1, 2, 3, 4, kind).asnumpy()
    assert np.array_equal(found, np.pad(pixels, ((1, 2), (3, 4), (0, 0)), mode))


def test_a_border_may_have_a_colour() -> None:
    assert image.copyMakeBorder(picture(), 1, 0, 0, 0, value=7).asnumpy()[0, 0].tolist() == [7, 7, 7]
    assert image.copyMakeBorder(picture(), 1, 0, 0, 0, values=(1, 2, 3)).asnumpy()[0, 0].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="kind 0 to 4"):
        image.copyMakeBorder(picture(), 1, 0, 0, 0, 9)
    with pytest.raises(ValueError, match="no negative sides"):
        image.copyMakeBorder(picture(), -1, 0, 0, 0)


def test_colours_are_normalized_in_float32_and_the_picture_stays() -> None:
    pixels = picture()
    mean, deviation = mx.np.array([1, 2, 3]), mx.np.array([4, 5, 6])
    found = image.color_normalize(mx.np.array(pixels), mean, deviation).asnumpy()
    np.testing.assert_allclose(found, (pixels - [1.0, 2, 3]) / [4.0, 5, 6], rtol=1e-5)
    assert found.dtype == np.float32
    assert np.array_equal(image.color_normalize(pixels, None).asnumpy(), pixels.astype(np.float32))


@pytest.mark.parametrize("call", [image.center_crop, image.random_crop])
def test_what_is_no_picture_is_refused(call: Any) -> None:
    with pytest.raises(ShapeError, match=r"an image is \(H, W, C\), got \(3, 4\)"):
        call(np.zeros((3, 4), np.uint8), (2, 2))
