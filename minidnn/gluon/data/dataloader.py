"""`DataLoader`: batches of a data set, made beside the computation."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from minidnn.gluon.data._pools import Pool, ProcessPool, ThreadPool, UnsendableError, pack_for_workers
from minidnn.gluon.data._samples import make_batch
from minidnn.gluon.data.batchify import Stack
from minidnn.gluon.data.sampler import BatchSampler, RandomSampler, SequentialSampler

__all__ = ["DataLoader", "default_batchify_fn", "default_mp_batchify_fn"]


def default_batchify_fn(data: list[Any]) -> Any:
    """What a `DataLoader` does to a list of samples if it is told nothing else: `batchify.Stack`."""
    return Stack()(data)


# MXNet has one for worker processes; here batches travel from them without it.
default_mp_batchify_fn = default_batchify_fn


class DataLoader:
    """Batches of a data set; iterate over it once an epoch.

    A batch of tuples such as (image, label) is a list of arrays.

    Worker processes are fresh ones, not forked; they are started when the first batch is asked for, and stay for all
    epochs. They do not run the script, which needs no ``if __name__ == "__main__":``. A data set that cannot be sent to
    them, since it cannot be pickled or is made of the script's own classes and functions, is read by threads, with a
    warning. On Linux all workers have a niceness of 10, so that networks that compute beside them go first.
    Random transforms draw from seeds that ``mx.np.random.seed`` determines, whatever worker process a batch comes from.

    Args:
        dataset: anything with ``__getitem__`` and ``__len__``.
        batch_size: samples in a batch; not with `batch_sampler`.
        shuffle: read in a new random order each epoch; not with `sampler`.
        sampler: the order of the samples: an iterable of indices with a length.
        last_batch: ``keep`` (the default), ``discard`` or ``rollover``: what becomes of a last batch that is not full.
        batch_sampler: an iterable of lists of indices, instead of all the above.
        batchify_fn: makes a batch of a list of samples; by default `batchify.Stack`.
        num_workers: how many workers; 0: batches are made when they are asked for, by the caller.
        pin_memory, pin_device_id: accepted for MXNet's sake: there is no device to pin memory for.
        prefetch: batches made ahead; by default twice the workers.
        thread_pool: workers are threads and not processes.
        timeout: seconds to wait for a batch of a worker.
        try_nopython: accepted for MXNet's sake.

    Raises:
        ValueError: arguments do not fit together.
        MXNetError: (at a batch) a worker died, or took too long.

    An exception of the data set reaches the caller with the traceback of the worker it happened in.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        shuffle: bool = False,
        sampler: Any = None,
        last_batch: str | None = None,
        batch_sampler: Any = None,
        batchify_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        pin_device_id: int = 0,
        prefetch: int | None = None,
        thread_pool: bool = False,
        timeout: float = 120,
        try_nopython: bool | None = None,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}")
        if timeout <= 0:
            raise ValueError(f"timeout must be a positive number of seconds, got {timeout}")
        if prefetch is not None and prefetch < 0:
            raise ValueError(f"prefetch must not be negative, got {prefetch}")
        if batch_sampler is None:
            batch_sampler = _make_batch_sampler(dataset, batch_size, shuffle, sampler, last_batch)
        elif batch_size is not None or shuffle or sampler is not None or last_batch is not None:
            raise ValueError(
                "batch_size, shuffle, sampler and last_batch must not be specified if batch_sampler is specified"
            )
        self._dataset = dataset
        self._batch_sampler = batch_sampler
        self._batchify = Stack() if batchify_fn is None else batchify_fn
        self._num_workers, self._thread_pool = num_workers, thread_pool
        self._prefetch = max(1, 2 * num_workers if prefetch is None else prefetch)
        self._timeout = timeout
        self._pool: Pool | None = None

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        return len(self._batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if not self._num_workers:
            return (make_batch(self._dataset, self._batchify, indices) for indices in self._batch_sampler)
        return self._iterate(self._workers())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    def _workers(self) -> Pool:
        if self._pool is None or not self._pool.usable:
            self._pool = self._make_pool()
        return self._pool

    def _make_pool(self) -> Pool:
        if not self._thread_pool:
            try:
                return ProcessPool(pack_for_workers(self._dataset, self._batchify), self._num_workers)
            except UnsendableError as error:
                warnings.warn(
                    f"this DataLoader's workers are threads, since the data set cannot be sent to processes: {error}. "
                    "For processes, use classes and functions of a module; thread_pool=True asks for threads",
                    stacklevel=4,
                )
        return ThreadPool(self._dataset, self._batchify, self._num_workers)

    def _iterate(self, pool: Pool) -> Iterator[Any]:
        batches = iter(self._batch_sampler)
        pending: deque[int] = deque()
        try:
            pending.extend(map(pool.submit, itertools.islice(batches, self._prefetch)))
            while pending:
                batch = pool.result(pending[0], self._timeout)
                pending.popleft()
                pending.extend(map(pool.submit, itertools.islice(batches, 1)))
                yield batch
        finally:
            if pool.usable:
                for number in pending:
                    pool.discard(number)

    def close(self) -> None:
        """End the workers; the next epoch starts new ones. Otherwise they end with the loader."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self.close()


def _make_batch_sampler(
    dataset: Any, batch_size: int | None, shuffle: bool, sampler: Any, last_batch: str | None
) -> BatchSampler:
    if batch_size is None:
        raise ValueError("batch_size must be specified unless batch_sampler is specified")
    if sampler is None:
        sampler = RandomSampler(len(dataset)) if shuffle else SequentialSampler(len(dataset))
    elif shuffle:
        raise ValueError("shuffle must not be specified if sampler is specified")
    return BatchSampler(sampler, batch_size, last_batch or "keep")
