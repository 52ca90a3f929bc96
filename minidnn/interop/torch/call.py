"""The table of rules for ATen's operators, and what a rule gets to see of a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minidnn.interop.onnx.builder import Builder
from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.maker import Maker
from minidnn.interop.onnx.values import Value, known
from minidnn.sizes import has_sizes

__all__ = ["ATEN", "COMPLEX", "Call", "Complex", "aten", "complex_aten", "has_rule"]

Rule = Callable[..., Any]
Named = TypeVar("Named", bound=Rule)

# By ATen's name with its overload: ``add.Tensor``.
ATEN: dict[str, Rule] = {}

# The same for tensors of complex numbers.
COMPLEX: dict[str, Rule] = {}

# In the order in which one decides over another.
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


def aten(*names: str) -> Callable[[Named], Named]:
    """Enter a rule for operators of these names; the overload ``default`` is left out.

    A rule takes a `Call` and the operator's arguments: `Value` for tensors, numbers and sizes, `Element` for dtypes,
    tuples for lists, None for what says where and how tensors lie in memory. It gives a value, or several in a list,
    None among them for those that nobody may read.
    """

    def enter(function: Named) -> Named:
        for name in map(_full_name, names):
            assert name not in ATEN, name
            ATEN[name] = function
        return function

    return enter


def complex_aten(*names: str) -> Callable[[Named], Named]:
    """Enter a rule for operators of which an argument or a result is a tensor of complex numbers, a `Complex`."""

    def enter(function: Named) -> Named:
        for name in map(_full_name, names):
            assert name not in COMPLEX, name
            COMPLEX[name] = function
        return function

    return enter


def _full_name(name: str) -> str:
    return name if "." in name else f"{name}.default"


def has_rule(name: str) -> bool:
    """Whether an operator of ATen can be read, by its name with its overload."""
    return name in ATEN or name in COMPLEX


@dataclass(frozen=True, eq=False)
class Complex:
    """A tensor of complex numbers: two of real ones, of one shape."""

    real: Value
    imaginary: Value


class Call(Maker):
    """A node that is being read.

    Args:
        label: what errors call it.
        builder: makes nodes.
        elements: what the results are; None for those that are no tensors.
        read: indices of the results that somebody reads; None: all.
        transposed: entries that are matrices with their axes swapped, with the matrices.
    """

    def __init__(
        self,
        label: str,
        builder: Builder,
        elements: Sequence[Element | None],
        read: frozenset[int] | None,
        transposed: dict[Any, Value],
    ) -> None:
        super().__init__(label, builder)
        self.elements, self._read, self._transposed = elements, read, transposed

    def wants(self, index: int) -> bool:
        return self._read is None or index in self._read

    @property
    def count(self) -> int:
        """How many results there are."""
        return len(self.elements)

    @property
    def element(self) -> Element:
        """What the first result is."""
        element = self.elements[0]
        if element is None:
            self.fail("its result must be a tensor")
        return element

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that carries the first result."""
        return self.element.carrier

    # ---- operands

    def operand(self, x: Any, dtype: Any) -> Value:
        """A tensor, a number or a size as an array of a dtype."""
        dtype = np.dtype(dtype)
        if isinstance(x, Value):
            return self.cast(x, dtype)
        if has_sizes(x):
            return self.cast(self.reshape(self.sizes([x]), ()), dtype)
        return known(np.asarray(x).astype(dtype))

    def arithmetic(self, op: str, a: Any, b: Any, dtype: Any = None) -> Value:
        """An elementwise operation on tensors and numbers, computed in a dtype: that of the result unless given.

        A number becomes an attribute where the operation has such a form.
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        left, right = (x if isinstance(x, Value) else None for x in (a, b))
        if left is not None and right is None and not has_sizes(b) and dtype.kind == "f":
            return self.binary(op, self.cast(left, dtype), float(b))
        return self.binary(op, self.operand(a, dtype), self.operand(b, dtype))

    def common(self, a: Any, b: Any) -> np.dtype[Any]:
        """The dtype in which ATen compares tensors and numbers: a tensor with axes decides among those of a kind."""
        dtypes = [self._dtype_of(x) for x in (a, b)]
        kinds = [_KINDS[d.kind] for d in dtypes]
        ranks = [x._type.ndim > 0 if isinstance(x, Value) else -1 for x in (a, b)]
        if kinds[0] != kinds[1]:
            high, low = (0, 1) if kinds[0] > kinds[1] else (1, 0)
            plain = dtypes[high].kind == "f" and ranks[high] < 0
            return np.dtype(np.float32) if plain and dtypes[low].kind != "f" else dtypes[high]
        if ranks[0] != ranks[1]:
            return dtypes[0] if ranks[0] > ranks[1] else dtypes[1]
        return np.promote_types(*dtypes)

    @staticmethod
    def _dtype_of(x: Any) -> np.dtype[Any]:
        if isinstance(x, Value):
            return x.dtype
        return np.dtype(np.bool_ if isinstance(x, bool) else np.float32 if isinstance(x, float) else np.int64)

    # ---- matrices

    def note_transposed(self, result: Value, matrix: Value) -> Value:
        """Remember that a result is a matrix with its axes swapped."""
        if result.array is None:
            self._transposed[result._entry] = matrix
        return result

    def untransposed(self, value: Value) -> Value | None:
        """The matrix that a value is the transpose of; None if it is not known as one."""
        return self._transposed.get(value._entry) if value.array is None else None

    def dims(self, axes: Any, ndim: int) -> tuple[int, ...]:
        """Axes counted from the front; none, or an empty list, are all."""
        given = () if axes is None else axes if isinstance(axes, (tuple, list)) else (axes,)
        if ndim == 0:
            return ()
        return tuple(range(ndim)) if not given else self.axes([int(a) for a in given], ndim)
