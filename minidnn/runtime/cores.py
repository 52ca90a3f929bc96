"""How many cores this process may use: those it is allowed to run on, and the share of time a container gives it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cores"]

_PROCESS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores in the affinity mask, and no more than the CPU time of the tightest control group around the process.

    With a quota of 1.5 cores it is one: a second thread would wait for the first in time that both pay for.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Cores' worth of time that the control groups of this process grant; a group without a limit is not among them."""
    try:
        lines = _PROCESS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            read, mounts = _quota, [_GROUPS, _GROUPS / "unified"]
        elif "cpu" in controllers.split(","):
            read, mounts = _old_quota, [_GROUPS / "cpu", _GROUPS / controllers]
        else:
            continue
        for mount in mounts:
            inside = mount / path.lstrip("/")
            # Inside of a container the path may be one of the machine, and the mount the container's own group.
            for folder in (inside, *inside.parents):
                if folder.is_relative_to(mount) and (quota := read(folder)) is not None:
                    yield quota


def _quota(group: Path) -> float | None:
    """Of version 2: ``50000 100000`` microseconds, or ``max 100000``."""
    return _ratio(_read(group / "cpu.max").split())


def _old_quota(group: Path) -> float | None:
    """Of version 1: microseconds in two files; the first is -1 where there is no limit."""
    return _ratio([_read(group / "cpu.cfs_quota_us").strip(), _read(group / "cpu.cfs_period_us").strip()])


def _ratio(words: list[str]) -> float | None:
    if len(words) != 2 or not all(word.isdecimal() for word in words) or not int(words[1]):
        return None
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
