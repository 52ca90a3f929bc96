"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, from the files their authors publish.

Nothing is downloaded: a missing file is an error that says what to put where.
"""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from minidnn import settings
from minidnn.errors import DataError
from minidnn.gluon.data.dataset import Dataset
from minidnn.numpy.multiarray import ndarray

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "FashionMNIST"]

_Transform = Callable[[Any, Any], Any]
_Bytes = np.ndarray[Any, Any]
_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError)
_MOST = 1 << 20  # samples of MNIST: far more than there are, and no memory's end
_LARGEST = 1 << 29  # bytes of a file of CIFAR, in an archive or not
_MOST_MEMBERS = 1000  # of an archive


class _PublishedDataset(Dataset):
    """Images and labels held in memory.

    A sample is an image, ``(H, W, C)`` uint8, and its label, an int32.
    """

    _folder: ClassVar[str]

    def __init__(
        self, root: str | os.PathLike[str] | None = None, train: bool = True, transform: _Transform | None = None
    ) -> None:
        home = settings.home_folder(settings.MXNET_HOME, ".mxnet")
        self._root = home / "datasets" / self._folder if root is None else settings.expand_user(root)
        self._train, self._transform = train, transform
        self._data, self._label = self._read()

    def _read(self) -> tuple[_Bytes, _Bytes]:
        raise NotImplementedError

    def __getitem__(self, idx: int) -> Any:
        picture, label = ndarray._wrap(self._data[idx]), self._label[idx]
        return (picture, label) if self._transform is None else self._transform(picture, label)

    def __len__(self) -> int:
        return len(self._label)

    def _missing(self, wanted: str, source: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"{type(self).__name__} is not in {self._root}: put {wanted} there, from {source}, "
            "or give the folder that has it as root"
        )


class MNIST(_PublishedDataset):
    """Handwritten digits, 28 × 28 × 1: 60000 to train, 10000 to test.

    The files are ``train-images-idx3-ubyte.gz``, ``train-labels-idx1-ubyte.gz``, and the same with ``t10k``; without
    ``.gz`` they may be unpacked. Their format (IDX) is described on the page they come from.

    Args:
        root: the folder; by default ``datasets/mnist`` in ``$MXNET_HOME`` or ``~/.mxnet``.
        train: the part to train with; otherwise the one to test with.
        transform: called with image and label.

    Raises:
        FileNotFoundError: a file is missing; the message says what to put where.
        DataError: a file is damaged or truncated.
    """

    _folder = "mnist"
    _source = "the MNIST database of handwritten digits (LeCun, Cortes and Burges)"

    def _read(self) -> tuple[_Bytes, _Bytes]:
        part = "train" if self._train else "t10k"
        labels = self._read_idx(f"{part}-labels-idx1-ubyte", 1)
        pictures = self._read_idx(f"{part}-images-idx3-ubyte", 3)
        if len(labels) != len(pictures):
            raise DataError(f"{self._root}: {len(pictures)} images of {part}, {len(labels)} labels")
        return pictures[..., None], labels.astype(np.int32)

    def _read_idx(self, name: str, rank: int) -> _Bytes:
        path = next((p for p in (self._root / f"{name}.gz", self._root / name) if p.is_file()), None)
        if path is None:
            raise self._missing(f"{name}.gz", self._source)
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                start = file.read(4 + 4 * rank)
                if len(start) < 4 + 4 * rank or start[:4] != bytes((0, 0, 8, rank)):
                    raise DataError(f"{path}: no IDX file of bytes in {rank} dimensions: begins {start[:4].hex(' ')}")
                shape = struct.unpack(f">{rank}I", start[4:])
                if shape[0] > _MOST or shape[1:] not in ((), (28, 28)):
                    raise DataError(f"{path}: {shape[0]} images of 28 × 28 are no {shape}")
                size = int(np.prod(shape, dtype=np.int64))
                data = file.read(size)
        except _DAMAGED as error:
            raise DataError(f"{path}: damaged or truncated: {error}") from None
        if len(data) != size:
            raise DataError(f"{path}: truncated: {size} bytes are declared, {len(data)} are there")
        return np.frombuffer(data, np.uint8).reshape(shape)


class FashionMNIST(MNIST):
    """Images of ten kinds of clothes, in the format of `MNIST`, by default in ``datasets/fashion-mnist``."""

    _folder = "fashion-mnist"
    _source = "zalandoresearch/fashion-mnist"


def _name(archive: Path, member: tarfile.TarInfo) -> str:
    """The last part of a member's path. Nothing is unpacked, but who made a path that leads elsewhere meant no good."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{archive}: {member.name!a}: a path outside the archive's own folder")
    return path.name


