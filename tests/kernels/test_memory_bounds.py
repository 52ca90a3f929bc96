"""No kernel reads or writes a byte beyond its arrays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from microkernels import Machine

from minidnn_kernels.isa import best_isa

_PROGRAM = Path(__file__).with_name("fenced_kernels.py")


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(_PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_arrays_at_the_edge_of_mapped_memory(any_machine: Machine) -> None:
    done = _run(any_machine.isa.name)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    assert done.stdout == "within bounds\n"


@pytest.mark.parametrize("where", ["begin", "end"])
def test_the_edge_stops_a_kernel_that_goes_one_element_too_far(where: str) -> None:
    assert _run(best_isa().name, "beyond", where).returncode < 0


def test_the_edge_stops_an_integer_tile_that_goes_one_step_too_far(any_machine: Machine) -> None:
    assert _run(any_machine.isa.name, "beyond-row").returncode < 0
