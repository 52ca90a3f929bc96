"""From the extrema of a row of float32 to the scale of its int8 form, and its inverse or its zero point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.epilogue import QUANTIZED_LIMITS
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import F32, I32, Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "SCALES_ARGUMENTS", "ScalesSpec", "linear_scale", "scale_of_threshold"]

# extrema: address of float32 pairs, minimum and maximum of each chunk of a row
# scale:   address of the row's scale
# inverse: address of its inverse, or of its zero point
# chunks:  of the row, at least one
ARGUMENTS = ("extrema", "scale", "inverse", "chunks")

# The smallest normal number: its reciprocal is finite.
_SMALLEST_SCALE = 2.0**-126


# Of `scales_loop`.
SCALES_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("extrema", "float32 [rows][chunks][2]"),
    Field("scales", "float32 [rows]"),
    Field("inverses", "float32 [rows]: of the scales, or zero points"),
    Field("chunks", "of a row"),
    Field("rows", "in all"),
)


@dataclass(frozen=True)
class ScalesSpec:
    """The scale with which the largest integers of `output`, ``s8`` or ``u8``, are the ends of the range.

    A range without extent has scale 1. One that is not finite has scale NaN where rows are samples, `by_sample`,
    else 1.

    With a zero point it is the scale of a range that has a zero in it, and the zero point takes the inverse's place.
    """

    output: str
    by_sample: bool
    with_zero_point: bool = False

    @property
    def name(self) -> str:
        form = "_by_sample" if self.by_sample else "_zero_point" if self.with_zero_point else ""
        return f"f32_scales_{self.output}{form}"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        extrema, scale, inverse, chunks = function.args
        with s.loop(const(0), chunks, 1, [s.splat(math.inf), s.splat(-math.inf)]) as loop:
            pair = s.add(extrema, s.mul(loop.index, const(2 * FLOAT32.bytes)))
            low, high = s.load_splat(pair), s.load_splat(s.add(pair, const(FLOAT32.bytes)))
            loop.next = [s.binary("minimum", loop.values[0], low), s.binary("maximum", loop.values[1], high)]
        low, high = loop.results
        if self.with_zero_point:
            found, second = linear_scale(s, low, high, QUANTIZED_LIMITS[self.output][1])
        else:
            found = self._scale(s, low, high)
            second = builder.fdiv(s.splat(1.0), found)
        for address, vector in ((scale, found), (inverse, second)):
            number = builder.extract_element(vector, I32(0))
            builder.store(number, s.pointer(address, F32), align=FLOAT32.bytes)
        builder.ret_void()
        return str(module)

    def _scale(self, s: Simd, low: Value, high: Value) -> Value:
        ends = [s.unary("fabs", low), s.unary("fabs", high)]
        threshold = s.binary("maximum", *ends) if self.output == "s8" else s.binary("maximum", high, s.splat(0.0))
        most = QUANTIZED_LIMITS[self.output][1]
        if self.by_sample:
            return scale_of_threshold(s, threshold, most, ends)
        usable = scale_of_threshold(s, threshold, most, [])
        return s.where("<", usable, s.splat(math.inf), usable, s.splat(1.0))


def scale_of_threshold(s: Simd, threshold: Value, most: float, sizes: Sequence[Value]) -> Value:
    """The scale with which `most` is the threshold; 1 if that is next to nothing, NaN if a size is not finite."""
    scale = s.builder.fdiv(threshold, s.splat(most))
    usable = s.where(">=", scale, s.splat(_SMALLEST_SCALE), scale, s.splat(1.0))
    for size in sizes:
        usable = s.where("<", size, s.splat(math.inf), usable, s.splat(math.nan))
    return usable


def linear_scale(s: Simd, low: Value, high: Value, most: float) -> tuple[Value, Value]:
    """Scale and zero point of a range that has a zero in it, for whole numbers from 0 to `most`.

    One without extent, or with an infinite one, has scale 1.
    """
    b, zero = s.builder, s.splat(0.0)
    low, high = s.binary("minimum", low, zero), s.binary("maximum", high, zero)
    scale = b.fdiv(b.fsub(high, low), s.splat(most))
    scale = s.where("<", scale, s.splat(math.inf), scale, s.splat(1.0))
    scale = s.where(">", scale, zero, scale, s.splat(1.0))
    start = b.fdiv(b.fneg(low), scale)
    # A NaN is not above zero.
    start = s.at_most(s.where(">", start, zero, start, zero), s.splat(most))
    return scale, s.unary("rint", start)
