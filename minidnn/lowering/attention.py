"""Attention as one step: strides of its inputs to the arguments of `attention_loop`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minidnn.ir.graph import Node
from minidnn.lowering.builder import Builder
from minidnn.lowering.copy import lower_copy
from minidnn.lowering.tiling import PARTS
from minidnn.lowering.values import PLAIN, Value, View
from minidnn.ops.attention import attention_inputs, attention_scale
from minidnn.ops.registry import Attrs, TensorType
from minidnn.plan.program import Address, Argument, Cost, Kernel
from minidnn_kernels.attention import (
    ADD_EPILOGUE,
    ATTENTION_ARGUMENTS,
    CAUSAL,
    MASKS,
    MAX_SEGMENTS,
    OUT_EPILOGUE,
    SEGMENT,
    FinishSpec,
    PackSpec,
    WeightsSpec,
)
from minidnn_kernels.copy import TransposeSpec
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.isa import Isa
from minidnn_kernels.row_products import RowByRowsSpec, RowBySumSpec
from minidnn_kernels.tile import TileSpec

__all__ = ["lower_attention"]

# Packed keys and values of a block, which stay in the second-level cache; and weighted values of a part.
_CACHE_BYTES, _SUMS_BYTES = 320 * 1024, 128 * 1024
# Keys of a block, at most, and of what they are a multiple.
_MOST_KEYS, _KEY_STEP = 4096, 64
# A part packs the keys again: it has so many rows at least. And it is long enough to hide what taking it costs.
_LEAST_ROWS = 48
_PART_OPERATIONS = 1_000_000
# Heads of single queries that share keys, at most, for each to read these by itself.
_MOST_DIRECT_ROWS = 4
# Arithmetic operations that a score costs beside the products, for the profiler.
_SCORE_OPERATIONS = 30


@dataclass(frozen=True)
class _Tensor:
    """Float32 [batch, heads, rows, size] anywhere in memory: elements side by side, the other strides in bytes."""

    address: Address
    batch: int
    head: int
    row: int


@dataclass(frozen=True)
class _Tiles:
    """One strip of `rows`; vectors of the tile of scores and of that of values."""

    rows: int
    score_vectors: int
    value_vectors: int


def lower_attention(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """``attention`` of float32, with everything that its record has."""
    attrs, given = node.attrs, dict(zip(attention_inputs(node.attrs), inputs, strict=True))
    if any(v.type.dtype != FLOAT32.dtype for name, v in given.items() if name in _FACTORS):
        return None
    mask = given.get("mask")
    if mask is not None and mask.type.dtype not in (np.bool_, FLOAT32.dtype):
        return None
    shape = _four(types[0].shape)
    rows_first = TensorType((shape[0], shape[2], shape[1], shape[3]), FLOAT32.dtype)
    written = builder.new(rows_first)
    _add_step(builder, node, attrs, given, written, types[0])
    if types[0].ndim == 3:
        return [Value(types[0], written.address, PLAIN)]
    order = (0, 2, 1, 3)
    # The heads of a row lie side by side: that is what the next layer reads.
    view = View(written, 0, tuple(written.strides[d] for d in order), node.name)
    return [Value(types[0], written.address, PLAIN, view=view)]


_FACTORS = frozenset({"query", "key", "value", "past_key", "past_value"})


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    """With one head, where there is no axis of heads."""
    return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])


def _tensor(builder: Builder, value: Value) -> _Tensor:
    address, strides = builder.strided(value)
    if value.shape[-1] > 1 and strides[-1] != FLOAT32.bytes:
        value = builder.as_layout(value, PLAIN)
        address, strides = builder.strided(value)
    batch, *head, row, _ = strides
    return _Tensor(address, batch, head[0] if head else 0, row)


def _choose_tiles(isa: Isa, rows: int, is_direct: bool = False) -> _Tiles:
    """One of two: for many rows, and for a single one."""
    if rows == 1 or is_direct:
        return _Tiles(1, 4, 4)
    vectors = 2 if isa.tile_fits(isa.max_rows, 2) else 1
    return _Tiles(isa.max_rows, vectors, vectors)


def _add_step(
    builder: Builder, node: Node, attrs: Attrs, given: dict[str, Value], out: Value, result: TensorType
) -> None:
    query, key, value = (_four(given[name].shape) for name in ("query", "key", "value"))
    batch, heads, queries, size = query
    key_heads, value_size = key[1], value[3]
    groups, rows = heads // key_heads, queries
    tensors = {name: _tensor(builder, v) for name, v in given.items() if name in _FACTORS}
    asked, into = tensors["query"], _Tensor(out.address, out.strides[0], out.strides[2], out.strides[1])
    columns = key[2] + _past(given)
    mask = _mask(builder, given.get("mask"), (*result.shape[:-1], columns))
    row_steps, group_steps = (asked.row, into.row, mask.row), (asked.head, into.head, mask.head)
    if queries == 1 and not attrs.packed:
        # The heads that share keys are the rows.
        groups, rows, row_steps, group_steps = 1, groups, group_steps, (0, 0, 0)
    # A single query of each head reads keys and values where they lie: they are multiplied once, or a few times.
    is_direct = queries == 1 and not attrs.packed and rows <= _MOST_DIRECT_ROWS
    tiles, isa = _choose_tiles(builder.isa, rows, is_direct), builder.isa
    value_columns = tiles.value_vectors * isa.lanes
    padded_size = -(-value_size // value_columns) * value_columns
    key_block = _key_block(size, padded_size, tiles.score_vectors * isa.lanes)
    # A past may be empty, which is one block if all together are.
    is_single = columns <= key_block and not attrs.use_past and not is_direct
    row_blocks, block_rows = _row_blocks(rows, groups, batch * key_heads, columns, size + padded_size, tiles.rows)
    if is_single:
        key_block = -(-columns // (tiles.score_vectors * isa.lanes)) * tiles.score_vectors * isa.lanes
    out_tile = TileSpec(tiles.rows, tiles.value_vectors, OUT_EPILOGUE)
    remainder = replace(out_tile, masked=value_size % value_columns != 0)
    weights = WeightsSpec(mask.kind, bool(attrs.softcap), not is_single)
    if builder.varies:
        _prepare_others(builder, weights, value_size, attrs.use_past)
    row = ATTENTION_ARGUMENTS.fill(
        score_tile=Kernel(TileSpec(tiles.rows, tiles.score_vectors)),
        out_tile=Kernel(out_tile) if is_single else 0,
        remainder_tile=Kernel(remainder) if is_single else 0,
        add_tile=0 if is_single else Kernel(replace(out_tile, epilogue=ADD_EPILOGUE)),
        weights=Kernel(weights),
        pack=Kernel(PackSpec(tiles.value_vectors)),
        transpose=Kernel(TransposeSpec()),
        finish=0 if is_single else Kernel(FinishSpec()),
        score_row=Kernel(RowByRowsSpec()) if is_direct else 0,
        value_row=Kernel(RowBySumSpec()) if is_direct else 0,
        query=asked.address,
        query_batch=asked.batch,
        query_head=asked.head * (heads // key_heads),
        query_group=group_steps[0],
        query_row=row_steps[0],
        out=into.address,
        out_batch=into.batch,
        out_head=into.head * (heads // key_heads),
        out_group=group_steps[1],
        out_row=row_steps[1],
        mask=mask.address,
        mask_batch=mask.batch,
        mask_head=mask.head * (heads // key_heads),
        mask_group=group_steps[2],
        mask_row=row_steps[2],
        mask_item=MASKS[mask.kind],
        packed=given["length"].shape[0] if attrs.packed else 0,
        heads=key_heads,
        groups=groups,
        rows=rows,
        row_blocks=row_blocks,
        block_rows=block_rows,
        size=size,
        value_size=value_size,
        tile_rows=tiles.rows,
        score_columns=tiles.score_vectors * isa.lanes,
        value_columns=value_columns,
        key_block=key_block,
        causal=CAUSAL[attrs.causal],
        step=int(queries > 1 or attrs.packed),
        queries=queries,
        numbers=[number_word(n) for n in (attention_scale(attrs, size), attrs.softcap, attrs.mask_value)],
        segments=1 + attrs.use_past,
        segment=_segments(builder, given, tensors, MASKS[mask.kind]),
    )
    kept = groups * block_rows
    scratch = tiles.rows * key_block + key_block * (size + padded_size) + kept * (2 + (0 if is_single else padded_size))
    # Packed sequences, and what lies behind the last one.
    sequences = given["length"].shape[0] + 1 if attrs.packed else batch
    scores = batch * heads * queries * (columns // sequences if attrs.packed else columns)
    operations = scores * (2 * size + 2 * value_size + _SCORE_OPERATIONS)
    moved = sum(v.nbytes for v in given.values()) + out.nbytes
    parts = sequences * key_heads * row_blocks
    builder.native(node.name, "attention_loop", row, parts, Cost(operations, moved), scratch * FLOAT32.bytes, result)


def _past(given: dict[str, Value]) -> int:
    return given["past_key"].shape[-2] if "past_key" in given else 0


def _key_block(size: int, padded_size: int, columns: int) -> int:
    """Keys of a block: whole tiles, whose keys and values stay in the cache."""
    fitting = _CACHE_BYTES // (FLOAT32.bytes * (size + padded_size))
    step = -(-_KEY_STEP // columns) * columns
    return max(step, min(fitting, _MOST_KEYS) // step * step)


def _row_blocks(rows: int, groups: int, heads: int, columns: int, sizes: int, tile_rows: int) -> tuple[int, int]:
    """Parts of a head, and the rows of each."""
    operations = 2 * heads * groups * rows * columns * sizes
    wanted = -(-max(1, min(PARTS, operations // _PART_OPERATIONS)) // heads)
    most = max(1, _SUMS_BYTES // (FLOAT32.bytes * groups * sizes))
    each = min(most, max(-(-rows // wanted), min(rows, _LEAST_ROWS)))
    each = -(-each // tile_rows) * tile_rows
    return -(-rows // each), each


def _prepare_others(builder: Builder, weights: WeightsSpec, value_size: int, is_online: bool) -> None:
    """Have the kernels for other numbers of queries and keys ready."""
    for tiles in (_choose_tiles(builder.isa, rows) for rows in (1, 2)):
        out_tile = TileSpec(tiles.rows, tiles.value_vectors, OUT_EPILOGUE)
        builder.prepare(TileSpec(tiles.rows, tiles.score_vectors))
        builder.prepare(PackSpec(tiles.value_vectors))
        builder.prepare(replace(out_tile, epilogue=ADD_EPILOGUE))
        if not is_online:
            builder.prepare(out_tile)
            builder.prepare(replace(out_tile, masked=value_size % (tiles.value_vectors * builder.isa.lanes) != 0))
    for online in (True,) if is_online else (False, True):
        builder.prepare(replace(weights, online=online))
    for spec in (FinishSpec(), RowByRowsSpec(), RowBySumSpec()):
        builder.prepare(spec)


@dataclass(frozen=True)
class _Mask:
    """A mask anywhere in memory: its elements side by side along the keys, the other strides in bytes."""

    address: Address | int = 0
    batch: int = 0
    head: int = 0
    row: int = 0
    kind: str = ""


def _mask(builder: Builder, value: Value | None, scores: tuple[int, ...]) -> _Mask:
    if value is None:
        return _Mask()
    shape, item = (1,) * (len(scores) - value.type.ndim) + value.shape, value.type.dtype.itemsize
    address, strides = builder.strided(value)
    steps = (0,) * (len(scores) - value.type.ndim) + strides
    if scores[-1] > 1 and (shape[-1] == 1 or steps[-1] != item):
        source = builder.as_layout(value, PLAIN)
        steps = (0,) * (len(scores) - value.type.ndim) + (*source.strides[:-1], item if shape[-1] > 1 else 0)
        shape = (*shape[:-1], scores[-1])
        result = builder.new(TensorType(shape, value.type.dtype))
        lower_copy(builder, "broadcast", source, steps, result.address, result.strides, shape)
        address, steps = result.address, result.strides
    batch, *head, row = (step if n > 1 else 0 for n, step in zip(shape[:-1], steps[:-1], strict=True))
    return _Mask(address, batch, head[0] if head else 0, row, "keep" if value.type.dtype == np.bool_ else "add")


def _segments(builder: Builder, given: dict[str, Value], tensors: dict[str, _Tensor], mask_item: int) -> list[Argument]:
    names = [("key", "value", "length")]
    if "past_key" in given:
        names.insert(0, ("past_key", "past_value", "past_length"))
    row: list[Argument] = []
    column = 0
    for key, value, length in names:
        lengths = given.get(length)
        row += SEGMENT.fill(
            key=tensors[key].address,
            value=tensors[value].address,
            key_batch=tensors[key].batch,
            key_head=tensors[key].head,
            key_row=tensors[key].row,
            value_batch=tensors[value].batch,
            value_head=tensors[value].head,
            value_row=tensors[value].row,
            keys=given[key].shape[-2],
            lengths=0 if lengths is None else builder.address(builder.as_layout(lengths, PLAIN)),
            length_bytes=0 if lengths is None else lengths.type.dtype.itemsize,
            column=column * mask_item,
        )
        column += given[key].shape[-2]
    return row + [0] * ((MAX_SEGMENTS - len(names)) * SEGMENT.words)
