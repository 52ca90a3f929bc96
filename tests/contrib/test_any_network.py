"""Networks of all sorts can be quantized: without products, with constants, with nested arguments and results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantization_helpers import draw, fill, op_names, residual, sqnr

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import NaiveCollector, layer_errors, quantize_net
from minidnn.errors import DataError, OpError, ShapeError
from minidnn.gluon import nn

MODES = ["none", "naive", "entropy", "custom"]


class Call(gluon.HybridBlock):
    """A block of a function, with layers it may use."""

    def __init__(self, function: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self._function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self._function(self, x)


class Scaled(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.factor = gluon.Parameter("factor", shape=(8,))

    def forward(self, x: Any) -> Any:
        return x * self.factor.data()


def quantize(net: Any, mode: str, data: Any, **options: Any) -> Any:
    collector = NaiveCollector() if mode == "custom" else None
    return quantize_net(net, calib_mode=mode, calib_data=data, LayerOutputCollector=collector, **options)


def assert_agrees(wanted: Any, got: Any, decibel: float = 20) -> None:
    if isinstance(wanted, (list, tuple)):
        assert len(wanted) == len(got)
        for one, other in zip(wanted, got, strict=True):
            assert_agrees(one, other, decibel)
    else:
        assert wanted.dtype == got.dtype
        assert sqnr(wanted, got) > decibel


def again(qnet: Any, folder: Path, inputs: list[str]) -> Any:
    symbol_file, params_file = qnet.export(str(folder / "q"))
    return gluon.SymbolBlock.imports(symbol_file, inputs, params_file)


# ---- without products -----------------------------------------------------------------------------

WITHOUT_PRODUCTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "batch norm": (lambda: nn.BatchNorm(in_channels=8), draw(2, 8, 6, 6)),
    "activation": (lambda: nn.Activation("relu"), draw(2, 8)),
    "max pooling": (lambda: nn.MaxPool2D(2), draw(2, 8, 6, 6)),
    "average pooling": (lambda: nn.GlobalAvgPool2D(), draw(2, 8, 6, 6)),
    "reshape": (lambda: nn.Flatten(), draw(2, 8, 6, 6)),
    "identity": (lambda: nn.Identity(), draw(2, 8)),
    "elementwise": (lambda: Call(lambda _, x: mx.np.tanh(x) * 3 + x), draw(2, 8)),
    "one parameter": (Scaled, draw(2, 8)),
    "embedding": (lambda: nn.Embedding(10, 4), np.arange(6, dtype=np.int32).reshape(2, 3)),
    "integers": (lambda: Call(lambda _, x: x * 2), np.arange(6, dtype=np.int32).reshape(2, 3)),
    "several outputs": (lambda: Call(lambda _, x: (x + 1, mx.npx.relu(x))), draw(2, 8)),
    "a constant": (lambda: Call(lambda _, x: x + mx.np.ones((8,))), draw(2, 8)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WITHOUT_PRODUCTS)
def test_a_network_without_products_stays_in_float32(name: str, mode: str, tmp_path: Path) -> None:
    make, x = WITHOUT_PRODUCTS[name]
    net = make()
    net.initialize(mx.init.Xavier() if name != "one parameter" else mx.init.Uniform())
    data = mx.np.array(x, dtype=x.dtype)
    wanted = net(data)
    qnet = quantize(net, mode, [x])
    assert not any("quant" in op for op in op_names(qnet))
    assert_agrees(wanted, qnet(data), 100)
    if name != "identity":
        assert_agrees(wanted, again(qnet, tmp_path, ["data"])(data), 100)


@pytest.mark.parametrize("mode", MODES)
def test_so_does_one_whose_every_product_is_excluded(mode: str) -> None:
    net, x = residual(), draw(2, 8, 6, 6)
    qnet = quantize(net, mode, [x], exclude_operators=["convolution"])
    assert not any("quantized" in op for op in op_names(qnet))
    assert_agrees(net(mx.np.array(x)), qnet(mx.np.array(x)), 100)


# ---- constants and tables -------------------------------------------------------------------------

WITH_CONSTANTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "right factor": (lambda: Call(lambda _, x: mx.npx.batch_dot(x, mx.np.array(draw(2, 8, 4)))), draw(2, 3, 8)),
    "left factor": (lambda: Call(lambda _, x: mx.npx.batch_dot(mx.np.array(draw(2, 3, 8)), x)), draw(2, 8, 4)),
    "joined with an activation": (
        lambda: Call(
            lambda b, x: b.two(mx.np.concatenate([b.one(x), mx.np.array(9 * draw(2, 8, 6, 6))], axis=1)),
            one=nn.Conv2D(8, 3, padding=1, in_channels=8, activation="relu"),
            two=nn.Conv2D(4, 1, in_channels=16),
        ),
        draw(2, 8, 6, 6),
    ),
    "a parameter as a factor": (
        lambda: Call(lambda b, x: mx.npx.batch_dot(x, b.weight.data()), weight=gluon.Parameter("w", shape=(2, 8, 4))),
        draw(2, 3, 8),
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["full", "smart"])
@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_constants_are_quantized_once(name: str, how: str, mode: str, tmp_path: Path) -> None:
    make, x = WITH_CONSTANTS[name]
    net = fill(make(), x.shape)
    data = mx.np.array(x)
    qnet = quantize(net, mode, [x], quantize_mode=how)
    assert any("quantized" in op or op == "fused" for op in op_names(qnet))
    variables = {v.name for v in qnet.export(None)[0].variables()}
    assert not any(n.inputs[0].node.name in variables - {"data"} for n in _quantizing(qnet))
    assert_agrees(net(data), qnet(data))
    assert again(qnet, tmp_path, ["data"])(data).asnumpy().tobytes() == qnet(data).asnumpy().tobytes()


def _quantizing(qnet: Any) -> list[Any]:
    return [n for n in qnet.export(None)[0].operations() if n.op_name == "quantize"]


@pytest.mark.parametrize("mode", ["naive", "entropy"])
def test_a_constant_with_nan_is_refused_by_its_name(mode: str) -> None:
    net = Call(lambda _, x: mx.npx.batch_dot(x, mx.np.full((2, 8, 4), np.nan)))
    with pytest.raises((OpError, DataError), match="it has NaN or infinity"):
        quantize(net, mode, [draw(2, 3, 8)])


@pytest.mark.parametrize("mode", MODES)
def test_behind_an_embedding_no_range_is_missing(mode: str, tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Embedding(10, 8), nn.Dense(4, flatten=False), nn.Dense(3))
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    net.initialize(mx.init.Xavier())
    data = mx.np.array(x, dtype=np.int32)
    wanted = net(data)
    qnet = quantize(net, mode, [x])
    assert sqnr(wanted, qnet(data)) > 20
    assert again(qnet, tmp_path, ["data"])(data).asnumpy().tobytes() == qnet(data).asnumpy().tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_shared_weights_are_quantized_for_each_use(mode: str) -> None:
    net = fill(Call(lambda b, x: b.one(b.one(x) * 100), one=nn.Dense(8, in_units=8)), (4, 8))
    x = draw(4, 8)
    assert_agrees(net(mx.np.array(x)), quantize(net, mode, [x])(mx.np.array(x)))


def test_a_symbol_block_is_quantized_as_its_network_is(tmp_path: Path) -> None:
    net, x = residual(), draw(2, 8, 6, 6)
    net.optimize_for(mx.np.array(x))
    wanted = quantize(net, "naive", [x])(mx.np.array(x)).asnumpy()
    got = quantize(again(net, tmp_path, ["data"]), "naive", [x])(mx.np.array(x)).asnumpy()
    np.testing.assert_array_equal(got, wanted)


def test_what_was_excluded_can_be_quantized_later() -> None:
    net, x = residual(), draw(2, 8, 6, 6)
    data = mx.np.array(x)
    partly = quantize(net, "naive", [x], exclude_layers=["conv2"])
    wholly = quantize(partly, "naive", [x])
    assert sum("convolution" in n.op_name for n in _all_operations(wholly)) == 2
    assert not any(n.op_name == "convolution" for n in _all_operations(wholly))
    assert_agrees(net(data), wholly(data))


def _all_operations(qnet: Any) -> list[Any]:
    operations = qnet.export(None)[0].operations()
    return [inner for n in operations for inner in (n.subgraph.operations() if n.subgraph is not None else [n])]


# ---- nested arguments -----------------------------------------------------------------------------


class Nested(gluon.HybridBlock):
    """Takes a dict, a list with a tuple, None, and a number; gives a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Dense(4, in_units=3)

    def forward(self, d: Any, pair: Any, nothing: Any, factor: float, bias: Any = None) -> Any:
        assert nothing is None
        first, (second,) = pair
        out = self.dense(d["x"]) * factor + d["b"] + first - second
        return {"out": out if bias is None else out + bias, "first": (first, None)}


