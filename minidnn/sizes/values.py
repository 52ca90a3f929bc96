"""Values that may hold sizes: numbers and nested tuples; and slices by sizes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from minidnn.sizes.real import ARITHMETIC, Number
from minidnn.sizes.size import Size, by_example
from minidnn.sizes.terms import symbols_in, value_of

__all__ = [
    "as_index",
    "bind",
    "example_of",
    "has_sizes",
    "is_same",
    "slice_indices",
    "slice_length",
    "structure_of",
    "symbols_of",
]


def symbols_of(value: Any) -> frozenset[str]:
    """Names of the symbols in a size, a number, or a nested tuple of them and other things."""
    if isinstance(value, Size):
        return symbols_in(value.terms)
    if isinstance(value, Number):
        return frozenset[str]().union(*map(symbols_of, value.operands))
    if isinstance(value, (tuple, list)):
        return frozenset[str]().union(*map(symbols_of, value))
    return frozenset()


def has_sizes(value: Any) -> bool:
    """Whether a value is a size or a number that depends on one, or a nested tuple with some."""
    if isinstance(value, (tuple, list)):
        return any(map(has_sizes, value))
    return isinstance(value, (Size, Number))


def bind(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with these numbers, or other sizes, for its symbols, of which each must be among them."""
    if isinstance(value, Size):
        result = value_of(value.terms, values)
        return result if isinstance(result, Size) else int(result)
    if isinstance(value, Number):
        left, right = (bind(x, values) for x in value.operands)
        if has_sizes((left, right)):
            return Number.of(value.sign, left, right)
        return ARITHMETIC[value.sign](left, right)
    if isinstance(value, tuple):
        return tuple(bind(x, values) for x in value) if has_sizes(value) else value
    return value


def structure_of(value: Any) -> Any:
    """The value with the normal forms of its sizes in their place: what tells it apart whatever the sizes are."""
    if isinstance(value, (Size, Number)):
        return value.structure
    if isinstance(value, tuple):
        return tuple(map(structure_of, value)) if has_sizes(value) else value
    return value


def example_of(value: Any) -> Any:
    """The value in the call that was traced; nested tuples too."""
    if isinstance(value, (Size, Number)):
        return value.example
    if isinstance(value, tuple):
        return tuple(map(example_of, value)) if has_sizes(value) else value
    return value


def is_same(left: Any, right: Any) -> bool:
    """Whether both are the same whatever the sizes are, as far as normal forms say."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(is_same, left, right))
    if has_sizes(left) or has_sizes(right):
        return type(left) is type(right) and bool(structure_of(left) == structure_of(right))
    return bool(left == right)


def slice_indices(part: slice, size: Any) -> tuple[Any, Any, Any]:
    """``part.indices(size)``, where start, stop and size may be symbolic: what is cut off is decided by examples."""
    if not has_sizes((part.start, part.stop, part.step, size)):
        return part.indices(size)
    return by_example(_slice_indices, part, size)


def _slice_indices(part: slice, size: Any) -> tuple[Any, Any, Any]:
    step = 1 if part.step is None else operator.index(part.step)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)

    def bounded(number: Any, default: Any) -> Any:
        if number is None:
            return default
        if number < 0:
            number = number + size
        return lowest if number < lowest else highest if number > highest else number

    first, last = (lowest, highest) if step > 0 else (highest, lowest)
    return bounded(part.start, first), bounded(part.stop, last), step


def slice_length(part: slice, size: Any) -> Any:
    """How many of `size` elements a slice takes."""
    start, stop, step = slice_indices(part, size)
    if not has_sizes((start, stop)):
        return len(range(start, stop, step))
    return by_example(_range_length, start, stop, step)


def _range_length(start: Any, stop: Any, step: int) -> Any:
    span = stop - start if step > 0 else start - stop
    return 0 if span <= 0 else (span + abs(step) - 1) // abs(step)


def as_index(number: Any) -> Any:
    """``operator.index(number)``, but a size stays what it is."""
    return number if isinstance(number, Size) else operator.index(number)
