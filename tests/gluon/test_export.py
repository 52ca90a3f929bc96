"""What is exported has the inputs, outputs and parameters of the network, whatever it does with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import GraphError
from minidnn.gluon import SymbolBlock, nn

pytestmark = pytest.mark.filterwarnings("ignore:.* is not used by any computation")
FORMATS = pytest.mark.parametrize("format", ["minidnn", "mxnet"])
Format = Literal["minidnn", "mxnet"]


class Net(nn.HybridBlock):
    """A layer, and any function of it and of two inputs."""

    def __init__(self, function: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.dense, self.function = nn.Dense(3, in_units=3), function

    def forward(self, a: Any, b: Any) -> Any:
        return self.function(self.dense, a, b)


NETS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "no parameters": lambda dense, a, b: a * b,
    "unused second": lambda dense, a, b: dense(a),
    "unused first": lambda dense, a, b: dense(b),
    "unused parameters": lambda dense, a, b: a + b,
    "other order": lambda dense, a, b: dense(b) + a,
    "an output that is an input": lambda dense, a, b: (dense(a), b),
    "only inputs": lambda dense, a, b: (b, a),
    "one input only": lambda dense, a, b: b,
    "one output twice": lambda dense, a, b: [dense(a)] * 2 + [b, b],
    "only a constant": lambda dense, a, b: mx.np.array([1.0, 2.0, 3.0]),
    "a constant and unused": lambda dense, a, b: a * mx.np.array([1.0, 2.0, 3.0]),
}


def flat(value: Any) -> list[np.ndarray[Any, Any]]:
    return [v.asnumpy() for v in (value if isinstance(value, (list, tuple)) else [value])]


def ready(name: str, fused: bool = False) -> tuple[Net, Any, Any]:
    net = Net(NETS[name])
    net.initialize(mx.init.Normal(1))
    a, b = mx.np.random.normal(size=(2, 3)), mx.np.random.normal(size=(2, 3))
    if fused:
        net.optimize_for(a, b)
    else:
        net.hybridize()
    net(a, b)
    return net, a, b


@FORMATS
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_an_export_is_called_as_the_network_is(tmp_path: Path, name: str, fused: bool, format: Format) -> None:
    net, a, b = ready(name, fused)
    files = net.export(tmp_path / "net", format=format)
    assert files == (str(tmp_path / "net-symbol.json"), str(tmp_path / "net-0000.params"))
    block = SymbolBlock.imports(files[0], ["data0", "data1"], files[1])
    for ours, theirs in zip(flat(block(a, b)), flat(net(a, b)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    swapped = SymbolBlock.imports(files[0], ["data1", "data0"], files[1])
    for ours, theirs in zip(flat(swapped(b, a)), flat(net(a, b)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@FORMATS
@pytest.mark.parametrize("name", NETS)
def test_an_import_can_be_exported_again_to_the_same_text(tmp_path: Path, name: str, format: Format) -> None:
    net, a, b = ready(name)
    files = net.export(tmp_path / "net", format=format)
    block = SymbolBlock.imports(files[0], ["data0", "data1"], files[1])
    block(a, b)
    again = block.export(tmp_path / "again", format=format)
    assert Path(again[0]).read_text() == Path(files[0]).read_text()
    symbol = mx.sym.load(files[0])
    assert mx.sym.fromjson(symbol.tojson()) == symbol == copy.deepcopy(symbol)


@FORMATS
@pytest.mark.parametrize("name", ["unused first", "unused second"])
def test_unused_inputs_stand_in_the_file_in_order(tmp_path: Path, name: str, format: Format) -> None:
    files = ready(name)[0].export(tmp_path / "net", format=format)
    fields = json.loads(Path(files[0]).read_text())
    variables = [fields["nodes"][i]["name"] for i in fields["arg_nodes"]]
    assert variables[:2] == ["data0", "data1"]
    assert sorted(variables[2:]) == ["dense.bias", "dense.weight"]
    assert [i for i, node in enumerate(fields["nodes"]) if node["op"] == "null"] == fields["arg_nodes"]
    with pytest.raises(GraphError, match=r"no input 'data2'; the graph has \['data0', 'data1', "):
        SymbolBlock.imports(files[0], ["data0", "data2"], files[1])


def test_a_used_input_alone_may_be_given_too(tmp_path: Path) -> None:
    net, a, b = ready("unused second")
    files = net.export(tmp_path / "net")
    np.testing.assert_array_equal(SymbolBlock.imports(files[0], "data0", files[1])(a).asnumpy(), net(a, b).asnumpy())


def test_a_quantized_network_keeps_its_unused_inputs(tmp_path: Path) -> None:
    net, a, b = ready("unused first")
    quantized = quantize_net(net, calib_mode="naive", calib_data=[(a, b)])
    wanted = quantized(a, b).asnumpy()
    files = quantized.export(tmp_path / "int8")
    block = SymbolBlock.imports(files[0], ["data0", "data1"], files[1])
    np.testing.assert_array_equal(block(a, b).asnumpy(), wanted)
