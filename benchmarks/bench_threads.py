"""What a second thread brings: every network of the zoo, and a block of small layers, on one thread and on two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import InvertedResidual

import minidnn as mx
from minidnn.cli.timing import Timing
from minidnn.gluon.model_zoo import vision


def _on(threads: int, net: Any, data: Any) -> Callable[[], None]:
    def run() -> None:
        mx.set_num_threads(threads)
        net(data).wait_to_read()

    return run


def _gain(timings: dict[str, Timing]) -> str:
    two, one = timings.values()
    return f"time(1) / time(2) = {one.minimum_ms / two.minimum_ms:.2f}"


def _compare(take_turns: Any, net: Any, data: Any, rounds: int) -> None:
    before = mx.get_num_threads()
    if before < 2:
        pytest.skip("there is one core")
    net.initialize()
    net.optimize_for(data)
    try:
        take_turns({"2 threads": _on(2, net, data), "1 thread": _on(1, net, data)}, rounds, _gain)
    finally:
        mx.set_num_threads(before)


@pytest.mark.parametrize("name", vision.list_models())
def test_network(take_turns: Any, random: np.random.Generator, name: str) -> None:
    size = vision.get_image_size(name)
    data = mx.np.array(random.standard_normal((1, 3, size, size), np.float32))
    _compare(take_turns, vision.get_model(name), data, rounds=15)


def test_inverted_residual_block(take_turns: Any, random: np.random.Generator) -> None:
    data = mx.np.array(random.standard_normal((1, 24, 56, 56), np.float32))
    _compare(take_turns, InvertedResidual(), data, rounds=200)
