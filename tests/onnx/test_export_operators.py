"""Every operator that can be written as ONNX gives there what its reference gives, for batches of any size."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from op_samples import SAMPLES, Sample

import minidnn as mx
from minidnn.errors import GraphError
from minidnn.interop.onnx.export import EXPORT, ExportError, make_model
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops import get_op
from minidnn.ops.registry import TensorType
from minidnn.sizes import Size

WRITTEN = [
    s for s in SAMPLES if s.op in EXPORT or get_op(s.op).decomposition is not None or get_op(s.op).expansion is not None
]
# Sums of products of bytes, which ONNX has as floats: what follows them brings their scale.
PRODUCTS = (
    *("quantized_convolution", "quantized_fully_connected", "quantized_batch_dot"),
    *("mxnet_quantized_conv", "mxnet_quantized_fully_connected"),
)


# Of composed operators, parts that ONNX does not have.
WITHOUT_PARTS = (
    *("deformable_convolution", "modulated_deformable_convolution", "multibox_detection"),
    "round_float",
)
# Values of attributes that ONNX cannot say, and sizes that no input of the sample has.
REFUSED = {
    "attention": ("use_length",),
    "softmax": ("use_length",),
    "log_softmax": ("use_length",),
    "full": ("shape",),
    "arange": ("stop",),
}


def is_refused(sample: Sample) -> bool:
    said = any(sample.attrs.get(name) for name in REFUSED.get(sample.op, ()))
    return said or sample.attrs.get("ret_typ") == "mask" or sample.attrs.get("q", ()) is None


def with_batch(value: object, batch: Size) -> object:
    if isinstance(value, tuple):
        return tuple(with_batch(v, batch) for v in value)
    return batch if value == "batch" else value


def graph_of(sample: Sample, types: dict[str, TensorType], batch: Size) -> Graph:
    attrs = {name: with_batch(value, batch) for name, value in sample.attrs.items()}
    variables = [make_variable(name, shape=t.shape, dtype=t.dtype) for name, t in types.items()]
    node = make_node(sample.op, "layer", variables, attrs)
    return Graph([node[i] for i in range(node.num_outputs)])


@pytest.mark.parametrize("sample", WRITTEN, ids=[f"{s.op}-{i}" for i, s in enumerate(WRITTEN)])
def test_an_operator_is_what_its_reference_is(sample: Sample) -> None:
    if sample.op in PRODUCTS:
        pytest.skip("it is written with what follows it")
    if sample.op.endswith("_bfloat16_weight"):
        pytest.skip("its weights must be constants: see tests/amp")
    if sample.op == "truncate_divide":
        pytest.skip("the sample divides integers by zero, which ONNX does not define")
    if sample.op == "searchsorted":
        pytest.skip("the sample is in no order: isin has it search in what is sorted")
    batch = Size.symbol("batch", 3)
    arrays = sample.arrays(3)
    count = len(sample.data)
    types = {
        f"x{i}": TensorType((batch, *a.shape[1:]) if i < count else a.shape, a.dtype) for i, a in enumerate(arrays)
    }
    if is_refused(sample) or sample.op in WITHOUT_PARTS:
        with pytest.raises(ExportError, match=r"layer 'layer.*' \(operator .*\)"):
            make_model(graph_of(sample, types, batch), types, {}, "net")
        return
    model = make_model(graph_of(sample, types, batch), types, {}, "net")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    read = {port.name for port in session.get_inputs()}
    for size in (3, 5):
        arrays = sample.arrays(size)
        op = get_op(sample.op)
        wanted = op.compute(op.make_attrs(sample.attributes(size)), *arrays)
        made = session.run(None, {n: a for n, a in zip(types, arrays, strict=True) if n in read})
        for one, other in zip(made, wanted, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("mask", ["bool", "float32"])
@pytest.mark.parametrize("causal", [None, "first", "last"])
def test_attention_with_masks_and_a_past(mask: str, causal: str | None) -> None:
    batch, rng = Size.symbol("batch", 3), np.random.default_rng(0)
    shapes = [(4, 3, 6), (2, 5, 6), (2, 5, 7), (2, 2, 6), (2, 2, 7), (1, 3, 7)]
    names = ("query", "key", "value", "past_key", "past_value", "mask")
    attrs = {"causal": causal, "use_mask": True, "use_past": True, "softcap": 2.0, "scale": 0.7}
    types = {n: TensorType((batch, *s), np.dtype("float32")) for n, s in zip(names, shapes, strict=True)}
    types["mask"] = TensorType((batch, *shapes[-1]), np.dtype(mask))
    variables = [make_variable(name, shape=t.shape, dtype=t.dtype) for name, t in types.items()]
    model = make_model(Graph([make_node("attention", "layer", variables, attrs)[0]]), types, {}, "net")
    arrays = [rng.normal(size=(2, *s)).astype(np.float32) for s in shapes]
    seen = arrays[-1] > -0.5
    seen[0, 0, 1] = False  # a query that sees no key
    arrays[-1] = seen if mask == "bool" else np.where(seen, arrays[-1], -np.inf).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    op = get_op("attention")
    (wanted,) = op.compute(op.make_attrs(attrs), *arrays)
    (made,) = session.run(None, dict(zip(names, arrays, strict=True)))
    np.testing.assert_allclose(made, wanted, rtol=2e-5, atol=2e-6)


def test_numbers_that_depend_on_sizes() -> None:
    batch = Size.symbol("batch", 3)
    types = {"x": TensorType((batch, 2), np.dtype("float32"))}
    x = make_variable("x", shape=(batch, 2), dtype="float32")
    scaled = make_node("multiply_scalar", "scaled", [x], {"scalar": 1 / (batch + 1) ** 0.5})
    filled = make_node("full", "filled", [], {"shape": (2,), "value": batch * 1.5 - 2, "dtype": "float32"})
    model = make_model(Graph([scaled[0], filled[0]]), types, {}, "net")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for size in (3, 5):
        data = np.ones((size, 2), np.float32)
        one, other = session.run(None, {"x": data})
        np.testing.assert_allclose(one, data / np.sqrt(size + 1), rtol=1e-6)
        np.testing.assert_allclose(other, [size * 1.5 - 2] * 2, rtol=1e-6)


@pytest.mark.parametrize("op_name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
def test_bits_of_bools(op_name: str) -> None:
    types = {name: TensorType((2, 2), np.dtype("bool")) for name in ("a", "b")}
    variables = [make_variable(name, shape=t.shape, dtype=t.dtype) for name, t in types.items()]
    model = make_model(Graph([make_node(op_name, "layer", variables, {})[0]]), types, {}, "net")
    a, b = np.array([[True, True], [False, False]]), np.array([[True, False], [True, False]])
    (made,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"a": a, "b": b})
    np.testing.assert_array_equal(made, getattr(np, op_name)(a, b))


def test_what_onnx_cannot_say_is_refused_by_layer_and_operator() -> None:
    x = make_variable("x", shape=(3, 3), dtype="float32")
    graph = Graph([make_node("linalg_inv", "inverse_of_x", [x], {})[0]])
    with pytest.raises(ExportError, match=r"layer 'inverse_of_x' \(operator linalg_inv\)"):
        make_model(graph, {"x": TensorType((3, 3), np.dtype("float32"))}, {}, "net")
    assert issubclass(ExportError, GraphError)
    assert "linalg_inv" not in mx.onnx.get_operator_support()
