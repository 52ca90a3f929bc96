"""Each layer's share of what the machine's FMA units can do, by a peak measured in the same session.

Twice for each: the whole call, with the reorders of input and output that a layer alone needs and a layer inside a
network does not; and the layer's own step, as the profiler times it.

The operations counted are those of the direct convolution. Winograd's convolution does up to four times fewer, so a
layer that it runs can exceed the peak; such layers are measured a second time without it. Any other share above
100 % says that something else kept the cores busy whenever the peak was measured: measure again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nets import LAYERS, Layer, checked_pair

import minidnn as mx
from minidnn.cli.timing import Timing, inference
from minidnn_kernels.peak import measure_fma_peak

_WINOGRAD = [layer for layer in LAYERS if (layer.kernel, layer.stride, layer.groups) == (3, 1, 1)]


class Peak:
    """The best of many short measurements, some before each layer: one alone can fall into a busy moment."""

    def __init__(self) -> None:
        self.rate = 0.0  # FLOP/s

    def measure(self, times: int) -> None:
        threads = mx.get_num_threads()
        self.rate = max(self.rate, *(measure_fma_peak(threads) for _ in range(times)))


@pytest.fixture(scope="session")
def peak() -> Peak:
    peak = Peak()
    peak.measure(30)
    return peak


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_share_of_peak(take_turns: Any, benchmark: Any, random: np.random.Generator, peak: Peak, layer: Layer) -> None:
    _measure(take_turns, benchmark, random, peak, layer)


@pytest.mark.parametrize("layer", _WINOGRAD, ids=lambda layer: layer.name)
def test_share_of_peak_without_winograd(
    take_turns: Any,
    benchmark: Any,
    random: np.random.Generator,
    peak: Peak,
    layer: Layer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    _measure(take_turns, benchmark, random, peak, layer)


def _measure(take_turns: Any, benchmark: Any, random: np.random.Generator, peak: Peak, layer: Layer) -> None:
    data = mx.np.array(random.standard_normal(layer.shape, np.float32))
    _, fused = checked_pair(layer.make, data)
    peak.measure(5)

    run = inference(fused, data)
    with mx.profiler.profile() as recorded:
        for _ in range(60):
            run()
    own = min(step.minimum for step in recorded.steps() if step.name.startswith("fused_"))

    def note(timings: dict[str, Timing]) -> str:
        rates = [layer.flops / seconds for seconds in (min(timings["fused"].seconds), own)]
        whole, kernel = (f"{rate / 1e9:.0f} GFLOP/s ({rate / peak.rate:.0%})" for rate in rates)
        return f"{whole}, its kernel {kernel} of {peak.rate / 1e9:.0f} GFLOP/s"

    take_turns({"fused": run}, 60, note)
    benchmark.extra_info |= {"flops": layer.flops, "peak_flops_per_second": peak.rate, "kernel_seconds": own}
