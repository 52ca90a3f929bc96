"""Winograd convolution F(4x4, 3x3): 36 multiplications where the direct way takes 144.

A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016: a 4x4 block of outputs is
``Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`` for the 3x3 kernel g and the 6x6 input block d. For all channels at once the
products are 36 matmuls of [blocks, channels] by [channels, filters], and those are done by the tile.

The interpolation points are 0, ±1, ±2 and infinity. In float32 the error is some ten times that of the direct
sum: with 64 channels about 7e-6 of the largest output, with 512 about 2e-5. A NaN or an infinity in the input
reaches all outputs of its blocks, not only those whose window sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block

__all__ = ["INPUT", "OUTPUT", "PRODUCTS", "InputTransform", "OutputTransform", "WinogradArguments", "transform_weights"]

# Edge of a block of outputs, of the input block it needs, and how many products it takes.
OUTPUT = 4
INPUT = 6
PRODUCTS = INPUT * INPUT

Matrix = tuple[tuple[float, ...], ...]

# Bᵀ, G and Aᵀ of the article.
_INPUT_MATRIX: Matrix = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHT_MATRIX: Matrix = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT_MATRIX: Matrix = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


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
    INPUT_TABLE: int = 8  # int32 [blocks][36]: input pixels, -1 for padding
    OUTPUT_TABLE: int = 9  # int32 [blocks][16]: output pixels, -1 for those beyond the edge
    BLOCKS: int = 10  # per image
    PART_BLOCKS: int = 11
    IMAGE_PARTS: int = 12
    CHANNELS: int = 13
    FILTERS: int = 14
    WEIGHTS: int = 15  # [36][panels][channels][columns]
    ROWS: int = 16  # of the tile
    COLUMNS: int = 17  # of a panel
    PIXELS: int = 18  # of the output, per image
    CONTEXT: int = 19  # of the output transform, as `store.Block` has it


def transform_weights(weights: np.ndarray) -> np.ndarray:
    """``G g Gᵀ`` for weights [filters, channels, 3, 3]: float32 [36, channels, filters]."""
    matrix = np.asarray(_WEIGHT_MATRIX)
    transformed: np.ndarray = np.einsum("ij,fcjk,lk->ilcf", matrix, weights, matrix, optimize=True).astype(np.float32)
    return transformed.reshape(PRODUCTS, weights.shape[1], weights.shape[0])


def _combine(s: Simd, factors: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of factor * value, without multiplying by one."""
    terms = [(f, v) for f, v in zip(factors, values, strict=True) if f]
    terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
    factor, total = terms[0]
    if factor != 1:
        total = s.builder.fmul(total, s.splat(float(factor)))
    for factor, value in terms[1:]:
        if factor == 1:
            total = s.builder.fadd(total, value)
        elif factor == -1:
            total = s.builder.fsub(total, value)
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
    """``Bᵀ d B`` of one block for all channels: 36 pixels in, one row into each of 36 matrices out."""

    @property
    def name(self) -> str:
        return "f32_winograd_f4x3_input"

    def emit(self, isa: Isa) -> str:
        """LLVM IR: ``(addresses of the 36 pixels, target, bytes between matrices, channels)``."""
        module, function, builder = new_function(self.name, ("pointers", "target", "pitch", "channels"))
        s = Simd(builder, isa)
        pointers, target, pitch, channels = function.args

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(4))
            pixels = [s.load_i64(s.add(pointers, const(8 * i))) for i in range(PRODUCTS)]
            vectors = [s.load(s.add(pixel, offset), mask) for pixel in pixels]
            square = [vectors[i * INPUT : (i + 1) * INPUT] for i in range(INPUT)]
            transformed = [v for row in _both_ways(s, _INPUT_MATRIX, square) for v in row]
            for i, vector in enumerate(transformed):
                s.store(vector, s.add(target, offset, s.mul(pitch, const(i))), mask)

        s.each_vector(channels, body)
        builder.ret_void()
        return str(module)


@dataclass(frozen=True)
class OutputTransform:
    """``Aᵀ m A`` of one block for all filters, the tail, and the store of the pixels that exist."""

    epilogue: Epilogue = field(default_factory=Epilogue)

    @property
    def name(self) -> str:
        return f"f32_winograd_f4x3_output__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR: ``(context, products, bytes between matrices, output table of the block, first row, filters)``."""
        names = ("context", "products", "pitch", "table", "first", "filters")
        module, function, builder = new_function(self.name, names)
        s = Simd(builder, isa)
        context, products, pitch, table, first, filters = function.args
        pixels = [s.load_i32(s.add(table, const(4 * i))) for i in range(OUTPUT * OUTPUT)]
        rows = [s.add(first, pixel) for pixel in pixels]
        present = [builder.icmp_signed(">=", pixel, const(0)) for pixel in pixels]
        # The last pixel exists only if all do.
        whole = present[-1]

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(4))
            vectors = [s.load(s.add(products, offset, s.mul(pitch, const(i))), mask) for i in range(PRODUCTS)]
            square = [vectors[i * INPUT : (i + 1) * INPUT] for i in range(INPUT)]
            results = [[v] for row in _both_ways(s, _OUTPUT_MATRIX, square) for v in row]
            with builder.if_else(whole) as (then, otherwise):
                with then:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask]), results)
                with otherwise:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask], present), results)

        s.each_vector(filters, body)
        builder.ret_void()
        return str(module)
