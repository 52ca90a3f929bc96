"""The loop function of `minidnn_kernels.attention`, compiled by Numba."""

from __future__ import annotations

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.attention import ATTENTION_ARGUMENTS, CAUSAL, SEGMENT, WEIGHTS_CONTEXT
from minidnn_kernels.copy import COPY_ARGUMENTS, MAX_DIMENSIONS
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.loop_words import call3, call5, call9, inlined, load, load_i32, scratch, store, store_i32
from minidnn_kernels.row_products import MATRIX
from minidnn_kernels.store import CONTEXT

__all__ = ["attention_loop"]

_A, _S, _W, _C = ATTENTION_ARGUMENTS.offsets, SEGMENT.offsets, WEIGHTS_CONTEXT.offsets, CONTEXT.offsets
_SEGMENT_BYTES, _WEIGHTS_WORDS = SEGMENT.words * WORD_BYTES, WEIGHTS_CONTEXT.words
# With one operand.
_CONTEXT_WORDS = CONTEXT.words + 2
_OPERAND, _OPERAND_PITCH = _C.operands, _C.operands + WORD_BYTES
_FLOAT, _M, _MATRIX_WORDS = FLOAT32.bytes, MATRIX.offsets, MATRIX.words
_COPY_WORDS = COPY_ARGUMENTS.words
_SOURCE_COLUMN = COPY_ARGUMENTS.offsets.source_strides + (MAX_DIMENSIONS - 1) * WORD_BYTES
_TARGET_ROW = COPY_ARGUMENTS.offsets.target_strides + (MAX_DIMENSIONS - 2) * WORD_BYTES
_LAST = CAUSAL["last"]
# More rows than any tile has.
_MOST_ROWS = 32
# The bits of the float32 that is less than any other.
_NOTHING = -8388608


