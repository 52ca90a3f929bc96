"""The table of element types: one row is everything the generators and lowering need to know of a type in memory.

Products and what follows them hold lanes of float32, or of int32 for integers (`ElementType.load_lanes`); memory holds
elements that may be narrower. Elementwise operations hold elements as they are (`ElementType.read`): an integer wraps
where its type ends. Adding a type is adding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn_kernels.bfloat16_dot import Bfdot, Bfmmla, Dpbf16, Float32ByBfloat16
from minidnn_kernels.isa import Isa
from minidnn_kernels.matrix_dot import BfloatMatrices, ByteMatrices
from minidnn_kernels.simd import F32, F64, I8, I16, I32, I64, Simd, Value
from minidnn_kernels.split_dot import SplitDot
from minidnn_kernels.uniform_dot import (
    Dot,
    Float32,
    Float32ByInt8,
    Int16,
    Maddwd,
    Mmla,
    Sdot,
    SignedBytes,
    Vnni,
    VnniInt8,
    Widen,
)

__all__ = [
    "BFLOAT16",
    "BOOL",
    "ELEMENT_TYPES",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "ElementType",
    "element_type_of",
]

# From elements as they lie in memory to lanes, or back.
Convert = Callable[[Simd, Value], Value]


def _same(s: Simd, value: Value) -> Value:
    return value


def _signed_to_float(s: Simd, value: Value) -> Value:
    return s.builder.sitofp(value, s.vector)


def _unsigned_to_float(s: Simd, value: Value) -> Value:
    return s.builder.uitofp(value, s.vector)


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
        to_float: lanes to float32.
        dots: how products of this type in A are summed, by name; an ISA names one of
            them, or the first is for all.
    """

    name: str
    dtype: np.dtype[Any]
    memory: Any = field(repr=False)
    widen: Convert = field(default=_same, repr=False)
    narrow: Convert = field(default=_same, repr=False)
    to_float: Convert = field(default=_signed_to_float, repr=False)
    dots: Mapping[str, Dot] = field(default_factory=dict, repr=False, hash=False)

    @property
    def bytes(self) -> int:
        """Of an element in memory."""
        return self.dtype.itemsize

    @property
    def is_integer(self) -> bool:
        return self.dtype.kind in "iu"

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    @property
    def is_signed(self) -> bool:
        return self.dtype.kind in "if"

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def lanes(self, s: Simd) -> Any:
        """LLVM's type of a vector of it in a register."""
        return s.int_vector if self.is_integer else s.vector

    def load_lanes(self, s: Simd, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory, narrower integers as int32; lanes off in `mask` come as 0."""
        return self.widen(s, s.load_elements(address, self.memory, mask))

    def load(self, s: Simd, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory as float32."""
        return self.to_float(s, self.load_lanes(s, address, mask))

    def read(self, s: Simd, address: Value, mask: Value | None = None) -> Value:
        """A vector from memory: elements as they are, bools as a mask; lanes off in `mask` come as 0."""
        return self._in_register(s, s.load_elements(address, self.memory, mask))

    def read_splat(self, s: Simd, address: Value, constant: bool = False) -> Value:
        """One element from memory in every lane, as `read` gives them."""
        return self._in_register(s, s.load_splat(address, constant, self.memory))

    def write(self, s: Simd, value: Value, address: Value, mask: Value | None = None) -> None:
        """A vector as `read` gives it to memory; lanes off in `mask` are not written."""
        if self is BOOL:
            value = s.builder.zext(value, s.vector_of(I8))
        s.store_elements(value, address, mask)

    def _in_register(self, s: Simd, elements: Value) -> Value:
        return s.builder.icmp_unsigned("!=", elements, s.zero(elements)) if self is BOOL else elements

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
        own = [dot for dot in (isa.dot, isa.bfloat16) if dot in self.dots]
        wanted = name or next(iter([*own, *self.dots]), "")
        if wanted not in self.dots:
            raise ValueError(f"no dot {wanted!r} of {self.name} elements; known: {', '.join(self.dots) or 'none'}")
        return self.dots[wanted]


def _narrow_to(element: Any) -> Convert:
    return lambda s, value: s.narrow_int(value, element)


def _bytes_dots(signed: bool) -> dict[str, Dot]:
    kinds: dict[str, Callable[[bool], Dot]] = {
        "vnni": Vnni,
        "amx": ByteMatrices,
        "vnniint8": VnniInt8,
        "sdot": Sdot,
        "mmla": Mmla,
        "split": SplitDot,
        "maddwd": Maddwd,
        "widen": Widen,
    }
    return {name: kind(signed) for name, kind in kinds.items()} | ({"signed": SignedBytes()} if signed else {})


#        name, dtype, memory, widen, narrow, to float32, dots
FLOAT32 = ElementType(
    "f32",
    np.dtype(np.float32),
    F32,
    to_float=_same,
    dots={"fma": Float32(), "int8": Float32ByInt8(), "bf16": Float32ByBfloat16()},
)
UINT8 = ElementType("u8", np.dtype(np.uint8), I8, _zero_extend, _narrow_to(I8), dots=_bytes_dots(False))
INT8 = ElementType("s8", np.dtype(np.int8), I8, _sign_extend, _narrow_to(I8), dots=_bytes_dots(True))
INT16 = ElementType("s16", np.dtype(np.int16), I16, _sign_extend, _narrow_to(I16), dots={"pairs": Int16()})
INT32 = ElementType("s32", np.dtype(np.int32), I32)
# Of these there are no products.
UINT16 = ElementType("u16", np.dtype(np.uint16), I16, _zero_extend, _narrow_to(I16))
UINT32 = ElementType("u32", np.dtype(np.uint32), I32, to_float=_unsigned_to_float)
INT64 = ElementType("s64", np.dtype(np.int64), I64)
UINT64 = ElementType("u64", np.dtype(np.uint64), I64, to_float=_unsigned_to_float)
BOOL = ElementType("bool", np.dtype(np.bool_), I8, _zero_extend, _narrow_to(I8))
# Its bits: what is computed with them is computed in float32.
FLOAT16 = ElementType("f16", np.dtype(np.float16), I16, to_float=Simd.half_to_float)
# NumPy has no such dtype. As MXNet has it, a field of that name with its bits.
BFLOAT16 = ElementType(
    "bf16",
    np.dtype([("bfloat16", np.uint16)]),
    I16,
    to_float=Simd.bfloat16_to_float,
    dots={"dpbf16": Dpbf16(), "amx": BfloatMatrices(), "bfmmla": Bfmmla(), "bfdot": Bfdot()},
)
FLOAT64 = ElementType("f64", np.dtype(np.float64), F64, to_float=lambda s, value: s.builder.fptrunc(value, s.vector))

_ROWS = (
    *(FLOAT32, UINT8, INT8, INT16, INT32),
    *(UINT16, UINT32, INT64, UINT64, BOOL, FLOAT16, BFLOAT16, FLOAT64),
)

# By name.
ELEMENT_TYPES: dict[str, ElementType] = {row.name: row for row in _ROWS}
_BY_DTYPE: dict[np.dtype[Any], ElementType] = {row.dtype: row for row in _ROWS}


def element_type_of(dtype: np.dtype[Any]) -> ElementType | None:
    """The row for that dtype of NumPy, None if kernels have none."""
    return _BY_DTYPE.get(dtype.newbyteorder("="))
