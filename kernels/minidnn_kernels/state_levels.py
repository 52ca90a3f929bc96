"""States of a recurrent layer with 256 levels between the extremes of all sequences: dynamically quantized ones."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.scales import linear_scale
from minidnn_kernels.simd import F32, I32, Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "StateLevelsSpec"]

# pointers: address of row pointers
# rows:     how many
# depth:    float32 of a row
# target:   float32 [rows][depth]
# factor:   float32 in the low half, by which levels are multiplied in the target
ARGUMENTS = ("pointers", "rows", "depth", "target", "factor")


@dataclass(frozen=True)
class StateLevelsSpec:
    """What uint8 numbers with one scale and zero point for all rows stand for; a NaN stays one."""

    @property
    def name(self) -> str:
        return "f32_state_levels"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        pointers, rows, depth, target, factor = function.args
        low, high = self._extrema(s, pointers, rows, depth)
        scale, zero = linear_scale(s, low, high, 255.0)
        number = builder.bitcast(builder.trunc(factor, I32), F32)
        wide_step = builder.fmul(scale, s.splat(number))
        row_bytes = s.mul(depth, const(FLOAT32.bytes))
        with s.loop(const(0), rows, 1, []) as loop:
            source = s.load_i64(s.add(pointers, s.mul(loop.index, const(WORD_BYTES))))
            into = s.add(target, s.mul(loop.index, row_bytes))

            def body(index: Value, mask: Value | None) -> None:
                offset = s.mul(index, const(FLOAT32.bytes))
                steps = s.unary("rint", builder.fdiv(s.load(s.add(source, offset), mask), scale))
                level = s.at_most(s.at_least(builder.fadd(steps, zero), s.splat(0.0)), s.splat(255.0))
                s.store(builder.fmul(builder.fsub(level, zero), wide_step), s.add(into, offset), mask)

            s.each_vector(depth, body)
        builder.ret_void()
        return str(module)

    def _extrema(self, s: Simd, pointers: Value, rows: Value, depth: Value) -> tuple[Value, Value]:
        """The smallest and the largest element and zero, in every lane."""
        whole = s.builder.and_(depth, const(-s.lanes))
        mask = s.first_lanes(s.builder.sub(depth, whole))
        mask = s.builder.and_(mask, self._everywhere(s, s.builder.icmp_signed("<", whole, depth)))

        def widened(ends: list[Value], x: Value) -> list[Value]:
            return [s.where("<", x, ends[0], x, ends[0]), s.where(">", x, ends[1], x, ends[1])]

        with s.loop(const(0), rows, 1, [s.splat(0.0), s.splat(0.0)]) as outer:
            source = s.load_i64(s.add(pointers, s.mul(outer.index, const(WORD_BYTES))))
            with s.loop(const(0), whole, s.lanes, outer.values) as inner:
                at = s.add(source, s.mul(inner.index, const(FLOAT32.bytes)))
                inner.next = widened(inner.values, s.load(at))
            remainder = s.load(s.add(source, s.mul(whole, const(FLOAT32.bytes))), mask)
            outer.next = widened(inner.results, remainder)
        low = s.reduce(outer.results[0], lambda a, b: s.where("<", a, b, a, b))
        high = s.reduce(outer.results[1], lambda a, b: s.where(">", a, b, a, b))
        return s.splat(low), s.splat(high)

    def _everywhere(self, s: Simd, bit: Value) -> Value:
        return s.builder.trunc(s.splat_i32(s.builder.sext(bit, s.int_vector.element)), s.mask_type)
