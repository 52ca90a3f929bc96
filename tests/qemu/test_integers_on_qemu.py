"""AArch64's integer tiles, executed: bit by bit what NumPy gives, and so what x86's give."""

from __future__ import annotations

import itertools

from microkernels import Integers
from test_depthwise_integers import test_any_number_of_channels, test_the_ends_of_all_ranges, test_windows_of_every_kind
from tile_cases import TAILS, alternating, constant, ends_of_data, ends_of_weights
from tile_native import solve
from tile_problem import Tile, TileProblem, tiles

__all__ = [
    "test_any_number_of_channels",
    "test_every_remainder_of_rows_and_columns",
    "test_extremes",
    "test_several_panels",
    "test_the_ends_of_all_ranges",
    "test_tiles_of_every_shape_with_every_tail",
    "test_windows_of_every_kind",
]


def test_tiles_of_every_shape_with_every_tail(integers: Integers) -> None:
    isa, data = integers.isa, integers.data
    shapes = tiles(isa, data)
    widest, highest = max(shapes, key=lambda shape: shape[::-1]), max(shapes)
    chosen = itertools.cycle([(1, 1), (2, 1), (3, 2), widest, highest])
    for seed, (tail, (rows, vectors), depth) in enumerate(
        zip(TAILS, chosen, (1, 4, 7, 8, 16, 33, 9, 24), strict=False)
    ):
        tile = Tile(rows, vectors, data, masked=seed % 2 > 0, tail=tail)
        left = (1 + seed % rows, 1 + seed * 7 % (vectors * isa.lanes)) if tile.masked else (None, None)
        solve(integers.machine, TileProblem(isa, tile, *left, 1 + seed % 3, depth, seed, absent=0.2))


def test_every_remainder_of_rows_and_columns(integers: Integers) -> None:
    tile = Tile(3, 2, integers.data, masked=True, tail=TAILS[4])
    for seed, left in enumerate(itertools.product(range(1, 4), range(1, 2 * integers.isa.lanes + 1))):
        solve(integers.machine, TileProblem(integers.isa, tile, *left, depth=1 + seed % 17, seed=seed))


def test_extremes(integers: Integers) -> None:
    """All of A and all of B at the ends of their ranges, biases at the ends of int32."""
    ends = itertools.product(ends_of_data(integers.data), ends_of_weights(integers.data), (-(2**31), 2**31 - 1))
    for depth, fill in itertools.product((1, 577), [*itertools.starmap(constant, ends), alternating]):
        solve(integers.machine, TileProblem(integers.isa, Tile(3, 2, integers.data), depth=depth, fill=fill))


def test_several_panels(integers: Integers) -> None:
    tile = Tile(3, 4, integers.data, masked=True, panels=2)
    for columns in (1, integers.isa.lanes + 1, 4 * integers.isa.lanes):
        solve(integers.machine, TileProblem(integers.isa, tile, columns_left=columns, taps=2, depth=9, seed=columns))
