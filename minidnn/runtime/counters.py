"""What the process has compiled and keeps: counters that any thread adds to, and `stats`, which reads them."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from minidnn.plan.program import Program
from minidnn.runtime.memory import OUTPUTS, Arenas
from minidnn.untrusted import html_table, printable

__all__ = ["COUNTERS", "Counter", "Counters", "Stats", "Tally", "note_program", "stats"]


class Counter:
    """A number that any thread adds to: each thread adds to one of its own, so nothing is lost without a lock.

    A thread that takes the identity of one that has ended goes on from its number.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, float] = {}

    def add(self, amount: float = 1) -> None:
        thread = threading.get_ident()
        self._by_thread[thread] = self._by_thread.get(thread, 0) + amount

    @property
    def total(self) -> float:
        return sum(list(self._by_thread.values()))


class Tally:
    """A number to which any thread adds one by calling `add`, and no line of Python: calls of small networks count."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add = self._count.__next__

    @property
    def total(self) -> int:
        return int(repr(self._count).strip("count()"))  # to ask for the next number would be to count


class Counters:
    """All that is counted; see the fields of `Stats`."""

    def __init__(self) -> None:
        self.program_hits = Tally()
        self.program_misses = Counter()
        self.evictions = Counter()
        self.kernels_compiled = Counter()
        self.kernels_from_cache = Counter()
        self.code_bytes = Counter()
        self.compile_seconds = Counter()
        self.numpy_steps: dict[str, Counter] = {}

    def count_numpy(self, operator: str) -> None:
        """An operator has run as its NumPy reference."""
        counter = self.numpy_steps.get(operator)
        (self.numpy_steps.setdefault(operator, Counter()) if counter is None else counter).add()


COUNTERS = Counters()


class Holder(Protocol):
    """What keeps a program; see `minidnn.runtime.executor.Executor`."""

    arenas: Arenas

    @property
    def program(self) -> Program: ...

    @property
    def is_operator(self) -> bool: ...


_numbers = itertools.count()
_holders: dict[int, weakref.ref[Any]] = {}


def note_program(holder: Holder) -> None:
    """Count the program of `holder` as long as that is there."""
    number, forget = next(_numbers), _holders.pop
    _holders[number] = weakref.ref(holder, lambda _: forget(number, None))


@dataclass(frozen=True)
class Stats:
    """What the process has compiled and keeps, at one moment.

    Args:
        programs: of networks and graphs that are there, one for each signature of inputs.
        operator_programs: of single operators, which run eagerly, that are there.
        weight_bytes: of what programs read beside their inputs (packed weights, tables, parameters as they are);
            what several share counts once.
        arena_bytes: of memory for temporaries that no run is using now.
        output_bytes: of memory for outputs that is kept to be used again.
        code_bytes: of object code that is loaded.
        program_hits: calls that found their program.
        program_misses: calls that had to compile one, or the graph of one.
        evictions: programs that were dropped to keep within the bounds.
        kernels_compiled: kernels that this process has compiled.
        kernels_from_cache: kernels that came from the cache on disk.
        compile_seconds: spent on choosing, compiling and loading, passes over the graph left out.
        numpy_steps: how often each operator ran as its NumPy reference, for want of a kernel.
    """

    programs: int
    operator_programs: int
    weight_bytes: int
    arena_bytes: int
    output_bytes: int
    code_bytes: int
    program_hits: int
    program_misses: int
    evictions: int
    kernels_compiled: int
    kernels_from_cache: int
    compile_seconds: float
    numpy_steps: Mapping[str, int]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as texts."""
        return [(field.name.replace("_", " "), _text(field.name, getattr(self, field.name))) for field in fields(self)]

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        return "\n".join(["minidnn:", *(f"  {name:{width}}  {value}" for name, value in self.rows())])

    def _repr_html_(self) -> str:
        return html_table(("minidnn", ""), self.rows())


def stats() -> Stats:
    """What the process has compiled and keeps; cheap, and right while other threads run and compile."""
    holders = [holder for reference in list(_holders.values()) if (holder := reference()) is not None]
    arenas = {id(holder.arenas): holder.arenas for holder in holders}
    operators = sum(holder.is_operator for holder in holders)
    numpy_steps = {name: int(counter.total) for name, counter in sorted(COUNTERS.numpy_steps.items())}
    return Stats(
        programs=len(holders) - operators,
        operator_programs=operators,
        weight_bytes=_count_bytes([array for holder in holders for array in holder.program.constants]),
        arena_bytes=sum(each.kept_bytes for each in arenas.values()),
        output_bytes=OUTPUTS.kept_bytes,
        code_bytes=int(COUNTERS.code_bytes.total),
        program_hits=int(COUNTERS.program_hits.total),
        program_misses=int(COUNTERS.program_misses.total),
        evictions=int(COUNTERS.evictions.total),
        kernels_compiled=int(COUNTERS.kernels_compiled.total),
        kernels_from_cache=int(COUNTERS.kernels_from_cache.total),
        compile_seconds=COUNTERS.compile_seconds.total,
        numpy_steps=numpy_steps,
    )


def _count_bytes(arrays: Sequence[np.ndarray[Any, Any]]) -> int:
    """The bytes of these arrays, each memory once."""
    sizes: dict[int, int] = {}
    for array in arrays:
        address = array.__array_interface__["data"][0]
        sizes[address] = max(sizes.get(address, 0), array.nbytes)
    return sum(sizes.values())


def _text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)} {count:,}" for key, count in value.items()) or "none"
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
