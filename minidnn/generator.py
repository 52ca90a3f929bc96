"""The process's one generator of random numbers: behind ``mx.np.random``, the initializers and the data pipeline."""

from __future__ import annotations

import copy
import os

import numpy as np

__all__ = ["generator", "restart"]

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator that every random function draws from; a single call of its methods is thread-safe."""
    return _generator


def restart(seed: int) -> None:
    """Replace the generator by one that is determined by `seed`, taken modulo 2**64."""
    global _generator
    _generator = np.random.default_rng(seed % 2**64)


def _renew_lock() -> None:
    # Another thread may have been drawing when the process forked: its lock would never be released.
    global _generator
    _generator = copy.deepcopy(_generator)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
