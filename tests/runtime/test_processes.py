"""Processes: forks in the middle, spawned workers, Ctrl-C, and the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import environment, python

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

_SETUP = """
import os, sys, threading, time
import numpy as np
from processes import force_threads, network
run, x, expected = network()
"""

# Ends with 0 if a forked child gets right results and itself ends with 0; kills a child that hangs.
_CHILD = """
def in_child(timeout=30):
    pid = os.fork()
    if pid == 0:
        right = all(np.array_equal(run([x])[0], expected) for _ in range(3))
        force_threads(3)
        right = right and all(np.array_equal(run([x])[0], expected) for _ in range(3))
        os._exit(0 if right else 3)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hung"
"""


@needs_fork
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_forked_child_of_a_process_with_helpers(threads: int) -> None:
    program = f"""{_SETUP}{_CHILD}
force_threads({threads})
for _ in range(5):
    run([x])
codes = [in_child() for _ in range(5)]
assert np.array_equal(run([x])[0], expected), "the parent goes on"
print(codes)
"""
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 0, 0, 0, 0]\n"


@needs_fork
def test_forks_while_other_threads_are_running() -> None:
    program = f"""{_SETUP}{_CHILD}
force_threads(3)
stop = False
def work():
    while not stop:
        run([x])
workers = [threading.Thread(target=work) for _ in range(3)]
for worker in workers:
    worker.start()
codes = [in_child() for _ in range(40)]
stop = True
for worker in workers:
    worker.join()
print(set(map(str, codes)))
"""
    done = python(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'0'}\n"


@needs_fork
def test_a_child_may_fork_again_and_exit_in_the_ordinary_way() -> None:
    program = f"""{_SETUP}
force_threads(2)
run([x])
depth = 0
while depth < 3:
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    depth += 1
    assert np.array_equal(run([x])[0], expected)
"""
    done = python(program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    # Spawned workers import this program's main module by file; here they find `work` in `workers`.
    program = f"""
import multiprocessing
import workers
from processes import force_threads
if __name__ == "__main__":
    force_threads(2)
    assert workers.work(0)
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        assert all(pool.map(workers.work, range(6)))
"""
    done = python(program)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_ends_a_loop_of_inferences(threads: int) -> None:
    program = f"""{_SETUP}
force_threads({threads})
print("ready", flush=True)
try:
    while True:
        run([x])
except KeyboardInterrupt:
    assert np.array_equal(run([x])[0], expected), "and leaves the network usable"
    raise
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "KeyboardInterrupt" in errors
    assert "AssertionError" not in errors
    assert process.returncode == -signal.SIGINT


def test_the_end_may_come_while_helpers_are_awake() -> None:
    program = f"""
import minidnn.runtime.threads as threads
threads._PATIENCE = 10**9  # they do not go to sleep
{_SETUP}
force_threads(4)
run([x])
"""
    for _ in range(2):
        done = python(program)
        assert done.returncode == 0, done.stderr


def test_the_end_may_come_while_other_threads_run() -> None:
    program = f"""{_SETUP}
force_threads(3)
def work():
    while True:
        run([x])
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
"""
    for _ in range(2):
        done = python(program)
        assert done.returncode == 0, done.stderr
