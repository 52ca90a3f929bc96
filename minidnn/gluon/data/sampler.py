"""Samplers: in which order a data set is read. They draw from the generator that ``mx.np.random.seed`` seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from minidnn import random

__all__ = [
    "BatchSampler",
    "FilterSampler",
    "IntervalSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SplitSampler",
]

_LAST_BATCH = ("keep", "discard", "rollover")


class Sampler:
    """An iterable of indices; of known length where the length of a `DataLoader` is asked for."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__()")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__()")


class SequentialSampler(Sampler):
    """`start`, ``start + 1``, ... : `length` indices."""

    def __init__(self, length: int, start: int = 0) -> None:
        self._indices = range(start, start + length)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class RandomSampler(Sampler):
    """The indices below `length` in a new random order each time."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __iter__(self) -> Iterator[int]:
        return map(int, random.generator().permutation(self._length))

    def __len__(self) -> int:
        return self._length


class FilterSampler(Sampler):
    """The indices of the samples for which `fn` is true; every sample is read once, when this is made."""

    def __init__(self, fn: Callable[[Any], Any], dataset: Any) -> None:
        self._indices = [i for i in range(len(dataset)) if fn(dataset[i])]

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class IntervalSampler(Sampler):
    """Every `interval`-th index below `length`: 0, 3, 6, ...

    Args:
        length, interval: positive; the interval is at most the length.
        rollover: go on with 1, 4, 7, ... until every index was visited.
    """

    def __init__(self, length: int, interval: int, rollover: bool = True) -> None:
        if not 0 < interval <= length:
            raise ValueError(f"an interval of 1 to {length}, the length, is wanted, got {interval}")
        self._length, self._interval, self._rollover = length, interval, rollover

    def __iter__(self) -> Iterator[int]:
        for start in range(self._interval if self._rollover else 1):
            yield from range(start, self._length, self._interval)

    def __len__(self) -> int:
        return self._length if self._rollover else -(-self._length // self._interval)


class SplitSampler(Sampler):
    """A random order of the indices in the `part_index`-th of `num_parts` equal parts; none has what is left over.

    Args:
        length: of the whole.
        num_parts, part_index: of the parts, and which.
        shuffle: otherwise in their order.
    """

    def __init__(self, length: int, num_parts: int = 1, part_index: int = 0, shuffle: bool = True) -> None:
        if not 0 <= part_index < num_parts:
            raise ValueError(f"part_index must be 0 to {num_parts - 1}, got {part_index}")
        size = length // num_parts
        self._indices = range(size * part_index, size * (part_index + 1))
        self._shuffle = shuffle

    def __iter__(self) -> Iterator[int]:
        if not self._shuffle:
            return iter(self._indices)
        return map(int, random.generator().permutation(self._indices))

    def __len__(self) -> int:
        return len(self._indices)


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of another sampler.

    Args:
        sampler: where the indices come from.
        batch_size: a positive integer.
        last_batch: what becomes of the indices that fill no batch: ``keep``: a smaller one; ``discard``: nothing;
            ``rollover``: they begin the next iteration.
    """

    def __init__(self, sampler: Any, batch_size: int, last_batch: str = "keep") -> None:
        if last_batch not in _LAST_BATCH:
            raise ValueError(f"last_batch must be one of 'keep', 'discard', or 'rollover', but got {last_batch!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._sampler, self._batch_size, self._last_batch = sampler, batch_size, last_batch
        self._left: list[Any] = []

    def __iter__(self) -> Iterator[list[Any]]:
        batch, self._left = self._left, []
        for index in self._sampler:
            batch.append(index)
            if len(batch) == self._batch_size:
                yield batch
                batch = []
        if batch and self._last_batch == "keep":
            yield batch
        elif self._last_batch == "rollover":
            self._left = batch

    def __len__(self) -> int:
        total = len(self._left) + len(self._sampler)
        return -(-total // self._batch_size) if self._last_batch == "keep" else total // self._batch_size
