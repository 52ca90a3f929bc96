"""Tiles called in this process."""

from __future__ import annotations

import numpy as np
from microkernels import Machine, address
from tile_problem import Array, TileProblem

__all__ = ["NativeMemory", "solve"]

_FILL = 0xA5


class NativeMemory:
    """Arrays in this process."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []

    def put(self, array: Array) -> int:
        self._arrays.append(np.array(array, order="C"))
        return address(self._arrays[-1])

    def reserve(self, size: int) -> int:
        return self.put(np.full(size, _FILL, np.uint8))

    def read(self, where: int, size: int) -> bytes:
        (found,) = [array for array in self._arrays if address(array) == where]
        assert found.nbytes == size
        return found.tobytes()


def solve(machine: Machine, problem: TileProblem) -> None:
    """Run the tile on the problem and check what it leaves."""
    memory = NativeMemory()
    machine.call(problem.tile.spec, *problem.place(memory))
    problem.check(memory.read(*problem.target), _FILL)
