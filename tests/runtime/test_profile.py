"""Profiles: which steps, in which order, how long; and results that stay the same."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from processes import force_threads

import minidnn as mx
from minidnn import engine
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import ShapeError
from minidnn.gluon import nn
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Cost, HostStep
from minidnn.runtime import profile as module
from minidnn.runtime.profile import Peaks, Profile, StepProfile

Array = np.ndarray[Any, Any]


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 100 GFLOP/s and 10 GB/s: measuring this one takes a second."""
    monkeypatch.setattr(module, "measure_peaks", lambda threads: Peaks(1e11, 1e10))


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = mx.get_num_threads()
    force_threads(request.param)
    yield request.param
    mx.set_num_threads(before)


def network() -> tuple[Any, Any]:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(8, 3, padding=1, in_channels=3, activation="relu"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(16, 1, in_channels=8),
        nn.GlobalAvgPool2D(),
        nn.Dense(5, in_units=16),
    )
    net.initialize(mx.init.Normal(0.5))
    data = mx.np.array(np.random.default_rng(0).standard_normal((2, 3, 9, 11)).astype(np.float32))
    return net, data


def with_host_step() -> tuple[engine.CompiledGraph, Array]:
    """relu, then unwrap, which has no kernel, then exp."""
    x = make_variable("x")
    first = make_node("relu", "first", [x])
    middle = make_node("unwrap", "middle", [first[0]])
    last = make_node("exp", "last", [middle[0]])
    data = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    return engine.compile_graph(Graph([last[0]]), {}, {"x": TensorType.of(data)}), data


def check(profile: Profile, rounds: int) -> None:
    steps = profile.steps()
    assert [s.index for s in steps] == list(range(len(steps)))
    assert all(len(s.seconds) == rounds and min(s.seconds) >= 0 for s in steps)
    assert all(s.minimum <= s.median <= max(s.seconds) for s in steps)
    assert math.isclose(sum(s.share for s in steps), 1)
    assert all(0 <= s.share <= 1 for s in steps)


def test_steps_are_the_programs_in_order_with_their_kernels_and_shapes(threads: int) -> None:
    net, data = network()
    net.optimize_for(data)
    net(data)
    with mx.profiler.profile() as profile:
        for _ in range(4):
            net(data)
    check(profile, 4)
    steps = {s.name: s for s in profile.steps()}
    names = [name for name in steps if name not in ("reorder", "pad", "copy")]
    assert [name.split("_")[0] for name in names] == ["fused", "1", "2", "3", "4"]
    shapes = [result.shape for name in names if (result := steps[name].result) is not None]
    assert shapes == [(2, 8, 9, 11), (2, 8, 4, 5), (2, 16, 4, 5), (2, 16, 1, 1), (2, 5)]
    assert steps[names[1]].kernel.startswith("pool: f32_pool_max")
    assert "igemm" in steps[names[2]].kernel
    assert profile.threads == threads


def test_profiling_changes_no_result(threads: int) -> None:
    net, data = network()
    net.optimize_for(data)
    before = net(data).asnumpy()
    with mx.profiler.profile():
        during = [net(data).asnumpy() for _ in range(3)]
    after = net(data).asnumpy()
    for array in (*during, after):
        np.testing.assert_array_equal(array, before)


def test_steps_on_numpy_are_timed_too(threads: int) -> None:
    run, data = with_host_step()
    assert any(isinstance(step, HostStep) for step in run.program.steps)
    profile = run.profile([data], rounds=3)
    check(profile, 3)
    assert [(s.name, s.kernel == "NumPy") for s in profile.steps()] == [
        ("first", False),
        ("middle", True),
        ("last", False),
    ]
    middle = profile.steps()[1]
    assert middle.result == TensorType((3, 5), np.dtype(np.float32))
    assert (middle.limit, middle.share_of_peak, middle.rate) == (None, None, "")
    with mx.profiler.profile():
        (outputs,) = run([data])
    assert middle.row[2] == "NumPy: unwrap"
    note = "NumPy runs 1 of 3 steps, "
    assert [line[: len(note)] for line in profile.footnotes() if "NumPy" in line] == [note]
    assert "  step 1, middle (unwrap): no kernel computes this operator" in str(profile).splitlines()
    told = [(s["numpy_operator"], s["numpy_reason"]) for s in profile.to_dict()["steps"]]
    assert told == [(None, None), ("unwrap", "no kernel computes this operator"), (None, None)]
    np.testing.assert_allclose(outputs, np.exp(np.unwrap(np.maximum(data, 0))), rtol=1e-6)


