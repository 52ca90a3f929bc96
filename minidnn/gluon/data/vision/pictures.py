"""Images and labels from a record file, from folders, or from a list."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minidnn.image as image
import minidnn.recordio as recordio
from minidnn import settings
from minidnn.errors import DataError
from minidnn.gluon.data.dataset import Dataset, RecordFileDataset
from minidnn.numpy.multiarray import ndarray

__all__ = ["ImageFolderDataset", "ImageListDataset", "ImageRecordDataset", "list_folder", "read_list"]

_Transform = Callable[[Any, Any], Any]
_MAX_LINE = 1 << 20  # characters of a list: a path, and hundreds of thousands of labels
EXTENSIONS = (".jpg", ".jpeg", ".png")


class ImageRecordDataset(RecordFileDataset):
    """The images of a record file, as MXNet and ``minidnn im2rec`` write them, with the index beside it.

    A sample is the image, ``(H, W, 3)`` uint8, and its label: a float, or an array of float32 where it has several.

    Args:
        filename: of the record file.
        flag: 1: red, green, blue; 0: grey, ``(H, W, 1)``.
        transform: called with image and label; the sample is what it returns.

    Raises:
        FileNotFoundError: the file or its index is missing.
        DataError: the index is damaged. At an access: the record is, or its image, or its label is NaN or infinite;
            the message names the file and the record.
    """

    def __init__(self, filename: str | os.PathLike[str], flag: int = 1, transform: _Transform | None = None) -> None:
        super().__init__(filename)
        self._flag, self._transform = flag, transform

    def __getitem__(self, idx: int) -> Any:
        record = super().__getitem__(idx)
        try:
            header, encoded = recordio.unpack(record)
            if not np.isfinite(header.label).all():
                raise DataError(f"its label is not a number: {header.label}")
            picture = image.imdecode(encoded, self._flag)
        except DataError as error:
            raise DataError(f"{self.filename}: record {self._record.keys[idx]!r}: {error}") from None
        return (picture, header.label) if self._transform is None else self._transform(picture, header.label)


class _FileDataset(Dataset):
    """Images in files of their own: `items` holds their paths and labels."""

    items: list[tuple[str, Any]]
    _flag: int
    _transform: _Transform | None = None

    def __getitem__(self, idx: int) -> Any:
        path, label = self.items[idx]
        picture = image.imread(path, self._flag)
        return (picture, label) if self._transform is None else self._transform(picture, label)

    def __len__(self) -> int:
        return len(self.items)


class ImageFolderDataset(_FileDataset):
    """A folder for each class, with its JPEG and PNG files: ``root/cat/1.jpg``; what is something else is left out
    with a warning.

    Args:
        root: path of the folders.
        flag: 1: red, green, blue; 0: grey.
        transform: called with image and label.

    Attributes:
        synsets: the folders' names in order; a label is a place in this list.
        items: the path and label of every image.
    """

    def __init__(self, root: str | os.PathLike[str], flag: int = 1, transform: _Transform | None = None) -> None:
        self._flag, self._transform = flag, transform
        self.synsets, self.items = list_folder(settings.expand_user(root))


def list_folder(root: Path) -> tuple[list[str], list[tuple[str, Any]]]:
    """The names of the classes, and the path and label of every image, of a folder of folders."""
    synsets: list[str] = []
    items: list[tuple[str, Any]] = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir():
            warnings.warn(f"Ignoring {folder}, which is not a directory.", stacklevel=3)
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in EXTENSIONS:
                items.append((str(path), len(synsets)))
            else:
                warnings.warn(f"Ignoring {path}: only {', '.join(EXTENSIONS)} are read.", stacklevel=3)
        synsets.append(folder.name)
    return synsets, items


class ImageListDataset(_FileDataset):
    """Images from a list of labels and paths.

    Args:
        root: what the paths are relative to.
        imglist: path of a ``.lst`` file, relative to `root` or to the working directory, with lines of an index, one
            or more labels and a path, with tabs between; or a list with ``[label, path]`` or
            ``[label, label, ..., path]`` or ``[[labels], path]`` for each image.
        flag: 1: red, green, blue; 0: grey.

    A sample is the image and an array of its labels, float32.

    Raises:
        DataError: a line is something else, or a label is not a number; the message names the line.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = ".",
        imglist: str | os.PathLike[str] | Sequence[Sequence[Any]] | None = None,
        flag: int = 1,
    ) -> None:
        if imglist is None:
            raise ValueError("imglist must be the path of a .lst file, or a list")
        self._flag = flag
        folder = settings.expand_user(root)
        if isinstance(imglist, (str, os.PathLike)):
            listing = folder / imglist
            entries = [(labels, path) for _, labels, path in read_list(listing if listing.exists() else Path(imglist))]
        else:
            entries = [_entry(number, [*entry]) for number, entry in enumerate(imglist)]
        self.items = [(str(folder / path), ndarray._wrap(np.array(labels, np.float32))) for labels, path in entries]


def _entry(number: int, entry: list[Any]) -> tuple[list[float], str]:
    if len(entry) < 2:
        raise DataError(f"entry {number} of imglist must be labels and a path, got {entry!r}")
    *labels, path = entry
    if len(labels) == 1 and isinstance(labels[0], (list, tuple, np.ndarray)):
        labels = [*labels[0]]
    return _numbers(labels, f"entry {number} of imglist"), os.fspath(path)


def read_list(path: Path) -> list[tuple[int, list[float], str]]:
    """Index, labels and path of each line of a ``.lst`` file.

    Raises:
        DataError: a line is something else.
    """
    entries = []
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(iter(partial(lines.readline, _MAX_LINE), ""), 1):
            if not line.strip():
                continue
            where = f"{path}: line {number}"
            if len(line) == _MAX_LINE:
                raise DataError(f"{where} has {_MAX_LINE} characters or more")
            index, *labels, name = line.rstrip("\r\n").split("\t") if line.count("\t") > 1 else ["", ""]
            if not name or not labels:
                raise DataError(f"{where} must be an index, labels and a path with tabs between, got {line[:80]!r}")
            [key] = _numbers([index], where)
            entries.append((int(key), _numbers(labels, where), name))
    return entries


def _numbers(texts: Sequence[Any], where: str) -> list[float]:
    numbers = []
    for text in texts:
        try:
            number = float(text)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"{where}: {text!r} is not a number")
        numbers.append(number)
    return numbers
