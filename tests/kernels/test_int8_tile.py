"""The integer tiles on every ISA of this machine: bit by bit what NumPy's int32 and float32 arithmetic gives."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microkernels import Integers, Machine
from split_panels import is_safe, read_panel
from tile_cases import (
    EVERY_TAIL,
    TAILS,
    WEIGHTS,
    alternating,
    constant,
    ends_of_data,
    ends_of_weights,
    near_saturation,
    weights_like,
)
from tile_native import solve
from tile_problem import INTEGER_ISAS, Array, Fill, Tail, Tile, TileProblem, kinds, tiles, uniform

from minidnn_kernels.dot import SplitDot, best_dot, dot_for
from minidnn_kernels.isa import ISAS, Isa, get_isa
from minidnn_kernels.matmul import pack_integer_panels


def _tile(integers: Integers, rows: int, vectors: int, masked: bool = False, tail: Tail | None = None) -> Tile:
    return Tile(rows, vectors, integers.data, masked, tail or Tail(), integers.dot)


def _fills(integers: Integers) -> list[Fill]:
    bytes_ = [near_saturation, *map(weights_like, WEIGHTS)] if integers.data != "s16" else []
    return [uniform, alternating, *bytes_]


def test_every_tile_that_fits_computes_whole_blocks(integers: Integers) -> None:
    fills = itertools.cycle(_fills(integers))
    shapes = tiles(integers.isa, integers.data, integers.dot)
    for (rows, vectors), tail, fill in zip(shapes, itertools.cycle(TAILS), fills, strict=False):
        tile = _tile(integers, rows, vectors, tail=tail)
        solve(integers.machine, TileProblem(integers.isa, tile, taps=2, depth=7))
        solve(integers.machine, TileProblem(integers.isa, tile, taps=2, depth=37, fill=fill))


def test_every_row_and_column_remainder(integers: Integers) -> None:
    for number, tail in enumerate(TAILS):
        tile = _tile(integers, 3, 2, True, tail)
        for rows in range(1, 4):
            for columns in range(1 + number % 2, 2 * integers.isa.lanes + 1, 2):
                problem = TileProblem(integers.isa, tile, rows, columns, depth=5 + 9 * (rows % 2), seed=columns)
                solve(integers.machine, problem)


@pytest.mark.parametrize("masked", [False, True])
def test_more_rows_and_columns_left_than_the_tile_has(any_machine: Machine, masked: bool) -> None:
    tile = Tile(3, 2, masked=masked, tail=TAILS[4])
    solve(any_machine, TileProblem(any_machine.isa, tile, 9, 2 * any_machine.isa.lanes + 5))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 576, 8191, 8192])
def test_extremes_at_every_depth(integers: Integers, depth: int) -> None:
    tile = _tile(integers, 2, 2)
    for a, b in itertools.product(ends_of_data(integers.data), ends_of_weights(integers.data)):
        solve(integers.machine, TileProblem(integers.isa, tile, depth=depth, fill=constant(a, b)))
    for fill in _fills(integers):
        solve(integers.machine, TileProblem(integers.isa, tile, depth=depth, fill=fill))


def test_every_short_depth_with_weights_of_every_shape(integers: Integers) -> None:
    for depth, (number, fill) in itertools.product(range(1, 41), enumerate(_fills(integers))):
        tile = _tile(integers, 3, 1 + (depth + number) % 2, True, TAILS[0])
        columns = 1 + (7 * depth + number) % (tile.vectors * integers.isa.lanes)
        taps = 1 + (depth + number) % 4
        problem = TileProblem(integers.isa, tile, None, columns, taps, depth, 31 * depth + number, fill, 0.1)
        solve(integers.machine, problem)


def test_several_panels_of_one_length(integers: Integers) -> None:
    way = dot_for(integers.isa, integers.data, integers.dot)
    for rows, vectors in tiles(integers.isa, integers.data, integers.dot):
        tile = replace(_tile(integers, rows, vectors, True), panels=2)
        if vectors % 2:
            continue
        if isinstance(way, SplitDot):
            with pytest.raises(ValueError, match="cannot read 2 panels"):
                tile.spec.emit(integers.isa)
            continue
        for columns, depth in ((1, 5), (vectors * integers.isa.lanes - 1, 18), (None, 8)):
            solve(integers.machine, TileProblem(integers.isa, tile, None, columns, 2, depth, seed=rows))


def test_sums_wrap_as_int32_does(integers: Integers) -> None:
    ends = ends_of_weights(integers.data)
    for b, bias in itertools.product((ends[0], ends[-1]), (-(2**31), -(2**31) + 7, 2**31 - 1, 2**31 - 9)):
        fill = constant(ends_of_data(integers.data)[-1], b, bias)
        problem = TileProblem(integers.isa, _tile(integers, 2, 1), depth=68, fill=fill)
        solve(integers.machine, problem)
    exact = problem.a.astype(object).reshape(2, -1) @ problem.b.astype(object)[0] + problem.bias
    assert (exact != problem.sums()).all(), "the last of them does wrap"


def test_pointers_to_the_row_of_zeros_add_nothing(integers: Integers) -> None:
    tile = _tile(integers, 4, 1)
    for depth in (1, 4, 6, 16, 21):
        solve(integers.machine, TileProblem(integers.isa, tile, taps=9, depth=depth, seed=depth, absent=0.4))
        solve(integers.machine, TileProblem(integers.isa, tile, taps=9, depth=depth, absent=1.0))


def test_every_combination_in_the_tail(machine: Machine) -> None:
    for number, tail in enumerate(EVERY_TAIL):
        columns = 1 + number % machine.isa.lanes
        tile = Tile(2, 1, ("u8", "s8")[number % 2], masked=True, tail=tail)
        solve(machine, TileProblem(machine.isa, tile, 2, columns, seed=number))


def _draw_tail(draw: st.DataObject) -> Tail:
    output = draw.draw(st.sampled_from(["s32", "f32", "s8", "u8"]))
    if output == "s32":
        return Tail()
    return Tail(
        draw.draw(st.booleans()),
        draw.draw(st.booleans()),
        draw.draw(st.sampled_from([None, "s8", "u8", "s32", "f32"])),
        draw.draw(st.sampled_from([None, "relu", "clip"])),
        output,
    )


@settings(max_examples=30, deadline=None)
@given(draw=st.data())
def test_any_problem(integers: Integers, draw: st.DataObject) -> None:
    rows, vectors = draw.draw(st.sampled_from(tiles(integers.isa, integers.data, integers.dot)))
    problem = TileProblem(
        integers.isa,
        _tile(integers, rows, vectors, True, _draw_tail(draw)),
        rows_left=draw.draw(st.integers(1, 20)),
        columns_left=draw.draw(st.integers(1, 70)),
        taps=draw.draw(st.integers(1, 10)),
        depth=draw.draw(st.integers(1, 70)),
        seed=draw.draw(st.integers(0, 2**32 - 1)),
        fill=draw.draw(st.sampled_from(_fills(integers))),
        absent=draw.draw(st.sampled_from([0.0, 0.2])),
    )
    solve(integers.machine, problem)


every_isa = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)


def _pairs(step: Array, lanes: int) -> bytes:
    """A step [4, columns]: for each vector, elements 0 and 2 of all its lanes, then 1 and 3, in 16 bits."""
    columns = step.shape[1]
    order = itertools.product(range(columns // lanes), range(2), range(lanes), range(2))
    numbers = [step[2 * pair + odd, vector * lanes + lane] for vector, odd, lane, pair in order]
    return np.array(numbers, np.int16).tobytes()


def _packed_by_definition(isa: Isa, data: str, dot: str, weights: Array) -> bytes:
    """One panel's weights [taps, depth, columns], step by step; not for the split ones."""
    group = dot_for(isa, data, dot).group
    taps, depth, columns = weights.shape
    filled = np.concatenate([weights, np.zeros((taps, -depth % group, columns), weights.dtype)], axis=1)
    packed = b""
    for tap in filled.reshape(taps, -1, group, columns):
        if isa.dot == "widen":
            packed += tap.astype(np.int32).tobytes()
        elif data != "s16" and "maddwd" in (dot, isa.dot):
            packed += b"".join(_pairs(step, isa.lanes) for step in tap)
        else:
            packed += b"".join(step.T.tobytes() for step in tap)
    return packed


