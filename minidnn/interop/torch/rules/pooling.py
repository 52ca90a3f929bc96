"""Poolings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.rules.pooling import Windows, max_pool, max_pool_indices, mean_pool
from minidnn.interop.onnx.values import Value, known
from minidnn.interop.torch.call import Call, aten
from minidnn.interop.torch.rules.convolution import spread

__all__: list[str] = []


def _in_batches(call: Call, x: Value, rank: int, pool: Callable[[Value], Value]) -> Value:
    """A pooling of samples, or of one that has no axis of samples."""
    if x.ndim == rank + 2:
        return pool(x)
    return call.emit("squeeze", pool(call.expand_dims(x, (0,))), axis=(0,))


def _windows(
    call: Call, x: Value, rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Windows:
    sizes = tuple(map(int, spread(kernel, rank)))
    pads = spread(padding, rank)
    return Windows(
        call,
        x.shape[-rank:],
        sizes,
        tuple(map(int, spread(stride, rank, sizes))),
        tuple(map(int, spread(dilation, rank))),
        [(int(p), int(p)) for p in pads],
        bool(ceil_mode),
    )


def _max_pool(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    *,
    rank: int,
) -> list[Value | None]:
    windows = _windows(call, x, rank, kernel_size, stride, padding, dilation, ceil_mode)
    result = _in_batches(call, x, rank, lambda y: max_pool(call, y, windows))
    if not call.wants(1) or call.count < 2:
        return [result, None]
    if x.ndim != rank + 2:
        call.refuse("places of the largest elements are supported with an axis of samples only")
    # ATen counts within a channel of a sample, ONNX in all of the array.
    places = max_pool_indices(call, x, windows)
    area: Any = 1
    for n in x.shape[2:]:
        area = area * n
    return [result, call.emit("mod", places, call.reshape(call.sizes([area]), ()))]


def _max_pool_rule(rank: int, several: bool) -> Any:
    def read(call: Call, x: Value, *args: Any, **kwargs: Any) -> Any:
        results = _max_pool(call, x, *args, **kwargs, rank=rank)
        return results if several else results[0]

    return read


for _rank in (2, 3):
    aten(f"max_pool{_rank}d_with_indices")(_max_pool_rule(_rank, True))
for _rank in (1, 2, 3):
    aten(f"max_pool{_rank}d")(_max_pool_rule(_rank, False))


def _avg_pool(
    call: Call,
    x: Value,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    rank: int,
) -> Value:
    windows = _windows(call, x, rank, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is None:
        return _in_batches(call, x, rank, lambda y: mean_pool(call, y, windows, bool(count_include_pad)))
    if windows.room != windows.pads:
        call.refuse("argument 'divisor_override' is supported without ceil_mode only")
    mean = _in_batches(call, x, rank, lambda y: mean_pool(call, y, windows, True))
    return call.binary("multiply", mean, math.prod(windows.kernel) / divisor_override)


def _avg_pool_rule(rank: int) -> Any:
    def read(call: Call, x: Value, *args: Any, **kwargs: Any) -> Value:
        return _avg_pool(call, x, *args, **kwargs, rank=rank)

    return read


for _rank in (1, 2, 3):
    aten(f"avg_pool{_rank}d")(_avg_pool_rule(_rank))


# ---- adaptive


def _ranges(size: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` windows begins and ends that cover `size` elements."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _means_along(call: Call, x: Value, axis: int, count: int) -> Value:
    """The means of windows along an axis, by a matrix."""
    size = int(x.dim(axis))
    matrix = np.zeros((count, size), x.dtype)
    for row, (begin, end) in zip(matrix, _ranges(size, count), strict=True):
        row[begin:end] = 1 / (end - begin)
    order = [i for i in range(x.ndim) if i != axis] + [axis]
    back = [order.index(i) for i in range(x.ndim)]
    product = call.emit("matmul", call.transpose(x, order), known(matrix.T.copy()))
    return call.transpose(product, back)


def _maxima_along(call: Call, x: Value, axis: int, count: int) -> Value:
    parts = [
        call.emit("max", call.emit("slice_axis", x, axis=axis, begin=a, end=b), axis=(axis,), keepdims=True)
        for a, b in _ranges(int(x.dim(axis)), count)
    ]
    return call.concatenate(parts, axis)


def _adaptive(call: Call, x: Value, output_size: Any, rank: int, kind: str) -> Value:
    spatial = x.shape[-rank:]
    counts = [n if c is None else c for n, c in zip(spatial, spread(output_size, rank), strict=True)]
    if all(type(c) is int and c == 1 for c in counts):
        return _in_batches(call, x, rank, lambda y: call.emit("pooling", y, pool_type=kind, global_pool=True))
    if all(n % c == 0 for n, c in zip(spatial, counts, strict=True)):
        kernel = tuple(int(n // c) for n, c in zip(spatial, counts, strict=True))
        if set(kernel) == {1}:
            return x
        return _in_batches(
            call, x, rank, lambda y: call.emit("pooling", y, pool_type=kind, kernel=kernel, stride=kernel)
        )
    along = _means_along if kind == "avg" else _maxima_along
    for i, count in enumerate(counts):
        x = along(call, x, x.ndim - rank + i, int(count))
    return x


def _adaptive_places(call: Call, x: Value, output_size: Any, rank: int) -> Value:
    """Where the largest elements of windows lie, counted within a channel."""
    spatial = [int(n) for n in x.shape[-rank:]]
    counts = [n if c is None else int(c) for n, c in zip(spatial, spread(output_size, rank), strict=True)]
    front = x.ndim - rank
    flat = known(np.arange(math.prod(spatial)).reshape(spatial))
    found = []
    for window in itertools.product(*map(_ranges, spatial, counts)):
        part, places = x, flat
        for i, (begin, end) in enumerate(window):
            part = call.emit("slice_axis", part, axis=front + i, begin=begin, end=end)
            places = call.emit("slice_axis", places, axis=i, begin=begin, end=end)
        area = math.prod(b - a for a, b in window)
        best = call.emit("argmax", call.reshape(part, (*x.shape[:front], area)), axis=front, keepdims=True)
        found.append(call.emit("index", call.reshape(places, (area,)), call.cast(best, np.int64), axes=(0,)))
    return call.reshape(call.concatenate(found, front), (*x.shape[:front], *counts))


def _adaptive_rule(rank: int, kind: str) -> Any:
    def read(call: Call, x: Value, output_size: Sequence[Any]) -> Any:
        result = _adaptive(call, x, output_size, rank, kind)
        if kind == "avg":
            return result
        return [result, _adaptive_places(call, x, output_size, rank) if call.wants(1) else None]

    return read


for _rank in (1, 2, 3):
    aten(f"adaptive_avg_pool{_rank}d")(_adaptive_rule(_rank, "avg"))
    aten(f"adaptive_max_pool{_rank}d")(_adaptive_rule(_rank, "max"))
for _rank in (2, 3):
    aten(f"_adaptive_avg_pool{_rank}d")(_adaptive_rule(_rank, "avg"))
