"""Winograd convolution of 3x3 kernels: fewer multiplications, paid for with additions.

A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2016: a block of outputs is
``Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`` for the 3x3 kernel g and the input block d. For all channels at once the
products are matmuls of [blocks, channels] by [channels, filters], one for each element of the transformed block,
and those are done by the tile. There are four schemes:

- F(4x4, 3x3) for float32: 36 multiplications where the direct way takes 144. The interpolation points are 0, ±1,
  ±2 and infinity. The error is some ten times that of the direct sum: with 64 channels about 7e-6 of the largest
  output, with 512 about 2e-5. A NaN or an infinity in the input reaches all outputs of its blocks, not only
  those whose window sees it.
- F(2x2, 3x3) for float32: 16 multiplications for 36, for few pixels with many channels: its transformed weights are
  less than half as many, and the error is that of the direct sum.
- F(2x2, 3x3) and F(4x4, 3x3) for int8: 16 multiplications for 36, 36 for 144, and exact. G is multiplied until all is
  integer and as small as to be multiplied as int16; what comes out is some factor times the convolution. Sums
  may wrap around at 32 bits on the way. Division of the result undoes the factor: its odd part by multiplication with
  the inverse modulo 2^32, its powers of two by a shift, for which the result must leave them room (`Scheme.fits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32, INT8, INT16, INT32, ElementType
from minidnn_kernels.epilogue import Epilogue
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function
from minidnn_kernels.store import Block, store_block

__all__ = [
    "F2X3",
    "F2X3_INT",
    "F4X3",
    "F4X3_INT",
    "MAX_POINTERS",
    "SPARE_BYTES",
    "WINOGRAD_ARGUMENTS",
    "InputTransform",
    "OutputTransform",
    "Scheme",
    "largest_sum",
    "schemes_for",
    "start_of_sums",
]

Matrix = tuple[tuple[float, ...], ...]

_FILTERS_AT_ONCE = 16
# Between the matrices of two elements in scratch memory.
SPARE_BYTES = 64


@dataclass(frozen=True)
class Scheme:
    """One F(m x m, 3x3): its matrices, of the article, and the types it computes in.

    Args:
        name: as symbols have it.
        input_stages: Bᵀ as a product of sparser matrices, the one that is applied first in front.
        weight_matrix: G.
        output_stages: Aᵀ, in the same way.
        element: type of the transformed elements.
        factor: what the result comes multiplied by.
    """

    name: str
    input_stages: tuple[Matrix, ...]
    weight_matrix: Matrix
    output_stages: tuple[Matrix, ...]
    element: ElementType
    factor: int = 1

    @property
    def output(self) -> int:
        """Edge of a block of outputs."""
        return len(self.output_stages[-1])

    @property
    def input(self) -> int:
        """Edge of the input block it needs."""
        return len(self.input_stages[-1])

    @property
    def products(self) -> int:
        return self.input**2

    @property
    def integer(self) -> bool:
        return self.element.is_integer

    @property
    def weights(self) -> ElementType:
        """Of the weights before they are transformed."""
        return INT8 if self.integer else FLOAT32

    @property
    def sums(self) -> ElementType:
        """Of the products' sums."""
        return INT32 if self.integer else FLOAT32

    @property
    def shift(self) -> int:
        """Powers of two in the factor."""
        return (self.factor & -self.factor).bit_length() - 1

    def fits(self, largest: int) -> bool:
        """Whether a scheme for integers is exact where no output is larger than that, without its sign."""
        return largest << self.shift < 2**31

    def transform_weights(self, weights: np.ndarray) -> np.ndarray:
        """``G g Gᵀ`` for weights [filters, channels, 3, 3]: `element` [products, channels, filters]."""
        # Float32 holds what integers these become.
        matrix: np.ndarray[Any, Any] = np.asarray(self.weight_matrix, np.float32 if self.integer else np.float64)
        both, (filters, channels) = np.kron(matrix, matrix), weights.shape[:2]
        transformed = np.empty((self.products, channels, filters), self.element.dtype)
        for begin in range(0, filters, _FILTERS_AT_ONCE):
            # Many small products take less memory and time than a large one, which BLAS would deal to threads.
            kernels = weights[begin : begin + _FILTERS_AT_ONCE].reshape(-1, channels, matrix.shape[1] ** 2)
            part = both @ kernels.transpose(1, 2, 0).astype(matrix.dtype)
            transformed[:, :, begin : begin + _FILTERS_AT_ONCE] = part.transpose(1, 0, 2)
        return transformed