def test_int8_networks_show_their_types(threads: int) -> None:
    net, data = network()
    quantized = quantize_net(net, calib_mode="naive", calib_data=[data])
    quantized.hybridize()
    expected = quantized(data).asnumpy()
    with mx.profiler.profile() as profile:
        np.testing.assert_array_equal(quantized(data).asnumpy(), expected)
    check(profile, 1)
    types = {str(s.result.dtype) for s in profile.steps() if s.result is not None}
    assert {"uint8", "float32"} <= types
    assert "uint8" in str(profile)
    assert "igemm" in next(s.kernel for s in profile.steps() if s.is_integer)


def test_eager_operators_are_recorded_with_and_without_kernels() -> None:
    x = mx.np.array(np.ones((3, 4), np.float32))
    with mx.profiler.profile() as profile:
        mx.np.arctan(mx.npx.relu(x))
        mx.npx.relu(x)
    relu, arctan = profile.steps()
    assert (relu.name, len(relu.seconds)) == ("relu", 2)
    assert (arctan.name, arctan.kernel, len(arctan.seconds)) == ("arctan", "NumPy", 1)
    assert len(profile.timeline()) == 3


def test_rates_and_shares_follow_the_roofline() -> None:
    net, data = network()
    net.optimize_for(data)
    net(data)
    with mx.profiler.profile() as profile:
        net(data)
    for step in profile.steps():
        operations, moved = step.cost.operations, step.cost.bytes
        if operations / 1e11 >= moved / 1e10:
            assert (step.limit, step.rate.split()[1]) == ("compute", "GFLOP/s")
            assert math.isclose(step.share_of_peak or 0, operations / step.minimum / 1e11)
        else:
            assert (step.limit, step.rate.split()[1]) == ("memory", "GB/s")
            assert math.isclose(step.share_of_peak or 0, moved / step.minimum / 1e10)
    first = next(s for s in profile.steps() if s.name.startswith("fused") and s.kernel.startswith("matmul"))
    assert first.cost.operations == 2 * 2 * 9 * 11 * 8 * 27


def test_sorted_is_slowest_first_and_keeps_the_indices() -> None:
    run, data = with_host_step()
    profile = run.profile([data], rounds=5)
    shares = [s.share for s in profile.steps(sort=True)]
    assert shares == sorted(shares, reverse=True)
    assert sorted(s.index for s in profile.steps(sort=True)) == [0, 1, 2]


def test_timeline_is_the_fastest_run_in_order() -> None:
    run, data = with_host_step()
    profile = run.profile([data], rounds=5)
    events = profile.timeline()
    assert [event["step"] for event in events] == [0, 1, 2]
    assert events[0]["begin_ms"] == 0
    times = [t for event in events for t in (event["begin_ms"], event["end_ms"])]
    assert times == sorted(times)
    whole = min(r.spans[-1][1] - r.spans[0][0] for r in profile.runs)
    assert math.isclose(times[-1], whole * 1e3)


def test_json_has_every_step_and_what_a_share_is_of() -> None:
    run, data = with_host_step()
    read = json.loads(run.profile([data], rounds=2).to_json())
    assert read.keys() == {"title", "threads", "peak", "runs", "total_ms", "steps", "timeline"}
    assert read["peak"] == {"gflops": 100.0, "gbytes_per_second": 10.0}
    assert read["runs"] == 2
    assert [step["name"] for step in read["steps"]] == ["first", "middle", "last"]
    assert {step["dtype"] for step in read["steps"]} == {"float32"}
    assert [step["shape"] for step in read["steps"]] == [[3, 5]] * 3
    assert math.isclose(sum(step["median_ms"] * step["calls"] for step in read["steps"]), read["total_ms"])


def test_page_is_well_formed_needs_nothing_and_escapes_names() -> None:
    run, data = with_host_step()
    with mx.profiler.profile("<script>alert('1')</script>&") as profile:
        run([data])
        run([data])
    page = profile.to_html()
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert root.tag == "html"
    assert root.findtext("body/h1") == profile.title
    assert len(root.findall("body/table/tr")) == 4
    assert len(root.findall("body/svg/rect")) == 3
    assert not [e for e in root.iter() if e.tag in {"script", "link", "img", "iframe"}]
    assert not [e for e in root.iter() if {"src", "href", "onclick", "onload"}.intersection(e.keys())]
    assert "url(" not in page
    assert "http" not in page


