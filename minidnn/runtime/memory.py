"""Memory of runs: blocks for outputs, and arenas for the temporaries inside a run.

Fresh memory costs a page fault every 4 KiB. So a block is used again once nobody holds it. All programs share the
blocks: a network that runs operator by operator keeps a few of each size, and not every operator's own. What was asked
for longest ago is given back first. Programs share arenas too: a run takes one and gives it back.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn.plan.layout import ALIGNMENT

__all__ = ["OUTPUTS", "Arena", "Arenas", "Blocks", "address_of", "size_class"]

Array = np.ndarray[Any, Any]


def _ask_for_address(array: Array) -> int:
    return int(array.ctypes.data)


def _choose_address_of() -> Callable[[Array], int]:
    """What tells where the elements of an array begin.

    `ndarray.ctypes` makes half a dozen objects for that, which takes as long as a small network. In memory an array
    begins with Python's own fields, and this address is the first of NumPy's (`PyArrayObject_fields`, whose order is
    part of its binary interface): it is read there, where an array shows that it is so.
    """
    word, begin = ctypes.c_size_t.from_address, object.__basicsize__

    def read_address(array: Array) -> int:
        return word(id(array) + begin).value

    if sys.implementation.name == "cpython":
        samples: list[Array] = [np.empty(3, np.uint8), np.empty((2, 3))[1:, ::-1], np.empty(())]
        if all(read_address(array) == _ask_for_address(array) for array in samples):
            return read_address
    return _ask_for_address


address_of = _choose_address_of()


def _count_sole_reference() -> int:
    """What `sys.getrefcount` says of an object that one local variable refers to: a matter of Python's version."""
    block = np.empty(0, np.uint8)
    return sys.getrefcount(block)


def size_class(size: int) -> int:
    """The size, rounded up to one of eight sizes in each power of two: what is about as large can use a block again."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


class Blocks:
    """Blocks of bytes by size. Safe to use from many threads, and after a fork: there are no locks.

    A block is free when only its list refers to it. One that is being looked at is out of the list, so no other
    thread looks at it; what several threads do at once to the dictionary is one operation each.

    Args:
        most_bytes: how much is kept at most, in use or not.
        most_blocks: how many of a size.
        most_sizes: how many sizes.
    """

    _FREE = _count_sole_reference()

    def __init__(self, most_bytes: int, most_blocks: int = 4, most_sizes: int = 256) -> None:
        self._most_bytes, self._most_blocks, self._most_sizes = most_bytes, most_blocks, most_sizes
        self._by_size: OrderedDict[int, list[Array]] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        return sum(size * len(blocks) for size, blocks in list(self._by_size.items()))

    def take(self, size: int) -> Array:
        """A block of `size` uninitialized bytes that nobody else holds; it is in use as long as it is referred to."""
        blocks = self._by_size.get(size)
        if blocks is None:
            blocks = self._by_size.setdefault(size, [])
        try:  # noqa: SIM105 # `contextlib.suppress` takes longer than all the rest
            self._by_size.move_to_end(size)
        except KeyError:
            pass
        for _ in range(len(blocks)):
            try:
                block = blocks.pop()
            except IndexError:
                break
            if sys.getrefcount(block) == self._FREE:
                blocks.append(block)  # the last one given is the first to be asked for: it may still be in cache
                return block
            blocks.insert(0, block)
        block = np.empty(size, np.uint8)
        if len(blocks) < self._most_blocks and (len(blocks) + 1) * size <= self._most_bytes:
            blocks.append(block)
            self._give_back()
        return block

    def _give_back(self) -> None:
        """Forget the sizes that were asked for longest ago, until no more is kept than may be."""
        while len(self._by_size) > self._most_sizes or self.kept_bytes > self._most_bytes:
            try:
                self._by_size.popitem(last=False)
            except KeyError:
                return


# Room that an arena gets which takes the place of a smaller one: as a multiple of its size, and at most so many bytes.
_GROWTH = 7
_MOST_ROOM = 1 << 30

# Where outputs of all programs lie.
OUTPUTS = Blocks(256 << 20)


class Arena:
    """Uninitialized bytes that begin on a multiple of `ALIGNMENT`, at `address`.

    Args:
        size: how many bytes are needed at least.
        room: how many more are reserved. Memory that nobody has written to takes none of the machine's, so room costs
            addresses only; without them the arena is as large as is needed.

    Attributes:
        size: how many bytes it has.
        used: how many of them runs have asked for.
    """

    __slots__ = ("address", "memory", "size", "used")

    def __init__(self, size: int, room: int = 0) -> None:
        memory = _reserve(size + room + ALIGNMENT)
        if memory is None:
            room, memory = 0, np.empty(size + ALIGNMENT, np.uint8)
        skip = -address_of(memory) % ALIGNMENT
        self.size, self.used = size + room, size
        self.memory = memory[skip : skip + self.size]
        self.address = address_of(self.memory)


def _reserve(size: int) -> Array | None:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        return None


class Arenas:
    """Arenas that no run is using. Safe to use from many threads, and after a fork: there are no locks.

    There come to be as many as there are runs at once, each as large as the largest program needs.

    Args:
        most_bytes: how much is kept at most.
    """

    def __init__(self, most_bytes: float = math.inf) -> None:
        self._most_bytes = most_bytes
        self._idle: list[Arena] = []

    @property
    def kept_bytes(self) -> int:
        """Bytes that no run is using now; what no run ever asked for is not counted."""
        return sum(arena.used for arena in list(self._idle))

    def take(self, size: int) -> Arena:
        """An arena of at least `size` bytes; one that is too small makes way for it.

        What makes way was too small for a further shape, and more of those may follow: the next arena has room to
        grow, so that a larger shape finds the pages that smaller ones have touched.
        """
        try:
            arena = self._idle.pop()
        except IndexError:
            return Arena(size)
        if arena.size >= size:
            arena.used = max(arena.used, size)
            return arena
        del arena
        return Arena(size, min(_GROWTH * size, _MOST_ROOM))

    def give_back(self, arena: Arena) -> None:
        """Keep an arena that nobody looks at any more for the next run."""
        others = [*self._idle]
        if arena.used + (sum(other.used for other in others) if others else 0) <= self._most_bytes:
            self._idle.append(arena)