_F4X3_INPUT: tuple[Matrix, ...] = (
    (
        (4, 0, -5, 0, 1, 0),
        (0, 0, -4, 0, 1, 0),
        (0, -4, 0, 1, 0, 0),
        (0, 0, -1, 0, 1, 0),
        (0, -1, 0, 1, 0, 0),
        (0, 4, 0, -5, 0, 1),
    ),
    (
        (1, 0, 0, 0, 0, 0),
        (0, 1, 1, 0, 0, 0),
        (0, 1, -1, 0, 0, 0),
        (0, 0, 0, 1, 2, 0),
        (0, 0, 0, 1, -2, 0),
        (0, 0, 0, 0, 0, 1),
    ),
)
# Sums and differences of the second and third, and of the fourth and fifth.
_SUMS: Matrix = (
    (1, 0, 0, 0, 0, 0),
    (0, 1, 1, 0, 0, 0),
    (0, 1, -1, 0, 0, 0),
    (0, 0, 0, 1, 1, 0),
    (0, 0, 0, 1, -1, 0),
    (0, 0, 0, 0, 0, 1),
)


def _f4x3_output(last: float) -> tuple[Matrix, ...]:
    return _SUMS, ((1, 1, 0, 1, 0, 0), (0, 0, 1, 0, 2, 0), (0, 1, 0, 4, 0, 0), (0, 0, 1, 0, 8, last))


F4X3 = Scheme(
    "f4x3",
    _F4X3_INPUT,
    (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
    _f4x3_output(1),
    FLOAT32,
)

# G times 24, but for the last row, which has half of that so that its products still are int16: A has the other
# half. Transformed weights are at most 144 * 128, transformed input at most 100 * 255.
F4X3_INT = Scheme(
    "f4x3",
    _F4X3_INPUT,
    ((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 12)),
    _f4x3_output(2),
    INT16,
    factor=24 * 24,
)

_F2X3_INPUT: tuple[Matrix, ...] = (((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),)
_F2X3_OUTPUT: tuple[Matrix, ...] = (((1, 1, 1, 0), (0, 1, -1, -1)),)

F2X3 = Scheme(
    "f2x3",
    _F2X3_INPUT,
    ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    _F2X3_OUTPUT,
    FLOAT32,
)

# G doubled. Transformed weights are at most 9 * 128, transformed input at most 4 * 255.
F2X3_INT = Scheme(
    "f2x3",
    _F2X3_INPUT,
    ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2)),
    _F2X3_OUTPUT,
    INT16,
    factor=2 * 2,
)


def schemes_for(isa: Isa, data: str) -> tuple[Scheme, ...]:
    """The schemes for input ``f32``, ``u8`` or ``s8``: those for integers need x86's products of int16."""
    if data == FLOAT32.name:
        return (F4X3, F2X3)
    return (F4X3_INT, F2X3_INT) if isa.arch == "x86_64" else ()


def largest_sum(weights: np.ndarray, bias: np.ndarray, data: tuple[int, int]) -> int:
    """What an output is at most, without its sign; `Scheme.fits` says which schemes are exact for such numbers.

    Args:
        weights: int8 [filters, channels, 3, 3].
        bias: int32 [filters].
        data: the least number of the input, at most 0, and the greatest, at least 0.
    """
    low, high = data
    positive = np.maximum(weights, 0).sum((1, 2, 3), dtype=np.int64)
    negative = weights.sum((1, 2, 3), dtype=np.int64) - positive
    greatest, least = positive * high + negative * low + bias, positive * low + negative * high + bias
    return max(-int(least.min()), int(greatest.max()))


def start_of_sums(scheme: Scheme, bias: np.ndarray) -> np.ndarray:
    """Int32 [products, filters] for the sums to start from, so that every output has the int32 bias [filters] in it.

    Element (1, 1) of the products goes into each of the outputs with factor one.
    """
    start = np.zeros((scheme.products, bias.size), np.int64)
    start[scheme.input + 1] = scheme.factor * bias.astype(np.int64)
    # What does not fit wraps around, as all sums may.
    return start.astype(np.int32)


# Input pixels of a block, and rows of the products' tile: the loop keeps their addresses on its stack.
MAX_POINTERS = 64

# Of `winograd_loop`.
WINOGRAD_ARGUMENTS = ArgumentRow(
    Field("input_kernel", "microkernel of an `InputTransform`"),
    Field("tile", "microkernel for whole panels"),
    Field("remainder_tile", "microkernel for the last panel, if columns are missing"),
    Field("output_kernel", "microkernel of an `OutputTransform`"),
    Field("source", "the input"),
    Field("zeros", "a row of `channels` zeros"),
    Field("image_pitch", "from one input image to the next"),
    Field("pixel_pitch", "from one input pixel to the next"),
    Field("input_table", "int32 [blocks][products]: input pixels, -1 for padding"),
    Field("output_table", "int32 [blocks][block pixels]: output pixels, -1 for those beyond the edge"),
    Field("products", "of the scheme"),
    Field("block_pixels", "output pixels of a block"),
    Field("images", "how many"),
    Field("blocks", "per image"),
    Field("part_blocks", "blocks of a part, maybe of several images"),
    Field("part_panels", "panels of a part"),
    Field("filter_parts", "parts with the same blocks"),
    Field("channels", "of the input"),
    Field("filters", "channels of the output"),
    Field("row_pitch", "of the transformed input"),
    Field("steps", "of the tile along the channels"),
    Field("weights", "[products][panels]"),
    Field("panel_pitch", "from one panel to the next"),
    Field("rows", "of the tile"),
    Field("columns", "of a panel"),
    Field("pixels", "of the output, per image"),
    Field("context", "of the output transform, as `store.CONTEXT` has it", words=None),
)


