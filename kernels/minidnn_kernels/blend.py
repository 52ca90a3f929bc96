"""Weighted sums of rows of floats: what lies between pixels."""

from __future__ import annotations

from dataclasses import dataclass

from minidnn_kernels.arguments import WORD_BYTES, ArgumentRow, Field
from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.elements import REAL, Lanes
from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import Simd, Value, const, new_function

__all__ = ["ARGUMENTS", "MAX_TAPS", "RESAMPLE_ARGUMENTS", "TAP", "BlendSpec"]

# target:  address of the row
# taps:    address of taps, as `TAP` has them
# count:   of taps
# columns: elements of a row
ARGUMENTS = ("target", "taps", "count", "columns")
TAP = ArgumentRow(Field("address", "of a row"), Field("weight", "a float64, or a float32 in the low half"))

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
    """The sum of all taps' rows times their weights; `element` is ``float32`` or ``float64``, of both."""

    element: str = "float32"

    @property
    def name(self) -> str:
        return f"{self.element.replace('float', 'f')}_blend"

    def emit(self, isa: Isa) -> str:
        """LLVM IR of the kernel, one function of `ARGUMENTS`."""
        module, function, builder = new_function(self.name, ARGUMENTS)
        s = Simd(builder, isa)
        if self.element == "float32":
            _blend_vectors(s, *function.args)
        else:
            _blend_scalars(s, self.element, *function.args)
        builder.ret_void()
        return str(module)


def _tap(s: Simd, taps: Value, index: Value, offset: Value) -> tuple[Value, Value]:
    """Addresses of a tap's element and of its weight."""
    tap = s.add(taps, s.mul(index, const(TAP.words * WORD_BYTES)))
    return s.add(s.load_argument(tap, TAP.offsets.address), offset), s.add(tap, const(TAP.offsets.weight))


def _blend_vectors(s: Simd, target: Value, taps: Value, count: Value, columns: Value) -> None:
    def body(index: Value, mask: Value | None) -> None:
        offset = s.mul(index, const(FLOAT32.bytes))
        with s.loop(const(0), count, 1, [s.splat(0.0)]) as loop:
            row, weight = _tap(s, taps, loop.index, offset)
            loop.next = [s.fma(s.load(row, mask), s.load_splat(weight), loop.values[0])]
        s.store(loop.results[0], s.add(target, offset), mask)

    s.each_vector(columns, body)


def _blend_scalars(s: Simd, element: str, target: Value, taps: Value, count: Value, columns: Value) -> None:
    lane = Lanes(s.builder, element, REAL, 1)
    with s.loop(const(0), columns, 1, []) as each:
        offset = s.mul(each.index, const(lane.bytes))
        with s.loop(const(0), count, 1, [lane.constant(0.0)]) as loop:
            row, weight = _tap(s, taps, loop.index, offset)
            product = s.builder.fmul(lane.load(row), lane.load(weight))
            loop.next = [s.builder.fadd(loop.values[0], product)]
        lane.store(loop.results[0], s.add(target, offset))