def nested(factor: float = 2.0, seed: int = 0) -> tuple[Any, ...]:
    a = [mx.np.array(draw(*shape, seed=seed + i)) for i, shape in enumerate([(2, 3), (2, 4), (2, 4), (2, 4)])]
    return {"x": a[0], "b": a[1]}, [a[2], (a[3],)], None, factor


@pytest.fixture
def net() -> Any:
    net = Nested()
    net.initialize(mx.init.Xavier())
    return net


@pytest.mark.parametrize("mode", MODES)
def test_arguments_and_results_are_nested_as_those_of_the_network(net: Any, mode: str) -> None:
    qnet = quantize(net, mode, [(*nested(), "label"), nested(seed=9)])
    wanted, got = net(*nested()), qnet(*nested())
    assert list(got) == ["out", "first"] and got["first"][1] is None
    assert sqnr(wanted["out"], got["out"]) > 20
    d, *rest = nested()
    np.testing.assert_array_equal(qnet({"b": d["b"], "x": d["x"]}, *rest)["out"].asnumpy(), got["out"].asnumpy())
    flat = [d["x"], d["b"], rest[0][0], rest[0][1][0]]
    np.testing.assert_array_equal(qnet(*flat)["out"].asnumpy(), got["out"].asnumpy())


def test_other_values_than_those_that_were_traced_are_refused(net: Any) -> None:
    qnet = quantize(net, "naive", [nested()])
    with pytest.raises(ValueError, match=r"\[array, \(array\)\], None, 2.0\), got .*None, 3.0\)"):
        qnet(*nested(3.0))
    with pytest.raises(ValueError, match="must be nested"):
        qnet(*nested()[:3])
    with pytest.raises(ShapeError, match="expected 4 inputs"):
        qnet(nested()[0]["x"])
    with pytest.raises(DataError, match="batch 1 of calib_data must be nested"):
        quantize(net, "naive", [nested(), nested(3.0)])


