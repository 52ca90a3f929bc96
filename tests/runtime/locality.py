"""Which bytes each part of a step reads and writes, and how many of those a thread reads another one wrote.

Counted from the argument rows of a program, as the loops read them; weights and tables do not count. Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.plan.program import Address, NativeStep, Program
from minidnn_kernels.arguments import ArgumentRow
from minidnn_kernels.copy import COPY_ARGUMENTS
from minidnn_kernels.depthwise import DEPTHWISE_ARGUMENTS
from minidnn_kernels.elementwise import ELEMENTWISE_ARGUMENTS, TENSOR
from minidnn_kernels.matmul import MATMUL_ARGUMENTS
from minidnn_kernels.pooling import GLOBAL_POOL_ARGUMENTS, POOL_ARGUMENTS
from minidnn_kernels.store import OPERAND
from minidnn_kernels.winograd import WINOGRAD_ARGUMENTS

Array = np.ndarray[Any, Any]

# Of float32, and of the numbers in tables.
_ITEM = 4
_LINE = 64


@dataclass(frozen=True)
class Ranges:
    """Ranges of `length` bytes each, that begin `offsets` behind an address."""

    address: Address
    offsets: Array
    length: int


class _Row:
    """A step's arguments by name."""

    def __init__(self, program: Program, step: NativeStep, row: ArgumentRow) -> None:
        self._program, self._step, self._row = program, step, row

    def __getattr__(self, name: str) -> Any:
        return self._step.arguments[self._row.position(name)]

    def words(self, name: str, count: int) -> tuple[Any, ...]:
        begin = self._row.position(name)
        return self._step.arguments[begin : begin + count]

    def behind(self, name: str) -> tuple[Any, ...]:
        return self._step.arguments[self._row.position(name) :]

    def find_table(self, name: str) -> Array:
        """The numbers of a table, whatever shape it has."""
        address = getattr(self, name)
        return self._program.constants[address.buffer.index].reshape(-1)

    def operands(self) -> Iterator[tuple[Address, int]]:
        """Addresses and pitches of what an epilogue reads beside the output, of which rows differ."""
        _, _, *rest = self.behind("context")
        for address, pitch in zip(rest[:: OPERAND.words], rest[1 :: OPERAND.words], strict=False):
            if isinstance(address, Address) and isinstance(pitch, int) and pitch:
                yield address, pitch

    def output_rows(self, rows: Array, first: int, columns: int) -> Iterator[tuple[bool, Ranges]]:
        """Rows of the output that are written, and those of operands that are read."""
        output, pitch, *_ = self.behind("context")
        yield True, Ranges(output, rows * pitch + first * _ITEM, columns * _ITEM)
        for address, other in self.operands():
            yield False, Ranges(address, rows * other + first * _ITEM, columns * _ITEM)


def _pixels(address: Address, image: int, row: _Row, pixels: Array, length: int) -> Ranges:
    there = np.unique(pixels[pixels >= 0]).astype(np.int64)
    return Ranges(address, image * row.image_pitch + there * row.pixel_pitch, length)


