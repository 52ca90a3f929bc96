"""Files that MXNet 2.0.0b1 wrote load, compute what MXNet computed, and are written back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_samples import SAMPLES

import minidnn as mx
from minidnn.errors import GraphError
from minidnn.gluon import HybridBlock, SymbolBlock, nn
from minidnn.interop.mxnet_symbol import to_mxnet_json
from minidnn.ir.graph import evaluate
from minidnn.ops.random import DISTRIBUTIONS
from minidnn.ops.registry import REQUIRED, get_op, list_ops
from minidnn.symbol.symbol import apply_op

FOLDER = Path(__file__).parents[1] / "assets" / "mxnet"
NETWORKS = ["smallconv", "smallres"]
NAMES = [*NETWORKS, *sorted(f"ops/{p.name.removesuffix('-symbol.json')}" for p in (FOLDER / "ops").glob("*.json"))]

# States to begin with are written for any batch, and SliceChannel as MXNet 2's split.
WRITTEN_OTHERWISE = {n for n in NAMES if n.startswith(("ops/rnn_", "ops/cell_"))}


def imported(name: str) -> SymbolBlock:
    return SymbolBlock.imports(FOLDER / f"{name}-symbol.json", ["data"], FOLDER / f"{name}-0000.params")


def recorded(name: str) -> tuple[mx.np.ndarray, list[Any]]:
    with np.load(FOLDER / f"{name}.npz") as file:
        outputs = [file[f"y{i}"] for i in range(len(file.files) - 1)]
        return mx.np.array(file["x"]), outputs


def assert_close(got: Any, wanted: list[Any]) -> None:
    arrays = got if isinstance(got, list) else [got]
    assert len(arrays) == len(wanted)
    for array, expected in zip(arrays, wanted, strict=True):
        assert array.shape == expected.shape
        np.testing.assert_allclose(array.asnumpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_every_file_is_tested() -> None:
    assert len(NAMES) == 44


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_mxnets_eager_compiled_and_fused(name: str) -> None:
    net, (x, wanted) = imported(name), recorded(name)
    assert_close(net.forward(x), wanted)
    net.hybridize()
    assert_close(net(x), wanted)
    net.optimize_for(x, backend="ONEDNN")
    assert_close(net(x), wanted)


class Residual(HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(16, 3, padding=1, use_bias=False, in_channels=16)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(16, 3, padding=1, use_bias=False, in_channels=16)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: mx.np.ndarray) -> mx.np.ndarray:
        y = mx.npx.relu(self.bn1(self.conv1(x)))
        return mx.npx.relu(self.bn2(self.conv2(y)) + x)


def gluon_network(name: str) -> nn.HybridSequential:
    net = nn.HybridSequential()
    if name == "smallres":
        net.add(nn.Conv2D(16, 7, 2, 3), Residual(), nn.AvgPool2D(), Residual(), nn.GlobalMaxPool2D(), nn.Dense(5))
        return net
    net.add(nn.Conv2D(8, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D())
    net.add(nn.Conv2D(16, 3, groups=2), nn.LeakyReLU(0.1), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(10))
    return net


@pytest.mark.parametrize("suffix", [".block.params", "-0000.params"])
@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_load_into_the_same_gluon_network(name: str, suffix: str) -> None:
    net, (x, wanted) = gluon_network(name), recorded(name)
    net.load_parameters(FOLDER / f"{name}{suffix}")
    assert_close(net(x), wanted)
    net.optimize_for(x)
    assert_close(net(x), wanted)


def test_npx_load_gives_the_dictionary() -> None:
    exported = mx.npx.load(FOLDER / "smallconv-0000.params")
    saved = mx.npx.load(FOLDER / "smallconv.block.params")
    assert set(exported) == {f"{'aux' if 'running' in name else 'arg'}:{name}" for name in saved}
    assert exported["arg:4.weight"].shape == (16, 4, 3, 3)
    assert exported["aux:1.running_var"].dtype == "float32"
    for name, array in saved.items():
        twin = exported.get(f"arg:{name}", exported.get(f"aux:{name}"))
        np.testing.assert_array_equal(array.asnumpy(), twin.asnumpy())
    assert mx.npx.load(FOLDER / "ops" / "softmax-0000.params") == {}


def test_sym_load_gives_the_graph() -> None:
    symbol = mx.sym.load(FOLDER / "smallconv-symbol.json")
    assert symbol.list_auxiliary_states() == ["1.running_mean", "1.running_var"]
    assert symbol.list_arguments()[:3] == ["data", "0.weight", "0.bias"]
    assert mx.sym.fromjson(symbol.tojson()) == symbol


def structure(fields: dict[str, Any]) -> Any:
    """All of a symbol JSON but the values of attributes, whose spelling is free, and the profiler's notes."""
    nodes = [
        (n["op"], n["name"], n["inputs"], sorted(set(n.get("attrs", {})) - {"__profiler_scope__"}))
        for n in fields["nodes"]
    ]
    return nodes, {key: value for key, value in fields.items() if key != "nodes"}