def test_a_network_that_has_run_is_nested_as_it_was_called(net: Any) -> None:
    net.optimize_for(*nested())
    wanted = net(*nested())["out"]
    assert sqnr(wanted, quantize_net(net)(*nested())["out"]) > 20


def test_errors_of_layers_take_nested_batches(net: Any) -> None:
    qnet = quantize(net, "naive", [nested()])
    (layer,) = layer_errors(net, qnet, [nested()])
    assert layer.own > 20


def test_batches_may_be_dicts_by_the_arguments_names() -> None:
    class Two(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(4, in_units=3)

        def forward(self, x: Any, y: Any) -> Any:
            return self.dense(x) + y

    net = fill(Two(), (2, 3), (2, 4))
    x, y = draw(2, 3), draw(2, 4, seed=1)
    qnet = quantize(net, "naive", [{"label": np.zeros(2), "y": y, "x": x}])
    assert sqnr(net(mx.np.array(x), mx.np.array(y)), qnet(mx.np.array(x), mx.np.array(y))) > 20


def test_a_batch_may_be_the_only_argument_which_is_a_dict() -> None:
    net = Call(lambda b, d: b.dense(d["a"]) + d["b"], dense=nn.Dense(4, in_units=3))
    net.initialize(mx.init.Xavier())
    batch = {"a": mx.np.array(draw(2, 3)), "b": mx.np.array(draw(2, 4))}
    for data in ([batch], [(batch, np.zeros(2))]):
        assert sqnr(net(batch), quantize(net, "naive", data)(batch)) > 20


# ---- data that is only iterated -------------------------------------------------------------------


class OnlyIterates:
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


class WithoutLength(gluon.data.DataLoader):
    """A subclass that has not called its base's constructor."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


class OnlyIndexes:
    def __getitem__(self, index: int) -> Any:
        return [draw(2, 3), draw(2, 3, seed=1)][index]


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("make", [OnlyIterates, WithoutLength, iter, lambda batches: (b for b in batches)])
def test_calibration_data_need_only_be_iterated(mode: str, make: Any) -> None:
    net = fill(nn.Dense(4, in_units=3), (2, 3))
    batches = [draw(2, 3), draw(2, 3, seed=1)]
    wanted = quantize(net, mode, batches)
    x = mx.np.array(batches[0])
    for count in (None, 2, 5):
        got = quantize(net, mode, make(batches), num_calib_batches=count)
        assert got(x).asnumpy().tobytes() == wanted(x).asnumpy().tobytes()
    got = quantize(net, mode, OnlyIndexes())
    assert got(x).asnumpy().tobytes() == wanted(x).asnumpy().tobytes()


class Joined(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Dense(4, in_units=3)

    def forward(self, x: Any, y: Any) -> Any:
        return self.first(x) + y


class Variadic(gluon.HybridBlock):
    def forward(self, *factors: Any) -> Any:
        return mx.npx.batch_dot(*factors)


def stacked(container: Any, *blocks: Any) -> Any:
    container.add(*blocks)
    return container


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("with_label", [False, True])
@pytest.mark.parametrize(
    "make, shapes",
    [
        (lambda: stacked(nn.HybridSequential(), Joined(), nn.Dense(2, in_units=4)), ((2, 3), (2, 4))),
        (lambda: stacked(nn.HybridConcatenate(axis=1), Joined(), Joined()), ((2, 3), (2, 4))),
        (lambda: stacked(nn.HybridSequential(), nn.Dense(2, in_units=3)), ((2, 3),)),
        (lambda: nn.HybridLambda(lambda a, b: mx.npx.batch_dot(a, b)), ((2, 3, 4), (2, 4, 5))),
    ],
    ids=["sequential", "concatenate", "one argument", "lambda"],
)
def test_a_container_takes_of_a_batch_what_its_first_block_takes(
    make: Any, shapes: Any, with_label: bool, mode: str
) -> None:
    net, arrays = make(), [mx.np.array(draw(*shape)) for shape in shapes]
    net.initialize(mx.init.Xavier())
    batch = (*arrays, mx.np.zeros(2)) if with_label else tuple(arrays)
    assert_agrees(net(*arrays), quantize(net, mode, [batch])(*arrays))


def test_of_any_number_of_arguments_a_network_takes_as_many_as_it_ran_with() -> None:
    net, arrays = Variadic(), (mx.np.array(draw(2, 3, 4)), mx.np.array(draw(2, 4, 5)))
    net.hybridize()
    wanted = net(*arrays)
    assert_agrees(wanted, quantize(net, "naive", [(*arrays, mx.np.zeros(2))])(*arrays))


def test_a_float64_network_stays_float64() -> None:
    net = nn.Dense(4, in_units=3)
    net.initialize(mx.init.Xavier())
    net.cast("float64")
    x = mx.np.array(draw(2, 3), dtype="float64")
    np.testing.assert_array_equal(quantize(net, "naive", [x])(x).asnumpy(), net(x).asnumpy())


@pytest.mark.parametrize("mode", MODES)
def test_float64_data_that_is_cast_is_quantized_behind_the_cast(mode: str) -> None:
    net = Call(lambda block, x: block.dense(x.astype("float32")), dense=nn.Dense(4, in_units=3))
    net.initialize(mx.init.Xavier())
    x = mx.np.array(draw(2, 3), dtype="float64")
    qnet = quantize(net, mode, None if mode == "none" else [x], data_shapes=[x])
    assert_agrees(net(x), qnet(x))
