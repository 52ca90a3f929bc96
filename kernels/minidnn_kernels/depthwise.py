"""Depthwise convolution: every channel by itself, so the vector is channels and nothing is summed across it.

A call computes `pixels` neighbouring outputs along the last spatial dimension for all channels. Their
windows overlap: an input column is loaded once and used for every output that sees it. How taps are multiplied is in
`tap_dot`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, INT32
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block
from minidnn_kernels.tap_dot import TapDot, tap_dot_for
from minidnn_kernels.tile import ARGUMENTS as TILE_ARGUMENTS
from minidnn_kernels.tile import scattered_rows

__all__ = ["ARGUMENTS", "DEPTHWISE_ARGUMENTS", "MAX_POINTERS", "DepthwiseSpec", "DepthwiseTileSpec", "unit_of"]

# context:   as `store.CONTEXT` has it
# pointers:  address of the input pixels' addresses, [outer taps][columns]
# weights:   as `DepthwiseSpec.pack` makes them
# row:       the first output pixel
# channels:  how many
ARGUMENTS = ("context", "pointers", "weights", "row", "channels")


# Input pixels of a strip: the loop keeps their addresses on its stack.
MAX_POINTERS = 2048

Array = np.ndarray[Any, Any]

# Of `depthwise_loop`.
DEPTHWISE_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "the input"),
    Field("zeros", "a row of `channels` zeros"),
    Field("image_pitch", "from one input image to the next"),
    Field("pixel_pitch", "from one input pixel to the next"),
    Field("table", "int32 [strips][pointers]: input pixels, -1 for padding"),
    Field("pointers", "of a strip, at most `MAX_POINTERS`"),
    Field("strips", "per image"),
    Field("block_strips", "strips of a part"),
    Field("blocks", "parts of an image"),
    Field("starts", "int32 [strips]: the first output pixel"),
    Field("weights", "as the microkernel has them"),
    Field("channels", "how many"),
    Field("pixels", "output pixels per image"),
    Field("context", "the microkernel's, as `store.CONTEXT` has it", words=None),
)


# Pixels that are stored together, so that two vectors are narrowed at once.
_STORED = 2


@dataclass(frozen=True)
class DepthwiseSpec:
    """A window of `outer` x `width` taps; `width` is along the dimension that `pixels` runs along.

    Args:
        outer: taps of all dimensions but the last.
        width, stride, dilate: of the last dimension.
        pixels: outputs computed together.
        epilogue: the epilogue.
        data: type of the input, ``f32``, ``u8`` or ``s8``; weights of integers are int8, and the epilogue sees int32
            sums.
        vectors: of channels that are computed together, a power of two. Where the channels are no multiple of them,
            the last ones begin early enough to be whole, and some channels are computed again.
        masked: for fewer channels than a vector has; then `vectors` is 1.
    """

    outer: int
    width: int
    stride: int
    dilate: int
    pixels: int
    epilogue: Epilogue = field(default_factory=Epilogue)
    data: str = "f32"
    vectors: int = 1
    masked: bool = False

    @property
    def columns(self) -> int:
        """Input columns the outputs of one call see."""
        return (self.pixels - 1) * self.stride + (self.width - 1) * self.dilate + 1

    @property
    def name(self) -> str:
        window = f"{self.outer}x{self.width}s{self.stride}d{self.dilate}"
        tail = "_remainder" if self.masked else ""
        return f"{self.data}_depthwise_{window}_{self.pixels}p{self.vectors}v{tail}__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        context, pointers, weights, row, channels = function.args
        dot, unit = tap_dot_for(isa, self.data), self.vectors * isa.lanes
        pitch = self._block_bytes(dot, isa.lanes)
        units = builder.lshr(s.add(channels, const(unit - 1)), const(unit.bit_length() - 1))
        mask = s.first_lanes(channels) if self.masked else None
        with s.loop(const(0), const(1) if self.masked else units, 1, []) as loop:
            first = s.mul(loop.index, const(unit))
            channel = first if self.masked else s.smaller(first, s.add(channels, const(-unit)))
            element = s.mul(channel, const(ELEMENT_TYPES[self.data].bytes))
            begin = s.add(weights, s.mul(loop.index, const(self.vectors * pitch)))
            blocks = [s.add(begin, const(j * pitch)) for j in range(self.vectors)]
            columns = [s.add(channel, const(j * s.lanes)) for j in range(self.vectors)]
            for pixels in _in_turns(self._window(s, dot, pointers, blocks, element, mask), _STORED):
                rows = [s.add(row, const(p)) for p, _ in pixels]
                block = Block(context, rows, columns, [mask] * self.vectors)
                store_block(s, self.epilogue, block, [sums for _, sums in pixels])
        builder.ret_void()
        return str(module)

    def pack(self, weights: Array, start: Array | None, isa: Isa) -> Array:
        """Weights [outer taps, width, channels], and int32 starts (channels,) of integers, as the kernel reads them.

        uint8 [units of channels, bytes].
        """
        dot, lanes, unit = tap_dot_for(isa, self.data), isa.lanes, self.vectors * isa.lanes
        channels = weights.shape[2]
        # In a masked unit the last channel stands for those that do not exist.
        begins = (
            np.arange(0, channels, unit) if self.masked else np.minimum(np.arange(0, channels, unit), channels - unit)
        )
        chosen = np.minimum(begins[:, None] + np.arange(unit), channels - 1)
        groups = -(-self.outer // dot.group)
        padded = np.zeros((groups * dot.group, self.width, channels), dot.element)
        padded[: self.outer] = weights
        # [units, vectors, groups, width, lanes, group]
        shape = (groups, dot.group, self.width, len(begins), self.vectors, lanes)
        order = padded[:, :, chosen].reshape(shape).transpose(3, 4, 0, 2, 5, 1)
        packed = np.ascontiguousarray(order).reshape(len(begins), self.vectors, -1).view(np.uint8)
        if ELEMENT_TYPES[self.data].is_integer:
            starts = np.zeros(channels, np.int64) if start is None else start.astype(np.int64)
            starts = (starts - weights.astype(np.int64).sum((0, 1)) * dot.offset).astype(np.int32)
            bytes_ = starts[chosen].reshape(len(begins), self.vectors, lanes).view(np.uint8)
            packed = np.concatenate([bytes_, packed], 2)
        return packed.reshape(len(begins), -1)

    def _block_bytes(self, dot: TapDot, lanes: int) -> int:
        """Of a vector of channels in the packed weights."""
        steps = -(-self.outer // dot.group) * self.width
        start = INT32.bytes if ELEMENT_TYPES[self.data].is_integer else 0
        return lanes * (start + steps * dot.group * dot.element.itemsize)

    def _window(
        self, s: Simd, dot: TapDot, pointers: Value, blocks: list[Value], element: Value, mask: Value | None
    ) -> Iterator[tuple[int, list[Value]]]:
        """Each output pixel and its sums, a vector for each block of weights, as soon as they are complete.

        Either the weights of some rows of the window stay in registers while all columns of the input pass by, or the
        columns pass by once and the weights are read again and again.
        """
        start, place = [s.splat(0.0)] * len(blocks), list(blocks)
        if ELEMENT_TYPES[self.data].is_integer:
            start = [INT32.load_lanes(s, block) for block in blocks]
            place = [s.add(block, const(s.lanes * INT32.bytes)) for block in blocks]
        sums = [start] * self.pixels
        step_bytes = s.lanes * dot.group * dot.element.itemsize
        groups = [range(first, min(first + dot.group, self.outer)) for first in range(0, self.outer, dot.group)]
        passes = [groups] if dot.one_pass else [[group] for group in groups]
        for number, column in itertools.product(range(len(passes)), range(self.columns)):
            if dot.one_pass:
                # Operands in memory are better than registers that are put on the stack and read again.
                place = [s.opaque(block) for block in place]
            for g, rows in enumerate(passes[number], number):
                seeing = self._pixels_that_see(column)
                if not seeing:
                    continue
                pointer = [s.add(pointers, const((outer * self.columns + column) * WORD_BYTES)) for outer in rows]
                data = dot.load(s, [s.add(s.load_i64(p), element) for p in pointer], len(blocks), mask)
                for p, tap in seeing:
                    offset = const((g * self.width + tap) * step_bytes)
                    weights = [dot.load_weights(s, s.add(block, offset)) for block in place]
                    sums[p] = [dot.accumulate(s, *factors) for factors in zip(sums[p], data, weights, strict=True)]
                    if tap == self.width - 1 and rows.stop == self.outer:
                        yield p, sums[p]

    def _pixels_that_see(self, column: int) -> list[tuple[int, int]]:
        """Output pixels, each with its tap that meets the column."""
        taps = ((p, column - p * self.stride) for p in range(self.pixels))
        return [(p, tap // self.dilate) for p, tap in taps if tap in range(0, self.width * self.dilate, self.dilate)]


_Item = TypeVar("_Item")


def _in_turns(items: Iterable[_Item], count: int) -> Iterator[list[_Item]]:
    """So many at a time; the last ones may be fewer."""
    rest = iter(items)
    while taken := list(itertools.islice(rest, count)):
        yield taken


def unit_of(isa: Isa, data: str, channels: int) -> tuple[int, bool]:
    """How many vectors of channels the kernel for so many channels takes together, and whether it is masked."""
    vectors = tap_dot_for(isa, data).vectors
    while vectors > 1 and vectors * isa.lanes > channels:
        vectors //= 2
    return vectors, channels < isa.lanes


@dataclass(frozen=True)
class DepthwiseTileSpec:
    """Float32: `rows` output pixels by `vectors` of channels, any taps; rows are scattered, as those of a `TileSpec`.

    Its arguments are those of a tile: a row pointer leads to the pixel's first channel, and the panel is
    [taps][vectors], the weights of these channels. There is no depth.
    """

    rows: int
    vectors: int
    epilogue: Epilogue = field(default_factory=Epilogue)
    masked: bool = False

    @property
    def name(self) -> str:
        tail = "_remainder" if self.masked else ""
        return f"f32_depthwise_{self.rows}x{self.vectors}v{tail}_scattered__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the tile, one function of `tile.ARGUMENTS`.

        Raises:
            ValueError: the tile does not fit the registers.
        """
        if not isa.tile_fits(self.rows, self.vectors):
            raise ValueError(f"a {self.rows}x{self.vectors} tile does not fit {isa.registers} registers of {isa.name}")
        module, function, builder = new_function(self.name, TILE_ARGUMENTS)
        s = Simd(builder, isa)
        a = dict(zip(TILE_ARGUMENTS, function.args, strict=True))
        masks: list[Value | None] = [None] * self.vectors
        if self.masked:
            masks = [s.first_lanes(s.add(a["columns_left"], const(-j * s.lanes))) for j in range(self.vectors)]
        columns = [s.add(a["column"], const(j * s.lanes)) for j in range(self.vectors)]
        sums = self._sums(s, a, columns, masks)
        block = Block(a["context"], scattered_rows(s, a, self.rows), columns, masks)
        store_block(s, self.epilogue, block, sums)
        builder.ret_void()
        return str(module)

    def _sums(self, s: Simd, a: dict[str, Value], columns: list[Value], masks: list[Value | None]) -> list[list[Value]]:
        rows, vectors = range(self.rows), range(self.vectors)
        with s.loop(const(0), a["taps"], 1, [s.splat(0.0)] * (self.rows * self.vectors)) as tap:
            panel = s.add(a["panel"], s.mul(tap.index, const(self.vectors * s.vector_bytes)))
            table = s.add(a["pointers"], s.mul(tap.index, const(self.rows * WORD_BYTES)))
            weights = [s.load(s.add(panel, const(j * s.vector_bytes))) for j in vectors]
            tap.next = []
            for i in rows:
                pointer = s.load_i64(s.add(table, const(i * WORD_BYTES)))
                for j in vectors:
                    data = s.load(s.add(pointer, s.mul(columns[j], const(FLOAT32.bytes))), masks[j])
                    tap.next.append(s.fma(data, weights[j], tap.values[i * self.vectors + j]))
        return [tap.results[i * self.vectors : (i + 1) * self.vectors] for i in rows]
