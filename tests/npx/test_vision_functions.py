"""Pictures resampled and warped, deformed convolutions: against torch and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from npx_helpers import both

import minidnn as mx
from minidnn.errors import OpError, ShapeError
from minidnn.gluon import nn

npx = mx.npx
RNG = np.random.default_rng(9)
X = RNG.normal(size=(2, 4, 6, 7)).astype(np.float32)
T = torch.from_numpy(X)


def check(function, wanted, *arrays, tolerance=1e-5):
    got = both(function, *(mx.np.array(a) for a in arrays or (X,))).asnumpy()
    np.testing.assert_allclose(got, np.asarray(wanted), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("align", [True, False])
def test_bilinear_resize(align):
    wanted = F.interpolate(T, (9, 5), mode="bilinear", align_corners=align)
    check(lambda x: npx.bilinear_resize_2d(x, height=9, width=5, align_corners=align), wanted)


def test_sizes_of_bilinear_resize():
    x = mx.np.array(X)
    assert npx.bilinear_resize_2d(x, scale_height=2, scale_width=0.5).shape == (2, 4, 12, 3)
    assert npx.bilinear_resize_2d(x, mx.np.zeros((1, 1, 3, 4)), mode="like").shape == (2, 4, 3, 4)
    sizes = {"to_even_down": (6, 6), "to_even_up": (6, 8), "to_odd_down": (5, 7), "to_odd_up": (7, 7)}
    for mode, size in sizes.items():
        assert npx.bilinear_resize_2d(x, mode=mode).shape[2:] == size
    assert npx.bilinear_resize_2d(x, mode="odd_scale", scale_height=1.5, scale_width=1.5).shape[2:] == (9, 10)


def test_up_sampling():
    check(lambda x: npx.upsampling(x, scale=2, sample_type="nearest"), F.interpolate(T, scale_factor=2))
    small = X[:, :, :3, :] * 2
    pair = np.concatenate([X.repeat(2, 2).repeat(2, 3), small.repeat(4, 2).repeat(2, 3)], 1)
    check(lambda x, y: npx.upsampling(x, y, scale=2, sample_type="nearest", num_args=2), pair, X, small)
    weight = RNG.normal(size=(4, 1, 4, 4)).astype(np.float32)
    wanted = F.conv_transpose2d(T, torch.from_numpy(weight), stride=2, padding=1, groups=4)
    check(lambda x, w: npx.upsampling(x, w, scale=2, sample_type="bilinear", num_filter=4), wanted, X, weight)


@pytest.mark.parametrize("size", [1, (3, 7), (4, 3), ()])
def test_adaptive_average_pooling(size):
    check(lambda x: npx.adaptive_avg_pooling_2d(x, size), F.adaptive_avg_pool2d(T, size or 1))


def test_blocks_of_pixels():
    """MXNet's blocks come before the channels, those of `pixel_shuffle` behind them."""
    n, _, h, w = X.shape
    wanted = np.zeros((n, 1, 2 * h, 2 * w), np.float32)
    for i in range(2):
        for j in range(2):
            wanted[:, 0, i::2, j::2] = X[:, 2 * i + j]
    check(lambda x: npx.depth_to_space(x, 2), wanted)
    check(lambda x: npx.space_to_depth(npx.depth_to_space(x, 2), 2), X)
    with pytest.raises(ShapeError, match="depth_to_space: block_size² = 9"):
        npx.depth_to_space(mx.np.array(X), 3)


def test_local_response_normalization():
    wanted = F.local_response_norm(T, 3, alpha=0.3, beta=0.6, k=1.5)
    check(lambda x: npx.lrn(x, 0.3, 0.6, 1.5, nsize=3), wanted)
    with pytest.raises(OpError, match="lrn: nsize must be odd, got 4"):
        npx.lrn(mx.np.array(X), nsize=4)


