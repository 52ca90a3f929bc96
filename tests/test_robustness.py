"""Nothing that a user passes crashes the process: it works, or there is an exception that names what did not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.gluon import nn

Array = np.ndarray[Any, Any]


class _Network(nn.HybridBlock):
    """A convolution and a dense layer, with names to be told in errors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(8, 3, in_channels=3, activation="relu")
        self.pool = nn.MaxPool2D(2)
        self.fc = nn.Dense(5)

    def forward(self, x: mx.np.ndarray) -> mx.np.ndarray:
        made: mx.np.ndarray = self.fc(self.pool(self.conv1(x)))
        return made


def _network(way: str) -> _Network:
    net = _Network()
    net.initialize()
    example = mx.np.ones((1, 3, 8, 8))
    net(example)
    if way == "hybridized":
        net.hybridize()
    elif way == "optimized":
        net.optimize_for(example)
    return net


every_way = pytest.mark.parametrize("way", ["eager", "hybridized", "optimized"])


@every_way
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((3, 8, 8), "float32", r"conv1: .*4 dimensions \(N, C, H, W\), got 3"),
        ((1, 3, 8, 8, 1), "float32", r"conv1: .*4 dimensions \(N, C, H, W\), got 5"),
        ((), "float32", r"conv1: .*4 dimensions"),
        ((1, 4, 8, 8), "float32", r"conv1: .*data has 4 channels but weight \(8, 3, 3, 3\) is made for 3"),
        ((1, 0, 8, 8), "float32", r"conv1: .*data must not be empty"),
        ((1, 3, 0, 8), "float32", r"conv1: .*data must not be empty"),
        ((1, 3, 2, 2), "float32", r"conv1: .*kernel \(3, 3\).*does not fit"),
        ((1, 3, 3, 3), "float32", r"pool: .*kernel \(2, 2\) does not fit"),
        ((1, 3, 20, 20), "float32", r"fc: .*weight must have shape"),
        ((1, 3, 8, 8), "float64", r"conv1: .*float64.*float32"),
        ((1, 3, 8, 8), "int32", r"conv1: .*float"),
        ((1, 3, 8, 8), "bool", r"conv1: .*float"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_layer(
    way: str, shape: tuple[int, ...], dtype: str, message: str
) -> None:
    net = _network(way)
    with pytest.raises(mx.MXNetError, match=message):
        net(mx.np.ones(shape, dtype=dtype))
    assert net(mx.np.ones((1, 3, 8, 8))).shape == (1, 5), "and the network works on"


@every_way
@pytest.mark.parametrize("what", ["text", None, 5, [1, 2], object()], ids=["text", "None", "int", "list", "object"])
def test_what_is_no_array_is_refused(way: str, what: Any) -> None:
    with pytest.raises((TypeError, mx.MXNetError), match=r"ndarray|array"):
        _network(way)(what)


@every_way
def test_arrays_of_any_memory_give_the_same(way: str) -> None:
    net = _network(way)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    expected = net(mx.np.array(x)).asnumpy()
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    memories = [frozen, unaligned, x.astype(">f4"), np.asfortranarray(x), x[:, ::-1].copy()[:, ::-1]]
    memories += [np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1), np.repeat(x, 2, axis=3)[..., ::2]]
    for given in memories:
        np.testing.assert_allclose(net(mx.np.array(given)).asnumpy(), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(net(given).asnumpy(), expected, rtol=1e-5, atol=1e-6)


@every_way
def test_nan_comes_out_and_does_not_stay(way: str) -> None:
    net = _network(way)
    x = np.ones((2, 3, 8, 8), np.float32)
    expected = net(mx.np.array(x)).asnumpy()
    x[0, 1, 4, 4] = np.nan
    result = net(mx.np.array(x)).asnumpy()
    assert np.isnan(result[0]).all()
    np.testing.assert_allclose(result[1], expected[1], rtol=1e-5), "the other image has nothing of it"
    x[0, 1, 4, 4] = 1
    np.testing.assert_array_equal(net(mx.np.array(x)).asnumpy(), expected)


@every_way
@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, 1e-45])
def test_extreme_numbers_are_numbers(way: str, value: float) -> None:
    result = _network(way)(mx.np.full((1, 3, 8, 8), value)).asnumpy()
    assert result.shape == (1, 5)


@pytest.mark.parametrize("backend", ["TensorRT", "", "onednn", 5])
def test_an_unknown_backend_is_refused_with_those_there_are(backend: Any) -> None:
    with pytest.raises(mx.MXNetError, match=r"unknown backend .*ONEDNN"):
        _network("eager").optimize_for(mx.np.ones((1, 3, 8, 8)), backend=backend)


