"""Tests of the kernels, again with those of AArch64, on an emulated CPU."""

from __future__ import annotations

from test_depthwise_kernel import test_any_number_of_channels_and_a_tail
from test_rows_kernel import test_softmax_of_every_length
from test_tile import test_every_tile_that_fits_computes_whole_blocks

__all__ = [
    "test_any_number_of_channels_and_a_tail",
    "test_every_tile_that_fits_computes_whole_blocks",
    "test_softmax_of_every_length",
]
