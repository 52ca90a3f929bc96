"""Activations, clip, where, cast and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError

X = np.concatenate([np.linspace(-9, 9, 37), [0.0, -0.0, 50.0, -50.0]]).astype(np.float32)

ACTIVATIONS: dict[str, Any] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "mish": F.mish,
    "tanh": torch.tanh,
    "softrelu": F.softplus,
    "softsign": F.softsign,
}


@pytest.mark.parametrize("act_type", sorted(ACTIVATIONS))
def test_activations_agree_with_torch(act_type: str) -> None:
    expected = ACTIVATIONS[act_type](torch.from_numpy(X)).numpy()
    assert_close(reference("activation", X, act_type=act_type), expected, 1e-6)


@pytest.mark.parametrize(
    ("attrs", "function"),
    [
        ({"act_type": "leaky", "slope": 0.1}, lambda x: F.leaky_relu(x, 0.1)),
        ({"act_type": "leaky"}, lambda x: F.leaky_relu(x, 0.25)),
        ({"act_type": "elu", "slope": 0.7}, lambda x: F.elu(x, 0.7)),
        ({"act_type": "selu"}, F.selu),
        ({"act_type": "gelu"}, F.gelu),
        ({"act_type": "gelu_tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        ({"act_type": "rrelu", "lower_bound": 0.1, "upper_bound": 0.3}, lambda x: F.rrelu(x, 0.1, 0.3)),
    ],
)
def test_leaky_activations_agree_with_torch(attrs: dict[str, Any], function: Any) -> None:
    assert_close(reference("leaky_relu", X, **attrs), function(torch.from_numpy(X)).numpy(), 1e-6)


@pytest.mark.parametrize("approximation", ["erf", "tanh"])
def test_gelu_agrees_with_torch(approximation: str) -> None:
    expected = F.gelu(torch.from_numpy(X), approximate="tanh" if approximation == "tanh" else "none").numpy()
    assert_close(reference("gelu", X, approximation=approximation), expected, 1e-6)


@pytest.mark.parametrize("slopes", [1, 4])
def test_prelu_has_a_slope_for_each_channel(slopes: int) -> None:
    x, gamma = normal(2, 4, 3, 5), normal(slopes, seed=1)
    expected = F.prelu(torch.from_numpy(x), torch.from_numpy(gamma)).numpy()
    assert_close(reference("leaky_relu", x, gamma, act_type="prelu"), expected)
    full = normal(2, 4, 3, 5, seed=2)
    assert_close(reference("leaky_relu", x, full, act_type="prelu"), np.where(x > 0, x, x * full))


def test_prelu_refuses_slopes_for_other_channels() -> None:
    with pytest.raises(ShapeError, match=r"gamma \(3,\) does not broadcast along axis 1 of data \(2, 4, 3\)"):
        infer("leaky_relu", tensor(2, 4, 3), tensor(3), act_type="prelu")
    with pytest.raises(TypeMismatchError, match="gamma must be float32 like data"):
        infer("leaky_relu", tensor(2, 4), tensor(4, dtype="float64"), act_type="prelu")


def test_hard_functions_agree_with_torch() -> None:
    x = torch.from_numpy(X)
    assert_close(reference("hard_sigmoid", X, alpha=1 / 6, beta=0.5), F.hardsigmoid(x).numpy(), 1e-6)
    assert_close(reference("hard_swish", X), F.hardswish(x).numpy(), 1e-6)


@pytest.mark.parametrize("scalar", [1.0, 2.0])
def test_smooth_l1_agrees_with_torch(scalar: float) -> None:
    # torch's beta is 1/scalar², and it divides the square by it.
    expected = F.smooth_l1_loss(torch.from_numpy(X), torch.zeros(X.shape), reduction="none", beta=1 / scalar**2)
    assert_close(reference("smooth_l1", X, scalar=scalar), expected.numpy(), 1e-6)


@pytest.mark.parametrize("name", ["activation", "leaky_relu", "gelu", "hard_sigmoid", "smooth_l1"])
def test_activations_of_integers_are_refused(name: str) -> None:
    attrs = {"act_type": "relu"} if name == "activation" else {}
    with pytest.raises(TypeMismatchError, match=f"{name}: data must be float16, float32 or float64, got int32"):
        infer(name, tensor(2, dtype="int32"), **attrs)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(OpError, match=r"'act_type' must be one of .*got 'rellu'"):
        infer("activation", tensor(2), act_type="rellu")


@pytest.mark.parametrize(("low", "high"), [(-1, 2), (None, 2), (-1, None), (None, None), (2, -1)])
def test_clip_agrees_with_numpy(low: Any, high: Any) -> None:
    assert_close(reference("clip", X, a_min=low, a_max=high), X if low is high is None else np.clip(X, low, high))


def test_clip_keeps_nan() -> None:
    assert np.isnan(reference("clip", np.array([np.nan], np.float32), a_min=0, a_max=6)[0])


def test_clip_keeps_integers_inside_their_dtype() -> None:
    x = np.array([0, 3, 250], np.uint8)
    assert reference("clip", x, a_min=-5, a_max=1000).tolist() == [0, 3, 250]
    assert reference("clip", x, a_min=2.5, a_max=6.5).tolist() == [3, 3, 6]
    with pytest.raises(OpError, match="must be numbers, got nan"):
        infer("clip", tensor(2), a_min=float("nan"), a_max=1)


def test_where_chooses_and_promotes() -> None:
    condition = np.array([[1], [0]], np.float32)
    x, y = np.arange(3, dtype=np.int32), np.full((2, 1), 0.5, np.float32)
    result = reference("where", condition, x, y)
    assert result.tolist() == [[0, 1, 2], [0.5, 0.5, 0.5]]
    assert result.dtype == np.float32
    with pytest.raises(ShapeError, match="where: shapes"):
        infer("where", tensor(2, dtype="bool"), tensor(3), tensor(1))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "uint8", "bool"])
def test_cast_is_numpys(dtype: str) -> None:
    x = np.array([-1.7, 0, 0.2, 3.9], np.float32) if dtype != "uint8" else np.array([0, 3.9], np.float32)
    result = reference("cast", x, dtype=dtype)
    assert result.dtype == dtype
    assert np.array_equal(result, x.astype(dtype))
    with pytest.raises(TypeMismatchError, match="got complex64"):
        infer("cast", tensor(2), dtype="complex64")


def test_dropout_passes_through_and_never_drops() -> None:
    assert np.array_equal(reference("dropout", X, p=0.9), X)
    with pytest.raises(OpError, match="mode 'always'"):
        infer("dropout", tensor(2), mode="always")
