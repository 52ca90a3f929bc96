"""What stands for the objects of a pickle: constructors that are admitted, and placeholders for all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minidnn.errors import DataError

__all__ = ["RECONSTRUCTORS", "Constructor", "Global", "Placeholder", "check_key", "shorten"]

_INT64 = 1 << 63
_MAX_TUPLE = 16


def shorten(text: str, limit: int = 80) -> str:
    """A string of the file, fit for an error message."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")[1:-1]


@dataclass(frozen=True, eq=False)
class Constructor:
    """What a file may call: `build` gets the tuple of arguments and checks it."""

    name: str
    build: Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True, eq=False, slots=True)
class Global:
    """A class or function that a file names and nobody looks up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{shorten(self.module)}.{shorten(self.name)}"


@dataclass(eq=False, repr=False, slots=True)
class Placeholder:
    """An object of a class that is not admitted: inert, with what the file says of it as plain data.

    Args:
        origin: the class, or the function that would have made the object.
        arguments: of that call.
        state: what its ``__setstate__`` or ``__dict__`` would have got; None without one.
        items: what would have been appended to it, or added.
        mapping: what would have been set by key: the contents of a subclass of dict.
    """

    origin: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    mapping: dict[Any, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<placeholder of {self.origin}>"


def _reconstruct(arguments: tuple[Any, ...]) -> Placeholder:
    # class, base class, what the base class's own constructor gets
    if len(arguments) != 3 or type(arguments[0]) is not Global:
        raise DataError("copyreg._reconstructor: arguments that do not fit")
    return Placeholder(arguments[0], arguments[1:])


# By which protocols 0 and 1 make an object of any class.
RECONSTRUCTORS: Mapping[tuple[str, str], Constructor] = {
    (module, "_reconstructor"): Constructor("copyreg._reconstructor", _reconstruct)
    for module in ("copyreg", "copy_reg")
}


def check_key(key: Any) -> Any:
    """The key of a dict or the element of a set, if hashing it is cheap whatever the file says.

    A tuple's hash walks the tuple: 60 nested pairs of one shared object would take for ever; a short one of plain
    keys does not. Integers beyond 64 bits can be chosen to collide. Placeholders are hashed by identity.
    """
    is_flat = type(key) is tuple and 0 < len(key) <= _MAX_TUPLE and all(type(item) is not tuple for item in key)
    for item in key if is_flat else (key,):
        is_plain = isinstance(item, (str, bytes, int, float, type(None))) or type(item).__hash__ is object.__hash__
        if not is_plain or (isinstance(item, int) and not -_INT64 <= item < _INT64):
            raise DataError(f"a {type(item).__name__} as key of a dict or a set is not admitted")
    return key
