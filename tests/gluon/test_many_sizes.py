"""One traced graph for inputs of any size, and what it says where a size was decided by."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

import minidnn as mx
from minidnn import np, npx
from minidnn.contrib.quantization import quantize_net
from minidnn.engine import networks
from minidnn.errors import DataError, GraphError, OpError, ShapeError
from minidnn.gluon import HybridBlock, SymbolBlock, nn
from minidnn.gluon.model_zoo import vision
from minidnn.ir.symbolic import guards_of, input_types
from minidnn.runtime.program_cache import ProgramCache

Shape = tuple[int, ...]
IMAGES: Sequence[Shape] = ((4, 3, 8, 8), (1, 3, 8, 8), (5, 3, 8, 8), (2, 3, 9, 11), (7, 3, 8, 8))


class Network(HybridBlock):
    def __init__(self, function: Callable[..., Any], *layers: Any) -> None:
        super().__init__()
        self.function = function
        self.traces = 0
        for i, layer in enumerate(layers):
            setattr(self, f"layer{i}", layer)

    def forward(self, *args: Any) -> Any:
        self.traces += 1
        return self.function(self, *args)


def ready(block: Any) -> Any:
    block.initialize(mx.init.Xavier())
    return block


def draw(shape: Shape) -> Any:
    return np.array(onp.random.default_rng(sum(shape)).normal(size=shape).astype("float32"))


def close(actual: Any, expected: Any) -> None:
    assert actual.shape == expected.shape
    onp.testing.assert_allclose(actual.asnumpy(), expected.asnumpy(), rtol=1e-4, atol=1e-5)


def graph(net: Any) -> Any:
    return net._latest_program.graph.traced


def shape_of(net: Any, name: str = "data") -> str:
    return str(input_types(graph(net))[name].shape)


# ---- one graph ------------------------------------------------------------------------------------

FORWARDS: dict[str, Callable[[Any, Any], Any]] = {
    "reshape": lambda s, x: x.reshape(x.shape[0], -1),
    "products in a reshape": lambda s, x: x.reshape((x.shape[0] * x.shape[1], x.shape[2], -1)),
    "codes of a reshape": lambda s, x: npx.reshape(x, (-2, -2, -1)),
    "arange": lambda s, x: x.reshape(x.shape[0], -1) + np.arange(x.shape[0]).reshape(-1, 1),
    "arange between sizes": lambda s, x: np.arange(x.shape[3], x.shape[3] + x.shape[0]) + x[0, 0, 0, 0],
    "a mean by hand": lambda s, x: x.sum(axis=0) / x.shape[0],
    "a scale": lambda s, x: x * (x.shape[1] ** -0.5) + x.shape[2],
    "a reflected scale": lambda s, x: x.shape[2] / (x + 9) - x.shape[0] * x,
    "the number of elements": lambda s, x: x * x.size,
    "a slice by half": lambda s, x: x[:, :, : x.shape[2] // 2, 1:],
    "slices with negative ends and steps": lambda s, x: x[:, :, 2:-1, ::2],
    "all backwards": lambda s, x: x[::-1, :, ::-2],
    "the last": lambda s, x: x[-1:] + x[x.shape[0] - 1],
    "one index": lambda s, x: x[0],
    "flip": lambda s, x: np.flip(x, axis=2)[0:1],
    "concatenate": lambda s, x: np.concatenate([x, x * 2], axis=2),
    "zeros beside": lambda s, x: np.concatenate([x, np.zeros((x.shape[0], 1, x.shape[2], x.shape[3]))], axis=1),
    "ones, full and eye": lambda s, x: x + np.ones_like(x) + np.full(x.shape, 2.0) + np.eye(x.shape[2], x.shape[3]),
    "broadcast_to": lambda s, x: x + np.broadcast_to(x[:, :, :1], x.shape),
    "tile": lambda s, x: np.tile(x, (1, 1, 2, x.shape[3])),
    "repeat": lambda s, x: np.repeat(x, 2, axis=0),
    "pad to even": lambda s, x: np.pad(x, ((0, 0), (0, 0), (0, x.shape[2] % 2), (0, 1))),
    "split": lambda s, x: np.split(x, 3, axis=1)[1],
    "stack and squeeze": lambda s, x: np.expand_dims(np.stack([x, x]), 0).squeeze(0),
    "einsum": lambda s, x: np.einsum("nchw,nchv->nwv", x, x),
    "attention": lambda s, x: npx.batch_dot(
        npx.softmax(npx.batch_dot(x.reshape(-1, *x.shape[2:]), x.reshape(-1, *x.shape[2:]), transpose_b=True)),
        x.reshape(-1, *x.shape[2:]),
    ).reshape(x.shape),
    "transpose": lambda s, x: x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]),
    "where": lambda s, x: np.where(x > 0, x, np.zeros(x.shape)),
    "a mask of nothing but sizes": lambda s, x: np.tril(np.ones((x.shape[2], x.shape[2]))),
    "take": lambda s, x: np.take(x, np.arange(x.shape[2] - 1), axis=2),
    "moments": lambda s, x: (x - x.mean(axis=(2, 3), keepdims=True)) / x.std(axis=(2, 3), keepdims=True),
    "cumsum, argmax, sort": lambda s, x: (
        np.cumsum(x, axis=2) + x.argmax(axis=1).astype("float32")[:, None] + np.sort(x)
    ),
    "a write": lambda s, x: _written(x),
}


def _written(x: Any) -> Any:
    y = np.zeros(x.shape)
    y[:, :, : x.shape[2] // 2] = x[:, :, : x.shape[2] // 2]
    y[-1] += 1
    return y


@pytest.mark.filterwarnings("ignore:The 0-th input")
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("name", FORWARDS)
def test_one_graph_computes_every_size(name: str, first: int) -> None:
    """Also where the batch is 1 while it is traced."""
    net = Network(FORWARDS[name])
    eager = Network(FORWARDS[name])
    net.optimize_for(draw(IMAGES[first]))
    for shape in IMAGES:
        close(net(draw(shape)), eager(draw(shape)))
    assert net.traces == 1


@pytest.mark.filterwarnings("ignore:The 0-th input")
@pytest.mark.parametrize("name", FORWARDS)
def test_files_of_one_graph_compute_every_size(name: str, tmp_path: Path) -> None:
    net, eager = Network(FORWARDS[name]), Network(FORWARDS[name])
    net.optimize_for(draw(IMAGES[0]))
    again = SymbolBlock.imports(*_files(net, tmp_path))
    for shape in IMAGES:
        close(again(draw(shape)), eager(draw(shape)))


LAYERS: dict[str, tuple[Callable[[], Any], Sequence[Shape]]] = {
    "convolution": (lambda: nn.Conv2D(4, 3, strides=2, padding=1), IMAGES),
    "grouped": (lambda: nn.Conv2D(6, 3, groups=3, in_channels=3), IMAGES),
    "transposed": (lambda: nn.Conv2DTranspose(4, 3, strides=2), IMAGES),
    "pooling": (lambda: nn.MaxPool2D(2, 2, ceil_mode=True), IMAGES),
    "average": (lambda: nn.AvgPool2D(3, 2, 1), IMAGES),
    "global pooling": (lambda: nn.GlobalAvgPool2D(), IMAGES),
    "batch norm": (lambda: nn.BatchNorm(), IMAGES),
    "instance norm": (lambda: nn.InstanceNorm(), IMAGES),
    "group norm": (lambda: nn.GroupNorm(3), IMAGES),
    "dense": (lambda: nn.Dense(5), ((4, 3, 2), (1, 3, 2), (9, 3, 2))),
    "dense, not flat": (lambda: nn.Dense(5, flatten=False), ((4, 3, 2), (1, 7, 2), (9, 1, 2))),
    "layer norm": (lambda: nn.LayerNorm(), ((4, 3, 2), (1, 7, 2), (9, 1, 2))),
    "embedding": (lambda: nn.Embedding(9, 4), ((4, 3), (1, 7), (9, 1))),
    "flatten": (lambda: nn.Flatten(), IMAGES),
    "reflection": (lambda: nn.ReflectionPad2D(2), IMAGES),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_every_size(name: str) -> None:
    make, shapes = LAYERS[name]
    net = ready(make())
    net(np.abs(draw(shapes[0])))
    expected = [net(np.abs(draw(shape))) for shape in shapes]
    net.optimize_for(np.abs(draw(shapes[0])))
    program = net._latest_program
    for shape, wanted in zip(shapes, expected, strict=True):
        close(net(np.abs(draw(shape))), wanted)
        assert net._latest_program is program


@pytest.mark.parametrize("name", ["resnet18_v1", "mobilenet0.25", "resnet18_v2", "mobilenetv3_small"])
def test_networks_of_the_zoo_decide_nothing_by_the_batch(name: str) -> None:
    net = ready(vision.get_model(name, classes=7))
    net.optimize_for(np.ones((1, 3, 64, 64)))
    assert [g for g in guards_of(graph(net)) if "N" in str(g)] == []
    assert shape_of(net).startswith("(N, 3, ")
    program = net._latest_program
    for n in (2, 5):
        x = draw((n, 3, 64, 64))
        close(net(x)[:1], net(x[:1]))
        assert net._latest_program is program


def test_inputs_whose_first_axis_agrees_share_its_size() -> None:
    net = Network(lambda s, x, y: x + y.sum(axis=1))
    net.optimize_for(draw((4, 3)), draw((4, 5, 3)))
    # So do those that meet in an operator.
    assert (shape_of(net, "data0"), shape_of(net, "data1")) == ("(N, L)", "(N, L2, L)")
    close(net(draw((1, 6)), draw((1, 2, 6))), draw((1, 6)) + draw((1, 2, 6)).sum(axis=1))
    assert net.traces == 1
    close(net(draw((2, 3)), draw((2, 9, 3))), draw((2, 3)) + draw((2, 9, 3)).sum(axis=1))
    assert net.traces == 1
    # Nothing says that they must: another graph is traced where they differ.
    close(net(draw((1, 3)), draw((2, 9, 3))), draw((1, 3)) + draw((2, 9, 3)).sum(axis=1))
    assert net.traces == 2


def test_a_size_of_one_that_meets_another_is_broadcast_only_where_it_is_one() -> None:
    net = Network(lambda s, x, y: x * y)
    net.hybridize()
    for a, b in (((1, 4), (3, 4)), ((3, 4), (3, 4)), ((3, 4), (1, 4)), ((3, 1), (3, 4)), ((5, 1), (1, 6))):
        close(net(draw(a), draw(b)), draw(a) * draw(b))
    with pytest.raises(OpError, match="do not broadcast"):
        net(draw((2, 4)), draw((3, 4)))


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8)])
def test_a_size_of_zero_is_a_size(shape: Shape) -> None:
    net = Network(lambda s, x: npx.relu(x).reshape(x.shape[0], x.shape[1], -1) + 1)
    net.optimize_for(draw((2, 3, 8, 8)))
    assert net(draw(shape)).shape == (*shape[:2], shape[2] * 8)


# ---- decisions ------------------------------------------------------------------------------------


def test_another_decision_is_traced_again_and_both_graphs_are_kept() -> None:
    net = Network(lambda s, x: x * 6 if x.shape[0] > 2 else x)
    net.hybridize()
    for n in (1, 2, 3, 9, 1, 4):
        close(net(draw((n, 3))), draw((n, 3)) * (6 if n > 2 else 1))
    assert net.traces == 2
    (guard,) = guards_of(graph(net))
    assert str(guard).startswith("N > 2")
    assert Path(__file__).name in guard.line


def test_loops_over_a_size_are_traced_for_each() -> None:
    net = Network(lambda s, x: sum(x[i] * i for i in range(x.shape[0])))
    net.hybridize()
    for n in (2, 3, 2, 3):
        onp.testing.assert_allclose(
            net(draw((n, 4))).asnumpy(), sum(draw((n, 4)).asnumpy()[i] * i for i in range(n)), rtol=1e-5
        )
    assert net.traces == 2


def test_eager_code_sees_ints() -> None:
    seen: list[Any] = []
    net = Network(lambda s, x: (seen.extend(x.shape), x)[1])
    net(draw((2, 3)))
    assert seen == [2, 3]
    assert all(type(n) is int for n in seen)


@pytest.mark.parametrize("way", ["exported", "quantized"])
def test_what_cannot_be_traced_again_names_the_decision(way: str, tmp_path: Path) -> None:
    net = ready(Network(lambda s, x: s.layer0(x) * 6 if x.shape[0] > 2 else s.layer0(x), nn.Dense(4, in_units=3)))
    one = draw((1, 3))
    if way == "quantized":
        again = quantize_net(net, calib_mode="naive", calib_data=[one])
    else:
        net.optimize_for(one)
        again = SymbolBlock.imports(*_files(net, tmp_path))
    assert again(draw((2, 3))).shape == (2, 4)
    with pytest.raises(ShapeError, match=rf"N <= 2 \(.*{Path(__file__).name}:\d+\), which does not hold for N = 3"):
        again(draw((3, 3)))
    assert again(draw((1, 3))).shape == (1, 4), "and it works on"


def _files(net: Any, folder: Path) -> tuple[str, list[str], str]:
    symbol_file, params_file = net.export(folder / "net")
    return symbol_file, net.generate_arg_names(len(net._latest_program.types)), params_file


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4), r"input 'data' must have shape \(N, 3\), got \(2, 4\): dimension 1 is 3"),
        ((2, 3, 1), r"input 'data' must have shape \(N, 3\), got \(2, 3, 1\): expected 2 dimensions"),
    ],
)
def test_shapes_that_cannot_be_name_the_input(shape: Shape, message: str, tmp_path: Path) -> None:
    net = ready(Network(lambda s, x: s.layer0(x).reshape(x.shape[0], 2, 2), nn.Dense(4, in_units=3)))
    net.optimize_for(draw((1, 3)))
    again = SymbolBlock.imports(*_files(net, tmp_path))
    with pytest.raises(ShapeError, match=message):
        again(draw(shape))


def test_where_nothing_depends_on_sizes_the_layer_says_what_does_not_fit(tmp_path: Path) -> None:
    net = ready(nn.Dense(4, in_units=3, flatten=False))
    net.optimize_for(draw((1, 3)))
    again = SymbolBlock.imports(*_files(net, tmp_path))
    assert again(draw((2, 5, 3))).shape == (2, 5, 4)
    with pytest.raises(OpError, match="fully_connected"):
        again(draw((2, 4)))


def test_a_size_that_two_inputs_share_is_named(tmp_path: Path) -> None:
    net = Network(lambda s, x, y: np.concatenate([x.reshape(x.shape[0], -1), y], axis=1))
    net.optimize_for(draw((4, 3, 2)), draw((4, 5)))
    again = SymbolBlock.imports(*_files(net, tmp_path))
    assert again(draw((2, 3, 2)), draw((2, 5))).shape == (2, 11)
    with pytest.raises(ShapeError, match=r"input 'data1' must have shape \(N, .*\): N is 2 in input 'data0'"):
        again(draw((2, 3, 2)), draw((3, 5)))


def test_a_reshape_that_does_not_divide_names_its_node(tmp_path: Path) -> None:
    net = Network(lambda s, x: x.reshape(-1, 4))
    net.optimize_for(draw((2, 6)))
    again = SymbolBlock.imports(*_files(net, tmp_path))
    assert again(draw((4, 3))).shape == (3, 4)
    with pytest.raises(OpError, match=r"reshape.*3, 3"):
        again(draw((3, 3)))


# ---- files ----------------------------------------------------------------------------------------


def test_files_take_every_size(tmp_path: Path) -> None:
    net = ready(Network(FORWARDS["arange"]))
    net.optimize_for(draw((1, 3, 4, 4)))
    symbol, _ = net.export(None)
    assert "float32[N, C, H, W]" in str(symbol)
    again = SymbolBlock.imports(*_files(net, tmp_path))
    for shape in ((2, 3, 4, 4), (1, 3, 4, 4), (3, 2, 5, 4)):
        close(again(draw(shape)), Network(FORWARDS["arange"])(draw(shape)))
    # A graph that is read can be part of another, and be written again.
    outer = Network(lambda s, x: s.layer0(x * 2), again)
    outer.optimize_for(draw((2, 3, 4, 4)))
    close(outer(draw((5, 3, 4, 6))), Network(FORWARDS["arange"])(draw((5, 3, 4, 6)) * 2))
    assert mx.sym.fromjson(symbol.tojson()) == symbol


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
def test_quantized_networks_take_every_batch(mode: str) -> None:
    head = Network(
        lambda s, x: s.layer1(s.layer0(x).transpose(0, 2, 3, 1).reshape(x.shape[0], -1)),
        nn.Conv2D(6, 3, padding=1, activation="relu"),
        nn.Dense(5),
    )
    net = ready(head)
    net(draw((2, 3, 4, 4)))
    data = draw((6, 3, 4, 4))
    quantized = quantize_net(net, calib_mode=mode, calib_data=[data[:2]])
    whole = quantized(data)
    close(np.abs(whole - net(data)).max() < 0.1 * np.abs(net(data)).max(), np.array(True, dtype=bool))
    for i in range(6):
        onp.testing.assert_array_equal(quantized(data[i : i + 1]).asnumpy(), whole[i : i + 1].asnumpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"__example__": "(1,)"}, "__example__"),
        ({"__example__": "('x', 3)"}, "__example__"),
        ({"__example__": None}, "__example__"),
        ({"__example__": "(-1, 3)"}, "__example__"),
        ({"__guards__": "(1,)"}, "__guards__"),
        ({"__guards__": "(('N', 'is', '1', True, ''),)"}, "__guards__"),
        ({"__guards__": "(('N.x', '<', '1', True, ''),)"}, "__guards__"),
        ({"__guards__": "(('__import__(1)', '<', '1', True, ''),)"}, "__guards__"),
    ],
)
def test_malformed_sizes_in_files_are_refused(change: dict[str, Any], message: str) -> None:
    net = Network(lambda s, x: x.reshape(x.shape[0] * 1, -1) if x.shape[0] < 9 else x)
    net.optimize_for(draw((2, 3, 1)))
    fields = json.loads(net.export(None)[0].tojson())
    (row,) = [row for row in fields["nodes"] if row["name"] == "data"]
    for key, value in change.items():
        row["attrs"].pop(key) if value is None else row["attrs"].update({key: value})
    with pytest.raises((DataError, GraphError), match=message):
        mx.sym.fromjson(json.dumps(fields))


@pytest.mark.parametrize("text", ["(N, 9 ** 9 ** 9)", "(N, -1, __import__('os'))", "(N.x,)", "(Q, -1)", "(N // 0,)"])
def test_malformed_sizes_in_attributes_are_refused(text: str) -> None:
    net = Network(lambda s, x: x.reshape(x.shape[0], -1))
    net.optimize_for(draw((2, 3, 1)))
    fields = json.loads(net.export(None)[0].tojson())
    (row,) = [row for row in fields["nodes"] if "newshape" in row.get("attrs", {})]
    row["attrs"]["newshape"] = text
    with pytest.raises(GraphError, match="newshape"):
        mx.sym.fromjson(json.dumps(fields))


def test_files_of_mxnet_hold_the_numbers_of_the_call(tmp_path: Path) -> None:
    net = Network(lambda s, x: np.broadcast_to(x[:1], x.shape) * 2)
    net.hybridize()
    net(draw((3, 4)))
    symbol_file, _ = net.export(tmp_path / "net", format="mxnet")
    again = SymbolBlock.imports(symbol_file, ["data"])
    close(again(draw((3, 4))), net(draw((3, 4))))


# ---- plans ----------------------------------------------------------------------------------------


def test_plans_are_few_and_share_weights(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    plans: ProgramCache[Any] = ProgramCache(6, 1 << 30, "plans")
    monkeypatch.setattr(networks, "_plans", plans)
    net = nn.HybridSequential()
    net.add(nn.Dense(64, activation="relu"), nn.Dense(64))
    net.initialize()
    net.optimize_for(draw((1, 64)))
    with caplog.at_level(logging.INFO, "minidnn"):
        for n in range(1, 40):
            assert net(draw((n, 64))).shape == (n, 64)
    assert len(plans) <= 6
    assert "plans dropped" in caplog.text
    ((program,),) = net._programs.values()
    kept = [plan.program for n in range(16) if (plan := program.find_plan((draw((n, 64))._type,))) is not None]
    weights = {id(c): c.nbytes for p in kept for i, c in enumerate(p.constants) if i in p.lent}
    assert sum(weights.values()) <= 4 * 2 * 64 * 65 * 4


def _convolutions() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(24, 3, padding=1, in_channels=3), nn.BatchNorm(), nn.Activation("relu"))
    net.add(nn.Conv2D(40, 3, padding=1), nn.Conv2D(40, 3, padding=1, groups=40), nn.Conv2DTranspose(20, 3, strides=2))
    net.add(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(70, activation="relu"), nn.Dense(11))
    return ready(net)


class _Attention(HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Dense(40, flatten=False, in_units=40), nn.LayerNorm(in_channels=40)

    def forward(self, x: Any) -> Any:
        y = self.dense(x)
        return self.norm(x + npx.batch_dot(npx.softmax(npx.batch_dot(y, x, transpose_b=True)), y))


_BATCHES: dict[str, tuple[Callable[[], Any], Shape]] = {
    "convolutions": (_convolutions, (3, 12, 12)),
    "attention": (lambda: ready(_Attention()), (9, 40)),
}


@pytest.mark.parametrize("first", [1, 5])
@pytest.mark.parametrize("name", _BATCHES)
def test_a_sample_gives_the_same_bits_in_any_batch(name: str, first: int) -> None:
    make, shape = _BATCHES[name]
    net = make()
    net.optimize_for(draw((first, *shape)))
    x = draw((23, *shape))
    whole = net(x).asnumpy()
    for n in (1, 2, 3, 4, 7, 16):
        assert onp.array_equal(net(x[:n]).asnumpy(), whole[:n]), n


@pytest.mark.parametrize("name", _BATCHES)
def test_further_batches_need_no_further_weights_and_kernels(name: str) -> None:
    make, shape = _BATCHES[name]
    net = make()
    net.optimize_for(draw((1, *shape)))
    net(draw((1, *shape)))
    compiled = mx.runtime.stats().kernels_compiled + mx.runtime.stats().kernels_from_cache
    for n in (2, 3, 4, 5, 6, 8, 16, 40):
        net(draw((n, *shape)))
    assert mx.runtime.stats().kernels_compiled + mx.runtime.stats().kernels_from_cache == compiled
    ((program,),) = net._programs.values()
    plans = [program.find_plan((draw((n, *shape))._type,)) for n in (1, 2, 3, 5, 16, 40)]
    packed = [{id(c) for i, c in enumerate(p.program.constants) if i in p.program.lent} for p in plans if p is not None]
    assert len(packed) == 6
    assert all(each == packed[0] for each in packed)


def test_weights_that_change_change_every_size() -> None:
    net = ready(nn.Dense(3, in_units=4))
    net.hybridize()
    for n in (1, 2, 3):
        net(draw((n, 4)))
    net.weight.set_data(np.ones((3, 4)))
    for n in (1, 2, 3):
        x = draw((n, 4))
        close(net(x), np.broadcast_to(x.sum(axis=1, keepdims=True), (n, 3)))


def test_many_threads_bring_many_sizes() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(2))
    net.initialize()
    net(draw((1, 3, 8, 8)))
    shapes = [(n, 3, 8 + m, 8) for n in (1, 2, 3) for m in (0, 1, 2)]
    expected = {shape: net(draw(shape)).asnumpy() for shape in shapes}
    net.optimize_for(draw(shapes[0]))
    failures: list[Any] = []

    def work(offset: int) -> None:
        try:
            for i in range(3 * len(shapes)):
                shape = shapes[(i + offset) % len(shapes)]
                onp.testing.assert_allclose(net(draw(shape)).asnumpy(), expected[shape], rtol=1e-4, atol=1e-5)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(map(len, net._programs.values())) == 1


def test_many_inputs_that_are_fixed_alike_take_no_time() -> None:
    """Each size of each input may be one with each of the others; only some are tried."""
    net = ready(Network(lambda s, *xs: [layer(x) for layer, x in zip(s._children.values(), xs, strict=True)]))
    for i in range(16):
        net.register_child(nn.Dense(1, in_units=3), f"dense{i}")
    net.initialize()
    outputs = net(*[draw((2, 3))] * 16)
    net.hybridize()
    close(net(*[draw((2, 3))] * 16)[-1], outputs[-1])
    assert net(*[draw((5, 3))] * 16)[0].shape == (5, 1)
    assert net.traces == 2
