"""Where the boxes of a picture stand and how arrows run between them: a layered drawing, from the bottom to the top.

The method of K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system structures.
IEEE Transactions on Systems, Man, and Cybernetics 11 (2), 1981: layers by longest paths, fewer crossings by
barycentres, then places in each layer as near to the neighbours as the boxes' widths allow.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minidnn.errors import GraphError

__all__ = ["Layout", "lay_out"]

Size = tuple[float, float]
Point = tuple[float, float]

_MOST_ITEMS = 200_000
_COLUMN_GAP = 24.0
_LAYER_GAP = 30.0
_BEND_WIDTH = 8.0
_ORDER_SWEEPS = 12
_PLACE_SWEEPS = 48
# Of arrows, by how many of their two ends are bends: long arrows should run straight.
_STRAIGHTNESS = (1.0, 2.0, 8.0)


@dataclass(frozen=True)
class Layout:
    """Coordinates; y grows downwards.

    Args:
        width, height: of everything.
        boxes: centres.
        routes: of each arrow, the points where it enters and leaves layers, from source to reader.
        labels: of each arrow, the centre of its label; None without one.
    """

    width: float
    height: float
    boxes: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    labels: tuple[Point | None, ...]


def lay_out(boxes: Sequence[Size], arrows: Sequence[tuple[int, int]], labels: Sequence[Size | None]) -> Layout:
    """The layout of a graph without cycles.

    Args:
        boxes: widths and heights; a box stands behind all that it reads.
        arrows: (source, reader), as places in `boxes`.
        labels: of each arrow, the size of its label.

    Raises:
        GraphError: it is too large to draw.
    """
    step = 2 if any(labels) else 1  # layers between those of boxes have room for labels
    layers = _assign_layers(len(boxes), arrows, step)
    items = len(boxes) + sum(layers[reader] - layers[source] - 1 for source, reader in arrows)
    if items > _MOST_ITEMS:
        raise GraphError(f"the graph is too large to draw: {items:,} boxes and bends, and {_MOST_ITEMS:,} at most")
    sizes, item_layers = list(boxes), list(layers)
    chains: list[list[int]] = []
    label_items: list[int | None] = []
    for (source, reader), label in zip(arrows, labels, strict=True):
        bends = range(layers[source] + 1, layers[reader])
        middle = len(bends) // 2 if label else None
        chain = []
        for i, layer in enumerate(bends):
            chain.append(len(sizes))
            sizes.append(label if i == middle and label else (_BEND_WIDTH, 0.0))
            item_layers.append(layer)
        chains.append([source, *chain, reader])
        label_items.append(None if middle is None else chain[middle])
    graph = _Layered(sizes, item_layers, len(boxes), [pair for c in chains for pair in itertools.pairwise(c)])
    graph.order()
    x = graph.place()
    y, height = _place_layers(sizes, item_layers)
    left = min((x[i] - sizes[i][0] / 2 for i in range(len(sizes))), default=0.0)
    x = [value - left for value in x]
    routes = [_route(chain, sizes, x, y) for chain in chains]
    _spread_ends(routes, arrows, boxes, x)
    return Layout(
        max((x[i] + sizes[i][0] / 2 for i in range(len(sizes))), default=0.0),
        height,
        tuple((x[i], y[i]) for i in range(len(boxes))),
        tuple(map(tuple, routes)),
        tuple(None if i is None else (x[i], y[i]) for i in label_items),
    )


def _assign_layers(count: int, arrows: Sequence[tuple[int, int]], step: int) -> list[int]:
    """Layers by longest paths from the inputs; inputs stand right before their first readers."""
    sources: list[list[int]] = [[] for _ in range(count)]
    readers: list[list[int]] = [[] for _ in range(count)]
    for source, reader in arrows:
        sources[reader].append(source)
        readers[source].append(reader)
    layers = [0] * count
    for box in range(count):
        layers[box] = max((layers[s] + step for s in sources[box]), default=0)
    for box in range(count):
        if not sources[box] and readers[box]:
            layers[box] = min(layers[r] for r in readers[box]) - step
    return layers


class _Layered:
    """Boxes and bends in layers, each arrow cut into pieces from one layer to the next."""

    def __init__(
        self, sizes: Sequence[Size], layers: Sequence[int], boxes: int, pieces: Sequence[tuple[int, int]]
    ) -> None:
        self._sizes = sizes
        self._boxes = boxes
        self._below: list[list[int]] = [[] for _ in sizes]
        self._above: list[list[int]] = [[] for _ in sizes]
        for low, high in pieces:
            self._below[high].append(low)
            self._above[low].append(high)
        self._rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
        for item, layer in enumerate(layers):
            self._rows[layer].append(item)

    def order(self) -> None:
        """Order each layer by the barycentres of its neighbours, up and down in turns; the best of all is kept."""
        best, fewest = [list(row) for row in self._rows], self._crossings()
        for sweep in range(_ORDER_SWEEPS):
            if not fewest:
                break
            upwards = sweep % 2 == 0
            rows = self._rows if upwards else self._rows[::-1]
            neighbours = self._below if upwards else self._above
            for fixed, row in itertools.pairwise(rows):
                position = {item: float(i) for i, item in enumerate(fixed)}
                row.sort(key=_barycentre(row, neighbours, position))
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self._rows], crossings
        self._rows = best

    def _crossings(self) -> int:
        total = 0
        for low, high in itertools.pairwise(self._rows):
            position = {item: i for i, item in enumerate(low)}
            seen: list[int] = []
            for item in high:
                ends = sorted(position[n] for n in self._below[item])
                total += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return total

    def place(self) -> list[float]:
        """The x of every item's centre: near to its neighbours', with no overlap in a layer."""
        x = [0.0] * len(self._sizes)
        for row in self._rows:
            at = 0.0
            for item in row:
                x[item] = at + self._sizes[item][0] / 2
                at += self._sizes[item][0] + _COLUMN_GAP
            for item in row:
                x[item] -= (at - _COLUMN_GAP) / 2
        for sweep in range(_PLACE_SWEEPS):
            upwards = sweep % 2 == 0
            sides = [self._below if upwards else self._above]
            if sweep >= _PLACE_SWEEPS // 2:
                sides = [self._below, self._above]
            for row in self._rows if upwards else self._rows[::-1]:
                self._place_row(row, sides, x)
        return x

    def _place_row(self, row: Sequence[int], sides: Sequence[Sequence[Sequence[int]]], x: list[float]) -> None:
        wanted, weights = [], []
        for item in row:
            pulls = [(self._straightness(item, n), x[n]) for side in sides for n in side[item]]
            weight = sum(w for w, _ in pulls)
            wanted.append(sum(w * at for w, at in pulls) / weight if weight else x[item])
            weights.append(weight or 0.1)
        widths = [self._sizes[item][0] for item in row]
        for item, at in zip(row, _separate(wanted, weights, widths), strict=True):
            x[item] = at

    def _straightness(self, one: int, other: int) -> float:
        return _STRAIGHTNESS[(one >= self._boxes) + (other >= self._boxes)]


def _barycentre(
    row: Sequence[int], neighbours: Sequence[Sequence[int]], position: dict[int, float]
) -> Callable[[int], float]:
    """A sorting key; an item without neighbours stays where it is."""
    place = {item: float(i) for i, item in enumerate(row)}

    def key(item: int) -> float:
        near = neighbours[item]
        return sum(position[n] for n in near) / len(near) if near else place[item]

    return key


def _separate(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Centres as near to those wanted as widths allow, by weighted least squares.

    Less the distances there must be, the centres are a sequence that does not fall: isotonic regression, solved
    exactly by pooling adjacent violators.
    """
    offsets = [0.0]
    for one, other in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (one + other) / 2 + _COLUMN_GAP)
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of items
    for at, weight, offset in zip(wanted, weights, offsets, strict=False):
        pool = (at - offset, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            mean, heavy, count = pools.pop()
            total = heavy + pool[1]
            pool = ((mean * heavy + pool[0] * pool[1]) / total, total, count + pool[2])
        pools.append(pool)
    placed = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(placed, offsets, strict=False)]


