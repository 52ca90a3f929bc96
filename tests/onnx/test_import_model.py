"""ONNX models as blocks: sizes, values, functions, loops, parameters, and what else a block can do."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Array, assert_like_reference, make_model, node, run, tensor

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import GraphError, ShapeError, SizeError, TypeMismatchError
from minidnn.gluon import SymbolBlock

RNG = np.random.default_rng(7)


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def small_network() -> onnx.ModelProto:
    """A convolution, what an exporter makes of ``x.reshape(x.shape[0], -1)``, and a product."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="first"),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Shape", ["p"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Concat", ["n1", "rest"], ["flat_shape"], axis=0),
        node("Reshape", ["p", "flat_shape"], ["flat"]),
        node("Gemm", ["flat", "w2", "b2"], ["y"], transB=1, name="last"),
    ]
    constants = {
        "w": normal(8, 3, 3, 3),
        "b": normal(8),
        "w2": normal(5, 8),
        "b2": normal(5),
        "zero": np.array(0),
        "axes": np.array([0]),
        "rest": np.array([-1]),
    }
    return make_model(nodes, [tensor("x", ["batch", 3, "height", None])], ["y"], constants)


def test_one_graph_holds_for_all_sizes() -> None:
    shapes = ((2, 3, 8, 10), (1, 3, 5, 7), (3, 3, 6, 6))
    net = assert_like_reference(small_network(), *([normal(*shape)] for shape in shapes))
    assert sum(map(len, net._programs.values())) == 1
    assert net.explain_shapes().startswith("x: (batch, 3, height, W)")
    assert [step.name for step in net.steps() if step.on_host] == []


def test_users_name_sizes() -> None:
    net, x = mx.onnx.import_model(small_network()), mx.np.array(normal(2, 3, 6, 7))
    net.optimize_for(x, axes={"x": {0: "n", 3: "width"}})
    assert net.explain_shapes().startswith("x: (n, 3, height, width)")
    model = make_model(
        [node("Add", ["x", "y"], ["z"])], [tensor("x", ["a.0", "lambda"]), tensor("y", ["1 b", "a_0"])], ["z"]
    )
    assert run(mx.onnx.import_model(model), normal(3, 4), normal(3, 4))[0].shape == (3, 4)


def test_shape_arithmetic_leaves_no_operations() -> None:
    net = mx.onnx.import_model(small_network())
    symbol, arguments, auxiliary = mx.contrib.onnx.import_model(small_network())
    assert auxiliary == {}
    assert sorted(arguments) == sorted(net.collect_params()) == ["b", "b2", "w", "w2"]
    assert "shape_array" not in {n.op_name for n in symbol.nodes()}


def test_it_is_read_from_a_path_bytes_and_a_file(tmp_path: Path) -> None:
    model, x = small_network(), normal(1, 3, 6, 6)
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    wanted = run(mx.onnx.import_model(model), x)[0]
    with path.open("rb") as file:
        sources: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), file]
        for source in sources:
            assert run(mx.onnx.import_model(source), x)[0].tolist() == wanted.tolist()
    assert run(mx.contrib.onnx.import_to_gluon(path, ctx=mx.cpu()), x)[0].tolist() == wanted.tolist()
    with pytest.raises(TypeError, match=r"a path, bytes, a file or an onnx\.ModelProto, got int"):
        mx.onnx.import_model(3)
    with path.open("r", encoding="latin-1") as text, pytest.raises(TypeError, match="open it in binary mode"):
        mx.onnx.import_model(text)


def test_metadata() -> None:
    model = small_network()
    model.metadata_props.add(key="classes", value="a b c")
    assert mx.onnx.import_model(model).metadata == {"classes": "a b c"}
    found = mx.contrib.onnx.get_model_metadata(model)
    assert found["input_tensor_data"] == [("x", ("batch", 3, "height", None))]
    assert found["metadata"] == {"classes": "a b c"}


def test_inputs_that_share_a_name_share_a_size() -> None:
    nodes = [node("Concat", ["a", "b"], ["c"], axis=0), node("ReduceMean", ["c"], ["y"], keepdims=0)]
    model = make_model(nodes, [tensor("a", ["n", "k"]), tensor("b", ["m", "k"])], ["y"], opset=13)
    net = assert_like_reference(model, [normal(2, 3), normal(4, 3)], [normal(1, 5), normal(1, 5)])
    with pytest.raises(ShapeError, match=r"input 'b' must be float32\[m, k\], got shape \(2, 4\): k is 3"):
        net(mx.np.ones((2, 3)), mx.np.ones((2, 4)))


