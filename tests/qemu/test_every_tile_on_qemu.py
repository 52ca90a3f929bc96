"""Every tile of AArch64's rows, executed: all sizes, remainders and panels."""

from __future__ import annotations

import pytest
from test_depthwise_kernel import test_strides_and_dilations
from test_int8_elementwise import test_a_float32_tile_reads_and_stores_integers
from test_int8_tile import (
    test_every_row_and_column_remainder,
    test_every_short_depth_with_weights_of_every_shape,
    test_several_panels_of_one_length,
)
from test_int8_tile import test_every_tile_that_fits_computes_whole_blocks as test_every_integer_tile
from test_tile import test_a_tile_may_read_several_panels
from test_tile import test_every_tile_that_fits_computes_whole_blocks as test_every_float32_tile

__all__ = [
    "test_a_float32_tile_reads_and_stores_integers",
    "test_a_tile_may_read_several_panels",
    "test_every_float32_tile",
    "test_every_integer_tile",
    "test_every_row_and_column_remainder",
    "test_every_short_depth_with_weights_of_every_shape",
    "test_several_panels_of_one_length",
    "test_strides_and_dilations",
]

pytestmark = pytest.mark.slow
