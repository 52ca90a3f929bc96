"""What the layers around one operator have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.gluon.parameter import Parameter
from minidnn.ops.registry import Attrs, TensorType, get_op
from minidnn.scope import current_scope

__all__ = ["complete_shapes", "make_attrs", "per_axis", "show"]


def make_attrs(layer: str, op: str, **values: Any) -> Attrs:
    """The operator's attributes, checked when the layer is made and not only when it runs.

    Raises:
        OpError: a value does not fit; the message begins with the layer's class.
    """
    try:
        return get_op(op).make_attrs(values)
    except OpError as error:
        raise type(error)(f"{layer}: {error}") from None


def complete_shapes(op: str, attrs: Attrs, data: Any, parameters: Mapping[str, Parameter | None]) -> None:
    """Set the shapes of parameters that follow from the data.

    Args:
        op: the operator.
        attrs: its attributes.
        data: its first input.
        parameters: by the operator's names of its inputs; None for one that the layer does without.

    Raises:
        OpError: the data do not fit; the message names the layer.
    """
    scope = current_scope()
    infer = get_op(op).infer_parameters
    assert infer is not None
    try:
        shapes = infer(attrs, TensorType.of(data))
    except OpError as error:
        raise type(error)(f"{scope}: {error}" if scope else str(error)) from None
    for name, shape in shapes.items():
        parameter = parameters.get(name)
        if parameter is not None:
            parameter.shape = shape


def per_axis(layer: str, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One number for each spatial dimension.

    Raises:
        ValueError: there are more or fewer numbers.
    """
    numbers = (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)
    if len(numbers) != rank:
        raise ValueError(f"{layer}: {name} must be a number or a list of {rank} ints, got {value}")
    return numbers


def show(layer: object, **values: Any) -> str:
    """``Name(a=1, b=2)``, for ``__repr__``."""
    return f"{type(layer).__name__}({', '.join(f'{name}={value}' for name, value in values.items())})"
