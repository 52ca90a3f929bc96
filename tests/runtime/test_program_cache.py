"""Programs are kept by their owners, within bounds for all of them together."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from minidnn.plan.program import Program
from minidnn.runtime.program_cache import Owner, ProgramCache


def _executor(*constants: Any, lent: frozenset[int] = frozenset()) -> Any:
    return SimpleNamespace(program=Program((), constants, 0, (), (), lent))


def test_what_was_kept_is_found_by_its_owner_alone() -> None:
    cache, owner, other = ProgramCache(10, 1000), Owner(), Owner()
    made = _executor()
    cache.keep(owner, "a", made)
    assert cache.find(owner, "a") is made
    assert cache.find(owner, "b") is None
    assert cache.find(other, "a") is None


def test_no_more_are_kept_than_may_be_and_the_least_recently_used_go() -> None:
    cache, owners = ProgramCache(8, 1000), [Owner(), Owner()]
    for i in range(50):
        cache.keep(owners[i % 2], i, _executor())
        assert len(cache) <= 8
        assert cache.find(owners[i % 2], i) is not None
        cache.find(owners[0], 0)
    assert cache.find(owners[0], 0) is not None, "used all the time"
    assert cache.find(owners[1], 1) is None
    assert len(owners[0].programs) + len(owners[1].programs) == len(cache)


def test_bytes_of_constants_are_bounded() -> None:
    cache, owner = ProgramCache(1000, 10_000), Owner()
    for i in range(50):
        cache.keep(owner, i, _executor(np.empty(900, np.uint8)))
    assert 3 <= len(cache) <= 11


def test_constants_of_several_programs_count_once_and_those_of_others_not_at_all() -> None:
    cache, owner = ProgramCache(1000, 10_000), Owner()
    shared, lent = np.empty(9000, np.uint8), np.empty(1 << 20, np.uint8)
    for i in range(50):
        cache.keep(owner, i, _executor(shared, lent, lent=frozenset({1})))
    assert len(cache) == 50


def test_the_newest_program_is_kept_however_large_it_is() -> None:
    cache, owner = ProgramCache(10, 1000), Owner()
    for i in range(3):
        cache.keep(owner, i, _executor(np.empty(5000, np.uint8)))
        assert cache.find(owner, i) is not None
        assert len(cache) == 1


def test_programs_go_with_their_owner_and_no_longer_count() -> None:
    cache, owner = ProgramCache(8, 1000), Owner()
    cache.keep(owner, 0, _executor())
    for _ in range(20):
        other = Owner()
        for i in range(7):
            cache.keep(other, i, _executor())
        del other
        gc.collect()
    assert len(cache) == 1
    assert cache.find(owner, 0) is not None


def test_many_threads_may_keep_and_find() -> None:
    cache, owner = ProgramCache(20, 1000), Owner()
    wrong = []

    def work(number: int) -> None:
        for i in range(500):
            made = _executor()
            cache.keep(owner, (number, i), made)
            found = cache.find(owner, (number, i))
            if found is not None and found is not made:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    cache.keep(owner, "last", _executor())
    assert len(cache) <= 20
    assert len(owner.programs) == len(cache)
