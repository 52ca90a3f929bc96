"""Images and labels from a folder, a record file or an array file, read as they are needed."""

from __future__ import annotations

import io
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
import minidnn.recordio as recordio
from minidnn.cli.photos import prepare
from minidnn.errors import DataError
from minidnn.gluon.data import RecordFileDataset

__all__ = ["NamedBatches", "Preparation", "Samples", "SpreadBatches", "open_samples"]

_Array = np.ndarray[Any, Any]
_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_NUMBERS = "biuf"  # kinds of dtypes
_NPY, _ZIP = b"\x93NUMPY", b"PK"  # what the files begin with
_UNREADABLE = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Preparation:
    """How an image becomes the input of a network: see `minidnn.cli.photos.prepare`."""

    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Samples(ABC):
    """Samples by number, with labels ``(N,)``, int64, or without."""

    path: Path
    labels: _Array | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows: _Array) -> _Array:
        """The samples of these numbers as one batch, float32."""

    def check_classes(self, count: int) -> None:
        """Whether the labels are classes of a network with `count` of them.

        Raises:
            DataError: one is not; the message names it.
        """
        labels = np.empty(0, np.int64) if self.labels is None else self.labels
        wrong = np.flatnonzero((labels < 0) | (labels >= count))
        if wrong.size:
            raise DataError(
                f"{self.path}: the label of sample {wrong[0]} is {labels[wrong[0]]}; "
                f"the network has {count} classes, 0 to {count - 1}"
            )


class _Folder(Samples):
    """Images in one folder, or in a folder a class.

    Folders that are all named by whole numbers mean the classes of those numbers; otherwise the classes are the
    folders in the order of their names.
    """

    def __init__(self, path: Path, preparation: Preparation) -> None:
        self.path = path
        self._preparation = preparation
        self._images = _images(path)
        self._classes = () if self._images else tuple(sorted(p.name for p in _visible(path) if p.is_dir()))
        self._are_numbers = all(name.isascii() and name.isdecimal() for name in self._classes)
        if self._classes:
            labels: list[int] = []
            for i, name in enumerate(self._classes):
                images = _images(path / name)
                self._images += images
                labels += [int(name) if self._are_numbers else i] * len(images)
            self.labels = np.array(labels, np.int64)
        if not self._images:
            raise DataError(f"{path}: no images, neither in the folder nor in folders one level below")

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: _Array) -> _Array:
        return np.concatenate([_prepare(self._images[row], str(self._images[row]), self._preparation) for row in rows])

    def check_classes(self, count: int) -> None:
        if not self._are_numbers and len(self._classes) != count:
            raise DataError(
                f"{self.path}: {len(self._classes)} class folders for a network with {count} classes; where only some "
                "of the classes are there, name their folders by the numbers of the classes: 0, 1, ..."
            )
        super().check_classes(count)


class _Records(Samples):
    """A record file of MXNet's, as ``minidnn im2rec`` writes it, with its index beside it."""

    def __init__(self, path: Path, preparation: Preparation) -> None:
        self.path = path
        self._preparation = preparation
        self._records = RecordFileDataset(path)
        if not len(self._records):
            raise DataError(f"{path}: there are no records in it")
        # For the labels, the whole file is read once.
        self.labels = np.array([self._label(row) for row in range(len(self._records))], np.int64)

    def __len__(self) -> int:
        return len(self._records)

    def _label(self, row: int) -> int:
        label = np.asarray(self._unpack(row)[0])
        if label.size != 1 or not float(label.item()).is_integer():
            raise DataError(f"{self.path}: record {row}: a class number is wanted for a label, got {label}")
        return int(label.item())

    def _unpack(self, row: int) -> tuple[Any, bytes]:
        try:
            header, encoded = recordio.unpack(self._records[row])
        except DataError as error:
            raise DataError(f"{self.path}: record {row}: {error}") from None
        return header.label, encoded

    def read(self, rows: _Array) -> _Array:
        return np.concatenate(
            [
                _prepare(io.BytesIO(self._unpack(row)[1]), f"{self.path}: record {row}", self._preparation)
                for row in rows.tolist()
            ]
        )


def _prepare(image: Path | io.BytesIO, name: str, wanted: Preparation) -> _Array:
    """The image ``(1, 3, size, size)``; `name` is what an error calls it."""
    try:
        return prepare(image, wanted.size, wanted.mean, wanted.deviation)
    except ImportError as error:
        raise ImportError(f"{name}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{name}: the image cannot be read: {error}") from None


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in _visible(folder) if path.suffix.lower() in _SUFFIXES and path.is_file())


