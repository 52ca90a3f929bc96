"""Data sets that worker processes can import, and pictures to test with."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.gluon.data import Dataset

PHOTOS = Path(__file__).parent.parent / "assets" / "records" / "photos.rec"


def smooth_picture(height: int = 30, width: int = 41, channels: int = 3) -> np.ndarray[Any, Any]:
    """uint8 without sharp edges, which JPEG keeps almost as they are."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [120 + 100 * np.sin(rows / (5 + c)) * np.cos(columns / (7 - c)) for c in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


class Numbers(Dataset):
    """Sample i is an array of `size` numbers i, and the label i."""

    def __init__(self, length: int = 10, size: int = 3) -> None:
        self._length, self._size = length, size

    def __getitem__(self, idx: int) -> Any:
        return np.full(self._size, idx, np.float32), idx

    def __len__(self) -> int:
        return self._length


class Ending(Numbers):
    """Sample 3 raises StopIteration, as ``next`` of something empty does."""

    def __getitem__(self, idx: int) -> Any:
        return next(iter(())) if idx == 3 else super().__getitem__(idx)


class MisfortuneError(Exception):
    def __init__(self, what: str, where: int) -> None:  # cannot be unpickled: two arguments, one message
        super().__init__(f"{what} at {where}")


class Troubled(Numbers):
    """`Numbers`, of which sample 5 does what its name says."""

    def __init__(self, trouble: str) -> None:
        super().__init__()
        self._trouble = trouble

    def __getitem__(self, idx: int) -> Any:
        if idx == 5:
            if self._trouble == "raise":
                raise LookupError("there is no five")
            if self._trouble == "raise what cannot be pickled":
                raise MisfortuneError("misfortune", idx)
            if self._trouble == "be killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._trouble == "exit":
                os._exit(3)
            if self._trouble == "hang":
                time.sleep(600)
            if self._trouble == "give what cannot be pickled":
                return super().__getitem__(idx)[0], lambda: None
        return super().__getitem__(idx)


class Unloadable(Numbers):
    """Can be pickled, but not loaded again."""

    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("a license is missing here")


class Random(Numbers):
    """Samples of two random numbers: minidnn's and NumPy's."""

    def __getitem__(self, idx: int) -> Any:
        return np.array([mx.random.generator().random(), np.random.random()])


class Process(Numbers):
    """Samples are the process they are read in, and the threads minidnn computes with there."""

    def __getitem__(self, idx: int) -> Any:
        return os.getpid(), mx.get_num_threads()


class Niceness(Numbers):
    """Samples are the niceness of the thread they are read in."""

    def __getitem__(self, idx: int) -> Any:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Computing(Numbers):
    """Samples that a compiled network computes, so that the runtime's threads live in the worker as well."""

    def __getitem__(self, idx: int) -> Any:
        net = mx.gluon.nn.HybridSequential()
        net.add(mx.gluon.nn.Dense(4, in_units=3))
        net.initialize(mx.init.One())
        net.hybridize()
        return net(mx.np.full((1, 3), idx))
