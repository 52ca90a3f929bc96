"""Pooling against torch, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op
from minidnn.ops.pooling import pooling_output_size

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    return {
        "spatial": tuple(draw(st.integers(1, 9)) for _ in range(rank)),
        "kernel": kernel,
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        # torch knows padding up to half the kernel only.
        "pad": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "full": draw(st.booleans()),
    }


def fits(g: dict[str, Any]) -> bool:
    """Every window fits, and the last one begins inside the input, where torch would drop it."""
    convention = "full" if g["full"] else "valid"
    return all(
        k <= n + 2 * p and (pooling_output_size(n, k, s, p, convention) - 1) * s < n + p
        for n, k, s, p in zip(*(g[name] for name in ("spatial", "kernel", "stride", "pad")), strict=True)
    )


def attrs_of(g: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernel": g["kernel"],
        "stride": g["stride"],
        "pad": g["pad"],
        "pooling_convention": "full" if g["full"] else "valid",
    }


@settings(max_examples=60, deadline=None)
@given(geometries())
def test_max_pooling_agrees_with_torch(g: dict[str, Any]) -> None:
    assume(fits(g))
    x = normal(2, 3, *g["spatial"])
    expected = MAX[len(g["kernel"])](torch.from_numpy(x), g["kernel"], g["stride"], g["pad"], ceil_mode=g["full"])
    assert np.array_equal(reference("pooling", x, **attrs_of(g)), expected.numpy())


@settings(max_examples=60, deadline=None)
@given(geometries(), st.booleans())
def test_average_and_sum_pooling_agree_with_torch(g: dict[str, Any], include: bool) -> None:
    # torch's average pooling wants the kernel inside the input without its padding.
    assume(fits(g) and all(k <= n for k, n in zip(g["kernel"], g["spatial"], strict=True)))
    x = normal(2, 3, *g["spatial"])
    expected = AVG[len(g["kernel"])](
        torch.from_numpy(x), g["kernel"], g["stride"], g["pad"], ceil_mode=g["full"], count_include_pad=include
    )
    assert_close(reference("pooling", x, pool_type="avg", count_include_pad=include, **attrs_of(g)), expected.numpy())
    ones = AVG[len(g["kernel"])](
        torch.from_numpy(x * 0 + 1), g["kernel"], g["stride"], g["pad"], ceil_mode=g["full"], count_include_pad=False
    )
    assert_close(ones.numpy(), np.ones_like(ones.numpy()))
    total = reference("pooling", x, pool_type="sum", **attrs_of(g))
    count = reference("pooling", np.ones_like(x), pool_type="sum", **attrs_of(g))
    if not include:
        assert_close(total / count, expected.numpy())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pooling_is_over_everything(rank: int) -> None:
    x = normal(2, 3, *range(4, 4 + rank))
    axes = tuple(range(2, rank + 2))
    tensors = torch.from_numpy(x)
    assert_close(reference("pooling", x, global_pool=True), torch.amax(tensors, axes, keepdim=True).numpy())
    average = reference("pooling", x, global_pool=True, pool_type="avg", kernel=(1,) * rank, pad=(9,) * rank)
    assert_close(average, tensors.mean(axes, keepdim=True).numpy())
    total = reference("pooling", x, global_pool=True, pool_type="sum")
    assert_close(total, tensors.sum(axes, keepdim=True).numpy())


def test_geometry_is_completed_to_one_form() -> None:
    op = get_op("pooling")
    attrs = op.make_attrs({"kernel": (2, 2), "count_include_pad": "None"})
    assert (attrs.stride, attrs.pad, attrs.layout, attrs.count_include_pad) == ((1, 1), (0, 0), "NCHW", True)
    everything = op.make_attrs({"global_pool": True, "kernel": (7, 7), "pooling_convention": "full"})
    assert everything == op.make_attrs({"global_pool": True})


def test_same_gives_one_window_for_every_stride() -> None:
    x = np.array([[[1, 5, 2, 4, 3]]], np.float32)
    out = reference("pooling", x, kernel=3, stride=2, pooling_convention="same")
    assert out.tolist() == [[[5, 4, 3]]]


def test_max_pooling_takes_integers_and_keeps_nan() -> None:
    x = np.arange(-8, 8, dtype=np.int8).reshape(1, 1, 4, 4)
    out = reference("pooling", x, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    assert out.dtype == np.int8
    assert out.tolist() == [[[[-3, -1], [5, 7]]]]
    y = np.array([[[1, np.nan, 2, 0]]], np.float32)
    assert np.array_equal(reference("pooling", y, kernel=2, stride=2), [[[np.nan, 2]]], equal_nan=True)


@pytest.mark.parametrize(
    ("error", "message", "type_", "attrs"),
    [
        (OpError, "kernel is required unless global_pool", tensor(1, 2, 8), {}),
        (ShapeError, r"data must have 4 dimensions \(N, C, H, W\), got 3", tensor(1, 2, 8), {"kernel": (2, 2)}),
        (ShapeError, "data must have 3, 4 or 5 dimensions", tensor(1, 2), {"global_pool": True}),
        (ShapeError, r"does not fit into the padded input of 3 \+ 2·0", tensor(1, 2, 3), {"kernel": 4}),
        (ShapeError, "must not be empty, got dimension 2 of size zero", tensor(1, 2, 0), {"kernel": 2}),
        (OpError, r"pad must be smaller than kernel, got pad=\(2,\)", tensor(1, 2, 8), {"kernel": 2, "pad": 2}),
        (OpError, "layout must be NCW", tensor(1, 2, 8), {"kernel": 2, "layout": "NWC"}),
        (OpError, "layout must be one of", tensor(1, 2, 8), {"global_pool": True, "layout": "NWC"}),
        (
            ShapeError,
            r"stride \(5,\) puts the last window .* behind the input",
            tensor(1, 2, 5),
            {"kernel": 1, "stride": 5, "pooling_convention": "full"},
        ),
        (TypeMismatchError, "data must be float16", tensor(1, 2, 8, dtype="int32"), {"kernel": 2, "pool_type": "avg"}),
        (TypeMismatchError, "data must be integer or float", tensor(1, 2, 8, dtype="bool"), {"kernel": 2}),
        (OpError, "'same' is for max pooling", tensor(1, 2, 8, 8), {"kernel": (2, 2), "pooling_convention": "same"}),
        (
            OpError,
            "chooses the padding itself",
            tensor(1, 2, 8),
            {"kernel": 3, "pad": 1, "pooling_convention": "same"},
        ),
    ],
)
def test_pooling_refuses(error: type[Exception], message: str, type_: Any, attrs: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        infer("pooling", type_, **attrs)
