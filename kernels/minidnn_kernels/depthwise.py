"""Depthwise convolution: every channel by itself, so the vector is channels and nothing is summed across it.

A call computes `pixels` neighbouring outputs along the last spatial dimension for all channels. Their
windows overlap: an input column is loaded once and used for every output that sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, INT32
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block
from minidnn_kernels.tile import ARGUMENTS as TILE_ARGUMENTS
from minidnn_kernels.tile import scattered_rows

__all__ = ["ARGUMENTS", "DEPTHWISE_ARGUMENTS", "MAX_POINTERS", "DepthwiseSpec", "DepthwiseTileSpec"]

# context:   as `store.CONTEXT` has it
# pointers:  address of the input pixels' addresses, [outer taps][columns]
# weights:   address of float32 [outer taps][width][channels rounded up to whole vectors]; for integer input
#            one row more, the int32 bias
# row:       the first output pixel
# channels:  how many
ARGUMENTS = ("context", "pointers", "weights", "row", "channels")


# Input pixels of a strip: the loop keeps their addresses on its stack.
MAX_POINTERS = 2048

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


@dataclass(frozen=True)
class DepthwiseSpec:
    """A window of `outer` x `width` taps; `width` is along the dimension that `pixels` runs along.

    Args:
        outer: taps of all dimensions but the last.
        width, stride, dilate: of the last dimension.
        pixels: outputs computed together.
        epilogue: the epilogue.
        data: type of the input, ``f32``, ``u8`` or ``s8``. Integers are summed as float32, which is exact: the
            sum of all products of a window stays below 2^24. Then the int32 bias is added, and the epilogue sees
            int32 sums.
    """

    outer: int
    width: int
    stride: int
    dilate: int
    pixels: int
    epilogue: Epilogue = field(default_factory=Epilogue)
    data: str = "f32"

    @property
    def columns(self) -> int:
        """Input columns the outputs of one call see."""
        return (self.pixels - 1) * self.stride + (self.width - 1) * self.dilate + 1

    @property
    def name(self) -> str:
        window = f"{self.outer}x{self.width}s{self.stride}d{self.dilate}"
        return f"{self.data}_depthwise_{window}_{self.pixels}p__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        context, pointers, weights, row, channels = function.args
        data = ELEMENT_TYPES[self.data]
        rounded = builder.and_(s.add(channels, const(s.lanes - 1)), const(-s.lanes))

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(FLOAT32.bytes))
            element = s.mul(channel, const(data.bytes))
            sums = self._window(
                s, pointers, s.add(weights, offset), element, s.mul(rounded, const(FLOAT32.bytes)), mask
            )
            if data.is_integer:
                taps = const(self.outer * self.width)
                bias = INT32.load_lanes(s, s.add(weights, offset, s.mul(taps, s.mul(rounded, const(FLOAT32.bytes)))))
                sums = [builder.add(builder.fptosi(total, s.int_vector), bias) for total in sums]
            rows = [s.add(row, const(p)) for p in range(self.pixels)]
            store_block(s, self.epilogue, Block(context, rows, [channel], [mask]), [[v] for v in sums])

        s.each_vector(channels, body)
        builder.ret_void()
        return str(module)

    def _window(
        self, s: Simd, pointers: Value, weights: Value, offset: Value, tap_pitch: Value, mask: Value | None
    ) -> list[Value]:
        sums = [s.splat(0.0)] * self.pixels
        for outer in range(self.outer):
            seen: dict[int, Value] = {}
            for tap in range(self.width):
                index = outer * self.width + tap
                weight = s.load(s.add(weights, s.mul(const(index), tap_pitch)))
                for p in range(self.pixels):
                    column = p * self.stride + tap * self.dilate
                    if column not in seen:
                        pointer = s.load_i64(s.add(pointers, const((outer * self.columns + column) * WORD_BYTES)))
                        seen[column] = ELEMENT_TYPES[self.data].load(s, s.add(pointer, offset), mask)
                    sums[p] = s.fma(seen[column], weight, sums[p])
        return sums


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
