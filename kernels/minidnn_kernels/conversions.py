"""From elements of one type to those of another, as NumPy's casts on the same machine."""

from __future__ import annotations

from minidnn_kernels.element_type import (
    BFLOAT16,
    BOOL,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    UINT32,
    UINT64,
    ElementType,
)
from minidnn_kernels.simd import F64, Simd, Value

__all__ = ["constant", "convert", "register"]


def register(s: Simd, type: ElementType) -> Value:
    """LLVM's type of a vector of that element type in a register."""
    return s.mask_type if type is BOOL else s.vector_of(type.memory)


def constant(s: Simd, type: ElementType, number: float) -> Value:
    """The same number in every lane; of float16 there are none, it is computed in float32."""
    vector = register(s, type)
    value = float(number) if type.is_float else int(number)
    return vector([value] * s.lanes)


def convert(s: Simd, value: Value, source: ElementType, target: ElementType) -> Value:
    """Elements in a register as elements of another type.

    Integers keep their low bits. Floats lose their fraction; what an integer type cannot hold becomes what the
    machine's instruction makes of it. NaN is true.
    """
    if source is target:
        return value
    if target is BOOL:
        return _to_bool(s, value, source)
    if source in (FLOAT16, BFLOAT16):
        return convert(s, source.to_float(s, value), FLOAT32, target)
    if target in (FLOAT16, BFLOAT16):
        single = _rounded_to_odd(s, value) if source is FLOAT64 else convert(s, value, source, FLOAT32)
        return s.float_to_half(single) if target is FLOAT16 else s.float_to_bfloat16(single)
    if source.is_float:
        return _of_float(s, value, target)
    b, vector = s.builder, s.vector_of(target.memory)
    if target.is_float:
        return (b.sitofp if source.is_signed else b.uitofp)(value, vector)
    if source.bytes > target.bytes:
        return b.trunc(value, vector)
    if source is BOOL or source.bytes < target.bytes:
        return (b.sext if source.is_signed else b.zext)(value, vector)
    return value


def _to_bool(s: Simd, value: Value, source: ElementType) -> Value:
    b = s.builder
    if source in (FLOAT16, BFLOAT16):
        value = b.and_(value, s.constant_like(value, 0x7FFF))
    elif source.is_float:
        return b.fcmp_unordered("!=", value, s.zero(value))
    return b.icmp_unsigned("!=", value, s.zero(value))


def _of_float(s: Simd, value: Value, target: ElementType) -> Value:
    """Float32 or float64 as another type."""
    b = s.builder
    if target is FLOAT64:
        return b.fpext(value, s.vector_of(F64))
    if target is FLOAT32:
        return b.fptrunc(value, s.vector)
    if target in (UINT32, UINT64):
        wide = s.vector_of(target.memory)
        half = 2.0 ** (8 * target.bytes - 1)
        limit = value.type([half] * s.lanes)
        top = s.constant_like(b.fptosi(value, wide), -(1 << 8 * target.bytes - 1))
        upper = b.xor(b.fptosi(b.fsub(value, limit), wide), top)
        return b.select(b.fcmp_ordered(">=", value, limit), upper, b.fptosi(value, wide))
    if target in (INT32, INT64):
        return b.fptosi(value, s.vector_of(target.memory))
    # Narrower integers are what int32 keeps.
    return b.trunc(b.fptosi(value, s.int_vector), s.vector_of(target.memory))


def _rounded_to_odd(s: Simd, value: Value) -> Value:
    """Float64 to float32 such that rounding again to a narrower type gives what one rounding would.

    S. Boldo, G. Melquiond: Emulation of FMA and correctly rounded sums, 2008: what is inexact gets an odd last bit.
    """
    b = s.builder
    near = b.fptrunc(value, s.vector)
    back, size = b.fpext(s.unary("fabs", near), value.type), s.unary("fabs", value)
    bits = s.as_int(near)
    is_even = b.icmp_unsigned("==", b.and_(bits, s.splat_int(1)), s.splat_int(0))
    above = b.select(b.fcmp_ordered("<", back, size), s.splat_int(1), s.splat_int(0))
    below = b.select(b.fcmp_ordered(">", back, size), s.splat_int(1), s.splat_int(0))
    moved = b.sub(b.add(bits, above), below)
    # An overflow stays one.
    is_finite = b.fcmp_ordered("<", back, back.type([float("inf")] * s.lanes))
    return s.as_float(b.select(b.and_(is_even, is_finite), moved, bits))
