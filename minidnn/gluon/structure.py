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
from minidnn.ops.registry import TensorType

__all__ = ["ARRAY", "Spec", "flatten", "in_order_of", "matches", "named_types", "unflatten"]

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

    def describe(self) -> str:
        """The nesting as Python writes it, for messages."""
        inside = [child.describe() for child in self.children]
        if self.kind is ndarray:
            return "array"
        if issubclass(self.kind, dict):
            return "{" + ", ".join(f"{key!r}: {text}" for key, text in zip(self.value, inside, strict=True)) + "}"
        if issubclass(self.kind, (tuple, list)):
            return ("[{}]" if issubclass(self.kind, list) else "({})").format(", ".join(inside))
        return repr(self.value)


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


def named_types(name: str, value: Any) -> Iterator[tuple[str, TensorType]]:
    """The types of the arrays in an argument, as `flatten` orders them, with their names: ``x``, ``x[0]['mask']``."""
    if isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from named_types(f"{name}[{i}]", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from named_types(f"{name}[{key!r}]", item)
    elif isinstance(value, ndarray):
        yield name, value._type
    elif isinstance(value, np.ndarray):
        yield name, TensorType.of(value)


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


def in_order_of(spec: Spec, value: Any) -> Any:
    """The value with every dict's keys in the order that `spec` has them in, where they are the same keys."""
    children = spec.children
    if isinstance(value, dict) and issubclass(spec.kind, dict) and set(value) == set(spec.value):
        return {key: in_order_of(child, value[key]) for key, child in zip(spec.value, children, strict=True)}
    if type(value) in (list, tuple) and issubclass(spec.kind, (list, tuple)) and len(value) == len(children):
        return type(value)(in_order_of(child, item) for child, item in zip(children, value, strict=True))
    return value


def matches(spec: Spec, other: Spec) -> bool:
    """Whether a value of the one nesting can stand for one of the other: lists and tuples are alike."""
    if spec.kind is ndarray or other.kind is ndarray:
        return spec.kind is other.kind
    families = [next((f for f in (dict, (list, tuple)) if issubclass(s.kind, f)), None) for s in (spec, other)]
    return (
        families[0] == families[1]
        and spec.value == other.value
        and len(spec.children) == len(other.children)
        and all(map(matches, spec.children, other.children))
    )
