"""AArch64's kernels, executed: some of the tests that this machine's own kernels pass, with nothing changed."""

from __future__ import annotations

from test_copies import test_transposing_into_the_middle_of_something_larger
from test_depthwise_kernel import test_any_number_of_channels_and_a_tail, test_padding_points_at_zeros
from test_depthwise_tile import test_every_remainder_of_rows_and_channels
from test_elementwise_kernel import (
    test_every_length,
    test_one_number_for_the_whole_row,
    test_output_may_be_an_operand,
)
from test_int8_elementwise import (
    test_halves_are_rounded_to_even,
    test_int32_beyond_float32_is_rounded_to_nearest,
    test_integer_operands_of_every_length,
    test_neighbours_of_halves_are_rounded_to_the_nearest,
    test_quantize_multiplies_in_float32,
    test_what_is_too_large_saturates_and_nan_is_zero,
)
from test_pooling_kernel import (
    test_any_number_of_pixels,
    test_every_number_of_channels,
    test_long_sums_lose_no_more_than_short_ones,
    test_no_pixels_give_the_neutral_element,
    test_special_values,
)
from test_recurrent_kernel import test_gates_are_accurate_everywhere_and_stay_in_their_range
from test_rows_kernel import (
    test_large_values_do_not_overflow,
    test_layer_norm_does_not_cancel_far_from_zero,
    test_layer_norm_of_every_length,
    test_minus_infinity_has_no_share,
    test_rows_without_an_answer_are_nan_somewhere,
    test_softmax_of_every_length,
)
from test_tile import (
    test_any_number_of_taps_and_any_depth,
    test_nan_and_infinity_stay_in_their_row,
    test_pointers_may_lead_to_zeros_and_to_the_same_row_twice,
    test_rows_may_be_scattered,
)
from test_winograd_kernel import test_the_algorithm_is_a_convolution

__all__ = [
    "test_any_number_of_channels_and_a_tail",
    "test_any_number_of_pixels",
    "test_any_number_of_taps_and_any_depth",
    "test_every_length",
    "test_every_number_of_channels",
    "test_every_remainder_of_rows_and_channels",
    "test_gates_are_accurate_everywhere_and_stay_in_their_range",
    "test_halves_are_rounded_to_even",
    "test_int32_beyond_float32_is_rounded_to_nearest",
    "test_integer_operands_of_every_length",
    "test_large_values_do_not_overflow",
    "test_layer_norm_does_not_cancel_far_from_zero",
    "test_layer_norm_of_every_length",
    "test_long_sums_lose_no_more_than_short_ones",
    "test_minus_infinity_has_no_share",
    "test_nan_and_infinity_stay_in_their_row",
    "test_neighbours_of_halves_are_rounded_to_the_nearest",
    "test_no_pixels_give_the_neutral_element",
    "test_one_number_for_the_whole_row",
    "test_output_may_be_an_operand",
    "test_padding_points_at_zeros",
    "test_pointers_may_lead_to_zeros_and_to_the_same_row_twice",
    "test_quantize_multiplies_in_float32",
    "test_rows_may_be_scattered",
    "test_rows_without_an_answer_are_nan_somewhere",
    "test_softmax_of_every_length",
    "test_special_values",
    "test_the_algorithm_is_a_convolution",
    "test_transposing_into_the_middle_of_something_larger",
    "test_what_is_too_large_saturates_and_nan_is_zero",
]