class _Arrays(Samples):
    """An array file: ``.npz`` with ``x`` and, where there are labels, ``y``, or ``.npy`` with what x would be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = _load(path)
        if "x" not in arrays:
            raise DataError(f"{path}: an array named x is wanted, and y for the labels; got {', '.join(arrays) or '-'}")
        x, y = arrays["x"], arrays.get("y")
        if x.dtype.kind not in _NUMBERS or x.ndim < 2 or not x.size:
            raise DataError(f"{path}: x is to be numbers (N, ...), got {x.dtype} {x.shape}")
        self._x = x
        if y is not None:
            if y.dtype.kind not in _NUMBERS or y.shape != x.shape[:1] or not np.array_equal(y, np.trunc(y)):
                raise DataError(
                    f"{path}: y is to be {len(x)} whole numbers, one for each sample of x, got {y.dtype} {y.shape}"
                )
            self.labels = y.astype(np.int64)

    def __len__(self) -> int:
        return len(self._x)

    def read(self, rows: _Array) -> _Array:
        return np.ascontiguousarray(self._x[rows], np.float32)


def _load(path: Path) -> Mapping[str, _Array]:
    try:
        # A file that is opened here is closed here; NumPy leaves one open that is no zip archive.
        with path.open("rb") as file:
            if not file.read(len(_NPY)).startswith((_NPY, _ZIP)):
                raise ValueError("it begins like neither")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except _UNREADABLE as error:
        raise DataError(f"{path}: not an array file (.npz or .npy) that can be read: {error}") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of a file inside that is no array
            raise DataError(f"{path}: {name!r} is no array")
    return arrays


def open_samples(path: Path, preparation: Preparation, labelled: bool) -> Samples:
    """Look what is at `path`: a folder of images, a record file or an array file.

    Args:
        path: a folder with images, or with a folder of images a class; a ``.rec`` file with its index beside it; an
            ``.npz`` file with arrays ``x`` and ``y``, or an ``.npy`` file with x alone.
        preparation: what to make of images; arrays are taken as they are.
        labelled: whether there must be labels.

    Raises:
        DataError: there are no samples, they cannot be read, or they have no labels though `labelled`.
        OSError: there is no such file.
    """
    samples: Samples
    if path.is_dir():
        samples = _Folder(path, preparation)
    elif path.suffix.lower() == ".rec":
        samples = _Records(path, preparation)
    else:
        samples = _Arrays(path)
    if labelled and samples.labels is None:
        wanted = "a folder of images for each class" if path.is_dir() else "an .npz file with labels y beside x"
        raise DataError(f"{path}: there are no labels; {wanted} is wanted")
    return samples


class SpreadBatches:
    """At most `count` full batches of samples spread evenly over all of them: what ranges are calibrated on.

    It can be iterated over any number of times and reads the samples again each time.

    Args:
        samples: where from.
        batch: samples in a batch; all there are where there are fewer.
        count: batches.
        labelled: whether a batch is a pair of samples and their labels.
    """

    def __init__(self, samples: Samples, batch: int, count: int, labelled: bool = False) -> None:
        self._samples = samples
        self._labels = samples.labels if labelled else None
        batch = min(batch, len(samples))
        count = min(count, len(samples) // batch)
        self._rows = np.linspace(0, len(samples) - 1, batch * count).round().astype(np.intp).reshape(count, batch)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        for rows in self._rows:
            data = mx.np.array(self._samples.read(rows))
            yield data if self._labels is None else (data, self._labels[rows])


class NamedBatches:
    """Batches of arrays by name from an ``.npz`` file, spread evenly over it.

    Args:
        path: the file: an array with samples along its first axis for each name.
        names: the names, with their dtypes.
        size: samples in a batch.
        count: batches at most.

    Raises:
        DataError: the file is damaged, an array is missing, or they have different numbers of samples.
    """

    def __init__(self, path: Path, names: Mapping[str, Any], size: int, count: int) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in names if name in file.files}
        except _UNREADABLE as error:
            raise DataError(f"{path}: not an .npz file: {error}") from None
        missing = [name for name in names if name not in found]
        if missing:
            raise DataError(f"{path}: an array for each input is wanted, {missing} are missing")
        counts = {len(array) if array.ndim else 0 for array in found.values()}
        if len(counts) != 1 or not max(counts):
            raise DataError(f"{path}: as many samples for each input are wanted, got {sorted(counts)}")
        self._arrays = {name: found[name].astype(dtype, copy=False) for name, dtype in names.items()}
        total = max(counts)
        size = min(size, total)
        last = total - size
        self._size = size
        steps = min(count, total // size)
        self._starts = [last * i // max(steps - 1, 1) for i in range(steps)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in self._starts:
            yield {
                name: mx.np.array(array[start : start + self._size], dtype=array.dtype)
                for name, array in self._arrays.items()
            }
