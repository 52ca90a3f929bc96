"""Who makes the batches: threads of this process, or processes of their own.

A pool takes lists of indices by `submit`, which gives a number, and hands the batch of a number out by `result`.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from minidnn import random
from minidnn.child_interpreter import has_interpreter
from minidnn.engine import start_threads
from minidnn.errors import MXNetError
from minidnn.gluon.data import _transport
from minidnn.gluon.data._samples import brief, make_batch
from minidnn.gluon.data._worker import Failure, lower_priority, start

__all__ = ["Pool", "ProcessPool", "ThreadPool", "UnsendableError", "pack_for_workers"]

_GRACE = 2.0  # seconds a worker has to end by itself


class Pool(ABC):
    """Makes batches beside the caller."""

    usable = True

    @abstractmethod
    def submit(self, indices: Sequence[Any]) -> int:
        """Have a batch made; its number."""

    @abstractmethod
    def result(self, number: int, timeout: float) -> Any:
        """The batch of a number, or its exception; either can be had once.

        Raises:
            MXNetError: it did not come within `timeout` seconds, or its worker died.
        """

    @abstractmethod
    def discard(self, number: int) -> None:
        """Nobody will ask for this batch, or for this batch again."""

    @abstractmethod
    def close(self) -> None:
        """End the workers."""


def _too_late(timeout: float, indices: Sequence[Any]) -> MXNetError:
    return MXNetError(
        f"no batch came from a worker within {timeout:g} s (samples {brief(indices)}); "
        "give DataLoader a larger timeout, or look at what the data set waits for"
    )


class ThreadPool(Pool):
    """Threads: no copies and no pickling; they run side by side as far as the data set lets go of the GIL."""

    def __init__(self, dataset: Any, batchify: Callable[[list[Any]], Any], workers: int) -> None:
        self._make = dataset, batchify
        # A data set that computes must not be the one to start them: they would give way as its workers do.
        start_threads()
        self._executor = ThreadPoolExecutor(workers, "minidnn-data", initializer=lower_priority)
        self._numbers = itertools.count()
        self._futures: dict[int, tuple[Future[Any], Sequence[Any]]] = {}

    def submit(self, indices: Sequence[Any]) -> int:
        number = next(self._numbers)
        self._futures[number] = self._executor.submit(make_batch, *self._make, indices), indices
        return number

    def result(self, number: int, timeout: float) -> Any:
        future, indices = self._futures.pop(number)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():
                raise
            raise _too_late(timeout, indices) from None

    def discard(self, number: int) -> None:
        if number in self._futures:
            self._futures.pop(number)[0].cancel()

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Worker:
    def __init__(self, process: subprocess.Popen[bytes], pipe: connection.Connection) -> None:
        self.process, self.pipe = process, pipe
        self.tasks: dict[int, Sequence[Any]] = {}  # that it has not answered yet

    def __str__(self) -> str:
        return f"worker process {self.process.pid}"


class UnsendableError(Exception):
    """What a data set is made of cannot be sent to a process that has not run the script; the message says why."""


def pack_for_workers(dataset: Any, batchify: Callable[[list[Any]], Any]) -> bytes:
    """What worker processes need, in bytes.

    Raises:
        UnsendableError: it cannot be pickled, or has classes or functions of the script itself; or there is no
            interpreter to start.
    """
    if not has_interpreter():
        raise UnsendableError("this program is not an interpreter that could be started again")
    try:
        packed = bytes(ForkingPickler.dumps((dataset, batchify)))
    except Exception as error:
        raise UnsendableError(str(error)) from error
    if b"__main__" in packed:
        raise UnsendableError("it has classes or functions of the script, which a process would have to run again")
    return packed


class ProcessPool(Pool):
    """Fresh processes, not forked: a fork would copy the runtime's threads as locks that nobody opens.

    Nor do they import the script, so it need not be written for that.

    Args:
        packed: what `pack_for_workers` made.
        workers: how many.
    """

    def __init__(self, packed: bytes, workers: int) -> None:
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._answers: dict[int, Any] = {}
        self._discarded: set[int] = set()
        self._folder = _transport.make_folder()
        self._workers: list[_Worker] = []
        # Ends the workers as well when the loader is collected or the interpreter ends.
        self._end = weakref.finalize(self, _end, self._workers, self._folder)
        try:
            for _ in range(workers):
                self._workers.append(_Worker(*start(self._folder)))
            for worker in self._workers:
                self._send(worker, packed)
        except BaseException:
            self.close()
            raise

    def submit(self, indices: Sequence[Any]) -> int:
        with self._lock:
            self._check_usable()
            number = next(self._numbers)
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            worker.tasks[number] = indices
            self._send(worker, (number, int(random.generator().integers(2**62)), list(indices)))
            return number

    def _check_usable(self) -> None:
        if not self.usable:
            raise MXNetError("the workers of this DataLoader have ended; iterate over it again to start others")

    def _send(self, worker: _Worker, message: Any) -> None:
        try:
            worker.pipe.send_bytes(message) if isinstance(message, bytes) else worker.pipe.send(message)
        except OSError:
            self._receive(worker)  # it may have said why
            raise self._died(worker) from None

    def result(self, number: int, timeout: float) -> Any:
        with self._lock:
            self._check_usable()
            deadline = time.monotonic() + timeout
            try:
                while number not in self._answers:
                    ready = connection.wait([w.pipe for w in self._workers], max(0.0, deadline - time.monotonic()))
                    if not ready:
                        raise _too_late(timeout, next(w.tasks[number] for w in self._workers if number in w.tasks))
                    for worker in self._workers:
                        if worker.pipe in ready:
                            self._receive(worker)
            except BaseException:
                self.close()  # a message may be half read: after Ctrl-C the pipes are of no use
                raise
            answer = self._answers.pop(number)
        if isinstance(answer, Failure):
            raise answer.exception(MXNetError)
        return _transport.unpack(answer)

    def _receive(self, worker: _Worker) -> None:
        try:
            number, answer = worker.pipe.recv()
        except (EOFError, OSError):
            raise self._died(worker) from None
        if number < 0:
            message = (
                f"{worker} could not load the data set: {answer.name}. It must be made of classes and functions of "
                "modules that a new process can import"
            )
            self.close()
            raise MXNetError(message) from answer.exception(MXNetError)
        del worker.tasks[number]
        if number not in self._discarded:
            self._answers[number] = answer
            return
        self._discarded.remove(number)
        _drop(answer)

    def _died(self, worker: _Worker) -> MXNetError:
        code = _ended(worker, _GRACE)
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        message = f"{worker} {how}"
        if worker.tasks:
            message += f" before it gave the batch of samples {brief(next(iter(worker.tasks.values())))}"
        if code == -signal.SIGKILL:
            message += "; the system does that when memory runs out"
        self.close()
        return MXNetError(message)

    def discard(self, number: int) -> None:
        with self._lock:
            if number in self._answers:
                _drop(self._answers.pop(number))
            elif any(number in worker.tasks for worker in self._workers):
                self._discarded.add(number)

    def close(self) -> None:
        self.usable = False
        self._end()


def _drop(answer: Any) -> None:
    if not isinstance(answer, Failure):
        _transport.unpack(answer)


def _ended(worker: _Worker, seconds: float) -> int | None:
    """The exit code of a worker that has so much time to end; None if it has not."""
    try:
        return worker.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(workers: list[_Worker], folder: str) -> None:
    for worker in workers:
        worker.pipe.close()  # which it takes as the end
    deadline = time.monotonic() + _GRACE
    for worker in workers:
        if _ended(worker, max(0.0, deadline - time.monotonic())) is None:
            worker.process.kill()
            worker.process.wait()
    shutil.rmtree(folder, ignore_errors=True)
