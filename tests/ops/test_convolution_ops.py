"""Convolution and transposed convolution against torch, and what they refuse."""

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

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))

    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    return {
        "batch": draw(st.integers(1, 2)),
        "groups": draw(st.integers(1, 3)),
        "in_each": draw(st.integers(1, 3)),
        "out_each": draw(st.integers(1, 3)),
        "spatial": numbers(1, 7),
        "kernel": numbers(1, 3),
        "stride": numbers(1, 3),
        "dilate": numbers(1, 2),
        "pad": numbers(0, 2),
        "adj": numbers(0, 1),
        "bias": draw(st.booleans()),
    }


@settings(max_examples=80, deadline=None)
@given(geometries())
def test_convolution_agrees_with_torch(g: dict[str, Any]) -> None:
    assume(
        all(
            n + 2 * p >= d * (k - 1) + 1
            for n, p, d, k in zip(g["spatial"], g["pad"], g["dilate"], g["kernel"], strict=True)
        )
    )
    filters = g["groups"] * g["out_each"]
    x = normal(g["batch"], g["groups"] * g["in_each"], *g["spatial"])
    w, b = normal(filters, g["in_each"], *g["kernel"], seed=1), normal(filters, seed=2)
    attrs = {name: g[name] for name in ("kernel", "stride", "dilate", "pad")}
    inputs = [x, w, b] if g["bias"] else [x, w]
    actual = reference(
        "convolution", *inputs, num_filter=filters, num_group=g["groups"], no_bias=not g["bias"], **attrs
    )
    tensors = [torch.from_numpy(a) for a in inputs]
    expected = CONV[len(g["kernel"])](
        *tensors, stride=g["stride"], padding=g["pad"], dilation=g["dilate"], groups=g["groups"]
    )
    assert_close(actual, expected.numpy())


@settings(max_examples=80, deadline=None)
@given(geometries())
def test_deconvolution_agrees_with_torch(g: dict[str, Any]) -> None:
    sizes = [
        s * (n - 1) + d * (k - 1) + 1 - 2 * p + a
        for n, s, d, k, p, a in zip(
            *(g[name] for name in ("spatial", "stride", "dilate", "kernel", "pad", "adj")), strict=True
        )
    ]
    assume(min(sizes) > 0)
    assume(all(a < max(s, d) for a, s, d in zip(g["adj"], g["stride"], g["dilate"], strict=True)))
    filters, channels = g["groups"] * g["out_each"], g["groups"] * g["in_each"]
    x = normal(g["batch"], channels, *g["spatial"])
    w, b = normal(channels, g["out_each"], *g["kernel"], seed=1), normal(filters, seed=2)
    attrs = {name: g[name] for name in ("kernel", "stride", "dilate", "pad", "adj")}
    inputs = [x, w, b] if g["bias"] else [x, w]
    actual = reference(
        "deconvolution", *inputs, num_filter=filters, num_group=g["groups"], no_bias=not g["bias"], **attrs
    )
    expected = TRANSPOSED[len(g["kernel"])](
        *[torch.from_numpy(a) for a in inputs],
        stride=g["stride"],
        padding=g["pad"],
        dilation=g["dilate"],
        output_padding=g["adj"],
        groups=g["groups"],
    )
    assert_close(actual, expected.numpy())


@pytest.mark.parametrize("target", [9, 10, 11])
def test_target_shape_chooses_the_padding(target: int) -> None:
    x, w = normal(1, 2, 5), normal(2, 3, 3, seed=1)
    out = reference("deconvolution", x, w, kernel=3, stride=2, num_filter=3, target_shape=target)
    full = reference("deconvolution", x, w, kernel=3, stride=2, num_filter=3)
    front = (full.shape[2] - target + 1) // 2
    assert_close(out, full[:, :, front : front + target])


def test_what_padding_cuts_off_takes_no_memory() -> None:
    x, w = normal(1, 2, 3, 3), normal(2, 4, 2, 2, seed=1)
    attrs = {"kernel": (2, 2), "num_filter": 4, "stride": (2**30, 2**30), "target_shape": (4, 3)}
    out = reference("deconvolution", x, w, **attrs)
    # Outputs 1 and 2, and 0 and 1, are what the input in the middle makes.
    expected = np.zeros((1, 4, 4, 3))
    expected[:, :, 1:3, :2] = np.einsum("c,cfyx->fyx", x[0, :, 1, 1], w)
    assert_close(out, expected)


def test_float16_is_computed_in_float32() -> None:
    x, w = normal(1, 64, 5, 5, dtype="float16"), normal(4, 64, 3, 3, seed=1, dtype="float16")
    out = reference("convolution", x, w, kernel=(3, 3), num_filter=4, no_bias=True)
    exact = F.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double()).numpy()
    assert out.dtype == np.float16
    assert_close(out, exact, 1e-3)


