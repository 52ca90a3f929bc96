"""Python's operators on arrays."""

from __future__ import annotations

from typing import Any, Self, cast

import numpy as np

from minidnn.numpy.base import ArrayBase, as_native, is_scalar
from minidnn.ops.checks import FLOATS
from minidnn.ops.elementwise import promote
from minidnn.sizes import Number, Size, has_sizes

__all__ = ["ArrayOperators"]

# What a < b is called when the scalar stands on the left.
_MIRRORED = {"less": "greater", "greater": "less", "less_equal": "greater_equal", "greater_equal": "less_equal"}
_REVERSIBLE = frozenset(
    {
        "subtract",
        "true_divide",
        "floor_divide",
        "mod",
        "fmod",
        "power",
        "arctan2",
        "copysign",
        "heaviside",
        "ldexp",
        "bitwise_left_shift",
        "bitwise_right_shift",
    }
)
# Beyond it not every integer is a float64, in which the scalar operators keep their scalar.
_EXACT = 2**53
# What an integer dtype can hold.
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


def _strong_dtype(scalar: Any, array: np.dtype[Any]) -> type[np.generic] | None:
    """The dtype in which an integer or bool is an operand like an array; None where it is an operator's attribute."""
    if isinstance(scalar, Size):
        return None
    if isinstance(scalar, (bool, np.bool)):
        return np.bool if array == np.bool else None
    if array in FLOATS or abs(int(scalar)) <= _EXACT or not _LOWEST <= scalar <= _HIGHEST:
        return None
    return np.int64 if scalar < 2**63 else np.uint64


class ArrayOperators(ArrayBase):
    """Arithmetic, comparison and bit operators, reflected and in place."""

    __slots__ = ()
    # NumPy's own arrays step back from the operators they meet us in.
    __array_priority__ = 1000.0

    @classmethod
    def _of(cls, x: Any) -> Self:
        """An array of this class, itself, or NumPy's."""
        return x if isinstance(x, cls) else cls._wrap(as_native(x))

    @classmethod
    def _binary(cls, name: str, a: Any, b: Any) -> Self:
        """A binary operator between arrays, or between an array and a scalar on either side.

        Scalars are weak: Python's and NumPy's alike take the array's dtype where they can. A bool and an array of
        bools are bools.
        """
        if is_scalar(a) and is_scalar(b):
            a = cls._wrap(np.asarray(a, np.float32 if isinstance(a, (float, np.floating)) else None))
        scalar, array, op = (a, b, f"r{name}") if is_scalar(a) else (b, a, name)
        if not is_scalar(scalar):
            return cls._of(a)._apply(name, b)
        is_int = not isinstance(scalar, (float, np.floating, Number))
        dtype = _strong_dtype(scalar, array.dtype) if is_int else None
        if dtype is not None:
            wrapped = cls._wrap(np.asarray(scalar, dtype))
            first, second = (wrapped, array) if scalar is a else (array, wrapped)
            return cls._of(first)._apply(name, second)
        if op != name and name not in _REVERSIBLE:
            op = _MIRRORED.get(name, name)
        return cls._of(array)._apply(
            f"{op}_scalar", scalar=scalar if has_sizes(scalar) else float(scalar), is_int=is_int
        )

    @classmethod
    def _product(cls, name: str, a: Any, b: Any) -> Self:
        """`matmul` or `dot` of two arrays of any dtypes."""
        x, y = cls._of(a), cls._of(b)
        dtype = promote(x.dtype, y.dtype)
        return x.astype(dtype, copy=False)._apply(name, y.astype(dtype, copy=False))

    @classmethod
    def _operator(cls, name: str, a: Any, b: Any) -> Self:
        """`_binary`, or NotImplemented where an operand is neither an array nor a number."""
        for x in (a, b):
            if not (is_scalar(x) or isinstance(x, (ArrayOperators, np.ndarray))):
                return cast("Self", NotImplemented)
        return cls._binary(name, a, b)

    def _in_place(self, name: str, other: Any) -> Self:
        result = self._operator(name, self, other)
        return result if result is NotImplemented else self._assign(result)

    def __add__(self, other: Any) -> Self:
        return self._operator("add", self, other)

    def __radd__(self, other: Any) -> Self:
        return self._operator("add", other, self)

    def __iadd__(self, other: Any) -> Self:
        return self._in_place("add", other)

    def __sub__(self, other: Any) -> Self:
        return self._operator("subtract", self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._operator("subtract", other, self)

    def __isub__(self, other: Any) -> Self:
        return self._in_place("subtract", other)

    def __mul__(self, other: Any) -> Self:
        return self._operator("multiply", self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._operator("multiply", other, self)

    def __imul__(self, other: Any) -> Self:
        return self._in_place("multiply", other)

    def __truediv__(self, other: Any) -> Self:
        return self._operator("true_divide", self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._operator("true_divide", other, self)

    def __itruediv__(self, other: Any) -> Self:
        return self._in_place("true_divide", other)

    def __floordiv__(self, other: Any) -> Self:
        return self._operator("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self._operator("floor_divide", other, self)

    def __ifloordiv__(self, other: Any) -> Self:
        return self._in_place("floor_divide", other)

    def __mod__(self, other: Any) -> Self:
        return self._operator("mod", self, other)

    def __rmod__(self, other: Any) -> Self:
        return self._operator("mod", other, self)

    def __imod__(self, other: Any) -> Self:
        return self._in_place("mod", other)

    def __pow__(self, other: Any) -> Self:
        return self._operator("power", self, other)

    def __rpow__(self, other: Any) -> Self:
        return self._operator("power", other, self)

    def __ipow__(self, other: Any) -> Self:
        return self._in_place("power", other)

    def __matmul__(self, other: Any) -> Self:
        if not isinstance(other, (ArrayOperators, np.ndarray)):
            return NotImplemented
        return self._product("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Self:
        if not isinstance(other, (ArrayOperators, np.ndarray)):
            return NotImplemented
        return self._product("matmul", other, self)

    def __imatmul__(self, other: Any) -> Self:
        result = self.__matmul__(other)
        return result if result is NotImplemented else self._assign(result)

    def __and__(self, other: Any) -> Self:
        return self._operator("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Self:
        return self._operator("bitwise_and", other, self)

    def __iand__(self, other: Any) -> Self:
        return self._in_place("bitwise_and", other)

    def __or__(self, other: Any) -> Self:
        return self._operator("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Self:
        return self._operator("bitwise_or", other, self)

    def __ior__(self, other: Any) -> Self:
        return self._in_place("bitwise_or", other)

    def __xor__(self, other: Any) -> Self:
        return self._operator("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Self:
        return self._operator("bitwise_xor", other, self)

    def __ixor__(self, other: Any) -> Self:
        return self._in_place("bitwise_xor", other)

    def __eq__(self, other: object) -> Any:
        return self._operator("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return self._operator("not_equal", self, other)

    def __lt__(self, other: Any) -> Self:
        return self._operator("less", self, other)

    def __le__(self, other: Any) -> Self:
        return self._operator("less_equal", self, other)

    def __gt__(self, other: Any) -> Self:
        return self._operator("greater", self, other)

    def __ge__(self, other: Any) -> Self:
        return self._operator("greater_equal", self, other)

    # Arrays are told apart by identity in sets and dictionaries, as in MXNet.
    __hash__ = object.__hash__

    def __neg__(self) -> Self:
        return self._apply("negative")

    def __pos__(self) -> Self:
        return self._apply("identity")

    def __abs__(self) -> Self:
        return self._apply("abs")

    def __invert__(self) -> Self:
        return self._apply("bitwise_not")
