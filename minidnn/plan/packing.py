"""Constants that a kernel writes: their memory is there when a program is lowered, their contents before it is run.

A constant is packed by whoever prepares a program first that reads it. Until that has come to its end, all others pack
it too: what is written follows from the sources alone, so nobody waits for anybody, and after an interrupt or a fork
the constant is one that is still to be packed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from minidnn.plan.program import Packing

__all__ = ["Packings"]

Array = np.ndarray[Any, Any]


class Packings:
    """The packings of constants that somebody has. Safe to use from many threads."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[Array], Packing]] = {}

    def add(self, constant: Array, packing: Packing) -> None:
        """Have a constant written by that packing."""
        known, key = self._by_id, id(constant)
        known[key] = weakref.ref(constant, lambda _: known.pop(key, None)), packing

    def find(self, constants: Iterable[Array]) -> tuple[Packing, ...]:
        """Those of these constants that are still to be done."""
        found = (self._by_id.get(id(constant)) for constant in constants)
        return tuple([known[1] for known in found if known is not None and not known[1].is_done])
