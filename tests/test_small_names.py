"""Names of MXNet beside arrays and operators: scopes, features, initializers, helpers, switches."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

import minidnn as mx
from minidnn.errors import MXNetError, OpError
from minidnn.gluon import nn


def test_batch_norm_with_relu_is_a_layer():
    layer, plain = nn.BatchNormReLU(in_channels=3), nn.BatchNorm(in_channels=3)
    for net in (layer, plain):
        net.initialize()
    assert list(layer.collect_params()) == list(plain.collect_params())
    x = mx.np.random.normal(size=(2, 3, 4, 4))
    want = np.maximum(plain(x).asnumpy(), 0)
    np.testing.assert_allclose(layer(x).asnumpy(), want, rtol=1e-6)
    layer.optimize_for(x)
    np.testing.assert_allclose(layer(x).asnumpy(), want, rtol=1e-5, atol=1e-6)


def test_scopes_give_attributes_to_variables():
    with mx.AttrScope(__group__="a", __lr_mult__="2"), mx.AttrScope(__group__="b"):
        inner = mx.sym.var("x", attr={"__mark__": "here"})
    outer = mx.sym.var("y")
    assert inner.attr("__group__") == "b" and inner.attr("__lr_mult__") == "2" and inner.attr("__mark__") == "here"
    assert outer.attr("__group__") is None
    with pytest.raises(ValueError, match="attribute ctx must be a string, got 3"):
        mx.AttrScope(ctx=3)


def test_a_scope_can_be_entered_again():
    scope = mx.AttrScope(__group__="a")
    with scope, scope:
        assert mx.sym.var("x").attr("__group__") == "a"
    assert mx.sym.var("x").attr("__group__") is None


def test_features_are_known_by_name():
    features = mx.runtime.Features()
    assert features.is_enabled("onednn") and not features.is_enabled("CUDA")
    assert [f.name for f in mx.runtime.feature_list()] == list(features)
    assert "✖ CUDA" in repr(features)
    with pytest.raises(RuntimeError, match="'WARP' is unknown"):
        features.is_enabled("WARP")


def test_switches_change_nothing():
    assert mx.is_np_array() and mx.is_np_shape() and not mx.is_np_default_dtype()

    @mx.use_np
    class Net(nn.HybridBlock):
        pass

    assert Net is mx.use_np_array(Net) is mx.use_np_shape(Net)
    with mx.np_shape(True), mx.np_array(True):
        assert mx.set_np_shape(True)
    assert mx.npx.set_np_default_dtype(False) is False
    with pytest.raises(MXNetError, match="default dtype is float32"):
        mx.npx.set_np_default_dtype(True)


def test_quantization_by_its_short_name():
    assert mx.contrib.quant.quantize_net is mx.contrib.quantization.quantize_net


# ---- initializers ---------------------------------------------------------------------------------


def filled(init, size, name="weight"):
    array = mx.np.full(size, 9.0)
    init(mx.init.InitDesc(name, {"__init__": init.dumps()}), array)
    return array.asnumpy()


def test_the_forget_gate_has_a_bias():
    np.testing.assert_array_equal(filled(mx.init.LSTMBias(2.0), (12,), "bias"), [0] * 3 + [2] * 3 + [0] * 6)


@pytest.mark.parametrize("mode, gates", [("rnn_relu", 1), ("rnn_tanh", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, True)])
@pytest.mark.parametrize("projection", [None, 2])
def test_a_vector_of_recurrent_parameters(mode, gates, layers, bidirectional, projection):
    if projection and mode != "lstm":
        pytest.skip("only an LSTM has a projection")
    peer = {"rnn_relu": torch.nn.RNN, "rnn_tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[mode]
    net = peer(5, 3, layers, bidirectional=bidirectional, **({"proj_size": 2} if projection else {}))
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    size, weights = sum(sizes.values()), sum(n for name, n in sizes.items() if name.startswith("weight"))
    init = mx.init.RNNFused(
        mode, layers, 3, bidirectional, projection, mx.init.Constant(1.0), h2h_bias_initializer="ones"
    )
    vector = filled(init, (size,))
    first = gates * 3 * 5
    np.testing.assert_array_equal(vector[:first], 1)
    assert not (vector[first:weights] == 9).any()
    rows = gates * 3
    np.testing.assert_array_equal(vector[weights:], np.tile([0.0] * rows + [1.0] * rows, layers * (1 + bidirectional)))
    with pytest.raises(ValueError, match="does not make a vector"):
        filled(init, (size + 1,))


def test_an_unknown_recurrent_mode_is_refused():
    with pytest.raises(ValueError, match="mode must be one of"):
        mx.init.RNNFused("sru", 1, 3)


def test_parameters_are_loaded(tmp_path):
    file = str(tmp_path / "w.params")
    mx.npx.save(file, {"arg:weight": mx.np.full((2, 3), 7.0), "aux:bias": mx.np.ones(2)})
    assert set(mx.init.load(file)) == {"arg:weight", "aux:bias"}
    for source in (file, mx.npx.load(file)):
        load = mx.init.Load(source, default_init=mx.init.Zero())
        for name, shape, value in (("weight", (2, 3), 7), ("bias", (2,), 1), ("other_weight", (4,), 0)):
            array = mx.np.full(shape, 9.0)
            load(name, array)
            np.testing.assert_array_equal(array.asnumpy(), np.full(shape, value))
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), but the loaded array \(2, 3\)"):
        load("weight", mx.np.zeros(3))
    with pytest.raises(ValueError, match="gamma was not loaded"):
        mx.init.Load({})("gamma", mx.np.zeros(3))


# ---- gluon.utils ----------------------------------------------------------------------------------


def test_batches_are_split():
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    for axis, parts in ((0, 2), (1, 2), (0, 5)):
        got = mx.gluon.utils.split_data(mx.np.array(x), parts, axis, even_split=False)
        for g, w in zip(got, np.array_split(x, parts, axis), strict=True):
            np.testing.assert_array_equal(g.asnumpy(), w)
    with pytest.raises(ValueError, match="cannot be evenly split into 2 slices along axis 0"):
        mx.gluon.utils.split_data(mx.np.array(x), 2)
    with pytest.raises(ValueError, match="at least one part"):
        mx.gluon.utils.split_data(mx.np.array(x), 0)
    for devices in ([mx.cpu()], [mx.cpu(0), mx.cpu(1)]):
        loaded = mx.gluon.utils.split_and_load(x, devices, even_split=False)
        assert [type(a) for a in loaded] == [mx.np.ndarray] * len(devices)
        np.testing.assert_array_equal(np.concatenate([a.asnumpy() for a in loaded]), x)


@pytest.mark.parametrize("limit", [1.0, 100.0])
def test_norms_are_clipped(limit):
    rng = np.random.default_rng(0)
    hosts = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    ours, peers = [mx.np.array(h) for h in hosts], [torch.from_numpy(h.copy()) for h in hosts]
    for p in peers:
        p.grad = p.clone()
    want = torch.nn.utils.clip_grad_norm_(peers, limit)
    assert mx.gluon.utils.clip_global_norm(ours, limit) == pytest.approx(float(want), rel=1e-6)
    for a, p in zip(ours, peers, strict=True):
        np.testing.assert_allclose(a.asnumpy(), p.grad.numpy(), rtol=1e-4)
    assert mx.gluon.utils.clip_global_norm(ours, limit, check_isfinite=False).shape == (1,)
    with pytest.warns(UserWarning, match="nan or inf"):
        mx.gluon.utils.clip_global_norm([mx.np.array([np.inf])], 1.0)


def test_files_are_checked_and_never_downloaded(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    digest = hashlib.sha1(b"abc").hexdigest()
    assert mx.gluon.utils.check_sha1(file, digest) and not mx.gluon.utils.check_sha1(file, "0" * 40)
    assert mx.gluon.utils.download("https://x.example/a.bin", tmp_path, sha1_hash=digest) == str(file)
    with pytest.raises(MXNetError, match=r"b\.bin is missing, and minidnn downloads nothing"):
        mx.gluon.utils.download("https://x.example/b.bin", tmp_path)
    with pytest.raises(MXNetError, match="has another SHA-1"):
        mx.gluon.utils.download("https://x.example/a.bin", tmp_path, sha1_hash="0" * 40)


def test_known_shapes():
    known = mx.gluon.utils.shape_is_known
    assert known(()) and known((0, 3)) and not known((2, -1)) and not known(None)


# ---- npx.image ------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(4).integers(0, 256, (2, 6, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize("batch", [False, True])
def test_images_by_operators(batch):
    image, x = mx.npx.image, IMAGES if batch else IMAGES[0]
    ours = mx.np.array(x, dtype="uint8")
    tensor = np.moveaxis(x, -1, -3).astype(np.float32) / 255
    np.testing.assert_allclose(image.to_tensor(ours).asnumpy(), tensor, rtol=1e-6)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 1, 2])
    want = (tensor - mean[:, None, None]) / std[:, None, None]
    got = image.normalize(image.to_tensor(ours), mean.tolist(), std.tolist())
    np.testing.assert_allclose(got.asnumpy(), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(image.crop(ours, 1, 2, 5, 3).asnumpy(), x[..., 2:5, 1:6, :])
    np.testing.assert_array_equal(image.flip_left_right(ours).asnumpy(), x[..., ::-1, :])
    np.testing.assert_array_equal(image.flip_top_bottom(ours).asnumpy(), x[..., ::-1, :, :])
    resize = mx.gluon.data.vision.transforms.Resize
    for size, keep in (((4, 3), False), (5, False), (3, True)):
        want = resize(size, keep)(ours).asnumpy()
        np.testing.assert_array_equal(image.resize(ours, size, keep).asnumpy(), want)
    assert image.random_crop(ours, width=4, height=2).shape == (*x.shape[:-3], 2, 4, 3)
    for flip in (image.random_flip_left_right, image.random_flip_top_bottom):
        np.testing.assert_array_equal(flip(ours, p=0.0).asnumpy(), x)
    np.testing.assert_array_equal(image.random_flip_left_right(ours, p=1.0).asnumpy(), x[..., ::-1, :])


def test_preprocessing_becomes_part_of_a_network():
    class Net(nn.HybridBlock):
        def forward(self, x):
            flipped = mx.npx.image.flip_left_right(mx.npx.image.crop(x, 1, 0, 6, 6))
            return mx.npx.image.normalize(mx.npx.image.to_tensor(flipped), 0.5, (0.1, 0.2, 0.3))

    net = Net()
    x = mx.np.array(IMAGES, dtype="uint8")
    want = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), want, rtol=1e-5, atol=1e-6)


def test_images_that_do_not_fit_are_refused():
    x = mx.np.array(IMAGES, dtype="uint8")
    with pytest.raises(OpError, match="do not lie in an image of 8 columns and 6 rows"):
        mx.npx.image.crop(x, 5, 0, 4, 2)
    with pytest.raises(OpError, match="are wanted, got shape"):
        mx.npx.image.to_tensor(x[0, 0])
    with pytest.raises(OpError, match="mean has 2 numbers"):
        mx.npx.image.normalize(mx.npx.image.to_tensor(x), (1.0, 2.0))
    with pytest.raises(OpError, match="std must not be zero"):
        mx.npx.image.normalize(mx.npx.image.to_tensor(x), 0.0, 0.0)
    with pytest.raises(OpError, match="at least 1"):
        mx.npx.image.resize(x, 0)


# ---- pooling with the channels last, files --------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Avg", "GlobalMax", "GlobalAvg"])
@pytest.mark.parametrize("compiled", [False, True])
def test_pools_with_the_channels_last(rank, kind, compiled):
    first, last = "NCDHW"[:2] + "DHW"[3 - rank :], "N" + "DHW"[3 - rank :] + "C"
    args = () if kind.startswith("Global") else (3, 2, 1)
    layer = getattr(nn, f"{kind}Pool{rank}D")
    channels_first, channels_last = layer(*args, layout=first), layer(*args, layout=last)
    x = np.random.default_rng(rank).normal(size=(2, 5, 7, 6, 8)[: rank + 2]).astype(np.float32)
    if compiled:
        channels_last.hybridize()
    got = channels_last(mx.np.array(np.moveaxis(x, 1, -1)))
    np.testing.assert_allclose(np.moveaxis(got.asnumpy(), -1, 1), channels_first(mx.np.array(x)).asnumpy(), rtol=1e-5)
    assert f"layout={last}" in repr(channels_last)
    with pytest.raises(OpError, match="pooling: data must have"):
        channels_last(mx.np.ones((2, 3, 4, 5, 6, 7)))


def test_pooling_function_with_the_channels_last():
    x = mx.np.random.normal(size=(1, 6, 6, 3))
    got = mx.npx.pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="sum", layout="NHWC").asnumpy()
    np.testing.assert_allclose(got, x.asnumpy().reshape(1, 3, 2, 3, 2, 3).sum((2, 4)), rtol=1e-5, atol=1e-6)
    with pytest.raises(OpError, match="layout"):
        mx.npx.pooling(x, kernel=(2, 2), layout="CHWN")


def test_archives_are_read_by_numpy(tmp_path):
    file = str(tmp_path / "z.npz")
    mx.npx.savez(file, mx.np.ones(2), a=mx.np.arange(3, dtype="int64"))
    with np.load(file) as archive:
        assert sorted(archive) == ["a", "arr_0"]
        np.testing.assert_array_equal(archive["a"], [0, 1, 2])
    assert set(mx.npx.load(file)) == {"a", "arr_0"}
    with pytest.raises(ValueError, match="arr_0"):
        mx.npx.savez(file, mx.np.ones(2), arr_0=mx.np.ones(2))