def test_omitted_geometry_is_completed() -> None:
    attrs = get_op("convolution").make_attrs({"kernel": (3, 5), "num_filter": 2})
    assert (attrs.stride, attrs.dilate, attrs.pad, attrs.layout) == ((1, 1), (1, 1), (0, 0), "NCHW")
    assert get_op("convolution").make_attrs({"kernel": "[3]", "num_filter": "2", "stride": "()"}).layout == "NCW"


@pytest.mark.parametrize("op", ["convolution", "deconvolution"])
def test_parameter_shapes_follow_from_the_data(op: str) -> None:
    entry = get_op(op)
    attrs = entry.make_attrs({"kernel": (3, 2), "num_filter": 8, "num_group": 2, "no_bias": False})
    assert entry.infer_parameters is not None
    shapes = entry.infer_parameters(attrs, tensor(1, 6, 9, 9))
    assert shapes == {"weight": (8, 3, 3, 2) if op == "convolution" else (6, 4, 3, 2), "bias": (8,)}


GOOD = {"kernel": (3, 3), "num_filter": 4}
REFUSED: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
    (ShapeError, r"data must have 4 dimensions \(N, C, H, W\), got 3", (tensor(1, 3, 8), tensor(4, 3, 3, 3)), {}),
    (ShapeError, "data has 5 channels but weight .* is made for 3", (tensor(1, 5, 8, 8), tensor(4, 3, 3, 3)), {}),
    (ShapeError, r"weight must have shape \(4, 3, 3, 3\)", (tensor(1, 3, 8, 8), tensor(5, 3, 3, 3)), {}),
    (ShapeError, r"weight must have shape \(4, 3, 3, 3\)", (tensor(1, 3, 8, 8), tensor(4, 3, 9)), {}),
    (
        ShapeError,
        "num_group=2 must divide both the 3 channels",
        (tensor(1, 3, 8, 8), tensor(4, 1, 3, 3)),
        {"num_group": 2},
    ),
    (ShapeError, r"reaches over 3 elements and does not fit .* 2 \+ 2·0", (tensor(1, 3, 2, 9), tensor(4, 3, 3, 3)), {}),
    (ShapeError, "reaches over 9 elements", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"dilate": (4, 4)}),
    (ShapeError, "must not be empty, got dimension 1 of size zero", (tensor(2, 0, 8, 8), tensor(4, 0, 3, 3)), {}),
    (ShapeError, "dimension 2 of size zero", (tensor(1, 3, 0, 8), tensor(4, 3, 3, 3)), {"pad": (5, 5)}),
    (
        TypeMismatchError,
        "data must be float16, float32 or float64, got int32",
        (tensor(1, 3, 8, 8, dtype="int32"), tensor(4, 3, 3, 3)),
        {},
    ),
    (
        TypeMismatchError,
        "weight must be float32 like data, got float64",
        (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3, dtype="float64")),
        {},
    ),
    (OpError, "'pad' must be at least 0", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"pad": (-1, 0)}),
    (OpError, "stride must have 2 numbers like kernel", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"stride": (1,)}),
    (OpError, "layout must be NCHW", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"layout": "NHWC"}),
    (
        OpError,
        "kernel must have one, two or three numbers",
        (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)),
        {"kernel": (1, 1, 1, 1)},
    ),
    (OpError, "pad must be all integers", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"pad": (None, 1)}),
    (OpError, "dilate must be at most 2147483647", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"dilate": (1, 2**31)}),
    (OpError, "'num_filter' must be at least 1", (tensor(1, 3, 8, 8), tensor(4, 3, 3, 3)), {"num_filter": 0}),
]


@pytest.mark.parametrize(("error", "message", "types", "attrs"), REFUSED)
def test_convolution_refuses(error: type[Exception], message: str, types: Any, attrs: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        infer("convolution", *types, **{**GOOD, "no_bias": True, **attrs})


def test_a_bias_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"bias must have shape \(4,\)"):
        infer("convolution", tensor(1, 3, 8, 8), tensor(4, 3, 3, 3), tensor(3), **GOOD)


@pytest.mark.parametrize(
    ("message", "attrs"),
    [
        ("adj must be smaller", {"adj": (2, 2)}),
        ("stride must be at most 2147483647", {"stride": (2**70, 1)}),
        ("pad .* leaves nothing", {"pad": (9, 9)}),
        (r"target_shape must lie in 1\.\.10", {"target_shape": (11, 11)}),
    ],
)
def test_deconvolution_refuses(message: str, attrs: dict[str, Any]) -> None:
    with pytest.raises(OpError, match=message):
        infer("deconvolution", tensor(1, 3, 8, 8), tensor(3, 4, 3, 3), **GOOD, **attrs)