@pytest.mark.parametrize("name", NAMES)
def test_export_writes_what_mxnet_wrote(name: str, tmp_path: Path) -> None:
    net, (x, wanted) = imported(name), recorded(name)
    net(x)
    symbol_file, params_file = net.export(tmp_path / "again", format="mxnet")
    assert_close(SymbolBlock.imports(symbol_file, ["data"], params_file)(x), wanted)
    original = json.loads((FOLDER / f"{name}-symbol.json").read_text())
    written = json.loads(Path(symbol_file).read_text())
    if name == "ops/transpose_reshape":  # of this one MXNet wrote the attributes that were given, and no others
        original["nodes"][2]["attrs"] |= {"order": "C", "reverse": "0"}
    if name not in WRITTEN_OTHERWISE:
        assert structure(written) == structure(original)
    with np.load(params_file) as ours, np.load(FOLDER / f"{name}-0000.params") as theirs:
        assert sorted(ours.files) == sorted(theirs.files)
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours.files)


def test_layers_that_mxnet_composes_are_exported_composed(tmp_path: Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.SiLU(), nn.Conv2D(4, 1), nn.GELU(), nn.GlobalAvgPool2D(), nn.Dense(3))
    net.initialize()
    net.hybridize()
    x = mx.np.random.normal(size=(2, 3, 6, 6))
    wanted = net(x)
    symbol_file, params_file = net.export(tmp_path / "net", 3, format="mxnet")
    assert params_file.endswith("net-0003.params")
    operations = [n["op"] for n in json.loads(Path(symbol_file).read_text())["nodes"] if n["op"] != "null"]
    assert operations[:3] == ["Convolution", "_npx_sigmoid", "_npi_multiply"]
    assert_close(SymbolBlock.imports(symbol_file, ["data"], params_file)(x), [wanted.asnumpy()])


def test_every_operator_of_our_own_is_taken_apart_or_refused() -> None:
    x = mx.sym.var("x")
    values = np.linspace(-4, 4, 41, dtype=np.float32)
    for op in ("silu", "hard_swish", "gelu", "softrelu"):
        symbol = apply_op(op, [x], "node")
        again = mx.sym.fromjson(to_mxnet_json(symbol, ()))
        assert {n.op_name for n in again.operations()} & {op} == set()
        (wanted,), (got,) = (evaluate(graph, {"x": values}) for graph in (symbol, again))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    composed = {"random_lognormal", "random_beta", "random_chisquare", "random_f", "random_multivariate_normal"}
    known = composed | {"fused", *(name for name in list_ops() if "quantize" in name)}
    others = [op for op in map(get_op, list_ops()) if not op.mxnet and not op.decomposition and op.name not in known]
    assert others
    for op in others:
        sample = next((s for s in SAMPLES if s.op == op.name), None)
        required = {a.name: 1 for a in op.attrs if a.default is REQUIRED}
        attrs = op.make_attrs(sample.attributes(2) if sample else required)
        inputs = [mx.sym.var(f"in{i}") for i in range(len(op.input_names(attrs)))]
        with pytest.raises(GraphError, match=f"node 'node': MXNet has no operator like minidnn's {op.name}"):
            to_mxnet_json(apply_op(op.name, inputs, "node", **attrs), ())
    for name in composed - {"random_multivariate_normal"}:
        symbol = apply_op(name, [], "drawn", **dict.fromkeys(DISTRIBUTIONS[name.removeprefix("random_")][0], 2.0))
        with pytest.raises(GraphError, match=f"node 'drawn': MXNet has no operator like minidnn's {name}"):
            to_mxnet_json(symbol, ())


