"""What worker processes are given to do: importable by name, as spawned ones need it."""

from __future__ import annotations

import functools

import numpy as np
from processes import Array, network

from minidnn.engine import CompiledGraph


@functools.cache
def _network() -> tuple[CompiledGraph, Array, Array]:
    return network()


def work(_: int) -> bool:
    """Whether the network gives what it should."""
    run, x, expected = _network()
    return all(np.array_equal(run([x])[0], expected) for _ in range(5))
