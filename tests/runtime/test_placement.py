"""Helpers are told to leave the core of the thread they help: once for each move, and only where that helps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidnn.runtime import topology
from minidnn.runtime.threads import Placement


class System:
    """A machine of four cores that notes what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.core = 2
        self.cores = {0, 1, 2, 3}
        self.moves: list[tuple[int, set[int]]] = []
        self.forbids = False
        monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(self.cores), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", self._move, raising=False)
        self.placement = Placement()
        self.placement._current_core = lambda: self.core

    def _move(self, thread: int, cores: set[int]) -> None:
        if self.forbids:
            raise PermissionError("not here")
        self.moves.append((thread, set(cores)))


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which the system describes the machine: empty, to be filled."""
    monkeypatch.setattr(topology, "_SYSTEM", tmp_path)
    return tmp_path


def _describe(folder: Path, caches: list[tuple[int, str]], nodes: list[str]) -> None:
    """`caches` are a level and the cores that share it."""
    for level, shared in caches:
        for core in topology._read_cores(_written(folder / "list", shared)):
            cache = folder / f"cpu/cpu{core}/cache/index{level}"
            cache.mkdir(parents=True)
            _written(cache / "level", f"{level}\n")
            _written(cache / "shared_cpu_list", f"{shared}\n")
    for number, cores in enumerate(nodes):
        (folder / f"node/node{number}").mkdir(parents=True)
        _written(folder / f"node/node{number}/cpulist", f"{cores}\n")


def _written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    yield System(monkeypatch)


def test_helpers_leave_the_callers_core_once(system: System) -> None:
    for _ in range(3):
        system.placement.avoid_this_core([11, 12])
    assert system.moves == [(11, {0, 1, 3}), (12, {0, 1, 3})]


def test_they_leave_again_when_the_caller_moves_or_helpers_are_new(system: System) -> None:
    system.placement.avoid_this_core([11])
    system.core = 0
    system.placement.avoid_this_core([11])
    system.placement.forget()
    system.placement.avoid_this_core([11, 12])
    assert system.moves == [(11, {0, 1, 3}), (11, {1, 2, 3}), (11, {1, 2, 3}), (12, {1, 2, 3})]


def test_nobody_moves_where_cores_are_fewer_than_threads(system: System) -> None:
    system.cores = {2}
    system.placement.avoid_this_core([11])
    system.core, system.cores = 3, {2, 3}
    system.placement.avoid_this_core([11, 12])
    assert system.moves == []


def test_a_system_that_forbids_it_is_not_asked_again(system: System) -> None:
    system.forbids = True
    system.placement.avoid_this_core([11])
    system.forbids, system.core = False, 1
    system.placement.avoid_this_core([11])
    assert system.moves == []


def test_threads_of_consecutive_numbers_share_a_cache(system: System, described: Path) -> None:
    _describe(described, [(2, "0"), (2, "1"), (3, "0-3"), (3, "4-7")], ["0-7"])
    system.cores, system.core = set(range(8)), 5
    system.placement.avoid_this_core([11, 12, 13, 14, 15, 16, 17])
    near, far = {4, 6, 7}, {0, 1, 2, 3}
    assert system.moves == [(11, near), (12, near), (13, near), (14, far), (15, far), (16, far), (17, far)]


def test_few_threads_stay_with_the_caller(system: System, described: Path) -> None:
    _describe(described, [(3, "0-3"), (3, "4-7")], ["0-7"])
    system.cores, system.core = {0, 1, 4, 5, 6}, 0
    system.placement.avoid_this_core([11, 12])
    assert system.moves == [(11, {1}), (12, {4, 5, 6})]


def test_groups_of_a_node_come_after_each_other(described: Path) -> None:
    _describe(described, [(3, "0-1,8-9"), (3, "2-3"), (3, "4-5"), (3, "6-7")], ["0-1,4-5,8-9", "2-3,6-7"])
    assert topology.find_groups(range(10)) == [{0, 1, 8, 9}, {4, 5}, {2, 3}, {6, 7}]


def test_nodes_count_where_no_cache_is_described(described: Path) -> None:
    _describe(described, [], ["0-1", "2-3"])
    assert topology.find_groups({0, 1, 2, 3, 4}) == [{0, 1}, {2, 3}, {4}]


@pytest.mark.parametrize("content", ["", "x", "3-", "-3", "0-99999999999", "1--2", "\u0663"])
def test_what_cannot_be_read_is_not_believed(described: Path, content: str) -> None:
    _describe(described, [(3, "0-1")], [])
    _written(described / "cpu/cpu0/cache/index3/shared_cpu_list", content)
    assert topology.find_groups({0, 1}) in ([{0, 1}], [{0}, {1}])


def test_every_thread_has_a_place_wherever_the_caller_is() -> None:
    groups = [frozenset({0, 1, 2}), frozenset({3}), frozenset({4, 5})]
    for first in range(6):
        places = topology.share_out(groups, first, 6)
        assert len(places) == 6
        assert places[0] == {first}
        assert all(place and first not in place for place in places[1:])
