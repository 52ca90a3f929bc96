"""Matrix products with B in bfloat16, and A in float32 or bfloat16, for one call of a tile; bfloat16 in NumPy."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from microkernels import Machine, address
from test_tile import TAIL, Problem

from minidnn.runtime.library import KernelSpec, Library
from minidnn_kernels.dot import dot_for
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_for_dot
from minidnn_kernels.tile import TileSpec

__all__ = [
    "BfloatProblem",
    "WithoutInstruction",
    "bits_of",
    "by_plain_arithmetic",
    "fitting_tiles",
    "floats_of",
    "rounded",
    "solve_some",
]

Array = np.ndarray[Any, Any]


def bits_of(numbers: Array) -> Array:
    """Float32 numbers rounded to bfloat16, half to even, by integer arithmetic on single numbers."""

    def one(word: int) -> int:
        upper, rest = divmod(word, 1 << 16)
        if upper & 0x7F80 == 0x7F80 and (upper & 0x7F or rest):
            return upper | 0x40
        return upper + (rest > 0x8000 or (rest == 0x8000 and upper % 2 == 1))

    words = np.ascontiguousarray(numbers, np.float32).view(np.uint32).reshape(-1).tolist()
    return np.array([one(word) for word in words], np.uint16).reshape(numbers.shape)


def floats_of(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(numbers: Array) -> Array:
    return floats_of(bits_of(numbers))


class BfloatProblem(Problem):
    """One call of a tile, as of float32, with numbers that bfloat16 holds."""

    def __init__(self, isa: Isa, spec: TileSpec, rows_left: int, columns_left: int, taps: int = 1, depth: int = 4):
        super().__init__(isa, spec, rows_left, columns_left, taps, depth, seed=depth)
        dot = dot_for(isa, spec.data, spec.dot)
        self.weights = rounded(self.weights)
        width = spec.vectors * isa.lanes // spec.panels
        self.panel = pack_for_dot(bits_of(self.weights), None, width, dot, isa.lanes, spec.panels)
        self.depth = depth // dot.group
        if spec.data == "bf16":
            floats, self.source = self.source, bits_of(self.source)
            rows = self.pointers[:taps]
            self.pointers[:taps] = (rows - address(floats)) // 2 + address(self.source)
            self._bits = self.source

    def run(self, machine: Machine) -> None:
        super().run(machine)
        if self.spec.data == "bf16":
            self.source = floats_of(self._bits)


def fitting_tiles(isa: Isa, data: str, dot: str) -> list[tuple[int, int]]:
    fits = dot_for(isa, data, dot).fits
    return [(rows, v) for rows in isa.heights for v in range(1, 5) if fits(isa, rows, v)]


def solve_some(machine: Machine, data: str, dot: str) -> None:
    """Some tiles with whole blocks and remainders, several taps, depths and panels."""
    isa = machine.isa
    group = dot_for(isa, data, dot).group
    for number, (rows, vectors) in enumerate(
        [(1, 1), (2, 3), (3, 2), (4, 2), (max(r for r, v in fitting_tiles(isa, data, dot)), 1)]
    ):
        width = vectors * isa.lanes
        for panels in {1, vectors if vectors % 2 == 0 else 1}:
            spec = TileSpec(rows, vectors, TAIL, True, data, dot, panels=panels)
            left = [(rows, width), (max(1, rows - 1), width - 1), (rows, 1)]
            for step, (rows_left, columns_left) in enumerate(left):
                depth = group * (1 + number + step)
                problem = BfloatProblem(isa, spec, rows_left, columns_left, 1 + step, depth)
                problem.run(machine)
                problem.check()


class WithoutInstruction(Machine):
    """A machine that computes the instructions of AVX512-BF16 by others: in the order and with the roundings of Intel's
    manual for ``VDPBF16PS``, but for subnormal numbers, which the instruction takes for zeros.
    """

    def __init__(self, isa: Isa) -> None:
        super().__init__(isa)
        self.library = _Library(isa, self.library.cache)


class _Library(Library):
    def emit(self, spec: KernelSpec) -> str:
        return by_plain_arithmetic(super().emit(spec), self.isa.lanes)


def by_plain_arithmetic(text: str, lanes: int) -> str:
    """LLVM IR with the instruction computed by others."""
    name, sums, pairs = f"dpbf16ps.{lanes * 32}", f"<{lanes} x float>", f"<{2 * lanes} x bfloat>"
    text = re.sub(rf"^declare .*llvm.x86.avx512bf16.{name}.*$", "", text, flags=re.MULTILINE)
    text = re.sub(rf'@"?llvm.x86.avx512bf16.{name}"?', "@pairs", text)
    words = f"<{lanes} x i32>"
    upper = f"<{', '.join(['i32 -65536'] * lanes)}>"
    shift = f"<{', '.join(['i32 16'] * lanes)}>"
    return (
        text
        + f"""
define internal {sums} @pairs({sums} %sum, {pairs} %a, {pairs} %b) alwaysinline {{
  %aw = bitcast {pairs} %a to {words}
  %bw = bitcast {pairs} %b to {words}
  %ao = and {words} %aw, {upper}
  %bo = and {words} %bw, {upper}
  %ae = shl {words} %aw, {shift}
  %be = shl {words} %bw, {shift}
  %aof = bitcast {words} %ao to {sums}
  %bof = bitcast {words} %bo to {sums}
  %aef = bitcast {words} %ae to {sums}
  %bef = bitcast {words} %be to {sums}
  %odd = fmul {sums} %aof, %bof
  %first = fadd {sums} %sum, %odd
  %even = fmul {sums} %aef, %bef
  %both = fadd {sums} %first, %even
  ret {sums} %both
}}
"""
    )
