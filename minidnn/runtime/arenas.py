"""Memory for the temporaries of runs, shared by programs: a run takes a block and gives it back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.plan.layout import ALIGNMENT

__all__ = ["Arena", "Arenas"]


class Arena:
    """Uninitialized bytes that begin on a multiple of `ALIGNMENT`, at `address`."""

    __slots__ = ("address", "memory", "size")

    def __init__(self, size: int) -> None:
        memory: np.ndarray[Any, Any] = np.empty(size + ALIGNMENT, np.uint8)
        skip = -memory.ctypes.data % ALIGNMENT
        self.memory, self.size = memory[skip : skip + size], size
        self.address = int(self.memory.ctypes.data)


class Arenas:
    """Arenas that no run is using. Safe to use from many threads, and after a fork: there are no locks.

    There come to be as many as there are runs at once, each as large as the largest program needs.

    Args:
        most_bytes: how much is kept at most.
    """

    def __init__(self, most_bytes: float = math.inf) -> None:
        self._most_bytes = most_bytes
        self._idle: list[Arena] = []

    def take(self, size: int) -> Arena:
        """An arena of at least `size` bytes; one that is too small makes way for it."""
        try:
            arena = self._idle.pop()
        except IndexError:
            return Arena(size)
        if arena.size >= size:
            return arena
        del arena
        return Arena(size)

    def give_back(self, arena: Arena) -> None:
        """Keep an arena that nobody looks at any more for the next run."""
        others = [*self._idle]
        if arena.size + (sum(other.size for other in others) if others else 0) <= self._most_bytes:
            self._idle.append(arena)
