"""Calling microkernels and loops directly, on memory whose surroundings are watched."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.library import KernelSpec, Library
from minidnn_kernels.isa import ISAS, Isa

Array = np.ndarray[Any, Any]

# Rows whose float32 code differs: the others differ in how they multiply integers.
FLOAT_ISAS = tuple({(isa.arch, isa.lanes): isa for isa in reversed(ISAS)}.values())[::-1]

# Bytes before and behind a watched array, and what they hold.
_GUARD = 512
_CANARY = 0xA5


class Machine:
    """The kernels of one ISA, to be called from Python."""

    def __init__(self, isa: Isa) -> None:
        self.isa = isa
        self.library = Library(isa, CodeCache(default_folder()))

    def call(self, spec: KernelSpec, *arguments: int | Array) -> None:
        """Call the microkernel of that spec; an array stands for its address, and lives until the call is over."""
        self.invoke(self.library.microkernel(spec), _numbers(arguments))

    def run_loop(self, name: str, row: Array, parts: int) -> None:
        """Run all parts of a step, the last one first: their order must not matter."""
        for part in reversed(range(parts)):
            self.invoke(self.library.loop(name), _numbers((row, part, parts, 0)))

    def invoke(self, function: int, numbers: Sequence[int]) -> None:
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(numbers))(function)(*numbers)


@dataclass(frozen=True)
class Integers:
    """A kind of integer tile: the machine that runs it, the type of A, and the dot if not the ISA's own."""

    machine: Machine
    data: str
    dot: str

    @property
    def isa(self) -> Isa:
        return self.machine.isa


def _numbers(arguments: tuple[int | Array, ...]) -> list[int]:
    return [a if isinstance(a, int) else address(a) for a in arguments]


# Owners of the memory whose addresses were taken, by their identity: arrays cannot be hashed.
_ADDRESSED: WeakValueDictionary[int, Array] = WeakValueDictionary()


def address(array: Array) -> int:
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    _ADDRESSED[id(owner)] = owner
    return int(array.ctypes.data)


def addressed() -> list[Array]:
    """The arrays that exist and whose addresses were taken, or those of views on them."""
    return list(_ADDRESSED.values())


def words(*values: int) -> Array:
    """A row of int64."""
    return np.array(values, np.int64)


class Watched:
    """An array in the middle of memory that nobody may write to."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.float32, fill: float = 0) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._memory = np.full(size + 2 * _GUARD, _CANARY, np.uint8)
        self.array: Array = self._memory[_GUARD : _GUARD + size].view(dtype).reshape(shape)
        self.array[...] = fill

    @property
    def address(self) -> int:
        return address(self.array)

    def assert_untouched_around(self) -> None:
        assert (self._memory[:_GUARD] == _CANARY).all(), "written before the array"
        assert (self._memory[-_GUARD:] == _CANARY).all(), "written behind the array"


def ulps(actual: Array, expected: Array) -> Array:
    """Distance of float32 numbers from float64 ones in units of the expected one's last float32 place.

    0 where both are NaN or the same infinity, infinite where only one is.
    """
    largest = np.finfo(np.float32).max
    finite = np.isfinite(actual) & np.isfinite(expected)
    size = np.minimum(np.abs(np.where(finite, expected, 1)), largest).astype(np.float32)
    distance = np.abs(np.where(finite, actual, 0).astype(np.float64) - np.where(finite, expected, 0))
    with np.errstate(over="ignore"):
        same = (actual == expected.astype(np.float32)) | (np.isnan(actual) & np.isnan(expected))
    return np.where(same, 0, np.where(finite, distance / np.spacing(size), np.inf))
