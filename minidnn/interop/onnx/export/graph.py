"""A graph of ours as a model of ONNX: the walk over its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import EXPORT, IR_VERSION, OPSET, ExportError, Product, Tensor, Writer
from minidnn.interop.onnx.reader import import_onnx
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ops.registry import Attrs, TensorType, get_op
from minidnn.ops.traits import Part
from minidnn.sizes import Size, by_example, has_sizes

__all__ = ["make_model"]

Array = np.ndarray[Any, Any]


def make_model(graph: Graph, inputs: Mapping[str, TensorType], arrays: Mapping[str, Array], name: str) -> Any:
    """A model.

    Args:
        graph: the graph.
        inputs: types of its inputs, in their order; sizes that are symbols become named dimensions.
        arrays: the values of its other variables.
        name: of the model's graph.

    Raises:
        ExportError: something of the graph cannot be written; the message names layer and operator.
        ImportError: the package onnx is not installed.
    """
    onnx = import_onnx()
    from onnx import helper, numpy_helper

    where: dict[str, tuple[str, int]] = {}
    for input_, type_ in inputs.items():
        for axis, n in enumerate(type_.shape):
            if isinstance(n, Size) and n.name is not None:
                where.setdefault(n.name, (input_, axis))
    writer = Writer(helper, where)
    for input_ in inputs:
        writer.reserve(input_)
    feed = {n: Tensor(n, t) for n, t in inputs.items()}
    results = _written(writer, graph, feed, arrays, {})
    outputs = []
    names: set[str] = set()
    for i, tensor in enumerate(results):
        writer.label, writer.op = f"output{i}", "Identity"
        made = writer.name_of(tensor)
        if made in names or made in inputs or made in writer.constants:
            made = writer.node("Identity", made)
        names.add(made)
        outputs.append(helper.make_tensor_value_info(made, writer.element(tensor.dtype), _dimensions(tensor.type)))
    made = helper.make_graph(
        writer.nodes,
        name,
        [helper.make_tensor_value_info(n, writer.element(t.dtype), _dimensions(t)) for n, t in inputs.items()],
        outputs,
        [numpy_helper.from_array(array, n) for n, array in _used(writer).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="minidnn")
    model.ir_version = IR_VERSION
    assert onnx is not None
    return model


def _used(writer: Writer) -> dict[str, Array]:
    """The constants that some node reads."""
    read = {name for node in writer.nodes for name in node.input}
    return {name: array for name, array in writer.constants.items() if name in read}


def _dimensions(type_: TensorType) -> list[Any]:
    """Numbers, and names for sizes that are not known."""
    return [str(n) if has_sizes(n) else int(n) for n in type_.shape]


def _written(
    w: Writer, graph: Graph, feed: Mapping[str, Tensor], arrays: Mapping[str, Array], inside: Mapping[Node, Tensor]
) -> list[Tensor]:
    values: dict[Entry, Tensor] = {}
    for node in graph.nodes():
        if node.op is None:
            values[node[0]] = inside.get(node) or feed.get(node.name) or _parameter(w, node.name, arrays)
            continue
        inputs = [values[entry] for entry in node.inputs]
        if node.subgraph is not None:
            bound = dict(zip(node.inner_inputs, inputs, strict=True))
            made = _written(w, node.subgraph, {}, {}, bound)
        else:
            made = _node(w, node.name, node.op_name, node.attrs, inputs)
        values.update({node[i]: tensor for i, tensor in enumerate(made)})
    return [values[entry] for entry in graph.outputs]


def _parameter(w: Writer, name: str, arrays: Mapping[str, Array]) -> Tensor:
    if name not in arrays:
        raise ExportError(f"variable {name!r} has no value and no type: it is no input and no parameter")
    array = np.asarray(arrays[name])
    return Tensor(w.constant(array, name=name), TensorType.of(array), array)


def _node(w: Writer, label: str, op_name: str, attrs: Attrs, inputs: Sequence[Tensor]) -> list[Tensor]:
    op = get_op(op_name)
    w.label, w.op = label, op_name
    types = by_example(op.infer_types, attrs, [x.type for x in inputs])
    rule = EXPORT.get(op_name)
    if rule is None:
        if op.decomposition is not None:
            return _parts(w, label, op.decomposition(attrs), inputs)[-1:]
        if op.expansion is not None:
            expanded = by_example(op.expansion, attrs, [x.type for x in inputs])
            if expanded is not None:
                values = [*inputs, *_parts(w, label, expanded[0], inputs)]
                return [values[i] for i in expanded[1]]
        w.fail("ONNX has no such operator, or it is not supported")
    assert rule is not None
    made = rule(w, attrs, inputs, types)
    listed = made if isinstance(made, list) else [made]
    return [_tensor(w, value, type_) for value, type_ in zip(listed, types, strict=True)]


def _tensor(w: Writer, value: Any, type_: TensorType) -> Tensor:
    if isinstance(value, Product):
        return Tensor("", type_, product=value)
    if isinstance(value, np.ndarray):
        return Tensor(w.constant(value), type_, value)
    return Tensor(value, type_)


def _parts(w: Writer, label: str, parts: Sequence[Part], inputs: Sequence[Tensor]) -> list[Tensor]:
    """What the operations make, one after the other, that stand for one that ONNX lacks."""
    values = list(inputs)
    for part in parts:
        attrs = part.attrs if isinstance(part.attrs, Attrs) else get_op(part.op).make_attrs(part.attrs)
        values += _node(w, f"{label}_{part.suffix}".rstrip("_"), part.op, attrs, [values[i] for i in part.inputs])
    return values[len(inputs) :]
