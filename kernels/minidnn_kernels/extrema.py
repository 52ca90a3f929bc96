"""The smallest and the largest of each row of float32: what an uncalibrated quantization needs to know."""

from __future__ import annotations

import math
from dataclasses import dataclass

from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "EXTREMA_ARGUMENTS", "ExtremaSpec"]

# source: address of contiguous elements
# target: address of two float32, the minimum and the maximum
# count:  elements, at least one
ARGUMENTS = ("source", "target", "count")


# Of `extrema_loop`.
EXTREMA_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "float32 [rows][count]"),
    Field("target", "float32 [rows][chunks][2]: the minimum and the maximum of each chunk"),
    Field("count", "elements of a row"),
    Field("chunk", "elements that a call does at most"),
    Field("chunks", "of a row"),
    Field("rows", "in all"),
)


@dataclass(frozen=True)
class ExtremaSpec:
    """Minimum and maximum; NaN wins."""

    @property
    def name(self) -> str:
        return "f32_extrema"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        source, target, count = function.args
        whole = builder.and_(count, const(-s.lanes))
        left = builder.sub(count, whole)
        mask = s.first_lanes(left)
        empty = builder.icmp_signed("==", left, const(0))
        with s.loop(const(0), whole, s.lanes, [s.splat(math.inf), s.splat(-math.inf)]) as loop:
            value = s.load(s.add(source, s.mul(loop.index, const(FLOAT32.bytes))))
            loop.next = [s.binary("minimum", loop.values[0], value), s.binary("maximum", loop.values[1], value)]
        tail = s.load(s.add(source, s.mul(whole, const(FLOAT32.bytes))), mask)
        for i, (operation, neutral) in enumerate((("minimum", math.inf), ("maximum", -math.inf))):

            def combine(a: Value, b: Value, operation: str = operation) -> Value:
                return s.binary(operation, a, b)

            rest = builder.select(mask, tail, s.splat(neutral))
            total = builder.select(empty, loop.results[i], combine(loop.results[i], rest))
            builder.store(
                s.reduce(total, combine),
                s.pointer(s.add(target, const(FLOAT32.bytes * i)), s.vector.element),
                align=FLOAT32.bytes,
            )
        builder.ret_void()
        return str(module)