def _place_layers(sizes: Sequence[Size], layers: Sequence[int]) -> tuple[list[float], float]:
    """The y of every item's centre, and the height of all."""
    heights = [0.0] * (max(layers, default=-1) + 1)
    for size, layer in zip(sizes, layers, strict=True):
        heights[layer] = max(heights[layer], size[1])
    total = sum(heights) + _LAYER_GAP * max(len(heights) - 1, 0)
    centres, top = [], total
    for height in heights:
        centres.append(top - height / 2)
        top -= height + _LAYER_GAP
    return [centres[layer] for layer in layers], total


def _route(chain: Sequence[int], sizes: Sequence[Size], x: Sequence[float], y: Sequence[float]) -> list[Point]:
    source, *bends, reader = chain
    points = [(x[source], y[source] - sizes[source][1] / 2)]
    for bend in bends:
        half = sizes[bend][1] / 2
        points += [(x[bend], y[bend] + half), (x[bend], y[bend] - half)] if half else [(x[bend], y[bend])]
    return [*points, (x[reader], y[reader] + sizes[reader][1] / 2)]


def _spread_ends(
    routes: Sequence[list[Point]], arrows: Sequence[tuple[int, int]], boxes: Sequence[Size], x: Sequence[float]
) -> None:
    """Where several arrows leave or reach a box, give each its own place along the side."""
    for end, next_point, side in ((0, 1, 0), (-1, -2, 1)):
        meeting: dict[int, list[list[Point]]] = {}
        for route, arrow in zip(routes, arrows, strict=True):
            meeting.setdefault(arrow[side], []).append(route)
        for box, ends in meeting.items():
            ends.sort(key=lambda route: route[next_point][0])
            room = min(boxes[box][0] * 0.6, 40.0 * (len(ends) - 1))
            for i, route in enumerate(ends):
                shift = room * (i / (len(ends) - 1) - 0.5) if len(ends) > 1 else 0.0
                route[end] = (x[box] + shift, route[end][1])
