"""What a picture says of its size and its parts is checked before a decoder takes memory for it."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import minidnn as mx
from minidnn import image, recordio
from minidnn.errors import DataError
from minidnn.gluon.data.vision import ImageFolderDataset, ImageListDataset, ImageRecordDataset

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes = b"", length: int | None = None, checksum: int | None = None) -> bytes:
    size = struct.pack(">I", len(data) if length is None else length)
    return size + name + data + struct.pack(">I", zlib.crc32(name + data) if checksum is None else checksum)


def header(width: int = 31, height: int = 24, depth: int = 8, colour: int = 2, *methods: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(methods or (0, 0, 0))))


IDAT = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(range(93)) for _ in range(24))))
IEND = chunk(b"IEND")
GOOD = SIGNATURE + header() + IDAT + IEND


def encoded(format: str, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    rows, columns = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([rows * 7, columns * 5, rows + columns], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SIGNATURE + header() + struct.pack(">I", 0xFFFFFFF0) + b"tEXtxxxx", "chunk tEXt of 4294967280 bytes"),
        (SIGNATURE + header() + struct.pack(">I", 0x7FFFFFFF) + b"iCCPxxxx", "chunk iCCP of 2147483647 bytes"),
        (SIGNATURE + header() + chunk(b"IDAT", b"abc", 1 << 30) + IEND, "chunk IDAT of 1073741824 bytes"),
        (SIGNATURE + header() + chunk(b"PLTE", bytes(771)) + IDAT + IEND, "chunk PLTE of 771 bytes"),
        (SIGNATURE + header() + chunk(b"tRNS", bytes(300)) + IDAT + IEND, "chunk tRNS of 300 bytes"),
        (SIGNATURE + header() + IDAT + chunk(b"IEND", b"x"), "chunk IEND of 1 bytes"),
        (SIGNATURE + header() + chunk(b"ABCD") + IDAT + IEND, "chunk ABCD is unknown"),
        (SIGNATURE + header() + chunk(b"\0\1\2\3") + IDAT + IEND, "is no type of a chunk"),
        (SIGNATURE + header() + IDAT[:-4] + b"abcd" + IEND, "the checksum of chunk IDAT at byte 33 is wrong"),
        (SIGNATURE + header() + IDAT, "it ends within a chunk"),
        (SIGNATURE + header() + IDAT + IEND[:-1], "it ends within a chunk"),
        (SIGNATURE + header() + IEND, "31×24 pixels in 0 bytes"),
        (SIGNATURE + header(11000, 11000) + IDAT + IEND, "11000×11000 pixels in"),
        (SIGNATURE + header(1 << 31, 1 << 31) + IDAT + IEND, "2147483648×2147483648 pixels"),
        (SIGNATURE + header(0, 5) + IDAT + IEND, "0×5 pixels"),
        (SIGNATURE + header(31, 24, 3) + IDAT + IEND, "3 bits, colour type 2"),
        (SIGNATURE + header(31, 24, 8, 5) + IDAT + IEND, "colour type 5"),
        (SIGNATURE + header(31, 24, 8, 2, 1, 0, 0) + IDAT + IEND, "methods 1, 0 and 0"),
        (SIGNATURE + header(31, 24, 8, 2, 0, 0, 2) + IDAT + IEND, "methods 0, 0 and 2"),
        (SIGNATURE + chunk(b"IHDR", bytes(12)) + IDAT + IEND, "without its header"),
        (SIGNATURE + IDAT + IEND, "without its header"),
        (SIGNATURE, "without its header"),
        (SIGNATURE + b"\0", "without its header"),
    ],
)
def test_a_png_of_bad_parts_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image.decode(data)


def test_texts_profiles_and_animations_never_reach_a_decoder() -> None:
    wanted = image.decode(GOOD)
    bomb = zlib.compress(bytes(1 << 24))
    for extra in (
        chunk(b"zTXt", b"key\0\0" + bomb), chunk(b"iTXt", b"key\0\1\0\0\0" + bomb), chunk(b"iCCP", b"icc\0\0" + bomb),
        chunk(b"tEXt", b"key\0" + bytes(1000)), chunk(b"acTL", struct.pack(">II", 1 << 31, 0)), chunk(b"gAMA", b"\0"),
        chunk(b"eXIf", b"MM\0*" + b"\xff" * 40), chunk(b"tEXt", b"", checksum=1),
    ):  # fmt: skip
        np.testing.assert_array_equal(image.decode(SIGNATURE + header() + extra + IDAT + extra + IEND), wanted)
        np.testing.assert_array_equal(image.decode(GOOD + extra), wanted)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_larger_than_its_file_can_hold_is_refused(options: dict[str, bool]) -> None:
    data = bytearray(encoded("JPEG", **options))
    at = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 11000, 11000)
    with pytest.raises(DataError, match=f"11000×11000 pixels in {len(data)} bytes"):
        image.decode(bytes(data))


def test_a_jpeg_of_one_colour_is_as_large_as_it_says() -> None:
    for options in ({}, {"progressive": True, "optimize": True}, {"optimize": True, "quality": 1}):
        file = io.BytesIO()
        PIL.Image.new("L", (2000, 3000), 77).save(file, "JPEG", **options)
        assert image.decode(file.getvalue()).shape == (3000, 2000, 3)
    for mode in ("1", "L", "RGB", "RGBA", "P"):
        file = io.BytesIO()
        PIL.Image.new(mode, (3000, 3001)).save(file, "PNG", optimize=True)
        assert image.decode(file.getvalue()).shape == (3001, 3000, 3)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = encoded("JPEG", progressive=True)
    with pytest.raises(DataError, match="scans; more than 500 are refused"):
        image.decode(data[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00\x00" * 600 + b"\xff\xd9")


@pytest.mark.parametrize("format", ["WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_reach_no_decoder(format: str, tmp_path: Path) -> None:
    data = encoded(format)
    (tmp_path / "x.jpg").write_bytes(data)
    for read in (lambda: image.decode(data), lambda: mx.image.imread(tmp_path / "x.jpg")):
        with pytest.raises(DataError, match=f"neither JPEG nor PNG: {len(data)} bytes"):
            read()


def test_every_way_to_a_picture_checks_it(tmp_path: Path) -> None:
    bad = SIGNATURE + header() + struct.pack(">I", 0xFFFFFFF0) + b"tEXtxxxx"
    (tmp_path / "classes" / "a").mkdir(parents=True)
    (tmp_path / "classes" / "a" / "x.png").write_bytes(bad)
    packed = recordio.pack((0, 1.0, 0, 0), bad)
    with recordio.MXIndexedRecordIO(tmp_path / "r.idx", tmp_path / "r.rec", "w") as writer:
        writer.write_idx(0, packed)
    ways: list[Any] = [
        lambda: mx.image.imdecode(bad),
        lambda: mx.image.imdecode(np.frombuffer(bad, np.uint8), 0),
        lambda: mx.image.imread(tmp_path / "classes" / "a" / "x.png"),
        lambda: recordio.unpack_img(packed),
        lambda: ImageFolderDataset(tmp_path / "classes")[0],
        lambda: ImageListDataset(tmp_path / "classes" / "a", [[0, "x.png"]])[0],
        lambda: ImageRecordDataset(tmp_path / "r.rec")[0],
    ]
    for way in ways:
        with pytest.raises(DataError, match="chunk tEXt of 4294967280 bytes"):
            way()


def test_small_files_are_refused_in_little_memory() -> None:
    """In a process of its own, whose memory is limited to less than what the files ask for."""
    jpeg = bytearray(encoded("JPEG", progressive=True))
    at = jpeg.index(b"\xff\xc2")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 11500, 11500)
    files = [
        SIGNATURE + header() + struct.pack(">I", 0xFFFFFFF0) + b"tEXtxxxx",
        SIGNATURE + header(11500, 11500, 16, 6) + IDAT + IEND,
        SIGNATURE + header(11500, 11500, 8, 6, 0, 0, 1) + IDAT + IEND,
        bytes(jpeg),
    ]
    code = f"""
        import resource
        from minidnn import image
        from minidnn.errors import DataError
        import cv2, simplejpeg
        for data in {files!r}:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                image.decode(data)
            except DataError:
                print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    grown = [*map(int, run.stdout.split())]
    assert len(grown) == len(files), run.stderr
    assert max(grown) < 30


def test_a_sparse_file_of_zeros_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "zeros.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"zeros\.png: neither JPEG nor PNG: 1099511627776 bytes"):
        mx.image.imread(path)


@pytest.mark.parametrize(
    "data",
    [GOOD, encoded("PNG", interlace=1), encoded("JPEG"), encoded("JPEG", progressive=True)],
    ids=["png", "large png", "jpeg", "progressive jpeg"],
)
def test_mutated_pictures_are_read_or_refused(data: bytes) -> None:
    draw = random.Random(7)
    for _ in range(250):
        mutated = bytearray(data)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(2, len(mutated))
            new = draw.choice([draw.randbytes(1), draw.randbytes(4), bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xf0"])
            mutated[at : at + len(new)] = new
        if draw.random() < 0.2:
            del mutated[draw.randrange(len(mutated)) :]
        try:
            assert image.decode(bytes(mutated)).size < 1 << 24
        except DataError:
            continue