def test_warped_pictures():
    theta = RNG.normal(0, 0.5, (2, 6)).astype(np.float32)
    grid = F.affine_grid(torch.from_numpy(theta).reshape(2, 2, 3), (2, 1, 5, 3), align_corners=True)
    moved = grid.permute(0, 3, 1, 2).numpy()
    check(lambda t: npx.grid_generator(t, "affine", (5, 3)), moved, theta)
    wanted = F.grid_sample(T, grid, align_corners=True)
    check(npx.bilinear_sampler, wanted, X, moved, tolerance=1e-4)
    check(lambda x, t: npx.spatial_transformer(x, t, (5, 3)), wanted, X, theta, tolerance=1e-4)
    flow = RNG.normal(size=(2, 2, 6, 7)).astype(np.float32)
    y, x = np.mgrid[:6, :7]
    warped = np.stack([(flow[:, 0] + x) / 3 - 1, (flow[:, 1] + y) / 2.5 - 1], 1)
    check(lambda f: npx.grid_generator(f, "warp"), warped, flow)


def deformed(x, offset, mask, weight, pad):
    """A deformable convolution of one group by loops."""
    n, filters, (kh, kw) = len(x), len(weight), weight.shape[2:]
    rows, columns = offset.shape[2:]
    out = np.zeros((n, filters, rows, columns))

    def pixel(b, i, j):
        inside = 0 <= i < x.shape[2] and 0 <= j < x.shape[3]
        return x[b, :, i, j] if inside else np.zeros(x.shape[1])

    for b, r, c, t in np.ndindex(n, rows, columns, kh * kw):
        i = r - pad + t // kw + offset[b, 2 * t, r, c]
        j = c - pad + t % kw + offset[b, 2 * t + 1, r, c]
        a, d = int(np.floor(i)), int(np.floor(j))
        u, v = i - a, j - d
        near = (1 - u) * ((1 - v) * pixel(b, a, d) + v * pixel(b, a, d + 1))
        found = near + u * ((1 - v) * pixel(b, a + 1, d) + v * pixel(b, a + 1, d + 1))
        out[b, :, r, c] += weight[:, :, t // kw, t % kw] @ (found * mask[b, t, r, c])
    return out


def test_deformed_convolutions():
    weight, bias = RNG.normal(size=(3, 4, 3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)
    offset = RNG.normal(0, 0.7, (2, 18, 6, 7)).astype(np.float32)
    mask = RNG.uniform(0, 1, (2, 9, 6, 7)).astype(np.float32)
    spatial = {"kernel": (3, 3), "pad": (1, 1), "num_filter": 3}
    wanted = deformed(X, offset, np.ones_like(mask), weight, 1) + bias[:, None, None]
    check(lambda *a: npx.deformable_convolution(*a, **spatial), wanted, X, offset, weight, bias, tolerance=1e-4)
    wanted = deformed(X, offset, mask, weight, 1)
    check(
        lambda *a: npx.modulated_deformable_convolution(*a, **spatial, no_bias=True),
        wanted, X, offset, mask, weight, tolerance=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [nn.DeformableConvolution, nn.ModulatedDeformableConvolution])
def test_layers_find_their_offsets(kind):
    net = kind(3, kernel_size=3, padding=1, activation="relu")
    net.initialize(mx.init.Normal(0.3))
    x = mx.np.array(X)
    names = ["offset_weight", "offset_bias", "deformable_conv_weight", "deformable_conv_bias"]
    assert list(net.collect_params()) == names
    net(x)
    net.offset_weight.set_data(mx.np.array(RNG.normal(0, 0.1, net.offset_weight.shape).astype(np.float32)))
    weight, own = net.offset_weight.data(), net.deformable_conv_weight.data()
    moved = npx.convolution(x, weight, kernel=(3, 3), pad=(1, 1), num_filter=weight.shape[0], no_bias=True).asnumpy()
    mask = 2 / (1 + np.exp(-moved[:, 18:])) if kind is nn.ModulatedDeformableConvolution else np.ones((2, 9, 6, 7))
    wanted = np.maximum(deformed(X, moved[:, :18], mask, own.asnumpy(), 1), 0)
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), wanted, rtol=1e-3, atol=1e-4)
