"""MXNet's operators on integers by name, against the same in real numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import minidnn as mx
from minidnn.errors import OpError, TypeMismatchError
from minidnn.gluon import nn

npx = mx.npx
RNG = np.random.default_rng(8)
DATA = RNG.uniform(-2, 2, (2, 4, 6, 6)).astype(np.float32)
WEIGHT = RNG.uniform(-1, 1, (5, 4, 3, 3)).astype(np.float32)
BIAS = RNG.uniform(-1, 1, 5).astype(np.float32)
LIMIT = {"int8": 127, "uint8": 255, "int32": 2**31 - 1}


def real(triple):
    """The numbers that integers stand for."""
    q, low, high = (np.asarray(t) for t in triple)
    assert low.shape == high.shape == (1,)
    return q.astype(np.float64) * max(abs(low[0]), abs(high[0])) / LIMIT[q.dtype.name]


def quantized(x, out_type="int8"):
    return npx.contrib_quantize_v2(mx.np.array(x), out_type)


@pytest.mark.parametrize("out_type", ["int8", "uint8"])
def test_numbers_are_quantized_to_the_nearest(out_type):
    x = np.abs(DATA) if out_type == "uint8" else DATA
    low, high = (0.0, 2.0) if out_type == "uint8" else (-2.0, 1.5)
    for triple in (
        npx.contrib_quantize(mx.np.array(x), mx.np.array([low]), mx.np.array([high]), out_type),
        npx.contrib_quantize_v2(mx.np.array(x), out_type, low, high),
    ):
        assert triple[0].dtype == out_type
        np.testing.assert_allclose(real(triple), x, atol=1.01 * 2 / LIMIT[out_type] / 2)
    assert quantized(x, "auto")[0].dtype == np.int8
    assert npx.contrib_quantize_v2(mx.np.array(x), "auto", 0.0, 2.0)[0].dtype == np.uint8
    again = npx.contrib_quantize_v2(triple[0])
    np.testing.assert_array_equal(again[0].asnumpy(), triple[0].asnumpy())
    with pytest.raises(OpError, match="out_type must be"):
        npx.contrib_quantize(mx.np.array(x), 0.0, 1.0, "int4")


def test_halves_go_away_from_zero_and_ends_saturate():
    x = mx.np.array([-3.0, -1.5, -0.5, 0.5, 1.5, 300.0])
    q, _, _ = npx.contrib_quantize(x, -127.0, 127.0, "int8")
    assert q.tolist() == [-3, -2, -1, 1, 2, 127]


@pytest.mark.parametrize("bias", [None, "int8", "int32"])
def test_convolutions(bias):
    data, weight = quantized(DATA), quantized(WEIGHT)
    arrays = {"data": data[0], "weight": weight[0], "min_data": data[1], "max_data": data[2]}
    arrays |= {"min_weight": weight[1], "max_weight": weight[2]}
    want = torch.conv2d(torch.from_numpy(real(data)), torch.from_numpy(real(weight)), stride=2, padding=1).numpy()
    if bias == "int8":
        b = quantized(BIAS)
        arrays |= {"bias": b[0], "min_bias": b[1], "max_bias": b[2]}
        want = want + real(b)[:, None, None]
    elif bias == "int32":
        arrays["bias"] = mx.np.array([1000, -1000, 0, 5, 6], dtype="int32")
        level = 2.0 / 127 / 127 * np.abs(DATA).max() / 2 * np.abs(WEIGHT).max()
        want = want + arrays["bias"].asnumpy()[:, None, None] * level
    got = npx.quantized_conv(**arrays, kernel=(3, 3), stride=(2, 2), pad=(1, 1), num_filter=5, no_bias=bias is None)
    assert got[0].dtype == np.int32
    np.testing.assert_allclose(real(got), want, rtol=1e-4, atol=2e-4)
    small = npx.requantize(*got)
    assert small[0].dtype == np.int8
    np.testing.assert_allclose(real(small), want, atol=np.abs(want).max() / 127)
    calibrated = npx.requantize(*got, min_calib_range=-1.0, max_calib_range=0.5)
    np.testing.assert_allclose(real(calibrated), np.clip(want, -1, 1), atol=1.1 / 127)


@pytest.mark.parametrize("data_type", ["int8", "uint8"])
def test_dense_layers(data_type):
    x = npx.contrib_quantize(mx.np.array(np.abs(DATA[:, :, :3, :3].reshape(2, 36))), 0.0, 2.0, data_type)
    w = quantized(WEIGHT.reshape(5, 36))
    ranges = {"min_data": x[1], "max_data": x[2], "min_weight": w[1], "max_weight": w[2]}
    got = npx.quantized_fully_connected(x[0], w[0], **ranges, num_hidden=5, no_bias=True)
    whole = x[0].asnumpy().astype(np.int64) @ w[0].asnumpy().astype(np.int64).T
    np.testing.assert_array_equal(got[0].asnumpy(), whole)
    np.testing.assert_allclose(real(got), real(x) @ real(w).T, rtol=1e-4)


def test_what_only_moves_integers_keeps_the_range():
    q = quantized(DATA)
    host = q[0].asnumpy()
    for triple, want in (
        (npx.quantized_act(*q), np.maximum(host, 0)),
        (npx.quantized_flatten(*q), host.reshape(2, -1)),
        (npx.quantized_reshape(*q, newshape=(-2, -5, -1)), host.reshape(2, 24, 6)),
        (npx.quantized_transpose(*q, axes=(0, 2, 3, 1)), host.transpose(0, 2, 3, 1)),
        (npx.quantized_transpose(*q), host.T),
        (npx.quantized_pooling(*q, kernel=(2, 2), stride=(2, 2)), host.reshape(2, 4, 3, 2, 3, 2).max((3, 5))),
        (
            npx.quantized_pooling(*q, kernel=(2, 2), stride=(2, 2), pool_type="avg"),
            np.rint(host.reshape(2, 4, 3, 2, 3, 2).mean((3, 5))),
        ),
        (npx.quantized_embedding(mx.np.array([1, 0]), q[0][0, 0], *q[1:]), host[0, 0][[1, 0]]),
    ):
        assert triple[0].dtype == np.int8
        np.testing.assert_array_equal(triple[0].asnumpy(), want)
        assert [t.item() for t in triple[1:]] == [t.item() for t in q[1:]]
    with pytest.raises(OpError, match="act_type must be 'relu'"):
        npx.quantized_act(*q, act_type="tanh")


def test_sums_and_products():
    a, b = quantized(DATA), quantized(DATA[::-1].copy() * 0.3)
    inputs = (a[0], b[0], *a[1:], *b[1:])
    for got, want, step in (
        (npx.quantized_elemwise_add(*inputs), real(a) + real(b), 1e-6),
        (npx.quantized_npi_add(*inputs, min_calib_range=-3.0, max_calib_range=3.0), real(a) + real(b), 3 / 127),
        (npx.quantized_elemwise_mul(*inputs), real(a) * real(b), 1e-6),
        (npx.quantized_elemwise_mul(*inputs, min_calib_range=-1.2, max_calib_range=1.2), real(a) * real(b), 1.2 / 127),
    ):
        np.testing.assert_allclose(real(got), want, atol=step)
    floats = npx.quantized_elemwise_mul(*inputs, enable_float_output=True)
    np.testing.assert_allclose(floats.asnumpy(), real(a) * real(b), rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeMismatchError, match="int8, uint8 or int32 is wanted, got float32"):
        npx.quantized_elemwise_add(mx.np.array(DATA), b[0], *a[1:], *b[1:])


def test_operators_on_integers_run_compiled():
    class Net(nn.HybridBlock):
        def forward(self, x, w):
            data, weight = npx.contrib_quantize_v2(x), npx.contrib_quantize_v2(w)
            out = npx.quantized_conv(
                data[0], weight[0], None, *data[1:], *weight[1:], kernel=(3, 3), num_filter=5, no_bias=True
            )
            return npx.requantize(*out)

    net = Net()
    arrays = mx.np.array(DATA), mx.np.array(WEIGHT)
    want = net(*arrays)
    net.hybridize()
    for g, w in zip(net(*arrays), want, strict=True):
        np.testing.assert_allclose(g.asnumpy(), w.asnumpy(), rtol=1e-6)


def test_intgemm():
    x, w = DATA.reshape(2, -1), RNG.normal(size=(7, 144)).astype(np.float32)
    largest = [npx.intgemm_maxabsolute(mx.np.array(a)) for a in (x, w)]
    assert [m.item() for m in largest] == [np.abs(x).max(), np.abs(w).max()]
    data = npx.intgemm_prepare_data(mx.np.array(x), largest[0])
    weight = npx.intgemm_prepare_weight(mx.np.array(w), largest[1])
    np.testing.assert_array_equal(data.asnumpy(), np.rint(x * (np.float32(127) / np.abs(x).max())))
    sums = data.asnumpy().astype(np.int32) @ weight.asnumpy().astype(np.int32).T
    got = npx.intgemm_fully_connected(data, weight, num_hidden=7, no_bias=True, out_type="int32")
    np.testing.assert_array_equal(got.asnumpy(), sums)
    scales = [m.item() / 127 for m in largest]
    bias = RNG.normal(size=7).astype(np.float32)
    for first, scale in ((data, scales[0] * scales[1]), (mx.np.array(x), scales[1])):
        got = npx.intgemm_fully_connected(first, weight, mx.np.array([scale]), mx.np.array(bias))
        np.testing.assert_allclose(got.asnumpy(), sums * (scales[0] * scales[1]) + bias, rtol=1e-4, atol=1e-5)
    rows = npx.intgemm_take_weight(weight, mx.np.array([3, 1], dtype="int32"))
    np.testing.assert_array_equal(rows.asnumpy(), weight.asnumpy()[[3, 1]])
    same = npx.intgemm_prepare_weight(weight, already_quantized=True)
    np.testing.assert_array_equal(same.asnumpy(), weight.asnumpy())
    for wrong, message in (
        ({"out_type": "int8"}, "out_type"),
        ({}, "scaling is missing"),
        ({"scaling": 1.0}, "bias is"),
    ):
        with pytest.raises(OpError, match=message):
            npx.intgemm_fully_connected(data, weight, **wrong)
