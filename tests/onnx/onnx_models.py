"""Models for tests, and what they give by ONNX's reference evaluator."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import minidnn as mx
from minidnn.ir.graph import evaluate
from minidnn.ir.symbolic import bind_graph, find_sizes
from minidnn.onnx import OnnxBlock

__all__ = ["assert_like_reference", "by_references", "make_model", "node", "run", "tensor"]

Array = np.ndarray[Any, Any]

node = helper.make_node


def tensor(name: str, shape: Sequence[Any] | None, dtype: str = "float32") -> onnx.ValueInfoProto:
    """An input or output; a size may be a number, a name or None."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None,
    opset: int = 21,
    functions: Sequence[onnx.FunctionProto] = (),
    **domains: int,
) -> onnx.ModelProto:
    """A model; its outputs have no types. Domains are versions of further sets of operators, dots as underscores."""
    found = [onnx.ValueInfoProto(name=name) for name in outputs]
    for port in found:
        port.type.tensor_type.elem_type = TensorProto.UNDEFINED
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), found, arrays)
    opsets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(d.replace("_", "."), v) for d, v in domains.items()),
    ]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions))


def as_inputs(net: OnnxBlock, arrays: Sequence[Any]) -> list[mx.np.ndarray]:
    """NumPy's arrays, those of dtypes that NumPy lacks too, as the network takes them."""
    taken = []
    for port, array in zip(net._model.inputs, arrays, strict=True):
        assert port.element is not None
        dtype = port.element.outside
        taken.append(mx.np.array(np.asarray(array).astype(dtype), dtype=dtype))
    return taken


def run(net: OnnxBlock, *arrays: Any) -> list[Array]:
    """What the compiled network gives."""
    outputs = net(*as_inputs(net, arrays))
    return [a.asnumpy() for a in (outputs if isinstance(outputs, list) else [outputs])]


def by_references(net: OnnxBlock, *arrays: Any) -> list[Array]:
    """What the references of the operators in the network's graph give: no kernel runs."""
    taken = as_inputs(net, arrays)
    graph = net._trace_graph(taken, None)  # type: ignore[arg-type] # it is not looked at
    given = dict(zip(graph.inputs, taken, strict=True))
    bound = bind_graph(graph.symbol, find_sizes(graph.symbol, {name: a.shape for name, a in given.items()}))
    feed = {name: a.asnumpy() for name, a in {**graph.arrays(), **given}.items()}
    with np.errstate(all="ignore"):
        return list(evaluate(bound, feed))


def assert_like_reference(
    model: onnx.ModelProto, *calls: Sequence[Array], rtol: float = 1e-5, atol: float = 1e-5
) -> OnnxBlock:
    """Compare the fused network with ONNX's reference evaluator, for inputs of one call after the other."""
    net = mx.onnx.import_model(model)
    reference = ReferenceEvaluator(model)
    for i, arrays in enumerate(calls):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            wanted = reference.run(None, {p.name: a for p, a in zip(net._model.inputs, arrays, strict=True)})
        if i == 0:
            net.optimize_for(*as_inputs(net, arrays))
        for got, want in zip(run(net, *arrays), wanted, strict=True):
            assert got.dtype == np.asarray(want).dtype
            np.testing.assert_allclose(got, want, rtol, atol)
    return net
