"""Data sets of pictures, and the errors that name the record, file or line that is bad."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import PHOTOS, smooth_picture
from PIL import Image

import minidnn as mx
from minidnn.errors import DataError
from minidnn.gluon.data import DataLoader
from minidnn.gluon.data.vision import (
    CIFAR10,
    CIFAR100,
    MNIST,
    FashionMNIST,
    ImageFolderDataset,
    ImageListDataset,
    ImageRecordDataset,
)

LABELS: dict[str, Any] = {"nan": np.nan, "several with nan": [1, np.nan]}


def jpeg(picture: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_records(path: Path, *records: bytes) -> Path:
    with mx.recordio.MXIndexedRecordIO(path.with_suffix(".idx"), path, "w") as file:
        for key, record in enumerate(records):
            file.write_idx(key, record)
    return path


# ---- records, folders and lists ------------------------------------------------------------------------


def test_mxnets_records_are_pictures_and_labels_as_pillow_reads_them() -> None:
    photos = ImageRecordDataset(PHOTOS)
    assert len(photos) == 12
    for i, (picture, label) in enumerate(photos):
        _, encoded = mx.recordio.unpack(mx.gluon.data.RecordFileDataset(PHOTOS)[i])
        wanted = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        assert (type(picture), picture.dtype) == (mx.np.ndarray, np.uint8)
        assert np.abs(picture.asnumpy().astype(int) - wanted).max() <= 2
        np.testing.assert_array_equal(label, np.float32([i, i + 0.5] if i % 3 == 0 else i % 4))


def test_grey_and_a_transform_of_both_parts() -> None:
    photos = ImageRecordDataset(str(PHOTOS), flag=0, transform=lambda picture, label: (picture.shape, -label))
    assert photos[1] == ((63, 78, 1), -1.0)


def test_a_broken_picture_in_the_middle_of_an_epoch_names_its_record(tmp_path: Path) -> None:
    good = mx.recordio.pack((0, 1, 0, 0), jpeg(smooth_picture()))
    path = write_records(tmp_path / "photos.rec", good, good, good[:-200], good)
    for workers in ({}, {"num_workers": 1}):
        batches = iter(DataLoader(ImageRecordDataset(path), 1, **workers))  # type: ignore[arg-type]
        assert next(batches)[0].shape == next(batches)[0].shape == (1, 30, 41, 3)
        with pytest.raises(DataError, match=r"photos\.rec: record 2: a damaged JPEG"):
            next(batches)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"", "24 bytes of header, got 0"),
        (struct.pack("<IfQQ", 1 << 31, 0, 0, 0) + b"x" * 40, "announces 2147483648 labels"),
        (mx.recordio.pack((0, 1, 0, 0), b"<svg>"), "neither JPEG nor PNG: 5 bytes that begin with 3c 73 76 67 3e"),
        (mx.recordio.pack((0, LABELS["nan"], 0, 0), jpeg(smooth_picture())), "label is not a number: nan"),
        (mx.recordio.pack((0, np.inf, 0, 0), jpeg(smooth_picture())), "label is not a number: inf"),
        (mx.recordio.pack((0, LABELS["several with nan"], 0, 0), jpeg(smooth_picture())), "label is not a number"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, record: bytes, message: str) -> None:
    bad = ImageRecordDataset(write_records(tmp_path / "bad.rec", record))
    with pytest.raises(DataError, match=rf"bad\.rec: record 0: .*{message}"):
        bad[0]


def test_a_truncated_record_file_names_the_record(tmp_path: Path) -> None:
    path = tmp_path / "cut.rec"
    path.write_bytes(PHOTOS.read_bytes()[:10000])
    path.with_suffix(".idx").write_text(PHOTOS.with_suffix(".idx").read_text())
    cut = ImageRecordDataset(path)
    assert cut[3][0].shape == (69, 74, 3)
    with pytest.raises(DataError, match=r"cut\.rec: record 4 at byte 9148 is truncated"):
        cut[4]


def test_folders_are_classes(tmp_path: Path) -> None:
    for i, name in enumerate(("b/1.png", "a/2.PNG", "a/1.jpg")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3), (i, 0, 0)).save(path)
    folders = ImageFolderDataset(tmp_path)
    assert folders.synsets == ["a", "b"]
    assert [(Path(path).name, label) for path, label in folders.items] == [("1.jpg", 0), ("2.PNG", 0), ("1.png", 1)]
    picture, label = folders[1]
    assert (picture.shape, picture[0, 0].tolist(), label) == ((3, 4, 3), [1, 0, 0], 0)
    (tmp_path / "a" / "2.PNG").write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.PNG: neither JPEG nor PNG: 0 bytes"):
        folders[1]
    (tmp_path / "a" / "notes.txt").write_text("")
    with pytest.warns(UserWarning, match=r"Ignoring .*notes\.txt"):
        ImageFolderDataset(tmp_path)


def test_lists_have_labels_and_paths(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "x.png")
    (tmp_path / "all.lst").write_text("5\t1.5\tx.png\n\n7\t1\t2\tx.png\n")
    entries = [[1.5, "x.png"], [1, 2, "x.png"]], [[[1.5], "x.png"], [(1, 2), "x.png"]]
    for source in (tmp_path / "all.lst", "all.lst", *entries):
        listed = ImageListDataset(tmp_path, source)  # type: ignore[arg-type]
        assert [label.tolist() for _, label in listed] == [[1.5], [1, 2]]
        assert listed[0][0].shape == (3, 4, 3)
        assert listed[0][1].asnumpy().dtype == np.float32


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\tcat\tx.png", "'cat' is not a number"),
        ("1\tnan\tx.png", "'nan' is not a number"),
        ("one\t1\tx.png", "'one' is not a number"),
        ("x.png", "must be an index, labels and a path"),
        ("1\tx.png", "must be an index, labels and a path"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "bad.lst").write_text(f"0\t1\tx.png\n{line}\n")
    with pytest.raises(DataError, match=rf"bad\.lst: line 2.*{message}"):
        ImageListDataset(tmp_path, tmp_path / "bad.lst")
    with pytest.raises(DataError, match=r"entry 1 of imglist.*'cat' is not a number"):
        ImageListDataset(tmp_path, [[1, "x.png"], ["cat", "x.png"]])


# ---- what is published ---------------------------------------------------------------------------------


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    data = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
@pytest.mark.parametrize(("train", "part"), [(True, "train"), (False, "t10k")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read(tmp_path: Path, kind: Any, train: bool, part: str, suffix: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    write_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", pictures)
    write_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", np.arange(5, dtype=np.uint8))
    digits = kind(tmp_path, train=train)
    assert len(digits) == 5
    picture, label = digits[3]
    np.testing.assert_array_equal(picture.asnumpy()[:, :, 0], pictures[3])
    assert (label, label.dtype) == (3, np.int32)


def test_a_missing_file_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"put train-labels-idx1-ubyte\.gz there, from the MNIST .* as root"):
        MNIST(tmp_path)
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    for kind, wanted in (
        (CIFAR10, r"cifar10: put cifar-10-binary\.tar\.gz"),
        (CIFAR100, r"cifar100: put cifar-100-binary\.tar\.gz"),
        (FashionMNIST, r"fashion-mnist: put train-labels"),
    ):
        with pytest.raises(FileNotFoundError, match=wanted):
            kind()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "truncated: 1568 bytes are declared, 1567 are there"),
        (lambda data: b"\0\0\x0d\3" + data[4:], "no IDX file"),
        (lambda data: data[:4] + struct.pack(">III", 1 << 31, 28, 28) + data[16:], "2147483648"),
        (lambda data: data[:4] + struct.pack(">III", 2, 28, 27) + data[16:], "28 × 28"),
        (lambda data: b"", "no IDX file"),
        (lambda data: data[:4] + struct.pack(">I", 1) + data[8:], "1 images of train, 2 labels"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    pictures = tmp_path / "train-images-idx3-ubyte"
    write_idx(pictures, np.zeros((2, 28, 28), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(2, np.uint8))
    pictures.write_bytes(change(pictures.read_bytes()))
    with pytest.raises(DataError, match=message):
        MNIST(tmp_path)


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    write_idx(path, np.zeros(3000, np.uint8))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"ubyte\.gz: damaged or truncated"):
        MNIST(tmp_path)


def cifar_rows(count: int, labels: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).integers(0, 256, (count, labels + 3072), np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_10_is_read_from_its_files_or_its_archive(tmp_path: Path, packed: bool) -> None:
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    batches = [cifar_rows(count, 1) for count in range(1, 6)]
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, rows in zip(names, batches, strict=True):
        (folder / name).write_bytes(rows.tobytes())
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
            for name in reversed(names):
                tar.add(folder / name, f"cifar-10-batches-bin/{name}")
                (folder / name).unlink()
    photos = CIFAR10(tmp_path)
    assert len(photos) == 15
    rows = np.concatenate(batches)
    picture, label = photos[7]
    assert (picture.shape, label) == ((32, 32, 3), rows[7, 0])
    np.testing.assert_array_equal(picture.asnumpy(), rows[7, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
    assert not packed or not [*folder.iterdir()]  # nothing is unpacked
    with pytest.raises((DataError, FileNotFoundError), match=r"test_batch\.bin is not in it|put cifar"):
        CIFAR10(tmp_path, train=False)


@pytest.mark.parametrize("fine", [False, True])
def test_cifar_100_has_two_kinds_of_labels(tmp_path: Path, fine: bool) -> None:
    rows = cifar_rows(4, 2)
    (tmp_path / "test.bin").write_bytes(rows.tobytes())
    photos = CIFAR100(tmp_path, fine_label=fine, train=False)
    assert [label for _, label in photos] == rows[:, int(fine)].tolist()
    np.testing.assert_array_equal(photos[1][0].asnumpy()[:, :, 2], rows[1, -1024:].reshape(32, 32))
    (tmp_path / "test.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(DataError, match=r"test\.bin: truncated"):
        CIFAR100(tmp_path, train=False)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(b"x" * 5000)[:-20])
    with pytest.raises(DataError, match="damaged or truncated"):
        CIFAR10(tmp_path)


@pytest.mark.parametrize("name", ["../test_batch.bin", "/tmp/test_batch.bin", "a/../../test_batch.bin"])
def test_an_archive_with_a_path_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3073
        tar.addfile(member, io.BytesIO(bytes(3073)))
    with pytest.raises(DataError, match=f"gz: '{name}': a path outside the archive's own folder"):
        CIFAR10(tmp_path, train=False)
