"""Arrays that programs share: packed weights and tables, made once as long as somebody uses them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

__all__ = ["SharedArrays"]

Array = np.ndarray[Any, Any]

_FIRST_SEARCH = 64


class SharedArrays:
    """What was made of some arrays, for whoever makes the same of them again. Safe to use from many threads.

    It keeps nothing alive: an array goes with the last program that has it among its constants.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, _Made] = {}
        self._most = _FIRST_SEARCH

    def share(
        self, form: Hashable, sources: Sequence[Array], make: Callable[[], tuple[Array, ...]]
    ) -> tuple[Array, ...]:
        """The arrays that `make` makes of `sources`, from earlier if there are still some.

        Args:
            form: tells apart the different things that are made of the same sources, and the states of sources that
                change.
            sources: by identity.
        """
        key = (form, *map(id, sources))
        known = self._known.get(key)
        arrays = None if known is None else known.get(sources)
        if arrays is None:
            arrays = make()
            self._known[key] = _Made(sources, arrays)
            if len(self._known) > self._most:
                self._forget()
        return arrays

    def _forget(self) -> None:
        """Drop what is left of arrays that are gone; there must be twice as many before the next search."""
        for key, made in list(self._known.items()):
            if not made.is_alive:
                self._known.pop(key, None)
        self._most = max(_FIRST_SEARCH, 2 * len(self._known))


class _Made:
    """Sources and what was made of them, while both are there."""

    def __init__(self, sources: Sequence[Array], arrays: Sequence[Array]) -> None:
        self._sources = [weakref.ref(source) for source in sources]
        self._arrays = [weakref.ref(array) for array in arrays]

    @property
    def is_alive(self) -> bool:
        return all(reference() is not None for reference in (*self._sources, *self._arrays))

    def get(self, sources: Sequence[Array]) -> tuple[Array, ...] | None:
        """The arrays, if all are there and were made of these sources, not of others that had the same identity."""
        if any(reference() is not source for reference, source in zip(self._sources, sources, strict=True)):
            return None
        arrays = tuple(array for reference in self._arrays if (array := reference()) is not None)
        return arrays if len(arrays) == len(self._arrays) else None