_PACKED = [(isa, *kind) for isa in INTEGER_ISAS for kind in kinds(isa)]
every_packing = pytest.mark.parametrize(("isa", "data", "dot"), _PACKED, ids=lambda v: getattr(v, "name", v) or "own")


@every_packing
@pytest.mark.parametrize(("depth", "n"), [(1, 1), (4, 16), (5, 17), (8, 64), (43, 40)])
def test_panels_hold_the_sums_to_start_from_then_the_weights(isa: Isa, data: str, dot: str, depth: int, n: int) -> None:
    rng = np.random.default_rng(depth)
    columns, panels = 2 * isa.lanes, -(-n // (2 * isa.lanes))
    fill = near_saturation if data != "s16" else uniform
    _, weights, bias = fill(rng, [(1,), (2 * 3, depth, n), (2 * n,)], Tile(1, 1, data))
    weights, bias = weights.reshape(2, 3, depth, n), bias.reshape(2, n)
    way = dot_for(isa, data, dot)
    packed, steps = pack_integer_panels(weights, bias, columns, way, isa.lanes)
    assert steps == -(-depth // way.group)
    assert packed.shape[:2] == (2, panels)
    assert packed.dtype == np.uint8
    starts = packed[..., : columns * 4].copy().view(np.int32).reshape(2, -1)
    # What the sign flip of A adds to every product comes off, in int32, which wraps.
    surplus = way.offset * weights.astype(np.int64).sum((1, 2))
    np.testing.assert_array_equal(starts[:, :n], (bias - surplus).astype(np.int32))
    assert not starts[:, n:].any()
    whole = np.concatenate([weights, np.zeros((2, 3, depth, panels * columns - n), weights.dtype)], axis=3)
    for group, panel in itertools.product(range(2), range(panels)):
        expected = whole[group, :, :, panel * columns : (panel + 1) * columns]
        actual = packed[group, panel, columns * 4 :].tobytes()
        if isinstance(way, SplitDot):
            made = read_panel(actual, 3, steps, 2, isa.lanes, way.row_bytes(steps))
            assert is_safe(made.base)
            np.testing.assert_array_equal((made.base + made.rest)[:, :depth], expected)
            assert not (made.base + made.rest)[:, depth:].any()
            assert not any(made.left), "shorter panels are filled up with zeros"
        else:
            assert actual == _packed_by_definition(isa, data, dot, expected)


_SPLIT = [isa for isa in ISAS if isa.dot == "split"]
every_split_isa = pytest.mark.parametrize("isa", _SPLIT, ids=lambda isa: isa.name)


@every_split_isa
@pytest.mark.parametrize("shape", WEIGHTS)
def test_split_panels_are_the_weights_and_cannot_saturate(isa: Isa, shape: str) -> None:
    rng = np.random.default_rng(5)
    for depth in (1, 7, 8, 9, 15, 16, 17, 24, 25, 39, 40, 48):
        columns = 2 * isa.lanes
        weights = np.clip(np.rint(WEIGHTS[shape](rng, (2, depth, columns))), -128, 127).astype(np.int8)
        way = dot_for(isa, "u8")
        packed, steps = pack_integer_panels(weights[None], np.zeros((1, columns), np.int32), columns, way, isa.lanes)
        made = read_panel(packed[0, 0, columns * 4 :].tobytes(), 2, steps, 2, isa.lanes, way.row_bytes(steps))
        assert is_safe(made.base)
        np.testing.assert_array_equal((made.base + made.rest)[:, :depth], weights)
        assert made.left == b""
        if shape in ("small", "none"):
            assert made.entries == 0
        if shape == "largest" and depth >= 2:
            assert made.entries


def test_a_safe_base_is_told_from_one_that_saturates() -> None:
    for weights, safe in (([64, 64], True), ([65, 64], False), ([-64, -64], True), ([-64, -65], False)):
        for places in ((0, 1), (0, 4), (1, 5), (4, 5)):
            base = np.zeros((1, 8, 1), np.int64)
            base[0, list(places), 0] = weights
            assert is_safe(base) == safe
    base = np.zeros((1, 8, 1), np.int64)
    base[0, [0, 2], 0] = 127
    assert is_safe(base), "these two are never added in 16 bits"


@every_isa
@pytest.mark.parametrize("data", ["u8", "s8"])
def test_the_dot_is_chosen_by_the_weights(isa: Isa, data: str) -> None:
    rng = np.random.default_rng(0)
    for shape, rest in (("small", False), ("none", False), ("few large", False), ("uniform", True), ("largest", True)):
        weights = np.rint(WEIGHTS[shape](rng, (1, 9, 40, 70))).astype(np.int8)
        weights[weights == -128] = -127
        by_sign = (data, isa.name) == ("s8", "avx2")
        other, rest = "signed" if by_sign else "maddwd", rest or (by_sign and shape == "few large")
        assert best_dot(isa, data, weights) == (other if rest and isa.dot == "split" else "")
        if shape == "largest" and isa.dot == "split":
            weights[0, 0, 0, 0] = -128
            assert best_dot(isa, data, weights) == "maddwd"


@every_isa
def test_only_a_dot_of_the_other_signedness_has_an_offset(isa: Isa) -> None:
    expected = {"vnni": (0, 128), "split": (0, 128), "sdot": (-128, 0)}
    assert tuple(dot_for(isa, data).offset for data in ("u8", "s8")) == expected.get(isa.dot, (0, 0))


@every_split_isa
def test_rows_are_as_long_as_what_a_shuffle_fetches(isa: Isa) -> None:
    assert [dot_for(isa, "u8").row_bytes(steps) for steps in (1, 2, 3)] == [16, 16, 24]
    assert dot_for(isa, "u8", "maddwd").row_bytes(3) == 12
    assert dot_for(get_isa("avx2"), "s16").row_bytes(3) == 12
