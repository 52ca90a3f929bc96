"""What stands for the objects of a pickle: constructors that are admitted, and placeholders for all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minidnn.errors import DataError
from minidnn.untrusted import shorten

__all__ = ["RECONSTRUCTORS", "ByIdentity", "Constructor", "Global", "Placeholder", "check_key"]

_INT64 = 1 << 63


class ByIdentity:
    """Base of what is hashed and compared by identity, and so may be a key."""

    __slots__ = ()


@dataclass(frozen=True, eq=False)
class Constructor(ByIdentity):
    """What a file may call: `build` gets the tuple of arguments and checks it."""

    name: str
    build: Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True, eq=False, slots=True)
class Global(ByIdentity):
    """A class or function that a file names and nobody looks up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{shorten(self.module)}.{shorten(self.name)}"


@dataclass(eq=False, repr=False, slots=True)
class Placeholder(ByIdentity):
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
_MODULES = ("copyreg", "copy_reg")
_RECONSTRUCTOR = Constructor("copyreg._reconstructor", _reconstruct)
RECONSTRUCTORS: Mapping[tuple[str, str], Constructor] = {(m, "_reconstructor"): _RECONSTRUCTOR for m in _MODULES}


@dataclass(frozen=True, eq=False, slots=True)
class Key:
    """A key that is compared by identity, since its own comparison would walk what the file says."""

    value: Any


def check_key(key: Any) -> Any:
    """The key of a dict or the element of a set; what stands for it where hashing it is not cheap whatever it is.

    A tuple's hash walks the tuple: 60 nested pairs of one shared object would take for ever; and many tuples can be
    made to have one hash. Integers beyond 64 bits can as well.

    Raises:
        DataError: it cannot be a key, or no writer makes it one.
    """
    if type(key) in (tuple, frozenset) and key:
        return Key(key)
    is_plain = isinstance(key, (str, bytes, int, float, type(None), ByIdentity))
    if not is_plain or (isinstance(key, int) and not -_INT64 <= key < _INT64):
        raise DataError(f"a {type(key).__name__} as key of a dict or a set is not admitted")
    return key
