"""The int8 tile on every ISA of this machine: bit by bit what NumPy's int32 and float32 arithmetic gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microkernels import Machine
from tile_cases import EVERY_TAIL, TAILS, alternating, constant, near_saturation
from tile_native import solve
from tile_problem import Array, Tail, Tile, TileProblem, tiles, uniform

from minidnn_kernels.dot import dot_for
from minidnn_kernels.isa import ISAS, Isa
from minidnn_kernels.matmul import pack_integer_panels


@pytest.mark.parametrize("data", ["u8", "s8"])
def test_every_tile_that_fits_computes_whole_blocks(machine: Machine, data: str) -> None:
    for (rows, vectors), tail in zip(tiles(machine.isa), itertools.cycle(TAILS), strict=False):
        solve(machine, TileProblem(machine.isa, Tile(rows, vectors, data, tail=tail), taps=2, depth=7))


@pytest.mark.parametrize("data", ["u8", "s8"])
@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: tail.epilogue().name)
def test_every_row_and_column_remainder(machine: Machine, tail: Tail, data: str) -> None:
    tile = Tile(3, 2, data, masked=True, tail=tail)
    for rows in range(1, 4):
        for columns in range(1, 2 * machine.isa.lanes + 1):
            solve(machine, TileProblem(machine.isa, tile, rows, columns, depth=5, seed=columns))


@pytest.mark.parametrize("masked", [False, True])
def test_more_rows_and_columns_left_than_the_tile_has(machine: Machine, masked: bool) -> None:
    tile = Tile(3, 2, masked=masked, tail=TAILS[4])
    solve(machine, TileProblem(machine.isa, tile, 9, 2 * machine.isa.lanes + 5))


_EXTREMES = {"u8": (0, 1, 255), "s8": (-128, -127, 127)}


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 576, 8191, 8192])
@pytest.mark.parametrize("data", ["u8", "s8"])
def test_extremes_at_every_depth(machine: Machine, data: str, depth: int) -> None:
    tile = Tile(2, 2, data)
    for a, b in itertools.product(_EXTREMES[data], (-128, -127, 127)):
        solve(machine, TileProblem(machine.isa, tile, depth=depth, fill=constant(a, b)))
    for fill in (alternating, near_saturation):
        solve(machine, TileProblem(machine.isa, tile, depth=depth, fill=fill))


@pytest.mark.parametrize("data", ["u8", "s8"])
def test_sums_wrap_as_int32_does(machine: Machine, data: str) -> None:
    for b, bias in itertools.product((-128, 127), (-(2**31), -(2**31) + 7, 2**31 - 1, 2**31 - 9)):
        problem = TileProblem(machine.isa, Tile(2, 1, data), depth=68, fill=constant(_EXTREMES[data][-1], b, bias))
        solve(machine, problem)
    sums = problem.sums()
    assert (sums < 0).all(), "the last of them does wrap"


@pytest.mark.parametrize("data", ["u8", "s8"])
def test_pointers_to_the_row_of_zeros_add_nothing(machine: Machine, data: str) -> None:
    tile = Tile(4, 1, data, tail=Tail())
    for depth in (1, 4, 6, 16):
        solve(machine, TileProblem(machine.isa, tile, taps=9, depth=depth, seed=depth, absent=0.4))
        solve(machine, TileProblem(machine.isa, tile, taps=9, depth=depth, absent=1.0))


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


@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_any_problem(machine: Machine, draw: st.DataObject) -> None:
    rows, vectors = draw.draw(st.sampled_from(tiles(machine.isa)))
    data = draw.draw(st.sampled_from(["u8", "s8"]))
    problem = TileProblem(
        machine.isa,
        Tile(rows, vectors, data, masked=True, tail=_draw_tail(draw)),
        rows_left=draw.draw(st.integers(1, 20)),
        columns_left=draw.draw(st.integers(1, 70)),
        taps=draw.draw(st.integers(1, 10)),
        depth=draw.draw(st.integers(1, 70)),
        seed=draw.draw(st.integers(0, 2**32 - 1)),
        fill=draw.draw(st.sampled_from([uniform, alternating, near_saturation])),
        absent=draw.draw(st.sampled_from([0.0, 0.2])),
    )
    solve(machine, problem)


every_isa = pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)


def _pairs(step: Array, lanes: int) -> bytes:
    """A step [4, columns]: for each vector, elements 0 and 2 of all its lanes, then 1 and 3, in 16 bits."""
    columns = step.shape[1]
    order = itertools.product(range(columns // lanes), range(2), range(lanes), range(2))
    numbers = [step[2 * pair + odd, vector * lanes + lane] for vector, odd, lane, pair in order]
    return np.array(numbers, np.int16).tobytes()


def _is_safe(step: Array) -> bool:
    """Whether no A in 0..255 makes two neighbours' products leave int16."""
    a = np.array([(x, y) for x in (0, 255) for y in (0, 255)])
    sums = np.concatenate([a @ step[:2].astype(int), a @ step[2:].astype(int)])
    return bool(((sums >= -(2**15)) & (sums < 2**15)).all())


