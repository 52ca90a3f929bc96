"""The end of every kernel that computes rows of pixels by vectors of channels: epilogue and store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import INT32
from minidnn_kernels.epilogue import Epilogue, load_numbers
from minidnn_kernels.simd import Simd, Value, const

__all__ = ["CONTEXT", "OPERAND", "Block", "store_block", "store_value"]

# What a microkernel is told of the output and of the epilogue's operands.
CONTEXT = ArgumentRow(
    Field("output", "its first element"),
    Field("pitch", "bytes between the output's rows"),
    Field("operands", "for each, as `OPERAND` has it", words=None),
    Field("numbers", "the epilogue's", words=None),
)
OPERAND = ArgumentRow(
    Field("address", "its first element"),
    Field("pitch", "bytes between its rows; 0 if all rows share one"),
)


@dataclass(frozen=True)
class Block:
    """Where a block of the output lies.

    Args:
        context: address of a `CONTEXT`.
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


def store_block(s: Simd, epilogue: Epilogue, block: Block, accumulators: Iterable[Sequence[Value]]) -> None:
    """Apply the epilogue to ``accumulators[row][vector]``, float32 or int32, and store."""
    base = s.load_argument(block.context, CONTEXT.offsets.output)
    pitch = s.load_argument(block.context, CONTEXT.offsets.pitch)
    operands = []
    for i in range(len(epilogue.operands)):
        slot = s.add(block.context, const(CONTEXT.offsets.operands + i * OPERAND.words * WORD_BYTES))
        operands.append(tuple(s.load_argument(slot, offset) for offset in OPERAND.offsets))
    behind = s.add(block.context, const(CONTEXT.offsets.operands + len(operands) * OPERAND.words * WORD_BYTES))
    numbers = load_numbers(s, behind, epilogue.number_types)
    kinds, output = epilogue.kinds, epilogue.output_type

    # What all rows share is loaded once.
    shared: dict[tuple[int, int], Value] = {}
    for i, kind in enumerate(kinds):
        if kind.form == "scalar":
            value = kind.type.read_splat(s, operands[i][0])
            shared.update({(i, j): value for j in range(len(block.columns))})
        elif kind.form == "channel":
            for j, column in enumerate(block.columns):
                address = s.add(operands[i][0], s.mul(column, const(kind.type.bytes)))
                shared[i, j] = kind.type.read(s, address, block.masks[j])

    # AVX2 has no instruction to narrow one vector, but does two as fast.
    in_pairs = s.isa.arch == "x86_64" and s.lanes == 8 and epilogue.is_quantized
    waiting: list[_Place] = []

    def store_row(row: Value, vectors: Sequence[Value]) -> None:
        start = s.add(base, s.mul(row, pitch))
        for j, accumulator in enumerate(vectors):

            def load(i: int, j: int = j) -> Value:
                if (i, j) in shared:
                    return shared[i, j]
                (address, operand_pitch), kind = operands[i], kinds[i]
                address = s.add(address, s.mul(row, operand_pitch))
                if kind.form == "row":
                    return kind.type.read_splat(s, address)
                element = s.mul(block.columns[j], const(kind.type.bytes))
                return kind.type.read(s, s.add(address, element), block.masks[j])

            paired = in_pairs and block.masks[j] is None
            value = _finish(s, epilogue, accumulator, load, numbers, least_by_store=paired)
            place = _Place(value, s.add(start, s.mul(block.columns[j], const(output.bytes))), row, j)
            if not paired:
                _store(s, epilogue, value, place.address, block.masks[j])
            elif waiting:
                _store_pair(s, waiting.pop(), place, output.is_signed)
            else:
                waiting.append(place)

    def store_waiting() -> None:
        while waiting:
            _store_pair(s, waiting[0], waiting.pop(), output.is_signed)

    for r, vectors in enumerate(accumulators):
        if block.present is None:
            store_row(block.rows[r], vectors)
        else:
            with s.builder.if_then(block.present[r]):
                store_row(block.rows[r], vectors)
                store_waiting()
    store_waiting()


@dataclass(frozen=True)
class _Place:
    """A vector to be stored: where, and which row's and column's it is."""

    value: Value
    address: Value
    row: Value
    column: int


def _store_pair(s: Simd, low: _Place, high: _Place, signed: bool) -> None:
    """Two vectors of int32 as bytes: those below zero as 0 where bytes have no sign. Both may be the same one."""
    values = [low.value, high.value]
    if signed:
        values = [s.builder.and_(value, s.splat_int(0xFF)) for value in values]
    packed = s.pack_bytes(*values)
    if low.row is high.row and high.column == low.column + 1:
        s.builder.store(packed, s.pointer(low.address, packed.type), align=1)
    elif low is high:
        s.store_halves(packed, low.address)
    else:
        s.store_halves(packed, low.address, high.address)


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
        ValueError: float32 is to be stored as ``s32``.
    """
    _store(s, epilogue, _finish(s, epilogue, accumulator, load, numbers), address, mask)


def _finish(
    s: Simd,
    epilogue: Epilogue,
    accumulator: Value,
    load: Callable[[int], Value],
    numbers: Sequence[Value],
    least_by_store: bool = False,
) -> Value:
    """What is to be stored: of a quantized output int32 that its type can hold, or that is below it if that may be.

    Int8 networks give the same bits on every ISA, so what computes from integers or makes some rounds as each of them
    can.
    """
    integer = accumulator.type == s.int_vector
    if epilogue.output_type is INT32 and not epilogue.instructions:
        if not integer:
            raise ValueError("an s32 output needs int32 sums, this kernel's are float32")
        return accumulator
    with s.rounding_twice(integer or epilogue.has_bytes):
        first = s.builder.sitofp(accumulator, s.vector) if integer else accumulator
        value = epilogue.emit(s, first, load, numbers, least_by_store)
    return epilogue.output_type.from_float(s, value) if epilogue.is_quantized else value


def _store(s: Simd, epilogue: Epilogue, value: Value, address: Value, mask: Value | None) -> None:
    store = epilogue.output_type.store_lanes if epilogue.is_quantized else epilogue.output_type.write
    store(s, value, address, mask)
