"""What tiles are tried with: tails, and numbers at the ends of their ranges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from tile_problem import DTYPES, Array, Fill, Tail, Tile, weight_type

__all__ = [
    "EVERY_TAIL",
    "TAILS",
    "WEIGHTS",
    "alternating",
    "constant",
    "ends_of_data",
    "ends_of_weights",
    "near_saturation",
    "weights_like",
]

# Each kind of operand and output stands in one of them.
TAILS = [
    Tail(),
    Tail(scale=True, output="f32"),
    Tail(scale=True, activation="at_most", output="u8"),
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


def ends_of_data(data: str) -> tuple[int, ...]:
    """The ends of A's range, and of what Winograd's transform makes where A is int16."""
    return {"u8": (0, 255), "s8": (-128, 127), "s16": (-(2**15), -25500, 25500, 2**15 - 1)}[data]


def ends_of_weights(data: str) -> tuple[int, ...]:
    """The same for B."""
    return (-128, -127, 127) if data in ("u8", "s8") else (-(2**15), -18432, 18432, 2**15 - 1)


def constant(a: int, b: int, bias: int = 0) -> Fill:
    """All of A, all of B and all of the bias the same."""

    def fill(_: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
        return (
            np.full(shapes[0], a, DTYPES[tile.data]),
            np.full(shapes[1], b, weight_type(tile.data)),
            np.full(shapes[2], bias, np.int32),
        )

    return fill


def alternating(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
    """Nothing but the ends of the ranges, and biases near which int32 wraps."""
    a: Array = rng.choice(np.array(ends_of_data(tile.data), DTYPES[tile.data]), shapes[0])
    b: Array = rng.choice(np.array(ends_of_weights(tile.data), weight_type(tile.data)), shapes[1])
    ends = np.array([-(2**31), -(2**31) + 1, 2**31 - 1, 2**31 - 2, 0])
    return a, b, rng.choice(ends, shapes[2]).astype(np.int32)


# Int8 weights by their shape. Of those in a layer most are small, and the largest is 127.
WEIGHTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "small": lambda rng, shape: rng.integers(-32, 33, shape),
    "gaussian": lambda rng, shape: rng.normal(0, 36, shape),
    "laplace": lambda rng, shape: rng.laplace(0, 22, shape),
    "uniform": lambda rng, shape: rng.integers(-128, 128, shape),
    "largest": lambda rng, shape: np.full(shape, 127),
    "least": lambda rng, shape: np.full(shape, -128),
    "few large": lambda rng, shape: np.where(rng.random(shape) < 0.03, rng.choice([-128, 127], shape), 1),
    "in one column": lambda rng, shape: np.where(np.arange(shape[-1]) == shape[-1] // 2, 127, 3) + np.zeros(shape),
    "none": lambda rng, shape: np.zeros(shape),
}


def weights_like(name: str) -> Fill:
    """Int8 weights of that shape against the ends of A's range."""

    def fill(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile) -> tuple[Array, Array, Array]:
        a, _, bias = alternating(rng, shapes, tile)
        return a, np.clip(np.rint(WEIGHTS[name](rng, shapes[1])), -128, 127).astype(np.int8), bias

    return fill


def near_saturation(
    rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], tile: Tile
) -> tuple[Array, Array, Array]:
    """Int8 weights whose products with 255, four in a sum, come just within int16, and some just beyond."""
    taps, depth, columns = shapes[1]
    a, _, bias = alternating(rng, shapes, tile)
    within = [(32, 32, 32, 32), (127, 1, 0, 0), (1, 0, 0, 127), (-128, 0, 0, 0), (-64, 127, -64, 1), (127, -128, 1, 0)]
    beyond = [
        (32, 33, 32, 32),
        (127, 2, 0, 0),
        (127, 0, 0, 2),
        (-128, 0, -1, 0),
        (-64, 127, -65, 1),
        (-128, -128, 0, 0),
    ]
    steps = -(-depth // 8)
    # Elements 2 p, 2 p + 1, 2 p + 4 and 2 p + 5 of eight are such four.
    chosen = rng.integers(len(within), size=(taps, steps, 2, columns))
    some = rng.random(chosen.shape) < 0.1
    some[:, np.arange(steps) % 4 == 0] = False
    fours = np.where(some[..., None], np.array(beyond)[chosen], np.array(within)[chosen])
    b = np.moveaxis(fours.reshape(taps, steps, 2, columns, 2, 2), (1, 4, 2, 5, 3), (1, 2, 3, 4, 5))
    return a, b.reshape(taps, 8 * steps, columns)[:, :depth].astype(np.int8), bias
