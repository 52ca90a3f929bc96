"""A vocabulary over vectors of one element type: what depends on whether it is a float, an integer or a bool."""

from __future__ import annotations

from minidnn_kernels.conversions import constant
from minidnn_kernels.element_type import BOOL, ELEMENT_TYPES, ElementType
from minidnn_kernels.simd import Simd, Value

__all__ = ["Lanes"]


class Lanes:
    """`s` on vectors of that type."""

    def __init__(self, s: Simd, type: ElementType) -> None:
        self.s, self.b, self.type = s, s.builder, type

    def unsigned(self) -> Lanes:
        """Of the integer type of as many bits without a sign."""
        return Lanes(self.s, ELEMENT_TYPES[f"u{8 * self.type.bytes}"])

    def number(self, value: float) -> Value:
        """A number in every lane."""
        return constant(self.s, self.type, value)

    @property
    def zero(self) -> Value:
        return self.number(0)

    def add(self, a: Value, b: Value) -> Value:
        return self._arithmetic(("or_", "add", "fadd"), a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._arithmetic(("xor", "sub", "fsub"), a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._arithmetic(("and_", "mul", "fmul"), a, b)

    def _arithmetic(self, methods: tuple[str, str, str], a: Value, b: Value) -> Value:
        """By the methods for bools, integers and floats."""
        method = methods[2 if self.type.is_float else 0 if self.type is BOOL else 1]
        made: Value = getattr(self.b, method)(a, b)
        return made

    def negative(self, x: Value) -> Value:
        return self.b.fneg(x) if self.type.is_float else self.b.sub(self.zero, x)

    def size(self, x: Value) -> Value:
        """Of floats, without their signs."""
        return self.s.unary("fabs", x)

    def compare(self, operator: str, a: Value, b: Value) -> Value:
        """A mask; where a float is NaN only ``!=`` holds."""
        if self.type.is_float:
            compare = self.b.fcmp_unordered if operator == "!=" else self.b.fcmp_ordered
        else:
            compare = self.b.icmp_signed if self.type.is_signed else self.b.icmp_unsigned
        return compare(operator, a, b)

    def is_nan(self, x: Value) -> Value:
        return self.b.fcmp_unordered("uno", x, x)

    def select(self, mask: Value, then: Value, otherwise: Value) -> Value:
        return self.b.select(mask, then, otherwise)
