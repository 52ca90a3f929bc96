"""MXNet's parameter files, built byte by byte: what they hold is read exactly, what is wrong is refused by name."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidnn as mx
from minidnn import serialization
from minidnn.errors import DataError
from minidnn.gluon import nn
from minidnn.interop.mxnet_params import FORMATS, is_mxnet_file, save_array, save_params

V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
CODES = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6, "?": 7, "i2": 8, "u2": 9, "u4": 10, "u8": 11}
HEAD = struct.pack("<QQ", 0x112, 0)
ASSETS = Path(__file__).parents[1] / "assets" / "mxnet"


def record(array: np.ndarray[Any, Any], version: int, code: int | None = None) -> bytes:
    """An array as NDArray::Save of the version wrote it."""
    if version == 0:
        head = struct.pack(f"<I{array.ndim}I", array.ndim, *array.shape)
    elif version == V1:
        head = struct.pack(f"<II{array.ndim}q", V1, array.ndim, *array.shape)
    else:
        head = struct.pack(f"<Iii{array.ndim}q", version, 0, array.ndim, *array.shape)
    code = CODES[array.dtype.str[1:].replace("b1", "?")] if code is None else code
    return head + struct.pack("<iii", 1, 0, code) + array.tobytes()


def names(*texts: str | bytes) -> bytes:
    parts = [t if isinstance(t, bytes) else t.encode() for t in texts]
    return struct.pack("<Q", len(parts)) + b"".join(struct.pack("<Q", len(p)) + p for p in parts)


def list_file(path: Path, records: list[bytes], after: bytes, count: int | None = None) -> Path:
    path.write_bytes(HEAD + struct.pack("<Q", len(records) if count is None else count) + b"".join(records) + after)
    return path


# ---- what is read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, V1, V2, V3])
def test_every_version_holds_every_dtype(version: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    arrays = {f"arg:{kind}": (generator.normal(size=(3, 1, 5)) * 9).astype(np.dtype(kind)) for kind in CODES}
    path = list_file(tmp_path / "a", [record(a, version) for a in arrays.values()], names(*arrays))
    loaded = serialization.load(path)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0xC000, 0x7F80, 0x0001], np.uint16)
    entry = npy(header(descr="<b2", shape="(4,)"), bits.tobytes())
    for path in (
        list_file(tmp_path / "a", [record(bits, V2, 12)], names("w")),
        zip_of(tmp_path / "b", {"w.npy": entry}),
    ):
        loaded = serialization.load(path)["w"]
        assert loaded.dtype == np.float32
        assert loaded.tolist() == [1.0, -2.0, float("inf"), 2.0**-133]


def test_version_3_holds_scalars_and_empty_arrays(tmp_path: Path) -> None:
    records = [record(np.array(2.5, np.float32), V3), record(np.zeros((0, 4), np.int8), V3)]
    loaded = mx.npx.load(list_file(tmp_path / "a", records, names("s", "e")))
    assert loaded["s"].item() == 2.5
    assert loaded["e"].shape == (0, 4)


def test_arrays_without_names_are_a_list(tmp_path: Path) -> None:
    path = list_file(tmp_path / "a", [record(np.full(2, i, np.int32), V2) for i in range(11)], names())
    assert [a.tolist() for a in mx.npx.load(path)] == [[i, i] for i in range(11)]


@pytest.mark.parametrize("prefix", ["", "arg:"])
def test_a_gluon_block_takes_an_ndarray_list(prefix: str, tmp_path: Path) -> None:
    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    path = list_file(tmp_path / "a", [record(weight, V2), record(bias, V1)], names(f"{prefix}weight", f"{prefix}bias"))
    dense = nn.Dense(2)
    dense.load_parameters(path)
    assert dense(mx.np.ones((1, 3))).tolist() == [[4, 13]]


def test_a_header_of_274_bytes_is_safetensors(tmp_path: Path) -> None:
    # 274 is 0x112: only what follows tells the length of a safetensors header from MXNet's magic.
    serialization.save(tmp_path / "a", {"w": np.ones(3, np.float32)})
    data = (tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    (tmp_path / "b").write_bytes(struct.pack("<Q", 274) + data[8 : 8 + length].ljust(274) + data[8 + length :])
    assert serialization.load(tmp_path / "b")["w"].tolist() == [1, 1, 1]
    assert not is_mxnet_file(b"")


def test_one_array_alone_is_a_npy_file_in_mxnet_2(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(3.0))
    assert mx.npx.load(tmp_path / "one.npy").tolist() == [0, 1, 2]
    alone = list_file(tmp_path / "alone", [record(np.full(2, 5, np.int32), V2)], names())
    assert mx.npx.load(alone).tolist() == [5, 5]
    np.savez(tmp_path / "zip.npz", np.ones(2, np.float32))
    assert [*mx.npx.load(tmp_path / "zip.npz")] == ["arr_0"]
    (tmp_path / "cut.npy").write_bytes((tmp_path / "one.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cut\.npy: float64\[3\] takes 24 bytes, 23 are there"):
        mx.npx.load(tmp_path / "cut.npy")


@pytest.mark.parametrize("name", ["../w", "/etc/w", "a/../../w", "..\\w", "c:/w"])
def test_an_entry_with_a_path_outside_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {f"{name}.npy": npy(header(), bytes(8))})
    with pytest.raises(DataError, match=f"record {re.escape(ascii(name))}: a path outside the archive's own folder"):
        mx.npx.load(path)
    with pytest.raises(DataError, match="would not be read back"):
        save_params(tmp_path / "b", {name: np.ones(2, np.float32)}, "mxnet")


def test_a_dtype_that_mxnet_lacks_is_refused_alone_as_well(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one\.npy: MXNet has no complex64 arrays"):
        save_array(tmp_path / "one.npy", np.ones(2, np.complex64))
    assert not [*tmp_path.iterdir()]


# ---- what is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_written_reads_back(format_: str, tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        f"aux:{kind}": np.arange(-3, 3).reshape(2, 3).astype(kind).T for kind in CODES
    }
    arrays |= {"scalar": np.array(3.0), "empty": np.zeros((2, 0), "f2"), "größe": np.ones(1, ">i4")}
    save_params(tmp_path / "a", arrays, format_)
    loaded = serialization.load(tmp_path / "a")
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].shape == array.shape
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded[name], array)


def test_npx_save_writes_both_formats(tmp_path: Path) -> None:
    mx.npx.save(tmp_path / "zip", {"w": mx.np.ones((2, 2)).T}, format="mxnet")
    with np.load(tmp_path / "zip") as file:
        assert file["w"].tolist() == [[1, 1], [1, 1]]
    mx.npx.save(tmp_path / "list", [mx.np.ones(2), mx.np.zeros(1)], format="mxnet1")
    wanted = [record(np.ones(2, np.float32), V2), record(np.zeros(1, np.float32), V2)]
    data = (tmp_path / "list").read_bytes()
    assert data == list_file(tmp_path / "x", wanted, names("arr_0", "arr_1")).read_bytes()
    assert [a.tolist() for a in mx.npx.load(tmp_path / "list")] == [[1, 1], [0]]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_dtype_that_mxnet_lacks_is_refused_and_nothing_is_left(format_: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"record 'z': MXNet.* no complex64 arrays"):
        save_params(tmp_path / "a", {"z": np.zeros(2, np.complex64)}, format_)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_a_zip_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would not be read back"):
        save_params(tmp_path / "a", {"a\0b": np.zeros(2)})


# ---- the NDArray list, damaged ------------------------------------------------------------------------


ONES = np.ones((2, 3), np.float32)
GOOD = record(ONES, V2)


def with_head(form: str, *numbers: int) -> bytes:
    return struct.pack("<" + form, *numbers) + bytes(64)


@pytest.mark.parametrize(
    ("records", "after", "count", "message"),
    [
        ([GOOD], names("w"), 1 << 62, "header: it announces 4611686018427387904 arrays"),
        ([GOOD], names("w"), 500_000, "record "),
        ([GOOD], names(), 2, "record 1: it is an array without a shape"),
        ([with_head("Iiiq", V2, 1, 1, 4)], b"", None, "record 0: its storage type is row_sparse; only dense"),
        ([GOOD, with_head("Iiiq", V2, 2, 1, 4)], b"", None, "record 1: its storage type is csr; only dense"),
        ([with_head("Iiiq", V3, -1, 1, 4)], b"", None, r"its storage type is unknown \(-1\)"),
        ([with_head("Iii", V3, 0, -1)], b"", None, "record 0: it is an array without a shape"),
        ([with_head("Iii", V2, 0, 0)], b"", None, "record 0: it is an array without a shape"),
        ([with_head("Iii", V2, 0, 33)], b"", None, "record 0: its rank is 33; at most 32"),
        ([with_head("Iii", V2, 0, -7)], b"", None, "record 0: its rank is -7"),
        ([with_head("I", 0xDEADBEEF)], b"", None, r"its rank is 3735928559 \(or its magic is none\)"),
        ([with_head("Iiiqiii", V2, 0, 1, -1, 1, 0, 0)], b"", None, r"its shape \[-1\] is not possible"),
        ([with_head("Iiiqqiii", V2, 0, 2, 1 << 40, 1 << 40, 1, 0, 0)], b"", None, "is not possible"),
        ([with_head("Iiiqqiii", V3, 0, 2, 0, 1 << 62, 1, 0, 0)], b"", None, "is not possible"),
        ([with_head("Iiiqiii", V2, 0, 1, 1 << 43, 1, 0, 0)], b"", None, "truncated: float32.* takes 35184372088832"),
        ([with_head("Iiiqiii", V2, 0, 1, 4, 1, 0, 13)], b"", None, "its dtype has the code 13; there are 0 to 12"),
        ([with_head("Iiiqiii", V2, 0, 1, 4, 1, 0, -1)], b"", None, "its dtype has the code -1"),
        ([GOOD, GOOD], names("a"), None, "names: there are 1 names for 2 arrays"),
        ([GOOD, GOOD], names("a", "a"), None, "record 1: duplicate name 'a'"),
        ([GOOD, GOOD], names("a", b"\xff\xfe"), None, r"record 1: its name is not UTF-8: b'\\xff\\xfe'"),
        ([GOOD], struct.pack("<QQ", 1, 1 << 60), None, "record 0: its name has 1152921504606846976 bytes"),
        ([GOOD], struct.pack("<Q", 1 << 60), None, "names: it announces"),
        ([GOOD], names("w") + b"x", None, "1 bytes follow the last name"),
    ],
)
def test_a_damaged_list_is_refused_by_file_and_record(
    records: list[bytes], after: bytes, count: int | None, message: str, tmp_path: Path
) -> None:
    path = list_file(tmp_path / "bad.params", records, after, count)
    with pytest.raises(DataError, match=r"bad\.params: .*" + message):
        serialization.load(path)


@pytest.mark.parametrize("version", [0, V1, V2, V3])
def test_a_list_that_ends_anywhere_is_refused(version: int, tmp_path: Path) -> None:
    arrays = [record(ONES, version), record(np.zeros(2, np.int8), version)]
    data = list_file(tmp_path / "whole", arrays, names("arg:w", "b")).read_bytes()
    path = tmp_path / "cut.params"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.params: "):
            serialization.load(path)


# ---- the zip file, damaged ------------------------------------------------------------------------------


def zip_of(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def npy(head: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(head)) + head.encode("latin-1") + data


def header(descr: str = "<f4", shape: str = "(2,)", order: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (b"", "not an array in NumPy's format"),
        (b"\x93NUMPY\x01\x00", "not an array in NumPy's format"),
        (b"\x93NUMPY\x07\x00\x00\x00abcdef", "not an array in NumPy's format"),
        (npy("")[:-2] + b"\xff\xff" + bytes(8), "its header of 65535 bytes is longer"),
        (npy("__import__('os').abort()" + " " * 9), "is not that of a plain array"),
        (npy(header(descr="|O") + "  ", bytes(16)), r"dtype '\|O' cannot be read"),
        (npy(header(descr="<c8"), bytes(16)), "dtype '<c8' cannot be read"),
        (npy(header(shape="(3,)"), bytes(8)), r"float32\[3\] takes 12 bytes, 8 are there"),
        (npy(header(shape="(1,)"), bytes(8)), r"float32\[1\] takes 4 bytes, 8 are there"),
        (npy(header(shape="(-2,)"), bytes(8)), "is not that of a plain array"),
        (npy(header(shape="(9999999999999999999,)"), bytes(8)), "is not possible"),
        (npy(header(shape="(0, 99999999999999)"), b""), "takes 0 bytes"),
        (npy(header(shape=f"({'1, ' * 40})"), bytes(4)), "is not possible"),
    ],
)
def test_a_damaged_entry_is_refused_by_file_and_record(entry: bytes, message: str, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "bad.params", {"ok.npy": npy(header(), bytes(8)), "arg:w.npy": entry})
    with pytest.raises(DataError, match=r"bad\.params: record 'arg:w': .*" + message):
        serialization.load(path)


def test_byte_orders_and_fortran_order_are_read(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    entry = npy(header(descr=">i4", shape="(2, 3)", order="True"), array.tobytes(order="F"))
    loaded = serialization.load(zip_of(tmp_path / "a", {"w.npy": entry, "x.npy": npy(header(shape="()"), bytes(4))}))
    assert loaded["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["x"].shape == ()


def test_sparse_compressed_and_foreign_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record 'w/indices': it is part of a sparse array"):
        serialization.load(zip_of(tmp_path / "a", {"w/indices.npy": npy(header(), bytes(8))}))
    with pytest.raises(DataError, match=r"entry w\.npy is compressed; MXNet writes its files uncompressed"):
        serialization.load(zip_of(tmp_path / "b", {"w.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"record 'w\.txt': .*NAME\.npy entries"):
        serialization.load(zip_of(tmp_path / "c", {"w.txt": b"text"}))


def test_a_zip_that_ends_anywhere_is_refused(tmp_path: Path) -> None:
    data = (ASSETS / "smallconv-0000.params").read_bytes()
    path = tmp_path / "cut.params"
    for length in [*range(0, len(data), 41), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.params: "):
            serialization.load(path)


# ---- whatever is there ------------------------------------------------------------------------------------


SEEDS = [(ASSETS / "ops" / "groupnorm-0000.params").read_bytes()]
with io.BytesIO() as _file:
    _file.write(HEAD + struct.pack("<Q", 3) + record(ONES, V1) + record(ONES.astype("i8"), V3) + record(ONES, 0))
    _file.write(names("arg:weight", "aux:mean", "bias"))
    SEEDS.append(_file.getvalue())


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(16, 600), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
def test_mutated_files_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: bytes, edits: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(seed)
    for position, new in edits:
        position %= len(data)
        data[position : position + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "mutated.params"
    path.write_bytes(data[: len(data) - cut])
    tracemalloc.start()
    try:
        loaded = serialization.load(path)
        assert sum(a.nbytes for a in loaded.values()) <= 2 * len(data)
    except DataError as error:
        assert "mutated.params: " in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 << 20
