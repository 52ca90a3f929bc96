"""Reductions of elements of any type over any dimensions, and the places of maxima in windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.geometry import TABLES, Window, tap_pixels
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, Value, physical_order
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Argument, Cost, Kernel
from minidnn_kernels.elements import REAL, WHOLE, WORD, element_code
from minidnn_kernels.reduce import (
    MAX_KEPT,
    MAX_REDUCED,
    POOL_PLACES_ARGUMENTS,
    REDUCE_ARGUMENTS,
    FoldSpec,
    ResultSpec,
    start_word,
)

__all__ = ["Reduction", "add_reduction", "lower_any_reduction", "lower_max_pool_indices"]

_PART_ELEMENTS = 32 * 1024
# Accumulators that are held at once: with the rows that go into them they fit the first-level cache.
_CHUNK = 1024
_PLACES = ("argmax", "argmin")
# What an int32 can number.
_MOST_PIXELS = 1 << 31
# Rows that short cost less where they are transposed first, if there are some: a row is a call, a column a lane.
_SHORT_ROW, _MANY_ROWS = 16, 128


@dataclass(frozen=True)
class Reduction:
    """What is computed.

    Args:
        operation: of a `FoldSpec` (``norm`` of floats only), or ``mean``, ``var``, ``std``.
        axes: of the data, without repetition.
        ddof: what a variance counts less than there are.
    """

    operation: str
    axes: frozenset[int]
    ddof: int = 0


def lower_any_reduction(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """Sums, products, extremes, moments, any, all and the places of extremes, over any axes."""
    data, axis = inputs[0], node.attrs.axis
    if data.array is not None:
        return None
    chosen = range(data.type.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = frozenset(a % data.type.ndim for a in chosen)
    reduction = Reduction(node.op_name, axes, node.attrs.get("ddof", 0))
    made = add_reduction(builder, node.name, reduction, data, types[0])
    return None if made is None else [made]


def add_reduction(builder: Builder, name: str, reduction: Reduction, data: Value, type: TensorType) -> Value | None:
    """The step, and what it makes, in C order; None if no kernel does it."""
    kernels = _kernels(reduction, data.type.dtype, type.dtype)
    if kernels is None:
        return None
    count = math.prod(data.shape[axis] for axis in reduction.axes)
    if reduction.operation in ("var", "std") and count <= reduction.ddof:
        return None
    result = builder.new(type)
    # Kept dimensions lie in the result in their order, with or without reduced ones of size 1 between.
    kept = [d for d in range(data.type.ndim) if d not in reduction.axes]
    target, step = dict.fromkeys(range(data.type.ndim), 0), type.dtype.itemsize
    for d in reversed(kept):
        target[d] = step
        step *= data.shape[d]
    # Places are counted in C order.
    is_counted = reduction.operation in _PLACES and len(reduction.axes) > 1
    source = builder.as_layout(data, PLAIN if is_counted else data.layout)
    groups = _groups(source, reduction.axes, target, type.dtype.itemsize)
    order = _better_order(groups, count, type.size, kept, sorted(reduction.axes))
    if order is not None:
        source, groups = _sorted(builder, source, order, reduction.axes, target, type)
    assert groups is not None, "there is one group of kept dimensions and one of reduced ones"
    _add_step(builder, name, reduction, kernels, source, result, groups, count)
    return result


def _better_order(
    groups: _Groups | None, count: int, results: int, kept: list[int], reduced: list[int]
) -> list[int] | None:
    """The dimensions as they are reduced better; None where they lie well.

    Reduced ones behind give each result one row of `count` elements; in front of the kept ones there are as many rows,
    each with an element for each result.
    """
    if groups is not None and groups.across:
        return None
    row = count if groups is None else groups.inner
    if row <= _SHORT_ROW and results >= _MANY_ROWS:
        return [*reduced, *kept]
    return [*kept, *reduced] if groups is None else None


def _sorted(
    builder: Builder, data: Value, order: Sequence[int], axes: frozenset[int], target: dict[int, int], type: TensorType
) -> tuple[Value, _Groups | None]:
    """The data with its dimensions in that order, all kept ones together and all reduced ones, and their groups."""
    moved = builder.new(TensorType(tuple(data.shape[d] for d in order), data.type.dtype))
    strides = tuple(data.strides[d] for d in order)
    lower_copy(builder, "reorder", data, strides, moved.address, moved.strides, moved.shape)
    places = {i: target[d] for i, d in enumerate(order)}
    groups = _groups(moved, frozenset(i for i, d in enumerate(order) if d in axes), places, type.dtype.itemsize)
    return moved, groups


@dataclass(frozen=True)
class _Kernels:
    fold: FoldSpec
    finish: ResultSpec
    squares: FoldSpec | None
    start: int
    words: int


def _kernels(reduction: Reduction, data: np.dtype[Any], result: np.dtype[Any]) -> dict[bool, _Kernels] | None:
    """The kernels across rows and along them."""
    if element_code(data) is None or element_code(result) is None:
        return None
    operation = reduction.operation
    is_real = data.kind == "f" if operation not in ("sum", "prod", "mean", "var", "std") else result.kind == "f"
    if data.kind == "f" and result.kind != "f" and operation in ("sum", "prod", "mean"):
        return None
    if operation in ("var", "std", "mean") and result.kind != "f":
        return None
    held = REAL if is_real else WHOLE
    fold = {"mean": "sum", "var": "sum", "std": "sum"}.get(operation, operation)
    moments = operation in ("var", "std")
    has_place = operation in _PLACES
    finish = ResultSpec(
        result.name, WHOLE if has_place else held, operation in ("mean", "var", "std"), operation == "std"
    )
    made = {}
    for across in (False, True):
        made[across] = _Kernels(
            FoldSpec(fold, data.name, held, across),
            finish,
            FoldSpec("squares", data.name, held, across) if moments else None,
            start_word(fold, data, held),
            2 if has_place else 1,
        )
    return made


@dataclass(frozen=True)
class _Groups:
    """Dimensions in the order of memory, merged: extents, strides in the source and strides in the target."""

    kept: list[tuple[int, int, int]]
    reduced: list[tuple[int, int, int]]
    across: bool
    inner: int


def _groups(source: Value, axes: frozenset[int], target: dict[int, int], target_item: int) -> _Groups | None:
    """None where there are more groups than the loop has, or results of a row do not lie side by side."""
    merged: list[tuple[bool, int, int, int]] = []
    for d in physical_order(source.type.ndim, source.layout):
        n = source.shape[d]
        if n == 1:
            continue
        is_kept, step, goal = d not in axes, source.strides[d], target[d]
        if merged and merged[-1][0] == is_kept and merged[-1][2] == step * n and merged[-1][3] == goal * n:
            merged[-1] = (is_kept, merged[-1][1] * n, step, goal)
        else:
            merged.append((is_kept, n, step, goal))
    if not merged:
        return _Groups([], [], False, 1)
    across, inner, _, goal = merged.pop()
    kept = [(n, step, goal) for is_kept, n, step, goal in merged if is_kept]
    reduced = [(n, step, goal) for is_kept, n, step, goal in merged if not is_kept]
    if len(kept) > MAX_KEPT or len(reduced) > MAX_REDUCED:
        return None
    if across and goal != target_item:
        return None
    return _Groups(kept, reduced, across, inner)


def _add_step(
    builder: Builder,
    name: str,
    reduction: Reduction,
    kernels: dict[bool, _Kernels],
    source: Value,
    result: Value,
    groups: _Groups,
    count: int,
) -> None:
    chosen = kernels[groups.across]
    outer = math.prod(n for n, _, _ in groups.kept)
    wanted = max(1, min(PARTS, source.type.size // _PART_ELEMENTS))
    chunk = 1
    if groups.across:
        chunk = min(_CHUNK, max(16, -(-groups.inner // -(-wanted // outer))))
    parts = max(1, min(wanted, outer * (-(-groups.inner // chunk) if groups.across else 1)))
    divisor = count - reduction.ddof if reduction.operation in ("var", "std") else count
    means = ResultSpec("float64", REAL, divides=True)
    row = REDUCE_ARGUMENTS.fill(
        fold=Kernel(chosen.fold),
        finish=Kernel(chosen.finish),
        squares=0 if chosen.squares is None else Kernel(chosen.squares),
        means=0 if chosen.squares is None else Kernel(means),
        source=builder.address(source),
        target=result.address,
        across=int(groups.across),
        inner=groups.inner,
        item=source.type.dtype.itemsize,
        target_item=result.type.dtype.itemsize,
        start=chosen.start,
        divisor=_word(divisor),
        mean_divisor=_word(count),
        chunk=chunk,
        words=chosen.words,
        **_columns("kept", "kept_strides", groups.kept, MAX_KEPT, "target_strides"),
        **_columns("reduced", "reduced_strides", groups.reduced, MAX_REDUCED),
    )
    scratch = chunk * (chosen.words + 1) * WORD
    cost = Cost(source.type.size * (1 if chosen.squares is None else 3), source.nbytes + result.nbytes)
    builder.native(name, "reduce_loop", row, parts, cost, scratch=scratch)


def _columns(
    extents: str, strides: str, dimensions: Sequence[tuple[int, int, int]], most: int, targets: str | None = None
) -> dict[str, list[Argument]]:
    filled = [(1, 0, 0)] * (most - len(dimensions)) + list(dimensions)
    made: dict[str, list[Argument]] = {extents: [n for n, _, _ in filled], strides: [s for _, s, _ in filled]}
    if targets is not None:
        made[targets] = [t for _, _, t in filled]
    return made


def _word(number: float) -> int:
    """The bits of a float64."""
    return int(np.float64(number).view(np.int64))


def lower_max_pool_indices(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``max_pool_indices``: the channels of each window together."""
    data, a = inputs[0], node.attrs
    images, channels, *spatial = data.shape
    code, area = element_code(data.type.dtype), math.prod(spatial)
    if data.array is not None or code is None or area >= _MOST_PIXELS:
        return None
    window = Window(tuple(spatial), types[0].shape[2:], a.kernel, a.stride, a.dilate, a.pad[::2])
    (table,) = TABLES.share(("taps", window), (), lambda: (tap_pixels(window),))
    if (table < 0).all(1).any():
        return None
    source, result = builder.as_layout(data, CHANNELS_LAST), builder.new(types[0], CHANNELS_LAST)
    held = REAL if data.type.dtype.kind == "f" else WHOLE
    numbers = np.arange(area, dtype=np.int32).reshape(spatial, order="F" if a.column_major else "C")
    row = POOL_PLACES_ARGUMENTS.fill(
        fold=Kernel(FoldSpec("argmax", data.type.dtype.name, held, across=True)),
        finish=Kernel(ResultSpec("int64", WHOLE)),
        source=builder.address(source),
        target=result.address,
        images=images,
        pixels=window.pixels,
        area=area,
        channels=channels,
        item=data.type.dtype.itemsize,
        taps=window.taps,
        table=builder.table(table),
        numbers=builder.table(np.ascontiguousarray(numbers).reshape(-1)),
        start=start_word("max", data.type.dtype, held),
    )
    elements = images * window.pixels * window.taps * channels
    parts = max(1, min(PARTS, images * window.pixels, elements // _PART_ELEMENTS))
    cost = Cost(elements, data.nbytes + result.nbytes)
    builder.native(node.name, "pool_places_loop", row, parts, cost, scratch=2 * WORD * channels)
    return [result]
