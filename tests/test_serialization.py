"""Arrays survive a round trip; a damaged file is refused with its name and the record's."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from minidnn.errors import DataError
from minidnn.serialization import load, save


def write(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u8", "i4", "u4", "i2", "u2", "i1", "u1", "?", "c8"])
def test_every_dtype_survives_a_round_trip(tmp_path: Path, dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    save(tmp_path / "a", {"w": array})
    loaded = load(tmp_path / "a")["w"]
    assert loaded.dtype == array.dtype
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, array)


def test_awkward_arrays_survive_a_round_trip(tmp_path: Path) -> None:
    arrays = {
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(10, dtype=np.int64)[::-2],
        "big endian": np.arange(4, dtype=">f4"),
        "ünïcode/..": np.ones(1, np.float32),
    }
    save(tmp_path / "a", arrays)
    loaded = load(tmp_path / "a")
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype.isnative
        np.testing.assert_array_equal(loaded[name], array)


def test_the_files_are_those_of_the_safetensors_package(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    save(tmp_path / "ours", {"w": array}, metadata={"made": "here"})
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "ours")["w"], array)
    safetensors.numpy.save_file({"w": array}, tmp_path / "theirs")
    np.testing.assert_array_equal(load(tmp_path / "theirs")["w"], array)


@pytest.mark.parametrize("metadata", [None, {}, {"made": "here"}])
def test_nothing_survives_a_round_trip_too(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save(tmp_path / "a", {}, metadata)
    assert load(tmp_path / "a") == {}


def test_no_byte_of_a_file_can_be_cut_off_unnoticed(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    save(whole, {"first": np.arange(3, dtype=np.float32), "last": np.arange(4, dtype=np.int64)})
    content = whole.read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(DataError, match="cut"):
            load(tmp_path / "cut")
    (tmp_path / "cut").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"cut: record '(first|last)': truncated"):
        load(tmp_path / "cut")


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"w": entry("F32", [2, 3], 0, 20)}, bytes(20), r"record 'w': F32\[2, 3\] takes 24 bytes"),
        ({"w": entry("F32", [2**40, 2**40], 0, 24)}, bytes(24), "record 'w': .* its data_offsets give it 24"),
        ({"w": entry("F32", [2**62, 0], 0, 0)}, b"", "record 'w': its shape"),
        ({"w": entry("F32", [1] * 33, 0, 4)}, bytes(4), "record 'w': its shape"),
        ({"w": entry("F32", [-1], 0, 4)}, bytes(4), "record 'w': its shape"),
        ({"w": entry("F32", [1.0], 0, 4)}, bytes(4), "record 'w': its shape"),
        ({"w": entry("F32", [True], 0, 4)}, bytes(4), "record 'w': its shape"),
        ({"w": entry("F8_E4M3", [4], 0, 4)}, bytes(4), "record 'w': dtype 'F8_E4M3'"),
        ({"w": entry("F32", [1], 4, 0)}, bytes(4), "record 'w': F32"),
        ({"w": entry("F32", [1], 0, 4), "v": entry("F32", [1], 2, 6)}, bytes(6), "record 'v': it begins at byte 2"),
        ({"w": entry("F32", [1], 4, 8)}, bytes(8), "record 'w': it begins at byte 4"),
        ({"w": entry("F32", [1], 0, 4)}, bytes(6), "2 bytes follow the last record"),
        ({"w": {"dtype": "F32"}}, b"", "record 'w': its header entry needs"),
        ({"w": 1}, b"", "record 'w': its header entry needs"),
        (b'{"w": {}, "w": {}}', b"", "record 'w': duplicate name in the header"),
        (b"[" * 100_000, b"", "its header is not JSON"),
        (b"\xff\xfe", b"", "its header is not JSON"),
        (b"9" * 10_000, b"", "its header is not JSON"),
        ([], b"", "not a JSON object"),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, header: object, data: bytes, message: str) -> None:
    path = write(tmp_path / "hostile", header, data)
    with pytest.raises(DataError, match=f"hostile: .*{message}"):
        load(path)


def test_an_announced_header_larger_than_the_file_is_not_allocated(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(DataError, match="announces a header of 1152921504606846976 bytes, 2 follow"):
        load(tmp_path / "x")


def test_a_boolean_is_0_or_1_whatever_the_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {"w": entry("BOOL", [3], 0, 3)}, bytes([0, 1, 7]))
    np.testing.assert_array_equal(load(path)["w"].view(np.uint8), [0, 1, 1])


def test_bfloat16_comes_widened_to_float32_without_loss(tmp_path: Path) -> None:
    tensor = torch.tensor([0.0, -0.0, 1.0, -2.5, 3.0e38, 1e-40, float("inf"), float("nan")]).bfloat16().reshape(2, 4)
    safetensors.torch.save_file({"w": tensor, "none": torch.zeros(0, 3).bfloat16()}, tmp_path / "bf.safetensors")
    found = load(tmp_path / "bf.safetensors")
    np.testing.assert_array_equal(found["w"], tensor.float().numpy())
    assert found["w"].dtype == np.float32
    assert (found["none"].shape, found["none"].dtype) == ((0, 3), np.float32)


def test_a_dtype_the_format_lacks_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    save(tmp_path / "x", {"w": np.ones(1, np.float32)})
    with pytest.raises(DataError, match="record 'names'"):
        save(tmp_path / "x", {"names": np.array(["a"])})
    with pytest.raises(DataError, match="__metadata__"):
        save(tmp_path / "x", {"__metadata__": np.ones(1)})
    assert list(load(tmp_path / "x")) == ["w"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        save(tmp_path / "missing" / "x", {"w": np.ones(1)})
    with pytest.raises(FileNotFoundError, match="missing"):
        load(tmp_path / "missing")


def test_a_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save(tmp_path / "arrays", {"a": np.zeros(3, np.float32)})
    assert (tmp_path / "arrays").stat().st_mode == (tmp_path / "plain").stat().st_mode
