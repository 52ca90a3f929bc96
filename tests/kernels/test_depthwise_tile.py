"""The tile of products channel by channel alone: sizes, remainders, taps, where its rows go."""

from __future__ import annotations

import numpy as np
import pytest
from microkernels import Machine, Watched, address, words

from minidnn_kernels.depthwise import DepthwiseTileSpec
from minidnn_kernels.epilogue import Epilogue, Instruction

_BACKGROUND = -77.0
_TAIL = Epilogue(
    (
        Instruction("load", operand=0),
        Instruction("add", (0, 1)),
        Instruction("load", operand=1),
        Instruction("multiply", (2, 3)),
    ),
    ("tensor", "channel"),
)


def _check(machine: Machine, spec: DepthwiseTileSpec, rows: int, channels: int, taps: int, first: int = 0) -> None:
    """One call for `rows` of the tile's rows, on the channels from `first` on."""
    rng = np.random.default_rng(channels)
    width = spec.vectors * machine.isa.lanes
    count = min(width, channels - first)
    pixels = rng.standard_normal((rows, taps, channels)).astype(np.float32)
    weights = rng.standard_normal((taps, width)).astype(np.float32)
    beside = rng.standard_normal((rows + 5, channels)).astype(np.float32)
    scale = rng.standard_normal(channels + width).astype(np.float32)
    target = Watched(beside.shape, fill=_BACKGROUND)
    numbers = rng.permutation(rows + 3)[:rows]
    # Rows that do not exist repeat the last one, as the caller must.
    chosen = np.minimum(np.arange(spec.rows), rows - 1)
    offsets = (chosen[None, :] * taps + np.arange(taps)[:, None]) * channels * 4
    pointers = np.concatenate([address(pixels) + offsets, numbers[chosen][None]]).astype(np.int64)
    context = words(target.address, channels * 4, address(beside), channels * 4, address(scale), 0)
    machine.call(spec, context, pointers, taps, 1, weights, 2, first, rows, channels - first)
    target.assert_untouched_around()
    block = np.ix_(2 + numbers, np.arange(first, first + count))
    products = pixels[..., first : first + count].astype(np.float64) * weights[:, :count]
    expected = (products.sum(1) + beside[block]) * scale[first : first + count]
    np.testing.assert_allclose(target.array[block], expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    rest = target.array.copy()
    rest[block] = _BACKGROUND
    assert (rest == _BACKGROUND).all(), "written outside the rows and channels that exist"


@pytest.mark.parametrize("taps", [0, 1, 2, 9])
def test_every_remainder_of_rows_and_channels(machine: Machine, taps: int) -> None:
    for rows in range(1, 4):
        for channels in range(1, 2 * machine.isa.lanes + 1):
            _check(machine, DepthwiseTileSpec(3, 2, _TAIL, masked=True), rows, channels, taps)


def test_whole_tiles_within_more_channels(machine: Machine) -> None:
    lanes = machine.isa.lanes
    for rows in range(1, machine.isa.max_rows + 1):
        for vectors in range(1, 5):
            if machine.isa.tile_fits(rows, vectors):
                spec = DepthwiseTileSpec(rows, vectors, _TAIL)
                _check(machine, spec, rows, (vectors + 1) * lanes + 3, 4, first=lanes)


def test_a_tile_that_does_not_fit_the_registers_is_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match=f"9x4 tile does not fit {machine.isa.registers} registers of"):
        DepthwiseTileSpec(9, 4).emit(machine.isa)


def test_the_name_speaks() -> None:
    assert DepthwiseTileSpec(6, 2, _TAIL).name == "f32_depthwise_6x2v_scattered__add_multiply"
    assert DepthwiseTileSpec(6, 2, masked=True).name == "f32_depthwise_6x2v_remainder_scattered__plain"
