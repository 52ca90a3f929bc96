"""Nothing that a user passes crashes the process: it works, or there is an exception that names what did not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
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
        ((0, 3, 8, 8), "float32", r"conv1: .*data must not be empty"),
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
@pytest.mark.parametrize("what", ["text", None, 5, [1, 2], object()], ids=str)
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


# --- in a process of their own, with little memory ---------------------------------------------------

_LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
import numpy as np
import minidnn as mx
from minidnn.engine import compile_graph
from minidnn.ops.registry import TensorType
from minidnn.symbol.graph import Graph, make_node, make_variable

def compiled(op, *shapes, weight=None, **attrs):
    inputs = {f"x{i}": TensorType(shape, np.dtype(np.float32)) for i, shape in enumerate(shapes)}
    names = [*inputs, *(["w"] if weight else [])]
    node = make_node(op, op, [make_variable(n) for n in names], attrs)
    parameters = {"w": np.zeros(weight, np.float32)} if weight else {}
    run = compile_graph(Graph([node[0]]), parameters, inputs)
    run([np.zeros(t.shape, t.dtype) for t in inputs.values()])

def convolution(shape, kernel=(3, 3), filters=8, groups=1, **attrs):
    weight = (filters, shape[1] // groups, *kernel)
    attrs = dict(kernel=kernel, num_filter=filters, num_group=groups, no_bias=True, **attrs)
    compiled("convolution", shape, weight=weight, **attrs)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
@pytest.mark.parametrize(
    "program",
    [
        "convolution((1, 3, 2**20, 2**20))",
        "convolution((1, 3, 2**31, 2**31))",
        "convolution((1, 1, 2**16, 2**15), kernel=(1, 1), filters=1)",
        "convolution((1, 1, 2**16, 2**16), kernel=(1, 1), filters=1)",
        "convolution((2**40, 3, 8, 8))",
        "convolution((1, 8, 2**16, 2**15), groups=8)",
        "compiled('relu', (2**40,))",
        "compiled('relu', (2**62, 4))",
        "compiled('add', (2**24, 1), (1, 2**24))",
        "compiled('batch_dot', (1, 2**24, 1), (1, 1, 2**24))",
        "compiled('pooling', (1, 1, 2**20, 2**20), kernel=(2, 2), pool_type='max')",
        "compiled('softmax', (2**40,))",
        "compiled('transpose', (2**20, 2**20))",
        "compiled('broadcast_to', (1,), shape=(2**45,))",
        "compiled('concatenate', (2**40,), (2**40,), num_args=2, axis=0)",
        "compiled('pad', (4,), pad_width=((2**45, 0),))",
        "compiled('sum', (2**40, 2), axis=(0,))",
        "mx.np.ones((2**40, 2**40))",
        "mx.np.zeros((2**62,))",
        "convolution((1, 1, 8), kernel=(1,), pad=(2**70,))",
        "convolution((1, 1, 8), kernel=(2,), pad=(2**62,), dilate=(2**63,))",
        "compiled('pooling', (1, 1, 8, 8), kernel=(2**33, 2**33), pad=(2**32, 2**32), pool_type='max')",
        "mx.npx.one_hot(mx.np.zeros((4,), dtype='int32'), depth=2**44)",
        "mx.np.tile(mx.np.ones((4,)), (2**44,))",
        "mx.np.ones((4,)).reshape((2**33, 2**33))",
    ],
)
def test_sizes_beyond_the_machine_are_exceptions(program: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MINIDNN_NUM_THREADS": "2"}
    command = [sys.executable, "-c", _LIMITED + program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1, f"ended with {done.returncode}: {done.stderr}"
    kind, _, message = done.stderr.strip().splitlines()[-1].partition(": ")
    kinds = {"MemoryError", "_ArrayMemoryError", "OverflowError", "ValueError", "ShapeError", "OpError"}
    assert kind.rsplit(".", 1)[-1] in kinds, kind
    assert len(message) > 10, "it says what was too large"
