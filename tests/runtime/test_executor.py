"""Outputs belong to who holds them; memory is used again only when nobody does; NumPy steps see what they should."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from processes import Array, force_threads, network

from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.lowering import lower
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops.registry import TensorType
from minidnn.plan.layout import ALIGNMENT
from minidnn.plan.program import HostStep, Program
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import library
from minidnn.runtime.threads import pool


def _relu(shape: tuple[int, ...] = (3, 50), outputs: int = 1) -> Executor:
    x = make_variable("x")
    graph = Graph([make_node("relu", f"relu{i}", [x])[0] for i in range(outputs)])
    types = {"x": (TensorType(shape, np.dtype(np.float32)), PLAIN)}
    return Executor(lower(graph, {}, types, None, library().isa), library(), pool)


def _full(value: float) -> Array:
    return np.full((3, 50), value, np.float32)


def test_outputs_are_not_overwritten_while_held() -> None:
    run = _relu()
    held = [run([_full(i)])[0] for i in range(20)]
    for i, array in enumerate(held):
        np.testing.assert_array_equal(array, i)
    assert len({a.ctypes.data for a in held}) == 20


def test_memory_is_used_again_when_nobody_holds_it() -> None:
    run = _relu()
    addresses = set()
    for i in range(20):
        (array,) = run([_full(i)])
        addresses.add(array.ctypes.data)
        del array
    assert len(addresses) == 1


_HOLDERS: dict[str, Callable[[Array], Any]] = {
    "view": lambda a: a[1:],
    "reshaped": lambda a: a.reshape(-1)[3:],
    "transposed": lambda a: a.T,
    "memoryview": lambda a: memoryview(a),  # type: ignore[arg-type]
    "flat": lambda a: a.flat,
    "bytes of it": lambda a: np.frombuffer(a, np.uint8),
    "iterator": iter,
}


@pytest.mark.parametrize("kind", _HOLDERS)
def test_whatever_looks_at_an_output_holds_it(kind: str) -> None:
    run = _relu()
    holder = _HOLDERS[kind](run([_full(1)])[0])
    others = [run([_full(2)])[0] for _ in range(10)]
    seen = np.asarray(list(holder) if kind in ("iterator", "flat") else holder)
    assert (seen.view(np.float32) == 1).all()
    assert len(others) == 10


def test_torch_holds_an_output_too() -> None:
    torch = pytest.importorskip("torch")
    run = _relu()
    tensor = torch.from_numpy(run([_full(1)])[0])
    for _ in range(10):
        run([_full(2)])
    assert bool((tensor == 1).all())


def test_outputs_of_one_run_lie_apart() -> None:
    first, second, third = _relu(outputs=3)([_full(1)])
    assert not np.may_share_memory(first, second)
    assert not np.may_share_memory(second, third)


def test_outputs_can_be_written_to() -> None:
    run = _relu()
    (array,) = run([_full(1)])
    array[...] = 99
    np.testing.assert_array_equal(run([_full(1)])[0], 1)


def test_inputs_are_not_written_to_and_not_kept() -> None:
    run = _relu()
    x = _full(-3)
    x.flags.writeable = False
    run([x])
    np.testing.assert_array_equal(x, -3)
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None


def test_outputs_are_aligned() -> None:
    run = _relu((5,))
    for _ in range(5):
        held = run([np.ones(5, np.float32)])
        assert held[0].ctypes.data % ALIGNMENT == 0


def test_outputs_given_up_by_other_threads_are_not_mixed_up() -> None:
    run = _relu()
    wrong = []

    def work(number: int) -> None:
        kept: list[Array] = []
        for _ in range(200):
            kept.append(run([_full(number)])[0])
            if len(kept) > 3:
                kept.pop(0)
            if not all((array == number).all() for array in kept):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_an_error_in_a_numpy_step_leaves_the_executor_usable() -> None:
    x = make_variable("x")
    graph = Graph([make_node("unwrap", "unwrap", [make_node("relu", "relu", [x])[0]])[0]])
    program = lower(graph, {}, {"x": (TensorType((3, 50), np.dtype(np.float32)), PLAIN)}, None, library().isa)

    def refuse(arrays: Sequence[Array]) -> Sequence[Array]:
        if arrays[0][0, 0] == 7:
            raise ArithmeticError("seven")
        return [arrays[0] + 1]

    steps = tuple(replace(s, compute=refuse) if isinstance(s, HostStep) else s for s in program.steps)
    run = Executor(replace(program, steps=steps), library(), pool)
    for _ in range(3):
        with pytest.raises(ArithmeticError, match="seven"):
            run([_full(7)])
        np.testing.assert_array_equal(run([_full(1)])[0], 2)


def test_a_numpy_step_between_kernels_sees_a_view_by_its_own_shape() -> None:
    x = make_variable("x")
    for layout in (PLAIN, CHANNELS_LAST):
        turned = make_node("transpose", "transpose", [x], {"axes": (0, 2, 3, 1)})[0]
        rolled = make_node("roll", "roll", [turned], {"shift": (1,), "axis": (3,)})[0]
        graph = Graph([make_node("swapaxes", "swapaxes", [rolled], {"dim1": 1, "dim2": 3})[0]])
        array = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
        given = array if layout == PLAIN else np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
        types = {"x": (TensorType.of(array), layout)}
        run = Executor(lower(graph, {}, types, None, library().isa), library(), pool)
        expected = np.roll(array.transpose(0, 2, 3, 1), 1, 3).swapaxes(1, 3)
        np.testing.assert_array_equal(run([given])[0], expected)


def test_the_program_prints_its_steps() -> None:
    run, _, _ = network()
    text = str(run.program)
    assert text.startswith("program: ")
    assert "convolution0" in text
    assert "loop in" in text


def test_the_arena_is_no_larger_than_what_lives_at_once() -> None:
    run, x, expected = network()
    program: Program = run.program
    assert program.arena_bytes <= 3 * max(x.nbytes * 4, expected.nbytes * 2)


def test_helpers_are_woken_only_where_there_are_tasks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    small, (large, x, expected), before = _relu(), network(80), pool.threads
    force_threads(3)
    try:
        large([x])  # helpers that are started remember where they sleep
        monkeypatch.setattr(pool, "_asleep", {object()})
        monkeypatch.setattr(pool, "_wake", woken.append)
        np.testing.assert_array_equal(small([_full(2)])[0], 2)
        assert woken == []
        np.testing.assert_array_equal(large([x])[0], expected)
        assert set(woken) == {2}
    finally:
        force_threads(before)
