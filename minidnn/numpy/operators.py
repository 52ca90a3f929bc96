"""Python's operators on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from minidnn import dispatch
from minidnn.numpy import multiarray
from minidnn.ops.checks import FLOATS
from minidnn.ops.elementwise import promote

if TYPE_CHECKING:
    from minidnn.numpy.multiarray import ndarray

__all__ = ["ArrayOperators", "binary", "deliver", "product"]

_Array = TypeVar("_Array", bound="ArrayOperators")

# What a < b is called when the scalar stands on the left.
_MIRRORED = {"less": "greater", "greater": "less", "less_equal": "greater_equal", "greater_equal": "less_equal"}
_REVERSIBLE = frozenset({"subtract", "true_divide", "floor_divide", "mod", "fmod", "power", "arctan2", "copysign"})
# Beyond it not every integer is a float64, in which the scalar operators keep their scalar.
_EXACT = 2**53


def _is_scalar(x: Any) -> bool:
    return isinstance(x, (bool, int, float, np.bool_, np.integer, np.floating))


def binary(name: str, a: Any, b: Any) -> ndarray:
    """A binary operator between arrays, or between an array and a scalar on either side.

    Scalars are weak: Python's and NumPy's alike take the array's dtype where they can.
    """
    if _is_scalar(a) and _is_scalar(b):
        a = multiarray.ndarray._wrap(np.asarray(a, np.float32 if isinstance(a, (float, np.floating)) else None))
    scalar, array, op = (a, b, f"r{name}") if _is_scalar(a) else (b, a, name)
    if not _is_scalar(scalar):
        return dispatch.invoke_one(name, a, b)
    is_int = not isinstance(scalar, (float, np.floating))
    if is_int and abs(int(scalar)) > _EXACT:
        wide = multiarray.ndarray._wrap(np.asarray(scalar, np.int64 if int(scalar) < 2**63 else np.uint64))
        return dispatch.invoke_one(name, *((wide, array) if scalar is a else (array, wide)))
    if op != name and name not in _REVERSIBLE:
        op = _MIRRORED.get(name, name)
    return dispatch.invoke_one(f"{op}_scalar", array, scalar=float(scalar), is_int=is_int)


def product(name: str, a: Any, b: Any) -> ndarray:
    """`matmul` or `dot` of two arrays of any dtypes.

    Kernels know the products of floats; integers are multiplied by NumPy, where their values are known.
    """
    arrays = [
        x if isinstance(x, multiarray.ndarray) else multiarray.ndarray._wrap(dispatch.as_native(x)) for x in (a, b)
    ]
    x, y = arrays
    dtype = promote(x.dtype, y.dtype)
    if dtype not in FLOATS and x._data is not None and y._data is not None:
        return multiarray.ndarray._wrap(np.asarray(getattr(np, name)(x._data, y._data)))
    return dispatch.invoke_one(name, x.astype(dtype, copy=False), y.astype(dtype, copy=False))


def deliver(result: ndarray, out: ndarray | None) -> ndarray:
    """`result`, or `out` with `result` written into it."""
    return result if out is None else out._assign(result)


def _operator(name: str, a: Any, b: Any) -> ndarray:
    """`binary`, or NotImplemented where an operand is neither an array nor a number."""
    for x in (a, b):
        if not (_is_scalar(x) or isinstance(x, (ArrayOperators, np.ndarray))):
            return cast("ndarray", NotImplemented)
    return binary(name, a, b)


class ArrayOperators:
    """Arithmetic, comparison and bit operators, reflected and in place."""

    __slots__ = ()
    # NumPy's own arrays step back from the operators they meet us in.
    __array_priority__ = 1000.0

    def _assign(self: _Array, value: ndarray) -> _Array:
        raise NotImplementedError

    def _in_place(self: _Array, name: str, other: Any) -> _Array:
        result = _operator(name, self, other)
        return cast("_Array", result) if result is NotImplemented else self._assign(result)

    def __add__(self, other: Any) -> ndarray:
        return _operator("add", self, other)

    def __radd__(self, other: Any) -> ndarray:
        return _operator("add", other, self)

    def __iadd__(self: _Array, other: Any) -> _Array:
        return self._in_place("add", other)

    def __sub__(self, other: Any) -> ndarray:
        return _operator("subtract", self, other)

    def __rsub__(self, other: Any) -> ndarray:
        return _operator("subtract", other, self)

    def __isub__(self: _Array, other: Any) -> _Array:
        return self._in_place("subtract", other)

    def __mul__(self, other: Any) -> ndarray:
        return _operator("multiply", self, other)

    def __rmul__(self, other: Any) -> ndarray:
        return _operator("multiply", other, self)

    def __imul__(self: _Array, other: Any) -> _Array:
        return self._in_place("multiply", other)

    def __truediv__(self, other: Any) -> ndarray:
        return _operator("true_divide", self, other)

    def __rtruediv__(self, other: Any) -> ndarray:
        return _operator("true_divide", other, self)

    def __itruediv__(self: _Array, other: Any) -> _Array:
        return self._in_place("true_divide", other)

    def __floordiv__(self, other: Any) -> ndarray:
        return _operator("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> ndarray:
        return _operator("floor_divide", other, self)

    def __ifloordiv__(self: _Array, other: Any) -> _Array:
        return self._in_place("floor_divide", other)

    def __mod__(self, other: Any) -> ndarray:
        return _operator("mod", self, other)

    def __rmod__(self, other: Any) -> ndarray:
        return _operator("mod", other, self)

    def __imod__(self: _Array, other: Any) -> _Array:
        return self._in_place("mod", other)

    def __pow__(self, other: Any) -> ndarray:
        return _operator("power", self, other)

    def __rpow__(self, other: Any) -> ndarray:
        return _operator("power", other, self)

    def __ipow__(self: _Array, other: Any) -> _Array:
        return self._in_place("power", other)

    def __matmul__(self, other: Any) -> ndarray:
        if not isinstance(other, (ArrayOperators, np.ndarray)):
            return NotImplemented
        return product("matmul", self, other)

    def __rmatmul__(self, other: Any) -> ndarray:
        if not isinstance(other, (ArrayOperators, np.ndarray)):
            return NotImplemented
        return product("matmul", other, self)

    def __imatmul__(self: _Array, other: Any) -> _Array:
        result = self.__matmul__(other)
        return result if result is NotImplemented else self._assign(result)

    def __and__(self, other: Any) -> ndarray:
        return _operator("bitwise_and", self, other)

    def __rand__(self, other: Any) -> ndarray:
        return _operator("bitwise_and", other, self)

    def __iand__(self: _Array, other: Any) -> _Array:
        return self._in_place("bitwise_and", other)

    def __or__(self, other: Any) -> ndarray:
        return _operator("bitwise_or", self, other)

    def __ror__(self, other: Any) -> ndarray:
        return _operator("bitwise_or", other, self)

    def __ior__(self: _Array, other: Any) -> _Array:
        return self._in_place("bitwise_or", other)

    def __xor__(self, other: Any) -> ndarray:
        return _operator("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> ndarray:
        return _operator("bitwise_xor", other, self)

    def __ixor__(self: _Array, other: Any) -> _Array:
        return self._in_place("bitwise_xor", other)

    def __eq__(self, other: object) -> Any:
        return _operator("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return _operator("not_equal", self, other)

    def __lt__(self, other: Any) -> ndarray:
        return _operator("less", self, other)

    def __le__(self, other: Any) -> ndarray:
        return _operator("less_equal", self, other)

    def __gt__(self, other: Any) -> ndarray:
        return _operator("greater", self, other)

    def __ge__(self, other: Any) -> ndarray:
        return _operator("greater_equal", self, other)

    # Arrays are told apart by identity in sets and dictionaries, as in MXNet.
    __hash__ = object.__hash__

    def __neg__(self) -> ndarray:
        return dispatch.invoke_one("negative", self)

    def __pos__(self) -> ndarray:
        return dispatch.invoke_one("identity", self)

    def __abs__(self) -> ndarray:
        return dispatch.invoke_one("abs", self)

    def __invert__(self) -> ndarray:
        return dispatch.invoke_one("bitwise_not", self)
