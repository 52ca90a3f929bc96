"""Matrix products with a tail, for one call of a tile: operands, and what NumPy makes of them.

A problem is placed in some memory, native or emulated, solved there by the tile, and checked: the block must be
what int32 and float32 arithmetic gives, bit by bit, and nothing else may have been written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from minidnn_kernels.dot import dot_for
from minidnn_kernels.epilogue import Epilogue, Instruction, number_word
from minidnn_kernels.isa import ISAS, Isa
from minidnn_kernels.matmul import pack_integer_panels, pack_panels
from minidnn_kernels.tile import TileSpec
from minidnn_kernels.uniform_dot import SignedBytes

__all__ = [
    "DTYPES",
    "INTEGER_ISAS",
    "Fill",
    "Memory",
    "Tail",
    "Tile",
    "TileProblem",
    "kinds",
    "tiles",
    "uniform",
    "weight_type",
]

Array = np.ndarray[Any, Any]

DTYPES: dict[str, type] = {"f32": np.float32, "s32": np.int32, "s16": np.int16, "s8": np.int8, "u8": np.uint8}

# Rows whose code for integers differs: the others differ in how they multiply floats.
INTEGER_ISAS = tuple({(isa.arch, isa.lanes, isa.dot): isa for isa in reversed(ISAS)}.values())[::-1]

_CLAMP = {"s8": (-127.0, 127.0), "u8": (0.0, 255.0)}

# Rows and columns of the output before the block, which others own, and behind it.
_ROWS_BEFORE, _COLUMNS_BEFORE, _BEHIND = 2, 3, 2


class Memory(Protocol):
    """Where problems are placed."""

    def put(self, array: Array) -> int:
        """The address of a copy of the array's elements."""
        ...

    def reserve(self, size: int) -> int:
        """The address of bytes to write to."""
        ...


def kinds(isa: Isa) -> list[tuple[str, str]]:
    """Every data and dot of the integer tiles that can be chosen for that ISA."""
    dots = ("", "maddwd") if isa.dot == "split" else ("",)
    made = [(data, dot) for dot in dots for data in ("u8", "s8")] + [("s16", "")] * (isa.arch == "x86_64")
    return made + [("s8", "signed")] * (isa.dot == "split" and isa.lanes == SignedBytes.lanes)


def weight_type(data: str) -> type:
    """The type of B where A is `data`."""
    return np.int8 if data in ("u8", "s8") else DTYPES[data]


def tiles(isa: Isa, data: str = "s8", name: str = "") -> list[tuple[int, int]]:
    """Rows and vectors of all tiles that can be chosen for that ISA; those for s8 are good for u8 too."""
    dot = dot_for(isa, data, name)
    return [(rows, v) for rows in isa.heights for v in range(1, 5) if dot.fits(isa, rows, v)]


@dataclass(frozen=True)
class Tail:
    """What follows the sums, in this order; all of it float32 if there is any.

    Args:
        scale: times a number per channel (dequantize).
        bias: plus a number per channel.
        residual: plus a tensor of that type, times its own scale if it is an integer.
        activation: ``relu``, ``clip``, or ``at_most``, which clamps what is quantized.
        output: ``s32`` are an int8 tile's sums themselves; ``s8`` and ``u8`` are quantized.
    """

    scale: bool = False
    bias: bool = False
    residual: str | None = None
    activation: str | None = None
    output: str = "s32"

    # Powers of two, so that halves between two integers do come up. The numbers are exact in float32.
    residual_scale = 0.375
    inverse_scale = 0.5
    clip = (0.0, 6.0)
    most = 97.0

    @property
    def operands(self) -> tuple[str, ...]:
        kinds = ["channel"] * (self.scale + self.bias)
        if self.residual is not None:
            kinds.append("tensor" if self.residual == "f32" else f"tensor_{self.residual}")
        return tuple(kinds)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The epilogue's, in its order."""
        residual = (self.residual_scale,) * (self.residual not in (None, "f32"))
        clip = self.clip * (self.activation == "clip")
        most = (self.most,) * (self.activation == "at_most")
        return *residual, *clip, *(self.inverse_scale,) * (self.output in _CLAMP), *most

    def epilogue(self) -> Epilogue:
        program: list[Instruction] = []
        value = operand = 0

        def then(op: str, *others: int) -> int:
            program.append(Instruction(op, (value, *others)))
            return len(program)

        def load() -> int:
            nonlocal operand
            program.append(Instruction("load", operand=operand))
            operand += 1
            return len(program)

        if self.scale:
            value = then("multiply", load())
        if self.bias:
            value = then("add", load())
        if self.residual is not None:
            other = load()
            if self.residual != "f32":
                program.append(Instruction("multiply_scalar", (other,)))
                other = len(program)
            value = then("add", other)
        if self.activation == "relu":
            value = then("relu")
        elif self.activation == "clip":
            value = then("clip")
        if self.output in _CLAMP:
            value = then("multiply_scalar")
        if self.activation == "at_most":
            value = then("at_most")
        return Epilogue(tuple(program), self.operands, self.output)

    def reference(self, sums: Array, scale: Array, bias: Array, residual: Array) -> Array:
        """What the tail makes of sums [rows, columns]; scale and bias [columns], residual [rows, columns]."""
        if self.output == "s32":
            return sums
        x = sums.astype(np.float32)
        with np.errstate(all="ignore"):
            if self.scale:
                x = x * scale
            if self.bias:
                x = x + bias
            if self.residual is not None:
                other = residual.astype(np.float32)
                x = x + (other if self.residual == "f32" else other * np.float32(self.residual_scale))
            if self.activation == "relu":
                x = np.where(x < 0, np.float32(0), x)
            elif self.activation == "clip":
                low, high = map(np.float32, self.clip)
                x = np.where(x < low, low, np.where(x > high, high, x))
            if self.output == "f32":
                return x
            low, high = _CLAMP[self.output]
            most = self.most if self.activation == "at_most" else high
            rounded = np.clip(np.rint(x * np.float32(self.inverse_scale)), low, most)
        return np.where(np.isnan(rounded), np.float32(0), rounded).astype(DTYPES[self.output])


