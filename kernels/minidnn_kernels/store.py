"""The end of every kernel that computes rows of pixels by vectors of channels: tail and store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minidnn_kernels.epilogue import OUTPUTS, Epilogue, load_numbers, operand_dtype
from minidnn_kernels.simd import Simd, Value, const

__all__ = ["Block", "store_block", "store_value"]

_FIRST_OPERAND = 2


@dataclass(frozen=True)
class Block:
    """Where a block of the output lies.

    Args:
        context: address of [the output, bytes between its rows, then for each operand: address, bytes
            between rows; then the epilogue's numbers].
        rows: the number of each row of the block in the output; a row may stand twice if it has the same
            values both times.
        columns: first column (channel) of each vector; the vectors lie side by side.
        masks: lanes of each vector that exist; None for all.
        present: whether each row is to be stored; None for all.
    """

    context: Value
    rows: Sequence[Value]
    columns: Sequence[Value]
    masks: Sequence[Value | None]
    present: Sequence[Value] | None = None


def store_block(s: Simd, epilogue: Epilogue, block: Block, accumulators: Sequence[Sequence[Value]]) -> None:
    """Apply the epilogue to ``accumulators[row][vector]``, float32 or int32, and store."""
    base, pitch = s.load_i64(block.context), s.load_i64(s.add(block.context, const(8)))
    operands = []
    for i in range(len(epilogue.operands)):
        slot = s.add(block.context, const((_FIRST_OPERAND + 2 * i) * 8))
        operands.append((s.load_i64(slot), s.load_i64(s.add(slot, const(8)))))
    behind = s.add(block.context, const((_FIRST_OPERAND + 2 * len(operands)) * 8))
    numbers = load_numbers(s, behind, epilogue.numbers)
    dtypes = [operand_dtype(kind) for kind in epilogue.operands]

    # What all rows share is loaded once.
    shared: dict[tuple[int, int], Value] = {}
    for i, kind in enumerate(epilogue.operands):
        if kind == "scalar":
            value = s.load_splat(operands[i][0])
            shared.update({(i, j): value for j in range(len(block.columns))})
        elif kind == "channel":
            for j, column in enumerate(block.columns):
                shared[i, j] = s.load(s.add(operands[i][0], s.mul(column, const(4))), block.masks[j])

    def store_row(row: Value, vectors: Sequence[Value]) -> None:
        made: list[Value] = []
        for j, accumulator in enumerate(vectors):

            def load(i: int, j: int = j) -> Value:
                if (i, j) in shared:
                    return shared[i, j]
                address, operand_pitch = operands[i]
                if epilogue.operands[i] == "row":
                    return s.load_splat(s.add(address, s.mul(row, operand_pitch)))
                element = s.mul(block.columns[j], const(OUTPUTS[dtypes[i]]))
                return s.load_as_float(s.add(address, s.mul(row, operand_pitch), element), dtypes[i], block.masks[j])

            made.append(_finish(s, epilogue, accumulator, load, numbers))
        # AVX2 has no instruction to narrow one vector, but does two as fast.
        paired = s.isa.arch == "x86_64" and s.lanes == 8 and epilogue.output == "u8"
        start = s.add(base, s.mul(row, pitch))
        j = 0
        while j < len(made):
            address = s.add(start, s.mul(block.columns[j], const(OUTPUTS[epilogue.output])))
            if paired and j + 1 < len(made) and block.masks[j] is None and block.masks[j + 1] is None:
                s.store_u8_pair(made[j], made[j + 1], address)
                j += 2
            else:
                _store(s, epilogue.output, made[j], address, block.masks[j])
                j += 1

    for r, vectors in enumerate(accumulators):
        if block.present is None:
            store_row(block.rows[r], vectors)
        else:
            with s.builder.if_then(block.present[r]):
                store_row(block.rows[r], vectors)


def store_value(
    s: Simd,
    epilogue: Epilogue,
    accumulator: Value,
    load: Callable[[int], Value],
    numbers: Sequence[Value],
    address: Value,
    mask: Value | None,
) -> None:
    """Apply the epilogue to one vector, float32 or int32, and store what it makes.

    Raises:
        ValueError: an ``s32`` output of float32.
    """
    _store(s, epilogue.output, _finish(s, epilogue, accumulator, load, numbers), address, mask)


def _finish(
    s: Simd, epilogue: Epilogue, accumulator: Value, load: Callable[[int], Value], numbers: Sequence[Value]
) -> Value:
    """What is to be stored: float32, or int32 that the output type can hold."""
    integer = accumulator.type == s.int_vector
    if epilogue.output == "s32":
        if not integer:
            raise ValueError("an s32 output needs int32 sums, this kernel's are float32")
        return accumulator
    value = epilogue.emit(s, s.builder.sitofp(accumulator, s.vector) if integer else accumulator, load, numbers)
    return value if epilogue.output == "f32" else s.to_int(value)


def _store(s: Simd, output: str, value: Value, address: Value, mask: Value | None) -> None:
    if output == "f32":
        s.store(value, address, mask)
    else:
        s.store_int(value, address, output, mask)
