"""Normalizations over pictures as steps, against their references in float64."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import check, node, normal, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN

var = make_variable


@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("constants", [["g", "b"], []])
@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (3, 12, 9), (1, 12, 2, 3, 4)])
def test_groups_and_instances(shape: tuple[int, ...], constants: list[str], layout: str) -> None:
    # A mean that is far from zero: what is left of the digits must be right.
    feed = {"x": normal(*shape) + np.float32(100), "g": normal(12, seed=1), "b": normal(12, seed=2)}
    names = [var(name) for name in feed]
    for made in (
        node("instance_norm", *names, eps=1e-3),
        *(node("group_norm", *names, num_groups=n, eps=1e-3) for n in (1, 3, 12)),
    ):
        program = check(Graph([made]), feed, constants, {"x": layout}, [layout], tolerance=3e-5)
        assert "host" not in steps(program)


@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("mode", ["instance", "channel", "spatial"])
def test_l2(mode: str, layout: str) -> None:
    graph = Graph([node("l2_normalization", var("x"), mode=mode)])
    assert "host" not in steps(check(graph, {"x": normal(2, 19, 5, 7)}, (), {"x": layout}))
