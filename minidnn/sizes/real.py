"""Real numbers that depend on sizes."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ARITHMETIC", "SIGNS", "Number", "example"]

ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
SIGNS = {function: sign for sign, function in ARITHMETIC.items()}


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real)


def example(value: Any) -> Any:
    """Of a size or a number that depends on sizes, what it is in the call that is traced; other values themselves."""
    return getattr(value, "example", value)


class Number:
    """A real number that depends on sizes: ``1 / n``, ``n ** 0.5``. What is decided by it is decided by sizes."""

    __slots__ = ("example", "operands", "sign")
    __array_priority__ = -1.0

    def __init__(self, sign: str, operands: tuple[Any, Any], example: Any) -> None:
        self.sign, self.operands, self.example = sign, operands, example

    @staticmethod
    def of(sign: str, left: Any, right: Any) -> Any:
        if not (_is_real(left) and _is_real(right)):
            return NotImplemented
        left, right = (x.item() if isinstance(x, np.number) else x for x in (left, right))
        return Number(sign, (left, right), ARITHMETIC[sign](example(left), example(right)))

    @property
    def decisions(self) -> Any:
        return next((d for x in self.operands if (d := getattr(x, "decisions", None)) is not None), None)

    @property
    def structure(self) -> Any:
        """What tells it apart whatever the sizes are."""
        return (self.sign, *(getattr(x, "structure", x) for x in self.operands))

    def __add__(self, other: Any) -> Any:
        return Number.of("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return Number.of("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return Number.of("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return Number.of("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return Number.of("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return Number.of("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return Number.of("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return Number.of("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return Number.of("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return Number.of("**", other, self)

    def __neg__(self) -> Any:
        return 0 - self

    def __floor__(self) -> Any:
        left, right = self.operands
        if self.sign == "/" and all(isinstance(x, numbers.Integral) for x in self.operands):
            return left // right
        return math.floor(float(self))

    def __ceil__(self) -> Any:
        left, right = self.operands
        if self.sign == "/" and all(isinstance(x, numbers.Integral) for x in self.operands):
            return -(-left // right)
        return math.ceil(float(self))

    def __trunc__(self) -> int:
        return int(float(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)

    def __float__(self) -> float:
        for size in self.operands:
            float(size)
        return float(self.example)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.asarray(float(self), dtype)

    def __int__(self) -> int:
        # Of a quotient of sizes it is a size, but Python wants an int here.
        return int(self.__trunc__())

    def __bool__(self) -> bool:
        return bool(float(self))

    def __eq__(self, other: Any) -> Any:
        if not _is_real(other):
            return NotImplemented
        return (isinstance(other, Number) and self.structure == other.structure) or (float(self) == float(other))

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)

    def __hash__(self) -> int:
        return hash((self.sign, self.operands))

    def __repr__(self) -> str:
        left, right = (f"({x})" if isinstance(x, Number) or not str(x).isalnum() else str(x) for x in self.operands)
        return f"{left} {self.sign} {right}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, (self.sign, self.operands, self.example)


numbers.Real.register(Number)
