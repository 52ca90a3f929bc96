"""Second-order rounding: what rounding one weight loses is given to those that are still to be rounded.

A layer multiplies rows ``x`` of inputs by its weights ``w``. Rounding weights to ``q * scale`` costs
``(w - q * scale) H (w - q * scale)^T`` per output, with H the inputs' second moments, so outputs are independent of
each other. Columns are rounded one after the other; the error of each is made up for by the columns behind it, by the
inverse of H (Frantar et al., 2022, "GPTQ", arXiv:2210.17323). All arrays have a leading axis of groups, each with
moments of its own: one group for a dense layer, one for each channel of a depthwise convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["damp", "invert_upper", "output_error", "round_weights"]

Array = np.ndarray[Any, Any]

LEVELS = 127
# Columns whose errors are given to the columns behind them by one product of matrices.
_BLOCK = 128
# A triangle of this size is inverted by LAPACK; larger ones by halves.
_SMALL = 64
# Scales that are tried, as shares of the one with which nothing saturates.
_CLIPS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.75, 0.7, 0.65)
# Of deeper layers the errors of single weights are added up when a scale is chosen: rounding errors are independent.
_DEEP = 512
_SMALLEST = float(np.finfo(np.float32).tiny)


def round_weights(
    weight: Array, moments: Array, missing: Array | None, damping: float, scale: Array | None = None
) -> tuple[Array, Array]:
    """Integers (G, P, K), int8, and their scales (G, P), float32, that give nearly the outputs of `weight`.

    Args:
        weight: (G, P, K), float64.
        moments: (G, K, K), float64: second moments of the inputs as the quantized network has them.
        missing: (G, K, P), float64: the moments of these inputs with what the outputs lack, which the weights are to
            make up for by least squares; None if they lack nothing.
        damping: what is added to the diagonal of the moments, as a share of its mean: what changes cost.
        scale: (G, P), float32, where they are known; None chooses those that cost least.

    Raises:
        numpy.linalg.LinAlgError: the moments are not positive definite in spite of the damping.
    """
    moments = damp(moments, damping)
    # Columns of much weight first: while there are many others to make up for their errors.
    order = np.argsort(-np.einsum("gkk->gk", moments), axis=1, kind="stable")
    moments = np.take_along_axis(np.take_along_axis(moments, order[:, :, None], 1), order[:, None, :], 2)
    target = np.take_along_axis(weight, order[:, None, :], 2)
    upper = _inverse_factor(moments)
    if missing is not None:
        wanted = np.take_along_axis(missing, order[:, :, None], 1)
        target = target + np.swapaxes(np.swapaxes(upper, 1, 2) @ (upper @ wanted), 1, 2)
    steps = _choose_scales(target, moments) if scale is None else scale.astype(np.float64)
    q = _round_columns(target, steps, upper)
    result = np.empty(q.shape, np.int8)
    np.put_along_axis(result, order[:, None, :], q.astype(np.int8), 2)
    return result, steps.astype(np.float32)


def _round_columns(target: Array, scale: Array, upper: Array) -> Array:
    depth = target.shape[2]
    rows = target.copy()
    q = np.empty_like(rows)
    step = scale[:, :, None]
    for start in range(0, depth, _BLOCK):
        end = min(start + _BLOCK, depth)
        errors = np.empty((*rows.shape[:2], end - start))
        for k in range(start, end):
            column = rows[:, :, k : k + 1]
            q[:, :, k : k + 1] = np.clip(np.rint(column / step), -LEVELS, LEVELS)
            error = (column - q[:, :, k : k + 1] * step) / upper[:, k, k, None, None]
            errors[:, :, k - start] = error[:, :, 0]
            rows[:, :, k:end] -= error * upper[:, k, None, k:end]
        rows[:, :, end:] -= errors @ upper[:, start:end, end:]
    return q


def _inverse_factor(moments: Array) -> Array:
    """The upper triangle U with ``U^T U`` the inverse of the moments: rows tell how errors are passed on."""
    # With its order reversed the lower factor of a matrix is an upper one, whose inverse is U.
    reverse = moments[:, ::-1, ::-1]
    return invert_upper(np.linalg.cholesky(reverse)[:, ::-1, ::-1])


def invert_upper(triangle: Array) -> Array:
    """The inverse of upper triangles (G, K, K), most of it by products of halves."""
    size = triangle.shape[-1]
    if size <= _SMALL:
        return np.triu(np.linalg.inv(triangle))
    half = size // 2
    result = np.zeros(triangle.shape)
    result[:, :half, :half] = invert_upper(triangle[:, :half, :half])
    result[:, half:, half:] = invert_upper(triangle[:, half:, half:])
    result[:, :half, half:] = -result[:, :half, :half] @ (triangle[:, :half, half:] @ result[:, half:, half:])
    return result


def output_error(difference: Array, moments: Array) -> Array:
    """(G, P): the square that a difference (G, P, K) of weights makes at the outputs."""
    return np.asarray(((difference @ moments) * difference).sum(2))


def _choose_scales(weight: Array, moments: Array) -> Array:
    """(G, P): the scales for which rounding to nearest costs least at the outputs; large weights may saturate."""
    largest = np.maximum(np.abs(weight).max(2) / LEVELS, _SMALLEST)
    best, least = largest, np.full(largest.shape, np.inf)
    diagonal = np.einsum("gkk->gk", moments) if moments.shape[1] > _DEEP else None
    for clip in _CLIPS:
        scale = np.maximum((largest * clip).astype(np.float32).astype(np.float64), _SMALLEST)
        step = scale[:, :, None]
        difference = weight - np.clip(np.rint(weight / step), -LEVELS, LEVELS) * step
        if diagonal is None:
            error = output_error(difference, moments)
        else:
            error = np.einsum("gpk,gk->gp", np.square(difference), diagonal)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.asarray(best)


def damp(moments: Array, share: float) -> Array:
    """Moments (G, K, K) with a share of their mean added to the diagonal; inputs that are always zero count as one."""
    diagonal = np.einsum("gkk->gk", moments)
    mean = diagonal.mean(1, keepdims=True)
    extra = share * mean + np.where(mean > 0, 0, 1)
    result: Array = np.array(moments, np.float64)
    np.einsum("gkk->gk", result)[...] += extra
    return result
