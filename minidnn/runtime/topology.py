"""Which cores share a cache and a node of memory: data that one of them wrote is near for the others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["find_groups", "share_out"]

_SYSTEM = Path("/sys/devices/system")
# More than any machine has: what a file claims beyond is not believed.
_MOST_CORES = 1 << 14


def find_groups(cores: Iterable[int]) -> list[frozenset[int]]:
    """The cores in groups that share their last cache, or a node of memory where no cache is described.

    Groups of one node come after each other. Cores of which the system says nothing are a group of their own.
    """
    left, found = set(cores), []
    nodes = sorted((_SYSTEM / "node").glob("node[0-9]*/cpulist"), key=lambda path: (len(str(path)), path))
    for node in [*map(_read_cores, nodes), left]:
        inside = sorted(left & node)
        while inside:
            near = _last_cache(inside[0]) & left & node or set(inside)
            found.append(frozenset(near))
            left -= near
            inside = sorted(set(inside) - near)
    return found


def share_out(groups: list[frozenset[int]], first: int, threads: int) -> list[frozenset[int]]:
    """The cores that each of so many threads may run on; the first thread runs on the core `first`.

    Threads of consecutive numbers, whose shares of a step lie beside each other, are in one group as far as it has
    cores, starting with the group of `first`. All others stay away from that core.
    """
    begin = next((i for i, group in enumerate(groups) if first in group), 0)
    places: list[frozenset[int]] = []
    for group in groups[begin:] + groups[:begin]:
        free = group - {first}
        places += [free] * len(free)
    return [frozenset({first}), *places][:threads]


def _last_cache(core: int) -> set[int]:
    """The cores that share the largest cache which the core shares with any."""
    best: tuple[int, set[int]] = (0, set())
    for cache in (_SYSTEM / f"cpu/cpu{core}/cache").glob("index[0-9]*"):
        level, cores = _read(cache / "level"), _read_cores(cache / "shared_cpu_list")
        if core in cores and level.isdecimal() and int(level) > best[0]:
            best = int(level), cores
    return best[1]


def _read_cores(path: Path) -> set[int]:
    """``0-3,8`` as {0, 1, 2, 3, 8}."""
    cores: set[int] = set()
    for part in _read(path).split(","):
        low, _, high = part.partition("-")
        if low.isdecimal() and (high or low).isdecimal() and int(high or low) < _MOST_CORES:
            cores.update(range(int(low), int(high or low) + 1))
    return cores


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
