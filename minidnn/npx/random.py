"""`mx.npx.random`: random functions NumPy does not have."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.npx.functions import sigmoid
from minidnn.numpy.base import deliver
from minidnn.numpy.convert import as_array, as_shape, check_device, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.random import normal, uniform
from minidnn.random import generator, seed

__all__ = ["bernoulli", "normal_n", "seed", "uniform_n"]


def bernoulli(
    prob: Any = None,
    logit: Any = None,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    out: ndarray | None = None,
) -> ndarray:
    """1 with probability `prob`, or sigmoid(logit), 0 otherwise; float32 by default.

    Raises:
        OpError: both or neither of `prob` and `logit` are given.
    """
    check_device(device)
    if (prob is None) == (logit is None):
        raise OpError("bernoulli: give prob or logit, not both")
    odds = to_numpy(sigmoid(logit) if prob is None else as_array(prob))
    shape = odds.shape if size is None else as_shape(size)
    drawn = generator().random(np.broadcast_shapes(shape, odds.shape)) < odds
    return deliver(own(np.asarray(drawn).astype(dtype or np.float32)), out)


def _with_batch(batch_shape: Any, *parameters: Any) -> tuple[int, ...]:
    common = np.broadcast_shapes(*(np.shape(to_numpy(p)) for p in parameters))
    return (*(() if batch_shape is None else as_shape(batch_shape)), *common)


def uniform_n(
    low: Any = 0.0, high: Any = 1.0, batch_shape: Any = None, dtype: Any = None, device: Any = None
) -> ndarray:
    """Evenly distributed over [low, high), in the shape `batch_shape` + the parameters' common shape."""
    return uniform(low, high, _with_batch(batch_shape, low, high), dtype, device)


def normal_n(
    loc: Any = 0.0, scale: Any = 1.0, batch_shape: Any = None, dtype: Any = None, device: Any = None
) -> ndarray:
    """Normally distributed, in the shape `batch_shape` + the parameters' common shape."""
    return normal(loc, scale, _with_batch(batch_shape, loc, scale), dtype, device)
