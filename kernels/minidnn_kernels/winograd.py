"""Winograd convolution of 3x3 kernels: fewer multiplications, paid for with additions.

A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016: a block of outputs is
``Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`` for the 3x3 kernel g and the input block d. For all channels at once the
products are matmuls of [blocks, channels] by [channels, filters], one for each element of the transformed block,
and those are done by the tile. There are two schemes:

- F(4x4, 3x3) for float32: 36 multiplications where the direct way takes 144. The interpolation points are 0, ±1,
  ±2 and infinity. The error is some ten times that of the direct sum: with 64 channels about 7e-6 of the largest
  output, with 512 about 2e-5. A NaN or an infinity in the input reaches all outputs of its blocks, not only
  those whose window sees it.
- F(2x2, 3x3) for int8: 16 multiplications for 36, and exact. With G doubled all is integer: transformed weights
  take 12 bits and transformed input 11, so that they are multiplied as int16, and what comes out is four times the
  convolution. Sums on the way may wrap around; the result does not as long as it fits (`fits_int32`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block

__all__ = [
    "F2X3",
    "F4X3",
    "InputTransform",
    "OutputTransform",
    "Scheme",
    "WinogradArguments",
    "fits_int32",
    "scheme_for",
    "start_of_sums",
]

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Scheme:
    """One F(m x m, 3x3): its matrices, of the article, and the types it computes in.

    Args:
        name: as symbols have it.
        input_matrix: Bᵀ.
        weight_matrix: G.
        output_matrix: Aᵀ.
        element: NumPy's name of the transformed elements' type.
        factor: what the result comes multiplied by.
    """

    name: str
    input_matrix: Matrix
    weight_matrix: Matrix
    output_matrix: Matrix
    element: str
    factor: int = 1

    @property
    def output(self) -> int:
        """Edge of a block of outputs."""
        return len(self.output_matrix)

    @property
    def input(self) -> int:
        """Edge of the input block it needs."""
        return len(self.input_matrix)

    @property
    def products(self) -> int:
        return self.input**2

    @property
    def itemsize(self) -> int:
        """Bytes of a transformed element."""
        return np.dtype(self.element).itemsize

    def transform_weights(self, weights: np.ndarray) -> np.ndarray:
        """``G g Gᵀ`` for weights [filters, channels, 3, 3]: `element` [products, channels, filters]."""
        matrix = np.asarray(self.weight_matrix)
        transformed: np.ndarray = np.einsum("ij,fcjk,lk->ilcf", matrix, weights, matrix, optimize=True)
        return transformed.reshape(self.products, *weights.shape[1::-1]).astype(self.element)


F4X3 = Scheme(
    "f4x3",
    (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    (
        (1, 1, 1, 1, 1, 0),
        (0, 1, -1, 2, -2, 0),
        (0, 1, 1, 4, 4, 0),
        (0, 1, -1, 8, -8, 1),
    ),
    "float32",
)

# G is doubled, in both directions.
F2X3 = Scheme(
    "f2x3",
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
    "int16",
    factor=4,
)


def scheme_for(isa: Isa, data: str) -> Scheme | None:
    """The scheme for input ``f32``, ``u8`` or ``s8``; None for int8 where four bytes are multiplied in one instruction.

    There int16 takes twice as many instructions a product, which is all that the scheme would save.
    """
    if data == "f32":
        return F4X3
    return F2X3 if isa.dot in ("split", "maddwd") else None


def fits_int32(weights: np.ndarray, bias: np.ndarray, largest: int) -> bool:
    """Whether F2X3 is exact for int8 weights [filters, channels, 3, 3], int32 bias and input of at most `largest`."""
    sums = np.abs(weights.astype(np.int64)).sum((1, 2, 3)) * largest + np.abs(bias.astype(np.int64))
    return bool(F2X3.factor * sums.max(initial=0) < 2**31)


def start_of_sums(bias: np.ndarray) -> np.ndarray:
    """Int32 [16, filters] for the sums of F2X3 to start from, so that every output has the bias [filters] in it.

    Element (1, 1) of the products goes into each of the four outputs with factor one.
    """
    start = np.zeros((F2X3.products, bias.size), np.int32)
    start[F2X3.input + 1] = F2X3.factor * bias
    return start


@dataclass(frozen=True)
class WinogradArguments:
    """Positions in the argument row of `winograd_loop`; pitches in bytes, counts in elements."""

    INPUT_KERNEL: int = 0
    TILE: int = 1
    TAIL_TILE: int = 2
    OUTPUT_KERNEL: int = 3
    SOURCE: int = 4
    ZEROS: int = 5  # a row of `CHANNELS` zeros
    IMAGE_PITCH: int = 6
    PIXEL_PITCH: int = 7
    INPUT_TABLE: int = 8  # int32 [blocks][products]: input pixels, -1 for padding
    OUTPUT_TABLE: int = 9  # int32 [blocks][block pixels]: output pixels, -1 for those beyond the edge
    PRODUCTS: int = 10  # of the scheme
    BLOCK_PIXELS: int = 11
    BLOCKS: int = 12  # per image
    PART_BLOCKS: int = 13
    IMAGE_PARTS: int = 14
    CHANNELS: int = 15
    FILTERS: int = 16
    ROW_PITCH: int = 17  # of the transformed input
    STEPS: int = 18  # of the tile along the channels
    WEIGHTS: int = 19  # [products][panels]
    PANEL_PITCH: int = 20
    ROWS: int = 21  # of the tile
    COLUMNS: int = 22  # of a panel
    PIXELS: int = 23  # of the output, per image
    CONTEXT: int = 24  # of the output transform, as `store.Block` has it


def _combine(s: Simd, factors: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of factor * value, without multiplying by one; integers have no other factors."""
    terms = [(f, v) for f, v in zip(factors, values, strict=True) if f]
    terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
    b, integer = s.builder, values[0].type != s.vector
    add, subtract = (b.add, b.sub) if integer else (b.fadd, b.fsub)
    factor, total = terms[0]
    if factor != 1:
        total = b.fmul(total, s.splat(float(factor)))
    for factor, value in terms[1:]:
        if factor == 1:
            total = add(total, value)
        elif factor == -1:
            total = subtract(total, value)
        else:
            total = s.fma(value, s.splat(float(factor)), total)
    return total


