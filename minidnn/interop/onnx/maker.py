"""What rules make nodes with, whichever format the node that they read is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from minidnn.errors import GraphError, ShapeError
from minidnn.interop.onnx.builder import Builder, elements_of
from minidnn.interop.onnx.values import Value, known, of_sizes
from minidnn.sizes import has_sizes

__all__ = ["Maker", "UnsupportedNodeError"]


class UnsupportedNodeError(GraphError):
    """An operator, or an attribute of one, that no rule reads, whatever the inputs are."""


class Maker:
    """Makes nodes of ours for a node that is being read.

    Args:
        label: what errors call the node; text, or what becomes it.
        builder: makes the nodes.
    """

    def __init__(self, label: Any, builder: Builder) -> None:
        self.label, self.builder = label, builder

    def wants(self, index: int) -> bool:
        """Whether somebody may read that result of the node."""
        raise NotImplementedError

    def fail(self, why: str) -> NoReturn:
        raise GraphError(f"{self.label}: {why}")

    def misfit(self, why: str) -> NoReturn:
        """Raise that sizes do not fit; other sizes might."""
        raise ShapeError(f"{self.label}: {why}")

    def refuse(self, why: str) -> NoReturn:
        """Raise that something is not supported, whatever the inputs are."""
        raise UnsupportedNodeError(f"{self.label}: {why}")

    def numbers_of(self, value: Value, what: str) -> list[Any]:
        return elements_of(self.builder.fixed(value, f"{self.label}: {what}"))

    def one_of(self, value: Value, what: str) -> Any:
        found = self.numbers_of(value, what)
        if len(found) != 1:
            self.fail(f"{what} must be one number, got {len(found)}")
        return found[0]

    def emit(self, op_name: str, *inputs: Value, **attrs: Any) -> Value:
        return self.builder.emit(op_name, *inputs, **attrs)

    def emit_all(self, op_name: str, *inputs: Value, **attrs: Any) -> tuple[Value, ...]:
        return self.builder.emit_all(op_name, *inputs, **attrs)

    def reshape(self, value: Value, shape: Sequence[Any]) -> Value:
        return self.emit("reshape", value, newshape=tuple(shape))

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        return value if list(axes) == list(range(len(axes))) else self.emit("transpose", value, axes=tuple(axes))

    def expand_dims(self, value: Value, axes: Sequence[int]) -> Value:
        """New axes of size 1, at these places of the result."""
        for axis in sorted(axes):
            value = self.emit("expand_dims", value, axis=axis)
        return value

    def concatenate(self, values: Sequence[Value], axis: int) -> Value:
        if len(values) == 1:
            return values[0]
        return self.emit("concatenate", *values, num_args=len(values), axis=axis)

    def binary(self, op_name: str, a: Value, b: Value | Any) -> Value:
        """An elementwise operation on two arrays, or an array and a number; with the number as an attribute if it can
        be one.
        """
        if not isinstance(b, Value):
            return self.emit(f"{op_name}_scalar", a, scalar=b, is_int=a.dtype.kind != "f")
        if a.array is None and self._is_scalar(b, a):
            return self.emit(f"{op_name}_scalar", a, scalar=self._scalar(b), is_int=False)
        swapped = {"add": "add", "multiply": "multiply", "subtract": "rsubtract", "true_divide": "rtrue_divide"}
        if b.array is None and self._is_scalar(a, b) and op_name in swapped:
            return self.emit(f"{swapped[op_name]}_scalar", b, scalar=self._scalar(a), is_int=False)
        return self.emit(op_name, a, b)

    @staticmethod
    def _is_scalar(value: Value, other: Value) -> bool:
        array = value.array
        return (
            array is not None and array.size == 1 and not value.is_sized and value.ndim <= other.ndim
        ) and value.dtype == other.dtype == np.float32

    @staticmethod
    def _scalar(value: Value) -> Any:
        assert value.array is not None
        return value.array.reshape(()).item()

    def cast(self, value: Value, dtype: Any) -> Value:
        """The value in another carrier."""
        return value if value.dtype == np.dtype(dtype) else self.emit("cast", value, dtype=np.dtype(dtype))

    def like(self, number: Any, value: Value) -> Value:
        """A number, as an array without axes of the value's type."""
        return known(np.array(number, value.dtype), value.element)

    def filled(self, shape: Sequence[Any], number: Any, dtype: Any) -> Value:
        return self.emit("full", shape=tuple(shape), value=number, dtype=np.dtype(dtype))

    def sizes(self, items: Sequence[Any]) -> Value:
        return of_sizes(items)

    def axis(self, axis: Any, ndim: int, what: str = "axis") -> Any:
        """An axis, counted from the front."""
        if not -ndim <= axis < ndim:
            self.fail(f"{what} must lie in [{-ndim}, {ndim}), got {axis}")
        return axis % ndim

    def axes(self, axes: Sequence[Any], ndim: int, what: str = "axes") -> tuple[Any, ...]:
        found = tuple(self.axis(axis, ndim, what) for axis in axes)
        if len(set(found)) != len(found):
            self.fail(f"{what} must differ, got {tuple(axes)}")
        return found

    def want_numbers(self, *values: Any) -> None:
        """Refuse sizes where only numbers make sense."""
        if has_sizes(values):
            self.fail(f"it depends on sizes where it must not: {values}")
