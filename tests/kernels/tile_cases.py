"""What tiles are tried with: tails, and numbers at the ends of their ranges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from tile_problem import DTYPES, Array, Fill, Tail, Tile

__all__ = ["EVERY_TAIL", "TAILS", "alternating", "constant", "near_saturation"]

# Each kind of operand and output stands in one of them.
TAILS = [
    Tail(),
    Tail(scale=True, output="f32"),
    Tail(scale=True, activation="relu", output="u8"),
    Tail(scale=True, bias=True, output="s8"),
    Tail(scale=True, residual="s8", activation="relu", output="u8"),
    Tail(scale=True, residual="u8", activation="clip", output="u8"),
    Tail(scale=True, bias=True, residual="s32", output="s8"),
    Tail(scale=True, bias=True, residual="f32", activation="relu", output="f32"),
]

# Everything a tail may have, in every combination.
EVERY_TAIL = [
    Tail(),
    *(
        Tail(True, bias, residual, activation, output)
        for bias, residual, activation, output in itertools.product(
            [False, True], [None, "s8", "u8", "s32", "f32"], [None, "relu", "clip"], ["f32", "s8", "u8"]
        )
    ),
]


def constant(a: int, b: int, bias: int = 0) -> Fill:
    """All of A, all of B and all of the bias the same."""

    def fill(_: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
        return (
            np.full(shapes[0], a, DTYPES[tile.data]),
            np.full(shapes[1], b, np.int8),
            np.full(shapes[2], bias, np.int32),
        )

    return fill


def alternating(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
    """Nothing but the ends of the ranges, and biases near which int32 wraps."""
    a: Array = rng.choice([0, 255] if tile.data == "u8" else [-128, 127], shapes[0]).astype(DTYPES[tile.data])
    b = rng.choice(np.array([-128, -127, 127], np.int8), shapes[1])
    ends = np.array([-(2**31), -(2**31) + 1, 2**31 - 1, 2**31 - 2, 0])
    return a, b, rng.choice(ends, shapes[2]).astype(np.int32)


def near_saturation(
    rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile
) -> tuple[Array, Array, Array]:
    """Pairs of weights whose products with 255 come just within int16, and in every other step some just beyond."""
    taps, depth, columns = shapes[1]
    a, _, bias = alternating(rng, shapes, tile)
    within = np.array([(64, 64), (127, 1), (1, 127), (-128, 0), (-64, -64), (127, -128), (0, 3)], np.int8)
    beyond = np.array([(65, 64), (127, 2), (127, 127), (-128, -1), (-65, -64), (-128, -128)], np.int8)
    pairs = -(-depth // 2)
    chosen = rng.integers(len(within), size=(taps, pairs, columns))
    b = within[chosen]
    some = rng.random((taps, pairs, columns)) < 0.1
    some[:, np.arange(pairs) // 2 % 2 == 0] = False
    b[some] = beyond[rng.integers(len(beyond), size=int(some.sum()))]
    return a, b.transpose(0, 1, 3, 2).reshape(taps, 2 * pairs, columns)[:, :depth], bias
