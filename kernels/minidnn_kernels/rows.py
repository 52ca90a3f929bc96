"""Kernels over rows: softmax, log-softmax, layer normalization and quantization of contiguous vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from minidnn_kernels import vector_math as vm
from minidnn_kernels.arguments import ArgumentRow, Field
from minidnn_kernels.element_type import ELEMENT_TYPES, FLOAT32
from minidnn_kernels.epilogue import QUANTIZED_LIMITS
from minidnn_kernels.isa import Isa
from minidnn_kernels.scales import scale_of_threshold
from minidnn_kernels.simd import F32, I8, I32, Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "EXTRA", "ROWS_ARGUMENTS", "Row", "RowSpec"]

# source, target: addresses of the rows
# count:          elements
# extra:          address of `EXTRA`
# mask:           address of bools, of a masked operation, or of the row's scale, of quantization; else unused
ARGUMENTS = ("source", "target", "count", "extra", "mask")


# Of `rows_loop`.
ROWS_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "float32 [rows][count]"),
    Field("target", "[rows][count]: float32, or of quantization 8-bit integers"),
    Field("target_pitch", "bytes from one row to the next"),
    Field("rows", "how many"),
    Field("count", "elements of a row"),
    Field("extra", "as `EXTRA` has it", words=3),
    Field("mask", "bool [rows][count]: what takes part, of a masked operation; float32 [rows]: scales; else 0"),
    Field("mask_pitch", "bytes from one row to the next"),
)
# What microkernels are told beside the row.
EXTRA = ArgumentRow(
    Field("number", "a float32 in the low half: 1 / temperature of a softmax, epsilon of a layer normalization"),
    Field("gamma", "float32 [count], of a layer normalization; else 0"),
    Field("beta", "likewise"),
)


@dataclass(frozen=True)
class RowSpec:
    """A row becomes another one.

    Args:
        operation: ``softmax``, ``log_softmax``, one of both with ``masked_`` in front, ``layer_norm``, or ``quantize``:
            integers by the range of the row, whose scale is NaN if the row is not finite.
        output: of quantization, ``s8`` or ``u8``.
    """

    operation: str
    output: str = "f32"

    @property
    def name(self) -> str:
        return f"f32_row_{self.operation}" + (f"_{self.output}" if self.operation == "quantize" else "")

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        is_masked = self.operation.startswith("masked_")
        source, target, count, extra, mask = function.args
        s = Simd(builder, isa)
        row = Row(s, source, target, count, extra, mask if is_masked else None)
        if self.operation == "layer_norm":
            row.layer_norm()
        elif self.operation == "quantize":
            scale = row.quantize(self.output)
            number = builder.extract_element(scale, ir.Constant(I32, 0))
            builder.store(number, s.pointer(mask, F32), align=FLOAT32.bytes)
        else:
            row.softmax(logarithm=self.operation.endswith("log_softmax"))
        builder.ret_void()
        return str(module)


class Row:
    """One row, and passes over it."""

    def __init__(
        self, s: Simd, source: Value, target: Value, count: Value, extra: Value = None, kept: Value | None = None
    ) -> None:
        self.s, self.source, self.target, self.count, self.extra, self.kept = s, source, target, count, extra, kept
        self.whole = s.builder.and_(count, const(-s.lanes))
        self.left = s.builder.sub(count, self.whole)
        self.mask = s.first_lanes(self.left)

    def keeps(self, index: Value, mask: Value | None) -> Value:
        """Which lanes take part, of a masked operation."""
        assert self.kept is not None
        flags = self.s.load_elements(self.s.add(self.kept, index), I8, mask)
        return self.s.builder.icmp_signed("!=", flags, ir.Constant(flags.type, None))

    def load(self, index: Value, mask: Value | None = None) -> Value:
        """Elements of the source; those that take no part as -inf."""
        elements = self.s.load(self.s.add(self.source, self.s.mul(index, const(FLOAT32.bytes))), mask)
        if self.kept is None:
            return elements
        return self.s.builder.select(self.keeps(index, mask), elements, self.s.splat(-math.inf))

    def fold(self, start: float, combine: Callable[[Value, Value], Value], of: Callable[[Value], Value]) -> Value:
        """All elements, mapped by `of` and combined, as a scalar; lanes that do not exist count as `start`."""
        s = self.s
        with s.loop(const(0), self.whole, s.lanes, [s.splat(start)]) as loop:
            loop.next = [combine(loop.values[0], of(self.load(loop.index)))]
        tail = of(self.load(self.whole, self.mask))
        tail = s.builder.select(self.mask, tail, s.splat(start))
        empty = s.builder.icmp_signed("==", self.left, const(0))
        combined = combine(loop.results[0], tail)
        total = s.builder.select(empty, loop.results[0], combined)
        return s.reduce(total, combine)

    def transform(self, of: Callable[[Value, Value, Value | None], Value]) -> None:
        """``target[i] = of(source[i], i)``."""
        s = self.s

        def one(index: Value, mask: Value | None) -> None:
            offset = s.mul(index, const(FLOAT32.bytes))
            s.store(of(self.load(index, mask), index, mask), s.add(self.target, offset), mask)

        s.each_vector(self.count, one)

    def quantize(self, output: str) -> Value:
        """Write integers with the row's own range, and give the scale."""
        s, b, type = self.s, self.s.builder, ELEMENT_TYPES[output]

        def larger(x: Value, y: Value) -> Value:
            return s.binary("maximum", x, y)

        largest = s.splat(self.fold(0.0, larger, lambda x: s.unary("fabs", x)))
        threshold = largest if type.is_signed else s.splat(self.fold(0.0, larger, lambda x: x))
        low, high = QUANTIZED_LIMITS[output]
        scale = scale_of_threshold(s, threshold, high, [largest])
        inverse = b.fdiv(s.splat(1.0), scale)

        def one(index: Value, mask: Value | None) -> None:
            clamped = s.at_most(s.at_least(b.fmul(self.load(index, mask), inverse), s.splat(low)), s.splat(high))
            type.store_lanes(s, type.from_float(s, clamped), s.add(self.target, s.mul(index, const(type.bytes))), mask)

        s.each_vector(self.count, one)
        return scale

    def softmax(self, logarithm: bool) -> None:
        s, b = self.s, self.s.builder
        scale = s.load_splat(self.extra)
        largest = s.splat(self.fold(-math.inf, lambda a, x: s.binary("maximum", a, x), lambda x: b.fmul(x, scale)))

        def shifted(x: Value) -> Value:
            return b.fsub(b.fmul(x, scale), largest)

        total = s.splat(self.fold(0.0, b.fadd, lambda x: vm.exp(s, shifted(x))))
        if logarithm:
            rest = vm.log(s, total)
            self.transform(lambda x, index, mask: self.absent(b.fsub(shifted(x), rest), index, mask))
        else:
            factor = b.fdiv(s.splat(1.0), total)
            self.transform(lambda x, index, mask: self.empty(b.fmul(vm.exp(s, shifted(x)), factor)))

    def absent(self, logarithms: Value, index: Value, mask: Value | None) -> Value:
        """Of what takes no part the logarithm is -inf, also in rows where nothing does."""
        if self.kept is None:
            return logarithms
        return self.s.builder.select(self.keeps(index, mask), logarithms, self.s.splat(-math.inf))

    def empty(self, shares: Value) -> Value:
        """A row where nothing takes part sums to zero: its shares are zero, not NaN."""
        if self.kept is None:
            return shares
        return self.s.where("==", shares, shares, shares, self.s.splat(0.0))

    def layer_norm(self) -> None:
        # J. L. Ba et al., Layer Normalization, 2016: two passes, because E[x²] - E[x]² cancels.
        s, b = self.s, self.s.builder
        size = s.splat(b.sitofp(self.count, F32))
        mean = b.fdiv(s.splat(self.fold(0.0, b.fadd, lambda x: x)), size)

        def squared(x: Value) -> Value:
            difference = b.fsub(x, mean)
            return b.fmul(difference, difference)

        variance = b.fdiv(s.splat(self.fold(0.0, b.fadd, squared)), size)
        deviation = s.unary("sqrt", b.fadd(variance, s.load_splat(self.extra)))
        factor = b.fdiv(s.splat(1.0), deviation)
        gamma = s.load_argument(self.extra, EXTRA.offsets.gamma)
        beta = s.load_argument(self.extra, EXTRA.offsets.beta)

        def normalized(x: Value, index: Value, mask: Value | None) -> Value:
            offset = s.mul(index, const(FLOAT32.bytes))
            scaled = b.fmul(b.fsub(x, mean), factor)
            return s.fma(scaled, s.load(s.add(gamma, offset), mask), s.load(s.add(beta, offset), mask))

        self.transform(normalized)
