"""Decoding: every mode becomes RGB or grey as Pillow has it, and what is broken is refused."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import smooth_picture
from PIL import Image

import minidnn as mx
from minidnn import image
from minidnn.errors import DataError, ShapeError, TypeMismatchError


def encoded(picture: Any, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def photo(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(smooth_picture()).convert(mode)


def assert_close(pixels: Any, wanted: Image.Image, most: int) -> None:
    assert np.abs(np.asarray(pixels).astype(int) - np.asarray(wanted).astype(int)).max() <= most


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", mode) for mode in ("RGB", "L", "CMYK")]
    + [("PNG", mode) for mode in ("RGB", "L", "RGBA", "P", "1", "LA")],
)
def test_every_mode_becomes_rgb_and_grey(kind: str, mode: str) -> None:
    data = encoded(photo(mode), kind)
    wanted = Image.open(io.BytesIO(data))
    rgb, grey = image.decode(data), image.decode(data, 0)
    assert (rgb.shape, grey.shape, rgb.dtype) == ((30, 41, 3), (30, 41, 1), np.uint8)
    if mode != "1":
        assert_close(rgb, wanted.convert("RGB"), 3 if mode == "CMYK" else 2)
        assert_close(grey[:, :, 0], wanted.convert("RGB").convert("L"), 3)


def test_sixteen_bits_become_their_upper_eight() -> None:
    pixels = np.arange(0, 65536, 64, np.uint16).reshape(32, 32)
    data = encoded(Image.fromarray(pixels), "PNG")
    assert_close(image.decode(data, 0)[:, :, 0], pixels >> 8, 1)


def test_progressive_jpegs_and_odd_subsampling_are_read() -> None:
    for options in ({"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_blocks": 2}):
        data = encoded(photo(), quality=95, **options)
        assert_close(image.decode(data), Image.open(io.BytesIO(data)), 2)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_jpeg_is_refused(mode: str, share: float) -> None:
    data = encoded(photo(mode))
    with pytest.raises(DataError, match="JPEG"):
        image.decode(data[: int(share * len(data))])


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_png_is_refused(share: float) -> None:
    data = encoded(photo(), "PNG")
    with pytest.raises(DataError, match=r"PNG|image"):
        image.decode(data[: int(share * len(data))])


def test_a_jpeg_with_noise_in_the_middle_is_refused() -> None:
    data = bytearray(encoded(Image.effect_noise((200, 200), 90)))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(range(200, 240))
    data[len(data) // 2 + 50 : len(data) // 2 + 52] = b"\xff\xc9"
    with pytest.raises(DataError, match="JPEG"):
        image.decode(bytes(data))


def test_a_jpeg_changed_in_its_middle_is_refused_and_one_with_litter_at_its_end_is_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    data = encoded(Image.fromarray(noise))
    changed = data[:3000] + bytes(2000) + data[5000:]
    with pytest.raises(DataError, match=r"a damaged JPEG: .* extraneous bytes"):
        image.decode(changed)
    for littered in (data[:-2] + bytes([1] * 70) + data[-2:], data + b"behind it"):
        np.testing.assert_array_equal(image.decode(littered), image.decode(data))


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a" + bytes(40), bytes(1000), b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="JPEG"):
        image.decode(data)
    with pytest.raises(DataError, match="JPEG"):
        image.is_grey(data)


def test_a_small_file_that_declares_a_huge_picture_takes_no_memory() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match="60000×60000"):
        image.decode(png)
    jpeg = bytearray(encoded(photo()))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(DataError, match="65000×65000"):
        image.decode(bytes(jpeg))


def test_a_file_is_named_when_it_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"no cat")
    with pytest.raises(DataError, match=r"cat\.jpg: neither JPEG nor PNG"):
        mx.image.imread(path)
    photo().save(path)
    assert mx.image.imread(str(path)).shape == (30, 41, 3)


def test_imdecode_takes_arrays_and_gives_either_order() -> None:
    data = encoded(photo(), "PNG")
    rgb = mx.image.imdecode(mx.np.array(np.frombuffer(data, np.uint8)))
    np.testing.assert_array_equal(rgb.asnumpy(), smooth_picture())
    np.testing.assert_array_equal(mx.image.imdecode(data, to_rgb=False).asnumpy(), smooth_picture()[:, :, ::-1])


def bilinear(pixels: np.ndarray[Any, Any], width: int, height: int) -> np.ndarray[Any, Any]:
    """Half-pixel centres, edges repeated, no smoothing when it shrinks: OpenCV's INTER_LINEAR, in float64."""
    result = pixels.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        length = pixels.shape[axis]
        centre = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = centre.astype(int)
        share = (centre - low).reshape([-1 if i == axis else 1 for i in range(pixels.ndim)])
        high = np.minimum(low + 1, length - 1)
        result = np.take(result, low, axis) * (1 - share) + np.take(result, high, axis) * share
    return result


@pytest.mark.parametrize(("width", "height"), [(20, 20), (41, 17), (97, 60), (1, 1), (7, 90)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_bilinear_between_half_pixel_centres(width: int, height: int, channels: int) -> None:
    pixels = smooth_picture(channels=channels)
    resized = mx.image.imresize(mx.np.array(pixels), width, height)
    assert (resized.shape, resized.dtype) == ((height, width, channels), np.uint8)
    assert np.abs(resized.asnumpy() - bilinear(pixels, width, height)).max() <= 1
    exact = image.resize(pixels.astype(np.float32), width, height)
    np.testing.assert_allclose(exact, bilinear(pixels, width, height), atol=1e-2)


def test_the_shorter_side_is_resized() -> None:
    assert mx.image.resize_short(mx.np.zeros((30, 41, 3), dtype="uint8"), 20).shape == (20, 27, 3)
    assert mx.image.resize_short(mx.np.zeros((41, 30, 3), dtype="uint8"), 20).shape == (27, 20, 3)


def test_what_cannot_be_resized_or_encoded_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(H, W, C\)"):
        mx.image.imresize(mx.np.zeros((4, 4)), 2, 2)
    with pytest.raises(TypeMismatchError, match="uint8 or float32, got int32"):
        mx.image.imresize(mx.np.zeros((4, 4, 3), dtype="int32"), 2, 2)
    with pytest.raises(ValueError, match="positive"):
        mx.image.imresize(mx.np.zeros((4, 4, 3)), 0, 2)
    with pytest.raises(DataError, match="at most"):
        mx.image.imresize(mx.np.zeros((4, 4, 3)), 1 << 20, 1 << 20)
    with pytest.raises(ShapeError, match="image is"):
        image.encode(np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"\.gif"):
        image.encode(smooth_picture(), ".gif")


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg = encoded(photo())
    for name in ("simplejpeg", "cv2", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'minidnn\[data\]'"):
        image.decode(jpeg)
