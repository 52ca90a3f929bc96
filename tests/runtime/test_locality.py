"""Data stays with the thread that made it: counted for shares as they are dealt, on every instruction set."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from locality import count_traffic, total

import minidnn as mx
from minidnn.gluon.model_zoo import vision
from minidnn.ir.graph import Graph
from minidnn.lowering import lower
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Program
from minidnn_kernels.isa import get_isa


@cache
def _network(name: str) -> tuple[Graph, dict[str, Any]]:
    """Its fused graph and its weights."""
    net = vision.get_model(name)
    net.initialize()
    # A small picture will do: what is computed from its size is the symbols'.
    net.optimize_for(mx.np.zeros((1, 3, 64, 64)))
    program = net._latest_program
    assert program is not None
    return program.graph.symbol, {key: array.asnumpy() for key, array in program.graph.arrays().items()}


@cache
def _program(name: str, images: int, isa: str) -> Program:
    graph, weights = _network(name)
    inputs = {"data": (TensorType((images, 3, 224, 224), np.dtype(np.float32)), "plain")}
    return lower(graph, weights, inputs, ["plain"], get_isa(isa))


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
@pytest.mark.parametrize("name", ["resnet50_v1", "mobilenetv2_1.0"])
def test_two_threads_read_little_of_what_the_other_wrote(name: str, isa: str) -> None:
    traffic = total(count_traffic(_program(name, 1, isa), 2))
    assert traffic.read > 20e6
    assert traffic.share <= 0.1


def test_each_thread_keeps_its_own_pictures() -> None:
    program = _program("mobilenetv2_1.0", 8, "avx2")
    for threads in (2, 8):
        assert total(count_traffic(program, threads)).share <= 0.02


def test_what_another_thread_wrote_is_counted() -> None:
    # The last layer reads all that both threads have made.
    program = _program("mobilenetv2_1.0", 1, "avx2")
    steps = count_traffic(program, 2)
    last = steps["output.0_convolution"]
    assert 0.3 < last.share < 0.7
    assert total(steps).crossing > last.crossing > 0
    assert total(count_traffic(program, 1)).crossing == 0
