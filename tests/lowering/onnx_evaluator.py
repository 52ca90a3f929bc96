"""ONNX's reference evaluator; the test that imports it is skipped without ``onnx``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")

Array = np.ndarray[Any, Any]


def by_onnx(op: str, inputs: list[Array], **attrs: Any) -> Array:
    """The first output of one of ONNX's operators, by its reference evaluator."""
    names = [f"x{i}" for i in range(len(inputs))]
    typed = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs, strict=True)
    ]
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.UNDEFINED, None)
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, names, ["y"], **attrs)], "g", typed, [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    return np.asarray(onnx.reference.ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))[0])
