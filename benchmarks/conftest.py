"""How the benchmarks compare: candidates take turns in one process, and a table at the end says who took how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.cli.timing import Timing

WARMUP = 2
Note = Callable[[dict[str, Timing]], str]
_rows: list[tuple[str, dict[str, Timing], Note]] = []


@pytest.fixture
def take_turns(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., dict[str, Timing]]:
    """``take_turns({name: function, ...}, rounds, note)``: time the functions A B A B.

    The first is the benchmark's own. The others' minima and medians stand in the benchmark's ``extra_info``, and in
    the table at the end, where `note(timings)`, asked when all is done, may add a remark.
    """

    def run(
        candidates: Mapping[str, Callable[[], object]],
        rounds: int = 15,
        note: Note = lambda timings: "",
    ) -> dict[str, Timing]:
        (own, target), *others = candidates.items()
        seconds: dict[str, list[float]] = {name: [] for name, _ in others}

        def run_others() -> None:
            for name, other in others:
                start = time.perf_counter()
                other()
                seconds[name].append(time.perf_counter() - start)

        benchmark.pedantic(target, setup=run_others, rounds=rounds, warmup_rounds=WARMUP)
        if benchmark.stats is None:  # --benchmark-disable
            return {}
        timings = {own: Timing(tuple(benchmark.stats.stats.data))}
        timings |= {name: Timing(tuple(times[WARMUP:])) for name, times in seconds.items()}
        for name, timing in timings.items():
            benchmark.extra_info[name] = {"minimum_ms": timing.minimum_ms, "median_ms": timing.median_ms}
        _rows.append((request.node.name, timings, note))
        return timings

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _rows:
        return
    terminalreporter.section("minimum and median in ms, in turns; ratios to the first by minimum and by median")
    for benchmark, timings, note in _rows:
        first = next(iter(timings.values()))
        parts = []
        for name, timing in timings.items():
            part = f"{name} {timing.minimum_ms:.3f} {timing.median_ms:.3f}"
            if timing is not first:
                low, middle = timing.minimum_ms / first.minimum_ms, timing.median_ms / first.median_ms
                part += f" ({low:.2f} × {middle:.2f} ×)"
            parts.append(part)
        terminalreporter.write_line(f"{benchmark:48s} {' | '.join(parts)} {note(timings)}")


@pytest.fixture
def random() -> Iterator[np.random.Generator]:
    yield np.random.default_rng(0)


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads, for all candidates."""
    before = mx.get_num_threads()
    if request.param > before:
        pytest.skip(f"there are {before} threads")
    mx.set_num_threads(request.param)
    yield request.param
    mx.set_num_threads(before)
