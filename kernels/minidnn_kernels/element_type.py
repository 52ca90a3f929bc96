"""The table of element types: one row is everything the generators and lowering need to know of a type in memory.

Registers hold lanes of float32, or of int32 for integers (`ElementType.load_lanes`); memory holds elements that may
be narrower. Adding a type is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn_kernels.isa import Isa
from minidnn_kernels.simd import F32, I8, I16, I32, Simd, Value
from minidnn_kernels.split_dot import SplitDot
from minidnn_kernels.uniform_dot import Dot, Float32, Float32ByInt8, Int16, Maddwd, Sdot, Vnni, Widen

__all__ = [
    "ELEMENT_TYPES",
    "FLOAT32",
    "INT8",
    "INT16",
    "INT32",
    "UINT8",
    "ElementType",
    "element_type_of",
]

# From elements as they lie in memory to lanes, or back.
Convert = Callable[[Simd, Value], Value]


def _same(s: Simd, value: Value) -> Value:
    return value


def _sign_extend(s: Simd, value: Value) -> Value:
    return s.builder.sext(value, s.int_vector)


def _zero_extend(s: Simd, value: Value) -> Value:
    return s.builder.zext(value, s.int_vector)


@dataclass(frozen=True)
class ElementType:
    """One row.

    Args:
        name: as kernels' names have it.
        dtype: NumPy's.
        memory: LLVM's type of an element.
        widen: elements to lanes.
        narrow: lanes to elements: the low bits of integers, which the caller has clamped.
        dots: how products of this type in A are summed, by name; an ISA names one of them, or the first is for all.
    """

    name: str
    dtype: np.dtype[Any]
    memory: Any = field(repr=False)
    widen: Convert = field(default=_same, repr=False)
    narrow: Convert = field(default=_same, repr=False)
    dots: Mapping[str, Dot] = field(default_factory=dict, repr=False, hash=False)

    @property
    def bytes(self) -> int:
        """Of an element in memory."""
        return self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind in "iu"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def lanes(self, s: Simd) -> Any:
        """LLVM's type of a vector of it in a register."""
        return s.int_vector if self.is_integer else s.vector

    def load_lanes(self, s: Simd, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory, as int32 if it is of integers and as float32 if not; lanes off in `mask` come as 0."""
        return self.widen(s, s.load_elements(address, self.memory, mask))

    def load(self, s: Simd, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory as float32."""
        lanes = self.load_lanes(s, address, mask)
        return s.builder.sitofp(lanes, s.vector) if self.is_integer else lanes

    def load_shorts(self, s: Simd, address: Value) -> Value:
        """Two vectors' worth of 8-bit integers, widened to int16."""
        narrow = s.load_elements(address, self.memory, vectors=2)
        return (s.builder.sext if self.limits[0] < 0 else s.builder.zext)(narrow, s.short_vector)

    def store_lanes(self, s: Simd, lanes: Value, address: Value, mask: Value | None = None) -> None:
        """Lanes as `load_lanes` gives them to memory; those off in `mask` are not written."""
        s.store_elements(self.narrow(s, lanes), address, mask)

    def from_float(self, s: Simd, value: Value) -> Value:
        """Float32 lanes as lanes of this type; for integers rounded half to even. The caller has clamped."""
        return s.to_int(value) if self.is_integer else value

    def dot(self, isa: Isa, name: str = "") -> Dot:
        """How products of rows of A of this type are summed on that ISA, by the dot of that name if one is given.

        Raises:
            ValueError: there is none for this type.
        """
        wanted = name or (isa.dot if isa.dot in self.dots else next(iter(self.dots), ""))
        if wanted not in self.dots:
            raise ValueError(f"no dot {wanted!r} of {self.name} elements; known: {', '.join(self.dots) or 'none'}")
        return self.dots[wanted]


def _narrow_to(element: Any) -> Convert:
    return lambda s, value: s.narrow_int(value, element)


def _bytes_dots(signed: bool) -> dict[str, Dot]:
    kinds: dict[str, Callable[[bool], Dot]] = {
        "vnni": Vnni,
        "sdot": Sdot,
        "split": SplitDot,
        "maddwd": Maddwd,
        "widen": Widen,
    }
    return {name: kind(signed) for name, kind in kinds.items()}


#        name, dtype, memory, widen, narrow, dots
FLOAT32 = ElementType("f32", np.dtype(np.float32), F32, dots={"fma": Float32(), "int8": Float32ByInt8()})
UINT8 = ElementType("u8", np.dtype(np.uint8), I8, _zero_extend, _narrow_to(I8), _bytes_dots(False))
INT8 = ElementType("s8", np.dtype(np.int8), I8, _sign_extend, _narrow_to(I8), _bytes_dots(True))
INT16 = ElementType("s16", np.dtype(np.int16), I16, _sign_extend, _narrow_to(I16), {"pairs": Int16()})
INT32 = ElementType("s32", np.dtype(np.int32), I32)

# By name.
ELEMENT_TYPES: dict[str, ElementType] = {row.name: row for row in (FLOAT32, UINT8, INT8, INT16, INT32)}


def element_type_of(dtype: np.dtype[Any]) -> ElementType | None:
    """The row for that dtype of NumPy, None if kernels have none."""
    return next((row for row in ELEMENT_TYPES.values() if row.dtype == dtype.newbyteorder("=")), None)
