"""The numbers of a quantized layer: int8 weights with a scale per output channel, and the bias in int32.

What comes out is what int32 accumulators can hold: a channel whose bias or whose largest possible sum would come near
2^31 gets a larger scale, so that it is rounded more coarsely instead of wrapping around. A channel whose weights are
all zero (a pruned filter, or a batch normalization with gamma = 0) is its bias alone, and has the scale that fits it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.errors import OpError

__all__ = ["MAX_DEPTH", "fits_int32", "fold_affine", "quantize_bias", "quantize_rows", "quantize_weight"]

Array = np.ndarray[Any, Any]

_LIMIT = 127
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
# Of the accumulator's 2^31: one half for the bias, one for the sum of products.
_MAX_SUM = _MAX_BIAS = float((1 << 30) - 1)
_MAX_DATA = 255
# Weights of a channel of which int32 holds the sum of products even where all are as large as the largest.
MAX_DEPTH = int(_MAX_SUM) // _MAX_DATA
# Units in a bias without weights: float32 holds such integers, and Winograd's factors leave them within int32.
_LONE_BIAS = float(1 << 20)

# Elements that are computed at a time: a large dense layer in float64 would take several times its memory.
_BLOCK = 1 << 20


def fold_affine(
    layer: str, weight: Array, bias: Array | None, affine: tuple[Array, Array] | None
) -> tuple[Array, Array | None]:
    """Weight and bias with a following ``y * scale + shift`` per output channel taken in, in float64.

    Args:
        layer: its name, for errors.
        weight: (C, ...).
        bias: (C,), or None.
        affine: scale and shift, each (C,), or None.

    Raises:
        OpError: a number is NaN, infinite, or beyond float32.
    """
    w = weight
    b = None if bias is None else bias.astype(np.float64)
    if affine is not None:
        scale, shift = affine
        with np.errstate(invalid="ignore", over="ignore"):
            w = w * scale.astype(np.float64).reshape(-1, *(1,) * (w.ndim - 1))
            b = shift if b is None else b * scale + shift
    for name, numbers in (("weight", w), ("bias", b)):
        if numbers is not None and not max(numbers.max(), -numbers.min()) <= _LARGEST_FLOAT:
            raise OpError(f"{layer}: its {name} has NaN or infinity in float32; it cannot be quantized")
    return w, b


def quantize_weight(weight: Array, per_channel: bool = True) -> tuple[Array, Array]:
    """int8 weights, and their scale for each output channel as float32 (C,): ``w = q * scale``.

    Args:
        weight: (C, ...), of at most `MAX_DEPTH` weights a channel.
        per_channel: False gives all channels one scale. A channel that is rounded to zeros by the smallest normal
            scale has scale 1.
    """
    rows = weight.reshape(len(weight), -1)
    largest = np.maximum(rows.max(1), -rows.min(1)).astype(np.float64)
    if not per_channel:
        largest = np.full_like(largest, largest.max())
    empty = largest < _SMALLEST_SCALE / 2
    levels = np.full(len(rows), _LIMIT)
    scale = _scale_of(largest, levels, empty)
    q = _rounded(rows, scale)
    # int32 holds any sum over fewer than 33000 elements; beyond that some channel might be too heavy.
    while ((heaviest := _heaviest(q)) > 1)[levels > 1].any():
        # Whole levels: the largest weight stays exact.
        levels = np.where(heaviest > 1, np.maximum(np.floor(levels / np.maximum(heaviest, 1)), 1), levels)
        scale = _scale_of(largest, levels, empty)
        q = _rounded(rows, scale)
    return q.reshape(weight.shape), scale


def quantize_rows(layer: str, weight: Array) -> tuple[Array, Array]:
    """`quantize_weight` of a tensor whose rows lie along its last axis: integers, and scales of all other axes.

    Raises:
        OpError: a number is NaN or infinite; the message names the layer.
    """
    rows = weight.reshape(-1, weight.shape[-1])
    fold_affine(layer, rows, None, None)
    numbers, scale = quantize_weight(rows)
    return numbers.reshape(weight.shape), scale.reshape(weight.shape[:-1])


def _heaviest(q: Array) -> Array:
    """The largest sums of products that channels may have, as shares of what they are allowed."""
    return np.asarray(np.abs(q).sum(1, dtype=np.int64) * _MAX_DATA / _MAX_SUM)


def _scale_of(largest: Array, levels: Array, empty: Array) -> Array:
    """The scales with which the largest weights of channels are so many integers."""
    scale = np.maximum(largest / levels, _SMALLEST_SCALE).astype(np.float32)
    return np.where(empty, np.float32(1), scale)


def fits_int32(bias: Array, data_scale: float) -> bool:
    """Whether `quantize_bias` can represent this bias: some float32 scale of the weights is large enough for it."""
    return bool(np.abs(bias).max() <= _LARGEST_FLOAT / 2 * _MAX_BIAS * data_scale)


def quantize_bias(bias: Array, weight: Array, weight_scale: Array, data_scale: float) -> tuple[Array, Array, Array]:
    """int32 bias in units of the accumulator, with the weights and scales that it fits to.

    Args:
        bias: (C,) real numbers for which `fits_int32` holds.
        weight: (C, ...) int8.
        weight_scale: (C,).
        data_scale: the scale of the data.
    """
    weight_scale = _with_lone_biases(bias, weight, weight_scale, data_scale)
    unit = weight_scale.astype(np.float64) * data_scale
    excess = np.abs(bias) / unit / _MAX_BIAS
    if excess.max() > 1:
        # Bias is all there is to such a channel: its weights lose bits that no one would notice.
        larger = _enlarged(weight_scale, excess)
        rows = weight.reshape(len(weight), -1) * weight_scale.astype(np.float64)[:, None]
        weight, weight_scale = _rounded(rows, larger).reshape(weight.shape), larger
        unit = weight_scale.astype(np.float64) * data_scale
    return np.rint(bias / unit).astype(np.int32), weight, weight_scale


def _with_lone_biases(bias: Array, weight: Array, weight_scale: Array, data_scale: float) -> Array:
    """The scales, those of channels without weights chosen by the bias, which is all that they scale."""
    alone = (bias != 0) & ~weight.reshape(len(weight), -1).any(1)
    if not alone.any():
        return weight_scale
    unit = np.maximum(np.abs(bias[alone]) / _LONE_BIAS, _SMALLEST_SCALE)
    scale = weight_scale.copy()
    scale[alone] = np.clip(unit / data_scale, _SMALLEST_SCALE, _LARGEST_FLOAT)
    return scale


def _rounded(rows: Array, scale: Array) -> Array:
    """(C, K) numbers in steps of (C,) scales, as int8; computed in float64, a few channels at a time."""
    q = np.empty(rows.shape, np.int8)
    count = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(rows), count):
        part = slice(start, start + count)
        steps = np.rint(rows[part] / scale[part].astype(np.float64)[:, None])
        q[part] = np.clip(steps, -_LIMIT, _LIMIT)
    return q


def _enlarged(scale: Array, factor: Array) -> Array:
    """Scales times `factor` where that is above 1, rounded up."""
    larger = (scale.astype(np.float64) * np.maximum(factor, 1)).astype(np.float32)
    return np.where(factor > 1, np.nextafter(larger, np.float32(np.inf)), scale)
