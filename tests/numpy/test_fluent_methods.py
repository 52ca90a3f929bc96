"""Methods of arrays beside NumPy's, against the functions."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

import minidnn as mx
from minidnn.errors import OpError, ShapeError
from minidnn.gluon import nn

X = np.random.default_rng(2).uniform(0.1, 0.9, (2, 8, 4, 6)).astype(np.float32)

NUMPYS = [
    "arccos",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "degrees",
    "exp",
    "expm1",
    "fix",
    "flip",
    "floor",
    "log",
    "log10",
    "log1p",
    "log2",
    "ones_like",
    "radians",
    "reciprocal",
    "rint",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
    "zeros_like",
    "nansum",
    "nanprod",
    "diagonal",
]
NPX = ["log_sigmoid", "log_softmax", "mish", "relu", "sigmoid", "softmax", "shape_array", "topk"]


@pytest.mark.parametrize("name", NUMPYS)
def test_numpys_functions_are_methods(name):
    got = getattr(mx.np.array(X), name)()
    np.testing.assert_allclose(got.asnumpy(), getattr(np, name)(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NPX)
def test_operators_are_methods(name):
    x = mx.np.array(X)
    np.testing.assert_array_equal(getattr(x, name)().asnumpy(), getattr(mx.npx, name)(x).asnumpy())


def test_methods_that_take_arguments():
    x, host = mx.np.array(X), X
    np.testing.assert_array_equal(x.arccosh().asnumpy(), mx.np.arccosh(x).asnumpy())
    np.testing.assert_allclose(x.rsqrt().asnumpy(), 1 / np.sqrt(host), rtol=1e-6)
    np.testing.assert_allclose(x.rcbrt().asnumpy(), 1 / np.cbrt(host), rtol=1e-6)
    np.testing.assert_allclose(x.softmin(1).asnumpy(), torch.softmax(-torch.from_numpy(host), 1).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(x.slice((0, 1), (1, 3)).asnumpy(), host[0:1, 1:3])
    np.testing.assert_array_equal(x.slice_axis(2, 1, 3).asnumpy(), host[:, :, 1:3])
    np.testing.assert_array_equal(x.slice_like(mx.np.zeros((1, 2)), axes=(0, 1)).asnumpy(), host[:1, :2])
    np.testing.assert_array_equal(x.pick(mx.np.zeros((2, 8, 4))).asnumpy(), host[..., 0])
    np.testing.assert_array_equal(
        x.pad(((0, 0), (1, 0), (0, 0), (0, 2))).asnumpy(), mx.np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 2)))
    )
    np.testing.assert_array_equal(x.flip(1).asnumpy(), host[:, ::-1])
    np.testing.assert_array_equal(x[0, 0].diag(1).asnumpy(), np.diag(host[0, 0], 1))
    np.testing.assert_array_equal(x.argmax_channel().asnumpy(), host.argmax(1).astype(np.float32))
    np.testing.assert_allclose(x.norm(1, 3, True).asnumpy(), np.abs(host).sum(3, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(x.norm().item(), np.sqrt((host**2).sum()), rtol=1e-6)
    np.testing.assert_array_equal(x.mT.asnumpy(), host.swapaxes(-1, -2))
    np.testing.assert_array_equal(mx.np.array([1, 0]).one_hot(3).asnumpy(), np.eye(3)[[1, 0]])
    assert x.size_array().tolist() == [host.size] and x.shape_array().tolist() == list(host.shape)
    assert x.reshape_like(mx.np.zeros((16, 24))).shape == (16, 24)
    assert [p.shape for p in x.split(2, axis=1)] == [(2, 4, 4, 6)] * 2
    assert [p.shape for p in x.split_v2(8, axis=1, squeeze_axis=True)] == [(2, 4, 6)] * 8
    assert mx.np.ones((2, 1)).broadcast_like(mx.np.ones((2, 5))).shape == (2, 5)
    assert mx.np.ones((2, 1, 1)).broadcast_axes((1, 2), (3, 4)).shape == (2, 3, 4)
    assert x.drop_grad() is None
    values, positions = x.topk(k=2, ret_typ="both")
    assert values.shape == positions.shape == (2, 8, 4, 2)
    with pytest.raises(TypeError, match="takes 2 arguments"):
        x.softmax(1, 2, 3)


def test_methods_show_their_arguments():
    for name in ("exp", "diag", "pad", "split", "flip", "zeros_like"):
        function = list(inspect.signature(getattr(mx.np, name)).parameters.values())
        assert list(inspect.signature(getattr(mx.np.ndarray, name)).parameters.values())[1:] == function[1:]
    assert str(inspect.signature(mx.np.ndarray.topk)).startswith("(self, axis=-1, k=1,")
    with pytest.raises(TypeError, match="multiple values for argument 'axis'"):
        mx.np.array(X).topk(1, axis=1)


def test_shapes_and_axes_of_another_array_are_given_by_place():
    x = mx.np.ones((30, 7))
    assert x.reshape_like(mx.np.ones((15, 2, 4)), 0, 1, 0, 2).shape == (15, 2, 7)
    assert mx.np.ones((1, 3)).broadcast_like(mx.np.ones((5, 8)), (0,), (1,)).shape == (8, 3)


def test_channels_and_pixels_change_places():
    x = mx.np.array(X)
    pixels = x.depth_to_space(2)
    # MXNet takes the blocks' rows and columns before the channels, torch after them.
    shuffled = X.reshape(2, 4, 2, 4, 6).swapaxes(1, 2).reshape(2, 8, 4, 6).copy()
    np.testing.assert_array_equal(pixels.asnumpy(), torch.pixel_shuffle(torch.from_numpy(shuffled), 2).numpy())
    np.testing.assert_array_equal(pixels.space_to_depth(2).asnumpy(), X)
    for call in (lambda: x.depth_to_space(3), lambda: x.space_to_depth(4), lambda: x.depth_to_space(0)):
        with pytest.raises(ShapeError, match="do not divide"):
            call()
    with pytest.raises(ShapeError, match="four dimensions"):
        x[0].depth_to_space(2)


def test_the_codes_of_mxnet_1():
    x = mx.np.array(X)
    for codes, shape in (
        ((0, -1), (2, 192)),
        ((0, -2), X.shape),
        ((-3, -2), (16, 4, 6)),
        ((-4, 1, 2, -2), (1, 2, 8, 4, 6)),
        ((0, -4, -1, 2, 0, 0), (2, 4, 2, 4, 6)),
    ):
        got = x.reshape_view(codes)
        assert got.shape == x.reshape_view(*codes).shape == shape
        np.testing.assert_array_equal(got.asnumpy(), X.reshape(shape))


def test_writes_to_slices():
    x, host = mx.np.array(X), X.copy()
    assert x.writable
    assert x.slice_assign(mx.np.zeros((1, 2, 4, 6)), (0, 1), (1, 5), (1, 2)) is x
    host[0:1, 1:5:2] = 0
    x.slice_assign_scalar(3, (None, 6), (None, None), ())
    host[:, 6:] = 3
    np.testing.assert_array_equal(x.asnumpy(), host)


def test_methods_run_compiled():
    class Net(nn.HybridBlock):
        def forward(self, x):
            return x.exp().depth_to_space(2).space_to_depth(2).softmin(1).norm(2, 1) + x.reshape((-2, -1)).sum()

    net = Net()
    x = mx.np.array(X)
    want = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), want, rtol=1e-5)


@pytest.mark.parametrize(
    "shape, wanted",
    [
        ((-2, -2, -1), (2, 8, 24)),
        ((-4,), (2, 8, 4, 6)),
        ((-5, -4), (16, 4, 6)),
        ((-6, 1, -1, -4), (1, 2, 8, 4, 6)),
        ((-2, -6, 2, 4, -5), (2, 2, 4, 24)),
        ([-2, -1], (2, 192)),
    ],
)
def test_codes_of_new_shapes(shape, wanted):
    x = mx.np.array(X)
    for got in (mx.np.reshape(x, shape), x.reshape(shape), x.reshape(*shape), mx.npx.reshape(x, shape)):
        assert got.shape == wanted
        np.testing.assert_array_equal(got.asnumpy(), X.reshape(wanted))


def test_codes_that_do_not_fit_are_refused():
    x = mx.np.array(X)
    with pytest.raises(ShapeError, match="drops a dimension of size 1 only"):
        mx.np.reshape(x, (-3, -4))
    with pytest.raises(OpError, match="must be at least -6"):
        x.reshape(-7)
    assert mx.np.ones((1, 3)).reshape((-3, -2)).shape == (3,)


def test_broadcasting_copies_dimensions():
    x = mx.np.array(X[0, 0])
    np.testing.assert_array_equal(mx.np.broadcast_to(x, (3, -2, -2)).asnumpy(), np.broadcast_to(X[0, 0], (3, 4, 6)))
    assert x[:1].broadcast_to((2, 5, -2)).shape == (2, 5, 6)
    with pytest.raises(ShapeError, match=r"-2 in .* stands for no dimension"):
        x.broadcast_to((-2, 4, 6))
    with pytest.raises(OpError, match="at least 0, or -2"):
        x.broadcast_to((-1, 6))


@pytest.mark.parametrize("hybrid", [False, True])
def test_dense_layers_of_one_dimension(hybrid):
    for flatten, shape in ((True, (5, 3)), (False, (3,))):
        net = nn.Dense(3, flatten=flatten)
        net.initialize(mx.init.Xavier())
        if hybrid:
            net.hybridize()
        x = np.arange(5, dtype=np.float32)
        got = net(mx.np.array(x))
        data = x[:, None] if flatten else x
        np.testing.assert_allclose(got.asnumpy(), data @ net.weight.data().asnumpy().T, rtol=1e-5)
        assert got.shape == shape
