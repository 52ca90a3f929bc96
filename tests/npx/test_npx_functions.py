"""`mx.npx`: the functions that are not layers."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest
import torch
import torch.nn.functional as F

from minidnn import npx
from minidnn import numpy as np
from minidnn.errors import OpError, ShapeError

X = onp.random.default_rng(0).normal(size=(2, 3, 4)).astype(onp.float32)

UNARY: dict[str, Any] = {
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "mish": F.mish,
    "silu": F.silu,
    "hard_swish": F.hardswish,
    "erf": torch.erf,
    "gammaln": torch.lgamma,
    "gelu": F.gelu,
    "smooth_l1": lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none"),
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "stop_gradient": torch.clone,
    "batch_flatten": lambda x: x.flatten(1),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array_agree_with_torch(name: str) -> None:
    expected = UNARY[name](torch.from_numpy(X)).numpy()
    for argument in (X, np.array(X), X.tolist()):
        onp.testing.assert_allclose(getattr(npx, name)(argument).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_inverse_error_function_and_gamma() -> None:
    x = onp.linspace(-0.9, 0.9, 7).astype(onp.float32)
    onp.testing.assert_allclose(npx.erf(npx.erfinv(x)).asnumpy(), x, rtol=1e-5, atol=1e-7)
    assert npx.gamma([1, 2, 3, 4, 5]).tolist() == [1, 1, 2, 6, 24]
    onp.testing.assert_allclose(
        npx.gelu(X, "tanh").asnumpy(), F.gelu(torch.from_numpy(X), approximate="tanh").numpy(), atol=1e-6
    )


def test_batch_dot() -> None:
    y = X.transpose(0, 2, 1).copy()
    onp.testing.assert_allclose(npx.batch_dot(X, y).asnumpy(), X @ y, rtol=1e-5, atol=1e-5)
    onp.testing.assert_allclose(npx.batch_dot(X, X, transpose_b=True).asnumpy(), X @ y, rtol=1e-5, atol=1e-5)
    onp.testing.assert_allclose(npx.batch_dot(X, X, transpose_a=True).asnumpy(), y @ X, rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match="the summed dimensions differ"):
        npx.batch_dot(X, X)


def test_shapes() -> None:
    assert npx.reshape(X, (-2, -5)).shape == (2, 12)
    assert npx.reshape(X, (-2, -6, 3, 1, -2)).shape == (2, 3, 1, 4)
    assert npx.reshape(X, (-4, -5), reverse=True).shape == (2, 12)
    assert npx.reshape(X, -1).shape == (24,)
    assert npx.reshape_like(X, onp.zeros((4, 6))).shape == (4, 6)
    assert npx.broadcast_like(X[:, :1], X).shape == (2, 3, 4)
    assert npx.shape_array(X).tolist() == [2, 3, 4]
    assert npx.cast(X, "int8").dtype == "int8"


def test_slices() -> None:
    assert onp.array_equal(npx.slice(X, (0, 1), (None, 3)), X[0:, 1:3])
    assert onp.array_equal(npx.slice(X, begin=None, end=1), X[:1])
    assert onp.array_equal(npx.slice(X, (None, None, -1), (None, None, 0), (1, 1, -2)), X[:, :, -1:0:-2])
    assert onp.array_equal(npx.slice_axis(X, -1, 1, None), X[:, :, 1:])
    assert onp.array_equal(npx.slice_like(X, onp.zeros((1, 2, 4))), X[:1, :2])
    assert onp.array_equal(npx.slice_like(X, onp.zeros((1, 2, 3)), axes=(2,)), X[:, :, :3])


def test_picking() -> None:
    index = onp.array([[0, 3, 1], [2, 2, 9]])
    expected = onp.take_along_axis(X, onp.clip(index, 0, 3)[..., None], -1)
    assert onp.array_equal(npx.pick(X, index), expected[..., 0])
    assert onp.array_equal(npx.pick(X, index, keepdims=True), expected)
    assert onp.array_equal(npx.gather_nd(X, [[0, 1], [2, 0]]), X[[0, 1], [2, 0]])
    assert npx.one_hot([0, 2], 3).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(OpError, match="attribute 'depth' must be a int, got None"):
        npx.one_hot([0, 2])


def test_topk() -> None:
    x = onp.array([[3, 1, 2]], onp.float32)
    assert npx.topk(x).tolist() == [[0]]
    assert npx.topk(x, k=2).dtype == "float32"
    values, indices = npx.topk(x, k=2, ret_typ="both", dtype="int32")
    assert (values.tolist(), indices.tolist(), indices.dtype) == ([[3, 2]], [[0, 2]], onp.int32)
    assert isinstance(npx.topk(x, ret_typ="both"), list)
    assert npx.topk(x, k=2, ret_typ="mask").tolist() == [[1, 0, 1]]
    assert npx.topk(x, axis=None, is_ascend=True, ret_typ="value").tolist() == [1]


def test_sequences() -> None:
    x = onp.ones((3, 2), onp.float32)
    assert npx.sequence_mask(x, [1, 3], True).tolist() == [[1, 1], [0, 1], [0, 1]]
    assert npx.sequence_mask(x, [1, 0, 2], True, value=-1, axis=1).tolist() == [[1, -1], [-1, -1], [1, 1]]
    assert npx.sequence_mask(x).tolist() == x.tolist()
    assert npx.arange_like(x, axis=0).tolist() == [0, 1, 2]
    with pytest.raises(OpError, match="sequence_length is missing"):
        npx.sequence_mask(x, use_sequence_length=True)


def test_sums_norms_and_positions() -> None:
    onp.testing.assert_allclose(npx.add_n(X, X, X).asnumpy(), 3 * X, rtol=1e-6)
    assert npx.add_n(X) is not X
    for order in (1, 2):
        expected = torch.linalg.vector_norm(torch.from_numpy(X), order, dim=(1, 2)).numpy()
        onp.testing.assert_allclose(npx.norm(X, order, (1, 2)).asnumpy(), expected, rtol=1e-5)
    assert npx.nonzero([[0, 1], [2, 0]]).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(OpError, match="at least one array"):
        npx.add_n()
    with pytest.raises(OpError, match="ord must be 1 or 2, got 3"):
        npx.norm(X, 3)


def test_random_numbers() -> None:
    npx.random.seed(1)
    coins = npx.random.bernoulli(0.25, size=(2000,))
    assert coins.dtype == "float32"
    assert set(coins.tolist()) == {0, 1}
    assert 0.2 < coins.mean() < 0.3
    assert npx.random.bernoulli(logit=np.array([-99, 99])).tolist() == [0, 1]
    assert npx.random.uniform_n(np.array([0, 10]), 20, (3,)).shape == (3, 2)
    assert npx.random.normal_n(batch_shape=(3, 2)).shape == (3, 2)
    with pytest.raises(OpError, match="not both"):
        npx.random.bernoulli(0.5, 0.5)