def test_inputs_that_do_not_fit_are_errors() -> None:
    net = mx.onnx.import_model(small_network())
    with pytest.raises(ShapeError, match="dimension 1 is 3 in the model"):
        net(mx.np.ones((1, 4, 8, 8)))
    with pytest.raises(ShapeError, match="expected 4 dimensions"):
        net(mx.np.ones((1, 3, 8)))
    with pytest.raises(TypeMismatchError, match=r"input 'x' must be float32\[batch, 3, height, \?\], got int32"):
        net(mx.np.ones((1, 3, 8, 8), dtype="int32"))
    with pytest.raises(ShapeError, match=r"expected 1 inputs \['x'\], got 2"):
        net(mx.np.ones((1, 3, 8, 8)), mx.np.ones((1, 3, 8, 8)))


def test_an_input_whose_rank_is_not_known() -> None:
    model = make_model([node("Relu", ["x"], ["y"])], [tensor("x", None)], ["y"])
    net = assert_like_reference(model, [normal(2, 3)])
    assert run(net, normal(4, 5, 6))[0].shape == (4, 5, 6)


# ---- as a block -----------------------------------------------------------------------------------------


def test_int8(tmp_path: Path) -> None:
    model, x = small_network(), normal(4, 3, 8, 8)
    net = mx.onnx.import_model(model)
    wanted = run(net, x)[0]
    quantized = quantize_net(net, calib_mode="naive", calib_data=[mx.np.array(x)])
    assert any("int8" in step.kernel or "u8" in step.kernel or "s8" in step.kernel for step in _steps(quantized, x))
    error = quantized(mx.np.array(x)).asnumpy() - wanted
    assert (error**2).sum() < 1e-2 * (wanted**2).sum()


def _steps(net: Any, x: Array) -> Any:
    net(mx.np.array(x))
    return net.steps()


@pytest.mark.parametrize("is_called", [False, True])
def test_export_and_read_again_without_the_package(tmp_path: Path, is_called: bool) -> None:
    net, x = mx.onnx.import_model(small_network()), normal(2, 3, 9, 8)
    if is_called:
        net.optimize_for(mx.np.array(x))
    net.export(tmp_path / "net")
    again = SymbolBlock.imports(tmp_path / "net-symbol.json", ["x"], tmp_path / "net-0000.params")
    for shape in ((2, 3, 9, 8), (1, 3, 4, 5)):
        y = mx.np.array(normal(*shape))
        np.testing.assert_allclose(again(y).asnumpy(), net(y).asnumpy(), 1e-5, 1e-5)


def test_a_changed_parameter_changes_the_network() -> None:
    net, x = mx.onnx.import_model(small_network()), mx.np.array(normal(1, 3, 6, 6))
    before = net(x).asnumpy()
    net.collect_params()["b2"].set_data(net.collect_params()["b2"].data() + 1)
    np.testing.assert_allclose(net(x).asnumpy(), before + 1, 1e-5, 1e-5)


def test_parameters_are_saved_and_loaded(tmp_path: Path) -> None:
    one, other = mx.onnx.import_model(small_network()), mx.onnx.import_model(small_network())
    x = mx.np.array(normal(1, 3, 6, 6))
    one.save_parameters(tmp_path / "net.params")
    other.load_parameters(tmp_path / "net.params")
    assert other(x).asnumpy().tolist() == one(x).asnumpy().tolist()
    assert copy.deepcopy(one)(x).asnumpy().tolist() == one(x).asnumpy().tolist()


def test_it_is_a_part_of_another_network() -> None:
    inner = mx.onnx.import_model(small_network())

    class Outer(mx.gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            return self.inner(x * 2) + 1

    net = Outer()
    x = mx.np.array(normal(2, 3, 6, 6))
    wanted = inner(x * 2).asnumpy() + 1
    np.testing.assert_allclose(net(x).asnumpy(), wanted, 1e-5, 1e-5)
    net.optimize_for(x)
    np.testing.assert_allclose(net(x).asnumpy(), wanted, 1e-5, 1e-5)
    y = mx.np.array(normal(3, 3, 5, 9))
    np.testing.assert_allclose(net(y).asnumpy(), inner(y * 2).asnumpy() + 1, 1e-5, 1e-5)


# ---- element types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float64", "int64", "uint8", "bool"])
def test_results_have_the_models_types(dtype: str) -> None:
    x = (RNG.normal(size=(3, 4)) * 3).astype(dtype)
    op = ("And", "Or") if dtype == "bool" else ("Mul", "Add")
    nodes = [node(op[0], ["x", "c"], ["a"]), node(op[1], ["a", "x"], ["y"])]
    model = make_model(nodes, [tensor("x", ["n", 4], dtype)], ["y"], {"c": np.array([1, 2, 0, 3], dtype)})
    assert_like_reference(model, [x], [x[:1]], rtol=2e-3)


def test_float16_weights_are_computed_in_float32() -> None:
    x, w = normal(2, 300), normal(300, 4)
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], [tensor("x", ["n", 300], "float16")], ["y"], {"w": w.astype(np.float16)}
    )
    net = mx.onnx.import_model(model)
    wanted = x.astype(np.float16).astype(np.float64) @ w.astype(np.float16).astype(np.float64)
    (got,) = run(net, x.astype(np.float16))
    np.testing.assert_array_equal(got, wanted.astype(np.float32).astype(np.float16))