def attention_loop(args: int, part: int, parts: int, memory: int) -> None:
    """One part is some rows of all heads of queries that share one head of keys."""
    row_blocks, heads, groups = load(args + _A.row_blocks), load(args + _A.heads), load(args + _A.groups)
    head, batch = part // row_blocks % heads, part // row_blocks // heads
    block_rows, tile_rows = load(args + _A.block_rows), load(args + _A.tile_rows)
    first = part % row_blocks * block_rows
    packed, begin_row, rows_end = load(args + _A.packed), 0, load(args + _A.rows)
    if packed != 0:
        begin_row, rows_end = _sequence(args, batch, packed, rows_end)
        if first >= rows_end:
            return
    last = min(rows_end, first + block_rows)
    size, value_size = load(args + _A.size), load(args + _A.value_size)
    width, value_width = load(args + _A.score_columns), load(args + _A.value_columns)
    value_panels = (value_size + value_width - 1) // value_width
    key_block, is_single = load(args + _A.key_block), load(args + _A.add_tile) == 0

    # Scratch: the scores of a strip, panels of keys and of values, and for each row the largest score, the sum of
    # weights, and the weighted values.
    scores, score_pitch = memory, key_block * _FLOAT
    keys = scores + tile_rows * score_pitch
    values = keys + key_block * size * _FLOAT
    largest = values + key_block * value_panels * value_width * _FLOAT
    kept = groups * block_rows
    totals = largest + kept * _FLOAT
    sums, sums_pitch = totals + kept * _FLOAT, value_panels * value_width * _FLOAT
    if not is_single:
        for i in range(kept):
            store_i32(largest + i * _FLOAT, _NOTHING)
            store_i32(totals + i * _FLOAT, 0)
        for i in range(kept * sums_pitch // _FLOAT):
            store_i32(sums + i * _FLOAT, 0)

    score_row, matrix = load(args + _A.score_row), scratch(_MATRIX_WORDS)
    pointers, context, weights = scratch(_MOST_ROWS), scratch(_CONTEXT_WORDS), scratch(_WEIGHTS_WORDS)
    score_context = scratch(_CONTEXT_WORDS)
    store(score_context + _C.output, scores)
    store(score_context + _C.pitch, score_pitch)
    store(weights + _W.sums_count, sums_pitch // _FLOAT)
    query_row, out_row, mask_row = load(args + _A.query_row), load(args + _A.out_row), load(args + _A.mask_row)
    item = 0 if packed != 0 else batch
    query = load(args + _A.query) + item * load(args + _A.query_batch) + head * load(args + _A.query_head)
    query += begin_row * query_row
    out = load(args + _A.out) + item * load(args + _A.out_batch) + head * load(args + _A.out_head)
    out += begin_row * out_row
    mask = load(args + _A.mask) + item * load(args + _A.mask_batch) + head * load(args + _A.mask_head)
    mask += begin_row * (mask_row + load(args + _A.mask_item))
    segments = load(args + _A.segments)
    for number in range(segments):
        segment = args + _A.segment + number * _SEGMENT_BYTES
        length, lengths = load(segment + _S.keys), load(segment + _S.lengths)
        # As many as there are, whatever a length says.
        if packed != 0:
            length = rows_end if batch < packed else 0
        elif lengths != 0 and load(segment + _S.length_bytes) == WORD_BYTES:
            length = max(0, min(length, load(lengths + batch * WORD_BYTES)))
        elif lengths != 0:
            length = max(0, min(length, load_i32(lengths + batch * _FLOAT)))
        # A row sees the keys before `step * row + offset`, and no more than there are.
        step, offset = 0, length
        causal = load(args + _A.causal)
        if causal != 0 and number == segments - 1:
            step = load(args + _A.step)
            offset = 1 + (length - load(args + _A.queries) if causal == _LAST and packed == 0 else 0)
        most = max(0, min(length, (last - 1) * step + offset))
        key = load(segment + _S.key) + item * load(segment + _S.key_batch) + head * load(segment + _S.key_head)
        key += begin_row * load(segment + _S.key_row)
        value = load(segment + _S.value) + item * load(segment + _S.value_batch)
        value += head * load(segment + _S.value_head) + begin_row * load(segment + _S.value_row)
        mask_column = mask + load(segment + _S.column)
        # Where there is one block it writes the result, even if no key is seen.
        for block in range((max(most, 1) + key_block - 1) // key_block):
            begin = block * key_block
            count = min(key_block, most - begin)
            if score_row == 0:
                _pack(args, segment, key, value, begin, count, keys, values)
            panel_pitch = count * value_width * _FLOAT
            for group in range(groups):
                for strip_number in range((last - first + tile_rows - 1) // tile_rows):
                    strip = first + strip_number * tile_rows
                    rows = min(tile_rows, last - strip)
                    deepest = max(0, min(count, (strip + rows - 1) * step + offset - begin))
                    if deepest == 0 and not is_single:
                        continue
                    for i in range(tile_rows):
                        row = min(strip + i, last - 1)
                        store(
                            pointers + i * WORD_BYTES,
                            query + group * load(args + _A.query_group) + row * query_row,
                        )
                    if score_row != 0:
                        store(matrix + _M.pitch, load(segment + _S.key_row))
                        store(matrix + _M.size, size)
                        at = key + begin * load(segment + _S.key_row)
                        call5(score_row, load(pointers), at, scores, deepest, matrix)
                    for panel in range((deepest + width - 1) // width if score_row == 0 else 0):
                        call9(
                            load(args + _A.score_tile),
                            score_context,
                            pointers,
                            1,
                            size,
                            keys + panel * width * size * _FLOAT,
                            0,
                            panel * width,
                            rows,
                            width,
                        )
                    place = group * block_rows + strip - first
                    masked = mask_column + group * load(args + _A.mask_group) + strip * mask_row
                    for i in range(rows):
                        seen = max(0, min(deepest, (strip + i) * step + offset - begin))
                        store(weights + _W.row, scores + i * score_pitch)
                        store(weights + _W.filled, deepest)
                        store(weights + _W.mask, masked + i * mask_row + begin * load(args + _A.mask_item))
                        store(weights + _W.largest, largest + (place + i) * _FLOAT)
                        store(weights + _W.total, totals + (place + i) * _FLOAT)
                        store(weights + _W.sums, sums + (place + i) * sums_pitch)
                        call3(load(args + _A.weights), weights, seen, args + _A.numbers)
                    if score_row != 0:
                        store(matrix + _M.pitch, load(segment + _S.value_row))
                        store(matrix + _M.size, value_size)
                        at = value + begin * load(segment + _S.value_row)
                        call5(load(args + _A.value_row), scores, at, sums + place * sums_pitch, deepest, matrix)
                        continue
                    for i in range(tile_rows):
                        store(pointers + i * WORD_BYTES, scores + min(i, rows - 1) * score_pitch)
                    if is_single:
                        store(context + _C.output, out + group * load(args + _A.out_group) + strip * out_row)
                        store(context + _C.pitch, out_row)
                        store(context + _OPERAND, totals + place * _FLOAT)
                        store(context + _OPERAND_PITCH, _FLOAT)
                    else:
                        # A row that stood for others would be added to twice: each has a place of its own.
                        rows = tile_rows
                        store(context + _C.output, sums + place * sums_pitch)
                        store(context + _C.pitch, sums_pitch)
                        store(context + _OPERAND, sums + place * sums_pitch)
                        store(context + _OPERAND_PITCH, sums_pitch)
                    for panel in range(value_panels):
                        left = value_size - panel * value_width
                        tile = load(args + _A.out_tile) if left >= value_width else load(args + _A.remainder_tile)
                        tile = tile if is_single else load(args + _A.add_tile)
                        call9(
                            tile,
                            context,
                            pointers,
                            1,
                            deepest,
                            values + panel * panel_pitch,
                            0,
                            panel * value_width,
                            rows,
                            left,
                        )
    if not is_single:
        for group in range(groups):
            for row in range(first, last):
                place = group * block_rows + row - first
                call5(
                    load(args + _A.finish),
                    sums + place * sums_pitch,
                    out + group * load(args + _A.out_group) + row * out_row,
                    value_size,
                    totals + place * _FLOAT,
                    0,
                )


@inlined
def _sequence(args: int, number: int, sequences: int, rows: int) -> tuple[int, int]:
    """Where a sequence of packed ones begins, and its rows; behind the last one those that are no sequence's."""
    lengths, item = load(args + _A.segment + _S.lengths), load(args + _A.segment + _S.length_bytes)
    begin, count = 0, 0
    for i in range(number + 1):
        begin += count
        count = rows - begin
        if i < sequences:
            length = load(lengths + i * item) if item == WORD_BYTES else load_i32(lengths + i * item)
            count = max(0, min(length, count))
    return begin, count


@inlined
def _pack(args: int, segment: int, key: int, value: int, begin: int, count: int, keys: int, values: int) -> None:
    """`count` keys and values from `begin` on into panels."""
    size, width = load(args + _A.size), load(args + _A.score_columns)
    key_row, value_row = load(segment + _S.key_row), load(segment + _S.value_row)
    row = scratch(_COPY_WORDS)
    store(row + _SOURCE_COLUMN, key_row)
    store(row + _TARGET_ROW, width * _FLOAT)
    for panel in range((count + width - 1) // width):
        column = panel * width
        call5(
            load(args + _A.transpose),
            key + (begin + column) * key_row,
            keys + column * size * _FLOAT,
            size,
            min(width, count - column),
            row,
        )
    pitches = scratch(2)
    store(pitches, value_row)
    store(pitches + WORD_BYTES, count * load(args + _A.value_columns) * _FLOAT)
    call5(load(args + _A.pack), value + begin * value_row, values, count, load(args + _A.value_size), pitches)
