"""Second-order rounding: what rounding one weight loses is given to those that are still to be rounded.

A layer multiplies rows ``x`` of inputs by its weights ``w``. Rounding weights to ``q * scale`` costs
``(w - q * scale) H (w - q * scale)^T`` per output, with H the inputs' second moments, so outputs are independent of
each other. Columns are rounded one after the other; the error of each is made up for by the columns behind it
(Frantar et al., 2022, "GPTQ", arXiv:2210.17323). All arrays have a leading axis of groups, each with moments of its
own: one group for a dense layer, one for each channel of a depthwise convolution.

With an upper triangle V and ``H = V V^T`` the cost is the square of ``e V``, with ``e = w - q * scale``. Column k of
that has the errors of the columns 0 to k in it, so each weight is rounded to what makes up for the errors before it;
this is what GPTQ does by the inverse of H (Chen et al., 2025, "The Geometry of LLM Quantization", arXiv:2507.18553),
and V is had without one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["confirmed_share", "damp", "output_error", "round_weights", "solve_moments", "upper_factor"]

Array = np.ndarray[Any, Any]

LEVELS = 127
# A triangle of this size is inverted by LAPACK; larger ones are solved by halves.
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

    It is computed in the dtype of the moments.

    Args:
        weight: (G, P, K).
        moments: (G, K, K), float32 or float64: second moments of the inputs as the quantized network has them.
        missing: (G, K, P), likewise: the moments of these inputs with what the outputs lack, which the weights are to
            make up for by least squares; None if they lack nothing.
        damping: what is added to the diagonal of the moments, as a share of its mean: what changes cost.
        scale: (G, P), float32, where they are known; None chooses those that cost least.

    Raises:
        numpy.linalg.LinAlgError: the moments are not positive definite in spite of the damping, or not finite.
    """
    moments = damp(moments, damping)
    # Columns of much weight first: while there are many others to make up for their errors.
    order = np.argsort(-np.einsum("gkk->gk", moments), axis=1, kind="stable")
    groups = np.arange(len(moments))[:, None]
    moments = moments[groups[:, :, None], order[:, :, None], order[:, None, :]]
    factor = upper_factor(moments)
    # Columns are rows here, each of numbers that lie side by side.
    target = np.swapaxes(weight, 1, 2)[groups, order].astype(moments.dtype, copy=False)
    if missing is not None:
        target = target + solve_moments(factor, missing[groups, order])
    if not np.isfinite(target).all():
        raise np.linalg.LinAlgError("the moments cannot be solved in this dtype")
    steps = _choose_scales(target, moments) if scale is None else scale.astype(moments.dtype)
    q = np.empty(weight.shape, np.int8)
    np.swapaxes(q, 1, 2)[groups, order] = _round_columns(target, steps, factor)
    return q, steps.astype(np.float32)


def _round_columns(target: Array, steps: Array, factor: Array) -> Array:
    """Integers (G, K, P) for `target`, of which K come one after the other."""
    weights = factor / np.einsum("gkk->gk", factor)[:, None, :]
    # What is to be rounded, as far as the errors before it are known.
    pending = target.copy()
    errors, q = np.empty_like(target), np.empty(target.shape, np.int8)

    def work(start: int, end: int) -> None:
        if end - start > 1:
            # By halves: nearly all is products of matrices.
            middle = (start + end) // 2
            work(start, middle)
            given = np.swapaxes(weights[:, start:middle, middle:end], 1, 2)
            pending[:, middle:end] += given @ errors[:, start:middle]
            work(middle, end)
            return
        rounded = np.rint(pending[:, start] / steps)
        rounded = np.minimum(np.maximum(rounded, -LEVELS), LEVELS)
        errors[:, start] = target[:, start] - rounded * steps
        q[:, start] = rounded

    work(0, target.shape[1])
    return q


def upper_factor(moments: Array) -> Array:
    """Upper triangles V (G, K, K) with ``V V^T = moments``.

    Raises:
        numpy.linalg.LinAlgError: the moments are not positive definite, or not finite.
    """
    # With its order reversed the lower factor of a matrix is an upper one.
    return np.asarray(np.linalg.cholesky(moments[:, ::-1, ::-1])[:, ::-1, ::-1])


