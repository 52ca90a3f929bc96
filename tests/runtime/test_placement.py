"""Helpers are told to leave the core of the thread they help: once for each move, and only where that helps."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

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
