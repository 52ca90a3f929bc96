"""How a matmul-like step is cut: the tile, the panels, the parts for threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from minidnn_kernels.element_type import FLOAT32
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import MAX_POINTERS

__all__ = [
    "MOST_PANELS",
    "MOST_VECTORS",
    "PARTS",
    "PhaseTiling",
    "Tiling",
    "choose_panel",
    "choose_phase_tiling",
    "choose_tile",
    "choose_tiling",
]

# Enough parts to keep threads busy to the end, where the work is large enough for so many.
PARTS = 24


# Whether a tile of rows x vectors stays in registers.
Fits = Callable[[Isa, int, int], bool]

# A block of A's rows should stay in the second-level cache while the panels of B pass by.
_CACHE_BYTES = 512 * 1024
# Blocks of rows of one image whose weights are more than the cache holds; and how many times more bytes the weights of
# such a step have than its data. Rows are read where they were written, weights by every thread.
_ROW_BLOCKS = 4
_WEIGHTS_SHARE = 4
# A part is long enough to hide what taking it costs.
_PART_OPERATIONS = 1_000_000
# Of a row of A in a step along K, and of a column of B: a float32, or as many narrower elements.
_STEP_BYTES = FLOAT32.bytes
# Cycles a tile costs beside its products: reading pointers, the epilogue, the stores.
_TILE_CYCLES = 40
# A step along K: no shorter than the latency of the accumulators, and a little longer than counted.
_SHORTEST_STEP = 4.5
_STEP_OVERHEAD = 0.25
# Vectors of a tile, at most.
MOST_VECTORS = 4
# Panels that a tile reads side by side, at most.
MOST_PANELS = 2
# Pixels that are many: tiles are full. A panel may cost this share more of them than the best one.
_MANY_PIXELS = 10_000
_PANEL_SHARE = 1.03
# Tiles for few pixels, at most; and what the others may cost, as a multiple of the best tile, before there are any.
_MOST_FOR_FEW = 2
_FEW_SHARE = 1.2


@dataclass(frozen=True)
class Tiling:
    """A tile of `rows` x `vectors`; a part is `block_strips` strips of rows times `block_panels` times its panels.

    The tile reads so many `panels` side by side. `others` are rows, vectors and panels of the tiles for other numbers
    of pixels.
    """

    rows: int
    vectors: int
    block_strips: int
    block_panels: int
    panels: int = 1
    others: tuple[tuple[int, int, int], ...] = ()


def choose_tiling(
    isa: Isa,
    images: int,
    pixels: int,
    taps: int,
    depth: int,
    groups: int,
    columns: int,
    fits: Fits = Isa.tile_fits,
    panel: int | None = None,
    most_panels: int = MOST_PANELS,
    usual: tuple[int, int] | None = None,
    few: bool = True,
    is_sliced: bool = False,
) -> Tiling:
    """The tiling for [images x pixels, taps x depth] x [taps x depth, columns], `groups` times.

    The tile is the one with the fewest cycles by a small model: two fused multiply-adds and two loads a
    cycle, an accumulator free again after four. It weighs rows and columns wasted in partial tiles against the
    better reuse of a larger tile.

    Weights are packed once for any number of pixels, in panels of `panel` vectors: a tile reads one of them, or up to
    `most_panels` side by side. Without `panel` a panel is what the tile wants.

    With `usual`, pixels and columns in the call that the network was traced with, other numbers may come: the tile is
    one of a few, so that few kernels serve all of them. The pixels may then be `few` too, as rows of dense layers are.

    Where depth is a slice of longer rows (`is_sliced`), these lie far from each other, and share the sets of a cache.
    """
    widths: Sequence[int] = range(1, MOST_VECTORS + 1)
    if panel is not None:
        several = range(1, most_panels + 1 if columns > panel * isa.lanes else 2)
        widths = tuple(count * panel for count in several if count * panel <= MOST_VECTORS)
    tiles = () if usual is None else _varying_tiles(isa, usual, taps * depth, taps, fits, widths, few)
    rows, vectors = choose_tile(isa, pixels, taps * depth, columns, taps, fits, widths, tiles)
    strips = -(-pixels // rows)
    across = -(-columns // (vectors * isa.lanes))
    operations = 2 * images * pixels * taps * depth * groups * columns
    wanted = max(1, min(PARTS, operations // _PART_OPERATIONS))
    row_bytes = rows * depth * _STEP_BYTES
    cached = _CACHE_BYTES // (2 if is_sliced else 1)
    most_strips = max(1, min(strips, MAX_POINTERS // (taps * rows), max(1, cached // row_bytes)))
    block_strips, block_panels = most_strips, across

    def parts() -> int:
        return images * groups * -(-strips // block_strips) * -(-across // block_panels)

    weights_bytes, data_bytes = taps * depth * columns * _STEP_BYTES, pixels * (depth + columns) * _STEP_BYTES
    if weights_bytes > _CACHE_BYTES:
        # Each block of rows reads all of B. Where that is most of what there is to read, it is cut along its panels;
        # else into a few blocks of rows, which stay on their cores from step to step.
        if weights_bytes <= _WEIGHTS_SHARE * data_bytes:
            block_strips = min(most_strips, -(-strips // max(1, min(_ROW_BLOCKS, wanted) // images)))
        while parts() < wanted and block_panels > 1:
            block_panels = -(-block_panels // 2)
    while parts() < wanted and block_strips > 1:
        block_strips = -(-block_strips // 2)
    while parts() < wanted and block_panels > 1:
        block_panels = -(-block_panels // 2)
    both = [(r, v, 1 if panel is None else v // panel) for r, v in ((rows, vectors), *tiles)]
    (*_, panels), *others = dict.fromkeys(both)
    return Tiling(rows, vectors, block_strips, block_panels, panels, tuple(others))


@dataclass(frozen=True)
class PhaseTiling:
    """A tile of `rows` x `vectors`; a part is so many strips of rows of so many phases, times so many panels."""

    rows: int
    vectors: int
    block_strips: int
    blocks: int
    block_phases: int
    phase_blocks: int
    block_panels: int
    panel_blocks: int


def choose_phase_tiling(
    isa: Isa, matrices: int, phases: int, pixels: int, taps: int, depth: int, columns: int, operations: int
) -> PhaseTiling:
    """The tiling for `phases` products of up to [pixels, taps x depth] x [taps x depth, columns], `matrices` times.

    Phases of the same place read the same inputs and write between each other, so they stay in one part; where their
    weights are more than the cache holds, each part rather has few of them.
    """
    # Behind the pointers of a row's taps comes its number.
    deep = max(1, taps) * depth
    widths = (choose_panel(isa, deep, columns, taps + 1),)
    rows, vectors = choose_tile(isa, pixels, deep, columns, taps + 1, widths=widths)
    strips, panels = -(-pixels // rows), -(-columns // (vectors * isa.lanes))
    most_strips = min(strips, MAX_POINTERS // ((taps + 1) * rows), _CACHE_BYTES // (rows * depth * _STEP_BYTES))
    counts = {"strips": strips, "phases": phases, "panels": panels}
    block = {**counts, "strips": max(1, most_strips)}
    wanted = max(1, min(PARTS, operations // _PART_OPERATIONS))

    def parts(name: str) -> int:
        return -(-counts[name] // block[name])

    many_weights = phases * taps * depth * columns * _STEP_BYTES > _CACHE_BYTES
    for name in ("phases", "panels", "strips") if many_weights else ("strips", "phases", "panels"):
        while matrices * math.prod(map(parts, counts)) < wanted and block[name] > 1:
            block[name] = -(-block[name] // 2)
    blocked = (block["strips"], parts("strips"), block["phases"], parts("phases"), block["panels"], parts("panels"))
    return PhaseTiling(rows, vectors, *blocked)


@lru_cache(maxsize=4096)
def choose_panel(isa: Isa, depth: int, columns: int, taps: int = 1, fits: Fits = Isa.tile_fits) -> int:
    """Vectors of a panel of [depth, columns], a choice by the layer alone: the fewest that suit many pixels.

    A tile may read several narrow panels, but no part of a wide one.
    """
    costs: dict[int, float] = {}
    for vectors in (v for v in range(1, MOST_VECTORS + 1) if fits(isa, 1, v)):
        tile = choose_tile(isa, _MANY_PIXELS, depth, columns, taps, fits, (vectors,))
        costs[vectors] = _cycles(isa, _MANY_PIXELS, depth, columns, *tile)[0]
    return next(vectors for vectors, cost in costs.items() if cost <= _PANEL_SHARE * min(costs.values()))


@lru_cache(maxsize=4096)
def choose_tile(
    isa: Isa,
    pixels: int,
    depth: int,
    columns: int,
    taps: int = 1,
    fits: Fits = Isa.tile_fits,
    widths: Sequence[int] = range(1, MOST_VECTORS + 1),
    tiles: Sequence[tuple[int, int]] = (),
) -> tuple[int, int]:
    """Rows and vectors of the tile for [pixels, depth] x [depth, columns].

    A row has `taps` pointers; `fits` says which tiles stay in registers, `widths` how many vectors there may be. Or the
    best of some `tiles`.
    """
    most_rows = min(pixels, MAX_POINTERS // taps)
    tried = tiles or ((r, v) for v in widths for r in isa.heights if r <= most_rows and fits(isa, r, v))
    *_, vectors, rows = min(_cycles(isa, pixels, depth, columns, *tile) for tile in tried)
    return rows, vectors


def _cycles(
    isa: Isa, pixels: int, depth: int, columns: int, rows: int, vectors: int
) -> tuple[float, int, int, int, int]:
    """Cycles of a tile, what decides between equals, and its vectors and rows."""
    step = max(rows * vectors / 2, (rows + vectors) / 2, _SHORTEST_STEP) + _STEP_OVERHEAD
    count = -(-pixels // rows) * -(-columns // (vectors * isa.lanes))
    return count * (depth * step + _TILE_CYCLES + rows * vectors), -rows * vectors, rows + vectors, vectors, rows


@lru_cache(maxsize=4096)
def _varying_tiles(
    isa: Isa, usual: tuple[int, int], depth: int, taps: int, fits: Fits, widths: Sequence[int], few: bool
) -> tuple[tuple[int, int], ...]:
    """Some, of which one is good for any number of pixels: the best for the usual number, for many, for a single one.

    Where there may be `few` pixels, between one and the rows of a tile, up to `_MOST_FOR_FEW` more.
    """
    pixels, columns = usual
    best, many, one = (choose_tile(isa, n, depth, columns, taps, fits, widths) for n in (pixels, _MANY_PIXELS, 1))
    # Between many and one.
    some = (-(-many[0] * 2 // 3), many[1])
    tiles = [*dict.fromkeys([best, many, some, one])]
    if not few:
        return tuple(tiles)

    def cycles(pixels: int, tiles: Sequence[tuple[int, int]]) -> float:
        return min(_cycles(isa, pixels, depth, columns, *tile)[0] for tile in tiles)

    tried = [(r, v) for v in widths for r in isa.heights if fits(isa, r, v)]
    least = {n: cycles(n, tried) for n in range(2, 2 * many[0] + 1)}

    def excess(tiles: Sequence[tuple[int, int]]) -> float:
        """The most that the best of these costs for some number of pixels, as a multiple of the best of all."""
        return max(cycles(n, tiles) / cost for n, cost in least.items())

    for _ in range(_MOST_FOR_FEW):
        if excess(tiles) <= _FEW_SHARE:
            break
        tiles.append(min(tried, key=lambda tile: excess([*tiles, tile])))
    return tuple(tiles)