def solve_moments(factor: Array, right: Array) -> Array:
    """X (G, K, P) with ``V V^T X = right``, for upper triangles V (G, K, K)."""
    found = np.array(right, factor.dtype)
    # Inverses of the triangles on the diagonal, which both directions need.
    inverses: dict[tuple[int, int], Array] = {}

    def solve(start: int, end: int, transposed: bool) -> None:
        """Replace rows of the right side by those of the solution, if all others have been seen to."""
        if end - start <= _SMALL:
            if (start, end) not in inverses:
                inverses[start, end] = np.linalg.inv(factor[:, start:end, start:end])
            inverse = inverses[start, end]
            found[:, start:end] = (np.swapaxes(inverse, 1, 2) if transposed else inverse) @ found[:, start:end]
            return
        middle = (start + end) // 2
        corner = factor[:, start:middle, middle:end]
        if transposed:
            solve(start, middle, True)
            found[:, middle:end] -= np.swapaxes(corner, 1, 2) @ found[:, start:middle]
            solve(middle, end, True)
        else:
            solve(middle, end, False)
            found[:, start:middle] -= corner @ found[:, middle:end]
            solve(start, middle, False)

    solve(0, found.shape[1], False)
    solve(0, found.shape[1], True)
    return found


def confirmed_share(x: Array, lack: Array, trust: float, damping: float) -> float:
    """The share of what least squares find in one half of the rows that the other half confirms.

    What is lacking is rounding errors for the most part, chance, to which many weights can be fitted.

    Args:
        x: (G, R, K), the inputs without their means.
        lack: (G, R, P).
        trust: in moments of two inputs together.
        damping: see `round_weights`.

    Raises:
        numpy.linalg.LinAlgError: see `round_weights`.
    """
    half = x.shape[1] // 2
    fitted, other = slice(None, half), slice(half, None)
    moments = [np.swapaxes(x[:, part], 1, 2) @ x[:, part] / max(half, 1) for part in (fitted, other)]
    missing = [np.swapaxes(x[:, part], 1, 2) @ lack[:, part] / max(half, 1) for part in (fitted, other)]
    diagonal = np.einsum("gkk->gk", moments[0]).copy()
    moments[0] *= np.float32(trust)
    np.einsum("gkk->gk", moments[0])[...] = diagonal
    found = solve_moments(upper_factor(damp(moments[0], damping)), missing[0])
    power = float((found * (moments[1] @ found)).sum(dtype=np.float64))
    share = float((found * missing[1]).sum(dtype=np.float64)) / power if power > 0 else 0.0
    return min(max(share, 0.0), 1.0) if np.isfinite(share) else 0.0


def output_error(difference: Array, moments: Array) -> Array:
    """(G, P): the square that a difference (G, P, K) of weights makes at the outputs."""
    return np.asarray(np.einsum("gpk,gpk->gp", difference @ moments, difference))


def _choose_scales(weight: Array, moments: Array) -> Array:
    """(G, P): the scales for which rounding (G, K, P) to nearest costs least at the outputs; large weights may
    saturate.
    """
    kind = weight.dtype
    largest = np.maximum(np.abs(weight).max(1) / LEVELS, _SMALLEST).astype(kind)
    best, least = largest, np.full(largest.shape, np.inf, kind)
    diagonal = np.einsum("gkk->gk", moments) if moments.shape[1] > _DEEP else None
    for clip in _CLIPS:
        # What float32 holds, for so it is stored.
        scale = np.maximum((largest * clip).astype(np.float32).astype(kind), _SMALLEST).astype(kind)
        step = scale[:, None, :]
        difference = np.rint(weight / step)
        np.minimum(np.maximum(difference, -LEVELS, out=difference), LEVELS, out=difference)
        difference *= -step
        difference += weight
        if diagonal is None:
            error = np.einsum("gkp,gkp->gp", moments @ difference, difference)
        else:
            error = np.einsum("gkp,gkp,gk->gp", difference, difference, diagonal)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.asarray(best)


def damp(moments: Array, share: float) -> Array:
    """Moments (G, K, K) with a share of their mean added to the diagonal; inputs that are always zero count as one."""
    diagonal = np.einsum("gkk->gk", moments)
    mean = diagonal.mean(1, keepdims=True)
    result: Array = moments.copy()
    np.einsum("gkk->gk", result)[...] += share * mean + np.where(mean > 0, 0, 1)
    return result
