"""Networks of the zoo: eager against fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import checked_pair

import minidnn as mx
from minidnn.cli.timing import inference
from minidnn.gluon.model_zoo import vision


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("name", ["resnet50_v1", "mobilenetv2_1.0"])
def test_batch(take_turns: Any, random: np.random.Generator, name: str, batch: int) -> None:
    _compare(take_turns, random, name, batch, rounds=15 if batch == 1 else 5)


@pytest.mark.parametrize("name", vision.list_models())
def test_network(take_turns: Any, random: np.random.Generator, name: str) -> None:
    _compare(take_turns, random, name, batch=1, rounds=10)


def _compare(take_turns: Any, random: np.random.Generator, name: str, batch: int, rounds: int) -> None:
    size = vision.get_image_size(name)
    data = mx.np.array(random.standard_normal((batch, 3, size, size), np.float32))
    eager, fused = checked_pair(lambda: vision.get_model(name), data)
    take_turns({"fused": inference(fused, data), "eager": inference(eager, data)}, rounds)
