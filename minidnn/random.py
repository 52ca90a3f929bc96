"""The random number generator behind the initializers and ``mx.np.random``."""

from __future__ import annotations

import os

import numpy as np

__all__ = ["generator", "seed"]

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator every random function of minidnn draws from."""
    return _generator


def _renew() -> None:
    """In a forked child: a generator in the same state, with a lock that no thread of the parent holds."""
    global _generator
    bits = type(_generator.bit_generator)()
    bits.state = _generator.bit_generator.state
    _generator = np.random.Generator(bits)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def seed(seed_state: int, device: object = "all") -> None:
    """Start the one generator anew; the same seed gives the same numbers.

    Args:
        seed_state: any integer; negative ones are taken modulo 2**64.
        device: accepted for MXNet's sake; there is one generator.
    """
    global _generator
    _generator = np.random.default_rng(int(seed_state) % 2**64)
