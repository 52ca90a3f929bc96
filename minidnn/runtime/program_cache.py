"""Programs of single operators, kept for the next call: those used last, within bounds of number and bytes."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from minidnn.runtime.counters import COUNTERS

if TYPE_CHECKING:
    from minidnn.runtime.executor import Executor

__all__ = ["Owner", "ProgramCache"]

_log = logging.getLogger(__name__)


class Owner:
    """Whose programs they are: they go with it."""

    __slots__ = ("__weakref__", "programs")

    def __init__(self) -> None:
        self.programs: dict[Hashable, _Entry] = {}


class _Entry:
    """A program, and when it was used last."""

    __slots__ = ("__weakref__", "executor", "key", "owner", "used")

    def __init__(self, owner: Owner, key: Hashable, executor: Executor) -> None:
        self.owner, self.key, self.executor = weakref.ref(owner), key, executor
        self.used = 0


class ProgramCache:
    """Keeps programs with their owners, and has the least recently used ones given up. Safe to use from many threads,
    and after a fork: there are no locks, what threads do at once to a dictionary is one operation each.

    Args:
        most: how many programs are kept.
        most_bytes: of the constants that are theirs alone: weights and what is shared belong to others.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most, self.most_bytes = most, most_bytes
        self._entries: dict[int, weakref.ref[_Entry]] = {}
        self._bytes = 0
        self._clock = itertools.count()

    def __len__(self) -> int:
        return len(self._alive())

    def find(self, owner: Owner, key: Hashable) -> Executor | None:
        """The program the owner has under that key."""
        entry = owner.programs.get(key)
        if entry is None:
            COUNTERS.program_misses.add()
            return None
        COUNTERS.program_hits.add()
        entry.used = next(self._clock)
        return entry.executor

    def keep(self, owner: Owner, key: Hashable, executor: Executor) -> None:
        """Have the owner keep a program, and others give up theirs if there are too many."""
        entry = _Entry(owner, key, executor)
        entry.used = number = next(self._clock)
        owner.programs[key] = entry
        self._entries[number] = weakref.ref(entry)
        self._bytes += sum(array.nbytes for array in executor.program.own_constants)
        if len(self._entries) > self.most or self._bytes > self.most_bytes:
            self._give_up()

    def _alive(self) -> dict[int, _Entry]:
        """The programs whose owners are there; the others are forgotten."""
        alive: dict[int, _Entry] = {}
        for number, reference in list(self._entries.items()):
            entry = reference()
            if entry is None:
                self._entries.pop(number, None)
            else:
                alive[number] = entry
        return alive

    def _give_up(self) -> None:
        """If there are too many, drop those used longest ago: a quarter, so that not every new one looks for them."""
        alive = sorted(self._alive().items(), key=lambda item: -item[1].used)
        sizes = list(itertools.accumulate(_count_bytes([entry for _, entry in alive])))
        self._bytes = sizes[-1] if sizes else 0
        if len(alive) <= self.most and self._bytes <= self.most_bytes:
            return
        # The newest one stays, however large it is.
        kept = max(1, min(self.most * 3 // 4, sum(size <= self.most_bytes * 3 // 4 for size in sizes)))
        self._bytes = sizes[kept - 1]
        for number, entry in alive[kept:]:
            self._entries.pop(number, None)
            owner = entry.owner()
            if owner is not None and owner.programs.get(entry.key) is entry:
                owner.programs.pop(entry.key, None)
        COUNTERS.evictions.add(len(alive) - kept)
        _log.info(
            "%d programs of single operators dropped, those used longest ago; %d, with tables of %d bytes, are left",
            *(len(alive) - kept, kept, self._bytes),
        )


def _count_bytes(entries: list[_Entry]) -> Iterator[int]:
    """The bytes of each program's own constants that are not also those of one before."""
    seen: set[int] = set()
    for entry in entries:
        own = {id(array): array.nbytes for array in entry.executor.program.own_constants}
        yield sum(size for name, size in own.items() if name not in seen)
        seen.update(own)
