"""Algorithms that are chosen by measurements: what is kept, when nothing is measured, and what networks do with it."""

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import nn
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.lowering import algorithms
from minidnn.lowering.lower import lower
from minidnn.ops.registry import TensorType
from minidnn.runtime.code_cache import CodeCache
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import Library, library
from minidnn.runtime.threads import pool
from minidnn.runtime.tuning import Tuner


@pytest.fixture
def here(tmp_path):
    """A library with an empty cache of its own."""
    return Library(library().isa, CodeCache(tmp_path))


def _copies(count, isa):
    """A program with so many numbers to go through."""
    type = TensorType((count,), np.dtype(np.float32))
    node = make_node("relu", "relu", [make_variable("data")])
    return lower(Graph([node[0]]), {}, {"data": (type, "plain")}, None, isa)


def _must_not_be_made():
    raise AssertionError("it is known already, or not to be measured")


def test_the_faster_one_is_found_and_kept(here):
    few, many = (lambda n=n: _copies(n, here.isa) for n in (64, 1 << 22))
    assert Tuner(here, pool).fastest("work", {"many": many, "few": few}) == "few"
    another = Tuner(Library(here.isa, CodeCache(here.cache.folder)), pool)
    assert another.fastest("work", {"many": _must_not_be_made, "few": _must_not_be_made}) == "few"
    with pytest.raises(AssertionError, match="known already"):
        another.fastest("other work", {"many": _must_not_be_made, "few": _must_not_be_made})


def test_nothing_is_measured_without_time_or_without_a_cache(here):
    candidates = {"a": _must_not_be_made, "b": _must_not_be_made}
    assert Tuner(here, pool, budget=0).fastest("work", candidates) is None
    assert Tuner(Library(here.isa, CodeCache(None)), pool).fastest("work", candidates) is None


@pytest.mark.parametrize("second", [None, "b"])
def test_what_cannot_be_told_is_asked_once_more(here, second, monkeypatch):
    candidates = {"a": _must_not_be_made, "b": _must_not_be_made}
    for answer in (None, second):
        monkeypatch.setattr(Tuner, "_measure", lambda self, candidates, answer=answer: answer)
        tuner = Tuner(here, pool)
        assert tuner.fastest("work", candidates) == answer
        monkeypatch.setattr(Tuner, "_measure", lambda self, candidates: _must_not_be_made())
        assert tuner.fastest("work", candidates) == answer
    assert Tuner(here, pool).fastest("work", candidates) == second


@pytest.mark.parametrize("content", [b"", b"c", b"\xff\xfe", b"a\n"])
def test_an_entry_that_names_no_candidate_is_of_no_account(here, content, monkeypatch):
    monkeypatch.setattr(Tuner, "_measure", lambda self, candidates: "a")
    candidates = {"a": _must_not_be_made, "b": _must_not_be_made}
    Tuner(here, pool).fastest("work", candidates)
    (name,) = [path.stem for path in here.cache.folder.glob("*.o")]
    here.cache.write(name, content)
    assert Tuner(here, pool).fastest("work", candidates) is None


def _layer(channels=64):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(channels, 3, padding=1, in_channels=channels), nn.BatchNorm(), nn.Activation("relu"))
    mx.random.seed(0)
    net.initialize(mx.init.Uniform(0.1))
    return net


@pytest.fixture
def asked(monkeypatch):
    """What networks ask for, and the answer they get: the last candidate, by name, or the one that is set."""
    monkeypatch.setenv("MINIDNN_TUNE", "1")
    # Which estimates are close depends on the instruction set.
    monkeypatch.setattr(algorithms, "_NEAR", 100)
    seen = []

    def fastest(self, work, candidates):
        seen.append((work, dict(candidates)))
        return [*candidates][-1]

    monkeypatch.setattr(Tuner, "fastest", fastest)
    return seen


def test_every_candidate_computes_the_layer(asked):
    net, x = _layer(), mx.np.random.uniform(-1, 1, (1, 64, 48, 48))
    net.optimize_for(x)
    ((_, candidates),) = asked
    assert len(candidates) > 1 and candidates.keys() <= {a.name for a in algorithms.ALGORITHMS}
    ones = np.ones((1, 48, 48, 64), np.float32).transpose(0, 3, 1, 2)
    weight = net[0].weight.data() * (1 + 1e-5) ** -0.5
    expected = mx.npx.convolution(
        mx.np.ones((1, 64, 48, 48)), weight, kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True
    ).asnumpy()
    for make in candidates.values():
        (result,) = Executor(make(), library(), pool)([ones])
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def test_every_candidate_of_integers_gives_the_same_bits(asked):
    net, x = _layer(), mx.np.random.uniform(-1, 1, (1, 64, 48, 48))
    quantize_net(net, calib_mode="naive", calib_data=x)(x)
    (candidates,) = [made for work, made in asked if work.startswith(("u8", "s8"))]
    results = []
    for make in candidates.values():
        executor = Executor(make(), library(), pool)
        (tensor,) = executor.program.inputs
        data = np.arange(48 * 48 * 64, dtype=tensor.type.dtype).reshape(1, 48, 48, 64)
        results.append(executor([data.transpose(0, 3, 1, 2)])[0])
    assert len(results) > 1
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_one_choice_serves_every_batch(asked):
    net, x = _layer(), mx.np.random.uniform(-1, 1, (3, 64, 48, 48))
    net.optimize_for(x[:1])
    together = net(x).asnumpy()
    assert len(asked) == 1
    for i in range(3):
        np.testing.assert_array_equal(net(x[i : i + 1]).asnumpy()[0], together[i])


def test_small_layers_are_not_worth_it(asked):
    net = _layer(8)
    net.optimize_for(mx.np.ones((1, 8, 8, 8)))
    assert not asked


@pytest.mark.parametrize("how", ["argument", "hybridize", "environment"])
def test_it_can_be_switched_off(asked, how, monkeypatch):
    net, x = _layer(), mx.np.ones((1, 64, 48, 48))
    if how == "environment":
        monkeypatch.setenv("MINIDNN_TUNE", "0")
    if how == "hybridize":
        net.hybridize(backend="MINIDNN", tune=False)
    else:
        net.optimize_for(x, tune=how != "argument")
    net(x)
    assert not asked
