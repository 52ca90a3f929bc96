"""Programs that are kept for the next call: those used last, within bounds of number and bytes."""

from __future__ import annotations

import itertools
import logging
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, Protocol, TypeVar

from minidnn.plan.program import Program
from minidnn.runtime.counters import COUNTERS

__all__ = ["Owner", "ProgramCache"]

_log = logging.getLogger(__name__)


class Runnable(Protocol):
    """What is kept: something that runs a program."""

    @property
    def program(self) -> Program: ...


Kept = TypeVar("Kept", bound=Runnable)


class Owner(Generic[Kept]):
    """Whose programs they are: they go with it."""

    __slots__ = ("__weakref__", "programs")

    def __init__(self) -> None:
        self.programs: dict[Hashable, _Entry[Kept]] = {}


class _Entry(Generic[Kept]):
    """A program, and when it was used last."""

    __slots__ = ("__weakref__", "executor", "key", "owner", "used")

    def __init__(self, owner: Owner[Kept], key: Hashable, executor: Kept) -> None:
        self.owner, self.key, self.executor = weakref.ref(owner), key, executor
        self.used = 0


class ProgramCache(Generic[Kept]):
    """Keeps programs with their owners, and has the least recently used ones given up. Safe to use from many threads,
    and after a fork: there are no locks, what threads do at once to a dictionary is one operation each.

    Args:
        most: how many programs are kept.
        most_bytes: of their tables and the constants that are theirs alone: weights and what is shared belong to
            others. A function is asked each time.
        what: what they are, for the log.
    """

    def __init__(
        self, most: int, most_bytes: int | Callable[[], int], what: str = "programs of single operators"
    ) -> None:
        self.most, self._most_bytes, self._what = most, most_bytes, what
        self._entries: dict[int, weakref.ref[_Entry[Kept]]] = {}
        self._bytes = 0
        self._clock = itertools.count()

    @property
    def most_bytes(self) -> int:
        return self._most_bytes() if callable(self._most_bytes) else self._most_bytes

    def __len__(self) -> int:
        return len(self._alive())

    def find(self, owner: Owner[Kept], key: Hashable) -> Kept | None:
        """The program the owner has under that key."""
        entry = owner.programs.get(key)
        if entry is None:
            return None
        entry.used = next(self._clock)
        return entry.executor

    def keep(self, owner: Owner[Kept], key: Hashable, executor: Kept) -> None:
        """Have the owner keep a program, and others give up theirs if there are too many."""
        entry = _Entry(owner, key, executor)
        entry.used = number = next(self._clock)
        owner.programs[key] = entry
        self._entries[number] = weakref.ref(entry)
        self._bytes += executor.program.table_bytes + sum(a.nbytes for a in executor.program.own_constants)
        if len(self._entries) > self.most or self._bytes > self.most_bytes:
            self._give_up()

    def _alive(self) -> dict[int, _Entry[Kept]]:
        """The programs whose owners are there; the others are forgotten."""
        alive: dict[int, _Entry[Kept]] = {}
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
            "%d %s dropped, those used longest ago; %d, with tables of %d bytes, are left",
            *(len(alive) - kept, self._what, kept, self._bytes),
        )


def _count_bytes(entries: list[_Entry[Kept]]) -> Iterator[int]:
    """The bytes of each program: its tables, and its own constants that are not also those of one before."""
    seen: set[int] = set()
    for entry in entries:
        own = {id(array): array.nbytes for array in entry.executor.program.own_constants}
        yield entry.executor.program.table_bytes + sum(size for name, size in own.items() if name not in seen)
        seen.update(own)
