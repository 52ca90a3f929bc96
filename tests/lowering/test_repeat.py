"""Layers that repeat earlier ones: the programs are those that lowering every layer by itself gives."""

import numpy as np
import pytest

import minidnn as mx
import minidnn.lowering
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.gluon.model_zoo import vision
from minidnn.lowering.repeat import Repetitions
from minidnn.plan.program import Address, HostStep


def _resolved(program):
    """Steps with constants in the place of their addresses, whose numbers depend on the order of first use."""
    steps = []
    for step in program.steps:
        if isinstance(step, HostStep):
            steps.append((step.name, step.operator, step.inputs, step.outputs))
            continue
        arguments = []
        for argument in step.arguments:
            if isinstance(argument, Address) and argument.buffer.kind == "constant":
                constant = program.constants[argument.buffer.index]
                argument = (constant.dtype, constant.shape, constant.tobytes(), argument.offset)
            arguments.append(argument)
        steps.append((step.name, step.loop, arguments, step.parts, step.cost, step.scratch, step.result))
    return steps


def _lent_bytes(program):
    return sum(program.constants[i].nbytes for i in program.lent)


@pytest.fixture
def both(monkeypatch):
    """Lowers every graph in both ways and compares; gives the numbers of layers and of repeated ones so far."""
    true_lower, true_repeat = minidnn.lowering.lower, Repetitions.lower
    counts = {"layers": 0, "repeated": 0}

    def count(self, node, inputs, lower):
        called = []
        result = true_repeat(self, node, inputs, lambda: called.append(1) or lower())
        counts["layers"] += 1
        counts["repeated"] += not called
        return result

    def lower_twice(*args):
        monkeypatch.setattr(Repetitions, "lower", count)
        program = true_lower(*args)
        monkeypatch.setattr(Repetitions, "lower", lambda self, node, inputs, lower: lower())
        alone = true_lower(*args)
        assert _resolved(program) == _resolved(alone)
        assert (program.arena_bytes, program.inputs, program.outputs) == (
            alone.arena_bytes,
            alone.inputs,
            alone.outputs,
        )
        assert set(program.kernels_ahead()) == set(alone.kernels_ahead())
        assert sum(program.constants[i].nbytes for i in program.lent) == sum(
            alone.constants[i].nbytes for i in alone.lent
        )
        return program

    monkeypatch.setattr(minidnn.lowering, "lower", lower_twice)
    return counts


class _Layer(nn.HybridBlock):
    """Attention by one head, and a hidden layer, each added to what it reads and normed."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.together, self.out = nn.Dense(3 * width, flatten=False), nn.Dense(width, flatten=False)
        self.hidden, self.back = nn.Dense(2 * width, flatten=False), nn.Dense(width, flatten=False)
        self.norm, self.last = nn.LayerNorm(), nn.LayerNorm()

    def forward(self, x):
        query, key, value = mx.np.split(self.together(x), 3, axis=-1)
        scores = mx.npx.softmax(mx.npx.batch_dot(query, key, transpose_b=True) / self.width**0.5)
        x = self.norm(x + self.out(mx.npx.batch_dot(scores, value)))
        return self.last(x + self.back(mx.npx.leaky_relu(self.hidden(x), act_type="gelu")))


def _encoder():
    net = nn.HybridSequential()
    net.add(*(_Layer(32) for _ in range(3)))
    mx.random.seed(0)
    net.initialize(mx.init.Uniform(0.5))
    return net


def _blocks():
    net = nn.HybridSequential()
    for _ in range(3):
        net.add(nn.Conv2D(32, 3, padding=1, in_channels=32), nn.BatchNorm(), nn.Activation("relu"))
    mx.random.seed(0)
    net.initialize(mx.init.Uniform(0.5))
    return net


def test_an_encoders_layers_are_repeated_at_every_length(both):
    net = _encoder()
    net.optimize_for(mx.np.ones((1, 7, 32)))
    net(mx.np.ones((1, 7, 32)))
    both.update(layers=0, repeated=0)
    for length in (3, 16):
        net(mx.np.ones((2, length, 32)))
    assert both["repeated"] >= both["layers"] * 0.6


@pytest.mark.parametrize("name", ["resnet18_v1", "mobilenetv2_0.25", "mobilenetv3_small"])
def test_networks_of_the_zoo_are_planned_alike(both, name):
    net = vision.get_model(name, classes=8)
    net.initialize(mx.init.Xavier())
    net.optimize_for(mx.np.ones((1, 3, 64, 64)))
    for batch in (1, 2):
        net(mx.np.ones((batch, 3, 64, 64)))
    assert both["repeated"]


def test_integer_layers_are_repeated_where_their_weights_allow_the_same(both):
    net = _blocks()
    # Weights of equal layers that allow other dot products and other schemes.
    net[0].weight.set_data(mx.np.ones((32, 32, 3, 3)))
    data = mx.np.array(np.random.default_rng(0).uniform(-1, 1, (2, 32, 12, 12)), dtype="float32")
    quantized = quantize_net(net, calib_mode="naive", calib_data=data)
    for batch in (2, 3):
        quantized(data[:1].repeat(batch, axis=0))


def test_a_number_that_differs_is_not_repeated(both):
    class Scaled(nn.HybridBlock):
        def __init__(self, numbers):
            super().__init__()
            self.factors = [mx.gluon.Parameter(shape=(1,), init=mx.init.Constant(n)) for n in numbers]
            for i, factor in enumerate(self.factors):
                setattr(self, f"factor{i}", factor)

        def forward(self, x):
            for factor in self.factors:
                x = mx.npx.softmax(x * factor.data())
            return x

    numbers = [1.0, 2.0, -0.0, 0.0]
    net = Scaled(numbers)
    net.initialize()
    net.optimize_for(mx.np.ones((2, 5)))
    net(mx.np.ones((2, 5)))
    x = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
    expected = x.astype(np.float64)
    for number in numbers:
        expected = np.exp(expected * number)
        expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(net(mx.np.array(x)).asnumpy(), expected, rtol=1e-5)


def test_weights_that_change_are_seen_by_repeated_layers():
    net = _blocks()
    x = mx.np.array(np.random.default_rng(2).uniform(-1, 1, (3, 32, 9, 9)), dtype="float32")
    net.optimize_for(x[:1])
    net(x[:2])
    net[3].weight.set_data(net[0].weight.data() * 0.5)
    net[4].running_mean.set_data(mx.np.full((32,), 0.25))
    expected = x
    for layer in net:
        expected = layer(expected)
    expected = expected.asnumpy()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-4, atol=1e-5 * expected.max())