# ---- what is decided by sizes and values ------------------------------------------------------------------


def branches(name: str, *ops: str) -> list[onnx.GraphProto]:
    return [
        helper.make_graph([node(op, ["x"], [f"{name}{i}"])], f"branch{i}", [], [onnx.ValueInfoProto(name=f"{name}{i}")])
        for i, op in enumerate(ops)
    ]


def test_a_branch_that_a_size_decides() -> None:
    then, other = branches("t", "Relu", "Neg")
    nodes = [
        node("Shape", ["x"], ["shape"], start=0, end=1),
        node("Greater", ["shape", "three"], ["above"]),
        node("Squeeze", ["above"], ["is_above"]),
        node("If", ["is_above"], ["y"], then_branch=then, else_branch=other),
    ]
    model = make_model(nodes, [tensor("x", ["n", 2])], ["y"], {"three": np.array([3])})
    net = assert_like_reference(model, *([normal(n, 2)] for n in (2, 5, 3, 9)))
    assert sum(map(len, net._programs.values())) == 2
    net.export(None)


def test_a_branch_that_a_value_decides(tmp_path: Path) -> None:
    then, other = branches("t", "Relu", "Neg")
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["c"]),
        node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    model = make_model(nodes, [tensor("x", ["n", 2])], ["y"], {"zero": np.float32(0)})
    x = np.abs(normal(3, 2))
    net = assert_like_reference(model, [x], [-x], [x[:1]], [x])
    with pytest.raises(GraphError, match="call the network once before"):
        mx.onnx.import_model(model).export(tmp_path / "net")
    net.export(tmp_path / "net")
    fixed = SymbolBlock.imports(tmp_path / "net-symbol.json", ["x"], tmp_path / "net-0000.params")
    assert fixed(mx.np.array(x)).asnumpy().tolist() == np.maximum(x, 0).tolist()
    with pytest.raises(SizeError, match="the graph was made for the values"):
        fixed(mx.np.array(-x))


def test_calls_of_the_branch_taken_last_take_the_shortest_way() -> None:
    then, other = branches("t", "Relu", "Neg")
    nodes = [
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["c"]),
        node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    net = mx.onnx.import_model(make_model(nodes, [tensor("x", ["n", 2])], ["y"], {"zero": np.float32(0)}))
    above = np.abs(normal(3, 2)) + 1
    for x, wanted in ((above, above), (-above, above), (above, above)):
        given = mx.np.array(x)
        assert net._run_plainly((given,)) is None
        assert np.array_equal(net(given).asnumpy(), wanted)
        assert np.array_equal(net._run_plainly((given,)).asnumpy(), wanted)


def test_a_shape_that_is_an_input() -> None:
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("Relu", ["r"], ["y"])]
    model = make_model(nodes, [tensor("x", ["n", "m"]), tensor("shape", [2], "int64")], ["y"])
    x = normal(4, 6)
    assert_like_reference(model, [x, np.array([3, 8])], [x, np.array([-1, 2])], [x, np.array([3, 8])])


def test_sizes_that_depend_on_values_need_no_new_graph() -> None:
    nodes = [
        node("Greater", ["x", "zero"], ["mask"]),
        node("NonZero", ["mask"], ["found"]),
        node("Transpose", ["found"], ["places"], perm=[1, 0]),
        node("GatherND", ["x", "places"], ["values"]),
        node("Exp", ["values"], ["y"]),
    ]
    model = make_model(nodes, [tensor("x", ["n", 4])], ["y", "places"], {"zero": np.float32(0)})
    net = assert_like_reference(model, *([normal(n, 4)] for n in (3, 3, 5, 3)))
    assert sum(map(len, net._programs.values())) == 1
    (nothing, places) = run(net, -np.ones((2, 4), np.float32))
    assert (nothing.shape, places.shape) == ((0,), (0, 2))


def loop_model(trips: int | None, condition: str = "going") -> onnx.ModelProto:
    """Doubles its input until the sum passes 100, or so often; gives all it came by, too."""
    body = helper.make_graph(
        [
            node("Add", ["v", "v"], ["v_out"]),
            node("ReduceSum", ["v_out"], ["sum"], keepdims=0),
            node("Less", ["sum", "limit"], [condition]),
            node("Identity", ["v_out"], ["scan"]),
        ],
        "body",
        [tensor("i", [], "int64"), tensor("c", [], "bool"), tensor("v", None)],
        [tensor(condition, [], "bool"), tensor("v_out", None), tensor("scan", None)],
    )
    inputs = ["" if trips is None else "trips", "start", "x"]
    constants: dict[str, Any] = {"limit": np.float32(100), "start": np.array(True)}
    if trips is not None:
        constants["trips"] = np.array(trips)
    return make_model([node("Loop", inputs, ["y", "sums"], body=body)], [tensor("x", ["n"])], ["y", "sums"], constants)


