"""Nested lists, tuples and dicts of arrays, taken apart into their arrays and put together again.

What `forward` takes and gives may be nested. A compiled program takes a flat list of arrays; the `Spec` that
`flatten` gives says how they were nested, and everything beside the arrays (None, numbers, strings). It is
hashable: it is part of the key under which a program is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = ["ARRAY", "Spec", "flatten", "unflatten"]

_STATIC = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class Spec:
    """One level of nesting.

    Args:
        kind: the container's type; the value's type for a static leaf; `ndarray` for an array.
        value: a dict's keys, or the value of a static leaf.
        children: what the container holds.
    """

    kind: type
    value: Any = None
    children: tuple[Spec, ...] = ()


ARRAY = Spec(ndarray)


def flatten(value: Any, refuse: Callable[[Any], Exception]) -> tuple[list[ndarray], Spec]:
    """The arrays in `value`, in order, and how they are nested. NumPy arrays become `ndarray`.

    Args:
        value: an array, a static value, or a nested list, tuple or dict of those.
        refuse: makes the exception for anything else.
    """
    arrays: list[ndarray] = []
    return arrays, _flatten(value, arrays, refuse)


def _flatten(value: Any, arrays: list[ndarray], refuse: Callable[[Any], Exception]) -> Spec:
    if isinstance(value, ndarray):
        arrays.append(value)
        return ARRAY
    if isinstance(value, np.ndarray):
        arrays.append(as_array(value))
        return ARRAY
    if isinstance(value, (tuple, list)):
        return Spec(type(value), None, tuple(_flatten(v, arrays, refuse) for v in value))
    if isinstance(value, dict):
        return Spec(type(value), tuple(value), tuple(_flatten(v, arrays, refuse) for v in value.values()))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _STATIC):
        return Spec(type(value), value)
    raise refuse(value)


def unflatten(spec: Spec, arrays: Iterator[ndarray]) -> Any:
    """The nested value again; takes its arrays from the iterator, in order."""
    if spec is ARRAY or spec.kind is ndarray:
        return next(arrays)
    if issubclass(spec.kind, dict):
        return spec.kind(zip(spec.value, (unflatten(c, arrays) for c in spec.children), strict=True))
    if issubclass(spec.kind, (tuple, list)):
        children = [unflatten(c, arrays) for c in spec.children]
        # A named tuple takes its fields one by one.
        return spec.kind(*children) if hasattr(spec.kind, "_fields") else spec.kind(children)
    return spec.value
