"""`mx.npx`: the functions of layers, with MXNet 2's signatures and defaults, against torch."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as onp
import pytest
import torch
import torch.nn.functional as F

from minidnn import npx
from minidnn import numpy as np
from minidnn.errors import MXNetError, OpError, ShapeError


def normal(*shape: int, seed: int = 0) -> Any:
    return onp.random.default_rng(seed).normal(size=shape).astype(onp.float32)


def check(actual: Any, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    assert isinstance(actual, np.ndarray)
    assert actual.shape == tuple(expected.shape)
    scale = max(1.0, float(expected.abs().max()))
    onp.testing.assert_allclose(actual.asnumpy(), expected.numpy(), rtol=0, atol=tolerance * scale)


t = torch.from_numpy
X, W, BIAS = normal(2, 4, 9, 7), normal(6, 4, 3, 3, seed=1), normal(6, seed=2)

# The defaults MXNet 2's scripts rely on.
DEFAULTS: dict[str, dict[str, Any]] = {
    "activation": {"act_type": "relu"},
    "batch_norm": {"eps": 1e-3, "momentum": 0.9, "fix_gamma": True, "use_global_stats": False, "axis": 1},
    "convolution": {"kernel": None, "num_filter": 1, "num_group": 1, "workspace": 1024, "no_bias": False},
    "deconvolution": {"adj": None, "target_shape": None, "num_filter": 1, "no_bias": False},
    "dropout": {"p": 0.5, "mode": "training", "axes": None},
    "embedding": {"input_dim": None, "output_dim": None, "dtype": "float32", "sparse_grad": False},
    "fully_connected": {"bias": None, "num_hidden": None, "no_bias": True, "flatten": True},
    "group_norm": {"num_groups": 1, "eps": 1e-3, "output_mean_var": False},
    "layer_norm": {"axis": None, "eps": None, "output_mean_var": None},
    "leaky_relu": {"gamma": None, "act_type": "leaky", "slope": 0.25, "lower_bound": 0.125, "upper_bound": 0.334},
    "log_softmax": {"axis": -1, "length": None, "temperature": None, "use_length": False, "dtype": None},
    "masked_softmax": {"axis": -1, "temperature": 1.0, "normalize": True},
    "one_hot": {"depth": None, "on_value": 1.0, "off_value": 0.0, "dtype": "float32"},
    "pick": {"axis": -1, "mode": "clip", "keepdims": False},
    "pooling": {"pool_type": "max", "pooling_convention": "valid", "global_pool": False, "count_include_pad": None},
    "softmax": {"axis": -1, "length": None, "temperature": None, "use_length": False, "dtype": None},
    "topk": {"axis": -1, "k": 1, "ret_typ": "indices", "is_ascend": False, "dtype": "float32"},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_mxnets(name: str) -> None:
    parameters = inspect.signature(getattr(npx, name)).parameters
    assert {key: parameters[key].default for key in DEFAULTS[name]} == DEFAULTS[name]


def test_every_public_name_is_there_once() -> None:
    assert all(hasattr(npx, name) for name in npx.__all__)
    assert len(set(npx.__all__)) == len(npx.__all__)


def test_convolution() -> None:
    options = {"kernel": (3, 3), "stride": (2, 1), "dilate": (1, 2), "pad": (1, 2), "num_filter": 6}
    theirs = {"stride": (2, 1), "dilation": (1, 2), "padding": (1, 2)}
    check(npx.convolution(X, W, BIAS, **options), F.conv2d(t(X), t(W), t(BIAS), **theirs))
    check(npx.convolution(np.array(X), np.array(W), no_bias=True, **options), F.conv2d(t(X), t(W), **theirs))
    with pytest.raises(OpError, match="convolution: bias is missing"):
        npx.convolution(X, W, **options)
    with pytest.raises(OpError, match="convolution: weight is missing"):
        npx.convolution(X, no_bias=True, **options)


def test_convolutions_of_one_and_three_dimensions_and_in_groups() -> None:
    x, w = normal(2, 4, 9), normal(6, 2, 3, seed=1)
    check(
        npx.convolution(x, w, BIAS, kernel=3, num_filter=6, num_group=2, pad=1),
        F.conv1d(t(x), t(w), t(BIAS), padding=1, groups=2),
    )
    x, w = normal(1, 2, 5, 6, 7), normal(3, 2, 3, 2, 3, seed=1)
    check(npx.convolution(x, w, kernel=(3, 2, 3), num_filter=3, no_bias=True), F.conv3d(t(x), t(w)))


def test_deconvolution() -> None:
    w = normal(4, 6, 3, 3, seed=1)
    actual = npx.deconvolution(X, w, BIAS, kernel=(3, 3), stride=(2, 2), pad=(1, 1), adj=(1, 1), num_filter=6)
    check(actual, F.conv_transpose2d(t(X), t(w), t(BIAS), 2, 1, 1))
    assert npx.deconvolution(X, w, no_bias=True, kernel=(3, 3), num_filter=6, target_shape=(8, 9)).shape == (2, 6, 8, 9)


def test_fully_connected() -> None:
    w, b = normal(5, 4 * 9 * 7, seed=1), normal(5, seed=2)
    flat = t(X).flatten(1)
    check(npx.fully_connected(X, w, num_hidden=5), F.linear(flat, t(w)), 1e-4)
    check(npx.fully_connected(X, w, b, num_hidden=5, no_bias=False), F.linear(flat, t(w), t(b)), 1e-4)
    # As in MXNet a bias is not used unless no_bias=False says so.
    check(npx.fully_connected(X, w, b), F.linear(flat, t(w)), 1e-4)
    last = normal(5, 7, seed=3)
    check(npx.fully_connected(X, last, flatten=False), F.linear(t(X), t(last)))
    with pytest.raises(ShapeError, match="weight must have shape"):
        npx.fully_connected(X, w[:, 1:])


def test_pooling() -> None:
    check(npx.pooling(X, (3, 3), (2, 2), (1, 1)), F.max_pool2d(t(X), 3, 2, 1))
    check(npx.pooling(X, (2, 3), pool_type="avg"), F.avg_pool2d(t(X), (2, 3), 1))
    excluding = npx.pooling(X, (3, 3), (2, 2), (1, 1), "avg", "full", count_include_pad=False)
    check(excluding, F.avg_pool2d(t(X), 3, 2, 1, True, False))
    check(npx.pooling(X, global_pool=True, pool_type="avg"), t(X).mean((2, 3), keepdim=True))
    with pytest.raises(OpError, match="kernel is required"):
        npx.pooling(X)


def test_normalizations() -> None:
    gamma, beta, mean, var = normal(4, seed=1), normal(4, seed=2), normal(4, seed=3), onp.abs(normal(4, seed=4)) + 0.5
    expected = F.batch_norm(t(X), t(mean), t(var), t(gamma), t(beta), eps=1e-3)
    check(npx.batch_norm(X, gamma, beta, mean, var, fix_gamma=False), expected)
    check(npx.batch_norm(X, gamma, beta, mean, var), F.batch_norm(t(X), t(mean), t(var), None, t(beta), eps=1e-3))
    g, b = normal(7, seed=1), normal(7, seed=2)
    check(npx.layer_norm(X, g, b), F.layer_norm(t(X), (7,), t(g), t(b), 1e-5))
    check(npx.group_norm(X, gamma, beta, 2), F.group_norm(t(X), 2, t(gamma), t(beta), 1e-3))
    check(npx.instance_norm(X, gamma, beta), F.instance_norm(t(X), weight=t(gamma), bias=t(beta), eps=1e-3))
    check(npx.l2_normalization(X, mode="channel"), F.normalize(t(X), dim=1))
    with pytest.raises(OpError, match="layer_norm: gamma is missing"):
        npx.layer_norm(X, beta=b)


def test_activations() -> None:
    for act_type, theirs in (("relu", F.relu), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh), ("mish", F.mish)):
        check(npx.activation(X, act_type), theirs(t(X)))
    check(npx.activation(X), F.relu(t(X)))
    check(npx.leaky_relu(X), F.leaky_relu(t(X), 0.25))
    check(npx.leaky_relu(X, act_type="elu", slope=0.5), F.elu(t(X), 0.5))
    check(npx.leaky_relu(X, normal(4), act_type="prelu"), F.prelu(t(X), t(normal(4))))
    with pytest.raises(OpError, match="leaky_relu: gamma is missing"):
        npx.leaky_relu(X, act_type="prelu")


def test_softmaxes() -> None:
    check(npx.softmax(X, axis=1, temperature=2.0), F.softmax(t(X) / 2, 1))
    check(npx.log_softmax(X), F.log_softmax(t(X), -1))
    assert npx.softmax(X, dtype="float64").dtype == "float64"
    lengths = onp.array([[1, 2, 3, 4, 5, 6, 7]] * 2, onp.int32)
    sums = npx.softmax(X[:, 0].transpose(0, 2, 1), length=lengths, use_length=True)
    assert (sums.asnumpy() > 0).sum(-1).tolist() == lengths.tolist()
    with pytest.raises(OpError, match="softmax: length is missing"):
        npx.softmax(X, use_length=True)
    mask = X > 0
    masked = F.softmax(t(onp.where(mask, X, -onp.inf)).float(), -1).nan_to_num(0)
    check(npx.masked_softmax(X, mask), masked)
    check(npx.masked_softmax(X, mask.astype("float32")), masked)
    assert onp.isneginf(npx.masked_log_softmax(X, mask).asnumpy()).sum() == (~mask).sum()


def test_dropout_and_embedding() -> None:
    x = np.array(X)
    dropped = npx.dropout(x, 0.9)
    assert onp.array_equal(dropped, x)
    dropped[...] = 0
    assert x.any()
    table = normal(7, 3)
    positions = onp.array([[0, 6], [2, 2]])
    check(npx.embedding(positions, table, 7, 3), F.embedding(t(positions), t(table)))
    check(npx.embedding(np.array([[0, 6], [2, 2]]), table), F.embedding(t(positions), t(table)))
    with pytest.raises(ShapeError, match=r"weight must have shape \(8, 3\)"):
        npx.embedding(positions, table, 8, 3)


@pytest.mark.parametrize("function", [npx.activation, npx.leaky_relu, npx.pooling, npx.dropout])
def test_misspelt_keywords_are_refused_and_names_ignored(function: Any) -> None:
    options = {"kernel": (1, 1)} if function is npx.pooling else {}
    assert function(X, name="layer0", **options).shape == X.shape
    with pytest.raises(TypeError, match="unexpected keyword argument 'act_typ'"):
        function(X, act_typ="tanh", **options)


def test_the_switches_and_devices_are_there() -> None:
    npx.set_np()
    npx.set_np(shape=True, array=True, dtype=False)
    npx.reset_np()
    npx.waitall()
    assert npx.is_np_array()
    assert npx.is_np_shape()
    assert npx.num_gpus() == 0
    assert npx.cpu() == npx.current_device()
    with pytest.raises(MXNetError, match="CPUs only"):
        npx.gpu()
    npx.seed(3)
    first = np.random.rand(3)
    npx.random.seed(3)
    assert onp.array_equal(np.random.rand(3), first)
