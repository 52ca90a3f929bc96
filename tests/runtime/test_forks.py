"""Forks while other threads compile, draw, initialize or import: no child waits for a thread that it does not have."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import python

import minidnn as mx
from minidnn.process_safe import ForkSafeLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# `busy` is what the other threads do for ever, with numbers that never come again; the child does it too.
_PROGRAM = """
import faulthandler, itertools, os, threading, time
import numpy as np, minidnn as mx
from minidnn.gluon import nn
numbers = itertools.count(2)
{setup}
def busy(number):
{busy}
def work():
    for number in numbers: busy(number)
{before}
for _ in range(2): threading.Thread(target=work, daemon=True).start()
codes = set()
for trial in range({forks}):
    time.sleep({wait} * trial)
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(200, exit=True)
        for number in (1, 100_000 + trial): busy(number)
        assert np.array_equal(mx.np.exp(mx.np.zeros(3)).asnumpy(), np.ones(3))
        os._exit(0)
    codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(codes, flush=True)
os._exit(0)
"""

_BUSY = {
    "one block, new shapes": (
        "net = nn.Dense(4, in_units=3, flatten=False); net.initialize(); net.hybridize()",
        "    net(mx.np.ones((number % 500 + 1, 3)))",
    ),
    "operators, new shapes": ("", "    (mx.np.ones((number % 5000 + 1, 3)) * 2.0).sum()"),
    "new kernels": (
        "from minidnn_kernels.codegen import emit_asm\n"
        "from minidnn_kernels.isa import best_isa\n"
        "from minidnn_kernels.pooling import PoolSpec",
        "    emit_asm(PoolSpec('max').emit(best_isa()), best_isa())",
    ),
    "new blocks": (
        "",
        "    net = nn.Dense(number % 50 + 1); net.initialize(); net.optimize_for(mx.np.ones((1, 3)))",
    ),
    "random numbers": ("", "    mx.np.random.normal(size=(20_000,))"),
    "profiles": (
        "net = nn.Dense(4, in_units=3); net.initialize(); net.optimize_for(mx.np.ones((1, 3)))",
        "    try:\n        with mx.profiler.profile(): net(mx.np.ones((1, 3)))\n    except mx.MXNetError: pass",
    ),
}


@pytest.mark.parametrize("what", _BUSY)
def test_a_child_can_do_what_other_threads_were_doing(what: str, tmp_path: Path) -> None:
    setup, busy = _BUSY[what]
    program = _PROGRAM.format(setup=setup, busy=busy, before="busy(1)", forks=8, wait=0.0013)
    done = python(program, timeout=400, MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout == "{0}\n", done.stderr[-3000:]


@pytest.mark.parametrize("trial", range(2))
def test_a_fork_during_the_first_compilation(trial: int, tmp_path: Path) -> None:
    """The compiler is being imported, loops are compiled by another process, and nothing is in the cache."""
    setup, busy = _BUSY["operators, new shapes"]
    program = _PROGRAM.format(setup=setup, busy=busy, before="", forks=3, wait=0.1 + 0.1 * trial)
    done = python(program, timeout=400, MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout == "{0}\n", done.stderr[-3000:]


def test_an_interrupt_while_a_fork_waits_comes_after_it() -> None:
    done = python("""
import os, signal, threading, time
from minidnn_kernels.fork_lock import FORK_LOCK
held = threading.Event()
def hold():
    with FORK_LOCK:
        held.set()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
threading.Thread(target=hold).start()
held.wait()
caught = False
try:
    pid = os.fork()
    if pid == 0: os._exit(0 if FORK_LOCK.acquire(timeout=5) else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    while True: time.sleep(100)
except KeyboardInterrupt:
    caught = True
print(caught)
""")
    assert done.stdout == "True\n", done.stderr
    assert done.stderr == ""


def test_the_process_may_end_while_a_thread_compiles(tmp_path: Path) -> None:
    setup, busy = _BUSY["new kernels"]
    program = _PROGRAM.format(setup=setup, busy=busy, before="", forks=0, wait=0)
    done = python(program.replace("os._exit(0)", "time.sleep(1)"), MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


def _in_child(check: Any) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_held_by_another_thread_is_free_in_a_child_and_held_here() -> None:
    lock = ForkSafeLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.here:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)

    def is_free() -> bool:
        return bool(lock.here.acquire(timeout=0.1))  # type: ignore[attr-defined]

    try:
        assert not is_free()
        assert _in_child(is_free) == 0
        assert _in_child(lambda: is_free() and _in_child(is_free) == 0) == 0, "and in a child's child"
        assert not is_free()
    finally:
        done.set()
        holder.join()
    assert is_free()


def test_threads_that_ask_for_a_lock_at_once_get_one() -> None:
    for _ in range(50):
        lock, found = ForkSafeLock(), set[int]()
        barrier = threading.Barrier(4)

        def ask(lock: ForkSafeLock = lock, barrier: Any = barrier, found: set[int] = found) -> None:
            barrier.wait()
            found.add(id(lock.here))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_draws_the_numbers_that_this_process_draws_next() -> None:
    mx.random.seed(7)
    mx.np.random.normal(size=(3,))
    reader, writer = os.pipe()

    def draw() -> bool:
        os.write(writer, mx.np.random.normal(size=(5,)).asnumpy().tobytes())
        return True

    assert _in_child(draw) == 0
    drawn = np.frombuffer(os.read(reader, 1000), np.float32)
    os.close(reader)
    os.close(writer)
    np.testing.assert_array_equal(drawn, mx.np.random.normal(size=(5,)).asnumpy())


def test_an_end_with_a_thread_in_llvm_waits_for_it() -> None:
    done = python("""
import threading, time
from minidnn_kernels.fork_lock import FORK_LOCK
held = threading.Event()
def hold():
    with FORK_LOCK:
        held.set()
        time.sleep(0.5)
        print("out of it", flush=True)
    time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
held.wait()
""")
    assert done.stdout == "out of it\n", done.stderr
