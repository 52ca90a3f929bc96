"""Windows, filter banks and Fourier transforms of sound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.elements import element_of
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.values import Value, known

__all__ = ["fourier"]

# A cosine matrix of this many points has 2 ** 24 elements.
_MAX_POINTS = 4096


@rule("MelWeightMatrix")
def _mel_weights(call: Call) -> Value:
    """Triangular filters, equally far apart on the mel scale."""
    bins, length, rate = (int(call.number(i, name)) for i, name in enumerate(("bins", "dft_length", "sample_rate")))
    low, high = float(call.number(3, "lower_edge_hertz")), float(call.number(4, "upper_edge_hertz"))
    element = call.element("output_datatype", element_of("float32"))
    spectrum = length // 2 + 1
    if not 0 < bins <= 1 << 16 or not 0 < spectrum <= 1 << 20 or bins * spectrum > 1 << 24 or rate <= 0:
        call.misfit(f"{bins} filters of {spectrum} numbers at {rate} hertz are out of range")
    mels = [2595 * math.log10(1 + hertz / 700) for hertz in (low, high)]
    edges = np.arange(bins + 2) * ((mels[1] - mels[0]) / (bins + 2)) + mels[0]
    edges = np.floor((length + 1) * (700 * (10 ** (edges / 2595) - 1)) / rate).astype(np.int64)
    weights = np.zeros((spectrum, bins))
    for i in range(bins):
        left, center, right = edges[i : i + 3]
        if center == left:
            weights[center, i] = 1
        else:
            rising = np.arange(max(left, 0), min(center + 1, spectrum))
            weights[rising, i] = (rising - left) / (center - left)
        if right > center:
            falling = np.arange(max(center, 0), min(right, spectrum))
            weights[falling, i] = (right - falling) / (right - center)
    return known(weights.astype(element.carrier), element)


@rule("DFT")
def _dft(call: Call) -> Value:
    """A Fourier transform as products with matrices of cosines and sines."""
    x = call[0]
    inverse, one_sided = call.flag("inverse"), call.flag("onesided")
    newer = -2 if call.get(2) is None else int(call.number(2, "axis"))
    axis = call.axis(call.integer("axis", 1) if call.opset < 20 else newer, x.ndim)
    if call.get(1) is not None:
        length = int(call.number(1, "dft_length"))
    else:
        length = int(x.dim(axis)) if not (inverse and one_sided) else 2 * (int(x.dim(axis)) - 1)
    return _transform(call, x, axis, length, inverse, one_sided)


def _transform(call: Call, x: Value, axis: int, length: int, inverse: bool, one_sided: bool) -> Value:
    """Complex numbers are pairs along the last axis; real ones have no second."""
    parts = int(x.dim(-1))
    if parts not in (1, 2):
        call.misfit(f"the last axis must have 1 or 2 numbers, real and imaginary, got {parts}")
    last = x.ndim - 1
    order = [i for i in range(last) if i != axis]
    moved = call.transpose(x, (*order, last, axis))
    real, imaginary = _part(call, moved, 0), _part(call, moved, 1) if parts == 2 else None
    sums = fourier(call, real, imaginary, length, inverse, one_sided, 1 / length if inverse else 1)
    pair = call.emit("stack", *sums, num_args=len(sums), axis=sums[0].ndim)
    back = [*order, axis, last]
    return call.transpose(pair, [back.index(i) for i in range(x.ndim)])


def fourier(
    call: Maker, real: Value, imaginary: Value | None, length: int, inverse: bool, one_sided: bool, scale: float
) -> list[Value]:
    """A Fourier transform along the last axis, by products with cosines and sines.

    Args:
        real: the real parts.
        imaginary: the imaginary parts; None: zeros.
        length: the number of points; what is longer is cut off, what is shorter has zeros behind.
        inverse: whether the sign of the exponent is positive.
        one_sided: of the spectrum of a real signal one half says what the other one is. It is the half that there is:
            of the result, or of the input of the inverse, whose result then is real.
        scale: a factor.

    Returns:
        The real parts and, where the result is complex, the imaginary ones.
    """
    if not 0 < length <= _MAX_POINTS:
        call.refuse(f"a transform of {length} points is not supported, at most {_MAX_POINTS} are")
    half = length // 2 + 1
    given = half if inverse and one_sided else length
    cosines, sines = _matrices(real.dtype, length, inverse, one_sided, scale)
    real = _to_length(call, real, given)
    sums = [call.emit("matmul", real, cosines), call.emit("matmul", real, sines)]
    if imaginary is not None:
        imaginary = _to_length(call, imaginary, given)
        sums[0] = call.emit("subtract", sums[0], call.emit("matmul", imaginary, sines))
        sums[1] = call.emit("add", sums[1], call.emit("matmul", imaginary, cosines))
    return sums[:1] if inverse and one_sided else sums


def _matrices(dtype: Any, length: int, inverse: bool, one_sided: bool, scale: float) -> tuple[Value, Value]:
    """Cosines and sines, from the points of the input to those of the result."""
    half = length // 2 + 1
    rows = np.arange(half if inverse and one_sided else length)
    columns = np.arange(half if one_sided and not inverse else length)
    # Whole turns make no difference, and cost digits; half ones have no sine at all.
    turns = np.outer(rows, columns) % length
    angles = 2 * np.pi * turns / length
    scales = np.full((len(rows), 1), scale)
    if inverse and one_sided:
        scales[1 : (length + 1) // 2] *= 2
    sines = np.where(2 * turns % length == 0, 0.0, np.sin(angles) * (scales if inverse else -scales))
    return known((np.cos(angles) * scales).astype(dtype)), known(sines.astype(dtype))


def _part(call: Call, x: Value, index: int) -> Value:
    """The real or the imaginary part, which the last axis but one counts."""
    axis = x.ndim - 2
    part = call.emit("slice_axis", x, axis=axis, begin=index, end=index + 1)
    return call.emit("squeeze", part, axis=(axis,))


def _to_length(call: Maker, x: Value, length: int) -> Value:
    """Cut off, or zeros added, at the end."""
    size = x.dim(-1)
    if size > length:
        return call.emit("slice_axis", x, axis=x.ndim - 1, begin=0, end=length)
    if size < length:
        pairs: list[tuple[Any, Any]] = [(0, 0)] * (x.ndim - 1) + [(0, length - size)]
        return call.emit("pad", x, pad_width=tuple(pairs))
    return x


@rule("STFT")
def _stft(call: Call) -> Value:
    """Transforms of frames: the signal cut into overlapping pieces, each times a window."""
    signal, step = call[0], int(call.number(1, "frame_step"))
    one_sided = call.flag("onesided", True)
    window = call.get(2)
    if call.get(3) is not None:
        length = int(call.number(3, "frame_length"))
    elif window is not None:
        length = int(window.dim(0))
    else:
        call.fail("frame_length or window is needed")
    x = signal if signal.ndim == 3 else call.expand_dims(signal, (2,))
    size, parts = x.dim(1), int(x.dim(2))
    if step < 1 or length < 1:
        call.misfit(f"frame_step and frame_length must be positive, got {step} and {length}")
    count = (size - length) // step + 1
    starts = call.binary("multiply", call.emit("arange", start=0, stop=count, dtype=np.dtype(np.int64)), step)
    within = call.emit("arange", start=0, stop=length, dtype=np.dtype(np.int64))
    places = call.emit("add", call.reshape(starts, (count, 1)), call.reshape(within, (1, length)))
    frames = call.emit("index", x, places, axes=(1,))
    if window is not None:
        frames = call.emit("multiply", frames, call.reshape(window, (length, 1)))
    if one_sided and parts == 2:
        call.fail("attribute 'onesided' does not go with complex numbers")
    return _transform(call, frames, 2, length, False, one_sided)
