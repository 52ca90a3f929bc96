"""Ctrl-C wherever it comes: out of the call, with nothing left half done."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupts import interrupted
from processes import force_threads, python

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.process_safe import uninterrupted

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and POSIX signals"),
    # The parent of the children has helpers, which is what is tested.
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

Call = Callable[[], Any]
_X = mx.np.array(np.random.default_rng(0).standard_normal((1, 16, 12, 12)).astype(np.float32))


def _network() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(16, 3, padding=1, in_channels=16), nn.BatchNorm(in_channels=16), nn.Activation("relu"))
    net.add(nn.Dense(5, in_units=16 * 12 * 12))
    mx.random.seed(1)
    net.initialize()
    return net


def _eager() -> Call:
    net = _network()
    return lambda: net(_X).asnumpy()


def _operators() -> Call:
    return lambda: (mx.np.exp(_X * 1.5) + _X.sum(axis=1, keepdims=True)).asnumpy()


def _hybridized() -> Call:
    net = _network()
    net.hybridize()
    return lambda: net(_X).asnumpy()


def _optimizing() -> Call:
    net = _network()

    def call() -> Any:
        net.optimize_for(_X)
        return net(_X).asnumpy()

    return call


def _optimized() -> Call:
    net = _network()
    net.optimize_for(_X)
    return lambda: net(_X).asnumpy()


def _small() -> Call:
    net = nn.Dense(5, in_units=16)
    mx.random.seed(1)
    net.initialize()
    x = mx.np.arange(16).reshape(1, 16)
    net.optimize_for(x)
    return lambda: net(x).asnumpy()


def _quantizing() -> Call:
    net = _network()
    return lambda: quantize_net(net, calib_mode="naive", calib_data=[_X])(_X).asnumpy()


def _quantized() -> Call:
    net = quantize_net(_network(), calib_mode="naive", calib_data=[_X])
    return lambda: net(_X).asnumpy()


def _writing() -> Call:
    net = _network()
    net.optimize_for(_X)
    weight = net[0].weight.data()
    before = weight.asnumpy()

    def call() -> Any:
        weight[...] = before
        weight.__iadd__(1.0)
        return net(_X).asnumpy()

    return call


# What is called, and from how many events one is tried.
_CALLS = [
    (_eager, 397),
    (_operators, 97),
    (_hybridized, 797),
    (_optimizing, 1997),
    (_optimized, 5),
    (_small, 2),
    (_quantizing, 4999),
    (_quantized, 797),
    (_writing, 1997),
]


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize(("make", "stride"), _CALLS)
def test_an_interrupt_at_any_point_leaves_nothing_half_done(make: Callable[[], Call], stride: int, warm: bool) -> None:
    _interrupt(make, stride, warm)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "stride"), _CALLS)
def test_an_interrupt_at_many_more_points(make: Callable[[], Call], stride: int) -> None:
    _interrupt(make, max(stride // 11, 1), False)


def _interrupt(make: Callable[[], Call], stride: int, warm: bool) -> None:
    threads = mx.get_num_threads()
    force_threads(3)
    try:
        right = make()()
        call = make()
        if warm:
            assert np.array_equal(call(), right)
        assert list(interrupted(call, right, stride)) == []
    finally:
        force_threads(threads)


_TIMER = """
import os, random, signal, sys, threading, time
import numpy as np
from processes import force_threads, network
run, x, expected = network()
def stop(*_): raise KeyboardInterrupt
def child(delay, threads):
    force_threads(threads)
    signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        end = time.monotonic() + 20
        while time.monotonic() < end: run([x])
        return "swallowed"
    except KeyboardInterrupt:
        pass
    if not all(np.array_equal(run([x])[0], expected) for _ in range(20)): return "another result"
    names = [t.name for t in threading.enumerate() if t.name.startswith("minidnn-")]
    return "fine" if len(names) == len(set(names)) else "twice"
def forked(delay, threads):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, child(delay, threads).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe: told = pipe.read()
    os.waitpid(pid, 0)
    return told
print({forked(1e-4 + trial % 20 * 1e-4, 2 + trial % 3) for trial in range(60)})
"""


def test_real_signals_in_the_first_calls_of_a_process() -> None:
    """As users meet it: helpers start, jobs are posted, memory is made, and a signal comes."""
    done = python(_TIMER)
    assert done.stdout == "{'fine'}\n", done.stderr


def test_many_python_threads_go_on_while_the_main_thread_is_interrupted() -> None:
    done = python("""
import signal, threading, time
import numpy as np
from processes import force_threads, network
run, x, expected = network()
force_threads(3)
done, wrong = threading.Event(), []
def work():
    while not done.is_set():
        if not np.array_equal(run([x])[0], expected): wrong.append(1)
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers: worker.start()
def stop(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
caught = 0
for trial in range(100):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + trial % 10 * 2e-4)
        while True:
            if not np.array_equal(run([x])[0], expected): wrong.append(2)
    except KeyboardInterrupt:
        caught += 1
done.set()
for worker in workers: worker.join()
print(caught, wrong)
""")
    assert done.stdout == "100 []\n", done.stderr


def test_signals_are_handled_in_the_middle_of_a_long_run() -> None:
    done = python("""
import signal
import numpy as np, minidnn as mx
from minidnn.gluon import nn
net = nn.Dense(2048, in_units=4096); net.initialize()
x = mx.np.random.uniform(size=(4096, 4096)); right = net(x).asnumpy()
handled = []
signal.signal(signal.SIGALRM, lambda *_: handled.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
while len(handled) < 6:
    before = len(handled)
    same = np.array_equal(net(x).asnumpy(), right)
    if len(handled) > before + 1: break  # both in one call
else:
    print("only between calls")
print(same)
""")
    assert done.stdout == "True\n", done.stderr


def test_an_interrupted_import_can_be_begun_again() -> None:
    program = Path(__file__).with_name("interrupted_imports.py").read_text("utf-8")
    done = python(program, timeout=400)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr


def test_ctrl_c_in_a_terminal_does_not_reach_the_process_that_compiles_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    from minidnn.runtime import loops

    groups: list[bool] = []
    run = subprocess.run

    def watch(command: list[str], **options: Any) -> Any:
        groups.append(bool(options.get("start_new_session")))
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", watch)
    loops.compile_loops(["rows_loop"])
    assert groups == [True]


# --- the mechanism --------------------------------------------------------------------------------


def test_uninterrupted_work_gives_its_result_or_its_error() -> None:
    assert uninterrupted(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        uninterrupted(lambda: 1 // 0)


def test_uninterrupted_work_ends_though_the_wait_for_it_is_interrupted() -> None:
    import threading

    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        ended.set()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        killer = threading.Thread(target=lambda: (begun.wait(30), os.kill(os.getpid(), signal.SIGUSR1)))
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            uninterrupted(work)
        assert not ended.is_set()
        go_on.set()
        assert ended.wait(30)
        killer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_where_no_thread_can_be_had_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import _thread

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert uninterrupted(lambda: sys.version) == sys.version
