"""`mx.npx.random`: random functions NumPy does not have, and draws from distributions over a few outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import MXNetError, OpError
from minidnn.generator import generator
from minidnn.ir.trace import current_trace
from minidnn.numpy.convert import Shape, as_array, as_shape, own, to_numpy
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.random import draw
from minidnn.random import seed as _seed

__all__ = ["bernoulli", "categorical", "multinomial", "normal_n", "seed", "uniform_n"]


def seed(seed: int, device: Any = "all") -> None:
    """Restart the process's generator: `mx.random.seed` with MXNet's other name of the argument."""
    _seed(seed, device)


def _probabilities(function: str, p: Any) -> np.ndarray[Any, Any]:
    """Rows of probabilities in float64, which add up to exactly 1.

    Raises:
        OpError: a number is negative or no number, or a row does not add up to 1.
        MXNetError: a network is being traced: the draw would be made then, and never when it runs.
    """
    if current_trace() is not None:
        raise MXNetError(f"npx.random.{function} cannot be traced: call it outside forward()")
    rows = to_numpy(as_array(p)).astype(np.float64)
    if rows.ndim < 1 or rows.size == 0:
        raise OpError(f"{function}: at least one outcome is wanted, got probabilities of shape {rows.shape}")
    sums = rows.sum(-1, keepdims=True)
    if not (np.all(rows >= 0) and np.allclose(sums, 1, atol=1e-3)):
        raise OpError(f"{function}: probabilities must not be negative and must add up to 1 along the last axis")
    return np.asarray(rows / sums)


def categorical(data: Any, shape: Shape = (), get_prob: bool = False, dtype: Any = "int32") -> Any:
    """Outcomes drawn from categorical distributions.

    Args:
        data: probabilities ``(..., k)``, each row adding up to 1.
        shape: of the draws from each row; by default one.
        get_prob: whether the logarithms of the probabilities of what was drawn are returned too.
        dtype: of the outcomes.

    Returns:
        ``(..., *shape)``, of one row without a `shape` ``(1,)``; or a list of that and the logarithms.

    Raises:
        OpError: the numbers are no probabilities.
        MXNetError: the network is being traced.
    """
    p = _probabilities("categorical", data)
    wanted = as_shape(shape)
    if p.ndim == 1 and not wanted:
        wanted = (1,)
    rows = p.reshape(-1, p.shape[-1])
    count = int(np.prod(wanted, dtype=np.int64))
    # Where a uniform number lies among the cumulated probabilities; the last outcome that can be ends the row.
    ends = np.cumsum(rows, -1)
    last = rows.shape[-1] - 1 - np.argmax(rows[:, ::-1] > 0, -1)
    drawn = generator().random((len(rows), count))
    outcomes = np.stack([np.searchsorted(e, d, "right") for e, d in zip(ends, drawn, strict=True)])
    outcomes = np.minimum(outcomes, last[:, None])
    target = (*p.shape[:-1], *wanted)
    result = own(outcomes.reshape(target).astype(dtype))
    if not get_prob:
        return result
    logarithms = np.log(np.take_along_axis(rows, outcomes, -1)).reshape(target)
    return [result, own(logarithms.astype(as_array(data).dtype))]


def multinomial(n: Any, p: Any, shape: Shape = (), dtype: Any = "int32") -> ndarray:
    """How often each outcome comes in `n` experiments.

    Args:
        n: numbers of experiments ``(...)``.
        p: probabilities ``(..., k)``, each row adding up to 1.
        shape: of the draws for each row; by default one.
        dtype: of the counts.

    Returns:
        ``(..., *shape, k)``.

    Raises:
        OpError: the shapes do not fit, or the numbers are no probabilities or counts.
        MXNetError: the network is being traced.
    """
    rows, counts = _probabilities("multinomial", p), to_numpy(as_array(n))
    if counts.shape != rows.shape[:-1] or np.any(counts < 0):
        raise OpError(f"multinomial: n must be counts of shape {rows.shape[:-1]}, got {counts.dtype} {counts.shape}")
    wanted = as_shape(shape)
    each = [
        generator().multinomial(int(count), row, wanted)
        for count, row in zip(counts.reshape(-1), rows.reshape(-1, rows.shape[-1]), strict=True)
    ]
    return own(np.reshape(each, (*counts.shape, *wanted, rows.shape[-1])).astype(dtype))


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
