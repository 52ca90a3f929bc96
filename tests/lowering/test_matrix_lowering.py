"""Layers of int8 and of bfloat16 lowered for AMX, and run with its instructions in NumPy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import small_graphs
from bfloat16_layers import LAYERS, kernels
from int8_layers import Layer
from small_graphs import check

import minidnn as mx
from minidnn.ir.graph import evaluate

sys.path.append(str(Path(__file__).parents[1] / "kernels"))

from matrix_registers import MATRIX_ISAS, WithMatrices


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> Iterator[WithMatrices]:
    """Programs are made for a CPU with matrix registers."""
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    # Python, which computes the instructions, would keep a second thread waiting for this one, and this one for it.
    threads = mx.get_num_threads()
    mx.set_num_threads(1)
    machine = WithMatrices(MATRIX_ISAS[-1])
    with patch.multiple(small_graphs, library=lambda: machine.library):
        yield machine
    mx.set_num_threads(threads)
    machine.check()


# Of rows long enough for matrices: shorter ones are multiplied by VNNI, which this machine may not have.
_INT8 = {
    "3x3": Layer((1, 48, 9, 11), 32, kernel=3, pad=(1, 1)),
    "1x1 to 70 with int8 residual": Layer((2, 64, 7, 7), 70, residual="int8"),
    "depth with a rest": Layer((1, 100, 5, 7), 33, residual="float32", out="float32"),
    "grouped": Layer((1, 128, 6, 5), 36, kernel=3, pad=(1, 1), groups=2, out="int8"),
    "scales of samples": Layer((3, 40, 5, 5), 35, kernel=3, pad=(1, 1), out="float32", by_sample=True),
    "one pixel": Layer((1, 200, 1, 1), 17, out="int32"),
}


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("name", _INT8)
def test_int8_is_exact(name: str, signed: bool, amx: WithMatrices) -> None:
    graph, parameters, _ = _INT8[name].node()
    feed = _INT8[name].feed(signed)
    program = small_graphs.compiled(graph, {**parameters, **feed}, [*parameters])
    results = small_graphs.run(program, [*feed.values()])
    amx.check()
    for result, wanted in zip(results, evaluate(graph, {**parameters, **feed}), strict=True):
        np.testing.assert_array_equal(result, wanted)
    # The ISA's own dot has no name.
    assert any(kernel.startswith(("u8_igemm_", "s8_igemm_")) and "vnni" not in kernel for kernel in kernels(program))


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_is_multiplied_as_matrices(name: str, amx: WithMatrices) -> None:
    layer = LAYERS[name]
    program = check(layer.graph(), layer.feed(True), ["w", "b"])
    assert any(kernel.startswith("bf16_igemm") for kernel in kernels(program)) == layer.is_paired(amx.isa)
