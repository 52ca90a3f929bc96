"""Random numbers in compiled networks: drawn in every run, in the order of `forward`, from the one seeded generator."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import layer_errors, quantize_net
from minidnn.errors import MXNetError, OpError
from minidnn.generator import generator
from minidnn.gluon import SymbolBlock, nn
from minidnn.npx import random as npx_random
from minidnn.numpy import random as np_random

random = mx.np.random
Array = np.ndarray[Any, Any]

# Every function that draws, on an array of the network and on its shape.
DRAWS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda x: random.uniform(-1, x, size=x.shape),
    "normal": lambda x: random.normal(x, 2.0),
    "lognormal": lambda x: random.lognormal(size=x.shape),
    "laplace": lambda x: random.laplace(x, x + 2),
    "logistic": lambda x: random.logistic(0.5, 2, size=(4, *x.shape)),
    "gumbel": lambda x: random.gumbel(size=x.shape[0]),
    "gamma": lambda x: random.gamma(x + 2, size=x.shape),
    "beta": lambda x: random.beta(2.0, 3.0, size=x.shape),
    "chisquare": lambda x: random.chisquare(np.full(3, 2.0), size=x.shape),
    "f": lambda x: random.f(3, 4, size=x.shape),
    "exponential": lambda x: random.exponential(2.0, size=x.shape),
    "rayleigh": lambda x: random.rayleigh([1.0, 2.0, 3.0]),
    "weibull": lambda x: random.weibull(2, size=x.shape),
    "pareto": lambda x: random.pareto(2, size=x.shape),
    "power": lambda x: random.power(2, size=x.shape),
    "rand": lambda x: random.rand(*x.shape, dtype="float64"),
    "randn": lambda x: random.randn(*x.shape),
    "randint": lambda x: random.randint(10**9, size=x.shape),
    "multinomial": lambda x: random.multinomial(10**6, [0.2, 0.8], size=x.shape),
    "multivariate_normal": lambda x: random.multivariate_normal(mx.np.zeros(2), mx.np.eye(2), size=3),
    "choice": lambda x: random.choice(mx.np.arange(1000), x.shape),
    "choice of the network's": lambda x: random.choice(mx.np.concatenate([x[0]] * 20), 30),
    "choice with odds": lambda x: random.choice(3, 60, p=mx.npx.softmax(x[0])),
    "choice without replacement": lambda x: random.choice(100, 50, replace=False),
    "permutation": lambda x: random.permutation(100),
    "permutation of the network's": lambda x: random.permutation(mx.np.concatenate([x.T] * 20)),
    "shuffle": lambda x: _shuffled(mx.np.concatenate([x.T] * 20)),
    "bernoulli": lambda x: mx.npx.random.bernoulli(logit=x, size=(50, *x.shape)),
    "uniform_n": lambda x: mx.npx.random.uniform_n(0, x + 2, batch_shape=(2,)),
    "normal_n": lambda x: mx.npx.random.normal_n(x, 1.0, batch_shape=3),
}
WITHOUT_DRAWS = {"seed", "categorical"}
X = mx.np.array(np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32))


def _shuffled(y: Any) -> Any:
    random.shuffle(y)
    return y


def block(forward: Callable[[Any], Any]) -> nn.HybridBlock:
    class Drawing(nn.HybridBlock):
        def forward(self, x: Any) -> Any:
            return forward(x)

    return Drawing()


def runs(net: Callable[[Any], Any], seed: int, count: int = 2) -> list[Array]:
    random.seed(seed)
    return [np.concatenate([a.asnumpy().ravel() for a in _list(net(X))]) for _ in range(count)]


def _list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def test_every_random_function_is_tried() -> None:
    names = {*np_random.__all__, *npx_random.__all__} - WITHOUT_DRAWS
    assert names == {name.split()[0] for name in DRAWS}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", DRAWS)
def test_a_compiled_network_draws_at_every_call_what_it_draws_eagerly(name: str, fused: bool) -> None:
    net = block(lambda x: (DRAWS[name](x) * 1, x))
    wanted = runs(net, 5)
    if fused:
        net.optimize_for(X)
    else:
        net.hybridize()
    net(X)
    got = runs(net, 5)
    assert not np.array_equal(got[0], got[1])
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_numbers_are_those_of_numpys_generator() -> None:
    random.seed(9)
    reference = np.random.default_rng(9)
    np.testing.assert_array_equal(random.normal(1, 2, size=3), reference.normal(1, 2, 3).astype(np.float32))
    np.testing.assert_array_equal(random.randint(5, 50, size=7), reference.integers(5, 50, 7))
    np.testing.assert_array_equal(
        random.gamma([1.0, 2], size=(4, 2)), reference.gamma([1, 2], size=(4, 2)).astype("f4")
    )
    np.testing.assert_array_equal(random.permutation(9), reference.permutation(9))


def out_of_order(x: Any) -> Any:
    first = random.normal(size=(3,))
    second = random.uniform(size=(2, 3))
    third = random.normal(second, 1.0)
    return third * x, second - x, first + x


@pytest.mark.parametrize("fused", [False, True])
def test_draws_keep_the_order_of_forward_whatever_order_they_are_used_in(fused: bool, tmp_path: Path) -> None:
    net = block(out_of_order)
    wanted = runs(net, 4)
    net.hybridize(backend="MINIDNN" if fused else None)
    net(X)
    np.testing.assert_allclose(runs(net, 4), wanted, rtol=1e-6)
    files = net.export(tmp_path / "net")
    again = SymbolBlock.imports(files[0], ["data"], files[1])
    again(X)
    np.testing.assert_allclose(runs(again, 4), wanted, rtol=1e-6)


def test_two_draws_alike_are_two_draws() -> None:
    net = block(lambda x: random.normal(size=(50,)) - random.normal(size=(50,)) + 0 * x[0, 0])
    net.optimize_for(X)
    assert np.abs(net(X).asnumpy()).min() > 0


def test_one_draw_used_twice_is_one_draw() -> None:
    def forward(x: Any) -> Any:
        noise = random.normal(size=x.shape)
        return (noise + x) - noise

    net = block(forward)
    net.optimize_for(X)
    np.testing.assert_allclose(net(X).asnumpy(), X.asnumpy(), atol=1e-6)


def test_a_network_that_is_part_of_another_draws_too(tmp_path: Path) -> None:
    inner = block(lambda x: x + random.normal(size=x.shape))
    inner.hybridize()
    inner(X)
    files = inner.export(tmp_path / "inner")
    imported = SymbolBlock.imports(files[0], ["data"], files[1])
    net = nn.HybridSequential()
    net.add(imported, nn.Activation("relu"), inner)
    net.optimize_for(X)
    first, second = runs(net, 1)
    assert not np.array_equal(first, second)
    net.hybridize(False)
    np.testing.assert_allclose(runs(net, 1), [first, second], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(DRAWS) - {"lognormal", "beta", "chisquare", "f", "multivariate_normal"}))
def test_files_in_mxnets_format_draw_the_same(name: str, tmp_path: Path) -> None:
    net = block(lambda x: (DRAWS[name](x) * 1, x))
    net.hybridize()
    net(X)
    wanted = runs(net, 8)
    symbol_file, params_file = net.export(tmp_path / "net", format="mxnet")
    again = SymbolBlock.imports(symbol_file, ["data"])
    if mx.npx.load(params_file):
        again.load_parameters(params_file)
    again(X)
    np.testing.assert_allclose(runs(again, 8), wanted, rtol=1e-6)


def test_mxnets_own_spelling_is_read() -> None:
    attrs = {
        "_npi_uniform": {"low": "2.0", "high": "3.0", "size": "(2, 5)", "ctx": "cpu(0)", "dtype": "float64"},
        "_npi_exponential": {"size": "[5]", "ctx": "cpu"},
        "_npi_random_randint": {"low": "0", "high": "5", "shape": "(5,)"},
    }
    nodes = [{"op": op, "name": op, "inputs": [], "attrs": values} for op, values in attrs.items()]
    heads = [[i, 0, 0] for i in range(3)]
    drawn = mx.sym.fromjson(json.dumps({"nodes": nodes, "arg_nodes": [], "heads": heads}))
    u, e, i = drawn.eval()
    assert (u.shape, u.dtype, e.shape, e.dtype, i.shape, i.dtype) == ((2, 5), "float64", (5,), "float32", (5,), "int32")
    assert u.min() >= 2
    assert u.max() < 3


def noisy_network() -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, in_channels=3), block(lambda x: x + random.normal(0, 0.01, x.shape)), nn.Conv2D(4, 1))
    net.initialize(mx.init.Xavier())
    return net


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
def test_a_network_that_draws_is_quantized(mode: str) -> None:
    random.seed(0)
    net, x = noisy_network(), random.uniform(size=(2, 3, 9, 9))
    wanted = net(x).asnumpy()
    quantized = quantize_net(net, calib_mode=mode, calib_data=[x], data_shapes=[x.shape])
    got, again = quantized(x).asnumpy(), quantized(x).asnumpy()
    assert not np.array_equal(got, again)
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()


def test_errors_of_layers_leave_out_what_was_drawn() -> None:
    random.seed(0)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, in_channels=3), block(lambda x: x + random.normal(0, 5, x.shape)), nn.Conv2D(4, 1))
    net.initialize(mx.init.Xavier())
    x = random.uniform(size=(2, 3, 9, 9))
    net(x)
    quantized = quantize_net(net, calib_mode="naive", calib_data=[x])
    assert min(e.accumulated for e in layer_errors(net, quantized, [x]).layers) > 25


def test_a_hook_on_operations_sees_what_was_drawn() -> None:
    net, seen = block(lambda x: x + random.normal(size=x.shape)), {}
    net.register_op_hook(lambda name, op, array: seen.update({name: array.asnumpy()}))
    out = net(X).asnumpy()
    np.testing.assert_allclose(out, X.asnumpy() + seen["random_normal_output"], rtol=1e-6)


class NoisyInitializer(mx.init.Initializer):
    def _init_weight(self, name: str, arr: Any) -> None:
        arr[:] = random.normal(7, 0.1, size=arr.shape)


@pytest.mark.parametrize("how", ["hybridize", "optimize_for", "eager"])
def test_initializers_draw_at_once_while_a_network_is_traced(how: str) -> None:
    net = nn.Dense(3, weight_initializer=NoisyInitializer())
    net.initialize()
    if how == "optimize_for":
        net.optimize_for(X)
    elif how == "hybridize":
        net.hybridize()
    net(X)
    assert 6 < net.weight.data().asnumpy().mean() < 8


@pytest.mark.parametrize("call", [random.seed, mx.random.seed, mx.npx.random.seed])
def test_a_seed_inside_of_a_traced_network_is_an_error(call: Callable[[int], None]) -> None:
    def forward(x: Any) -> Any:
        call(3)
        return x

    net = block(forward)
    net(X)
    net.hybridize()
    with pytest.raises(MXNetError, match=r"random\.seed cannot be traced"):
        net(X)


def test_values_of_a_draw_are_not_there_while_tracing() -> None:
    net = block(lambda x: x * float(random.uniform(size=()).item()))
    net(X)
    net.hybridize()
    with pytest.raises(MXNetError, match="random_uniform"):
        net(X)


def test_shuffling_memory_outside_of_a_traced_network_is_an_error() -> None:
    outside = mx.np.arange(5)

    def forward(x: Any) -> Any:
        random.shuffle(outside)
        return x + outside[0]

    net = block(forward)
    net(X)
    net.hybridize()
    with pytest.raises(MXNetError, match="an array that exists outside"):
        net(X)
    net = block(lambda x: (random.shuffle(np.ones(3)), x + 1)[1])
    net.hybridize()
    with pytest.raises(MXNetError, match=r"random\.shuffle of a NumPy array"):
        net(X)


def test_an_input_is_shuffled_as_eagerly() -> None:
    results = []
    for active in (False, True):
        x = mx.np.arange(20)
        net = block(_shuffled)
        net.hybridize(active)
        mx.npx.random.seed(4)
        results.append([net(x).tolist(), x.tolist()])
    assert results[0] == results[1]
    assert results[0][0] == results[0][1] != list(range(20))


def test_parameters_outside_their_domain_are_refused_while_tracing() -> None:
    net = block(lambda x: x + random.normal(0, -1.0, size=x.shape))
    net.hybridize()
    with pytest.raises(OpError, match="random_normal: scale < 0"):
        net(X)


def test_many_threads_draw_at_once() -> None:
    net = block(lambda x: random.randint(2**62, size=(64,)) + 0 * x[0, 0].astype("int64"))
    net.optimize_for(X)
    drawn: list[Array] = []
    threads = [threading.Thread(target=lambda: drawn.extend(net(X).asnumpy() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(np.concatenate(drawn).tolist())) == 4 * 20 * 64


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_draws_though_another_thread_was_drawing_at_the_fork() -> None:
    with generator().bit_generator.lock:
        pid = os.fork()
        if pid == 0:
            # The forked lock would block for ever; acquiring the new one must not.
            os._exit(0 if generator().bit_generator.lock.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    "draw",
    [
        lambda: mx.npx.random.categorical(np.array([0.5, 0.5], np.float32)),
        lambda: mx.npx.random.multinomial(np.array(3), np.array([0.5, 0.5], np.float32)),
        lambda: random.shuffle(np.arange(4)),
    ],
    ids=["categorical", "multinomial", "shuffle"],
)
def test_what_cannot_be_drawn_at_every_call_is_not_drawn_once(draw: Callable[[], Any]) -> None:
    net = block(lambda x: (x, draw())[0])
    net.hybridize()
    with pytest.raises(MXNetError, match="cannot be traced"):
        net(X)