def _combine(s: Simd, factors: Sequence[float], values: Sequence[Value]) -> Value:
    """The sum of factor * value, without multiplying by one."""
    terms = [(f, v) for f, v in zip(factors, values, strict=True) if f]
    terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
    b, integer = s.builder, values[0].type != s.vector
    add, subtract = (b.add, b.sub) if integer else (b.fadd, b.fsub)
    factor, total = terms[0]
    if factor != 1:
        total = b.mul(total, s.constant_like(total, int(factor))) if integer else b.fmul(total, s.splat(float(factor)))
    for factor, value in terms[1:]:
        if factor == 1:
            total = add(total, value)
        elif factor == -1:
            total = subtract(total, value)
        elif integer:
            total = add(total, b.mul(value, s.constant_like(value, int(factor))))
        else:
            total = s.fma(value, s.splat(float(factor)), total)
    return total


def _through(s: Simd, stages: Sequence[Matrix], values: Sequence[Value]) -> Sequence[Value]:
    for matrix in stages:
        values = [_combine(s, factors, values) for factors in matrix]
    return values


def _both_ways(s: Simd, stages: Sequence[Matrix], values: Sequence[Value]) -> list[Value]:
    """``M x Mᵀ`` of a square of vectors, M the product of the stages; both squares row by row."""
    edge = len(stages[0][0])
    columns = [_through(s, stages, values[i::edge]) for i in range(edge)]
    return [value for row in zip(*columns, strict=True) for value in _through(s, stages, row)]


@dataclass(frozen=True)
class InputTransform:
    """``Bᵀ d B`` of one block for all channels: its pixels in, one row into each product's matrix out.

    `data` is the type of the pixels: ``f32``, or ``u8`` or ``s8`` for the schemes of integers; for these there must
    be at least two vectors of channels, since the last ones are done by a pair of vectors that ends with them.
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
        integer, data = self.scheme.integer, ELEMENT_TYPES[self.data]

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(data.bytes)) if data.bytes > 1 else channel
            made = s.mul(channel, const(self.scheme.element.bytes))
            pixels = [
                s.add(s.load_i64(s.add(pointers, const(WORD_BYTES * i))), offset) for i in range(self.scheme.products)
            ]
            vectors = [data.load_shorts(s, p) if integer else data.load(s, p, mask) for p in pixels]
            for i, vector in enumerate(_both_ways(s, self.scheme.input_stages, vectors)):
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
    """``Aᵀ m A`` of one block for all filters, the epilogue, and the store of the pixels that exist."""

    scheme: Scheme = F4X3
    epilogue: Epilogue = field(default_factory=Epilogue)

    @property
    def name(self) -> str:
        return f"{self.scheme.sums.name}_winograd_{self.scheme.name}_output__{self.epilogue.name}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR: ``(context, products, bytes between matrices, output table, first row, first filter, end)``.

        The table is the block's; the first filter is a multiple of a vector's, and `end` the one behind the last.
        """
        names = ("context", "products", "pitch", "table", "first", "begin", "end")
        module, function, builder = new_function(self.name, names)
        s = Simd(builder, isa)
        context, products, pitch, table, first, begin, end = function.args
        integer = self.scheme.integer
        pixels = [s.load_i32(s.add(table, const(INT32.bytes * i))) for i in range(self.scheme.output**2)]
        rows = [s.add(first, pixel) for pixel in pixels]
        present = [builder.icmp_signed(">=", pixel, const(0)) for pixel in pixels]
        # The last pixel exists only if all do.
        whole = present[-1]
        sums = self.scheme.sums

        def body(channel: Value, mask: Value | None) -> None:
            offset = s.mul(channel, const(sums.bytes))
            addresses = [s.add(products, offset, s.mul(pitch, const(i))) for i in range(self.scheme.products)]
            vectors = [sums.load_lanes(s, a, mask) for a in addresses]
            results = _both_ways(s, self.scheme.output_stages, vectors)
            if integer:
                results = [self._divided(s, v) for v in results]
            block = [[v] for v in results]
            with builder.if_else(whole) as (then, otherwise):
                with then:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask]), block)
                with otherwise:
                    store_block(s, self.epilogue, Block(context, rows, [channel], [mask], present), block)

        s.each_vector(end, body, begin)
        builder.ret_void()
        return str(module)

    def _divided(self, s: Simd, value: Value) -> Value:
        """The value without the scheme's factor; that leaves no remainder."""
        odd = self.scheme.factor >> self.scheme.shift
        if odd > 1:
            value = s.builder.mul(value, s.constant_like(value, pow(odd, -1, 2**32)))
        return s.builder.ashr(value, s.constant_like(value, self.scheme.shift))