def test_an_order_that_mxnet_lacks_is_refused() -> None:
    symbol = apply_op("reshape", [mx.sym.var("x")], "turn", newshape=(-1,), order="F")
    with pytest.raises(GraphError, match=r"node 'turn': MXNet's reshape has no order 'F'"):
        to_mxnet_json(symbol, ())


@pytest.mark.parametrize("name", ["smallconv", "smallres"])
def test_a_fused_graph_is_written_as_it_was_before(tmp_path: Path, name: str) -> None:
    net, (x, wanted) = imported(name), recorded(name)
    net(x)
    net.export(tmp_path / "plain", format="mxnet")
    net.optimize_for(x)
    assert any(node.op_name == "fused" for node in net.export(None)[0].operations())
    net.export(tmp_path / "fused", format="mxnet")
    plain, fused = (json.loads((tmp_path / f"{kind}-symbol.json").read_text()) for kind in ("plain", "fused"))
    assert sorted(node["op"] for node in fused["nodes"]) == sorted(node["op"] for node in plain["nodes"])
    again = SymbolBlock.imports(tmp_path / "fused-symbol.json", ["data"], tmp_path / "fused-0000.params")
    np.testing.assert_allclose(again(x).asnumpy(), wanted[0], rtol=0, atol=1e-5)


def test_quantized_graphs_are_refused(tmp_path: Path) -> None:
    x, _ = recorded("smallconv")
    quantized = mx.contrib.quantization.quantize_net(gluon_initialized(), calib_data=[x], calib_mode="naive")
    quantized(x)
    with pytest.raises(GraphError, match="export the network before"):
        quantized.export(tmp_path / "int8", format="mxnet")
    assert list(tmp_path.iterdir()) == []


def gluon_initialized() -> nn.HybridSequential:
    net = gluon_network("smallconv")
    net.load_parameters(FOLDER / "smallconv.block.params")
    net.hybridize()
    return net


def test_formats_are_named_in_full(tmp_path: Path) -> None:
    net, (x, _) = imported("smallconv"), recorded("smallconv")
    net(x)
    with pytest.raises(ValueError, match="'minidnn' or 'mxnet', got 'onnx'"):
        net.export(tmp_path / "net", format="onnx")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no format 'onnx'"):
        mx.npx.save(tmp_path / "net", x, format="onnx")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_imported_network_can_be_quantized() -> None:
    net, (x, wanted) = imported("smallres"), recorded("smallres")
    quantized = mx.contrib.quantization.quantize_net(net, calib_data=[x], calib_mode="naive")
    error = np.abs(quantized(x).asnumpy() - wanted[0]).max()
    assert 0 < error < 0.05 * np.abs(wanted[0]).max()


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("ops/rnn_")])
def test_recurrent_layers_take_any_batch_whatever_was_traced(name: str) -> None:
    net, (x, wanted) = imported(name), recorded(name)
    axis = 0 if name == "ops/rnn_gru" else 1
    one = x[:1] if axis == 0 else x[:, :1]
    made = net(one)
    first = made[0] if isinstance(made, list) else made
    expected = wanted[0][:1] if axis == 0 else wanted[0][:, :1]
    np.testing.assert_allclose(first.asnumpy(), expected, rtol=0, atol=1e-5)
