"""`mx.profiler`: MXNet's names, on our profiles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import minidnn as mx
from minidnn import profiler
from minidnn.errors import MXNetError
from minidnn.runtime import profile as module


@pytest.fixture(autouse=True)
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "measure_peaks", lambda threads: module.Peaks(1e11, 1e10))
    yield
    profiler.set_state("stop")
    profiler.set_config(filename="profile.json")


def work() -> None:
    mx.npx.relu(mx.np.array([[1.0, -1.0]])).asnumpy()


def counts() -> dict[str, int]:
    return {step["name"]: step["count"] for step in json.loads(profiler.dumps(format="json"))["steps"]}


def test_only_what_runs_between_run_and_stop_is_recorded() -> None:
    work()
    profiler.set_state("run")
    work()
    profiler.set_state("stop")
    work()
    assert counts() == {"relu": 1}
    profiler.set_state("run")
    profiler.set_state("stop")
    assert counts() == {}


def test_pause_and_resume_go_on_with_the_same_profile() -> None:
    profiler.set_state("run")
    work()
    profiler.pause()
    work()
    profiler.resume()
    work()
    assert counts() == {"relu": 2}


def test_dumps_is_a_table_that_can_be_sorted_and_reset() -> None:
    profiler.set_state("run")
    work()
    mx.np.arctan(mx.np.array([1.0]))
    mx.np.arctan(mx.np.array([1.0]))
    profiler.set_state("stop")
    lines = profiler.dumps(sort_by="count", ascending=True).splitlines()
    assert lines[0] == "Profile Statistics:"
    assert [line.split()[:2] for line in lines[2:]] == [["relu", "1"], ["arctan", "2"]]
    profiler.dumps(reset=True)
    assert counts() == {}


def test_dump_writes_events_for_trace_viewers(tmp_path: Path) -> None:
    profiler.set_config(filename=str(tmp_path / "trace.json"), profile_all=True, aggregate_stats=True)
    profiler.set_state("run")
    work()
    profiler.dump()
    (event,) = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert (event["name"], event["ph"], event["ts"]) == ("relu", "X", 0)
    assert event["dur"] >= 0
    work()
    assert counts() == {"relu": 1}


def test_two_profiles_at_once_are_refused() -> None:
    with profiler.profile():
        with pytest.raises(MXNetError, match="running already"), profiler.profile():
            pass
        with pytest.raises(MXNetError, match="running already"):
            profiler.set_state("run")
    with profiler.profile("again"):
        pass


def test_an_error_inside_ends_the_profile() -> None:
    with pytest.raises(ZeroDivisionError), profiler.profile() as profile:
        work()
        raise ZeroDivisionError
    work()
    assert [len(s.seconds) for s in profile.steps()] == [1]


def test_what_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(MXNetError, match=r"unknown option 'file'.*'filename'"):
        profiler.set_config(file="x")
    with pytest.raises(ValueError, match="'go'"):
        profiler.set_state("go")
    with pytest.raises(ValueError, match="'xml'"):
        profiler.dumps(format="xml")
    with pytest.raises(ValueError, match="'name'"):
        profiler.dumps(sort_by="name")
