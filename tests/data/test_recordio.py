"""Record files: what MXNet wrote is read, what is written has MXNet's format, damage is named."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import PHOTOS, smooth_picture
from hypothesis import given
from hypothesis import strategies as st

from minidnn import recordio
from minidnn.errors import DataError
from minidnn.recordio import IRHeader, MXIndexedRecordIO, MXRecordIO

MAGIC = struct.pack("<I", 0xCED7230A)
INDEX = PHOTOS.with_suffix(".idx")


def write(path: Path, *records: bytes) -> Path:
    with MXIndexedRecordIO(path.with_suffix(".idx"), path, "w") as record:
        for key, data in enumerate(records):
            record.write_idx(key, data)
    return path


def read_all(path: Path) -> list[bytes]:
    with MXRecordIO(path, "r") as record:
        return [*iter(record.read, None)]


def test_photos_that_mxnet_packed_are_read() -> None:
    with MXIndexedRecordIO(INDEX, PHOTOS, "r") as record:
        assert record.keys == [*range(12)]
        for key in record.keys:
            header, picture = recordio.unpack_img(record.read_idx(key))
            assert header.id == key
            assert picture.shape == (60 + 3 * key, 80 - 2 * key, 3)
            if key % 3 == 0:
                assert header.flag == 2
                np.testing.assert_array_equal(header.label, np.float32([key, key + 0.5]))
            else:
                assert (header.flag, header.label) == (0, key % 4)


def test_writing_again_what_mxnet_wrote_gives_the_same_bytes(tmp_path: Path) -> None:
    with MXIndexedRecordIO(INDEX, PHOTOS, "r") as record:
        unpacked = [recordio.unpack(record.read_idx(key)) for key in record.keys]
    path = write(tmp_path / "again.rec", *(recordio.pack(*parts) for parts in unpacked))
    assert path.read_bytes() == PHOTOS.read_bytes()
    assert path.with_suffix(".idx").read_text() == INDEX.read_text()


def test_records_come_back_in_order_and_after_a_reset(tmp_path: Path) -> None:
    records = [b"", b"a", b"four", b"seven b"]
    path = write(tmp_path / "x.rec", *records)
    assert path.stat().st_size % 4 == 0
    with MXRecordIO(path, "r") as record:
        assert [record.read(), record.read()] == records[:2]
        record.reset()
        assert record.read() == b""
    with MXIndexedRecordIO(path.with_suffix(".idx"), path, "r") as record:
        assert record.read_idx(3) == b"seven b"
        record.seek(2)
        assert record.read() == b"four"
        copy = pickle.loads(pickle.dumps(record))  # noqa: S301
        assert copy.read() == b"seven b"
        copy.close()


@given(st.lists(st.sampled_from([MAGIC, b"x", b"abcd", b"\0\0", MAGIC[:2]]), max_size=12).map(b"".join))
def test_data_with_the_magic_number_in_it_survives(tmp_path_factory: Any, data: bytes) -> None:
    path = write(tmp_path_factory.mktemp("records") / "x.rec", data, b"next")
    assert read_all(path) == [data, b"next"]


def test_a_record_is_split_at_its_magic_numbers_as_the_format_says(tmp_path: Path) -> None:
    path = write(tmp_path / "x.rec", b"head" + MAGIC + b"body" + MAGIC + b"xy")
    words = [MAGIC + struct.pack("<I", kind << 29 | length) for kind, length in ((1, 4), (2, 4), (3, 2))]
    assert path.read_bytes() == words[0] + b"head" + words[1] + b"body" + words[2] + b"xy\0\0"


@pytest.mark.parametrize("end", [1, 7, 9, 1000, 2152])
def test_a_truncated_file_names_the_record(tmp_path: Path, end: int) -> None:
    path = tmp_path / "cut.rec"
    path.write_bytes(PHOTOS.read_bytes()[:end])
    with MXRecordIO(path, "r") as record, pytest.raises(DataError, match=r"cut\.rec: the record at byte 0 is trunc"):
        record.read()
    with MXIndexedRecordIO(INDEX, path, "r") as record, pytest.raises(DataError, match="record 3 at byte 6744 is tr"):
        record.read_idx(3)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (2156, 0, "record 1 at byte 2156 is damaged: it begins with 0x00000000, not with 0xced7230a"),
        (2160, (1 << 29) - 1, "record 1 at byte 2156 is truncated: 536870911 bytes are declared, 25960 are left"),
        (2160, 2 << 29 | 8, "record 1 at byte 2156 is damaged: a part of kind 2 cannot stand there"),
        (2160, 7 << 29 | 8, "a part of kind 7 cannot stand there"),
        (2160, 1 << 29 | 2192, "a part of kind 0 cannot stand there"),
    ],
)
def test_a_bad_magic_length_or_kind_names_the_record(tmp_path: Path, at: int, value: int, message: str) -> None:
    data = bytearray(PHOTOS.read_bytes())
    data[at : at + 4] = struct.pack("<I", value)
    path = tmp_path / "bad.rec"
    path.write_bytes(data)
    with MXIndexedRecordIO(INDEX, path, "r") as record:
        with pytest.raises(DataError, match=message):
            record.read_idx(1)
        assert record.read_idx(2)  # the others can still be read


@pytest.mark.parametrize("line", ["1", "one\t2", "1\ttwo", "1\t2\t3"])
def test_a_bad_line_of_the_index_is_named(tmp_path: Path, line: str) -> None:
    index = tmp_path / "bad.idx"
    index.write_text(f"0\t0\n{line}\n")
    with pytest.raises(DataError, match=r"bad\.idx: line 2"):
        MXIndexedRecordIO(index, PHOTOS, "r")


@pytest.mark.parametrize("position", [-1, 1 << 40, 28124, 3])
def test_a_position_outside_the_file_is_refused(tmp_path: Path, position: int) -> None:
    index = tmp_path / "far.idx"
    index.write_text(f"0\t{position}\n")
    with MXIndexedRecordIO(index, PHOTOS, "r") as record, pytest.raises(DataError, match=f"at byte {position} is"):
        record.read_idx(0)


@pytest.mark.parametrize("label", [3, 2.5, np.float32(7), True])
def test_one_label_stands_in_the_header(label: Any) -> None:
    packed = recordio.pack(IRHeader(9, label, 5, 1), b"data")
    assert recordio.unpack(packed) == (IRHeader(0, float(label), 5, 1), b"data")


@pytest.mark.parametrize("label", [[1.5, 2], np.arange(5), (4.0,)])
def test_several_labels_follow_the_header(label: Any) -> None:
    header, data = recordio.unpack(recordio.pack((0, label, 2**40, 0), b"data"))
    assert (header.flag, header.id, data) == (len(label), 2**40, b"data")
    np.testing.assert_array_equal(header.label, np.float32(label))


@pytest.mark.parametrize("label", ["cat", None, ["a", "b"], [1, "b"], 1j, [[1], [2, 3]]])
def test_a_label_that_is_not_a_number_is_refused(label: Any) -> None:
    with pytest.raises(DataError, match="no header of an image record"):
        recordio.pack(IRHeader(0, label, 0, 0), b"")


@pytest.mark.parametrize("data", [b"", b"x" * 23, struct.pack("<IfQQ", 2, 0, 0, 0) + b"1234567"])
def test_a_record_shorter_than_its_header_says_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="image record"):
        recordio.unpack(data)


def test_packed_pictures_are_blue_green_red_as_in_mxnet() -> None:
    picture = smooth_picture()
    for extension in (".png", ".jpg"):
        packed = recordio.pack_img((0, 1, 2, 0), picture, quality=100 if extension == ".jpg" else 9, img_fmt=extension)
        header, again = recordio.unpack_img(packed)
        assert header == (0, 1.0, 2, 0)
        assert np.abs(again.astype(int) - picture).max() <= (0 if extension == ".png" else 12)
    grey = recordio.pack_img((0, 1, 2, 0), picture[:, :, 0], img_fmt=".png", quality=3)
    np.testing.assert_array_equal(recordio.unpack_img(grey)[1], picture[:, :, 0])
    assert recordio.unpack_img(grey, iscolor=1)[1].shape == picture.shape


def test_a_file_used_the_wrong_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="flag must be"):
        MXRecordIO(PHOTOS, "rw")
    with MXRecordIO(tmp_path / "x.rec", "w") as record:
        with pytest.raises(ValueError, match="for writing only"):
            record.read()
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(record)
    with pytest.raises(ValueError, match="closed"):
        record.write(b"")
    with pytest.raises(FileNotFoundError):
        MXIndexedRecordIO(tmp_path / "none.idx", PHOTOS, "r")
