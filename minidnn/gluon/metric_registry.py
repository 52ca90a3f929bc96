"""Metrics by name: what ``create('acc')`` looks up, and how one's own get there."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from typing import TypeVar

from minidnn.gluon.metric_base import EvalMetric

__all__ = ["alias", "find", "register"]

_NAMES: dict[str, type[EvalMetric]] = {}
Kind = TypeVar("Kind", bound=type[EvalMetric])


def register(klass: Kind, name: str | None = None) -> Kind:
    """Let `create` find a class of metrics; a decorator.

    Args:
        klass: a subclass of `EvalMetric`.
        name: what `create` is given; None: the class's name. Letters may be small or capital.

    Raises:
        TypeError: it is no such class.

    Another class of that name is replaced, with a warning.
    """
    if not (isinstance(klass, type) and issubclass(klass, EvalMetric)):
        raise TypeError(f"only subclasses of EvalMetric can be registered, got {klass!r}")
    key = (klass.__name__ if name is None else name).lower()
    if _NAMES.get(key, klass) is not klass:
        warnings.warn(f"metric {key!r}: {klass.__qualname__} replaces {_NAMES[key].__qualname__}", stacklevel=2)
    _NAMES[key] = klass
    return klass


def alias(*aliases: str) -> Callable[[Kind], Kind]:
    """A decorator that registers a class of metrics under more names."""

    def add(klass: Kind) -> Kind:
        for name in aliases:
            register(klass, name)
        return klass

    return add


def find(name: str) -> type[EvalMetric]:
    """The class of a name.

    Raises:
        ValueError: there is none.
    """
    kind = _NAMES.get(name.lower())
    if kind is None:
        close = difflib.get_close_matches(name.lower(), _NAMES, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(sorted(_NAMES))}"
        raise ValueError(f"no metric is named {name!r}; {hint}")
    return kind
