"""Every row of the ISA table that this machine has runs every kernel right, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidnn.runtime.library import chosen_isa
from minidnn_kernels.isa import ISAS, get_isa, host_supports

_PROGRAM = Path(__file__).with_name("every_kernel.py")
_LOOPS = {
    *(
        "attention_loop",
        "copy_loop",
        "depthwise_loop",
        "elementwise_loop",
        "global_pool_loop",
        "matmul_loop",
        "pool_loop",
        "rows_loop",
    ),
    *("transposed_loop", "winograd_loop"),
}


def _run(isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIDNN_ISA": isa}
    command = [sys.executable, "-W", "error", str(_PROGRAM)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize("name", [isa.name for isa in ISAS if host_supports(isa)])
def test_every_kernel_on_every_isa_of_this_machine(name: str) -> None:
    done = _run(name)
    assert done.returncode == 0, done.stderr
    floats, integers = done.stdout.splitlines()
    isa, *loops = floats.split()
    assert isa == name
    assert set(loops) >= _LOOPS
    products = {"depthwise_loop", "matmul_loop"} | ({"winograd_loop"} if get_isa(name).arch == "x86_64" else set())
    # Signed bytes may be widened before they meet many weights.
    assert set(integers.split()) - {"elementwise_loop"} == {"copy_loop"} | products


@pytest.mark.parametrize("name", ["avx", "AVX2", "", " "])
def test_an_isa_that_is_not_in_the_table_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDNN_ISA", name)
    if not name:
        assert host_supports(chosen_isa.__wrapped__()), "nothing said is nothing asked for"
        return
    with pytest.raises(ValueError, match=r"unknown ISA .*; known: sse, avx2"):
        chosen_isa.__wrapped__()


@pytest.mark.parametrize("name", [isa.name for isa in ISAS if not host_supports(isa)])
def test_an_isa_that_this_machine_does_not_have_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDNN_ISA", name)
    with pytest.raises(ValueError, match=f"MINIDNN_ISA={name}: this machine does not have"):
        chosen_isa.__wrapped__()
