"""The tile of products channel by channel: a convolution whose groups are single channels."""

from __future__ import annotations

from dataclasses import dataclass, field

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block
from minidnn_kernels.tile import ARGUMENTS, scattered_rows

__all__ = ["DepthwiseTileSpec"]


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
        tail = "_tail" if self.masked else ""
        return f"f32_depthwise_{self.rows}x{self.vectors}v{tail}_scattered__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the tile, one function of `tile.ARGUMENTS`.

        Raises:
            ValueError: the tile does not fit the registers.
        """
        if not isa.tile_fits(self.rows, self.vectors):
            raise ValueError(f"a {self.rows}x{self.vectors} tile does not fit {isa.registers} registers of {isa.name}")
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        a = dict(zip(ARGUMENTS, function.args, strict=True))
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
