"""Poolings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.rules.slicing import pad
from minidnn.interop.onnx.rules.windows import Pairs, is_symmetric, read_pads, read_spatial
from minidnn.interop.onnx.values import Value
from minidnn.sizes import has_sizes

__all__ = ["Windows", "average_pool", "max_pool", "max_pool_indices", "mean_pool", "read_windows"]


# Elements of a window that are taken one by one.
_MAX_TAPS = 4096


class Windows:
    """Where the windows of a pooling lie.

    Attributes:
        kernel, strides, dilations: a number for each spatial dimension.
        pads: in front and behind, as the file has them.
        room: the pads with which the windows that there are just fit.
        counts: how many windows there are.
    """

    def __init__(
        self,
        call: Maker,
        spatial: Sequence[Any],
        kernel: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Pairs,
        is_full: bool,
    ) -> None:
        self.rank = len(kernel)
        self.kernel, self.strides, self.dilations, self.pads = tuple(kernel), tuple(strides), tuple(dilations), pads
        extents = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]
        self.counts: list[Any] = []
        self.room: Pairs = []
        for n, extent, stride, (a, b) in zip(spatial, extents, self.strides, self.pads, strict=True):
            rest = n + a + b - extent
            count = (-(-rest // stride) if is_full else rest // stride) + 1
            if is_full and (count - 1) * stride >= n + a:
                # A window that begins behind the last element is none.
                count = count - 1
            if count < 1:
                call.misfit(f"a window of {extent} does not fit into {n} elements and pads of {a} and {b}")
            self.counts.append(count)
            self.room.append((a, (count - 1) * stride + extent - n - a) if is_full else (a, b))

    @property
    def is_plain(self) -> bool:
        """Whether the pooling that is there does it, pads and all."""
        small = all(not has_sizes(pair) and pair[0] < k for pair, k in zip(self.room, self.kernel, strict=True))
        return is_symmetric(self.room) and set(self.dilations) == {1} and small

    def attrs(self, pads: Sequence[Any]) -> dict[str, Any]:
        return {"kernel": self.kernel, "stride": self.strides, "pad": tuple(pads)}


def read_windows(call: Call, x: Value) -> Windows:
    rank = x.ndim - 2
    if rank not in (1, 2, 3):
        call.refuse(f"one to three spatial dimensions are supported, got an input of {x.ndim} dimensions")
    kernel = read_spatial(call, "kernel_shape", rank)
    strides = read_spatial(call, "strides", rank)
    dilations = read_spatial(call, "dilations", rank)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    spatial = x.shape[2:]
    pads = read_pads(call, spatial, extents, strides)
    return Windows(call, spatial, kernel, strides, dilations, pads, call.flag("ceil_mode"))


@rule("MaxPool")
def _max_pool(call: Call) -> list[Value]:
    x, order = call[0], call.integer("storage_order", 0)
    windows = read_windows(call, x)
    result = max_pool(call, x, windows)
    return [result, max_pool_indices(call, x, windows, bool(order))] if call.wants(1) else [result]


def max_pool(call: Maker, x: Value, windows: Windows) -> Value:
    """The largest elements of windows."""
    if windows.is_plain:
        return call.emit("pooling", x, pool_type="max", **windows.attrs([a for a, _ in windows.room]))
    lowest = -np.inf if x.element.is_float else x.element.limits[0]
    padded = pad(call, x, [(0, 0), (0, 0), *windows.room], value=lowest)
    return _combined(call, padded, windows, "max")


def max_pool_indices(call: Maker, x: Value, windows: Windows, column_major: bool = False) -> Value:
    """Where the largest elements of windows lie, as places in all of `x`."""
    flat = tuple(n for pair in windows.room for n in pair)
    return call.emit(
        "max_pool_indices",
        x,
        kernel=windows.kernel,
        stride=windows.strides,
        dilate=windows.dilations,
        pad=flat,
        column_major=column_major,
    )


def _combined(call: Maker, padded: Value, windows: Windows, kind: str) -> Value:
    """A pooling, ``max`` or ``sum``, of an array that is padded already; with dilations, one axis after the other."""
    if set(windows.dilations) == {1}:
        return call.emit("pooling", padded, pool_type=kind, **windows.attrs((0,) * windows.rank))
    if sum(windows.kernel) > _MAX_TAPS:
        call.refuse(f"windows of more than {_MAX_TAPS} elements along an axis with dilations are not supported")
    result = padded
    for i, (kernel, stride, dilation) in enumerate(
        zip(windows.kernel, windows.strides, windows.dilations, strict=True)
    ):
        parts = [_every(call, result, 2 + i, tap * dilation, windows.counts[i], stride) for tap in range(kernel)]
        result = parts[0]
        for part in parts[1:]:
            result = call.emit("maximum" if kind == "max" else "add", result, part)
    return result


def _every(call: Maker, x: Value, axis: int, first: int, count: Any, stride: int) -> Value:
    """So many elements along an axis, a stride apart."""
    begin: list[Any] = [None] * x.ndim
    end: list[Any] = [None] * x.ndim
    step: list[Any] = [None] * x.ndim
    begin[axis], end[axis], step[axis] = first, first + (count - 1) * stride + 1, stride
    return call.emit("slice", x, begin=tuple(begin), end=tuple(end), step=tuple(step))


@rule("AveragePool")
def _average_pool(call: Call) -> Value:
    return average_pool(call, call[0], call.flag("count_include_pad"))


def average_pool(call: Call, x: Value, include_pad: bool) -> Value:
    """Means of windows; of the pads, only those that the file has count, and only if they do at all."""
    return mean_pool(call, x, read_windows(call, x), include_pad)


def mean_pool(call: Maker, x: Value, windows: Windows, include_pad: bool) -> Value:
    """Means of windows; see `average_pool`."""
    if windows.is_plain and (windows.room == windows.pads or not include_pad):
        pads = [a for a, _ in windows.room]
        return call.emit("pooling", x, pool_type="avg", count_include_pad=include_pad, **windows.attrs(pads))
    padded = pad(call, x, [(0, 0), (0, 0), *windows.room])
    total = _combined(call, padded, windows, "sum")
    if include_pad and windows.room == windows.pads:
        return call.binary("multiply", total, 1.0 / math.prod(windows.kernel))
    ones = call.filled((1, 1, *x.shape[2:]), 1, np.float32)
    if include_pad:
        ones = pad(call, ones, [(0, 0), (0, 0), *windows.pads], value=1)
        missing = [(0, b - p) for (_, b), (_, p) in zip(windows.room, windows.pads, strict=True)]
        ones = pad(call, ones, [(0, 0), (0, 0), *missing])
    else:
        ones = pad(call, ones, [(0, 0), (0, 0), *windows.room])
    return call.emit("true_divide", total, call.cast(_combined(call, ones, windows, "sum"), x.dtype))


@rule("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: Call) -> Value:
    kind = "avg" if call.op == "GlobalAveragePool" else "max"
    if call[0].ndim in (3, 4, 5):
        return call.emit("pooling", call[0], pool_type=kind, global_pool=True)
    axes = tuple(range(2, call[0].ndim))
    return call.emit("mean" if kind == "avg" else "max", call[0], axis=axes, keepdims=True)


@rule("LpPool")
def _lp_pool(call: Call) -> Value:
    x, p = call[0], call.integer("p", 2)
    windows = read_windows(call, x)
    powers = _power(call, call.emit("abs", x), p)
    padded = pad(call, powers, [(0, 0), (0, 0), *windows.room])
    return _power(call, _combined(call, padded, windows, "sum"), 1 / p)


@rule("GlobalLpPool")
def _global_lp_pool(call: Call) -> Value:
    p = call.integer("p", 2)
    powers = _power(call, call.emit("abs", call[0]), p)
    return _power(call, call.emit("sum", powers, axis=tuple(range(2, call[0].ndim)), keepdims=True), 1 / p)


def _power(call: Maker, x: Value, exponent: float) -> Value:
    if exponent == 1:
        return x
    if exponent == 0.5:
        return call.emit("sqrt", x)
    return call.emit("power_scalar", x, scalar=float(exponent), is_int=False)


@rule("MaxUnpool")
def _max_unpool(call: Call) -> Value:
    x, indices, rank = call[0], call[1], call[0].ndim - 2
    kernel, strides = read_spatial(call, "kernel_shape", rank), read_spatial(call, "strides", rank)
    pads = call.integers("pads", None) or (0,) * (2 * rank)
    own = [
        (n - 1) * s + k - pads[i] - pads[i + rank]
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    ]
    shape = [*x.shape[:2], *own] if call.get(2) is None else list(call.ints(2, "output_shape"))
    # Places count in the picture of the kernel's own size, over all samples and channels.
    inner = [*x.shape[:2], *own]
    zeros = call.filled((math.prod(inner),), 0, x.dtype)
    flat = call.emit(
        "scatter_elements",
        zeros,
        call.reshape(call.cast(indices, np.int64), (-1,)),
        call.reshape(x, (-1,)),
        axis=0,
        reduction="none",
    )
    whole = call.reshape(flat, inner)
    if shape == inner:
        return whole
    return pad(call, whole, [(0, m - n) for n, m in zip(inner, shape, strict=True)])
