"""The operators on 8-bit integers: rounding, saturation, scales, and products that are exact in int32."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops_helpers import infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op

RNG = np.random.default_rng(7)


def quantize(data: Any, low: float | None = None, high: float | None = None, out_type: str = "int8") -> Any:
    array = np.asarray(data, np.float32)
    return reference("quantize", array, out_type=out_type, min_calib_range=low, max_calib_range=high)


def integers(*shape: int, dtype: str = "int8") -> np.ndarray[Any, Any]:
    low, high = (-127, 128) if dtype == "int8" else (0, 256)
    return RNG.integers(low, high, shape).astype(dtype)


def test_int8_is_symmetric_and_rounds_half_to_even() -> None:
    q, scale = quantize([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], -127, 100)
    assert scale == 1.0
    assert q.tolist() == [0, 2, 2, 0, -2, -2]


def test_numbers_beyond_the_range_saturate_and_nan_is_zero() -> None:
    q, _ = quantize([-1e30, -128, 127.6, np.inf, -np.inf, np.nan], -127, 127)
    assert q.tolist() == [-127, -127, 127, 127, -127, 0]
    q, _ = quantize([-5, 254.4, 256, np.inf, np.nan], -3, 255, "uint8")
    assert q.tolist() == [0, 254, 255, 255, 0]


@pytest.mark.parametrize(
    ("low", "high", "out_type", "scale"),
    [
        (-2.0, 1.0, "int8", 2 / 127),
        (-1.0, 3.0, "int8", 3 / 127),
        (-9.0, 5.1, "uint8", 5.1 / 255),
        (1, 2, "int8", 2 / 127),
    ],
)
def test_scale_follows_from_the_calibrated_range(low: float, high: float, out_type: str, scale: float) -> None:
    assert quantize([0.0], low, high, out_type)[1] == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize("out_type", ["int8", "uint8"])
def test_without_calibration_the_range_is_that_of_the_tensor(out_type: str) -> None:
    data = normal(3, 50)
    low, high = float(data.min()), float(data.max())
    for got, wanted in zip(quantize(data, None, None, out_type), quantize(data, low, high, out_type), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (-1e-45, 1e-45), (0.0, 1e-37), (0.0, 1e39), (-5.0, 0.0)], ids=str
)
def test_a_range_without_extent_has_scale_one(low: float, high: float) -> None:
    assert quantize([0.0], low, high, "uint8")[1] == 1.0


@pytest.mark.parametrize("data", [np.zeros(4), np.full(4, 1e-44), [np.nan, 1.0], [np.inf, 1.0]], ids=str)
def test_a_scale_found_at_run_time_is_never_nan_or_zero(data: Any) -> None:
    assert quantize(data)[1] == 1.0


def test_a_range_is_a_pair_in_order() -> None:
    op = get_op("quantize")
    with pytest.raises(OpError, match="belong together"):
        op.make_attrs({"min_calib_range": 1.0})
    with pytest.raises(OpError, match=r"must not be above max_calib_range, got 2.0 and 1.0"):
        op.make_attrs({"min_calib_range": 2.0, "max_calib_range": 1.0})
    with pytest.raises(OpError, match="out_type"):
        op.make_attrs({"out_type": "int4"})


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.sampled_from(["int8", "uint8"]))
def test_quantize_then_dequantize_errs_by_half_a_step_at_most(values: list[float], out_type: str) -> None:
    data = np.array(values, np.float32)
    q, scale = quantize(data, None, None, out_type)
    back = reference("dequantize", q, scale)
    wanted = np.maximum(data, 0) if out_type == "uint8" else data
    inside = np.abs(wanted) > 0 if scale == 1 else np.ones(data.shape, bool)
    assert (np.abs(back - wanted)[inside] <= scale * 0.5001 + np.abs(wanted)[inside] * 1e-5).all()


def test_dequantize_multiplies_by_one_float32_factor() -> None:
    data = RNG.integers(-(2**31), 2**31, (2, 3, 4), dtype=np.int64).astype(np.int32)
    scale, channels = np.float32([0.1]), np.float32([0.3, 7e-3, 11.0])
    got = reference("dequantize", data, scale, channels, per_channel=True)
    for c in range(3):
        factor = np.float32(np.float32(0.1) * channels[c])
        np.testing.assert_array_equal(got[:, c], data[:, c].astype(np.float32) * factor)
    last = reference("dequantize", data.transpose(0, 2, 1).copy(), scale, channels, per_channel=True, axis=-1)
    np.testing.assert_array_equal(last, got.transpose(0, 2, 1))
    one = reference("dequantize", data, scale, np.float32([2.0]), per_channel=True)
    np.testing.assert_array_equal(one, data.astype(np.float32) * np.float32(np.float32(0.1) * np.float32(2)))


@pytest.mark.parametrize("calibrated", [True, False])
def test_requantize_is_dequantize_then_quantize(calibrated: bool) -> None:
    data = integers(2, 3, 5).astype(np.int32) * 1000
    scales = np.float32([0.02]), np.float32([0.5, 0.25, 3.0])
    attrs = {"min_calib_range": -100.0, "max_calib_range": 50.0} if calibrated else {}
    both = reference("requantize", data, *scales, per_channel=True, out_type="uint8", **attrs)
    real = reference("dequantize", data, *scales, per_channel=True)
    for got, wanted in zip(both, reference("quantize", real, out_type="uint8", **attrs), strict=True):
        np.testing.assert_array_equal(got, wanted)


CONVOLUTIONS = [
    {"kernel": (3,), "num_filter": 4},
    {"kernel": (3, 2), "num_filter": 4, "stride": (2, 1), "pad": (1, 1), "dilate": (1, 2)},
    {"kernel": (3, 3), "num_filter": 6, "num_group": 3, "pad": (1, 1)},
    {"kernel": (3, 3), "num_filter": 3, "num_group": 3},
    {"kernel": (2, 2, 2), "num_filter": 5, "pad": (0, 1, 1)},
]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("attrs", CONVOLUTIONS, ids=str)
def test_convolution_of_integers_is_torchs_in_int64(attrs: dict[str, Any], dtype: str) -> None:
    rank, groups = len(attrs["kernel"]), attrs.get("num_group", 1)
    data = integers(2, 3, *(7, 6, 5)[:rank], dtype=dtype)
    weight = integers(attrs["num_filter"], 3 // groups, *attrs["kernel"])
    bias = RNG.integers(-(2**20), 2**20, attrs["num_filter"]).astype(np.int32)
    got = reference("quantized_convolution", data, weight, bias, **attrs)
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    padding, dilation = attrs.get("pad", (0,) * rank), attrs.get("dilate", (1,) * rank)
    wanted = convolve(
        *(torch.from_numpy(a.astype(np.int64)) for a in (data, weight, bias)),
        attrs.get("stride", (1,) * rank), padding, dilation, groups,
    )  # fmt: skip
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, wanted.numpy())
    without = reference("quantized_convolution", data, weight, no_bias=True, **attrs)
    np.testing.assert_array_equal(got - without, np.broadcast_to(bias.reshape(-1, *(1,) * rank), got.shape))


@pytest.mark.parametrize("flatten", [True, False])
def test_dense_of_integers_is_the_product_in_int64(flatten: bool) -> None:
    data, bias = integers(3, 4, 5, dtype="uint8"), np.int32([-7, 2**30])
    weight = integers(2, 20 if flatten else 5)
    got = reference("quantized_fully_connected", data, weight, bias, num_hidden=2, flatten=flatten)
    rows = data.reshape(3, 20) if flatten else data
    np.testing.assert_array_equal(got, rows.astype(np.int64) @ weight.T.astype(np.int64) + bias)


def test_batch_dot_of_integers_is_the_product_in_int64() -> None:
    lhs, rhs = integers(2, 4, 3, dtype="uint8"), integers(2, 5, 4)
    got = reference("quantized_batch_dot", lhs, rhs, transpose_a=True, transpose_b=True)
    wanted = lhs.astype(np.int64).transpose(0, 2, 1) @ rhs.astype(np.int64).transpose(0, 2, 1)
    np.testing.assert_array_equal(got, wanted)


def test_the_largest_sums_are_exact_and_those_beyond_int32_wrap_around() -> None:
    data, weight = np.full((1, 8192), 255, np.uint8), np.full((2, 8192), 127, np.int8)
    weight[1] = -127
    got = reference("quantized_fully_connected", data, weight, no_bias=True, num_hidden=2)
    assert got.tolist() == [[8192 * 255 * 127, -8192 * 255 * 127]]
    bias = np.int32([2**31 - 1, 0])
    wrapped = reference("quantized_fully_connected", data, weight, bias, num_hidden=2)
    total = Fraction(8192 * 255 * 127 + 2**31 - 1)
    assert wrapped[0, 0] == total - 2**32


def test_errors_say_what_came_and_what_was_wanted() -> None:
    conv = {"kernel": (3, 3), "num_filter": 4, "no_bias": True}
    data, weight = tensor(1, 3, 5, 5, dtype="uint8"), tensor(4, 3, 3, 3, dtype="int8")
    assert infer("quantized_convolution", data, weight, **conv) == tensor(1, 4, 3, 3, dtype="int32")
    with pytest.raises(TypeMismatchError, match=r"quantized_convolution: data must be int8 or uint8, got float32"):
        infer("quantized_convolution", tensor(1, 3, 5, 5), weight, **conv)
    with pytest.raises(TypeMismatchError, match=r"weight must be int8, got uint8"):
        infer("quantized_convolution", data, tensor(4, 3, 3, 3, dtype="uint8"), **conv)
    with pytest.raises(TypeMismatchError, match=r"bias must be int32, got float32"):
        infer("quantized_convolution", data, weight, tensor(4), **{**conv, "no_bias": False})
    with pytest.raises(ShapeError, match="3 channels"):
        infer("quantized_convolution", data, tensor(4, 2, 3, 3, dtype="int8"), **conv)
    with pytest.raises(TypeMismatchError, match=r"quantize: data must be float32, got int8"):
        infer("quantize", tensor(3, dtype="int8"))
    with pytest.raises(TypeMismatchError, match=r"dequantize: data must be int8, uint8 or int32, got float32"):
        infer("dequantize", tensor(3), tensor(1))
    with pytest.raises(ShapeError, match=r"scale must have shape \(1,\)"):
        infer("dequantize", tensor(3, dtype="int8"), tensor(3))
    with pytest.raises(ShapeError, match=r"channel_scale must have shape \(3,\)"):
        infer("dequantize", tensor(2, 3, dtype="int32"), tensor(1), tensor(2), per_channel=True)
    with pytest.raises(TypeMismatchError, match=r"channel_scale must be float32"):
        infer("dequantize", tensor(2, 3, dtype="int32"), tensor(1), tensor(3, dtype="float64"), per_channel=True)


def test_an_embedding_of_integers_picks_rows() -> None:
    table = integers(5, 3)
    got = reference("embedding", np.float32([[4, 0]]), table, input_dim=5, output_dim=3)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, table[[[4, 0]]])


@pytest.mark.parametrize("out_type", ["int8", "uint8"])
@pytest.mark.parametrize(
    ("batch_axes", "shape", "scales"),
    [
        (1, (4, 3, 2), (4, 1, 1)),
        (-1, (4, 3, 2), (4, 3, 1)),
        (-2, (4, 3, 2), (4, 1, 1)),
        (2, (4, 3, 2, 2), (4, 3, 1, 1)),
        (1, (5,), (5,)),
        (-1, (5,), (1,)),
        (-3, (4, 3), (1,)),
        (9, (2, 2), (2, 2)),
    ],
)
def test_leading_axes_may_have_ranges_of_their_own(
    batch_axes: int, shape: tuple[int, ...], scales: tuple[int, ...], out_type: str
) -> None:
    sizes = np.float32(100) ** np.arange(shape[0], dtype=np.float32)
    data = normal(*shape) * sizes.reshape(-1, *(1,) * (len(shape) - 1))
    assert infer("quantize", tensor(*shape), batch_axes=batch_axes)[1] == tensor(*scales)
    q, scale = reference("quantize", data, out_type=out_type, batch_axes=batch_axes)
    assert scale.shape == scales
    rows = data.reshape(scale.size, -1)
    for row, own, got in zip(rows, scale.reshape(-1), q.reshape(scale.size, -1), strict=True):
        alone, alone_scale = reference("quantize", row, out_type=out_type)
        assert own == alone_scale[0]
        np.testing.assert_array_equal(got, alone)
    if scale.shape[-1] == 1:
        np.testing.assert_array_equal(reference("dequantize", q, scale), q.astype(np.float32) * scale)


def test_a_calibrated_range_is_one_for_all() -> None:
    data = normal(3, 4)
    got = reference("quantize", data, batch_axes=1, min_calib_range=-1.0, max_calib_range=2.0)
    for one, other in zip(got, quantize(data, -1.0, 2.0), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_becomes_nan_by_itself(bad: float) -> None:
    data = np.float32([[1.0, -2.0], [bad, 3.0], [0.0, 0.0], [1e-44, 0.0]])
    q, scale = reference("quantize", data, batch_axes=1)
    assert np.isnan(scale[1, 0]) and q[1].tolist() == [0, 0]
    assert scale[0, 0] == np.float32(2) / np.float32(127) and scale[2:].reshape(-1).tolist() == [1.0, 1.0]
    assert np.isnan(reference("dequantize", q, scale)[1]).all()


def test_scales_of_samples_go_with_those_of_channels() -> None:
    sums = integers(2, 3, 4).astype(np.int32) * 1000
    scale, channels = np.float32([0.1, 3.0]).reshape(2, 1, 1), np.float32([0.3, 7e-3, 11.0])
    got = reference("dequantize", sums, scale, channels, per_channel=True)
    for n, c in itertools.product(range(2), range(3)):
        factor = np.float32(scale[n, 0, 0] * channels[c])
        np.testing.assert_array_equal(got[n, c], sums[n, c].astype(np.float32) * factor)
    with pytest.raises(ShapeError, match=r"scale must have shape \(1,\)"):
        infer("dequantize", tensor(2, 3, dtype="int8"), tensor(2))
    with pytest.raises(ShapeError, match=r"scale must have shape \(1,\)"):
        infer("dequantize", tensor(2, 3, dtype="int8"), tensor(3, 1))
    with pytest.raises(ShapeError, match=r"scale must have shape \(1,\)"):
        infer("dequantize", tensor(2, 3, dtype="int8"), tensor(1, 3))


@pytest.mark.parametrize(("types", "depth"), [(("uint8", "int8"), 65_793), (("int8", "int8"), 131_071)])
def test_a_batch_dot_of_more_products_than_int32_holds_is_refused(types: tuple[str, str], depth: int) -> None:
    left, right = tensor(1, 2, depth, dtype=types[0]), tensor(1, depth, 3, dtype=types[1])
    assert infer("quantized_batch_dot", left, right) == tensor(1, 2, 3, dtype="int32")
    left, right = tensor(1, 2, depth + 1, dtype=types[0]), tensor(1, 3, depth + 1, dtype=types[1])
    with pytest.raises(ShapeError, match=f"sums of {depth + 1} products of {types[0]} by {types[1]} may exceed int32"):
        infer("quantized_batch_dot", left, right, transpose_b=True)
