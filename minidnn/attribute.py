"""Attributes for all variables that are made in a ``with`` block, as ``mx.AttrScope``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Self

__all__ = ["AttrScope", "current"]


class AttrScope:
    """Gives attributes to the variables (`mx.sym.var`) that are made inside.

    Args:
        kwargs: attributes, named ``__like_this__``, as strings. Inner scopes add to outer ones, and win.

    Raises:
        ValueError: an attribute is not a string.
    """

    def __init__(self, **kwargs: str) -> None:
        for name, value in kwargs.items():
            if not isinstance(value, str):
                raise ValueError(f"AttrScope: attribute {name} must be a string, got {value!r}")
        self._attr = kwargs
        self._tokens: list[Token[AttrScope]] = []

    def get(self, attr: Mapping[str, str] | None = None) -> dict[str, str]:
        """The attributes of the scope, and those of `attr`, which win."""
        return {**self._attr, **(attr or {})}

    def __enter__(self) -> Self:
        merged = AttrScope(**current().get(self._attr))
        self._tokens.append(_current.set(merged))
        return self

    def __exit__(self, *exception: object) -> None:
        _current.reset(self._tokens.pop())


_current: ContextVar[AttrScope] = ContextVar("attribute_scope", default=AttrScope())  # noqa: B039 # never written to


def current() -> AttrScope:
    """The scope that holds here."""
    return _current.get()
