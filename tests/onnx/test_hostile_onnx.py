"""ONNX files that are damaged or made to harm: errors that name file and node, no more memory than the file has."""

from __future__ import annotations

import os
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Array, make_model, node, run, tensor

import minidnn as mx
from minidnn.errors import DataError, GraphError, MXNetError

ONES = {"w": np.ones(4, np.float32)}


def unary(*ops: str, **constants: Any) -> onnx.ModelProto:
    """Operators one after the other."""
    nodes = [node(op, [f"v{i}"], [f"v{i + 1}"], name=f"node{i}") for i, op in enumerate(ops)]
    return make_model(nodes, [tensor("v0", ["n"])], [f"v{len(ops)}"], constants)


def refused(model: Any, match: str, kind: type[Exception] = GraphError) -> None:
    with pytest.raises(kind, match=match):
        mx.onnx.import_model(model)


# ---- bytes ------------------------------------------------------------------------------------------------


def test_what_is_no_model(tmp_path: Path) -> None:
    for data in (b"", b"\x00", b"not a model", b"\xff" * 100, os.urandom(64)):
        refused(data, "model: it is no ONNX model", DataError)
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08")
    refused(path, r"broken\.onnx: it is no ONNX model", DataError)
    with pytest.raises(FileNotFoundError):
        mx.onnx.import_model(tmp_path / "absent.onnx")


def convolution() -> onnx.ModelProto:
    weight = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["p", "", "scales"], ["r"], mode="linear"),
        node("Slice", ["r", "starts", "ends"], ["s"]),
        node("Reshape", ["s", "shape"], ["y"]),
    ]
    constants = {
        "w": weight,
        "scales": np.array([1, 1, 2, 2], np.float32),
        "starts": np.array([0, 1]),
        "ends": np.array([9, 3]),
        "shape": np.array([0, -1]),
    }
    return make_model(nodes, [tensor("x", ["n", 3, 8, 8])], ["y"], constants)


def looped() -> onnx.ModelProto:
    body = helper.make_graph(
        [node("Add", ["v", "one"], ["out"]), node("Identity", ["c"], ["go"])],
        "body",
        [tensor("i", [], "int64"), tensor("c", [], "bool"), tensor("v", None)],
        [tensor("go", [], "bool"), tensor("out", None)],
    )
    constants = {"trips": np.array(3), "go_on": np.array(True), "one": np.float32(1)}
    nodes = [
        node("Loop", ["trips", "go_on", "x"], ["z"], body=body),
        node("NonZero", ["z"], ["places"]),
        node("Tile", ["z", "reps"], ["t"]),
    ]
    return make_model(nodes, [tensor("x", ["n", 2])], ["t", "places"], {**constants, "reps": np.array([2, 2])})


def quantized() -> onnx.ModelProto:
    scale, zero = np.float32(0.1), np.uint8(3)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("QLinearMatMul", ["q", "s", "z", "w", "s", "wz", "s", "z"], ["p"]),
        node("DequantizeLinear", ["p", "s", "z"], ["d"]),
        node("TopK", ["d", "k"], ["top", "at"], axis=1),
        node("Cast", ["at"], ["y"], to=TensorProto.FLOAT),
    ]
    weight = np.random.default_rng(2).integers(-128, 128, (4, 5)).astype(np.int8)
    constants = {"s": scale, "z": zero, "w": weight, "wz": np.int8(0), "k": np.array([2])}
    return make_model(nodes, [tensor("x", ["n", 4])], ["y", "top"], constants)


def dequantized() -> onnx.ModelProto:
    """Integers with a range of the run, and a convolution and a product between dequantize nodes."""
    draw = np.random.default_rng(4)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("ConvInteger", ["q", "w", "z", "wz"], ["c"], pads=[1, 0, 0, 1]),
        node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        node("QuantizeLinear", ["f", "scale", "wz"], ["i"]),
        node("DequantizeLinear", ["i", "scale", "wz"], ["d"]),
        node("DequantizeLinear", ["w", "scales", "zeros"], ["wd"], axis=0),
        node("Conv", ["d", "wd"], ["e"], kernel_shape=[2, 2]),
        node("MaxPool", ["e"], ["y"], kernel_shape=[2, 2]),
    ]
    constants = {
        "w": draw.integers(0, 256, (3, 3, 2, 2)).astype(np.uint8),
        "wz": np.uint8(3),
        "scale": np.float32(40),
        "scales": draw.uniform(1, 2, 3).astype(np.float32),
        "zeros": draw.integers(0, 256, 3).astype(np.uint8),
    }
    return make_model(nodes, [tensor("x", ["n", 3, 5, 4])], ["y"], constants)


