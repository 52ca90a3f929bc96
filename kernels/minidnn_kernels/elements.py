"""Elements of any type, for kernels that are generated or told which: integers, bools, float32 and float64.

Those that compute hold them as float64 (`REAL`) or as int64 (`WHOLE`), so that sums are rounded or wrap around once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from minidnn_kernels.simd import F32, I64, Value

__all__ = ["ELEMENTS", "F64", "FIRST_FLOAT", "LANES", "REAL", "UNSIGNED", "WHOLE", "WORD", "Lanes", "element_code"]

# A loop is told an element's type by its place here.
ELEMENTS = (
    *("bool", "uint8", "uint16", "uint32", "uint64"),
    *("int8", "int16", "int32", "int64"),
    *("float32", "float64"),
)
UNSIGNED, FIRST_FLOAT = ELEMENTS.index("uint64"), ELEMENTS.index("float32")

F64 = ir.DoubleType()
REAL, WHOLE = "real", "whole"
# Bytes of what is held.
WORD = 8

# Elements that are done at once, on any instruction set: LLVM splits them into as many registers as they need.
LANES = 16


def element_code(dtype: np.dtype[Any]) -> int | None:
    """The place of a dtype in `ELEMENTS`; None if it has none."""
    name = dtype.newbyteorder("=").name
    return ELEMENTS.index(name) if name in ELEMENTS else None


class Lanes:
    """Loads and stores of `count` elements of a type; in registers they are float64 or int64.

    Args:
        builder: LLVM's.
        dtype: NumPy's name of the type in memory, one of `ELEMENTS`.
        held: `REAL` or `WHOLE`.
        count: 1 for a scalar.
    """

    def __init__(self, builder: ir.IRBuilder, dtype: str, held: str, count: int) -> None:
        self.builder, self.dtype, self.held, self.count = builder, np.dtype(dtype), held, count
        memory: Any = {"float32": F32, "float64": F64}.get(dtype)
        self._memory = self._of(ir.IntType(8 * self.bytes) if memory is None else memory)
        self.type = self._of(F64 if held == REAL else I64)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize

    def _of(self, element: Any) -> Any:
        return element if self.count == 1 else ir.VectorType(element, self.count)

    def constant(self, number: float) -> Value:
        return ir.Constant(self.type, number if self.count == 1 else [number] * self.count)

    def splat(self, scalar: Value) -> Value:
        """A scalar in all lanes."""
        if self.count == 1:
            return scalar
        first = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, ir.Constant(I64, 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.count), [0] * self.count)
        return self.builder.shuffle_vector(first, ir.Constant(self.type, ir.Undefined), zeros)

    def load(self, address: Value) -> Value:
        b = self.builder
        value = b.load(b.inttoptr(address, self._memory.as_pointer()), align=self.bytes)
        kind = self.dtype.kind
        if kind == "f":
            return value if self.dtype == np.float64 else b.fpext(value, self.type)
        if self.held == REAL:
            return (b.sitofp if kind == "i" else b.uitofp)(value, self.type)
        if self.bytes == WORD:
            return value
        return (b.sext if kind == "i" else b.zext)(value, self.type)

    def store(self, value: Value, address: Value) -> None:
        """What is held, rounded to the type in memory; whole numbers keep their low bits."""
        b = self.builder
        if self.dtype.kind != "f":
            value = b.fptosi(value, self._of(I64)) if self.held == REAL else value
            narrow = value if self.bytes == WORD else b.trunc(value, self._memory)
        elif self.held == WHOLE:
            narrow = b.sitofp(value, self._memory)
        else:
            narrow = value if self.dtype == np.float64 else b.fptrunc(value, self._memory)
        b.store(narrow, b.inttoptr(address, self._memory.as_pointer()), align=self.bytes)

    def fold(self, value: Value, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined, as a scalar; pairs of scalars are what `combine` gets."""
        parts = [self.builder.extract_element(value, ir.Constant(I64, i)) for i in range(self.count)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [combine(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
        return parts[0]