_ones = mx.np.ones


def _convolve(channels: int = 3, depth: int = 3, filters: int = 4, **attrs: Any) -> mx.np.ndarray:
    data, weight = _ones((1, channels, 8, 8)), _ones((4, depth, 3, 3))
    return mx.npx.convolution(data, weight, kernel=(3, 3), num_filter=filters, no_bias=True, **attrs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _convolve(stride=(0, 1)), "'stride' must be at least 1"),
        (lambda: _convolve(pad=(-1, 1)), "'pad' must be at least 0"),
        (lambda: _convolve(dilate=(9, 9)), "does not fit"),
        (lambda: _convolve(stride=(1, 1, 1)), "stride must have 2 numbers"),
        (lambda: _convolve(filters=2**40), "weight must have shape"),
        (lambda: _convolve(channels=4, depth=2, num_group=3), "num_group=3 must divide"),
        (lambda: mx.npx.pooling(_ones((1, 3, 8, 8)), kernel=(9, 9)), "does not fit"),
        (lambda: mx.npx.pooling(_ones((1, 3, 8, 8)), kernel=(3, 3), pool_type="median"), "median"),
        (lambda: mx.npx.pooling(_ones((1, 3, 8, 8)), kernel=(3, 3), pad=(3, 3)), "pad"),
        (lambda: mx.npx.fully_connected(_ones((2, 3)), _ones((4, 5)), num_hidden=4), r"must have shape \(4, 3\)"),
        (lambda: mx.npx.softmax(_ones((2, 3)), axis=5), "axis"),
        (lambda: mx.npx.batch_dot(_ones((2, 3, 4)), _ones((3, 4, 5))), "batch"),
        (lambda: mx.npx.layer_norm(_ones((2, 3)), _ones((4,)), _ones((4,))), "gamma"),
        (lambda: _ones((2, 3)) + _ones((4,)), "broadcast"),
        (lambda: mx.np.concatenate([_ones((2, 3)), _ones((2, 4, 1))]), "concatenate"),
        (lambda: mx.np.array(np.ones(3, "c8")), "complex64"),
        (lambda: mx.np.array([{}]), "array"),
    ],
)
def test_operators_refuse_what_does_not_fit(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((mx.MXNetError, TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 4), (2, 3, 0, 0)])
@pytest.mark.parametrize("op", ["relu", "sigmoid", "exp"])
def test_nothing_in_nothing_out(shape: tuple[int, ...], op: str) -> None:
    function = getattr(mx.npx, op, None) or getattr(mx.np, op)
    assert function(_ones(shape)).shape == shape
    assert (_ones(shape) + 1).shape == shape
    assert mx.np.transpose(_ones(shape)).shape == shape[::-1]


# --- in processes of their own, with little memory ---------------------------------------------------

_HUGE_SIZES = Path(__file__).with_name("huge_sizes.py")
_TOO_LARGE = (
    *("large image", "image beyond 64 bits", "as many pixels as 32 bits number", "more pixels than 32 bits number"),
    *("large batch", "large depthwise convolution", "padding beyond 64 bits", "dilation beyond 64 bits"),
    *("relu of terabytes", "relu beyond 64 bits", "broadcast sum", "outer product"),
    *("large pool", "taps beyond 64 bits"),
    *("softmax of terabytes", "transpose of terabytes", "broadcast to terabytes", "concatenated terabytes"),
    *("padded to terabytes", "sum of terabytes", "ones beyond 64 bits", "zeros at the edge of 64 bits"),
    *("one-hot of terabytes", "tiled terabytes", "reshape beyond 64 bits"),
)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[int, str, str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIDNN_NUM_THREADS": "1"}
    command = [sys.executable, str(_HUGE_SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    told: dict[str, tuple[int, str, str]] = json.loads(done.stdout)
    assert sorted(told) == sorted(_TOO_LARGE)
    return told


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize("name", _TOO_LARGE)
def test_sizes_beyond_the_machine_are_exceptions(name: str, outcomes: dict[str, tuple[int, str, str]]) -> None:
    status, kind, message = outcomes[name]
    assert status == 0, "the process crashed"
    kinds = {"MemoryError", "_ArrayMemoryError", "OverflowError", "ValueError", "ShapeError", "OpError"}
    assert kind in kinds, f"{kind}: {message}"
    assert len(message) > 10, "it says what was too large"
