"""The random number generator behind the initializers and ``mx.np.random``."""

from __future__ import annotations

import numpy as np

__all__ = ["generator", "seed"]

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator every random function of minidnn draws from."""
    return _generator


def seed(seed_state: int, device: object = "all") -> None:
    """Start the one generator anew; the same seed gives the same numbers.

    Args:
        seed_state: any integer; negative ones are taken modulo 2**64.
        device: accepted for MXNet's sake; there is one generator.
    """
    global _generator
    _generator = np.random.default_rng(int(seed_state) % 2**64)