def recurrent() -> onnx.ModelProto:
    draw = np.random.default_rng(5)
    shapes = {"w": (2, 12, 4), "r": (2, 12, 3), "b": (2, 24), "p": (2, 9)}
    constants: dict[str, Any] = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    constants["lengths"] = np.array([3, 0], np.int32)
    attributes = {"activations": ["Sigmoid", "Elu", "Tanh"] * 2, "activation_alpha": [0.5], "clip": 3.0}
    nodes = [
        node(
            "LSTM", ["x", "w", "r", "b", "lengths", "", "", "p"], ["y"], direction="bidirectional", hidden_size=3,
            **attributes,
        )
    ]  # fmt: skip
    return make_model(nodes, [tensor("x", ["t", 2, 4])], ["y"], constants)


SHAPES = {
    convolution: (2, 3, 8, 8),
    looped: (2, 2),
    quantized: (2, 4),
    dequantized: (2, 3, 5, 4),
    recurrent: (3, 2, 4),
}


def mutated(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed))
        kind = draw.randrange(4)
        if kind == 0:
            changed[at] = draw.randrange(256)
        elif kind == 1:
            changed[at : at + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\x80\x80\x80\x01"])
        elif kind == 2:
            changed[at:at] = changed[at : at + draw.randint(1, 20)]
        else:
            del changed[at : at + draw.randint(1, 20)]
        changed = changed or bytearray(1)
    return bytes(changed)


def numbers(proto: Any) -> list[tuple[Any, str, int]]:
    """Where a model has integers that decide something: attributes, sizes, versions."""
    found: list[tuple[Any, str, int]] = [(opset, "version", -1) for opset in proto.opset_import]
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        for at in (a for n in graph.node for a in n.attribute):
            graphs += [at.g] if at.type == onnx.AttributeProto.GRAPH else []
            found.append((at, "i", -1))
            found += [(at, "ints", i) for i in range(len(at.ints))]
            found.append((at, "type", -1))
        for t in graph.initializer:
            found.append((t, "data_type", -1))
            found += [(t, "dims", i) for i in range(len(t.dims))]
    return found


def changed_numbers(data: bytes, draw: random.Random) -> bytes:
    model = onnx.ModelProto()
    model.ParseFromString(data)
    choices = (0, 1, -1, 2, 7, -2, 255, 2**15, 2**20, 2**31 - 1, -(2**31), 2**62, -(2**63), 2**63 - 1)
    for _ in range(draw.randint(1, 3)):
        owner, name, index = draw.choice(numbers(model))
        value = draw.choice(choices)
        try:
            if index < 0:
                setattr(owner, name, value)
            else:
                getattr(owner, name)[index] = value
        except ValueError:
            continue  # no number of that field
    return model.SerializeToString()


@pytest.mark.parametrize("make", list(SHAPES), ids=lambda make: make.__name__)
@pytest.mark.parametrize("change", [mutated, changed_numbers])
def test_mutated_models_are_read_or_refused(
    make: Callable[[], onnx.ModelProto], change: Callable[[bytes, random.Random], bytes]
) -> None:
    draw, data = random.Random(11), make().SerializeToString()
    x = np.random.default_rng(3).normal(size=SHAPES[make]).astype(np.float32)
    run(mx.onnx.import_model(data), x)
    tracemalloc.start()
    try:
        for _ in range(150):
            try:
                net = mx.onnx.import_model(change(data, draw))
            except MXNetError as error:
                assert str(error).startswith("model: ")
                continue
            try:
                net._trace_graph([mx.np.array(x)], None)  # type: ignore[arg-type] # it is not looked at
            except MXNetError:
                continue
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", list(SHAPES), ids=lambda make: make.__name__)
def test_a_model_truncated_anywhere_is_read_or_refused(make: Callable[[], onnx.ModelProto]) -> None:
    data = make().SerializeToString()
    for end in range(0, len(data), 7):
        try:
            mx.onnx.import_model(data[:end])
        except MXNetError as error:
            assert str(error).startswith("model: ")


# ---- tensors ----------------------------------------------------------------------------------------------


def with_tensor(change: Callable[[Any], object], array: Array = ONES["w"]) -> onnx.ModelProto:
    model = make_model([node("Add", ["x", "w"], ["y"])], [tensor("x", ["n"])], ["y"], {"w": array})
    change(model.graph.initializer[0])
    return model


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.dims.__setitem__(0, 2**40), "tensor 'w': 1099511627776 elements of float32 take"),
        (lambda t: t.dims.__setitem__(0, -1), "tensor 'w': its shape"),
        (lambda t: t.dims.extend([2**31] * 3), "tensor 'w': its shape"),
        (lambda t: t.dims.extend([1] * 40), "tensor 'w': its shape"),
        (lambda t: setattr(t, "raw_data", b"\0" * 15), "take 16 bytes, it has 15"),
        (lambda t: setattr(t, "raw_data", b""), "take 16 bytes, it has 0"),
        (lambda t: setattr(t, "data_type", TensorProto.STRING), "elements of type string are not supported"),
        (lambda t: setattr(t, "data_type", TensorProto.COMPLEX64), "elements of type complex64"),
        (lambda t: setattr(t, "data_type", 99), "elements of type number 99"),
        (lambda t: (t.ClearField("raw_data"), t.float_data.extend([1.0])), "must be 4 in float_data, got 1"),
        (lambda t: setattr(t.segment, "begin", 1), "one of several segments"),
        (lambda t: setattr(t, "data_location", TensorProto.EXTERNAL), "its data lie in another file"),
    ],
)
def test_tensors_that_are_not_what_they_say(change: Callable[[Any], object], match: str) -> None:
    refused(with_tensor(change), f"model: .*{match}", DataError)


