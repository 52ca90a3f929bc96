"""Networks of the same weights, eager, fused and in int8: what every comparison here starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.contrib.quantization import quantize_net

__all__ = ["difference", "make_int8", "make_pair"]


def make_pair(make: Callable[[], Any], data: Any) -> tuple[Any, Any]:
    """Two networks with the same random weights; the second is fused and compiled for `data`.

    The weights keep the activations' magnitude: vanishing ones would time denormal numbers.

    Args:
        make: makes a network that is not initialized.
        data: a batch.
    """
    eager, fused = make(), make()
    eager.initialize(mx.init.MSRAPrelu())
    eager.infer_shape(data)
    fused.load_dict({name: parameter.data() for name, parameter in eager.collect_params().items()})
    fused.optimize_for(data)
    return eager, fused


def make_int8(net: Any, batches: Iterable[Any], mode: str = "naive") -> Any:
    """The network in int8, with a scale for each output channel of every weight.

    Args:
        net: with weights.
        batches: to calibrate on.
        mode: how: ``naive`` or ``entropy``.
    """
    return quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches)


def difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The largest difference between two outputs, as a share of the first one's largest magnitude."""
    return float(np.abs(other - one).max() / np.abs(one).max())