def _both_ways(s: Simd, matrix: Matrix, square: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """``M x Mᵀ`` of a square of vectors."""
    columns = [[row[j] for row in square] for j in range(len(square[0]))]
    half = [[_combine(s, factors, column) for column in columns] for factors in matrix]
    return [[_combine(s, factors, row) for factors in matrix] for row in half]


@dataclass(frozen=True)
class InputTransform:
    """``Bᵀ d B`` of one block for all channels: its pixels in, one row into each product's matrix out.

    `data` is the type of the pixels: ``f32`` for `F4X3`; ``u8`` or ``s8`` for `F2X3`, and then there must be at
    least two vectors of channels, since the last ones are done by a vector that ends with them.
    """

    scheme: Scheme = F4X3
    data: str = "f32"

    @property
    def name(self) -> str:
        return f"{self.data}_winograd_{self.scheme.name}_input"

    def emit(self, isa: Isa) -> str:
        """LLVM IR: ``(addresses of the block's pixels, target, bytes between matrices, channels)``."""
        module, function, builder = new_function(self.name, ("pointers", "target", "pitch", "channels"))
        s = Simd(builder, isa)
        pointers, target, pitch, channels = function.args
        edge, integer = self.scheme.input, self.scheme.element == "int16"

        def body(channel: Value, mask: Value | None) -> None:
            offset = channel if integer else s.mul(channel, const(4))
            made = s.mul(channel, const(self.scheme.itemsize))
            pixels = [s.add(s.load_i64(s.add(pointers, const(8 * i))), offset) for i in range(self.scheme.products)]
            vectors = [s.load_as_short(p, self.data) if integer else s.load(p, mask) for p in pixels]
            square = [vectors[i * edge : (i + 1) * edge] for i in range(edge)]
            transformed = [v for row in _both_ways(s, self.scheme.input_matrix, square) for v in row]
            for i, vector in enumerate(transformed):
                address = s.add(target, made, s.mul(pitch, const(i)))
                if integer:
                    builder.store(vector, s.pointer(address, s.short_vector), align=2)
                else:
                    s.store(vector, address, mask)

        if integer:
            width = 2 * s.lanes
            last = s.add(channels, const(-width))
            with s.loop(const(0), channels, width, []) as loop:
                body(s.smaller(loop.index, last), None)
        else:
            s.each_vector(channels, body)
        builder.ret_void()
        return str(module)


@dataclass(frozen=True)
class OutputTransform:
    """``Aᵀ m A`` of one block for all filters, the tail, and the store of the pixels that exist."""

    scheme: Scheme = F4X3
    epilogue: Epilogue = field(default_factory=Epilogue)

    @property
    def name(self) -> str:
        data = "f32" if self.scheme.element == "float32" else "s32"
        return f"{data}_winograd_{self.scheme.name}_output__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR: ``(context, products, bytes between matrices, output table of the block, first row, filters)``."""
        names = ("context", "products", "pitch", "table", "first", "filters")
        module, function, builder = new_function(self.name, names)
        s = Simd(builder, isa)
        context, products, pitch, table, first, filters = function.args
        edge, integer = self.scheme.input, self.scheme.element == "int16"
        pixels = [s.load_i32(s.add(table, const(4 * i))) for i in range(self.scheme.output**2)]
        rows = [s.add(first, pixel) for pixel in pixels]
        present = [builder.icmp_signed(">=", pixel, const(0)) for pixel in pixels]
        # The last pixel exists only if all do.
        whole = present[-1]

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(4))
            addresses = [s.add(products, offset, s.mul(pitch, const(i))) for i in range(self.scheme.products)]
            vectors = [s.load_as_int(a, "s32", mask) if integer else s.load(a, mask) for a in addresses]
            square = [vectors[i * edge : (i + 1) * edge] for i in range(edge)]
            results = [v for row in _both_ways(s, self.scheme.output_matrix, square) for v in row]
            if integer:
                # The division leaves no remainder.
                shift = s.splat_int(self.scheme.factor.bit_length() - 1)
                results = [builder.ashr(v, shift) for v in results]
            block = [[v] for v in results]
            with builder.if_else(whole) as (then, otherwise):
                with then:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask]), block)
                with otherwise:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask], present), block)

        s.each_vector(filters, body)
        builder.ret_void()
        return str(module)
