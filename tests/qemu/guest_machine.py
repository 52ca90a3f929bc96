"""Kernels of an ISA that this machine does not have, called from Python like its own: on copies of the arrays.

Kernels take addresses, and find more of them in the memory that these lead to. Before a call, the arrays that can be
reached are copied to the guest, every number in them that is an address of such an array is made the guest's address,
as a conservative garbage collector would find it; after it, what has changed comes back. Each array ends where the
guest's memory has a hole.
"""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from guest import Guest
from microkernels import Array, Machine, addressed

from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.library import Library
from minidnn_kernels.isa import Isa
from minidnn_kernels.loader import Loader

__all__ = ["GuestMachine"]

_PAGE = 4096
_WORD = 8


class _GuestLoader(Loader):
    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self._guest = guest

    def load(self, object_code: bytes, symbol: str) -> int:
        return self._guest.load(object_code, symbol)


class GuestMachine(Machine):
    def __init__(self, isa: Isa, guest: Guest) -> None:
        self.isa = isa
        self.library = Library(isa, CodeCache(default_folder()), _GuestLoader(guest))
        self._guest = guest
        self._places: dict[int, list[int]] = defaultdict(list)  # by size, those that were reserved

    def invoke(self, function: int, numbers: Sequence[int]) -> None:
        memory = _Memory()
        reached = memory.reach(numbers)
        taken: dict[int, int] = defaultdict(int)
        for region in reached:
            region.moved_to = self._place(region.size, taken)
        for region in reached:
            memory.translate(region.words)
            self._guest.write(region.moved_to, region.content.tobytes())
        arguments = np.array(numbers, np.int64)
        memory.translate(arguments)
        self._guest.call(function, *arguments.tolist())
        for region in reached:
            region.update(self._guest.read(region.moved_to, region.size))

    def _place(self, size: int, taken: dict[int, int]) -> int:
        """Where in the guest an array lies during this call: its end is that of a page."""
        # Powers of two, so that a few places are enough for arrays of all sizes.
        pages = 1 << (-(-size // _PAGE) - 1).bit_length() if size > _PAGE else 1
        places, number = self._places[pages], taken[pages]
        taken[pages] += 1
        if number == len(places):
            places.append(self._guest.reserve(pages * _PAGE))
        return places[number] + pages * _PAGE - size


class _Region:
    """The memory of an array of this process, and what a call is given of it."""

    def __init__(self, array: Array) -> None:
        self._array = array  # must not go while its memory is read
        self.begin, self.end = np.lib.array_utils.byte_bounds(array)
        self.size = self.end - self.begin
        self.moved_to = 0

    @cached_property
    def content(self) -> Array:
        """A copy, in which addresses become the guest's."""
        return np.frombuffer(ctypes.string_at(self.begin, self.size), np.uint8).copy()

    @property
    def words(self) -> Array:
        """The aligned int64 of it."""
        return _words(self.content, self.begin)

    def update(self, after: bytes) -> None:
        """Write what a call has left, but for words that it has not changed: these may be addresses."""
        made = np.frombuffer(after, np.uint8).copy()
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * self.size).from_address(self.begin))
        given, own = _words(made, self.begin), _words(memory, self.begin)
        same = given == self.words
        given[same] = own[same]
        changed = memory != made
        memory[changed] = made[changed]


def _words(content: Array, begin: int) -> Array:
    """The aligned int64 of bytes that began there."""
    skip = -begin % _WORD
    count = max(len(content) - skip, 0) // _WORD
    return content[skip : skip + count * _WORD].view(np.int64)


class _Memory:
    """All arrays of this process whose addresses were taken."""

    def __init__(self) -> None:
        regions = [_Region(array) for array in addressed() if array.size]
        self._regions = sorted(regions, key=lambda region: region.begin)
        self._begins = np.array([region.begin for region in self._regions], np.int64)
        self._ends = np.array([region.end for region in self._regions], np.int64)

    def reach(self, numbers: Sequence[int]) -> list[_Region]:
        """Those that these numbers lead to, and what is found in them, and so on."""
        found: dict[int, _Region] = {}
        left = [np.array(numbers, np.int64)]
        while left:
            for index in np.unique(self._find(left.pop())[1]).tolist():
                if index not in found:
                    found[index] = self._regions[index]
                    left.append(found[index].words)
        return list(found.values())

    def translate(self, words: Array) -> None:
        """Make every int64 that is an address of this process the guest's."""
        places, indices = self._find(words)
        if len(places):
            moves = np.array([region.moved_to - region.begin for region in self._regions], np.int64)
            words[places] += moves[indices]

    def _find(self, words: Array) -> tuple[Array, Array]:
        """Which of these are addresses, and of which region; just behind its end counts."""
        if not self._regions:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = np.flatnonzero((words >= self._begins[0]) & (words <= self._ends.max()))
        indices = np.searchsorted(self._begins, words[places], "right") - 1
        inside = words[places] <= self._ends[indices]
        return places[inside], indices[inside]
