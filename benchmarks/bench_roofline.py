"""Each layer's share of what the machine's FMA units can do, by a peak measured in the same minute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from minidnn_kernels.peak import measure_fma_peak
from nets import LAYERS, Layer

import minidnn as mx
from minidnn.cli.pairs import make_pair
from minidnn.cli.timing import Timing, inference


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_share_of_peak(take_turns: Any, benchmark: Any, random: np.random.Generator, layer: Layer) -> None:
    data = mx.np.array(random.standard_normal(layer.shape, np.float32))
    _, fused = make_pair(layer.make, data)
    peak = measure_fma_peak(mx.get_num_threads())  # FLOP/s

    def share(timings: dict[str, Timing]) -> str:
        rate = layer.flops / min(timings["fused"].seconds)
        benchmark.extra_info["share_of_peak"] = rate / peak
        return f"{rate / 1e9:6.1f} of {peak / 1e9:.1f} GFLOP/s: {rate / peak:.0%}"

    take_turns({"fused": inference(fused, data)}, 60, share)
