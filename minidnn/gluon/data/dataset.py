"""Data sets: what has a length and gives a sample for an index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minidnn.gluon.data.sampler import FilterSampler, Sampler, SequentialSampler
from minidnn.numpy.multiarray import ndarray
from minidnn.recordio import MXIndexedRecordIO

__all__ = ["ArrayDataset", "Dataset", "RecordFileDataset", "SimpleDataset"]


class Dataset:
    """A data set; a subclass has ``__getitem__`` and ``__len__``.

    A sample is anything; where it is a tuple, its parts are batched apart: ``(image, label)``.
    """

    def __getitem__(self, idx: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def filter(self, fn: Callable[[Any], Any]) -> Dataset:
        """The samples for which `fn` is true; every sample is read once at this call."""
        return _Selection(self, FilterSampler(fn, self))

    def shard(self, num_shards: int, index: int) -> Dataset:
        """The `index`-th of `num_shards` parts, whose sizes differ by at most one.

        Raises:
            ValueError: there is no such part.
        """
        if not 0 <= index < num_shards:
            raise ValueError(f"index must be 0 to {num_shards - 1}, got {index} of {num_shards} shards")
        size, larger = divmod(len(self), num_shards)
        start = size * index + min(index, larger)
        return _Selection(self, SequentialSampler(size + (index < larger), start))

    def take(self, count: int | None) -> Dataset:
        """The first `count` samples; all of them where that is None or more than there are.

        Raises:
            ValueError: `count` is negative.
        """
        if count is not None and count < 0:
            raise ValueError(f"count must not be negative, got {count}")
        return _Selection(self, SequentialSampler(len(self) if count is None else min(count, len(self))))

    def sample(self, sampler: Sampler) -> Dataset:
        """The samples at the indices of a sampler, which are drawn once at this call.

        Raises:
            TypeError: it is no `Sampler`.
        """
        if not isinstance(sampler, Sampler):
            raise TypeError(f"sampler must be a Sampler, got {type(sampler).__name__}")
        return _Selection(self, sampler)

    def transform(self, fn: Callable[..., Any], lazy: bool = True) -> Dataset:
        """Every sample through `fn`, which gets the parts of a tuple as arguments of their own.

        Args:
            fn: what changes a sample. Worker processes can have it only if it can be pickled: a block, a function of
                a module, no lambda.
            lazy: at every access; otherwise at once, and the results are kept.
        """
        transformed = _Transformed(self, fn)
        return transformed if lazy else SimpleDataset(list(transformed))

    def transform_first(self, fn: Callable[[Any], Any], lazy: bool = True) -> Dataset:
        """As `transform`, for the first part of each sample alone: the image and not the label."""
        return self.transform(_First(fn), lazy)


class _Selection(Dataset):
    def __init__(self, dataset: Dataset, sampler: Sampler) -> None:
        self._dataset, self._indices = dataset, tuple(sampler)

    def __getitem__(self, idx: int) -> Any:
        return self._dataset[self._indices[idx]]

    def __len__(self) -> int:
        return len(self._indices)


class _Transformed(Dataset):
    def __init__(self, dataset: Dataset, fn: Callable[..., Any]) -> None:
        self._dataset, self._fn = dataset, fn

    def __getitem__(self, idx: int) -> Any:
        sample = self._dataset[idx]
        return self._fn(*sample) if isinstance(sample, tuple) else self._fn(sample)

    def __len__(self) -> int:
        return len(self._dataset)


class _First:
    """A class and no closure, so that it can be pickled."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    def __call__(self, first: Any, *others: Any) -> Any:
        return (self._fn(first), *others) if others else self._fn(first)


class SimpleDataset(Dataset):
    """A list, or anything else with a length and items, as a data set."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data

    def __getitem__(self, idx: int) -> Any:
        return self._data[idx]

    def __len__(self) -> int:
        return len(self._data)


class ArrayDataset(Dataset):
    """Arrays or lists of one length, side by side: sample i is the tuple of their items i; of one array, its item i.

    The items of an array of one axis, such as labels, are NumPy's numbers.

    Args:
        args: arrays, lists, data sets.

    Raises:
        ValueError: there are none, or their lengths differ.
    """

    def __init__(self, *args: Any) -> None:
        if not args:
            raise ValueError("an ArrayDataset needs at least one array")
        lengths = [len(array) for array in args]
        if len(set(lengths)) > 1:
            raise ValueError(f"the arrays of an ArrayDataset must have one length, got {', '.join(map(str, lengths))}")
        self._length = lengths[0]
        self._data = [x.asnumpy() if isinstance(x, ndarray) and x.ndim == 1 else x for x in args]

    def __getitem__(self, idx: int) -> Any:
        return self._data[0][idx] if len(self._data) == 1 else tuple(array[idx] for array in self._data)

    def __len__(self) -> int:
        return self._length


class RecordFileDataset(Dataset):
    """The records of a file as bytes, found by the index beside it: ``train.rec`` by ``train.idx``.

    Args:
        filename: of the record file.

    Raises:
        FileNotFoundError: one of the two is missing.
        DataError: the index is damaged; at an access, the record is.
    """

    def __init__(self, filename: str | os.PathLike[str]) -> None:
        self.filename = os.fspath(filename)
        self.idx_file = str(Path(self.filename).with_suffix(".idx"))
        if Path(self.filename).is_file() and not Path(self.idx_file).is_file():
            raise FileNotFoundError(
                f"{self.idx_file}: the index of {self.filename} is missing; it is written together with the records, "
                "by 'minidnn im2rec' or by MXNet's tools"
            )
        self._record = MXIndexedRecordIO(self.idx_file, self.filename, "r")

    def __getitem__(self, idx: int) -> Any:
        return self._record.read_idx(self._record.keys[idx])

    def __len__(self) -> int:
        return len(self._record.keys)