def test_loops_go_on_as_long_as_values_say() -> None:
    model = loop_model(10)
    x = np.ones(3, np.float32)
    assert_like_reference(model, [x], [x * 20], [x])
    assert_like_reference(loop_model(2), [x])


def test_a_loop_without_end_is_an_error() -> None:
    net = mx.onnx.import_model(loop_model(None), max_trips=50)
    with pytest.raises(GraphError, match=r"node 'y' \(Loop\): it goes on for more than 50 rounds"):
        net(-mx.np.ones(3))
    with pytest.raises(ValueError, match="max_trips"):
        mx.onnx.import_model(loop_model(None), max_trips=0)


def test_functions_of_the_model_are_put_in() -> None:
    scaled = helper.make_function(
        "mine",
        "Scaled",
        ["x"],
        ["y"],
        [
            node("Constant", [], ["c"]),
            node("Mul", ["x", "c"], ["m"]),
            node("Relu", ["m"], ["y"]),
        ],
        [helper.make_opsetid("", 21)],
        ["factor"],
    )
    reference = scaled.node[0].attribute.add(name="value_float", ref_attr_name="factor")
    reference.type = onnx.AttributeProto.FLOAT
    twice = helper.make_function(
        "mine",
        "Twice",
        ["x"],
        ["y"],
        [
            node("Scaled", ["x"], ["h"], domain="mine", factor=2.0),
            node("Scaled", ["h"], ["y"], domain="mine", factor=3.0),
        ],
        [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)],
    )
    nodes = [node("Twice", ["x"], ["y"], domain="mine", name="both")]
    model = make_model(nodes, [tensor("x", ["n"])], ["y"], functions=[scaled, twice], mine=1)
    net = mx.onnx.import_model(model)
    x = normal(5)
    np.testing.assert_allclose(run(net, x)[0], np.maximum(x * 6, 0), 1e-6)
    assert all(step.name.startswith("both") for step in net.steps())


def test_models_without_inputs() -> None:
    model = make_model([node("Add", ["a", "b"], ["y"])], [], ["y"], {"a": np.ones(3), "b": np.arange(3.0)})
    assert run(mx.onnx.import_model(model))[0].tolist() == [1, 2, 3]


def test_outputs_that_are_inputs_or_constants() -> None:
    nodes = [node("Identity", ["x"], ["y"]), node("Identity", ["c"], ["z"])]
    model = make_model(nodes, [tensor("x", ["n"]), tensor("unused", ["m"])], ["y", "z"], {"c": normal(3)})
    assert_like_reference(model, [normal(4), normal(1)])


def test_what_is_not_needed_is_not_looked_at() -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("NoSuchOperator", ["x"], ["unread"])]
    assert_like_reference_of_needed(make_model(nodes, [tensor("x", ["n"])], ["y"]))


def assert_like_reference_of_needed(model: onnx.ModelProto) -> None:
    x = normal(4)
    assert run(mx.onnx.import_model(model), x)[0].tolist() == np.maximum(x, 0).tolist()


def test_constants_in_all_fields() -> None:
    arrays = {
        "int4": (TensorProto.INT4, [-8, 7, 3]),
        "uint4": (TensorProto.UINT4, [0, 15, 9]),
        "float16": (TensorProto.FLOAT16, [1.5, -2.0, 65504.0]),
        "bfloat16": (TensorProto.BFLOAT16, [1.5, -2.0, 3.0]),
        "float8": (TensorProto.FLOAT8E5M2, [1.5, -2.0, 0.25]),
        "uint64": (TensorProto.UINT64, [1, 2, 2**63]),
        "bool": (TensorProto.BOOL, [True, False, True]),
        "double": (TensorProto.DOUBLE, [1.0, 1e300, -0.5]),
    }
    for raw in (False, True):
        protos = []
        for name, (kind, values) in arrays.items():
            proto = helper.make_tensor(name, kind, [3], values)
            protos.append(numpy_helper.from_array(numpy_helper.to_array(proto), name) if raw else proto)
        nodes = [node("Cast", [name], [f"{name}_out"], to=TensorProto.DOUBLE) for name in arrays]
        model = make_model(nodes, [], [f"{name}_out" for name in arrays])
        model.graph.initializer.extend(protos)
        for got, (_, values) in zip(run(mx.onnx.import_model(model)), arrays.values(), strict=True):
            assert got.tolist() == values