def test_sparse_tensors() -> None:
    def sparse(indices: Any, dims: Any = (2, 3)) -> onnx.ModelProto:
        values = numpy_helper.from_array(np.array([5, 7], np.float32), "w")
        proto = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices)), dims)
        model = make_model([node("Add", ["x", "w"], ["y"])], [tensor("x", [3])], ["y"])
        model.graph.sparse_initializer.append(proto)
        return model

    for indices in ([1, 5], [[0, 1], [1, 2]]):
        assert run(mx.onnx.import_model(sparse(indices)), np.zeros(3))[0].tolist() == [[0, 5, 0], [0, 0, 7]]
    refused(sparse([1, 6]), "sparse tensor 'w': its indices", DataError)
    refused(sparse([-1, 2]), "its indices", DataError)
    refused(sparse([1]), "its indices", DataError)
    refused(sparse([1, 2], (2**30, 2**30)), "at most 67108864 elements", DataError)


def external(tmp_path: Path, location: str, **further: Any) -> Path:
    folder = tmp_path / "model"
    (folder / "inside").mkdir(parents=True, exist_ok=True)
    for path in (folder / "w.bin", folder / "inside" / "w.bin", tmp_path / "secret.bin"):
        path.write_bytes(np.arange(6, dtype=np.float32).tobytes())

    def change(proto: Any) -> None:
        proto.ClearField("raw_data")
        proto.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **further}.items():
            proto.external_data.add(key=key, value=str(value))

    path = folder / "net.onnx"
    path.write_bytes(with_tensor(change).SerializeToString())
    return path


def test_data_in_files_beside_the_model(tmp_path: Path) -> None:
    for location in ("w.bin", "inside/w.bin", "./inside/../inside/w.bin"):
        if ".." in location:
            refused(external(tmp_path, location), "must lie in the model's folder", DataError)
            continue
        path = external(tmp_path, location, offset=8, length=16)
        assert run(mx.onnx.import_model(path), np.zeros(4))[0].tolist() == [2, 3, 4, 5]
        with path.open("rb") as file:
            assert run(mx.onnx.import_model(file), np.zeros(4))[0].tolist() == [2, 3, 4, 5]


