"""Two networks of the same weights, one eager and one fused: what every comparison here starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["difference", "make_pair"]


def make_pair(make: Callable[[], Any], data: Any) -> tuple[Any, Any]:
    """Two networks with the same random weights; the second is fused and compiled for `data`.

    The weights keep the activations' magnitude: vanishing ones would time denormal numbers.

    Args:
        make: makes a network that is not initialized.
        data: a batch.
    """
    import minidnn as mx

    eager, fused = make(), make()
    eager.initialize(mx.init.MSRAPrelu())
    eager.infer_shape(data)
    fused.load_dict({name: parameter.data() for name, parameter in eager.collect_params().items()})
    fused.optimize_for(data)
    return eager, fused


def difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The largest difference between two outputs, as a share of the first one's largest magnitude."""
    return float(np.abs(other - one).max() / np.abs(one).max())
