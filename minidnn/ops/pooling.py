"""Pooling over one, two or three spatial dimensions, channels first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOATS, want_filled, want_float, want_rank
from minidnn.ops.convolution import LAYOUTS, complete_spatial
from minidnn.ops.elementwise import BOOL
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL

__all__ = ["pooling_output_size"]

Array = np.ndarray[Any, Any]


def pooling_output_size(n: int, kernel: int, stride: int, pad: int, convention: str) -> int:
    """Windows along one dimension of `n` elements.

    ``valid`` counts the windows that fit into the padded input, ``full`` also the last one that only
    begins in it, ``same`` one for every `stride` elements.
    """
    if convention == "same":
        return -(-n // stride)
    rest = n + 2 * pad - kernel
    return (-(-rest // stride) if convention == "full" else rest // stride) + 1


def _check(attrs: Attrs) -> Attrs:
    op = "pooling"
    if attrs.count_include_pad is None:
        attrs = attrs.replace(count_include_pad=True)
    if attrs.global_pool:
        # Every other geometry is ignored: one canonical form.
        if attrs.layout not in (None, *LAYOUTS.values()):
            raise OpError(f"{op}: layout must be one of {sorted(LAYOUTS.values())}, got {attrs.layout}")
        return attrs.replace(kernel=(), stride=(), pad=(), pooling_convention="valid")
    if not attrs.kernel:
        raise OpError(f"{op}: kernel is required unless global_pool is set")
    attrs = complete_spatial(op, attrs, {"stride": 1, "pad": 0})
    if attrs.pooling_convention == "same":
        if any(attrs.pad):
            raise OpError(f"{op}: pooling_convention 'same' chooses the padding itself, got pad={attrs.pad}")
        if len(attrs.kernel) != 1 or attrs.pool_type != "max":
            raise OpError(f"{op}: pooling_convention 'same' is for max pooling over one dimension")
    if any(p >= k for p, k in zip(attrs.pad, attrs.kernel, strict=True)):
        raise OpError(f"{op}: pad must be smaller than kernel, got pad={attrs.pad}, kernel={attrs.kernel}")
    return attrs


def _infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "pooling", types[0]
    rank = data.ndim - 2 if attrs.global_pool else len(attrs.kernel)
    if rank not in LAYOUTS:
        raise ShapeError(f"{op}: data must have 3, 4 or 5 dimensions ({', '.join(LAYOUTS.values())}), got {data}")
    layout = attrs.layout or LAYOUTS[rank]
    want_rank(op, "data", data, len(layout), f"({', '.join(layout)})")
    want_filled(op, "data", data, range(2, data.ndim))
    if attrs.pool_type == "max":
        if data.dtype not in DTYPES or data.dtype == BOOL:
            raise TypeMismatchError(f"{op}: data must be integer or float, got {data}")
    else:
        want_float(op, "data", data)
    if attrs.global_pool:
        return [TensorType((*data.shape[:2], *(1,) * rank), data.dtype)]
    spatial = []
    for n, k, s, p in zip(data.shape[2:], attrs.kernel, attrs.stride, attrs.pad, strict=True):
        if k > n + 2 * p and attrs.pooling_convention != "same":
            raise ShapeError(
                f"{op}: kernel {attrs.kernel} does not fit into the padded input of {n} + 2·{p}; data is {data}"
            )
        size = pooling_output_size(n, k, s, p, attrs.pooling_convention)
        if (size - 1) * s >= n + p:
            raise ShapeError(
                f"{op}: stride {attrs.stride} puts the last window of kernel {attrs.kernel} behind the input; "
                f"data is {data}"
            )
        spatial.append(size)
    return [TensorType((*data.shape[:2], *spatial), data.dtype)]


def _counts(n: int, out: int, kernel: int, stride: int, pad: int, include_pad: bool) -> Array:
    """Elements under each window along one dimension: those of the input, or of the padded input."""
    start = np.arange(out) * stride - pad
    low, high = (-pad, n + pad) if include_pad else (0, n)
    return np.minimum(start + kernel, high) - np.maximum(start, low)


def _pooling(attrs: Attrs, data: Array) -> Array:
    spatial_axes = tuple(range(2, data.ndim))
    dtype = np.promote_types(data.dtype, np.float32) if data.dtype in FLOATS else data.dtype
    x = data.astype(dtype, copy=False)
    if attrs.global_pool:
        if attrs.pool_type == "max":
            return np.asarray(x.max(spatial_axes, keepdims=True))
        total = x.sum(spatial_axes, keepdims=True)
        return np.asarray(total / math.prod(data.shape[2:]) if attrs.pool_type == "avg" else total)

    out_spatial = _infer(attrs, [TensorType.of(data)])[0].shape[2:]
    lowest = -np.inf if dtype in FLOATS else np.iinfo(dtype).min
    fill = lowest if attrs.pool_type == "max" else 0
    room = [
        (p, max((o - 1) * s + k - n - p, 0))
        for n, o, k, s, p in zip(data.shape[2:], out_spatial, attrs.kernel, attrs.stride, attrs.pad, strict=True)
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *room], constant_values=fill)
    out = np.full((*data.shape[:2], *out_spatial), fill, dtype)
    combine = np.maximum if attrs.pool_type == "max" else np.add
    for tap in itertools.product(*(range(k) for k in attrs.kernel)):
        window = tuple(slice(t, t + (o - 1) * s + 1, s) for t, o, s in zip(tap, out_spatial, attrs.stride, strict=True))
        combine(out, padded[(slice(None), slice(None), *window)], out=out)
    if attrs.pool_type == "avg":
        for axis, (n, o, k, s, p) in enumerate(
            zip(data.shape[2:], out_spatial, attrs.kernel, attrs.stride, attrs.pad, strict=True)
        ):
            counts = _counts(n, o, k, s, p, attrs.count_include_pad)
            out /= counts.astype(dtype).reshape(-1, *(1,) * (len(out_spatial) - axis - 1))
    return out


register(
    Op(
        "pooling",
        _infer,
        _pooling,
        ("data",),
        attrs=(
            Attr("kernel", "ints", (), low=1),
            Attr("pool_type", "str", "max", choices=("max", "avg", "sum")),
            Attr("global_pool", "bool", False),
            Attr("pooling_convention", "str", "valid", choices=("valid", "full", "same")),
            Attr("stride", "ints", (), low=1),
            Attr("pad", "ints", (), low=0),
            Attr("count_include_pad", "bool", True, optional=True),
            Attr("layout", "str", None),
        ),
        kind="pooling",
        mxnet=("Pooling", "_npx_pooling"),
        check=_check,
        scale_transparent=lambda attrs: attrs.pool_type == "max",
        keeps_samples=True,
        int8_in_full_mode=True,
        nonnegative=IF_ALL,
    )
)


# ---- where the largest elements are ---------------------------------------------------------------------


def _infer_indices(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, data = "max_pool_indices", types[0]
    rank = len(attrs.kernel)
    if rank not in LAYOUTS or [len(attrs[name]) for name in ("stride", "dilate", "pad")] != [rank, rank, 2 * rank]:
        raise OpError(
            f"{op}: kernel, stride, dilate and pad must have numbers for one to three dimensions, got {attrs}"
        )
    want_rank(op, "data", data, rank + 2)
    want_filled(op, "data", data, range(2, data.ndim))
    if data.dtype not in DTYPES or data.dtype == BOOL:
        raise TypeMismatchError(f"{op}: data must be an integer or a float, got {data}")
    spatial = []
    for i, (n, k, s, d) in enumerate(zip(data.shape[2:], attrs.kernel, attrs.stride, attrs.dilate, strict=True)):
        spatial.append((n + attrs.pad[2 * i] + attrs.pad[2 * i + 1] - d * (k - 1) - 1) // s + 1)
    if min(spatial) < 1:
        raise ShapeError(f"{op}: kernel {attrs.kernel} does not fit into the padded data {data}")
    return [TensorType((*data.shape[:2], *spatial), np.dtype(np.int64))]


def _max_pool_indices(attrs: Attrs, x: Array) -> Array:
    """Of each window the place of its largest element, counted over all samples and channels.

    It is the first of several; NaN is larger than all numbers, as in the maximum itself.
    """
    spatial = x.shape[2:]
    room = [(0, 0), (0, 0), *zip(attrs.pad[::2], attrs.pad[1::2], strict=True)]
    order = np.arange(math.prod(spatial), dtype=np.int64).reshape(spatial, order="F" if attrs.column_major else "C")
    places = np.pad(order, room[2:], constant_values=-1)
    wide = np.float64 if x.dtype in FLOATS else object if x.dtype == np.uint64 else np.int64
    padded = np.pad(x.astype(wide), room)
    outside = places < 0
    counts = _infer_indices(attrs, [TensorType.of(x)])[0].shape
    best, where = np.zeros(counts, wide), np.full(counts, -1, np.int64)
    for tap in itertools.product(*map(range, attrs.kernel)):
        window = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, attrs.dilate, counts[2:], attrs.stride, strict=True)
        )
        value, place = padded[(slice(None), slice(None), *window)], places[window]
        wins = (value > best) | ((value != value) & (best == best))
        better = (wins | (where < 0)) & ~outside[window]
        best, where = np.where(better, value, best), np.where(better, place, where)
    first = np.arange(math.prod(x.shape[:2]), dtype=np.int64).reshape(*x.shape[:2], *(1,) * len(spatial))
    return np.asarray(where + first * math.prod(spatial))


register(
    Op(
        "max_pool_indices",
        _infer_indices,
        _max_pool_indices,
        ("data",),
        attrs=(
            Attr("kernel", "ints", low=1),
            Attr("stride", "ints", low=1),
            Attr("dilate", "ints", low=1),
            Attr("pad", "ints", low=0),
            Attr("column_major", "bool", False),
        ),
    )
)