def test_names_cannot_command_a_terminal() -> None:
    x = make_variable("x")
    graph = Graph([make_node("relu", "evil\x1b[2J", [x])[0]])
    data = np.ones((2, 3), np.float32)
    profile = engine.compile_graph(graph, {}, {"x": TensorType.of(data)}).profile([data])
    assert "\x1b" not in str(profile)
    assert r"evil\x1b[2J" in str(profile)


def test_nothing_recorded_is_an_empty_profile() -> None:
    with mx.profiler.profile("quiet") as profile:
        pass
    assert str(profile) == "quiet: nothing ran"
    assert profile.to_dict()["steps"] == []
    ElementTree.fromstring(profile.to_html().removeprefix("<!DOCTYPE html>\n"))


def test_calls_from_several_threads_are_all_recorded() -> None:
    net, data = network()
    net.optimize_for(data)
    expected = net(data).asnumpy()
    wrong: list[Array] = []

    def work() -> None:
        for _ in range(5):
            got = net(data).asnumpy()
            if not np.array_equal(got, expected):
                wrong.append(got)

    with mx.profiler.profile() as profile:
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []
    check(profile, 20)


def test_profile_of_inputs_that_do_not_fit_is_refused() -> None:
    run, data = with_host_step()
    with pytest.raises(ShapeError, match=r"'x' must have shape \(3, 5\)"):
        run.profile([data[:2]])
    for rounds, warmup in ((0, 1), (1, -1)):
        with pytest.raises(ValueError, match=f"got {rounds} and {warmup}"):
            run.profile([data], rounds, warmup)


def test_operators_of_blocks_that_are_not_compiled_are_named_by_their_block() -> None:
    """As the whole network's graph names them, though blocks of one kind share their programs."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.Activation("relu"), nn.HybridSequential())
    net[2].add(nn.Activation("relu"), nn.Flatten())
    net.initialize()
    x = mx.np.ones((1, 3, 6, 6))
    net(x)
    with mx.profiler.profile() as profile:
        net(x)
        net(x)
    found = {step.name: len(step.seconds) for step in profile.steps()}
    net.hybridize()
    net(x)
    nodes = {node.name for node in net.export(None)[0].operations()}
    assert nodes - {"2.1_flatten"} <= found.keys()  # a view, which takes no time
    assert {"0_convolution", "1_activation", "2.0_activation"} <= nodes
    assert set(found.values()) == {2}
    assert all(name.startswith(("0_", "1_", "2.0_", "2.1_")) for name in found)
    assert {entry["step"] for entry in profile.timeline()} == set(range(len(profile.steps())))


@pytest.mark.parametrize(
    ("kernel", "cost", "mark", "word"),
    [
        ("winograd: f32_winograd", Cost(10**9, 1), "¹", "Winograd"),
        ("matmul: u8_igemm_4x2v", Cost(10**9, 1), "²", "int8 instructions"),
        ("copy", Cost(0, 10**9), "³", "from a cache"),
        ("matmul: f32_igemm_6x2v", Cost(10**9, 1), "⁴", "busier"),
        ("matmul: f32_igemm_6x2v", Cost(10**4, 1), "", None),
    ],
)
def test_more_than_the_peak_has_a_footnote(
    kernel: str, cost: Cost, mark: str, word: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = StepProfile(0, "step", kernel, None, cost, (1e-3,), 1.0, Peaks(1e11, 1e10))
    profile = Profile([], 1)
    monkeypatch.setattr(profile, "steps", lambda sort=False: [step])
    assert step.row[8].endswith(f"%{mark}")
    assert (step.row[8].rstrip("¹²³⁴%") > "") and (int(step.row[8].rstrip("¹²³⁴").rstrip("%")) > 100) == bool(mark)
    notes = profile.footnotes()
    assert len(notes) == bool(mark)
    if word is not None:
        assert notes[0].startswith(f"{mark} ")
        assert word in notes[0]
        assert notes[0] in profile.format()
        assert word in profile._repr_html_()
