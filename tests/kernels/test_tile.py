"""The matmul microkernel alone: every size of tile, every remainder, every kind of operand."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Array, Machine, Watched, address, words

from minidnn_kernels.epilogue import Epilogue, Instruction
from minidnn_kernels.isa import Isa
from minidnn_kernels.matmul import pack_panels
from minidnn_kernels.tile import TileSpec

# Everything a tail may read: ((acc + tensor) * channel + scalar), relu.
TAIL = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("multiply", (2, 3)),
        Instruction("load", operand=2),
        Instruction("add", (4, 5)),
        Instruction("relu", (6,)),
    ),
    ("tensor", "channel", "scalar"),
)
_BACKGROUND = -77.0


class Problem:
    """One call of a tile somewhere in a larger output, and what it should give."""

    def __init__(
        self, isa: Isa, spec: TileSpec, rows_left: int, columns_left: int, taps: int = 1, depth: int = 3, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.spec = spec
        self.rows = min(spec.rows, rows_left)
        width = spec.vectors * isa.lanes
        self.columns = min(width, columns_left)
        self.first_row, self.first_column = 2, 3
        # Beside the tile: rows and columns that others own.
        shape = (self.first_row + rows_left + 2, self.first_column + columns_left + 2)
        self.target = Watched(shape, fill=_BACKGROUND)
        self.source = rng.standard_normal((self.rows, taps, depth)).astype(np.float32)
        self.weights = rng.standard_normal((1, taps, depth, self.columns)).astype(np.float32)
        self.tensor = rng.standard_normal((shape[0], shape[1] + 1)).astype(np.float32)
        self.channel = rng.standard_normal(shape[1] + width).astype(np.float32)
        self.scalar = rng.standard_normal(1).astype(np.float32)
        self.panel = pack_panels(self.weights, width // spec.panels, spec.panels)
        # [taps][rows]; rows that do not exist repeat the last one, as the caller must.
        chosen = np.minimum(np.arange(spec.rows), self.rows - 1)
        offsets = (chosen[None, :] * taps + np.arange(taps)[:, None]) * depth * 4
        self.pointers: Array = np.ascontiguousarray(address(self.source) + offsets, np.int64)
        self.numbers = np.arange(self.rows)
        if spec.scattered:
            self.numbers = rng.permutation(rows_left)[: self.rows]
            self.pointers = np.concatenate([self.pointers, self.numbers[chosen][None]])
        self.taps, self.depth, self.left = taps, depth, (rows_left, columns_left)

    def run(self, machine: Machine) -> None:
        context = words(self.target.address, self.target.array.strides[0])
        if self.spec.epilogue.operands:
            operands = (address(self.tensor), self.tensor.strides[0], address(self.channel), 0, address(self.scalar), 0)
            context = np.concatenate([context, words(*operands)])
        machine.call(
            self.spec,
            context,
            self.pointers,
            self.taps,
            self.depth,
            self.panel,
            self.first_row,
            self.first_column,
            *self.left,
        )

    def check(self) -> None:
        """The block is right and nothing else has changed."""
        self.target.assert_untouched_around()
        columns = np.arange(self.first_column, self.first_column + self.columns)
        block = np.ix_(self.first_row + self.numbers, columns)
        a = self.source.reshape(self.rows, -1).astype(np.float64)
        b = self.weights.reshape(-1, self.columns).astype(np.float64)
        expected, scale = a @ b, np.abs(a) @ np.abs(b) + 1
        if self.spec.epilogue.operands:
            channel = self.channel[columns].astype(np.float64)
            expected = np.maximum((expected + self.tensor[block]) * channel + self.scalar, 0)
            scale = (scale + np.abs(self.tensor[block])) * np.abs(channel) + np.abs(self.scalar)
        actual = self.target.array[block]
        assert (np.abs(actual - expected) <= 5e-7 * scale).all()
        rest = self.target.array.copy()
        rest[block] = _BACKGROUND
        assert (rest == _BACKGROUND).all(), "written outside the rows and columns that exist"


def test_every_tile_that_fits_computes_whole_blocks(machine: Machine) -> None:
    tried = 0
    for rows in range(1, machine.isa.max_rows + 1):
        for vectors in range(1, 5):
            if machine.isa.tile_fits(rows, vectors):
                problem = Problem(machine.isa, TileSpec(rows, vectors, TAIL), rows, vectors * machine.isa.lanes)
                problem.run(machine)
                problem.check()
                tried += 1
    assert tried >= machine.isa.max_rows


def test_the_widest_and_the_highest_tile_fit(machine: Machine) -> None:
    assert machine.isa.tile_fits(machine.isa.max_rows, 1)
    assert machine.isa.tile_fits(1, 4)


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_every_row_and_column_remainder(machine: Machine, vectors: int) -> None:
    rows = max(r for r in range(1, machine.isa.max_rows + 1) if machine.isa.tile_fits(r, vectors))
    for rows_left in range(1, rows + 1):
        for columns_left in range(1, vectors * machine.isa.lanes + 1):
            spec = TileSpec(rows, vectors, TAIL, masked=True)
            problem = Problem(machine.isa, spec, rows_left, columns_left, seed=columns_left)
            problem.run(machine)
            problem.check()


@pytest.mark.parametrize(("vectors", "panels"), [(2, 2), (4, 2), (4, 4)])
def test_a_tile_may_read_several_panels(machine: Machine, vectors: int, panels: int) -> None:
    lanes = machine.isa.lanes
    for rows in (r for r in range(1, machine.isa.max_rows + 1) if machine.isa.tile_fits(r, vectors)):
        for taps, depth in ((1, 1), (1, 9), (5, 3)):
            # The last panels may be missing as a whole.
            for columns_left in (1, lanes, lanes + 1, vectors * lanes - 1, vectors * lanes):
                spec = TileSpec(rows, vectors, TAIL, masked=True, panels=panels)
                problem = Problem(machine.isa, spec, rows, columns_left, taps, depth, seed=columns_left)
                problem.run(machine)
                problem.check()


def test_panels_that_a_tile_cannot_read_are_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match="3 vectors cannot read 2 panels"):
        TileSpec(1, 3, panels=2).emit(machine.isa)


@pytest.mark.parametrize("masked", [False, True])
def test_more_rows_and_columns_left_than_the_tile_has(machine: Machine, masked: bool) -> None:
    lanes = machine.isa.lanes
    problem = Problem(machine.isa, TileSpec(3, 2, TAIL, masked=masked), 9, 2 * lanes + 5)
    problem.run(machine)
    problem.check()


@pytest.mark.parametrize(("taps", "depth"), [(1, 1), (1, 64), (2, 1), (9, 5), (27, 2), (49, 3)])
def test_any_number_of_taps_and_any_depth(machine: Machine, taps: int, depth: int) -> None:
    spec = TileSpec(4, 2, Epilogue(), masked=True)
    problem = Problem(machine.isa, spec, 3, machine.isa.lanes + 1, taps, depth)
    problem.run(machine)
    problem.check()


@pytest.mark.parametrize(("rows_left", "columns_left", "taps"), [(9, 40, 3), (2, 5, 4), (3, 17, 0), (1, 1, 1)])
def test_rows_may_be_scattered(machine: Machine, rows_left: int, columns_left: int, taps: int) -> None:
    spec = TileSpec(3, 2, TAIL, masked=True, scattered=True)
    for depth in (1, 7):
        problem = Problem(machine.isa, spec, rows_left, columns_left, taps, depth)
        problem.run(machine)
        problem.check()


def test_pointers_may_lead_to_zeros_and_to_the_same_row_twice(machine: Machine) -> None:
    taps, depth = 3, 4
    problem = Problem(machine.isa, TileSpec(3, 1, TAIL, masked=True), 3, 3, taps, depth)
    zeros = np.zeros(depth, np.float32)
    # Padding at tap 0 of row 0, and row 2 sees at tap 1 what row 1 sees there.
    problem.pointers[0, 0] = address(zeros)
    problem.pointers[1, 2] = problem.pointers[1, 1]
    problem.source[2, 1] = problem.source[1, 1]
    problem.run(machine)
    problem.source[0, 0] = 0
    problem.check()


def test_nan_and_infinity_stay_in_their_row(machine: Machine) -> None:
    problem = Problem(machine.isa, TileSpec(3, 1), 3, machine.isa.lanes)
    problem.source[0, 0, 1] = np.nan
    problem.source[2, 0, 0] = np.inf
    problem.run(machine)
    block = problem.target.array[2:5, 3 : 3 + machine.isa.lanes]
    assert np.isnan(block[0]).all()
    assert np.isfinite(block[1]).all()
    np.testing.assert_array_equal(block[2], np.sign(problem.weights[0, 0, 0]) * np.inf)


def test_a_tile_that_does_not_fit_the_registers_is_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match=f"9x4 tile does not fit {machine.isa.registers} registers of"):
        TileSpec(9, 4).emit(machine.isa)


def test_the_name_speaks() -> None:
    assert TileSpec(6, 2, TAIL).name == "f32_igemm_6x2v__add_multiply_add_relu"
    assert TileSpec(6, 2, masked=True).name == "f32_igemm_6x2v_remainder__plain"
    assert TileSpec(1, 4, panels=2).name == "f32_igemm_1x4v_2panels__plain"
    assert TileSpec(6, 2, scattered=True).name == "f32_igemm_6x2v_scattered__plain"


@pytest.mark.parametrize("columns", [8, 16, 24])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 31])
def test_panels_hold_the_weights_column_by_column(columns: int, n: int) -> None:
    weights = np.random.default_rng(0).standard_normal((2, 3, 4, n)).astype(np.float32)
    packed = pack_panels(weights, columns)
    assert packed.shape == (2, -(-n // columns), 3, 4, columns)
    together = pack_panels(weights, columns, 2)
    assert together.shape[1] == len(packed[0]) + len(packed[0]) % 2
    np.testing.assert_array_equal(together[:, : len(packed[0])], packed)
    assert not together[:, len(packed[0]) :].any()
    flat = packed.transpose(0, 2, 3, 1, 4).reshape(2, 3, 4, -1)
    np.testing.assert_array_equal(flat[..., :n], weights)
    assert not flat[..., n:].any()


def test_large_panels_are_given_back_and_stay_with_their_views() -> None:
    weights = np.random.default_rng(0).standard_normal((1, 9, 256, 150)).astype(np.float32)
    view = pack_panels(weights, 8)[:, 3]
    np.testing.assert_array_equal(view[0], weights[0, :, :, 24:32])
