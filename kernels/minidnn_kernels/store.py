"""The end of every kernel that computes rows of pixels by vectors of channels: tail and store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.simd import Simd, Value, const

__all__ = ["Block", "store_block"]

_FIRST_OPERAND = 2


@dataclass(frozen=True)
class Block:
    """Where a block of the output lies.

    Args:
        context: address of [the output, bytes between its rows, then for each operand: address, bytes
            between rows].
        rows: the number of each row of the block in the output; a row may stand twice if it has the same
            values both times.
        columns: first column (channel) of each vector.
        masks: lanes of each vector that exist; None for all.
        present: whether each row is to be stored; None for all.
    """

    context: Value
    rows: Sequence[Value]
    columns: Sequence[Value]
    masks: Sequence[Value | None]
    present: Sequence[Value] | None = None


def store_block(s: Simd, epilogue: Epilogue, block: Block, accumulators: Sequence[Sequence[Value]]) -> None:
    """Apply the epilogue to ``accumulators[row][vector]`` and store."""
    base, pitch = s.load_i64(block.context), s.load_i64(s.add(block.context, const(8)))
    operands = []
    for i in range(len(epilogue.operands)):
        slot = s.add(block.context, const((_FIRST_OPERAND + 2 * i) * 8))
        operands.append((s.load_i64(slot), s.load_i64(s.add(slot, const(8)))))
    offsets = [s.mul(column, const(4)) for column in block.columns]

    # What all rows share is loaded once.
    shared: dict[tuple[int, int], Value] = {}
    for i, kind in enumerate(epilogue.operands):
        if kind == "scalar":
            value = s.load_splat(operands[i][0])
            shared.update({(i, j): value for j in range(len(offsets))})
        elif kind == "channel":
            for j, offset in enumerate(offsets):
                shared[i, j] = s.load(s.add(operands[i][0], offset), block.masks[j])

    def store_row(row: Value, vectors: Sequence[Value]) -> None:
        for j, accumulator in enumerate(vectors):

            def load(i: int, j: int = j) -> Value:
                if (i, j) in shared:
                    return shared[i, j]
                address, operand_pitch = operands[i]
                return s.load(s.add(address, s.mul(row, operand_pitch), offsets[j]), block.masks[j])

            value = epilogue.emit(s, accumulator, load)
            s.store(value, s.add(base, s.mul(row, pitch), offsets[j]), block.masks[j])

    for r, vectors in enumerate(accumulators):
        if block.present is None:
            store_row(block.rows[r], vectors)
        else:
            with s.builder.if_then(block.present[r]):
                store_row(block.rows[r], vectors)
