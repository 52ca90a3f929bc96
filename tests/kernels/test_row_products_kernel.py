"""A row by the rows of a matrix, and by its columns, for every size, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Machine, Watched, address, words

from minidnn_kernels.row_products import RowByRowsSpec, RowBySumSpec


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_one_row_meets_a_matrix_with_gaps(machine: Machine, count: int) -> None:
    lanes = machine.isa.lanes
    for size in (1, lanes - 1, lanes, lanes + 1, 4 * lanes, 9 * lanes + 3):
        rng = np.random.default_rng(size)
        matrix = rng.standard_normal((count + 1, size + 5)).astype(np.float32)
        row, factors, before = (rng.standard_normal(n).astype(np.float32) for n in (size, count + 1, size))
        used, shape = matrix[:count, :size].astype(np.float64), words(matrix.strides[0], size)
        sums, mixed = Watched((count,), fill=-77), Watched((size,), fill=-77)
        mixed.array[:] = before
        machine.call(RowByRowsSpec(), address(row), address(matrix), sums.address, count, shape)
        machine.call(RowBySumSpec(), address(factors), address(matrix), mixed.address, count, shape)
        np.testing.assert_allclose(sums.array, used @ row, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(mixed.array, before + factors[:count] @ used, rtol=1e-5, atol=1e-5)
        sums.assert_untouched_around()
        mixed.assert_untouched_around()