def test_data_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    for location in ("../secret.bin", str(secret), "inside/../../secret.bin", "", "..", "..\\secret.bin", "a\0b", "."):
        refused(
            external(tmp_path, location), r"net\.onnx: tensor 'w': its data must lie in the model's folder", DataError
        )
    path = external(tmp_path, "link.bin")
    (path.parent / "link.bin").symlink_to(secret)
    refused(path, "must lie in the model's folder", DataError)
    path = external(tmp_path, "elsewhere/secret.bin")
    (path.parent / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    refused(path, "must lie in the model's folder", DataError)
    path = external(tmp_path, "self.bin")
    (path.parent / "self.bin").symlink_to("self.bin")
    refused(path, "tensor 'w'", DataError)
    os.mkfifo(path.parent / "pipe")
    refused(external(tmp_path, "pipe"), "must lie in the model's folder", DataError)


def test_data_that_are_not_there(tmp_path: Path) -> None:
    refused(external(tmp_path, "absent.bin"), "there is no file 'absent.bin'", DataError)
    refused(external(tmp_path, "w.bin", offset=12), r"bytes 12 to 28 of 'w\.bin', which has 24", DataError)
    refused(external(tmp_path, "w.bin", length=8), "takes 16 bytes, but 8", DataError)
    for text in ("-4", "1e3", "9" * 30, "0x10"):
        refused(external(tmp_path, "w.bin", offset=text), "its offset must be a number", DataError)


# ---- graphs -----------------------------------------------------------------------------------------------


def test_names_that_are_not_defined() -> None:
    inputs = [tensor("x", ["n"])]
    refused(make_model([node("Relu", ["z"], ["y"], name="r")], inputs, ["y"]), r"node 'r' \(Relu\): its input 'z'")
    refused(make_model([node("Relu", ["x"], ["y"])], inputs, ["q"]), "its output 'q' is defined nowhere")
    twice = [node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"], name="second")]
    refused(make_model(twice, inputs, ["y"]), r"node 'second' \(Neg\): its output 'y' is defined twice")
    refused(make_model([node("Relu", ["x"], ["x"])], inputs, ["x"]), "its output 'x' is defined twice")
    refused(make_model([], [*inputs, *inputs], ["x"]), "each input needs a name of its own")


def test_nodes_in_any_order_and_cycles() -> None:
    inputs = [tensor("x", ["n"])]
    unordered = [node("Neg", ["r"], ["y"]), node("Relu", ["x"], ["r"])]
    assert run(mx.onnx.import_model(make_model(unordered, inputs, ["y"])), [1, -2])[0].tolist() == [-1, 0]
    cycle = [node("Add", ["x", "b"], ["a"], name="one"), node("Relu", ["a"], ["b"], name="two")]
    refused(make_model(cycle, inputs, ["b"]), r"node '(one|two)' \((Add|Relu)\): it depends on itself")


def test_long_chains_are_no_recursion() -> None:
    model = unary(*["Neg"] * 1500)
    assert run(mx.onnx.import_model(model), [1.0])[0].tolist() == [1]


def function(name: str, *calls: str) -> onnx.FunctionProto:
    nodes = [node(op, [f"v{i}"], [f"v{i + 1}"], domain="" if op == "Neg" else "mine") for i, op in enumerate(calls)]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]
    return helper.make_function("mine", name, ["v0"], [f"v{len(calls)}"], nodes, opsets)


def calling(name: str, *functions: onnx.FunctionProto) -> onnx.ModelProto:
    nodes = [node(name, ["x"], ["y"], domain="mine", name="outer")]
    return make_model(nodes, [tensor("x", ["n"])], ["y"], functions=functions, mine=1)


def test_functions_that_call_themselves() -> None:
    refused(calling("A", function("A", "A")), "function 'A' calls itself")
    refused(calling("A", function("A", "B"), function("B", "C"), function("C", "A")), "calls itself, or calls one")
    refused(calling("A", function("A", "Neg"), function("A", "Neg")), "function 'A' is defined twice")


def test_functions_that_call_many_others() -> None:
    deep = [function(f"F{i}", f"F{i + 1}") for i in range(40)]
    refused(calling("F0", *deep, function("F40", "Neg")), "call each other more than 32 deep")
    wide = [function(f"F{i}", *[f"F{i + 1}"] * 8) for i in range(6)]
    refused(calling("F0", *wide, function("F6", "Neg")), "there are more than 100000 nodes")


def test_graphs_in_graphs() -> None:
    inner = helper.make_graph([node("Relu", ["x"], ["b"])], "leaf", [], [onnx.ValueInfoProto(name="b")])
    for _ in range(30):
        nodes = [node("If", ["c"], ["b"], then_branch=inner)]
        inner = helper.make_graph(nodes, "level", [], [onnx.ValueInfoProto(name="b")])
    model = make_model(inner.node, [tensor("x", ["n"]), tensor("c", [], "bool")], ["b"])
    refused(model, "nested more than 16 deep|it is no ONNX model, or damaged", MXNetError)


# ---- what is not supported ----------------------------------------------------------------------------------


def test_operators_that_are_not_supported_are_named() -> None:
    refused(unary("Neg", "NoSuchThing"), r"model: node 'node1' \(NoSuchThing\): the operator is not supported")
    model = unary("Neg")
    model.graph.node[0].domain = "far.away"
    refused(model, r"node 'node0' \(far\.away\.Neg\): the operator is not supported")


@pytest.mark.parametrize(
    ("op", "attributes", "match"),
    [
        ("Relu", {"slope": 0.5}, "attribute 'slope' is not supported"),
        ("LeakyRelu", {"alpha": 1}, "attribute 'alpha' must be of kind float, got one int"),
        ("Softmax", {"axis": 3}, r"axis must lie in \[-1, 1\), got 3"),
        ("Cast", {}, "attribute 'to' is required"),
        ("Cast", {"to": TensorProto.STRING}, "attribute 'to': elements of type number 8 are not supported"),
        ("Gelu", {"approximate": "sinh"}, r"attribute 'approximate' must be one of \['none', 'tanh'\], got 'sinh'"),
        ("Transpose", {"perm": [1, 0]}, "attribute 'perm' must be a permutation of 1 axes"),
    ],
)
def test_attributes_are_honoured_or_refused(op: str, attributes: dict[str, Any], match: str) -> None:
    model = make_model([node(op, ["x"], ["y"], name="n", **attributes)], [tensor("x", [4])], ["y"])
    refused(model, rf"model: node 'n' \({op}\): {match}")


def test_wrong_types_and_shapes_are_errors_of_the_node() -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], name="conv")]
    model = make_model(nodes, [tensor("x", [1, 3, 8, 8])], ["y"], {"w": np.ones((4, 5, 3, 3), np.float32)})
    refused(model, r"model: node 'conv' \(Conv\): convolution: data has 3 channels but weight", MXNetError)
    nodes = [node("Gather", ["x", "w"], ["y"], name="g")]
    refused(make_model(nodes, [tensor("x", [3])], ["y"], ONES), r"node 'g' \(Gather\): indices must be integers")


def test_inputs_that_are_no_tensors() -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    refused(make_model([node("SequenceLength", ["s"], ["y"])], [sequence], ["y"]), "'s' must be a tensor of numbers")
    text = helper.make_tensor_value_info("t", TensorProto.STRING, [2])
    refused(make_model([node("Identity", ["t"], ["y"])], [text], ["y"]), "'t' must be a tensor of numbers")


def test_texts_that_are_no_utf_8() -> None:
    data = unary("NoSuchThing").SerializeToString().replace(b"NoSuchThing", b"NoSuch\xff\xfe\x1b[1")
    refused(data, "model: ", MXNetError)
    try:
        mx.onnx.import_model(data)
    except MXNetError as error:
        assert str(error).isprintable()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'minidnn\[onnx\]'"):
        mx.onnx.import_model(b"")