@dataclass(frozen=True)
class Tile:
    """A tile by what distinguishes it, and its spec."""

    rows: int
    vectors: int
    data: str = "u8"
    masked: bool = False
    tail: Tail = field(default_factory=Tail)
    dot: str = ""
    panels: int = 1

    @property
    def spec(self) -> TileSpec:
        epilogue, panels = self.tail.epilogue(), self.panels
        return TileSpec(self.rows, self.vectors, epilogue, self.masked, self.data, self.dot, panels=panels)


class Fill(Protocol):
    """Makes A [rows, taps, depth], B [taps, depth, columns] and bias [columns], given these shapes."""

    def __call__(
        self, rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile, /
    ) -> tuple[Array, Array, Array]: ...


class TileProblem:
    """One call of a tile.

    Args:
        rows_left, columns_left: how much of the output there is from the block on; by default what the tile has.
        fill: what numbers are multiplied.
        absent: the share of A's pointers that lead to the row of zeros.
    """

    def __init__(
        self,
        isa: Isa,
        tile: Tile,
        rows_left: int | None = None,
        columns_left: int | None = None,
        taps: int = 1,
        depth: int = 4,
        seed: int = 0,
        fill: Fill | None = None,
        absent: float = 0.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.tile, self.isa, self.taps, self.depth = tile, isa, taps, depth
        self._width = tile.vectors * isa.lanes
        self._left = (rows_left or tile.rows, columns_left or self._width)
        self._rows, self._columns = min(tile.rows, self._left[0]), min(self._width, self._left[1])
        shapes = [(self._rows, taps, depth), (taps, depth, self._columns), (self._columns,)]
        self.a, self.b, self.bias = (fill or uniform)(rng, shapes, tile)
        if tile.dot == "signed":
            self.b = np.maximum(self.b, SignedBytes.least_weight).astype(self.b.dtype)
        self._absent = rng.random((self._rows, taps)) < absent
        self._shape = (
            _ROWS_BEFORE + self._left[0] + _BEHIND,
            _COLUMNS_BEFORE + self._left[1] + _BEHIND,
        )
        self.scale = _scales(rng, self._shape[1])
        self.float_bias = (rng.standard_normal(self._shape[1]) * 40).astype(np.float32)
        residual = tile.tail.residual or "f32"
        # Its rows are longer than the output's.
        self.residual = _numbers(rng, (self._shape[0], self._shape[1] + 3), DTYPES[residual])

    def place(self, memory: Memory) -> tuple[int, ...]:
        """Put all operands into memory; what the tile is to be called with."""
        tail, dtype = self.tile.tail, DTYPES[self.tile.tail.output]
        rows, columns = self._shape
        self._target = memory.reserve(rows * columns * np.dtype(dtype).itemsize)
        context = [self._target, columns * np.dtype(dtype).itemsize]
        if tail.scale:
            context += [memory.put(self.scale), 0]
        if tail.bias:
            context += [memory.put(self.float_bias), 0]
        if tail.residual is not None:
            context += [memory.put(self.residual), self.residual.strides[0]]
        context += map(number_word, self.tile.tail.numbers)

        dot = dot_for(self.isa, self.tile.data, self.tile.dot)
        steps = -(-self.depth // dot.group)
        return (
            memory.put(np.array(context, np.int64)),
            self._place_rows(memory, dot.row_bytes(steps) // self.a.dtype.itemsize),
            self.taps,
            steps,
            memory.put(self._panel()),
            _ROWS_BEFORE,
            _COLUMNS_BEFORE,
            *self._left,
        )

    def _panel(self) -> Array:
        width, together = self._width // self.tile.panels, self.tile.panels
        if self.tile.data == "f32":
            return pack_panels(self.b[None], width, together)
        dot = dot_for(self.isa, self.tile.data, self.tile.dot)
        return pack_integer_panels(self.b[None], self.bias[None], width, dot, self.isa.lanes, together)[0]

    def _place_rows(self, memory: Memory, length: int) -> int:
        """Pointers to A's rows, at odd addresses, filled up to whole steps with what must not count."""
        item = self.a.dtype.itemsize
        row = np.full((self._rows * self.taps + 1, length * item), 0xFF, np.uint8).view(self.a.dtype)
        row[:, : self.depth] = [*self.a.reshape(-1, self.depth), np.zeros(self.depth)]
        begin = memory.put(np.concatenate([np.zeros(item, np.uint8), row.reshape(-1).view(np.uint8)])) + item
        numbers = np.arange(self._rows * self.taps).reshape(self._rows, self.taps)
        numbers = np.where(self._absent, len(row) - 1, numbers)
        # [taps][rows]; rows that do not exist repeat the last one, as the caller must.
        chosen = np.minimum(np.arange(self.tile.rows), self._rows - 1)
        return memory.put((begin + numbers[chosen].T * length * item).astype(np.int64))

    @property
    def target(self) -> tuple[int, int]:
        """Address and bytes of the output."""
        return self._target, self._shape[0] * self._shape[1] * np.dtype(DTYPES[self.tile.tail.output]).itemsize

    def sums(self) -> Array:
        """The products and the bias: in int32, which wraps; for float32 data in float32, without bias.

        Exact in float64, where no sum of integers here reaches 2^53.
        """
        a = np.where(self._absent[..., None], 0, self.a).reshape(self._rows, -1).astype(np.float64)
        products = a @ self.b.reshape(-1, self._columns).astype(np.float64)
        if self.tile.data == "f32":
            return products.astype(np.float32)
        return (products.astype(np.int64) + self.bias).astype(np.int32)

    def check(self, output: bytes, fill: int) -> None:
        """The output's bytes, all of them `fill` before, are what they should be."""
        dtype = DTYPES[self.tile.tail.output]
        actual: Array = np.frombuffer(output, dtype).reshape(self._shape).copy()
        block = (
            slice(_ROWS_BEFORE, _ROWS_BEFORE + self._rows),
            slice(_COLUMNS_BEFORE, _COLUMNS_BEFORE + self._columns),
        )
        tail = self.tile.tail
        channels = self.scale[block[1]], self.float_bias[block[1]]
        expected = tail.reference(self.sums(), *channels, self.residual[block])
        np.testing.assert_array_equal(actual[block], expected, f"{self.tile} of depth {self.taps} x {self.depth}")
        if dtype is np.float32:
            # Equal numbers may still be zeros of another sign.
            sign = np.where(np.isnan(expected), False, np.signbit(actual[block]) != np.signbit(expected))
            assert not sign.any(), f"{self.tile}: zeros of the wrong sign"
        rest = actual.view(np.uint8).reshape(*self._shape, -1)
        rest[block] = fill
        assert (rest == fill).all(), f"{self.tile} wrote outside the rows and columns that exist"


def uniform(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
    """All numbers of A's, B's and the bias's type are as likely; float32 are integers, so that sums are exact."""
    wide, weights = DTYPES[tile.data], weight_type(tile.data)
    a = _integers(rng, shapes[0], np.int8 if tile.data == "f32" else wide).astype(wide)
    b = _integers(rng, shapes[1], np.int8 if tile.data == "f32" else weights).astype(weights)
    return a, b, rng.integers(-(2**20), 2**20, shapes[2]).astype(np.int32)


def _scales(rng: np.random.Generator, count: int) -> Array:
    """Scales such that sums become numbers of a quantized tensor's size, and some that a bad layer might have."""
    scale = (rng.random(count) * 2e-3).astype(np.float32)
    scale[::3] = 2.0**-9
    strange = np.array([np.nan, np.inf, 0.0, 1e-42, 1e30, -0.004], np.float32)
    chosen = rng.random(count) < 0.15
    return np.where(chosen, rng.choice(strange, count), scale).astype(np.float32)


def _numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    if dtype is np.float32:
        return (rng.standard_normal(shape) * 40).astype(np.float32)
    return _integers(rng, shape, dtype)


def _integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    """Numbers of an integer type, all as likely."""
    limits = np.iinfo(dtype)
    numbers: Array = rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    return numbers