def _packed_by_definition(isa: Isa, weights: Array) -> bytes:
    """One panel's weights [taps, depth, columns], step by step."""
    group = dot_for(isa, "s8").group
    taps, depth, columns = weights.shape
    filled = np.concatenate([weights, np.zeros((taps, -depth % group, columns), np.int8)], axis=1)
    packed = b""
    for tap in filled.reshape(taps, -1, group, columns):
        if isa.dot == "widen":
            packed += tap.astype(np.int32).tobytes()
        elif isa.dot == "maddwd":
            packed += b"".join(_pairs(step, isa.lanes) for step in tap)
        elif isa.dot == "mixed":
            safe = [i for i, step in enumerate(tap) if _is_safe(step)]
            others = [i for i in range(len(tap)) if i not in safe]
            order = np.array([len(safe), len(others)], np.int64).tobytes()
            order += np.array([4 * i for i in (*safe, *others)], np.int32).tobytes()
            packed += order + bytes(-len(order) % 64)
            packed += b"".join(tap[i].T.tobytes() for i in safe) + b"".join(_pairs(tap[i], isa.lanes) for i in others)
        else:
            packed += b"".join(step.T.tobytes() for step in tap)
    return packed


@every_isa
@pytest.mark.parametrize("data", ["u8", "s8"])
@pytest.mark.parametrize(("depth", "n"), [(1, 1), (4, 16), (5, 17), (8, 64), (43, 40)])
def test_panels_hold_the_sums_to_start_from_then_the_weights(isa: Isa, data: str, depth: int, n: int) -> None:
    rng = np.random.default_rng(depth)
    columns, panels = 2 * isa.lanes, -(-n // (2 * isa.lanes))
    _, weights, bias = near_saturation(rng, [(1,), (2 * 3, depth, n), (2 * n,)], Tile(1, 1))
    weights, bias = weights.reshape(2, 3, depth, n), bias.reshape(2, n)
    dot = dot_for(isa, data)
    packed, steps = pack_integer_panels(weights, bias, columns, dot, isa.lanes)
    assert steps == -(-depth // dot.group)
    assert packed.shape[:2] == (2, panels)
    assert packed.dtype == np.uint8
    starts = packed[..., : columns * 4].copy().view(np.int32).reshape(2, -1)
    # What the sign flip of A adds to every product comes off, in int32, which wraps.
    surplus = dot.offset * weights.astype(np.int64).sum((1, 2))
    np.testing.assert_array_equal(starts[:, :n], (bias - surplus).astype(np.int32))
    assert not starts[:, n:].any()
    whole = np.concatenate([weights, np.zeros((2, 3, depth, panels * columns - n), np.int8)], axis=3)
    for group, panel in itertools.product(range(2), range(panels)):
        expected = _packed_by_definition(isa, whole[group, :, :, panel * columns : (panel + 1) * columns])
        actual = packed[group, panel, columns * 4 :].tobytes()
        assert actual[: len(expected)] == expected
        assert not any(actual[len(expected) :]), "shorter panels are filled up with zeros"


@every_isa
def test_only_a_dot_of_the_other_signedness_has_an_offset(isa: Isa) -> None:
    expected = {"vnni": (0, 128), "mixed": (0, 128), "sdot": (-128, 0), "maddwd": (0, 0), "widen": (0, 0)}
    assert tuple(dot_for(isa, data).offset for data in ("u8", "s8")) == expected[isa.dot]
