"""Export and import: a graph with its parameters is a block again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from gluon_helpers import Residual, close, draw, residual

import minidnn as mx
from minidnn import gluon
from minidnn.errors import DataError, GraphError, ShapeError
from minidnn.gluon import nn
from minidnn.symbol.symbol import apply_op

MXNET = Path(__file__).parents[1] / "assets" / "mxnet"


def array(*shape: int) -> Any:
    return mx.np.array(draw(*shape))


def exported(fused: bool) -> tuple[Residual, Any]:
    net, x = residual(), array(1, 4, 6, 7)
    if fused:
        net.optimize_for(x)
    else:
        net.hybridize()
        net(x)
    return net, x


def test_export_gives_the_graph_and_copies_of_the_arrays() -> None:
    net, x = exported(fused=True)
    symbol, params = net.export(None)
    assert [node.op_name for node in symbol.operations()] == ["fused", "fused"]
    assert symbol.attr_dict()["fused_conv_bn_add_act_1"]["with_postsum_act"] == "true"
    assert list(params) == [
        f"{'aux' if 'running' in name else 'arg'}:{name}" for name in symbol.list_inputs() if name != "data"
    ]
    assert set(symbol.list_inputs()) == {"data", *net.collect_params()}
    before = net(x).asnumpy()
    params["arg:conv1.weight"][:] = 0
    close(net(x), before, 0)


def test_export_needs_a_graph(tmp_path: Path) -> None:
    net = residual()
    with pytest.raises(RuntimeError, match=r"Please first call block.hybridize\(\) and then run forward"):
        net.export(None)
    net.hybridize()
    with pytest.raises(RuntimeError, match="Please first call"):
        net.export(tmp_path / "net")
    net(array(1, 4, 5, 5))
    net.export(None)
    net.conv1 = nn.Conv2D(4, 1, in_channels=4)
    with pytest.raises(RuntimeError, match="Please first call"):
        net.export(None)


def test_export_shows_the_parameters_as_they_are_now() -> None:
    net, _ = exported(fused=False)
    net.bn1.beta.set_data(mx.np.full((4,), 7))
    assert net.export(None)[1]["arg:bn1.beta"].tolist() == [7] * 4


@pytest.mark.parametrize("fused", [False, True])
def test_what_was_exported_computes_the_same(tmp_path: Path, fused: bool) -> None:
    net, x = exported(fused)
    files = net.export(tmp_path / "net", epoch=3)
    assert files == (str(tmp_path / "net-symbol.json"), str(tmp_path / "net-0003.params"))
    block = gluon.SymbolBlock.imports(files[0], ["data"], files[1], device=mx.cpu())
    close(block(x), net(x))
    assert set(block.collect_params()) == set(net.collect_params())
    assert block.collect_params()["bn1.running_var"].grad_req == "null"
    again = block.export(tmp_path / "again")
    assert Path(again[0]).read_bytes() == Path(files[0]).read_bytes()
    assert Path(again[1]).read_bytes() == Path(files[1]).read_bytes()
    block.optimize_for(x, backend="ONEDNN")
    close(block(x), net(x))


def test_other_shapes_are_compiled_when_they_come(tmp_path: Path) -> None:
    net, _ = exported(fused=True)
    symbol_file, params_file = net.export(tmp_path / "net")
    block = gluon.SymbolBlock.imports(symbol_file, "data", params_file)
    other = array(2, 4, 9, 5)
    close(block(other), net(other))
    with pytest.raises(ShapeError, match="data has 3 channels"):
        block(array(1, 3, 9, 5))


def test_a_net_without_parameters_has_an_empty_parameter_file(tmp_path: Path) -> None:
    net = nn.Activation("relu")
    net.hybridize()
    net(mx.np.ones(2))
    symbol_file, params_file = net.export(tmp_path / "relu")
    assert sorted(map(str, tmp_path.iterdir())) == [params_file, symbol_file]
    assert mx.npx.load(params_file) == {}
    for params in (None, params_file):
        assert gluon.SymbolBlock.imports(symbol_file, "data", params)(mx.np.array([-1.0, 2.0])).tolist() == [0, 2]


def test_constants_and_shared_parameters_travel_along(tmp_path: Path) -> None:
    class Shared(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Dense(2, in_units=2)
            self.two = nn.Dense(2, in_units=2)
            self.two.share_parameters(self.one.collect_params())

        def forward(self, a: Any, b: Any) -> Any:
            return self.one(a) + mx.np.array([1.0, 2.0]), self.two(b)

    net, a, b = Shared(), array(3, 2), array(3, 2)
    net.initialize(mx.init.Normal(1))
    net.optimize_for(a, b)
    symbol_file, params_file = net.export(tmp_path / "shared")
    block = gluon.SymbolBlock.imports(symbol_file, ["data0", "data1"], params_file)
    assert len(block.collect_params()) == 3
    for ours, theirs in zip(block(a, b), net(a, b), strict=True):
        close(ours, theirs)
    with pytest.raises(ShapeError, match=r"expected 2 inputs \['data0', 'data1'\], got 1"):
        block(a)


def test_parameters_can_be_found_from_the_first_input() -> None:
    data = mx.sym.var("data")
    symbol = apply_op("fully_connected", [data, mx.sym.var("w"), mx.sym.var("b")], name="fc", num_hidden=3)
    block = gluon.SymbolBlock(symbol, data)
    block.initialize(mx.init.One())
    with pytest.raises(gluon.DeferredInitializationError, match="Parameter 'w'"):
        block.collect_params()["w"].data()
    assert block(mx.np.ones((2, 5))).tolist() == [[6] * 3] * 2
    assert block.collect_params()["w"].shape == (3, 5)
    assert repr(block) == "SymbolBlock(\n<Symbol fc> : 1 -> 1\n)"


def test_several_outputs_are_a_list_and_internals_can_be_outputs() -> None:
    net, x = exported(fused=False)
    symbol, params = net.export(None)
    internals = symbol.get_internals()
    outputs = [internals["conv1_convolution_output"], internals["activation_output"]]
    wanted = {name: value for name, value in params.items() if "1" in name}
    block = gluon.SymbolBlock(outputs, mx.sym.var("data"), wanted)
    convolved, activated = block(x)
    close(convolved, net.conv1(x))
    close(activated, mx.npx.relu(net.bn1(net.conv1(x))))
    with pytest.raises(ValueError, match="params are unused by the model"):
        gluon.SymbolBlock(outputs, mx.sym.var("data"), params)


def test_a_symbol_block_can_share_the_parameters_of_the_net() -> None:
    net, x = exported(fused=True)
    symbol, _ = net.export(None)
    block = gluon.SymbolBlock(symbol, mx.sym.var("data"), net.collect_params())
    close(block(x), net(x))
    net.conv1.weight.set_data(mx.np.zeros((4, 4, 3, 3)))
    close(block(x), net(x))


@pytest.mark.parametrize("fused", [False, True])
def test_a_symbol_block_is_a_layer_like_any_other(fused: bool, tmp_path: Path) -> None:
    inner, x = exported(fused)
    symbol, params = inner.export(None)
    net = nn.HybridSequential()
    net.add(gluon.SymbolBlock(symbol, mx.sym.var("data"), params), nn.GlobalAvgPool2D(), nn.Dense(3))
    net[2].initialize(mx.init.Xavier())
    expected = net(x)
    close(net[0](x), inner(x))
    net.optimize_for(x)
    close(net(x), expected)
    assert "0.conv1.weight" in net.collect_params()
    graph, _ = net.export(None)
    assert [node.op_name for node in graph.operations()].count("fused") >= 2


def test_a_symbol_block_stays_compiled() -> None:
    net, x = exported(fused=True)
    symbol, params = net.export(None)
    block = gluon.SymbolBlock(symbol, mx.sym.var("data"), params)
    block.hybridize(False)
    block.hybridize(static_alloc=True, static_shape=True)
    close(block(x), net(x))
    block.infer_shape(x)


def test_summary_of_a_symbol_block(capsys: pytest.CaptureFixture[str]) -> None:
    net, x = exported(fused=True)
    gluon.SymbolBlock(net.export(None)[0], mx.sym.var("data"), net.export(None)[1]).summary(x)
    assert "SymbolBlock-1" in capsys.readouterr().out


def test_inputs_are_variables() -> None:
    x = mx.sym.var("x")
    with pytest.raises(ValueError, match="Input symbols must be variable, but <Symbol add_scalar"):
        gluon.SymbolBlock(x + 1, x + 1)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    net, _ = exported(fused=True)
    symbol_file, params_file = net.export(tmp_path / "net")
    imports = gluon.SymbolBlock.imports
    with pytest.raises(GraphError, match=r"net-symbol.json: there is no input 'image'; the graph has \['data'"):
        imports(symbol_file, ["image"], params_file)
    with pytest.raises(FileNotFoundError, match="missing"):
        imports(tmp_path / "missing-symbol.json", ["data"])
    with pytest.raises(FileNotFoundError, match="missing"):
        imports(symbol_file, ["data"], tmp_path / "missing.params")
    arrays = safetensors.numpy.load_file(params_file)
    del arrays["arg:conv2.weight"]
    safetensors.numpy.save_file(arrays, tmp_path / "few.params")
    with pytest.raises(DataError, match=r"Parameter 'conv2.weight' is missing in 'file: .*few.params'"):
        imports(symbol_file, ["data"], tmp_path / "few.params")
    arrays["arg:conv2.weight"] = np.ones((4, 4, 1, 1), np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "other.params")
    with pytest.raises(DataError, match=r"'conv2.weight' .* expected \(4, 4, 3, 3\) vs saved \(4, 4, 1, 1\)"):
        imports(symbol_file, ["data"], tmp_path / "other.params")
    Path(symbol_file).write_text(Path(symbol_file).read_text()[:-100])
    with pytest.raises(DataError, match=r"net-symbol.json"):
        imports(symbol_file, ["data"], params_file)


def test_initializers_that_nobody_knows_any_more_do_no_harm(tmp_path: Path) -> None:
    class Odd(mx.init.Initializer):
        def __init__(self, value: Any) -> None:
            super().__init__(value=value)

        def _init_weight(self, desc: str, arr: Any) -> None:
            arr[:] = 3

    net = nn.HybridSequential()
    for value in (1, object(), list(range(1000))):
        net.add(nn.Dense(2, in_units=2, weight_initializer=Odd(value)))
    net.initialize()
    x = mx.np.ones((1, 2))
    net.optimize_for(x)
    files = net.export(tmp_path / "odd")
    attrs = net.export(None)[0].attr_dict()
    assert attrs["0.weight"]["__init__"] == '["odd", {"value": 1}]'
    assert "__init__" not in attrs["1.weight"]
    assert "__init__" not in attrs["2.weight"]
    outer = nn.HybridSequential()
    outer.add(gluon.SymbolBlock.imports(files[0], "data", files[1]))
    outer.optimize_for(x)
    close(outer(x), net(x))


def test_a_graph_without_shapes_fuses_its_residual_sum_once_it_meets_data(tmp_path: Path) -> None:
    """MXNet's files say no shapes, without which a sum may broadcast and cannot be fused."""
    block = gluon.SymbolBlock.imports(MXNET / "smallres-symbol.json", ["data"], MXNET / "smallres-0000.params")
    saved = np.load(MXNET / "smallres.npz")
    block.optimize_for(mx.np.array(saved["x"]), backend="ONEDNN")
    names = [node.name for node in block.export(None)[0].operations()]
    assert sum(name.startswith("fused_conv_bn_add_act") for name in names) == 2
    assert not any("elementwise" in name for name in names)
    np.testing.assert_allclose(block(mx.np.array(saved["x"])).asnumpy(), saved["y0"], rtol=0, atol=1e-5)
    # Each shape has a program of its own, fused by its own shapes.
    assert block(mx.np.zeros((2, *saved["x"].shape[1:]))).shape == (2, saved["y0"].shape[1])
