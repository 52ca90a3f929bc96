"""A process whose kernels are all in the cache does not load LLVM; its results are those of the one that compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import environment, python

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere LLVM loads all code")

# Layers of every kind, float32 and int8, on several threads; it prints what is to be the same in every process.
_PROGRAM = """
import sys
import numpy as np
import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from processes import force_threads
net = nn.HybridSequential()
net.add(nn.Conv2D(20, 3, padding=1, in_channels=3), nn.BatchNorm(in_channels=20), nn.Activation("relu"))
net.add(nn.Conv2D(24, 3, padding=1, in_channels=20), nn.Conv2D(24, 3, groups=24, in_channels=24), nn.MaxPool2D())
net.add(nn.Conv2DTranspose(8, 3, in_channels=24), nn.Dense(11, in_units=8 * 81), nn.LayerNorm(in_channels=11))
mx.random.seed(1)
net.initialize()
x = mx.np.array(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32))
force_threads(2)
net.optimize_for(x)
results = [net(x), mx.npx.softmax(net(x)), quantize_net(net, calib_mode="naive", calib_data=[x])(x), x.sum(axis=1)]
assert mx.runtime.stats().kernels_from_cache + mx.runtime.stats().kernels_compiled > 10
print(mx.runtime.stats().kernels_compiled, file=sys.stderr)
print(*(result.asnumpy().tobytes().hex() for result in results))
"""
_IS_LOADED = """
from pathlib import Path
print("llvmlite" in Path("/proc/self/maps").read_text(), file=sys.stderr)
"""


class _Warm(NamedTuple):
    """A cache, and what the process printed that filled it."""

    folder: Path
    results: str


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> _Warm:
    folder = tmp_path_factory.mktemp("cache")
    done = python(_PROGRAM + _IS_LOADED, timeout=300, MINIDNN_CACHE_DIR=str(folder))
    assert done.stderr.split()[1:] == ["True"], done.stderr
    return _Warm(folder, done.stdout)


def test_with_a_warm_cache_llvm_is_not_loaded(warm: _Warm) -> None:
    done = python(_PROGRAM + _IS_LOADED, MINIDNN_CACHE_DIR=str(warm.folder))
    assert (done.stdout, done.stderr) == (warm.results, "0\nFalse\n")


def _copy(warm: _Warm, to: Path) -> list[Path]:
    """The entries of a copy of that cache, the smallest first."""
    shutil.copytree(warm.folder, to)
    to.chmod(0o700)
    return sorted(to.iterdir(), key=lambda path: path.stat().st_size)


def test_damaged_entries_are_not_executed_but_compiled_again(warm: _Warm, tmp_path: Path) -> None:
    for number, entry in enumerate(_copy(warm, tmp_path / "cache")[-3:]):
        content = bytearray(entry.read_bytes())
        content[-100 * number - 300] ^= 0x40
        entry.write_bytes(content)
    done = python(_PROGRAM + _IS_LOADED, timeout=300, MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.stdout, done.stderr) == (warm.results, "3\nTrue\n")


def test_processes_that_begin_together_share_a_cache(warm: _Warm, tmp_path: Path) -> None:
    for entry in _copy(warm, tmp_path / "cache")[:8]:  # microkernels
        entry.unlink()
    command = [sys.executable, "-W", "error", "-c", _PROGRAM]
    changes = environment(MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, env=changes, stdout=pipe, stderr=pipe, text=True) for _ in range(3)]
    ended = [process.communicate(timeout=400) for process in started]
    assert [out for out, _ in ended] == [warm.results] * 3, ended[0][1]
    done = python(_PROGRAM + _IS_LOADED, MINIDNN_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.stdout, done.stderr) == (warm.results, "0\nFalse\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_runs_what_its_parent_has_loaded_and_loads_more(warm: _Warm) -> None:
    program = f"""{_PROGRAM}
import os
for trial in range(3):
    pid = os.fork()
    if pid == 0:
        right = np.array_equal(net(x).asnumpy(), results[0].asnumpy()) and (x * 2 + trial).asnumpy().any()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    done = python(program, MINIDNN_CACHE_DIR=str(warm.folder))
    assert done.returncode == 0, done.stderr
