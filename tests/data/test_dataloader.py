"""The DataLoader: the same batches whoever makes them; what goes wrong in a worker reaches the caller."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from data_helpers import Computing, Ending, Niceness, Numbers, Process, Random, Troubled, Unloadable

import minidnn as mx
from minidnn.errors import MXNetError, ShapeError
from minidnn.gluon.data import ArrayDataset, DataLoader, IntervalSampler, SimpleDataset, batchify

HERE = Path(__file__).parent
WORKERS = [{}, {"num_workers": 2}, {"num_workers": 3, "thread_pool": True}]
PROCESSES = {"num_workers": 2}
THREADS = {"num_workers": 2, "thread_pool": True}


def segments(process: int | None = None) -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"minidnn-batches-{process or os.getpid()}-*")}


def read(batches: Any) -> None:
    for _ in batches:
        pass


def children() -> set[int]:
    return {p.pid for p in psutil.Process().children() if "_worker import main" in " ".join(p.cmdline())}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("size", [2, 30000])  # bytes through the pipe, and through shared memory
def test_batches_are_the_same_whoever_makes_them(workers: dict[str, Any], size: int) -> None:
    loader = DataLoader(Numbers(10, size), 4, **workers)
    assert len(loader) == 3
    for _ in range(2):
        batches = [*loader]
        assert [x.shape for x, _ in batches] == [(4, size), (4, size), (2, size)]
        assert [y.tolist() for _, y in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        for x, y in batches:
            assert (type(x), x.dtype, type(y)) == (mx.np.ndarray, np.float32, mx.np.ndarray)
            np.testing.assert_array_equal(x.asnumpy(), np.repeat(y.asnumpy()[:, None], size, 1))
            x[:] = 1  # they can be written to


def test_batches_outlive_the_loader_and_nothing_is_left_behind() -> None:
    before, running = segments(), children()
    loader = DataLoader(Numbers(8, 100_000), 4, **PROCESSES)
    iterator = iter(loader)
    first = next(iterator)[0]
    assert len(children() - running) == 2
    iterator.close()
    second = next(iter(loader))[0]  # the rest of the first epoch is dropped, the workers are kept
    del iterator, loader
    gc.collect()
    assert children() == running
    assert segments() == before
    np.testing.assert_array_equal(first.asnumpy(), second.asnumpy())


def test_what_is_no_array_comes_through_too() -> None:
    samples = [{"name": f"n{i}", "pixels": np.full(20000, i)} for i in range(4)]
    [batch] = DataLoader(SimpleDataset(samples), 4, batchify_fn=batchify.AsList(), num_workers=1)
    assert [sample["name"] for sample in batch] == ["n0", "n1", "n2", "n3"]
    assert all((sample["pixels"] == i).all() and type(sample["pixels"]) is np.ndarray for i, sample in enumerate(batch))


def test_shared_memory_that_is_full_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from minidnn.gluon.data import _transport

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    batch = [mx.np.ones((300, 300))]
    parcel = _transport.pack(batch, str(tmp_path))
    assert parcel.path is None and parcel.tree is batch
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("workers", WORKERS)
def test_samplers_and_last_batches(workers: dict[str, Any]) -> None:
    order = DataLoader(Numbers(), 4, sampler=IntervalSampler(10, 3), last_batch="discard", **workers)
    assert [y.tolist() for _, y in order] == [[0, 3, 6, 9], [1, 4, 7, 2]]
    shuffled = DataLoader(Numbers(100), 100, shuffle=True, **workers)
    [first], [second] = ([y.tolist() for _, y in shuffled] for _ in range(2))
    assert sorted(first) == sorted(second) == [*range(100)] and first != second
    own = DataLoader(Numbers(), batch_sampler=[[1], [2, 3]], **workers)
    assert len(own) == 2 and [y.tolist() for _, y in own] == [[1], [2, 3]]
    assert [*DataLoader(Numbers(0), 4, **workers)] == []


def test_rollover_carries_over_to_the_next_epoch() -> None:
    loader = DataLoader(Numbers(5), 3, last_batch="rollover", num_workers=1, thread_pool=True)
    assert [[y.tolist() for _, y in loader] for _ in range(2)] == [[[0, 1, 2]], [[3, 4, 0], [1, 2, 3]]]


def test_arguments_that_do_not_fit_together_are_refused() -> None:
    for arguments, message in (
        ({}, "batch_size must be specified"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 2, "shuffle": True, "sampler": [0, 1]}, "shuffle must not"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "must not be specified if batch_sampler"),
        ({"batch_size": 2, "last_batch": "drop"}, "last_batch must be"),
        ({"batch_size": 2, "num_workers": -1}, "num_workers"),
        ({"batch_size": 2, "timeout": 0}, "timeout"),
        ({"batch_size": 2, "prefetch": -1}, "prefetch"),
    ):
        with pytest.raises(ValueError, match=message):
            DataLoader(Numbers(), **arguments)


@pytest.mark.parametrize("workers", WORKERS)
def test_an_exception_reaches_the_caller_with_its_traceback(workers: dict[str, Any]) -> None:
    loader = DataLoader(Troubled("raise"), 2, **workers)
    batches = iter(loader)
    assert [next(batches)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(LookupError, match="there is no five") as caught:
        next(batches)
    shown = "".join(traceback.format_exception(caught.value))
    assert "data_helpers.py" in shown and 'raise LookupError("there is no five")' in shown
    assert "while sample 5 of the data set was read" in shown
    assert next(iter(loader))[1].tolist() == [0, 1]  # and the loader still works


@pytest.mark.parametrize("workers", WORKERS)
def test_stop_iteration_is_an_error_that_names_the_sample(workers: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="sample 3 of the data set raised StopIteration"):
        read(DataLoader(Ending(), 2, **workers))


def test_an_exception_that_cannot_be_pickled_arrives_as_another() -> None:
    with pytest.raises(MXNetError, match="MisfortuneError: misfortune at 5"):
        read(DataLoader(Troubled("raise what cannot be pickled"), 2, **PROCESSES))


def test_a_batch_that_cannot_be_pickled_is_an_error() -> None:
    trouble = Troubled("give what cannot be pickled")
    with pytest.raises(Exception, match=r"(?i)pickle"):
        read(DataLoader(trouble, 2, batchify_fn=batchify.AsList(), **PROCESSES))


@pytest.mark.parametrize("workers", WORKERS)
def test_samples_that_make_no_batch_are_named(workers: dict[str, Any]) -> None:
    ragged = ArrayDataset([np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match="one shape") as caught:
        read(DataLoader(ragged, 2, **workers))
    assert any("of the samples 0, 1" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [("be killed", "was killed by SIGKILL before it gave the batch of samples 4, 5"), ("exit", "with exit code 3")],
)
def test_a_dead_worker_is_an_error_and_no_hang(trouble: str, message: str) -> None:
    loader = DataLoader(Troubled(trouble), 2, **PROCESSES)
    before = segments()
    for _ in range(2):  # the second epoch has new workers
        with pytest.raises(MXNetError, match=message):
            read(loader)
        assert segments() <= before


def test_a_worker_killed_from_outside_is_an_error() -> None:
    before = children()
    loader = DataLoader(Numbers(1000), 1, num_workers=2)
    batches = iter(loader)
    next(batches)
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(MXNetError, match="killed by SIGKILL"):
        read(batches)


def test_a_batch_that_does_not_come_is_an_error() -> None:
    loader = DataLoader(Troubled("hang"), 2, num_workers=1, timeout=4)
    with pytest.raises(MXNetError, match=r"no batch came from a worker within 4 s \(samples "):
        read(loader)


def test_a_thread_that_takes_too_long_is_an_error_too() -> None:
    go_on = threading.Event()
    waiting = Numbers().transform(lambda x, y: go_on.wait(60))
    with pytest.raises(MXNetError, match=r"within 0\.2 s \(samples 0, 1\)"):
        read(DataLoader(waiting, 2, num_workers=1, timeout=0.2, thread_pool=True))
    go_on.set()


def test_what_cannot_be_pickled_is_read_by_threads() -> None:
    before = children()
    doubled = DataLoader(Numbers().transform_first(lambda x: 2 * x), 10, num_workers=1)
    with pytest.warns(UserWarning, match=r"workers are threads, .* pickle .*; thread_pool=True"):
        [(x, y)] = doubled
    np.testing.assert_array_equal(x.asnumpy()[:, 0], 2 * y.asnumpy())
    assert children() == before
    [(x, y)] = DataLoader(Numbers().transform_first(lambda x: 2 * x), 10, num_workers=1, thread_pool=True)


def test_where_there_is_no_interpreter_threads_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    before = children()
    with pytest.warns(UserWarning, match="workers are threads, .* not an interpreter"):
        read(DataLoader(Numbers(), 5, num_workers=1))
    assert children() == before


def test_a_data_set_that_a_worker_cannot_load_is_an_error() -> None:
    with pytest.raises(MXNetError, match="could not load the data set: RuntimeError: a license is missing here"):
        read(DataLoader(Unloadable(), 2, num_workers=1))


def test_epochs_may_overlap_and_end_with_their_workers() -> None:
    loader = DataLoader(Numbers(), 2, num_workers=1)
    first, second = iter(loader), iter(loader)
    for _ in range(3):
        assert next(first)[1].tolist() == next(second)[1].tolist()
    loader.close()
    for epoch in (first, second):
        with pytest.raises(MXNetError, match="workers of this DataLoader have ended"):
            next(epoch)
    assert len([*loader]) == 5


def test_random_transforms_obey_the_seed_whatever_worker_runs_them() -> None:
    def draw(workers: int) -> list[Any]:
        mx.np.random.seed(7)
        return [batch.tolist() for batch in DataLoader(Random(), 2, num_workers=workers)]

    one, two = draw(1), draw(2)
    assert one == two
    assert len({tuple(row) for batch in one for row in batch}) == 10


def test_workers_are_processes_of_their_own_with_one_thread_each() -> None:
    pids, threads = zip(*DataLoader(Process(8), 1, **PROCESSES), strict=True)
    found = {pid.item() for pid in pids}
    assert len(found) == 2 and os.getpid() not in found
    assert {n.item() for n in threads} == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no niceness of its own")
def test_only_workers_run_at_a_lower_priority() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for how in (PROCESSES, THREADS):
        assert {n.item() for n in DataLoader(Niceness(4), 1, **how)} == {max(own, 10)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_networks_run_here_and_in_workers_at_once() -> None:
    net = mx.gluon.nn.Dense(4, in_units=4)
    net.initialize(mx.init.One())
    net.hybridize()
    for i, batch in enumerate(DataLoader(Computing(4), 1, **PROCESSES)):
        np.testing.assert_array_equal(net(batch.reshape(1, 4)).asnumpy(), np.full((1, 4), 12 * i))


def test_a_loader_can_be_pickled() -> None:
    loader = DataLoader(Numbers(), 4, num_workers=1)
    next(iter(loader))
    copy = pickle.loads(pickle.dumps(loader))  # noqa: S301
    assert len([*copy]) == 3


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from data_helpers import Numbers, Troubled
from minidnn.gluon.data import DataLoader
{body}
"""


def script(path: Path, body: str) -> Path:
    path.write_text(SCRIPT.format(here=str(HERE), body=body))
    return path


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    path = script(tmp_path / "bare.py", "print(len([*DataLoader(Numbers(), 4, num_workers=1)]))")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "3", "")


OWN = """
class Own(Numbers):
    pass

print(len([*DataLoader(Own(), 4, num_workers=2)]))
"""


def test_a_scripts_own_data_set_is_read_by_threads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, script(tmp_path / "own.py", OWN)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "3"), "the script ran once"
    assert "own.py" in done.stderr
    assert "workers are threads, since the data set cannot be sent to processes: it has classes" in done.stderr


GUARDED = """
if __name__ == "__main__":
    for x, y in DataLoader(Troubled("hang"), 1, num_workers=2):
        print(y, flush=True)
"""


def test_ctrl_c_ends_a_waiting_loader_and_its_workers(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, script(tmp_path / "slow.py", GUARDED)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(5)]
    assert lines[-1].strip() == "[4]"
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (1, -signal.SIGINT)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    assert not segments(process.pid)


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, script(tmp_path / "slow.py", GUARDED)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    deadline = time.monotonic() + 5
    while segments(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not segments(process.pid)
