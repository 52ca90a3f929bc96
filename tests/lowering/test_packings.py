"""Constants that kernels write before a program runs: by whoever is first, and again where that did not end well."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from small_graphs import Array, assert_close, node, normal, run

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering import WeightStore, lower
from minidnn.lowering.steps import _PACKINGS
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Packing, Program
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import library
from minidnn.runtime.threads import ThreadPool, pool

_WEIGHTS = {"w": normal(24, 20) / np.float32(5), "v": normal(24, 24, seed=1) / np.float32(5)}


class _Network:
    """Two dense layers that are planned for any number of rows."""

    def __init__(self, has_gaps: bool = False) -> None:
        # Weights with gaps are copied first.
        gaps = 2 if has_gaps else 1
        self.parameters = {name: np.repeat(weight, gaps, 1)[:, ::gaps] for name, weight in _WEIGHTS.items()}
        hidden = node("fully_connected", make_variable("x"), make_variable("w"), num_hidden=24, no_bias=True)
        made = node("fully_connected", hidden, make_variable("v"), num_hidden=24, no_bias=True, name="second")
        self._graph, self._store = Graph([made]), WeightStore(self.parameters)

    def plan(self, rows: int = 3) -> Program:
        inputs = {"x": (TensorType((rows, 20), np.dtype(np.float32)), "plain")}
        versions = dict.fromkeys(self.parameters, 0)
        return lower(self._graph, self.parameters, inputs, ["plain"], library().isa, versions, {}, self._store)


def _packed(program: Program) -> set[int]:
    """Which constants kernels have written."""
    return {id(constant) for constant in program.constants if constant.dtype == np.uint8}


def _check(program: Program) -> None:
    x = normal(program.inputs[0].type.shape[0], 20, seed=2)
    assert_close(run(program, [x])[0], x @ _WEIGHTS["w"].T.astype(np.float64) @ _WEIGHTS["v"].T, 1e-5)


def test_what_one_program_has_packed_the_next_one_need_not() -> None:
    net = _Network()
    first = net.plan()
    assert [packing.is_done for packing in first.packings] == [False, False]
    Executor(first, library(), pool)
    assert [packing.is_done for packing in first.packings] == [True, True]
    for rows in (3, 7):
        assert net.plan(rows).packings == ()
        _check(net.plan(rows))
    _check(first)


@pytest.mark.parametrize("rows", [3, 7])
def test_what_another_program_is_to_pack_is_packed_by_whoever_runs_first(rows: int) -> None:
    net = _Network()
    first, second = net.plan(), net.plan(rows)
    assert first.packings == second.packings
    assert _packed(first) == _packed(second)
    _check(second)
    _check(first)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_packing_that_was_interrupted_begins_again(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    net = _Network()
    program = net.plan()

    def refuse(self: ThreadPool, job: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ThreadPool, "run", refuse)
        with pytest.raises(error):
            Executor(program, library(), pool)
    assert [packing.is_done for packing in program.packings] == [False, False]
    again = net.plan(5)
    assert again.packings == program.packings
    _check(again)
    _check(program)


@pytest.mark.parametrize("trial", range(4))
def test_threads_that_plan_at_once_share_what_is_packed(trial: int) -> None:
    net, start = _Network(), threading.Barrier(4)
    programs: list[Program] = []

    def plan(rows: int) -> None:
        start.wait()
        program = net.plan(rows)
        _check(program)
        programs.append(program)

    threads = [threading.Thread(target=plan, args=(rows,)) for rows in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(programs) == 4
    assert len({number for program in programs for number in _packed(program)}) == 2


def test_what_was_never_packed_goes_with_its_network() -> None:
    gc.collect()
    net = _Network()
    known, parameter = len(_PACKINGS._by_id), weakref.ref(net.parameters["w"])
    program = net.plan()
    assert len(_PACKINGS._by_id) == known + 2
    del program, net
    gc.collect()
    assert len(_PACKINGS._by_id) == known
    assert parameter() is None


def test_weights_stay_only_until_they_are_packed() -> None:
    weights: Array = normal(24, 20)
    kept = weakref.ref(weights)
    program = lower(
        Graph([node("fully_connected", make_variable("x"), make_variable("w"), num_hidden=24, no_bias=True)]),
        {"w": weights},
        {"x": (TensorType((3, 20), np.dtype(np.float32)), "plain")},
        None,
        library().isa,
    )
    del weights
    assert kept() is not None
    Executor(program, library(), pool)
    gc.collect()
    assert kept() is None
    assert all(isinstance(packing, Packing) for packing in program.packings)


def test_whoever_packs_holds_what_it_reads_though_another_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    net = _Network(has_gaps=True)
    first, second = net.plan(), net.plan(7)
    run_job, held = ThreadPool.run, []

    def pack_meanwhile(self: ThreadPool, job: Any) -> None:
        monkeypatch.setattr(ThreadPool, "run", run_job)
        arrays = [weakref.ref(a) for packing in first.packings for a in packing.arrays or () if a is not None]
        Executor(second, library(), pool)
        gc.collect()
        held.extend(reference() is not None for reference in arrays)
        run_job(self, job)

    monkeypatch.setattr(ThreadPool, "run", pack_meanwhile)
    executor = Executor(first, library(), pool)
    assert len(held) >= 4
    assert all(held)
    assert executor.program is first
    _check(first)
