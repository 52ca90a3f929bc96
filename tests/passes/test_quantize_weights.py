"""int8 weights, folded batch normalization and int32 bias: their numbers, and accumulators that cannot overflow."""

from __future__ import annotations

import numpy as np
import pytest

from minidnn.errors import OpError
from minidnn.passes.quantize_weights import fits_int32, fold_affine, quantize_bias, quantize_weight

RNG = np.random.default_rng(3)


def test_each_channel_has_the_scale_of_its_largest_weight() -> None:
    weight = RNG.standard_normal((5, 3, 2, 2)) * np.array([1e-6, 1, 10, 1e4, 3]).reshape(-1, 1, 1, 1)
    q, scale = quantize_weight(weight)
    assert (q.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, (5,))
    np.testing.assert_allclose(scale, np.abs(weight).max((1, 2, 3)) / 127, rtol=1e-6)
    assert (np.abs(q).max((1, 2, 3)) == 127).all()
    error = np.abs(q * scale.reshape(-1, 1, 1, 1).astype(np.float64) - weight)
    assert (error <= 0.5001 * scale.reshape(-1, 1, 1, 1)).all()


def test_tensor_wise_all_channels_have_one_scale() -> None:
    weight = RNG.standard_normal((4, 6))
    q, scale = quantize_weight(weight, per_channel=False)
    assert len(set(scale.tolist())) == 1
    assert np.abs(q).max() == 127


@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-40])
def test_a_channel_of_zeros_has_scale_one(tiny: float) -> None:
    weight = np.stack([np.full(3, tiny), np.ones(3)])
    q, scale = quantize_weight(weight)
    assert scale[0] == 1
    assert q.tolist() == [[0] * 3, [127] * 3]


def test_a_following_affine_map_is_taken_in() -> None:
    weight, bias = RNG.standard_normal((4, 3)), RNG.standard_normal(4)
    scale, shift, x = RNG.standard_normal(4), RNG.standard_normal(4), RNG.standard_normal(3)
    w, b = fold_affine("layer", weight, bias, (scale, shift))
    assert b is not None
    np.testing.assert_allclose(w @ x + b, (weight @ x + bias) * scale + shift)
    _, only_shift = fold_affine("layer", weight, None, (scale, shift))
    np.testing.assert_array_equal(only_shift, shift)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_numbers_that_float32_does_not_hold_are_refused(bad: float) -> None:
    with pytest.raises(OpError, match="dense7: its weight has NaN or infinity"):
        fold_affine("dense7", np.array([[1.0, bad]]), None, None)
    with pytest.raises(OpError, match="dense7: its bias has NaN or infinity"):
        fold_affine("dense7", np.ones((1, 2)), np.array([bad]), None)


def test_bias_is_counted_in_units_of_the_accumulator() -> None:
    weight, scale = quantize_weight(RNG.standard_normal((3, 8)))
    bias = np.array([0.5, -2.0, 0.0])
    q, same_weight, same_scale = quantize_bias(bias, weight, scale, 0.02)
    assert same_weight is weight and same_scale is scale
    assert q.dtype == np.int32
    np.testing.assert_allclose(q * scale.astype(np.float64) * 0.02, bias, atol=0.02 * scale.max())


def test_a_bias_too_large_for_int32_makes_the_weights_coarser_instead_of_wrapping() -> None:
    rows = np.array([[1e-6, -2e-6], [1.0, 2.0]])
    weight, scale = quantize_weight(rows)
    bias = np.array([-5e3, 5.0])
    q, coarser, larger = quantize_bias(bias, weight, scale, 0.01)
    assert np.abs(q.astype(np.int64)).max() <= 1 << 30
    assert larger[0] > scale[0] and larger[1] == scale[1]
    np.testing.assert_allclose(q * larger.astype(np.float64) * 0.01, bias, rtol=1e-6)
    np.testing.assert_array_equal(coarser[1], weight[1])
    # What is left of the weights is what the larger scale can say.
    assert np.abs(coarser[0] * larger[0] - rows[0]).max() <= larger[0] * 0.51


def test_sums_over_very_many_elements_fit_into_int32() -> None:
    weight = np.ones((1, 100_000))
    q, scale = quantize_weight(weight)
    assert np.abs(q.astype(np.int64)).sum() * 255 < 1 << 30
    np.testing.assert_allclose(q * scale, weight, rtol=0.02)


@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-39, 1e-36, 1e-20])
@pytest.mark.parametrize("data_scale", [1e-30, 1e-3, 1.0, 1e4])
def test_a_bias_without_weights_to_speak_of_is_represented_well(tiny: float, data_scale: float) -> None:
    weight, scale = quantize_weight(np.stack([np.full(3, tiny), np.ones(3)]))
    bias = np.array([0.4, 0.25])
    q, _, new_scale = quantize_bias(bias, weight, scale, data_scale)
    got = q.astype(np.float32) * (np.float32(data_scale) * new_scale)
    assert got[0] == pytest.approx(bias[0], rel=1e-5)
    # What has weights keeps its scale, unless the bias is too large for it.
    assert data_scale < 1e-3 or new_scale[1] == scale[1]


@pytest.mark.parametrize("bias", [1e-44, -1e-38, 3e-30, 1e-9, -0.7, 1e20, 3e38])
def test_a_bias_alone_may_have_any_size(bias: float) -> None:
    weight, scale = quantize_weight(np.zeros((2, 4)), per_channel=False)
    for data_scale in (1e-30, 1e-6, 1.0, 1e30):
        if not fits_int32(np.array([bias]), data_scale):
            assert bias > 1e19 and data_scale == 1e-30
            continue
        q, _, new_scale = quantize_bias(np.array([bias, 0.0]), weight, scale, data_scale)
        assert np.isfinite(new_scale).all() and new_scale[1] == 1
        got = float(q[0]) * float(new_scale[0]) * data_scale
        # Down to what the smallest normal scale can say.
        assert got == pytest.approx(bias, rel=1e-5, abs=1.2e-38 * max(data_scale, 1))


def test_weights_near_the_smallest_scale_keep_what_it_can_say() -> None:
    weight = np.array([[1e-37, -5e-38, 2e-37]])
    q, scale = quantize_weight(weight)
    assert scale[0] == np.finfo(np.float32).tiny
    np.testing.assert_allclose(q * scale.astype(np.float64)[0], weight, atol=float(scale[0]) / 2)
