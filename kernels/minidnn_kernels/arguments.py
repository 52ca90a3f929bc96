"""Argument rows: the int64 words that a loop is called with, declared once for those who fill and those who read them.

A row is declared as its fields, in order. The loop that reads it takes the offsets that follow from that, in bytes
(`ArgumentRow.offsets`: constants where Numba or LLVM compile it); lowering fills it by name (`ArgumentRow.fill`).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

__all__ = ["WORD_BYTES", "ArgumentRow", "Field"]

# Of a word of a row, and of an address.
WORD_BYTES = 8


@dataclass(frozen=True)
class Field:
    """One argument.

    Args:
        name: a Python identifier.
        meaning: a line of documentation. Counts are in elements, addresses and pitches in bytes, if it does not say.
        words: how many it has; None for as many as there are.
    """

    name: str
    meaning: str
    words: int | None = 1


class ArgumentRow:
    """A row's declaration.

    Attributes:
        fields: in order.
        offsets: a named tuple of where each field begins, in bytes. What lies behind a field without a number of words
            has no offset: its reader has to count.
        words: of all fields but those without a number.

    Raises:
        ValueError: a name twice.
    """

    fields: tuple[Field, ...]
    offsets: Any
    words: int
    _names: frozenset[str]
    _positions: Mapping[str, int]

    def __init__(self, *fields: Field) -> None:
        names = [field.name for field in fields]
        if len(set(names)) < len(names):
            raise ValueError(f"arguments are declared twice: {names}")
        positions: dict[str, int] = {}
        position: int | None = 0
        for field in fields:
            if position is not None:
                positions[field.name] = position
                position = None if field.words is None else position + field.words
        make_type: Any = namedtuple
        offsets = make_type("offsets", positions)(*(p * WORD_BYTES for p in positions.values()))
        words = sum(field.words or 0 for field in fields)
        declared = {"fields": fields, "words": words, "offsets": offsets}
        vars(self).update(declared, _names=frozenset(names), _positions=positions)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a declared row does not change: {name}")

    def position(self, name: str) -> int:
        """Where a field begins, in words."""
        return self._positions[name]

    def fill(self, **values: Any) -> list[Any]:
        """The row with these values: one each, or a sequence where a field has not one word.

        Raises:
            TypeError: a field is missing, unknown, or has another number of words.
        """
        if values.keys() != self._names:
            missing, unknown = self._names - values.keys(), values.keys() - self._names
            raise TypeError(f"an argument row wants {sorted(self._names)}: {_described(missing, unknown)}")
        row: list[Any] = []
        for field in self.fields:
            value = values[field.name]
            if field.words == 1 and not isinstance(value, (list, tuple)):
                row.append(value)
            else:
                row += _words(field, value)
        return row


def _described(missing: AbstractSet[str], unknown: AbstractSet[str]) -> str:
    found = {"missing": missing, "unknown": unknown}
    return ", ".join(f"{what} {sorted(names)}" for what, names in found.items() if names)


def _words(field: Field, value: Any) -> Sequence[Any]:
    is_sequence = isinstance(value, (list, tuple))
    if field.words == 1:
        raise TypeError(f"argument {field.name!r} has one word, got {value!r}")
    if not is_sequence or (field.words is not None and len(value) != field.words):
        raise TypeError(f"argument {field.name!r} has {field.words or 'a list of'} words, got {value!r}")
    return list(value)
