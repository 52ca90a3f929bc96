"""Every layer computes what torch's computes on the same weights, op by op and compiled, shapes given or found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gluon_helpers import close, copy_to_torch, draw, fill

import minidnn as mx
from minidnn import gluon
from minidnn.errors import MXNetError, OpError, ShapeError
from minidnn.gluon import nn

tnn = torch.nn

Make = Callable[[], Any]

CASES: dict[str, tuple[Make, Make, tuple[int, ...]]] = {
    "conv1d": (
        lambda: nn.Conv1D(6, 3, strides=2, padding=1, dilation=2, groups=2),
        lambda: tnn.Conv1d(4, 6, 3, 2, 1, 2, 2),
        (2, 4, 15),
    ),
    "conv2d": (lambda: nn.Conv2D(5, 3, padding=1), lambda: tnn.Conv2d(3, 5, 3, padding=1), (2, 3, 7, 9)),
    "conv2d uneven": (
        lambda: nn.Conv2D(6, (3, 5), (2, 1), (0, 2), (1, 2), use_bias=False),
        lambda: tnn.Conv2d(3, 6, (3, 5), (2, 1), (0, 2), (1, 2), bias=False),
        (1, 3, 9, 11),
    ),
    "conv2d depthwise": (
        lambda: nn.Conv2D(4, 3, groups=4, in_channels=4),
        lambda: tnn.Conv2d(4, 4, 3, groups=4),
        (1, 4, 6, 6),
    ),
    "conv2d activation": (
        lambda: nn.Conv2D(3, 1, activation="relu"),
        lambda: tnn.Sequential(tnn.Conv2d(2, 3, 1), tnn.ReLU()),
        (1, 2, 4, 4),
    ),
    "conv3d": (lambda: nn.Conv3D(3, 2, 2, 1), lambda: tnn.Conv3d(2, 3, 2, 2, 1), (1, 2, 5, 6, 7)),
    "conv1d transpose": (
        lambda: nn.Conv1DTranspose(4, 3, strides=2, padding=1, output_padding=1, groups=2),
        lambda: tnn.ConvTranspose1d(6, 4, 3, 2, 1, 1, 2),
        (2, 6, 7),
    ),
    "conv2d transpose": (
        lambda: nn.Conv2DTranspose(3, (2, 3), (2, 1), (1, 0), (1, 0), in_channels=2),
        lambda: tnn.ConvTranspose2d(2, 3, (2, 3), (2, 1), (1, 0), (1, 0)),
        (1, 2, 4, 5),
    ),
    "conv3d transpose": (
        lambda: nn.Conv3DTranspose(2, 2, 2, use_bias=False),
        lambda: tnn.ConvTranspose3d(3, 2, 2, 2, bias=False),
        (1, 3, 2, 3, 4),
    ),
    "dense": (lambda: nn.Dense(5), lambda: tnn.Sequential(tnn.Flatten(), tnn.Linear(12, 5)), (3, 4, 3)),
    "dense last axis": (
        lambda: nn.Dense(5, flatten=False, use_bias=False, in_units=3),
        lambda: tnn.Linear(3, 5, bias=False),
        (2, 4, 3),
    ),
    "dense activation": (
        lambda: nn.Dense(5, activation="tanh"),
        lambda: tnn.Sequential(tnn.Linear(4, 5), tnn.Tanh()),
        (3, 4),
    ),
    "batch norm": (lambda: nn.BatchNorm(epsilon=1e-3), lambda: tnn.BatchNorm2d(3, eps=1e-3), (2, 3, 4, 5)),
    "batch norm of vectors": (lambda: nn.BatchNorm(in_channels=3), lambda: tnn.BatchNorm1d(3), (4, 3)),
    "sync batch norm": (lambda: nn.SyncBatchNorm(), lambda: tnn.BatchNorm2d(3), (2, 3, 4, 5)),
    "layer norm": (lambda: nn.LayerNorm(), lambda: tnn.LayerNorm(6), (2, 3, 6)),
    "group norm": (lambda: nn.GroupNorm(3), lambda: tnn.GroupNorm(3, 6), (2, 6, 4, 3)),
    "instance norm": (
        lambda: nn.InstanceNorm(epsilon=1e-2),
        lambda: tnn.InstanceNorm2d(3, eps=1e-2, affine=True),
        (2, 3, 4, 5),
    ),
    "max pool 1d": (lambda: nn.MaxPool1D(), lambda: tnn.MaxPool1d(2), (2, 3, 7)),
    "max pool 2d": (lambda: nn.MaxPool2D(3, 2, 1), lambda: tnn.MaxPool2d(3, 2, 1), (2, 3, 7, 8)),
    "max pool 2d ceil": (
        lambda: nn.MaxPool2D((2, 3), (2, 2), ceil_mode=True),
        lambda: tnn.MaxPool2d((2, 3), (2, 2), ceil_mode=True),
        (1, 2, 7, 8),
    ),
    "max pool 3d": (lambda: nn.MaxPool3D(), lambda: tnn.MaxPool3d(2), (1, 2, 5, 4, 6)),
    "avg pool 1d": (lambda: nn.AvgPool1D(3, 1), lambda: tnn.AvgPool1d(3, 1), (2, 3, 7)),
    "avg pool 2d": (lambda: nn.AvgPool2D(3, 2, 1), lambda: tnn.AvgPool2d(3, 2, 1), (2, 3, 7, 8)),
    "avg pool 2d without padding": (
        lambda: nn.AvgPool2D(3, 2, 1, count_include_pad=False),
        lambda: tnn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (2, 3, 7, 8),
    ),
    "avg pool 3d": (lambda: nn.AvgPool3D((1, 2, 2)), lambda: tnn.AvgPool3d((1, 2, 2)), (1, 2, 3, 4, 6)),
    "global max pool 1d": (lambda: nn.GlobalMaxPool1D(), lambda: tnn.AdaptiveMaxPool1d(1), (2, 3, 5)),
    "global max pool 2d": (lambda: nn.GlobalMaxPool2D(), lambda: tnn.AdaptiveMaxPool2d(1), (2, 3, 5, 4)),
    "global max pool 3d": (lambda: nn.GlobalMaxPool3D(), lambda: tnn.AdaptiveMaxPool3d(1), (2, 3, 2, 5, 4)),
    "global avg pool 1d": (lambda: nn.GlobalAvgPool1D(), lambda: tnn.AdaptiveAvgPool1d(1), (2, 3, 5)),
    "global avg pool 2d": (lambda: nn.GlobalAvgPool2D(), lambda: tnn.AdaptiveAvgPool2d(1), (2, 3, 5, 4)),
    "global avg pool 3d": (lambda: nn.GlobalAvgPool3D(), lambda: tnn.AdaptiveAvgPool3d(1), (2, 3, 2, 5, 4)),
    "relu": (lambda: nn.Activation("relu"), lambda: tnn.ReLU(), (3, 4)),
    "sigmoid": (lambda: nn.Activation("sigmoid"), lambda: tnn.Sigmoid(), (3, 4)),
    "log sigmoid": (lambda: nn.Activation("log_sigmoid"), lambda: tnn.LogSigmoid(), (3, 4)),
    "tanh": (lambda: nn.Activation("tanh"), lambda: tnn.Tanh(), (3, 4)),
    "softrelu": (lambda: nn.Activation("softrelu"), lambda: tnn.Softplus(), (3, 4)),
    "softsign": (lambda: nn.Activation("softsign"), lambda: tnn.Softsign(), (3, 4)),
    "mish": (lambda: nn.Activation("mish"), lambda: tnn.Mish(), (3, 4)),
    "leaky relu": (lambda: nn.LeakyReLU(0.1), lambda: tnn.LeakyReLU(0.1), (3, 4)),
    "prelu": (lambda: nn.PReLU(), lambda: tnn.PReLU(), (3, 4, 2)),
    "prelu by channel": (lambda: nn.PReLU(in_channels=4), lambda: tnn.PReLU(4), (3, 4, 2)),
    "elu": (lambda: nn.ELU(0.7), lambda: tnn.ELU(0.7), (3, 4)),
    "selu": (lambda: nn.SELU(), lambda: tnn.SELU(), (3, 4)),
    "gelu": (lambda: nn.GELU(), lambda: tnn.GELU(), (3, 4)),
    "gelu tanh": (lambda: nn.GELU("tanh"), lambda: tnn.GELU("tanh"), (3, 4)),
    "silu": (lambda: nn.SiLU(), lambda: tnn.SiLU(), (3, 4)),
    "swish": (lambda: nn.Swish(), lambda: tnn.SiLU(), (3, 4)),
    "flatten": (lambda: nn.Flatten(), lambda: tnn.Flatten(), (3, 4, 2)),
    "dropout": (lambda: nn.Dropout(0.5), lambda: tnn.Dropout(0.5), (3, 4)),
    "dropout of nothing": (lambda: nn.Dropout(0), lambda: tnn.Identity(), (3, 4)),
    "identity": (lambda: nn.Identity(), lambda: tnn.Identity(), (3, 4)),
    "reflection pad": (lambda: nn.ReflectionPad2D(2), lambda: tnn.ReflectionPad2d(2), (1, 2, 4, 5)),
    "pixel shuffle": (lambda: nn.PixelShuffle2D(3), lambda: tnn.PixelShuffle(3), (2, 18, 4, 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_torchs_layer(name: str) -> None:
    make, make_torch, shape = CASES[name]
    layer, module, x = make(), make_torch().eval(), draw(*shape)
    layer.initialize()
    layer(mx.np.array(x))  # completes the shapes
    fill(layer)
    copy_to_torch(layer, module)
    expected = module(torch.from_numpy(x))
    close(layer(mx.np.array(x)), expected)
    layer.hybridize()
    close(layer(mx.np.array(x)), expected)
    layer.optimize_for(mx.np.array(x))
    close(layer(mx.np.array(x)), expected)


def test_swish_has_a_slope_inside() -> None:
    x = draw(3, 4)
    close(nn.Swish(1.7)(mx.np.array(x)), x / (1 + np.exp(-1.7 * x)))


def test_embedding_gives_rows_of_its_table() -> None:
    layer, module = nn.Embedding(7, 3), tnn.Embedding(7, 3)
    fill(layer)
    copy_to_torch(layer, module)
    numbers = [[0, 6, 2], [3, 3, 1]]
    close(layer(mx.np.array(numbers, dtype="int32")), module(torch.tensor(numbers)), 0)


def test_instance_norm_of_another_axis() -> None:
    layer, module, x = nn.InstanceNorm(axis=3), tnn.InstanceNorm2d(5, affine=True), draw(2, 3, 4, 5)
    layer.initialize()
    layer(mx.np.array(x))
    fill(layer)
    copy_to_torch(layer, module)
    close(layer(mx.np.array(x)), module(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_layer_norm_of_another_axis() -> None:
    layer, x = nn.LayerNorm(axis=1), draw(2, 3, 4)
    layer.initialize()
    close(layer(mx.np.array(x)), tnn.LayerNorm(3)(torch.from_numpy(x).transpose(1, 2)).transpose(1, 2))


@pytest.mark.parametrize(
    ("factors", "shape"), [((2,), (2, 6, 5)), ((2, 3), (1, 12, 4, 5)), ((2, 1, 3), (1, 12, 2, 3, 4))]
)
def test_pixel_shuffle_moves_channels_between_pixels(factors: tuple[int, ...], shape: tuple[int, ...]) -> None:
    makes: list[Callable[[Any], Any]] = [nn.PixelShuffle1D, nn.PixelShuffle2D, nn.PixelShuffle3D]
    rank = len(factors)
    layer = makes[rank - 1](factors[0] if rank == 1 else factors)
    x = draw(*shape)
    n, c, *spatial = shape
    for f in factors:
        c //= f
    parts = x.reshape(n, c, *factors, *spatial)
    order = [0, 1, *(axis for i in range(rank) for axis in (2 + rank + i, 2 + i))]
    expected = parts.transpose(order).reshape(n, c, *(s * f for s, f in zip(spatial, factors, strict=True)))
    close(layer(mx.np.array(x)), expected, 0)


@pytest.mark.parametrize("make", [nn.Concatenate, nn.HybridConcatenate])
def test_concatenation_of_branches(make: Any) -> None:
    net = make(axis=1)
    net.add(nn.Identity(), nn.Activation("relu"), nn.LeakyReLU(0.5))
    x = draw(2, 3)
    theirs = torch.from_numpy(x)
    expected = torch.cat([theirs, theirs.relu(), tnn.functional.leaky_relu(theirs, 0.5)], 1)
    close(net(mx.np.array(x)), expected)
    close(net[1:](mx.np.array(x)), expected[:, 3:])


@pytest.mark.parametrize("make", [nn.Lambda, nn.HybridLambda])
def test_functions_as_blocks(make: Any) -> None:
    x = mx.np.array([[-1.0, 4.0]])
    assert make("square")(x).tolist() == [[1, 16]]
    assert make("relu")(x).tolist() == [[0, 4]]
    assert make(lambda a, b: a * b)(x, x).tolist() == [[1, 16]]
    assert repr(make("relu")) == f"{make.__name__}(relu)"
    with pytest.raises(ValueError, match="Function name nothing is not found"):
        make("nothing")
    with pytest.raises(ValueError, match="Function name __doc__ is not found"):
        make("__doc__")
    with pytest.raises(ValueError, match="Unrecognized function in lambda: 3"):
        make(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2D(4, (3, 3, 3)), "Conv2D: kernel_size must be a number or a list of 2 ints"),
        (lambda: nn.Conv2D(4, 0), "Conv2D: convolution: attribute 'kernel' must be at least 1"),
        (lambda: nn.Conv2D(4, 3, strides=0), "Conv2D: convolution: attribute 'stride' must be at least 1"),
        (lambda: nn.Conv2D(4, 3, layout="NHWC"), "Conv2D: convolution: layout must be NCHW"),
        (lambda: nn.Conv2D(5, 3, groups=2), "Conv2D: channels=5 must be a multiple of groups=2"),
        (lambda: nn.Conv2D(4, 3, groups=2, in_channels=3), "Conv2D: in_channels=3 must be a multiple of groups=2"),
        (lambda: nn.Conv1DTranspose(4, 3, output_padding=(1, 1)), "Conv1DTranspose: output_padding must be a number"),
        (lambda: nn.MaxPool2D((1, 2, 3)), "MaxPool2D: pool_size must be a number or a list of 2 ints"),
        (lambda: nn.AvgPool1D(layout="NHWC"), "AvgPool1D: layout must be NCW or NWC, got NHWC"),
        (lambda: nn.Dense(0), "Dense: fully_connected: attribute 'num_hidden' must be at least 1"),
        (lambda: nn.Dense(3, activation="rely"), "Activation: activation: attribute 'act_type' must be one of"),
        (lambda: nn.LeakyReLU(-1), "no less than 0"),
        (lambda: nn.LeakyReLU(float("nan")), "no less than 0"),
        (lambda: nn.GELU("sin"), "Unsupported approximation"),  # type: ignore[arg-type]
        (lambda: nn.Dropout(1.5), r"rate must be in \[0, 1\], got 1.5"),
        (lambda: nn.BatchNorm(epsilon=-1), "BatchNorm: batch_norm: attribute 'eps' must be at least 0"),
        (lambda: nn.Embedding(3, 2, sparse_grad=True), "sparse_grad must be False"),
        (lambda: nn.ReflectionPad2D((1, 2)), "a number or a list of 8 ints"),
        (lambda: nn.PixelShuffle2D((1, 2, 3)), "PixelShuffle2D: factor must be a number or a list of 2 ints"),
    ],
)
def test_a_layer_refuses_arguments_when_it_is_made(make: Make, message: str) -> None:
    with pytest.raises((OpError, ValueError, MXNetError), match=message):
        make()


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (lambda: nn.Conv2D(4, 3), (3, 8, 8), r"Conv2D: convolution: data must have 4 dimensions \(N, C, H, W\), got 3"),
        (lambda: nn.Conv2D(4, 3, in_channels=3), (1, 4, 8, 8), "data has 4 channels but weight .* is made for 3"),
        (lambda: nn.Conv2D(4, 3, groups=2), (1, 3, 8, 8), "must divide both the 3 channels"),
        (lambda: nn.Conv2D(4, 9), (1, 3, 8, 8), "does not fit into the padded input"),
        (lambda: nn.BatchNorm(in_channels=3), (2, 4, 5), r"gamma must have shape \(4,\).*, got \(3,\)"),
        (lambda: nn.BatchNorm(axis=3), (2, 4, 5), "BatchNorm: .*: axis must lie in"),
        (lambda: nn.Dense(3, in_units=5), (2, 4), r"weight must have shape \(3, 4\)"),
        (lambda: nn.MaxPool2D(), (3, 8, 8), "MaxPool2D: pooling: data must have 4 dimensions"),
        (lambda: nn.GroupNorm(4), (2, 6, 3), "GroupNorm: group_norm: num_groups"),
        (lambda: nn.MaxPool1D(), (2, 4, 0), "must not be empty, got dimension 2 of size zero"),
        (lambda: nn.PReLU(in_channels=3), (2, 4, 5), r"gamma \(3,\) does not broadcast"),
        (lambda: nn.PixelShuffle2D(2), (1, 6, 2, 2), "PixelShuffle2D: npx_reshape"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_layer_refuses_inputs_and_says_its_name(
    make: Callable[[], gluon.HybridBlock], shape: tuple[int, ...], message: str, compiled: bool
) -> None:
    net = nn.HybridSequential()
    net.add(nn.Identity(), make())
    for block, prefix in ((make(), rf"^{type(net[1]).__name__}: "), (net, "^1: ")):
        block.initialize()
        block.hybridize(compiled)
        with pytest.raises(ShapeError, match=f"{prefix}.*") as caught:
            block(mx.np.ones(shape))
        assert caught.match(message if block is not net else message.partition(": ")[2] or message)


REPRS = {
    "Conv2D(None -> 4, kernel_size=(3, 3), stride=(1, 1))": lambda: nn.Conv2D(4, 3),
    "Conv2D(6 -> 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), groups=2, bias=False, "
    "Activation(relu))": lambda: nn.Conv2D(4, 3, 2, 1, 2, 2, "NCHW", "relu", False, in_channels=6),
    "Conv1DTranspose(3 -> 4, kernel_size=(3,), stride=(2,), output_padding=(1,))": lambda: nn.Conv1DTranspose(
        4, 3, 2, output_padding=1, in_channels=3
    ),
    "Dense(None -> 10, linear)": lambda: nn.Dense(10),
    "Dense(20 -> 10, Activation(relu))": lambda: nn.Dense(10, activation="relu", in_units=20),
    "BatchNorm(axis=1, eps=1e-05, momentum=0.9, fix_gamma=False, use_global_stats=False, in_channels=None)": lambda: (
        nn.BatchNorm()
    ),
    "LayerNorm(axis=-1, eps=1e-05, center=True, scale=True, in_channels=4)": lambda: nn.LayerNorm(in_channels=4),
    "InstanceNorm(axis=1, eps=1e-05, center=True, scale=False, in_channels=None)": lambda: nn.InstanceNorm(),
    "MaxPool2D(size=(2, 2), stride=(2, 2), padding=(0, 0), ceil_mode=False, global_pool=False, pool_type=max, "
    "layout=NCHW)": lambda: nn.MaxPool2D(),
    "GlobalAvgPool2D(size=(1, 1), stride=(1, 1), padding=(0, 0), ceil_mode=True, global_pool=True, pool_type=avg, "
    "layout=NCHW)": lambda: nn.GlobalAvgPool2D(),
    "Dropout(p = 0.5, axes=())": lambda: nn.Dropout(0.5),
    "Embedding(7 -> 3, float32)": lambda: nn.Embedding(7, 3),
    "LeakyReLU(0.1)": lambda: nn.LeakyReLU(0.1),
    "ELU(1.0)": lambda: nn.ELU(),
    "Flatten": lambda: nn.Flatten(),
    "PixelShuffle1D(2)": lambda: nn.PixelShuffle1D(2),
    "PixelShuffle2D((2, 2))": lambda: nn.PixelShuffle2D(2),
    "SELU()": lambda: nn.SELU(),
}


@pytest.mark.parametrize("text", REPRS)
def test_a_layer_shows_itself(text: str) -> None:
    assert repr(REPRS[text]()) == text


@pytest.mark.parametrize("name", nn.__all__)
def test_an_unknown_argument_of_a_layer_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'stride'|takes no (keyword )?arguments"):
        getattr(nn, name)(stride=2)
