"""Weighted sums of rows of float32: what lies between pixels."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "MAX_TAPS", "RESAMPLE_ARGUMENTS", "TAP", "BlendSpec"]

# target:  address of the row
# taps:    address of taps, as `TAP` has them
# count:   of taps
# columns: elements of a row
ARGUMENTS = ("target", "taps", "count", "columns")
TAP = ArgumentRow(Field("address", "of a row"), Field("weight", "a float32 in the low half"))

# Taps that a loop keeps on its stack.
MAX_TAPS = 512

# Of `resample_loop`.
RESAMPLE_ARGUMENTS = ArgumentRow(
    Field("kernel", "microkernel"),
    Field("source", "float32 [outer][old size][inner]"),
    Field("target", "float32 [outer][size][inner]"),
    Field("outer", "how many"),
    Field("outer_pitch", "bytes, in the source"),
    Field("size", "results along the axis"),
    Field("inner", "elements of a row"),
    Field("chunk", "elements that a call does at most"),
    Field("counts", "int64 [size]: taps of each result"),
    Field("table", "[size][taps] as `TAP` has it: bytes from the first row; below zero for `outside`"),
    Field("taps", "room for taps of a result, at most `MAX_TAPS`"),
    Field("outside", "float32 [chunk]: what stands for rows that there are not"),
)


@dataclass(frozen=True)
class BlendSpec:
    """The sum of all taps' rows times their weights."""

    @property
    def name(self) -> str:
        return "f32_blend"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        target, taps, count, columns = function.args

        def body(index: Value, mask: Value | None) -> None:
            offset = s.mul(index, const(FLOAT32.bytes))
            with s.loop(const(0), count, 1, [s.splat(0.0)]) as loop:
                tap = s.add(taps, s.mul(loop.index, const(TAP.words * WORD_BYTES)))
                row = s.load(s.add(s.load_argument(tap, TAP.offsets.address), offset), mask)
                weight = s.load_splat(s.add(tap, const(TAP.offsets.weight)))
                loop.next = [s.fma(row, weight, loop.values[0])]
            s.store(loop.results[0], s.add(target, offset), mask)

        s.each_vector(columns, body)
        builder.ret_void()
        return str(module)
