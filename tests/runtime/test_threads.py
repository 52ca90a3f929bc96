"""Threads: any number gives the same bits, from any number of Python threads, and bad numbers are refused."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from processes import force_threads, network, python

import minidnn.runtime.threads as threads_module
from minidnn.engine import get_num_threads, set_num_threads
from minidnn.plan.layout import JOB_WORDS, LINE_BYTES
from minidnn.runtime.threads import Job, ThreadPool, aligned_words


@pytest.fixture(autouse=True)
def _keep_the_number_of_threads() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    run, x, _ = network()
    results = []
    for count in (1, 2, 3, 5, 17, 1):
        force_threads(count)
        assert get_num_threads() == count
        results += [run([x])[0] for _ in range(3)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_many_python_threads_at_once_while_the_number_changes() -> None:
    run, x, expected = network()
    other, y, other_expected = network(size=33)
    wrong: list[str] = []

    def work(number: int) -> None:
        compiled, array, wanted = (run, x, expected) if number % 2 else (other, y, other_expected)
        if not all(np.array_equal(compiled([array])[0], wanted) for _ in range(25)):
            wrong.append(f"thread {number}")

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    counts = [2, 1, 4, 3]
    while any(worker.is_alive() for worker in workers):
        force_threads(counts[0])
        counts = counts[1:] + counts[:1]
        time.sleep(0.002)
    for worker in workers:
        worker.join()
    assert not wrong


def test_different_inputs_at_the_same_time_do_not_mix() -> None:
    run, x, expected = network()
    inputs = [x * np.float32(scale) for scale in (1, 2, 4, 8)]
    # Without a bias, twice the input is twice the output, exactly.
    results: dict[int, bool] = {}

    def work(number: int) -> None:
        scale = np.float32(2**number)
        results[number] = all(np.array_equal(run([inputs[number]])[0], expected * scale) for _ in range(20))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == dict.fromkeys(range(4), True)


@pytest.mark.parametrize("count", [0, -1, 1025, 10**30, 1.5, 2.0, "2", None, True, np.float32(2)])
def test_impossible_numbers_of_threads_are_refused(count: Any) -> None:
    before = get_num_threads()
    with pytest.raises(ValueError, match="integer from 1 to 1024"):
        set_num_threads(count)
    assert get_num_threads() == before


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", " ", "2,", "0x2", "²", "99999999999"])
def test_impossible_numbers_in_the_environment_are_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDNN_NUM_THREADS", text)
    with pytest.raises(ValueError, match="MINIDNN_NUM_THREADS"):
        _ = ThreadPool(lambda: pytest.fail("no run was asked for")).threads


def test_the_environment_says_how_many() -> None:
    program = "from minidnn.engine import get_num_threads; print(get_num_threads())"
    assert python(program, MINIDNN_NUM_THREADS="1").stdout == "1\n"
    done = python(program, MINIDNN_NUM_THREADS="many")
    assert done.returncode == 1
    assert "SettingError: MINIDNN_NUM_THREADS must be" in done.stderr


def test_without_the_environment_it_is_the_cores_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIDNN_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads_module.os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)  # type: ignore[attr-defined]
    assert ThreadPool(lambda: pytest.fail("no run was asked for")).threads == 3


def test_more_threads_than_cores_are_limited_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "usable_cores", lambda: 2)
    with pytest.warns(RuntimeWarning, match="set_num_threads: 99 threads on 2 usable cores") as caught:
        set_num_threads(99)
    assert get_num_threads() == 2
    assert caught[0].filename == __file__
    set_num_threads(2)
    set_num_threads(1)
    assert get_num_threads() == 1
    monkeypatch.setenv("MINIDNN_NUM_THREADS", "1024")
    fresh = ThreadPool(lambda: pytest.fail("no run was asked for"))
    with pytest.warns(RuntimeWarning, match="MINIDNN_NUM_THREADS: 1024 threads"):
        assert fresh.threads == 2
    assert fresh.threads == 2, "said once"


def test_helpers_are_started_when_needed_and_never_twice() -> None:
    run, x, _ = network()
    force_threads(4)
    for _ in range(5):
        run([x])
    names = [t.name for t in threading.enumerate() if t.name.startswith("minidnn-")]
    assert len(names) == len(set(names))
    assert len(names) >= 3
    assert all(t.daemon for t in threading.enumerate() if t.name.startswith("minidnn-"))


def test_a_helper_sleeps_when_there_is_no_work() -> None:
    run, x, expected = network()
    force_threads(2)
    run([x])
    deadline = time.monotonic() + 10
    while not threads_module.pool._asleep and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_module.pool._asleep
    np.testing.assert_array_equal(run([x])[0], expected)


def test_a_system_without_more_threads_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    run, x, expected = network()
    started = len(threads_module.pool._helpers)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    force_threads(started + 3)
    np.testing.assert_array_equal(run([x])[0], expected)
    monkeypatch.undo()
    np.testing.assert_array_equal(run([x])[0], expected)
    assert len(threads_module.pool._helpers) == started + 2


@pytest.mark.parametrize("count", [1, JOB_WORDS, 1000])
def test_words_begin_on_a_cache_line(count: int) -> None:
    words = aligned_words(count)
    assert words.ctypes.data % LINE_BYTES == 0
    assert words.shape == (count,)
    assert not words.any()


_LOOP = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)


def _run_parts(threads: int, parts: Sequence[int], wait: bool = False) -> list[dict[int, list[int]]]:
    """Which parts of each step each thread ran, in order; if they `wait`, they begin the first step together.

    A helper that was just going to sleep may miss a job.
    """
    seen: list[dict[int, list[int]]] = [{} for _ in parts]
    together = threading.Barrier(threads)

    def run(arguments: int, part: int, count: int, memory: int) -> None:
        step = ctypes.c_int64.from_address(arguments).value
        mine = seen[step].setdefault(threading.get_ident(), [])
        if wait and step == 0 and not mine:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(2)
        mine.append(part)
        assert count == parts[step]

    loop = _LOOP(run)
    address = ctypes.cast(loop, ctypes.c_void_p).value
    table = aligned_words(3 * len(parts)).reshape(len(parts), 3)
    table[:] = [(address, count, step) for step, count in enumerate(parts)]
    force_threads(threads)
    job = Job(table, max(parts))
    job.place(0, 0, threads)
    threads_module.pool.run(job)
    return seen


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("parts", [[1], [2, 7], [24, 1, 23], [3, 100]])
def test_every_part_is_run_once(threads: int, parts: list[int]) -> None:
    for count, step in zip(parts, _run_parts(threads, parts), strict=True):
        assert sorted(part for mine in step.values() for part in mine) == list(range(count))


def test_each_thread_begins_with_its_own_share_and_others_take_from_its_end() -> None:
    step = next(step for (step,) in (_run_parts(3, [24], wait=True) for _ in range(20)) if len(step) == 3)
    shares = {0: range(8), 8: range(8, 16), 16: range(16, 24)}
    assert sorted(mine[0] for mine in step.values()) == sorted(shares)
    for mine in step.values():
        own = [part for part in mine if part in shares[mine[0]]]
        assert own == sorted(own), "from the front"
        assert mine[: len(own)] == own, "its own first"
        for share in shares.values():
            taken = [part for part in mine if part in share and part not in own]
            assert taken == sorted(taken, reverse=True), "from the end"


def test_a_single_part_is_the_callers() -> None:
    for _ in range(20):
        assert [*_run_parts(3, [1])[0]] == [threading.get_ident()]