def _matmul(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    rest, panel_block = divmod(part, row.panel_blocks)
    rest, group = divmod(rest, row.groups)
    image, block = divmod(rest, row.blocks)
    strips = -(-row.pixels // row.rows)
    table = row.find_table("table").reshape(strips, row.taps, row.rows)
    some = slice(block * row.block_strips, (block + 1) * row.block_strips)
    yield False, _pixels(row.source + group * row.source_group, image, row, table[some], row.depth * _ITEM)
    first = panel_block * row.block_panels * row.columns
    columns = min(row.group_columns - first, row.block_panels * row.columns)
    rows = np.arange(some.start * row.rows, min(row.pixels, some.stop * row.rows))
    yield from row.output_rows(image * row.pixels + rows, group * row.group_columns + first, columns)


def _winograd(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    number, filters = divmod(part, row.filter_parts)
    first = filters * row.part_panels * row.columns
    columns = min(row.filters - first, row.part_panels * row.columns)
    all_inputs = row.find_table("input_table").reshape(row.blocks, -1)
    all_outputs = row.find_table("output_table").reshape(row.blocks, -1)
    end = min((number + 1) * row.part_blocks, row.images * row.blocks)
    for image in range(row.images):
        begin = image * row.blocks
        some = slice(max(0, number * row.part_blocks - begin), max(0, min(row.blocks, end - begin)))
        if some.start < some.stop:
            outputs = all_outputs[some]
            yield False, _pixels(row.source, image, row, all_inputs[some], row.channels * _ITEM)
            rows = image * row.pixels + outputs[outputs >= 0].astype(np.int64)
            yield from row.output_rows(rows, first, columns)


def _depthwise(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    image, block = divmod(part, row.blocks)
    some = slice(block * row.block_strips, (block + 1) * row.block_strips)
    table, starts = row.find_table("table").reshape(row.strips, -1), row.find_table("starts")
    yield False, _pixels(row.source, image, row, table[some], row.channels * _ITEM)
    pixels = row.kernel.spec.pixels
    rows = np.unique(starts[some, None].astype(np.int64) + np.arange(pixels))
    yield from row.output_rows(image * row.pixels + rows, 0, row.channels)


def _pool(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    image, block = divmod(part, row.blocks)
    some = slice(block * row.block, min(row.pixels, (block + 1) * row.block))
    table = row.find_table("table").reshape(row.pixels, row.taps)[some]
    yield False, _pixels(row.source, image, row, table, row.channels * _ITEM)
    rows = image * row.pixels + np.arange(some.start, some.stop)
    yield True, Ranges(row.target, rows * row.target_pitch, row.channels * _ITEM)


def _global_pool(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    image, block = divmod(part, row.blocks)
    first, channels = block * row.block, min(row.block, row.channels - block * row.block)
    pitch = row.channels * row.item
    begins = image * row.image_pitch + np.arange(row.pixels) * pitch + first * row.item
    yield False, Ranges(row.source, begins, channels * row.item)
    target = np.array([image * row.target_pitch + first * row.target_item])
    yield True, Ranges(row.target, target, channels * row.target_item)


def _copy(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    dimensions = _words_of(COPY_ARGUMENTS, "shape")
    *outer, rows, columns = row.words("shape", dimensions)
    rest, number = divmod(part, row.row_parts)
    index = np.unravel_index(rest, outer)
    some = np.arange(number * row.rows_per_part, min(rows, (number + 1) * row.rows_per_part))
    for name, is_written in (("source", False), ("target", True)):
        *steps, down, across = row.words(f"{name}_strides", dimensions)
        begin = sum(i * s for i, s in zip(index, steps, strict=True))
        offsets = begin + some[:, None] * down + np.arange(columns) * across
        yield is_written, Ranges(getattr(row, name), offsets.reshape(-1).astype(np.int64), row.item)


def _elementwise(row: _Row, part: int, parts: int) -> Iterator[tuple[bool, Ranges]]:
    total = row.outer * row.chunks
    numbers = np.arange(total * part // parts, total * (part + 1) // parts)
    outer, chunk = np.divmod(numbers, row.chunks)
    index = np.unravel_index(outer, row.words("shape", _words_of(ELEMENTWISE_ARGUMENTS, "shape")))
    tensors = row.behind("tensor")
    for t in range(row.tensors):
        address, *strides, step = tensors[t * TENSOR.words : (t + 1) * TENSOR.words]
        begins = sum(i * s for i, s in zip(index, strides, strict=True)) + chunk * row.chunk * step
        yield t == 0, Ranges(address, np.asarray(begins, np.int64), min(row.chunk, row.inner) * step or _ITEM)


def _words_of(declared: ArgumentRow, name: str) -> int:
    words = next(field.words for field in declared.fields if field.name == name)
    assert words is not None
    return words


_LOOPS = {
    "matmul_loop": (_matmul, MATMUL_ARGUMENTS),
    "winograd_loop": (_winograd, WINOGRAD_ARGUMENTS),
    "depthwise_loop": (_depthwise, DEPTHWISE_ARGUMENTS),
    "pool_loop": (_pool, POOL_ARGUMENTS),
    "global_pool_loop": (_global_pool, GLOBAL_POOL_ARGUMENTS),
    "copy_loop": (_copy, COPY_ARGUMENTS),
    "elementwise_loop": (_elementwise, ELEMENTWISE_ARGUMENTS),
}


def footprint(program: Program, step: NativeStep, part: int) -> Iterator[tuple[bool, Ranges]]:
    """What a part reads (False) and writes (True)."""
    of_part, declared = _LOOPS[step.loop.name]
    yield from of_part(_Row(program, step, declared), part, step.parts)


@dataclass
class Traffic:
    """Bytes that threads read, weights and inputs of the network excluded, and those of them that another one wrote."""

    read: int = 0
    crossing: int = 0

    @property
    def share(self) -> float:
        return self.crossing / max(1, self.read)


def count_traffic(program: Program, threads: int) -> dict[str, Traffic]:
    """The traffic of each step, by its name, if every thread computes the share that it is dealt and takes no other."""
    writers: dict[tuple[str, int], Array] = {}
    result: dict[str, Traffic] = {}
    for step in program.steps:
        assert isinstance(step, NativeStep), step
        traffic, written = result.setdefault(step.name, Traffic()), []
        # What a thread reads again in the same step is in its cache.
        read: dict[tuple[tuple[str, int], int], list[Array]] = {}
        for part in range(step.parts):
            thread = part * threads // step.parts
            for is_written, ranges in footprint(program, step, part):
                lines = _lines(ranges)
                key = (ranges.address.buffer.kind, ranges.address.buffer.index)
                if key[0] not in ("arena", "output"):
                    continue
                if is_written:
                    written.append((key, lines, thread))
                    continue
                read.setdefault((key, thread), []).append(lines)
        for (key, thread), some in read.items():
            lines = np.unique(np.concatenate(some))
            owners = _owners(writers, key, lines)[lines]
            traffic.read += lines.size * _LINE
            traffic.crossing += int(((owners >= 0) & (owners != thread)).sum()) * _LINE
        for key, lines, thread in written:
            _owners(writers, key, lines)[lines] = thread
    return result


def _lines(ranges: Ranges) -> Array:
    """The cache lines that ranges touch, each once."""
    begins = ranges.address.offset + ranges.offsets
    first, last = begins // _LINE, (begins + ranges.length - 1) // _LINE
    most = int((last - first).max(initial=0)) + 1
    lines = first[:, None] + np.arange(most)
    return np.unique(lines[lines <= last[:, None]])


def _owners(writers: dict[tuple[str, int], Array], key: tuple[str, int], lines: Array) -> Array:
    size = int(lines.max(initial=0)) + 1
    known = writers.get(key, np.zeros(0, np.int16))
    if known.size < size:
        known = np.concatenate([known, np.full(max(size - known.size, known.size), -1, np.int16)])
    writers[key] = known
    return known


def total(traffic: Mapping[str, Traffic]) -> Traffic:
    return Traffic(sum(t.read for t in traffic.values()), sum(t.crossing for t in traffic.values()))
