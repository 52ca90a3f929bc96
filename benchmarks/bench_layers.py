"""Single layers and the residual block: eager against fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import LAYERS, Layer, ResidualBlock, checked_pair, residual_data

import minidnn as mx
from minidnn.cli.timing import inference


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layer(take_turns: Any, random: np.random.Generator, layer: Layer) -> None:
    data = mx.np.array(random.standard_normal(layer.shape, np.float32))
    eager, fused = checked_pair(layer.make, data)
    take_turns({"fused": inference(fused, data), "eager": inference(eager, data)}, 40)


def test_residual_block(take_turns: Any, random: np.random.Generator) -> None:
    data = residual_data(random)
    eager, fused = checked_pair(ResidualBlock, data)
    take_turns({"fused": inference(fused, data), "eager": inference(eager, data)})
