"""Values of a model on its way into a graph: known arrays, integers that follow from sizes, entries of the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from minidnn.interop.onnx.elements import Element, element_of
from minidnn.ir.graph import Entry
from minidnn.ir.trace import Trace, Traceable
from minidnn.ops.registry import TensorType
from minidnn.sizes import has_sizes

__all__ = ["Quantized", "Rounded", "Value", "known", "object_array", "of_sizes"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Quantized:
    """The integers that a float stands for: ``(integers - zero) * scale``.

    Args:
        integers: 8-bit ones.
        scale: one number, or one for each index of `axis`.
        zero: of the integers' type and the scale's shape; None: zero.
        axis: counted from the front.
    """

    integers: Value
    scale: Value
    zero: Value | None
    axis: int


@dataclass(frozen=True, eq=False)
class Rounded:
    """The floats that integers were made from, see `Quantized`; nothing was taken from a file."""

    floats: Value
    scale: Value
    zero: Value | None


class Value(Traceable):
    """What a name of a model stands for.

    Attributes:
        array: the elements where they are known; Python objects, among them sizes, where `is_sized`.
        element: what ONNX calls the elements.
        name: of a constant of the file; empty for everything else.
        origin: what it was made from, for those who can do with that: `Quantized` of floats that stand for integers,
            `Rounded` of integers that stand for floats, and of sums of integers what the rules for these know.
    """

    __slots__ = ("_node_entry", "array", "element", "is_sized", "name", "origin")

    array: Array | None
    element: Element

    def __init__(self, type_: TensorType, element: Element, array: Array | None = None, name: str = "") -> None:
        self._type, self._trace = type_, None
        self.array, self.element, self.name = array, element, name
        self.is_sized = array is not None and array.dtype == object
        self._node_entry: Entry | None = None
        self.origin: Any = None

    # ---- as a trace wants it

    @property
    def _entry(self) -> Entry:
        assert self._node_entry is not None
        return self._node_entry

    @classmethod
    def _traced(cls, entry: Entry, type_: TensorType, trace: Trace[Any]) -> Self:
        value = cls(type_, element_of(type_.dtype))
        value._node_entry, value._trace = entry, trace
        return value

    @property
    def _version(self) -> int:
        return 0

    def copy(self) -> Self:
        return self

    # ---- as rules want it

    @property
    def is_known(self) -> bool:
        return self.array is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._type.dtype

    @property
    def ndim(self) -> int:
        if self._trace is not None and self._node_entry is not None:
            self._trace.note_shape_read(self._node_entry, rank_only=True)
        return self._type.ndim

    @property
    def shape(self) -> tuple[Any, ...]:
        """Numbers and sizes; reading it fixes what depends on values."""
        if self._trace is not None and self._node_entry is not None:
            self._trace.note_shape_read(self._node_entry)
        return self._type.shape

    def dim(self, axis: int) -> Any:
        """The size of one axis; reading it fixes what it depends on, and not the others."""
        if self._trace is not None and self._node_entry is not None:
            self._trace.note_shape_read(self._node_entry, axis=axis % max(self._type.ndim, 1))
        return self._type.shape[axis]

    @property
    def quantized(self) -> Quantized | None:
        """The bytes that a float stands for."""
        origin = self.origin
        return origin if isinstance(origin, Quantized) and origin.integers.dtype.itemsize == 1 else None

    def as_element(self, element: Element) -> Value:
        """The same value, of elements that have the same carrier."""
        if element == self.element:
            return self
        value = type(self)(self._type, element, self.array, self.name)
        value._node_entry, value._trace = self._node_entry, self._trace
        return value

    def __repr__(self) -> str:
        return f"<{self.element} {self._type.shape}>"


def known(array: Any, element: Element | None = None) -> Value:
    """A value whose elements are known numbers."""
    made = np.asarray(array)
    return Value(TensorType.of(made), element or element_of(made.dtype), made)


def object_array(items: Iterable[Any], shape: Sequence[int]) -> Array:
    """An array of objects; NumPy would ask sizes for their numbers."""
    listed = list(items)
    flat = np.empty(len(listed), object)
    for i, item in enumerate(listed):
        flat[i] = item
    return flat.reshape(tuple(shape))


def of_sizes(items: Any, dtype: Any = np.int64, shape: Sequence[int] | None = None) -> Value:
    """A value of numbers and sizes, one after the other: a vector unless `shape` says something else."""
    dtype = np.dtype(dtype)
    listed = list(items)
    shape = (len(listed),) if shape is None else tuple(shape)
    if not has_sizes(listed):
        return known(np.array(listed, dtype).reshape(shape))
    return Value(TensorType(shape, dtype), element_of(dtype), object_array(listed, shape))
