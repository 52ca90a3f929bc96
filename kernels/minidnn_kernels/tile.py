"""The microkernel: a block of C = epilogue(A B), held in registers from the first product to the only store.

Float32 by float32, or integers with int32 sums, int8 (signed or not) by int8 or int16 by int16: `dot` has the
difference.

The rows of A come from a table of row pointers, ``taps`` pointers for each output row, and each pointer
leads to contiguous elements, ``depth`` steps of them. That one source serves every shape: a matmul has one tap, a
convolution one tap for each kernel position, and padding is a pointer to a row of zeros (indirect
convolution: M. Dukhan, The Indirect Convolution Algorithm, 2019). B is packed in panels of so many vectors of
columns, contiguous along K; a tile reads one panel, or several side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.dot import Dot, SplitDot, dot_for
from minidnn_kernels.element_type import ELEMENT_TYPES, INT32
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.matrix_dot import MatrixDot, Operands
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block

__all__ = ["ARGUMENTS", "TileSpec", "scattered_rows"]

_LINE_BYTES = 64
# Bytes of a panel that is read ahead.
_MOST_AHEAD = 64 * 1024

# context:  as `store.CONTEXT` has it
# pointers: address of the row pointers, [taps][rows]
# depth:    steps behind each pointer (`Dot.group` elements each)
# panel:    address of B's packed panel, behind which the tile's others follow. For integers a panel begins with
#           the int32 sums to start from (the bias), one for each column; then comes
#           [taps * depth][vectors] as `Dot.pack` makes it
# row, column: where the block starts in C (and in the operands)
# rows_left, columns_left: how many rows and columns of C there are from there on
ARGUMENTS = ("context", "pointers", "taps", "depth", "panel", "row", "column", "rows_left", "columns_left")


@dataclass(frozen=True)
class TileSpec:
    """A tile of `rows` by `vectors` registers with an epilogue; `masked` where columns may be missing.

    `data` is the type of A: ``f32`` or ``s16`` (then B is too), ``u8`` or ``s8`` (then B is int8).
    `dot` is one of `ElementType.dots`, if it is not to be the ISA's own.

    Rows beyond `rows_left` repeat the last one: the caller repeats its pointers, the tile its output
    address, so they store the same values again and need no code of their own.

    The `vectors` come from so many `panels` that lie behind each other; several where the dot makes all equally long.

    Rows follow each other in C, or are `scattered`: behind the row pointers come the numbers of the rows, counted from
    `row`, as int64. Then the caller repeats the number too, and `rows_left` counts for nothing.
    """

    rows: int
    vectors: int
    epilogue: Epilogue = field(default_factory=Epilogue)
    masked: bool = False
    data: str = "f32"
    dot: str = ""
    scattered: bool = False
    panels: int = 1

    @property
    def name(self) -> str:
        dot, tail = f"_{self.dot}" if self.dot else "", "_remainder" if self.masked else ""
        tail += "_scattered" if self.scattered else ""
        tail += f"_{self.panels}panels" if self.panels > 1 else ""
        return f"{self.data}_igemm{dot}_{self.rows}x{self.vectors}v{tail}__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the tile, one function of `ARGUMENTS`.

        Raises:
            ValueError: the tile does not fit the registers, or cannot read so many panels.
        """
        dot = dot_for(isa, self.data, self.dot)
        if not dot.fits(isa, self.rows, self.vectors):
            raise ValueError(f"a {self.rows}x{self.vectors} tile does not fit {isa.registers} registers of {isa.name}")
        if self.vectors % self.panels or (self.panels > 1 and isinstance(dot, SplitDot)):
            raise ValueError(f"a tile of {self.vectors} vectors cannot read {self.panels} panels of {self.data}")
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        arguments = dict(zip(ARGUMENTS, function.args, strict=True))
        accumulators = self._products(s, arguments)
        masks: list[Value | None] = [None] * self.vectors
        if self.masked:
            left = arguments["columns_left"]
            masks = [s.first_lanes(s.add(left, const(-j * s.lanes))) for j in range(self.vectors)]
        columns = [s.add(arguments["column"], const(j * s.lanes)) for j in range(self.vectors)]
        if self.scattered:
            rows = scattered_rows(s, arguments, self.rows)
        else:
            last = s.add(arguments["rows_left"], const(-1))
            rows = [s.add(arguments["row"], s.smaller(const(r), last)) for r in range(self.rows)]
        block = Block(arguments["context"], rows, columns, masks)
        store_block(s, self.epilogue, block, accumulators)
        builder.ret_void()
        return str(module)

    def _products(self, s: Simd, a: dict[str, Value]) -> Iterable[list[Value]]:
        """The sums over all taps and the whole depth, row by row."""
        rows, vectors = self.rows, self.vectors
        dot = dot_for(s.isa, self.data, self.dot)
        panel_bytes = s.mul(s.mul(a["taps"], a["depth"]), const(vectors // self.panels * s.lanes * dot.column_bytes))
        panel, starts, pitch = self._start(s, a["panel"], panel_bytes)

        def row_pointers(tap: Value) -> list[Value]:
            table = s.add(a["pointers"], s.mul(tap, const(rows * WORD_BYTES)))
            return [s.load_i64(s.add(table, const(i * WORD_BYTES))) for i in range(rows)]

        # The next panels, if the caches have room for both; long ones are streams that the CPU itself foresees.
        ahead = s.smaller_or_zero(s.mul(pitch, const(self.panels)), const(_MOST_AHEAD))
        offsets = [s.mul(pitch, const(i)) for i in range(self.panels)]
        if isinstance(dot, MatrixDot):
            operands = Operands(a["taps"], a["depth"], row_pointers, panel, offsets, starts)
            return dot.sum_rows(s, rows, vectors, operands)
        bias = [INT32.load_lanes(s, start) for start in starts] or [s.splat(0.0)] * vectors
        with s.loop(const(0), a["taps"], 1, [panel, *dot.start(s, bias, rows)]) as tap:
            panel, *sums = tap.values
            tap.next = _add_tap(s, dot, panel, offsets, a["depth"], row_pointers(tap.index), vectors, sums, ahead)
        if isinstance(dot, SplitDot):
            with s.loop(const(0), a["taps"], 1, tap.results) as rest:
                panel, *sums = rest.values
                rest.next = dot.add_rest(s, panel, row_pointers(rest.index), sums)
            tap = rest
        result = dot.sums(s, tap.results[1:], rows)
        return [result[i * vectors : (i + 1) * vectors] for i in range(rows)]

    def _start(self, s: Simd, panel: Value, panel_bytes: Value) -> tuple[Value, list[Value], Value]:
        """Where B begins in the panel, where the sums of a row are before the first product, and from panel to panel.

        Sums of floats begin with zero, which is nowhere.
        """
        if not ELEMENT_TYPES[self.data].is_integer:
            return panel, [], panel_bytes
        vector_bytes, each = s.lanes * INT32.bytes, self.vectors // self.panels
        pitch = s.add(panel_bytes, const(each * vector_bytes))
        begins = [s.add(panel, s.mul(pitch, const(i))) for i in range(self.panels)]
        starts = [s.add(begin, const(j * vector_bytes)) for begin in begins for j in range(each)]
        return s.add(panel, const(each * vector_bytes)), starts, pitch


def scattered_rows(s: Simd, arguments: Mapping[str, Value], rows: int) -> list[Value]:
    """The numbers of a tile's rows in C that the caller put behind the row pointers."""
    numbers = s.add(arguments["pointers"], s.mul(arguments["taps"], const(rows * WORD_BYTES)))
    return [s.add(arguments["row"], s.load_i64(s.add(numbers, const(r * WORD_BYTES)))) for r in range(rows)]


def _add_tap(
    s: Simd,
    dot: Dot,
    panel: Value,
    panels: Sequence[Value],
    steps: Value,
    row_pointers: Sequence[Value],
    vectors: int,
    sums: Sequence[Value],
    ahead: Value,
) -> list[Value]:
    """Where the next tap's part of the panel begins, then the sums with this tap's products.

    The tile's panels are so far behind `panel` as `panels` says.
    """
    vector_bytes = s.lanes * dot.column_bytes
    width = vectors // len(panels) * vector_bytes
    with s.loop(const(0), steps, 1, sums) as k:
        offset = s.mul(k.index, const(dot.step_bytes))
        b_rows = [s.add(panel, s.mul(k.index, const(width)), begin) for begin in panels]
        for b_row in b_rows:
            for line in range(0, width, _LINE_BYTES):
                s.prefetch(s.add(b_row, ahead, const(line)))
        b = [dot.load_b(s, s.add(b_row, const(j))) for b_row in b_rows for j in range(0, width, vector_bytes)]
        k.next = dot.add_step(s, [s.add(pointer, offset) for pointer in row_pointers], b, k.values)
    return [s.add(panel, s.mul(steps, const(width))), *k.results]
