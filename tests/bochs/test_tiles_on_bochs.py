"""AVX-512 VNNI tiles, of int8 and int16, and AVX-512's float32 ones, executed: bit by bit what NumPy gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from bochs_machine import CPU, BochsMachine, GuestTrapError
from guest_memory import FILL, GuestMemory
from tile_cases import EVERY_TAIL, TAILS, alternating, constant, ends_of_data, ends_of_weights
from tile_problem import Tail, Tile, TileProblem, tiles, uniform

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.isa import get_isa

VNNI = get_isa("avx512vnni")
WITHOUT_VNNI = "corei7_skylake_x"
LANES = VNNI.lanes


def solve(bochs: BochsMachine, problems: Sequence[TileProblem], cpu: str = CPU) -> None:
    """All problems in one run; each tile is linked once."""
    names: dict[Tile, str] = {}
    for problem in problems:
        names.setdefault(problem.tile, f"tile{len(names)}")
    objects = {name: (emit_object(tile.spec.emit(VNNI), VNNI), tile.spec.name) for tile, name in names.items()}
    program = bochs.link(objects)
    memory = GuestMemory()
    for problem in problems:
        memory.call(names[problem.tile], *problem.place(memory))
    outcome = bochs.run(program, memory, cpu)
    for problem in problems:
        problem.check(outcome.read(*problem.target), FILL)


def _whole_and_remainder(chosen: Iterable[tuple[Tile, int]]) -> list[TileProblem]:
    """For each tile a block that fills it, or if it is masked one that lacks rows and columns."""
    problems = []
    for seed, (tile, depth) in enumerate(chosen):
        width = tile.vectors * LANES
        rows = 1 + seed % tile.rows if tile.masked else tile.rows
        columns = 1 + seed * 7 % width if tile.masked else width
        problems.append(TileProblem(VNNI, tile, rows, columns, 1 + seed % 3, depth, seed, absent=0.2))
    return problems


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("data", ["u8", "s8", "s16"])
def test_every_integer_tile(bochs: BochsMachine, data: str, masked: bool) -> None:
    shapes = zip(tiles(VNNI, data), itertools.cycle(TAILS), itertools.cycle([4, 7, 16, 33, 64]), strict=False)
    chosen = [(Tile(rows, vectors, data, masked, tail), depth) for (rows, vectors), tail, depth in shapes]
    solve(bochs, _whole_and_remainder(chosen))


@pytest.mark.parametrize("data", ["u8", "s8", "s16"])
def test_every_row_and_column_remainder(bochs: BochsMachine, data: str) -> None:
    problems = []
    for rows, vectors, tail in ((2, 1, TAILS[4]), (3, 2, TAILS[6]), (2, 4, TAILS[0])):
        tile = Tile(rows, vectors, data, masked=True, tail=tail)
        left = itertools.product(range(1, rows + 1), range(1, vectors * LANES + 1))
        problems += [TileProblem(VNNI, tile, *some, depth=5, seed=i) for i, some in enumerate(left)]
    solve(bochs, problems)


def test_every_tail(bochs: BochsMachine) -> None:
    chosen = [
        (Tile(2, 1, ("u8", "s8")[number % 2], number % 3 > 0, tail), 8 + number % 5)
        for number, tail in enumerate(EVERY_TAIL)
    ]
    solve(bochs, _whole_and_remainder(chosen))


@pytest.mark.parametrize("data", ["u8", "s8", "s16"])
def test_extremes(bochs: BochsMachine, data: str) -> None:
    """All of A and all of B at the ends of their ranges, biases at the ends of int32."""
    ends = itertools.product(ends_of_data(data), ends_of_weights(data), [-(2**31), 0, 2**31 - 1])
    chosen = [(Tile(1, 1, data), constant(*some)) for some in ends]
    chosen += [(Tile(rows, vectors, data), alternating) for rows, vectors in ((14, 2), (8, 3), (6, 4))]
    # Int16 has more ends, and takes twice the memory.
    depths = (1, 4, 577, 8192) if data != "s16" else (1, 3, 1025)
    problems = [TileProblem(VNNI, tile, depth=depth, fill=fill) for depth in depths for tile, fill in chosen]
    solve(bochs, problems)


def test_int16_sums_of_the_greatest_depth(bochs: BochsMachine) -> None:
    fills = [uniform, alternating, constant(25500, -18432), constant(-(2**15), -(2**15))]
    solve(bochs, [TileProblem(VNNI, Tile(4, 2, "s16"), depth=8192, fill=fill) for fill in fills])


def test_every_float32_tile(bochs: BochsMachine) -> None:
    tails = [Tail(output="f32"), *(tail for tail in TAILS if tail.output != "s32")]
    for masked in (False, True):
        shapes = zip(tiles(VNNI), itertools.cycle(tails), itertools.cycle([1, 7, 64]), strict=False)
        chosen = [(Tile(rows, vectors, "f32", masked, tail), depth) for (rows, vectors), tail, depth in shapes]
        solve(bochs, _whole_and_remainder(chosen))


@pytest.mark.parametrize("data", ["u8", "s16"])
def test_a_cpu_without_vnni_cannot_run_them(bochs: BochsMachine, data: str) -> None:
    problem = TileProblem(VNNI, Tile(2, 2, data))
    with pytest.raises(GuestTrapError, match=rf"job 0, tile0, trapped on {WITHOUT_VNNI}: invalid opcode"):
        solve(bochs, [problem], WITHOUT_VNNI)
    # It is VNNI that it lacks, not AVX-512.
    solve(bochs, [TileProblem(VNNI, Tile(2, 2, "f32", tail=TAILS[1]))], WITHOUT_VNNI)


@pytest.mark.slow
@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
@pytest.mark.parametrize("data", ["u8", "s8", "s16"])
def test_every_integer_tile_with_every_kind_of_tail(bochs: BochsMachine, data: str, vectors: int) -> None:
    chosen = [shape for shape in tiles(VNNI, data) if shape[1] == vectors]
    for rows, _ in chosen:
        pairs = itertools.product([False, True], TAILS)
        some = [(Tile(rows, vectors, data, masked, tail), 4 + 3 * i) for i, (masked, tail) in enumerate(pairs)]
        solve(bochs, _whole_and_remainder(some))
