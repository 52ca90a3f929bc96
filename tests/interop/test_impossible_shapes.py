"""Every format refuses shapes that no array can have, and truncated or damaged data, by file and record."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minidnn import recordio, serialization
from minidnn.errors import DataError
from minidnn.interop.mxnet_params import save_params
from minidnn.untrusted import is_possible

SHAPES = [(0, 2**47, 2**47), (2**47, 0, 2**47), (0, 2**46, 2**3), (2**31, 2**31), (2**40, 2**40), (1 << 44,)]


def safetensors(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"weight": entry}).encode()
    return struct.pack("<Q", len(header)) + header + data


def ndarray_list(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    array = struct.pack(f"<Iii{len(shape)}q", 0xF993FACA, 0, len(shape), *shape) + struct.pack("<iii", 1, 0, 0) + data
    return struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<QQ", 1, 6) + b"weight"


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weight.npy", npy(shape, data))
    return file.getvalue()


FORMATS: dict[str, Callable[..., bytes]] = {"safetensors": safetensors, "list": ndarray_list, "npz": npz, "npy": npy}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_impossible_shape_is_refused_by_record(tmp_path: Path, format: str, shape: tuple[int, ...]) -> None:
    for data in (b"", bytes(16)):
        (tmp_path / "bad.params").write_bytes(FORMATS[format](shape, data))
        record = "" if format == "npy" else r"record (0|'weight'): .*"
        with pytest.raises(DataError, match=rf"bad\.params: {record}"):
            serialization.load(tmp_path / "bad.params")


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_file_with_a_possible_shape_is_read(tmp_path: Path, format: str) -> None:
    for shape, data in (((2, 2), np.arange(4, dtype="<f4").tobytes()), ((0, 2**20), b"")):
        (tmp_path / "good.params").write_bytes(FORMATS[format](shape, data))
        (array,) = serialization.load(tmp_path / "good.params").values()
        assert (array.shape, array.tobytes()) == (shape, data)


@pytest.mark.parametrize("shape", [(0, 2**46), (2**44,), (3,) * 5, (0, 2**23, 2**23), ()])
def test_a_possible_shape_is_one_that_numpy_makes(shape: tuple[int, ...]) -> None:
    if is_possible(shape) and 0 in shape:
        assert np.empty(shape).shape == shape
    assert is_possible(shape) == (np.prod([max(n, 1) for n in shape], dtype=float) * 8 <= 2**47)
    assert not is_possible((*shape, -1))
    assert not is_possible((1,) * 33)


@pytest.mark.parametrize("format", ["safetensors", "npy"])
def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path, format: str) -> None:
    path = tmp_path / "sparse"
    for head in (b"", FORMATS[format]((4,)), b"PK\x03\x04", struct.pack("<QQQ", 0x112, 0, 1 << 19)):
        with path.open("wb") as file:
            file.write(head)
            file.truncate(1 << 40)
        with pytest.raises(DataError, match="sparse: "):
            serialization.load(path)


ARRAYS = {"first": np.arange(6, dtype=np.float32).reshape(2, 3), "second": np.ones((0, 3), np.int8)}


def written(format: str, path: Path) -> bytes:
    if format == "safetensors":
        serialization.save(path, ARRAYS)
    elif format == "npy":
        np.save(path.with_suffix(".npy"), ARRAYS["first"])
        path = path.with_suffix(".npy")
    else:
        save_params(path, ARRAYS, {"list": "mxnet1", "npz": "mxnet"}[format])
    return path.read_bytes()


def mutate(data: bytes, draw: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(mutated))
        kind = draw.randrange(4)
        if kind == 0:
            mutated[at] = draw.randrange(256)
        elif kind == 1:
            mutated[at : at + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"9999", b"-1, "])
        elif kind == 2:
            mutated[at:at] = mutated[at : at + draw.randint(1, 20)]
        else:
            del mutated[at : at + draw.randint(1, 20)]
        mutated = mutated or bytearray(1)
    return bytes(mutated)


@pytest.mark.parametrize("format", FORMATS)
def test_mutated_files_are_read_or_refused_by_name(tmp_path: Path, format: str) -> None:
    draw, data = random.Random(3), written(format, tmp_path / "whole")
    path = tmp_path / "mutated"
    tracemalloc.start()
    try:
        for _ in range(400):
            path.write_bytes(mutate(data, draw))
            try:
                loaded = serialization.load(path)
            except DataError as error:
                assert "mutated: " in str(error)
            else:
                assert sum(array.nbytes for array in loaded.values()) <= 2 * len(data)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_mutated_record_files_are_read_or_refused(tmp_path: Path) -> None:
    draw, paths = random.Random(5), (tmp_path / "r.idx", tmp_path / "r.rec")
    with recordio.MXIndexedRecordIO(*paths, "w") as writer:
        for key in range(5):
            writer.write_idx(key, recordio.pack((0, [1.0, 2.0], key, 0), b"\x0a\x23\xd7\xce" * key))
    whole = [path.read_bytes() for path in paths]
    for _ in range(400):
        for path, data in zip(paths, whole, strict=True):
            path.write_bytes(mutate(data, draw) if draw.random() < 0.6 else data)
        try:
            with recordio.MXIndexedRecordIO(*paths, "r") as reader:
                for key in reader.keys:
                    recordio.unpack(reader.read_idx(key))
                while reader.read() is not None:
                    pass
        except DataError as error:
            assert str(error)


def test_lines_without_an_end_are_refused(tmp_path: Path) -> None:
    from minidnn.gluon.data.vision import ImageListDataset

    (tmp_path / "r.rec").touch()
    for name in ("r.idx", "r.lst"):
        with (tmp_path / name).open("wb") as file:
            file.write(b"0\t1")
            file.truncate(1 << 36)
    with pytest.raises(DataError, match=r"r\.idx: line 1 is not a key and a position"):
        recordio.MXIndexedRecordIO(tmp_path / "r.idx", tmp_path / "r.rec", "r")
    with pytest.raises(DataError, match=r"r\.lst: line 1 has 1048576 characters or more"):
        ImageListDataset(tmp_path, "r.lst")
