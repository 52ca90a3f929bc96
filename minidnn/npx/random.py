"""`mx.npx.random`: random functions NumPy does not have."""

from __future__ import annotations

from typing import Any

from minidnn.errors import OpError
from minidnn.npx.sampling import categorical, multinomial
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.random import draw
from minidnn.random import seed

__all__ = ["bernoulli", "categorical", "multinomial", "normal_n", "seed", "uniform_n"]


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
        OpError: both or neither of `prob` and `logit` are given, or a probability is not in [0, 1].
    """
    if (prob is None) == (logit is None):
        raise OpError("bernoulli: give prob or logit, not both")
    given = {"logit": logit} if prob is None else {"prob": prob}
    return draw("random_bernoulli", {**given, "is_logit": prob is None}, size, dtype, device, out)


def uniform_n(
    low: Any = 0.0, high: Any = 1.0, batch_shape: Any = None, dtype: Any = None, device: Any = None
) -> ndarray:
    """Evenly distributed over [low, high), in the shape `batch_shape` + the parameters' common shape."""
    return draw("random_uniform_n", {"low": low, "high": high}, batch_shape, dtype, device, None)


def normal_n(
    loc: Any = 0.0, scale: Any = 1.0, batch_shape: Any = None, dtype: Any = None, device: Any = None
) -> ndarray:
    """Normally distributed, in the shape `batch_shape` + the parameters' common shape."""
    return draw("random_normal_n", {"loc": loc, "scale": scale}, batch_shape, dtype, device, None)
