"""Operators beside those of layers, and the exchange of memory with NumPy and torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from npx_helpers import Net, both

import minidnn as mx
from minidnn.errors import DataError, OpError, TypeMismatchError
from minidnn.gluon import nn

npx = mx.npx
X = np.random.default_rng(5).normal(size=(2, 3, 4)).astype(np.float32)


def ours(x):
    return mx.np.array(x, dtype=np.asarray(x).dtype)


def test_batch_norm_under_other_names():
    vectors = [ours(v) for v in np.random.default_rng(1).uniform(0.5, 2, (4, 3)).astype(np.float32)]
    plain = npx.batch_norm(ours(X), *vectors, fix_gamma=False).asnumpy()
    got = both(lambda x: npx.batch_norm_with_relu(x, *vectors, fix_gamma=False), ours(X))
    np.testing.assert_allclose(got.asnumpy(), np.maximum(plain, 0), rtol=1e-6)
    got = both(lambda x: npx.sync_batch_norm(x, *vectors, fix_gamma=False, ndev=2, key="a"), ours(X))
    np.testing.assert_allclose(got.asnumpy(), plain, rtol=1e-6)


def test_comparison_as_numbers():
    got = both(npx.broadcast_greater, ours(X), ours(X[:1]))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.asnumpy(), (X[:1] < X).astype(np.float32))


def test_a_constraint_is_checked_in_every_run():
    def guarded(x):
        return x * npx.constraint_check(x > 0, "scales are positive")

    both(guarded, ours(np.abs(X)))
    net = Net(guarded)
    net.hybridize()
    net(ours(np.abs(X)))
    for block in (net, guarded):
        with pytest.raises(ValueError, match="scales are positive"):
            block(ours(X))


def test_digamma_agrees_with_torch():
    x = np.array([-2.5, -0.3, 0.2, 1.0, 3.7, 40.0], np.float32)
    got = both(npx.digamma, ours(x)).asnumpy()
    np.testing.assert_allclose(got, torch.digamma(torch.from_numpy(x).double()).numpy(), rtol=1e-5)
    assert math.isnan(npx.digamma(ours(np.float32([-3.0]))).item())


def test_writes_at_positions():
    ind = np.array([[0, 0, 0], [1, 1, 2]], np.int32)
    val = np.arange(12, dtype=np.float32).reshape(3, 4)
    want = X.copy()
    np.add.at(want, tuple(ind), val)
    np.testing.assert_allclose(both(npx.index_add, ours(X), ours(ind), ours(val)).asnumpy(), want, rtol=1e-6)
    want = X.copy()
    want[tuple(ind)] = val
    np.testing.assert_array_equal(both(npx.index_update, ours(X), ours(ind), ours(val)).asnumpy(), want)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_padding_by_one_row_of_widths(mode):
    got = both(lambda x: npx.pad(x, mode, (0, 0, 1, 2, 3, 0), 7.0), ours(X))
    values = {"constant_values": 7} if mode == "constant" else {}
    np.testing.assert_array_equal(got.asnumpy(), np.pad(X, ((0, 0), (1, 2), (3, 0)), mode, **values))


def test_padding_refuses():
    with pytest.raises(OpError, match="pad_width must have 6 numbers"):
        npx.pad(ours(X), "constant", (1, 1))
    with pytest.raises(OpError, match="mode must be 'constant', 'edge' or 'reflect'"):
        npx.pad(ours(X), "symmetric", (0,) * 6)


def test_rounding_and_signs():
    x = np.array([-2.5, -0.5, 0.0, 0.5, 1.5, 1.2], np.float32)
    np.testing.assert_array_equal(both(npx.round_ste, ours(x)).asnumpy(), [-3, -1, 0, 1, 2, 1])
    np.testing.assert_array_equal(both(npx.sign_ste, ours(x)).asnumpy(), np.sign(x))


def test_channels_as_parts():
    parts = both(lambda x: npx.slice_channel(x, 3, squeeze_axis=True), ours(X))
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part.asnumpy(), X[:, i])
    assert [p.shape for p in npx.slice_channel(ours(X), 2, axis=2)] == [(2, 3, 2)] * 2
    with pytest.raises(OpError, match="does not divide"):
        npx.slice_channel(ours(X), 2)


@pytest.mark.parametrize("axis", [0, 1])
def test_last_elements_of_sequences(axis):
    length = np.array([1, 3, 4][: X.shape[1 - axis]], np.float32) if axis else np.array([1, 2, 2], np.float32)
    got = both(lambda x, n: npx.sequence_last(x, n, True, axis), ours(X), ours(length))
    time_first = X if axis == 0 else X.swapaxes(0, 1)
    want = [time_first[int(n) - 1, i] for i, n in enumerate(length)]
    np.testing.assert_array_equal(got.asnumpy(), want)
    np.testing.assert_array_equal(npx.sequence_last(ours(X), axis=axis).asnumpy(), time_first[-1])


def test_reversed_sequences():
    length = np.array([1, 2, 2], np.int32)
    got = both(lambda x, n: npx.sequence_reverse(x, n, True), ours(X), ours(length))
    want = X.copy()
    for i, n in enumerate(length):
        want[:n, i] = X[:n, i][::-1]
    np.testing.assert_array_equal(got.asnumpy(), want)
    for function in (npx.sequence_last, npx.sequence_reverse):
        with pytest.raises(OpError, match="sequence_length is missing"):
            function(ours(X), use_sequence_length=True)


RANGES = [
    ({}, (3, 8), (3, 8)),
    ({"lhs_begin": 0, "lhs_end": 2, "rhs_begin": 1}, (5, 6), (6, 4)),
    ({"lhs_begin": 1, "lhs_end": 3, "rhs_begin": 1, "rhs_end": 2}, (5, 12), (2, 12)),
    ({"lhs_begin": -1, "rhs_begin": 0, "rhs_end": -1}, (2, 2, 9), (2, 3, 2, 2)),
]


@pytest.mark.parametrize("ranges, like, wanted", RANGES)
def test_reshape_like_by_ranges(ranges, like, wanted):
    got = both(lambda x, y: npx.reshape_like(x, y, **ranges), ours(X), mx.np.zeros(like))
    np.testing.assert_array_equal(got.asnumpy(), X.reshape(wanted))


def test_ranges_that_are_none_are_refused():
    with pytest.raises(OpError, match="lhs_begin 2 lies behind lhs_end 1"):
        npx.reshape_like(ours(X), ours(X), lhs_begin=2, lhs_end=1)
    with pytest.raises(OpError, match="rhs_end must lie in"):
        npx.reshape_like(ours(X), ours(X), rhs_end=4)


# ---- random ---------------------------------------------------------------------------------------


def test_categories_come_as_often_as_they_should():
    p = np.array([[0.0, 0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1, 0.0]], np.float32)
    mx.np.random.seed(3)
    drawn, logarithms = npx.random.categorical(ours(p), shape=(20000,), get_prob=True)
    assert drawn.shape == logarithms.shape == (2, 20000) and drawn.dtype == np.int32
    for row, chances in zip(drawn.asnumpy(), p, strict=True):
        np.testing.assert_allclose(np.bincount(row, minlength=5) / 20000, chances, atol=0.02)
    np.testing.assert_allclose(logarithms.asnumpy()[0], np.log(p[0][drawn.asnumpy()[0]]), rtol=1e-5)
    assert npx.random.categorical(ours(p)).shape == (2,)
    assert npx.random.categorical(ours(p[0])).shape == (1,)
    mx.np.random.seed(3)
    np.testing.assert_array_equal(npx.random.categorical(ours(p), shape=(20000,)).asnumpy(), drawn.asnumpy())


def test_counts_of_outcomes():
    p = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], np.float32)
    counts = npx.random.multinomial(ours(np.array([10, 4000], np.int32)), ours(p), shape=(2,))
    assert counts.shape == (2, 2, 3)
    np.testing.assert_array_equal(counts.asnumpy().sum(-1), [[10, 10], [4000, 4000]])
    np.testing.assert_allclose(counts.asnumpy()[1] / 4000, [p[1]] * 2, atol=0.05)


@pytest.mark.parametrize("wrong", [[0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0], []])
def test_what_is_no_distribution_is_refused(wrong):
    for draw in (npx.random.categorical, lambda p: npx.random.multinomial(mx.np.array(3), p)):
        with pytest.raises(OpError, match="probabilities"):
            draw(mx.np.array(wrong))


# ---- memory ---------------------------------------------------------------------------------------


def test_a_capsule_for_reading_holds_a_copy():
    x = ours(X)
    y = npx.from_dlpack(npx.to_dlpack_for_read(x))
    np.testing.assert_array_equal(y.asnumpy(), X)
    y += 1
    np.testing.assert_array_equal(x.asnumpy(), X)


def test_a_capsule_for_writing_holds_the_memory():
    x = ours(X)
    y = npx.from_dlpack(npx.to_dlpack_for_write(x))
    y += 1
    np.testing.assert_array_equal(x.asnumpy(), X + 1)
    tensor = torch.from_dlpack(x.to_dlpack_for_write())
    tensor.zero_()
    assert not x.asnumpy().any() and not y.asnumpy().any()


def test_a_network_sees_what_others_write_to_its_weights():
    net = nn.Dense(3, in_units=4, use_bias=False)
    net.initialize()
    net.hybridize()
    data = mx.np.ones((2, 4))
    net(data)
    tensor = torch.from_dlpack(net.weight.data().to_dlpack_for_write())
    for value in (1.0, 2.0):
        tensor.fill_(value)
        for block in (net, lambda x: npx.fully_connected(x, net.weight.data(), num_hidden=3)):
            np.testing.assert_array_equal(block(data).asnumpy(), np.full((2, 3), 4 * value))


def test_a_tensor_of_torch_is_shared():
    tensor = torch.arange(6.0).reshape(2, 3)
    x = npx.from_dlpack(tensor)
    tensor[0, 0] = 9
    assert x[0, 0].item() == 9
    x[1, 2] = -1
    assert tensor[1, 2].item() == -1
    np.testing.assert_array_equal(npx.from_dlpack(tensor.T).asnumpy(), tensor.T.numpy())


def test_what_is_no_capsule_is_refused():
    with pytest.raises(TypeMismatchError, match="a capsule or an array with __dlpack__ is wanted, got int"):
        npx.from_dlpack(3)
    capsule = npx.to_dlpack_for_read(ours(X))
    npx.from_dlpack(capsule)
    with pytest.raises(DataError, match="has been used"):
        npx.from_dlpack(capsule)


def test_an_array_of_numpy_is_shared_and_closed_to_writers():
    host = X.copy()
    x = npx.from_numpy(host)
    x[0, 0, 0] = 5
    assert host[0, 0, 0] == 5
    with pytest.raises(ValueError, match="read-only"):
        host[0] = 1
    with pytest.raises(ValueError, match="C-contiguous"):
        npx.from_numpy(X.T)
    copied = npx.from_numpy(X.T, zero_copy=False)
    copied += 1
    np.testing.assert_array_equal(copied.asnumpy(), X.T + 1)
    with pytest.raises(TypeMismatchError, match="a NumPy array is wanted"):
        npx.from_numpy([1.0])
