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


def test_what_onnx_cannot_say_is_refused_by_layer_and_operator() -> None:
    x = make_variable("x", shape=(3, 3), dtype="float32")
    graph = Graph([make_node("linalg_inv", "inverse_of_x", [x], {})[0]])
    with pytest.raises(ExportError, match=r"layer 'inverse_of_x' \(operator linalg_inv\)"):
        make_model(graph, {"x": TensorType((3, 3), np.dtype("float32"))}, {}, "net")
    assert issubclass(ExportError, GraphError)
    assert "linalg_inv" not in mx.onnx.get_operator_support()
