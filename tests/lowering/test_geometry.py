"""Pixel tables against the definition of a convolution's window, and how work is cut into tiles and parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidnn.errors import ShapeError
from minidnn.lowering.geometry import Window, pixel_table, tap_pixels
from minidnn.lowering.tiling import choose_panel, choose_tile, choose_tiling
from minidnn.lowering.values import CHANNELS_LAST, PLAIN, physical_order, strides_of
from minidnn_kernels.isa import ISAS, Isa
from minidnn_kernels.matmul import MAX_POINTERS


@st.composite
def windows(draw: st.DrawFn) -> Window:
    rank = draw(st.integers(1, 3))

    def several(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    # The output may reach beyond the input at the high end: padding there follows from the shapes.
    return Window(several(1, 6), several(1, 5), several(1, 4), several(1, 3), several(1, 3), several(0, 3))


def _by_definition(window: Window) -> list[list[int]]:
    """For each output pixel and tap, the flat index of the input pixel, or -1."""
    table = []
    for pixel in itertools.product(*map(range, window.output)):
        row = []
        for tap in itertools.product(*map(range, window.kernel)):
            steps = zip(pixel, window.stride, window.pad, tap, window.dilate, strict=True)
            position = [o * s - p + t * d for o, s, p, t, d in steps]
            inside = all(0 <= i < n for i, n in zip(position, window.input, strict=True))
            row.append(int(np.ravel_multi_index(position, window.input)) if inside else -1)
        table.append(row)
    return table


@settings(deadline=None, derandomize=True, max_examples=100)
@given(windows(), st.integers(1, 7))
def test_tables_are_the_definition(window: Window, rows: int) -> None:
    expected = np.array(_by_definition(window))
    table = tap_pixels(window)
    assert table.dtype == np.int32
    np.testing.assert_array_equal(table, expected)
    strips = pixel_table(window, rows)
    assert strips.shape == (-(-window.pixels // rows), window.taps, rows)
    assert strips.flags.c_contiguous
    flat = strips.transpose(0, 2, 1).reshape(-1, window.taps)
    np.testing.assert_array_equal(flat[: window.pixels], expected)
    assert (flat[window.pixels :] == expected[-1]).all(), "missing rows repeat the last pixel"


def test_tables_of_the_same_geometry_are_shared() -> None:
    first, second = (Window((4, 4), (4, 4), (3, 3), (1, 1), (1, 1), (1, 1)) for _ in range(2))
    assert pixel_table(first, 6) is pixel_table(second, 6)


def test_more_pixels_than_a_table_can_number_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"2\*\*31 elements"):
        tap_pixels(Window((1 << 16, (1 << 15) + 1), (1, 1), (1, 1), (1, 1), (1, 1), (0, 0)))
    last = Window((1 << 16, 1 << 15), (1, 1), (1, 1), (1, 1), (1, 1), (1 - (1 << 16), 1 - (1 << 15)))
    assert tap_pixels(last) == (1 << 31) - 1


def test_a_window_counts_its_taps_and_pixels() -> None:
    window = Window((4, 5), (2, 3), (3, 2), (2, 2), (1, 1), (1, 1))
    assert (window.taps, window.pixels) == (6, 6)


@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 1, 3, 4, 5)])
def test_strides_are_those_of_the_layout(shape: tuple[int, ...], layout: str) -> None:
    array = np.zeros(shape, np.float32)
    if layout == CHANNELS_LAST and len(shape) > 2:
        array = np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    assert sorted(physical_order(len(shape), layout)) == list(range(len(shape)))
    # NumPy may give any stride along a dimension of one element.
    own = strides_of(shape, 4, layout)
    assert all(n == 1 or a == b for n, a, b in zip(shape, own, array.strides, strict=True))


sizes = st.integers(1, 400)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.sampled_from(ISAS), st.integers(1, 4), sizes, st.integers(1, MAX_POINTERS), sizes, st.integers(1, 4), sizes)
def test_tilings_fit_and_cover(
    isa: Isa, images: int, pixels: int, taps: int, depth: int, groups: int, columns: int
) -> None:
    tiling = choose_tiling(isa, images, pixels, taps, depth, groups, columns)
    assert isa.tile_fits(tiling.rows, tiling.vectors)
    assert 1 <= tiling.rows <= min(max(isa.heights), pixels)
    strips, panels = -(-pixels // tiling.rows), -(-columns // (tiling.vectors * isa.lanes))
    assert 1 <= tiling.block_strips <= strips
    assert 1 <= tiling.block_panels <= panels
    # What a part's stack holds.
    assert tiling.block_strips * taps * tiling.rows <= MAX_POINTERS


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.sampled_from(ISAS), sizes, sizes, sizes, sizes)
def test_weights_are_packed_alike_for_any_number_of_pixels(
    isa: Isa, pixels: int, others: int, depth: int, columns: int
) -> None:
    panel = choose_panel(isa, depth, columns)
    for count in (pixels, others):
        tiling = choose_tiling(isa, 1, count, 1, depth, 1, columns, panel=panel)
        assert isa.tile_fits(tiling.rows, tiling.vectors)
        assert tiling.vectors == tiling.panels * panel
        assert tiling.panels == 1 or columns > panel * isa.lanes, "no panel is read in vain"


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
@pytest.mark.parametrize("traced", [7, 128])
def test_few_kernels_suit_any_number_of_rows(isa: Isa, traced: int) -> None:
    depth, columns = 128, 512
    panel = choose_panel(isa, depth, columns)

    def steps(rows: int, usual: tuple[int, int] | None) -> float:
        """Multiply-adds of whole tiles, no tile shorter than its latency."""
        tiling = choose_tiling(isa, 1, rows, 1, depth, 1, columns, panel=panel, usual=usual)
        across = -(-columns // (tiling.vectors * isa.lanes))
        return -(-rows // tiling.rows) * across * max(9, tiling.rows * tiling.vectors)

    for rows in range(1, 33):
        assert steps(rows, (traced, columns)) <= 1.35 * steps(rows, None), f"{rows} rows"


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_the_tile_suits_the_problem(isa: Isa) -> None:
    rows, vectors = choose_tile(isa, 10_000, 512, 512)
    assert rows * vectors >= 0.7 * (isa.registers - 4), "large products use the registers"
    assert choose_tile(isa, 1, 512, 1000)[0] == 1
    assert choose_tile(isa, 10_000, 512, isa.lanes)[1] == 1, "no vector is computed in vain"


def test_large_steps_are_cut_into_parts_and_small_ones_are_not() -> None:
    isa = ISAS[1]

    def parts(pixels: int, depth: int, columns: int) -> int:
        tiling = choose_tiling(isa, 1, pixels, 1, depth, 1, columns)
        strips, panels = -(-pixels // tiling.rows), -(-columns // (tiling.vectors * isa.lanes))
        return -(-strips // tiling.block_strips) * -(-panels // tiling.block_panels)

    assert parts(8, 8, 8) == 1
    assert parts(3136, 256, 256) >= 12
    assert parts(1, 2048, 1000) >= 2, "one row is cut along the columns"