def _members(archive: Path, tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """The files of an archive by the last part of their paths; it is read no further than its first bad member.

    Raises:
        DataError: there are too many of them, or one is too large, has a bad path, or the name of another one.
    """
    members: dict[str, tarfile.TarInfo] = {}
    for number, member in enumerate(tar):
        name = _name(archive, member)
        if member.size > _LARGEST:
            raise DataError(f"{archive}: {name} has {member.size} bytes; more than {_LARGEST} are refused")
        if number == _MOST_MEMBERS:
            raise DataError(f"{archive}: more than {_MOST_MEMBERS} members are refused")
        if not member.isfile():
            continue
        if name in members:
            raise DataError(f"{archive}: duplicate member {name}")
        members[name] = member
    return members


class CIFAR10(_PublishedDataset):
    """Photos of ten kinds of things, 32 × 32 × 3: 50000 to train, 10000 to test.

    The folder has ``cifar-10-binary.tar.gz``, which is read as it is, or what is in it: ``data_batch_1.bin`` to
    ``data_batch_5.bin`` and ``test_batch.bin``, there or in ``cifar-10-batches-bin``.

    Args:
        root: the folder; by default ``datasets/cifar10`` in ``$MXNET_HOME`` or ``~/.mxnet``.
        train: the part to train with; otherwise the one to test with.
        transform: called with image and label.

    Raises:
        FileNotFoundError: the files are missing; the message says what to put where.
        DataError: a file is damaged or truncated.
    """

    _folder = "cifar10"
    _archive = "cifar-10-binary.tar.gz"
    _unpacked = "cifar-10-batches-bin"
    _files: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        False: ("test_batch.bin",),
    }
    _labels = 1  # bytes of them before an image
    _label_at = 0

    def _read(self) -> tuple[_Bytes, _Bytes]:
        rows = np.concatenate([self._rows(name, data) for name, data in self._contents()])
        pictures = rows[:, self._labels :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pictures), rows[:, self._label_at].astype(np.int32)

    def _rows(self, name: str, data: bytes) -> _Bytes:
        size = self._labels + 3 * 32 * 32
        if not data or len(data) % size:
            raise DataError(f"{self._root}: {name}: truncated: {len(data)} bytes are not a multiple of {size}")
        return np.frombuffer(data, np.uint8).reshape(-1, size)

    def _bytes(self, path: Path) -> bytes:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise DataError(f"{path}: more than {_LARGEST} bytes are refused")
        return data

    def _contents(self) -> list[tuple[str, bytes]]:
        names = self._files[self._train]
        for folder in (self._root, self._root / self._unpacked):
            paths = [folder / name for name in names]
            if all(path.is_file() for path in paths):
                return [(path.name, self._bytes(path)) for path in paths]
        archive = self._root / self._archive
        if not archive.is_file():
            raise self._missing(self._archive, "the CIFAR page of Alex Krizhevsky")
        try:
            with tarfile.open(archive) as tar:
                members = _members(archive, tar)
                lacking = [name for name in names if name not in members]
                if lacking:
                    raise DataError(f"{archive}: {', '.join(lacking)} is not in it")
                files = [(name, tar.extractfile(members[name])) for name in names]
                return [(name, file.read()) for name, file in files if file is not None]
        except _DAMAGED as error:
            raise DataError(f"{archive}: damaged or truncated: {error}") from None


class CIFAR100(CIFAR10):
    """Photos of a hundred kinds of things in twenty groups, 32 × 32 × 3: 50000 to train, 10000 to test.

    The folder has ``cifar-100-binary.tar.gz``, or ``train.bin`` and ``test.bin``, there or in ``cifar-100-binary``.

    Args:
        root: the folder; by default ``datasets/cifar100`` in ``$MXNET_HOME`` or ``~/.mxnet``.
        fine_label: labels are of the hundred kinds; otherwise of the twenty groups.
        train, transform: as for `CIFAR10`.
    """

    _folder = "cifar100"
    _archive = "cifar-100-binary.tar.gz"
    _unpacked = "cifar-100-binary"
    _files: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train.bin",), False: ("test.bin",)}
    _labels = 2

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        fine_label: bool = False,
        train: bool = True,
        transform: _Transform | None = None,
    ) -> None:
        self._label_at = int(fine_label)
        super().__init__(root, train, transform)
