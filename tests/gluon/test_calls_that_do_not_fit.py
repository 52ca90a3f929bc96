"""An error of a call names the input, what came, what fits, and the layer, however the network runs."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net
from minidnn.engine import compile_graph
from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.gluon import SymbolBlock, nn
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.registry import TensorType


class Net(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.HybridSequential()
        self.features.add(nn.Conv2D(4, 3, in_channels=3), nn.Activation("relu"))
        self.output = nn.Dense(5, in_units=64)

    def forward(self, image: Any) -> Any:
        return self.output(self.features(mx.np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))))


GOOD = (1, 3, 4, 4)


def make(kind: str, folder: Path) -> Any:
    net = Net()
    net.initialize()
    x = mx.np.ones(GOOD)
    if kind in ("hybridized", "exported"):
        net.hybridize()
    if kind in ("optimized", "exported and fused"):
        net.optimize_for(x)
    net(x)
    if kind == "quantized":
        return quantize_net(net, calib_mode="naive", calib_data=[x])
    if kind.startswith("exported"):
        symbol, params = net.export(folder / "net")
        return SymbolBlock.imports(symbol, "data", params)
    if kind == "in a Block":
        outer = gluon.nn.Sequential()
        outer.add(net)
        return outer
    return net


KINDS = ["eager", "in a Block", "hybridized", "optimized", "quantized", "exported", "exported and fused"]


@pytest.fixture(scope="module", params=KINDS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    return request.param, make(request.param, tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize(
    ("shape", "dtype", "layer", "wanted"),
    [
        ((3, 4, 4), "float32", "pad", "4 dimensions"),
        ((1, 4, 4, 4), "float32", "features.0", "4 channels"),
        ((2, 3, 5, 5), "float32", "output", "(5, 100)"),
        ((1, 3, 4, 4), "int32", "", "must be float"),
    ],
)
def test_the_message_names_input_shapes_and_layer(
    network: tuple[str, Any], shape: tuple[int, ...], dtype: str, layer: str, wanted: str
) -> None:
    kind, net = network
    with pytest.raises(ShapeError if dtype == "float32" else TypeMismatchError) as caught:
        net(mx.np.ones(shape, dtype=dtype))
    said = str(caught.value)
    name = "data" if kind.startswith(("quantized", "exported")) else "image"
    assert f"called with {name} of shape {shape}, {dtype}" in said
    assert layer in said
    assert wanted in said
    assert "quantized_" not in said
    assert "fused_" not in said
    if kind not in ("eager", "in a Block"):
        fitting = f"(N, {', '.join(map(str, GOOD[1:]))})" if kind.startswith(("quantized", "exported")) else GOOD
        assert f"where shape {fitting}, float32 fits" in said
    assert said.count("called with") == 1
    net(mx.np.ones(GOOD))


@pytest.mark.parametrize(
    "call",
    [
        lambda net, x: net.optimize_for(x),
        lambda net, x: quantize_net(net, calib_mode="naive", calib_data=[x]),
    ],
)
def test_so_do_errors_of_compiling_for_other_inputs(call: Callable[[Any, Any], Any]) -> None:
    net = Net()
    net.initialize()
    with pytest.raises(ShapeError, match=r"features\.0.*Net was called with image of shape \(1, 2, 4, 4\), float32"):
        call(net, mx.np.ones((1, 2, 4, 4)))


class Nested(nn.HybridBlock):
    def forward(self, pair: Any, options: Any) -> Any:
        return mx.np.matmul(pair[0], pair[1]) + options["bias"]


def test_arrays_inside_arguments_have_names() -> None:
    net = Nested()
    net.hybridize()
    net((mx.np.ones((2, 3)), mx.np.ones((3, 4))), {"bias": mx.np.ones(4)})
    with pytest.raises(ShapeError) as caught:
        net((mx.np.ones((2, 3)), mx.np.ones((5, 4))), {"bias": mx.np.ones(4)})
    assert "pair[0] of shape (2, 3), float32, pair[1] of shape (5, 4), float32 where shape (3, 4)" in str(caught.value)
    assert "options['bias'] of shape (4,), float32" in str(caught.value)


def test_a_wrong_number_of_inputs_names_those_that_are_wanted(tmp_path: Path) -> None:
    net = make("exported", tmp_path)
    with pytest.raises(
        ShapeError, match=r"expected 1 inputs \['data'\], got 2; .* data of shape .* argument 1 of shape"
    ):
        net(mx.np.ones(GOOD), mx.np.ones((2, 2)))
    graph = Graph([make_node("relu", "relu", [make_variable("x")])[0]])
    run = compile_graph(graph, {}, {"x": TensorType((2,), np.dtype(np.float32))})
    with pytest.raises(ShapeError, match=r"expected 1 inputs, got 0; they are x float32\[2\]"):
        run([])


class Two(nn.HybridBlock):
    def forward(self, image: Any, mask: Any) -> Any:
        return image * mask


@pytest.mark.parametrize("kind", ["eager", "in a Block", "hybridized", "optimized"])
def test_a_wrong_number_of_arguments_names_those_that_are_wanted(kind: str) -> None:
    net: Any = Two()
    x = mx.np.ones((2, 3))
    if kind == "in a Block":
        net = gluon.nn.Sequential()
        net.add(Two())
    elif kind == "hybridized":
        net.hybridize()
    elif kind == "optimized":
        net.optimize_for(x, x)
    with pytest.raises(TypeError, match=r"'mask'.*image.*mask.*called with image of shape \(2, 3\), float32"):
        net(x)
    with pytest.raises(TypeError, match=r"too many.*argument 2 of shape \(2, 3\), float32"):
        net(x, x, x)
    with pytest.raises(TypeError):
        net()
    assert net(x, x).shape == (2, 3)


def test_type_errors_of_forward_itself_stay_as_they_are() -> None:
    class Wrong(nn.HybridBlock):
        def forward(self, x: Any) -> Any:
            return len(3)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"^object of type 'int' has no len\(\)"):
        Wrong()(mx.np.ones(2))


def test_errors_of_an_inner_call_that_forward_handles_stay_as_they_are() -> None:
    class Careful(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(2, in_units=3)

        def forward(self, x: Any) -> Any:
            try:
                return self.dense(x)
            except OpError as error:
                assert "called with" not in str(error)
                return x

    net = Careful()
    net.initialize()
    assert net(mx.np.ones((1, 7))).shape == (1, 7)


# ---- blocks of MXNet 1 ----------------------------------------------------------------------------------


class Old(nn.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.weight = gluon.Parameter("weight", shape=(1,))

    def hybrid_forward(self, F: Any, x: Any, mask: Any = None, weight: Any = None) -> Any:  # noqa: N803 - as in MXNet
        return x


class OldDense(nn.Dense):
    def hybrid_forward(self, F: Any, x: Any, **params: Any) -> Any:  # noqa: N803 - as in MXNet
        return x


class Mixed:
    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - as in MXNet
        return x


class OldByMixin(Mixed, nn.HybridBlock):
    pass


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Old, ["Old defines hybrid_forward()", "forward(self, x, mask=None)", "weight = self.weight.data()"]),
        (lambda: OldDense(3), ["OldDense", "forward(self, x)", "mx.np and mx.npx in place of F"]),
        (OldByMixin, ["OldByMixin", "forward(self, x)"]),
    ],
)
@pytest.mark.parametrize("hybrid", [False, True])
def test_hybrid_forward_gets_a_hint_how_to_translate_it(
    block: Callable[[], Any], words: list[str], hybrid: bool
) -> None:
    net = block()
    net.initialize()
    if hybrid:
        net.hybridize()
    with pytest.raises(NotImplementedError) as caught:
        net(mx.np.ones((1, 3)))
    assert all(word in str(caught.value) for word in words)


def test_a_block_for_both_versions_of_mxnet_runs() -> None:
    class Both(nn.HybridBlock):
        def forward(self, x: Any) -> Any:
            return x + 1

        def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - as in MXNet
            raise AssertionError

    class Heir(Both):
        pass

    assert Heir()(mx.np.zeros(2)).asnumpy().tolist() == [1, 1]


# ---- what type checkers know ----------------------------------------------------------------------------


@pytest.mark.parametrize("block", [gluon.Block, gluon.HybridBlock])
def test_a_call_with_arrays_is_declared_to_give_an_array(block: type) -> None:
    first, last = typing.get_overloads(block.__call__)
    assert typing.get_type_hints(first)["return"] is mx.np.ndarray
    assert typing.get_type_hints(last)["return"] is Any


@pytest.mark.slow
def test_type_checkers_see_an_array(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    program.write_text(
        "import minidnn as mx\nfrom minidnn.gluon import nn\n"
        "net = nn.Dense(3)\nx = mx.np.ones((2, 3))\n"
        "reveal_type(net(x))\nreveal_type(net(x).shape)\nreveal_type(net([x, x]))\n"
    )
    out, _, _ = api.run([str(program), "--cache-dir", str(tmp_path)])
    revealed = [line.split('"')[1] for line in out.splitlines() if "Revealed" in line]
    assert revealed[0] == "minidnn.numpy.multiarray.ndarray"
    assert revealed[1].lower().startswith("tuple[")
    assert revealed[2] == "Any"
