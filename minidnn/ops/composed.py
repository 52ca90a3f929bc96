"""Operators that are made of others: what they compute is said once, by operations on inputs of known types.

Inference, the reference and the kernels follow from that, see `Op.expansion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.ops.registry import Attr, Attrs, Op, TensorType, get_op, register
from minidnn.ops.traits import Part

__all__ = ["Compose", "Operand", "expansion_of", "register_composed"]

Array = np.ndarray[Any, Any]


class _Parts:
    """The operations so far, and the types of the inputs and of what they make."""

    def __init__(self, types: Sequence[TensorType]) -> None:
        self.types = list(types)
        self.parts: list[Part] = []

    def add(self, op_name: str, inputs: Sequence[Operand], attrs: dict[str, Any]) -> Operand:
        op, numbers = get_op(op_name), tuple(x.number for x in inputs)
        made = op.make_attrs(attrs)
        (type_,) = op.infer_types(made, [self.types[i] for i in numbers])
        self.parts.append(Part(op_name, numbers, made, f"{op_name}{len(self.parts)}"))
        self.types.append(type_)
        return Operand(self, len(self.types) - 1)


class Operand:
    """A value inside of a composed operator, with the arithmetic of arrays and numbers."""

    def __init__(self, parts: _Parts, number: int) -> None:
        self._parts, self.number = parts, number

    @property
    def type(self) -> TensorType:
        return self._parts.types[self.number]

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def ndim(self) -> int:
        return self.type.ndim

    def apply(self, op: str, *others: Operand, **attrs: Any) -> Operand:
        """The result of an operator with one output; this is its first input."""
        return self._parts.add(op, [self, *others], attrs)

    def make(self, op: str, **attrs: Any) -> Operand:
        """The result of an operator without inputs."""
        return self._parts.add(op, [], attrs)

    def count(self, stop: Any) -> Operand:
        """The numbers from 0 to before `stop`, int64."""
        return self.make("arange", start=0, stop=stop, dtype=np.int64)

    def full(self, value: float) -> Operand:
        """A number in this one's dtype."""
        return self.make("full", shape=(), value=value, dtype=self.type.dtype)

    def _with(self, op: str, other: Operand | float) -> Operand:
        if isinstance(other, Operand):
            return self.apply(op, other)
        return self.apply(f"{op}_scalar", scalar=other, is_int=False)

    def __add__(self, other: Operand | float) -> Operand:
        return self._with("add", other)

    def __sub__(self, other: Operand | float) -> Operand:
        return self._with("subtract", other)

    def __mul__(self, other: Operand | float) -> Operand:
        return self._with("multiply", other)

    def __truediv__(self, other: Operand | float) -> Operand:
        return self._with("true_divide", other)

    def reshape(self, *shape: Any) -> Operand:
        return self.apply("reshape", newshape=shape)

    def transpose(self, *axes: int) -> Operand:
        return self.apply("transpose", axes=axes)

    def cut(self, axis: int, begin: Any, end: Any) -> Operand:
        """Elements from `begin` to before `end` along an axis."""
        return self.apply("slice_axis", axis=axis, begin=begin, end=end)

    def cast(self, dtype: Any) -> Operand:
        return self if self.type.dtype == dtype else self.apply("cast", dtype=dtype)

    def join(self, *others: Operand, axis: int) -> Operand:
        return self.apply("concatenate", *others, num_args=1 + len(others), axis=axis)


Compose = Callable[..., Operand | Sequence[Operand] | None]


def expansion_of(compose: Compose) -> Callable[[Attrs, Sequence[TensorType]], tuple[list[Part], list[int]] | None]:
    """The field ``expansion`` of a record, by what makes the outputs of attributes and operands, or None."""

    def expansion(values: Attrs, types: Sequence[TensorType]) -> tuple[list[Part], list[int]] | None:
        parts = _Parts(types)
        made = compose(values, *(Operand(parts, i) for i in range(len(types))))
        if made is None:
            return None
        return parts.parts, [x.number for x in ([made] if isinstance(made, Operand) else made)]

    return expansion


def register_composed(
    name: str,
    compose: Compose,
    inputs: tuple[str, ...] | Callable[[Attrs], tuple[str, ...]],
    attrs: tuple[Attr, ...] = (),
    **traits: Any,
) -> Op:
    """Register an operator by what it is made of.

    Args:
        name: of the operator.
        compose: ``(attrs, *operands)`` gives the output or the outputs; raises `OpError` for inputs that do not fit.
        inputs: names of its inputs.
        attrs: its attributes.
        traits: further fields of the record; ``outputs`` where there are several.
    """

    expansion = expansion_of(compose)

    def infer(values: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        parts = _Parts(types)
        made = compose(values, *(Operand(parts, i) for i in range(len(types))))
        assert made is not None
        return [x.type for x in ([made] if isinstance(made, Operand) else made)]

    def reference(values: Attrs, *arrays: Array) -> tuple[Array, ...]:
        expanded = expansion(values, list(map(TensorType.of, arrays)))
        assert expanded is not None
        parts, outputs = expanded
        made = list(arrays)
        for part in parts:
            made += get_op(part.op).compute(get_op(part.op).make_attrs(part.attrs), *(made[i] for i in part.inputs))
        return tuple(made[i] for i in outputs)

    return register(Op(name, infer, reference, inputs, attrs=attrs, expansion=expansion, **traits))
