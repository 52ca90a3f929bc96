"""Programs that share arenas use them in turns, and runs at the same time have one each."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from processes import force_threads, network

from minidnn.ir.graph import Graph, evaluate, make_node, make_variable
from minidnn.lowering import lower
from minidnn.lowering.values import PLAIN
from minidnn.ops.registry import TensorType
from minidnn.plan.layout import ALIGNMENT
from minidnn.runtime import memory
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import library
from minidnn.runtime.memory import Arenas
from minidnn.runtime.threads import get_num_threads, pool, set_num_threads


def test_arenas_are_aligned_and_large_enough() -> None:
    arenas = Arenas()
    for size in (1, 100, 50, 1000):
        arena = arenas.take(size)
        assert arena.memory.size >= size
        assert arena.address == arena.memory.ctypes.data
        assert arena.address % ALIGNMENT == 0
        arenas.give_back(arena)


def test_an_arena_is_used_again_by_all_that_fit_into_it() -> None:
    arenas = Arenas()
    first = arenas.take(1000)
    assert arenas.take(1000) is not first
    arenas.give_back(first)
    assert arenas.take(10) is first
    arenas.give_back(first)
    assert arenas.take(1001) is not first
    assert not arenas._idle, "one that is too small is not kept"


def test_an_arena_that_makes_way_is_followed_by_one_with_room_to_grow() -> None:
    arenas = Arenas()
    arenas.give_back(arenas.take(1000))
    larger = arenas.take(2000)
    assert larger.size > 2000
    assert larger.memory.nbytes == larger.size
    arenas.give_back(larger)
    assert arenas.kept_bytes == 2000, "room that no run has used is no memory yet"
    assert arenas.take(larger.size) is larger
    arenas.give_back(larger)
    assert arenas.kept_bytes == larger.size


def test_without_addresses_to_spare_an_arena_is_as_large_as_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST_ROOM", 1 << 60)
    monkeypatch.setattr(memory, "_GROWTH", 1 << 50)
    arenas = Arenas()
    arenas.give_back(arenas.take(1000))
    assert arenas.take(2000).size == 2000


def test_no_more_bytes_are_kept_than_may_be() -> None:
    arenas = Arenas(1000)
    taken = [arenas.take(400) for _ in range(5)]
    for arena in [*taken, arenas.take(1001)]:
        arenas.give_back(arena)
    assert sum(arena.size for arena in arenas._idle) == 800


def _chain(shape: tuple[int, ...], arenas: Arenas) -> tuple[Graph, Executor]:
    """Steps with temporaries between them, and one that NumPy does."""
    x = make_variable("x")
    value = x
    for i, op in enumerate(("relu", "exp", "unwrap", "negative", "exp", "abs")):
        value = make_node(op, f"{op}{i}", [value])[0]
    graph = Graph([value])
    program = lower(graph, {}, {"x": (TensorType(shape, np.dtype(np.float32)), PLAIN)}, None, library().isa)
    assert program.arena_bytes
    return graph, Executor(program, library(), pool, arenas)


def test_programs_of_different_sizes_share_one_arena() -> None:
    arenas = Arenas()
    chains = [(shape, *_chain(shape, arenas)) for shape in ((3, 50), (700, 30), (5,), (40, 40))]
    for seed in range(3):
        for shape, graph, run in chains:
            x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
            np.testing.assert_allclose(run([x])[0], evaluate(graph, {"x": x})[0], rtol=1e-5)
    assert len(arenas._idle) == 1


def test_runs_at_the_same_time_do_not_meet() -> None:
    arenas = Arenas()
    chains = [(shape, *_chain(shape, arenas)) for shape in ((30, 50), (70, 30))]
    wrong = []

    def work(seed: int) -> None:
        shape, graph, run = chains[seed % 2]
        x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        expected = evaluate(graph, {"x": x})[0]
        wrong.extend(seed for _ in range(100) if not np.allclose(run([x])[0], expected, rtol=1e-5))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(arenas._idle) <= 4


def test_scratch_memory_is_enough_for_any_number_of_threads() -> None:
    run, x, expected = network()
    before = get_num_threads()
    try:
        for threads in (1, 3, 2, 4, 1):
            force_threads(threads)
            np.testing.assert_array_equal(run([x])[0], expected)
    finally:
        set_num_threads(before)
