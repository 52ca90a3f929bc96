"""What the process says of itself: the logger ``minidnn``, the line before compilation, and `mx.runtime.stats`."""

from __future__ import annotations

import dataclasses
import gc
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.engine import compiling
from minidnn.gluon import nn
from minidnn.plan.program import Program
from minidnn.runtime import messages
from minidnn.runtime.code_cache import CodeCache
from minidnn.runtime.counters import Counter
from minidnn.runtime.library import Library, library
from minidnn.runtime.program_cache import Owner, ProgramCache
from minidnn_kernels.isa import best_isa
from minidnn_kernels.pooling import PoolSpec


class Odd(nn.HybridBlock):
    """Has an operator without a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(3, in_units=4)
        self.turned = nn.HybridLambda(mx.np.unwrap)

    def forward(self, x: Any) -> Any:
        return self.turned(self.dense(x))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    compiling.log_on_host.cache_clear()
    with caplog.at_level(logging.INFO, logger="minidnn"):
        yield caplog


def told(log: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == name]


def odd() -> Odd:
    net = Odd()
    net.initialize()
    return net


# ---- the log ------------------------------------------------------------------------------------------


def test_a_compilation_is_logged_once_with_its_signature(log: pytest.LogCaptureFixture) -> None:
    net, x = odd(), mx.np.ones((2, 4))
    net.hybridize()
    net(x)
    compiled = [line for line in told(log, "minidnn.engine.compiling") if line.startswith("Odd(")]
    assert len(compiled) == 1
    assert "data float32[2, 4]" in compiled[0]
    assert f"for {library().isa.name} in " in compiled[0]
    assert "compiled, " in compiled[0]
    log.clear()
    net(x)
    assert told(log, "minidnn.engine.compiling") == []


@pytest.mark.parametrize("hybrid", [False, True])
def test_a_step_on_numpy_is_logged_at_its_first_use(hybrid: bool, log: pytest.LogCaptureFixture) -> None:
    net, x = odd(), mx.np.ones((2, 4))
    if hybrid:
        net.hybridize()
    for _ in range(3):
        net(x)
    lines = [line for line in told(log, "minidnn.engine.compiling") if "runs on NumPy" in line]
    assert len(lines) == 1
    assert lines[0].startswith("turned")
    assert "operator unwrap" in lines[0]
    assert "no kernel computes this operator" in lines[0]


def test_a_dtype_without_kernels_is_the_reason(log: pytest.LogCaptureFixture) -> None:
    mx.npx.relu(mx.np.array([1, -2], dtype="int64"))
    (line,) = (line for line in told(log, "minidnn.engine.compiling") if "runs on NumPy" in line)
    assert "got int64" in line


def test_steps_say_why_numpy_runs_them() -> None:
    net = odd()
    net.optimize_for(mx.np.ones((2, 4)))
    (host,) = (step for step in net.steps() if step.on_host)
    assert host.reason == "no kernel computes this operator"
    assert {step.reason for step in net.steps() if not step.on_host} == {""}


def test_dropped_programs_are_logged(log: pytest.LogCaptureFixture) -> None:
    class Counting(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = mx.gluon.nn.Dense(3, in_units=4)

        def forward(self, x: Any) -> Any:
            return self.dense(x) * int(x.shape[0])

    net = Counting()
    net.initialize()
    net._max_programs = 2
    net.hybridize()
    before = mx.runtime.stats().evictions
    for rows in (1, 2, 3):
        net(mx.np.ones((rows, 4)))
    (line,) = told(log, "minidnn.gluon._traced_block")
    assert "Counting: a graph dropped: there are more than 2" in line
    net.dense.weight.set_data(mx.np.ones((3, 4)))
    net(mx.np.ones((3, 4)))
    assert "2 graphs dropped: parameters or blocks have changed" in told(log, "minidnn.gluon._traced_block")[-1]
    cache, owner = ProgramCache(4, 1000), Owner()
    for i in range(5):
        cache.keep(owner, i, type("Executor", (), {"program": Program((), (), 0, (), ())})())
    (line,) = told(log, "minidnn.runtime.program_cache")
    assert line.startswith("2 programs of single operators dropped")
    assert mx.runtime.stats().evictions == before + 3


def test_kernels_say_whether_they_came_from_the_cache(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    log.set_level(logging.DEBUG, "minidnn")
    spec, isa = PoolSpec("max"), best_isa()
    before = mx.runtime.stats()
    for how in ("compiled", "from the cache"):
        log.clear()
        Library(isa, CodeCache(tmp_path)).microkernel(spec)
        (line,) = told(log, "minidnn.runtime.library")
        assert line.startswith(f"kernel {spec.name}: {how}, ")
    after = mx.runtime.stats()
    assert after.kernels_compiled == before.kernels_compiled + 1
    assert after.kernels_from_cache == before.kernels_from_cache + 1
    assert after.code_bytes > before.code_bytes


def test_an_invalid_entry_and_an_unusable_folder_are_warnings(
    log: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CodeCache(tmp_path / "good")
    cache.write("ab" * 32, b"code")
    entry = tmp_path / "good" / f"{'ab' * 32}.o"
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache.read("ab" * 32) is None
    (tmp_path / "file").write_text("")
    CodeCache(tmp_path / "file")
    assert [record.levelno for record in log.records] == [logging.WARNING] * 2
    damaged, unusable = told(log, "minidnn.runtime.code_cache")
    assert "invalid cache entry" in damaged
    assert str(tmp_path / "file") in unusable
    log.clear()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Path, "touch", refuse)
    cache.write("cd" * 32, b"code")
    cache.write("ef" * 32, b"code")
    assert told(log, "minidnn.runtime.code_cache") == ["a cache entry was not written: no room"]


def test_the_isa_is_logged_with_where_it_comes_from(
    log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MINIDNN_ISA", raising=False)
    library.__wrapped__()
    monkeypatch.setenv("MINIDNN_ISA", library().isa.name)
    library.__wrapped__()
    best, chosen = told(log, "minidnn.runtime.library")
    assert best.startswith(f"kernels are made for {library().isa.name}, the best")
    assert "as MINIDNN_ISA says" in chosen


_PROGRAM = """
import minidnn as mx
mx.np.arctan(mx.npx.relu(mx.np.ones((2, 2))))
"""


@pytest.mark.parametrize("level", ["", "warning", "info"])
def test_nothing_is_shown_unless_the_environment_asks_for_it(level: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIDNN_LOG": level}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert ("INFO minidnn.engine.compiling: arctan (operator arctan) runs on NumPy" in done.stderr) == (level == "info")
    assert level == "info" or done.stderr == ""


# ---- the line before compilation ----------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "setting", "lines"), [(Terminal, "", 1), (Terminal, "0", 0), (io.StringIO, "", 0)])
def test_a_terminal_is_told_once_that_kernels_are_compiled(
    stream: type[io.StringIO], setting: str, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages._Said, "compilation", False)
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("MINIDNN_NOTICES", setting)
    specs = _some_specs()
    Library(best_isa(), CodeCache(tmp_path)).prepare([], specs)
    Library(best_isa(), CodeCache(tmp_path / "other")).prepare([], specs)
    said = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    expected = (
        f"minidnn: compiling {len(specs)} kernels for {best_isa().name}, once; later runs take them from {tmp_path}"
    )
    assert said == [expected] * lines


def test_a_terminal_is_told_nothing_where_the_cache_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = _some_specs()
    assert Library(best_isa(), CodeCache(tmp_path)).prepare([], specs) == (len(specs), 0, 0)
    monkeypatch.setattr(messages._Said, "compilation", False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    again = Library(best_isa(), CodeCache(tmp_path))
    assert again.prepare([], specs) == (0, len(specs), 0)
    assert again.prepare([], specs) == (0, 0, len(specs))
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


class _Named:
    """A kernel under another name: it compiles quickly."""

    def __init__(self, name: str) -> None:
        self.name = name

    def emit(self, isa: Any) -> str:
        return f"define void @{self.name}() {{ ret void }}"

    def __repr__(self) -> str:
        return f"_Named({self.name})"


def _some_specs() -> list[Any]:
    return [_Named(f"nothing_{i}") for i in range(5)]


# ---- stats --------------------------------------------------------------------------------------------


def test_programs_are_counted_as_long_as_they_are_there() -> None:
    gc.collect()
    before = mx.runtime.stats()
    net, x = odd(), mx.np.ones((2, 4))
    net.hybridize()
    for _ in range(5):
        net(x)
    after = mx.runtime.stats()
    assert after.programs == before.programs + 1
    assert after.program_misses == before.program_misses + 1
    assert after.program_hits == before.program_hits + 4
    assert after.numpy_steps["unwrap"] == before.numpy_steps.get("unwrap", 0) + 5
    assert after.weight_bytes >= before.weight_bytes + 3 * 4 * 4
    assert after.compile_seconds > before.compile_seconds
    del net
    gc.collect()
    assert mx.runtime.stats().programs == before.programs


def test_programs_of_operators_are_counted_apart() -> None:
    before = mx.runtime.stats()
    x = mx.np.ones((3, 41, 7))
    for _ in range(3):
        mx.npx.relu(x)
    after = mx.runtime.stats()
    assert after.operator_programs == before.operator_programs + 1
    assert (after.program_misses, after.program_hits) == (before.program_misses + 1, before.program_hits + 2)


def test_stats_can_be_read_by_people_and_programs() -> None:
    stats = mx.runtime.stats()
    assert all(field.name.replace("_", " ") in repr(stats) for field in dataclasses.fields(stats))
    assert "<table>" in stats._repr_html_()
    assert dataclasses.asdict(stats)["code_bytes"] == stats.code_bytes


def test_nothing_is_lost_where_many_threads_count() -> None:
    counter, most = Counter(), 20_000
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [counter.add() for _ in range(most)]) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert counter.total == 6 * most


def test_stats_are_right_while_many_threads_run() -> None:
    net = odd()
    net.hybridize()
    inputs = [mx.np.ones((rows, 4)) for rows in (1, 2, 3)]
    before = mx.runtime.stats()
    seen: list[int] = []

    def work(number: int) -> None:
        for i in range(30):
            net(inputs[(number + i) % 3])
            seen.append(mx.runtime.stats().program_hits)

    threads = [threading.Thread(target=partial(work, i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = mx.runtime.stats()
    assert after.program_misses - before.program_misses == 3
    assert after.program_hits - before.program_hits == 4 * 30 - 3
    assert after.programs == before.programs + 3
    assert max(seen) <= after.program_hits
    np.testing.assert_array_equal(net(inputs[0]).shape, (1, 3))
