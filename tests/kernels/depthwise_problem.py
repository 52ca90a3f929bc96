"""Depthwise windows of integers for one call of the microkernel: operands, and what NumPy makes of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from microkernels import Machine
from tile_native import NativeMemory
from tile_problem import DTYPES, Memory, Tail

from minidnn_kernels.depthwise import DepthwiseSpec, unit_of
from minidnn_kernels.epilogue import number_word
from minidnn_kernels.isa import Isa

__all__ = ["TAILS", "WINDOWS", "DepthwiseProblem", "solve"]

Array = np.ndarray[Any, Any]

TAILS = (
    Tail(scale=True, activation="at_most", output="u8"),
    Tail(scale=True, residual="s8", output="s8"),
    Tail(scale=True, bias=True, output="f32"),
    Tail(),
)
# Outer taps, width, stride, dilation, pixels.
WINDOWS = (
    (3, 3, 1, 1, 4),
    (3, 3, 2, 1, 3),
    (1, 1, 1, 1, 2),
    (1, 5, 1, 1, 4),
    (2, 1, 3, 1, 2),
    (4, 3, 1, 2, 3),
    (5, 5, 1, 1, 4),
    (9, 2, 2, 3, 1),
)
_FILL = 0xA5
_ROWS_BEFORE, _BEHIND = 2, 2


@dataclass(frozen=True)
class DepthwiseProblem:
    """One call of the kernel; the first `padded` columns are padding.

    All data are `number` and all weights `weight`, or all numbers of their types if they are None.
    """

    isa: Isa
    data: str
    channels: int
    window: tuple[int, int, int, int, int] = WINDOWS[0]
    tail: Tail = field(default_factory=Tail)
    seed: int = 0
    padded: int = 0
    number: int | None = None
    weight: int | None = None

    @property
    def spec(self) -> DepthwiseSpec:
        vectors, masked = unit_of(self.isa, self.data, self.channels)
        return DepthwiseSpec(*self.window, self.tail.epilogue(), self.data, vectors, masked)

    @property
    def _shape(self) -> tuple[int, int]:
        return _ROWS_BEFORE + self.spec.pixels + _BEHIND, self.channels

    @property
    def _dtype(self) -> type:
        return DTYPES[self.tail.output]

    def _operands(self) -> dict[str, Array]:
        """What the seed makes of them: columns with their padding as zeros, weights and what the tail reads."""
        rng, spec = np.random.default_rng(self.seed), self.spec
        limits = np.iinfo(DTYPES[self.data])
        columns = rng.integers(limits.min, limits.max, (spec.outer, spec.columns, self.channels), endpoint=True)
        weights = rng.integers(-128, 127, (spec.outer, spec.width, self.channels), endpoint=True)
        if self.number is not None:
            columns[...] = self.number
        if self.weight is not None:
            weights[...] = self.weight
        columns[:, : self.padded] = 0
        return {
            "columns": columns.astype(DTYPES[self.data]),
            "weights": weights.astype(np.int8),
            "start": rng.integers(-(2**31), 2**31 - 1, self.channels, endpoint=True).astype(np.int32),
            "scale": (rng.random(self.channels) * 2e-3).astype(np.float32),
            "bias": (rng.standard_normal(self.channels) * 40).astype(np.float32),
            "residual": rng.integers(-127, 128, self._shape).astype(DTYPES[self.tail.residual or "f32"]),
        }

    def place(self, memory: Memory) -> tuple[tuple[int, ...], tuple[int, int]]:
        """Put all operands into memory; what the kernel is called with, and address and bytes of the output."""
        spec, o, tail = self.spec, self._operands(), self.tail
        pitch = self.channels * np.dtype(self._dtype).itemsize
        target = memory.reserve(self._shape[0] * pitch), self._shape[0] * pitch
        context = [target[0], pitch]
        for name in ["scale"] * tail.scale + ["bias"] * tail.bias:
            context += [memory.put(o[name]), 0]
        if tail.residual is not None:
            context += [memory.put(o["residual"]), o["residual"].strides[0]]
        context += map(number_word, tail.numbers)
        begin, zeros = memory.put(o["columns"]), memory.put(np.zeros(self.channels, np.uint8))
        pointers = begin + np.arange(spec.outer * spec.columns).reshape(spec.outer, -1) * self.channels
        pointers[:, : self.padded] = zeros
        packed = spec.pack(o["weights"], o["start"], self.isa)
        places = [memory.put(a) for a in (np.array(context, np.int64), pointers.astype(np.int64), packed)]
        return (*places, _ROWS_BEFORE, self.channels), target

    def check(self, output: bytes) -> None:
        """The output's bytes, all of them `_FILL` before, are what they should be."""
        spec, o = self.spec, self._operands()
        sums = np.broadcast_to(o["start"].astype(np.int64), (spec.pixels, self.channels)).copy()
        for p, outer, tap in itertools.product(range(spec.pixels), range(spec.outer), range(spec.width)):
            column = o["columns"][outer, p * spec.stride + tap * spec.dilate].astype(np.int64)
            sums[p] += column * o["weights"][outer, tap]
        rows = slice(_ROWS_BEFORE, _ROWS_BEFORE + spec.pixels)
        expected = self.tail.reference(sums.astype(np.int32), o["scale"], o["bias"], o["residual"][rows])
        actual: Array = np.frombuffer(output, self._dtype).reshape(self._shape)
        np.testing.assert_array_equal(actual[rows], expected, f"{self}")
        around = np.delete(actual, np.arange(rows.start, rows.stop), 0)
        assert (around.view(np.uint8) == _FILL).all(), f"{self} wrote into other rows"


def solve(machine: Machine, problem: DepthwiseProblem) -> None:
    """Run the kernel on the problem and check what it leaves."""
    memory = NativeMemory()
    arguments, target = problem.place(memory)
    machine.call(problem.spec, *arguments)
    problem.check(memory.read(*target))
