"""Operators that ONNX itself defines by others: their bodies, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from minidnn.interop.onnx.call import UnsupportedNodeError
from minidnn.interop.onnx.elements import BY_NUMBER, Element
from minidnn.interop.onnx.model import Attribute, Function, ModelNode, shown
from minidnn.interop.onnx.reader import import_onnx, read_function

__all__ = ["body_of", "has_body"]


def has_body(node: ModelNode, opsets: Mapping[str, int]) -> bool:
    """Whether ONNX defines an operator by others, perhaps for some attributes and types only."""
    schema = _schema(node.op, node.domain, opsets.get(node.domain, 1))
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def body_of(
    node: ModelNode,
    opsets: Mapping[str, int],
    inputs: Sequence[tuple[Element, Sequence[Any]] | None] = (),
    attributes: Mapping[str, Attribute] | None = None,
) -> Function | None:
    """What an operator is made of, by ONNX's definition; None if that does not say.

    Args:
        node: a node.
        opsets: the versions of sets of operators around it.
        inputs: the element types and shapes of its inputs; None for those that are left out.
        attributes: its attributes, where those of a function around it have been put in.
    """
    if not has_body(node, opsets):
        return None
    schema = _schema(node.op, node.domain, opsets.get(node.domain, 1))
    if schema.has_function:
        return _fixed_body(node.op, node.domain, opsets.get(node.domain, 1))
    given = node.attributes if attributes is None else attributes
    return _body_for(schema, node, inputs, given, opsets)


@lru_cache(maxsize=512)
def _schema(op: str, domain: str, version: int) -> Any:
    onnx = import_onnx()
    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None


@lru_cache(maxsize=128)
def _fixed_body(op: str, domain: str, version: int) -> Function:
    schema = _schema(op, domain, version)
    body = schema.function_body
    return _complete(body, schema)


def _complete(body: Any, schema: Any) -> Function:
    function = read_function(body)
    defaults = dict(function.defaults)
    for name, attribute in schema.attributes.items():
        default = attribute.default_value
        if default.name and name not in defaults:
            defaults[name] = _default(default)
    names = (*function.attributes, *schema.attributes)
    return Function(
        function.name,
        function.domain,
        function.inputs,
        function.outputs,
        names,
        defaults,
        function.nodes,
        function.opsets,
    )


def _default(proto: Any) -> Attribute:
    kinds = {1: "float", 2: "int", 3: "string", 6: "floats", 7: "ints", 8: "strings"}
    values = {1: proto.f, 2: proto.i, 3: proto.s.decode(), 6: tuple(proto.floats), 7: tuple(proto.ints)}
    values[8] = tuple(s.decode() for s in proto.strings)
    return Attribute(kinds.get(proto.type, ""), values.get(proto.type))


def _body_for(
    schema: Any,
    node: ModelNode,
    inputs: Sequence[tuple[Element, Sequence[Any]] | None],
    attributes: Mapping[str, Attribute],
    opsets: Mapping[str, int],
) -> Function | None:
    """The body of an operator that depends on attributes and types."""
    onnx = import_onnx()
    proto = onnx.NodeProto(op_type=node.op, domain=node.domain, input=node.inputs, output=node.outputs)
    for name, attribute in attributes.items():
        if attribute.kind not in ("float", "int", "string", "floats", "ints", "strings"):
            raise UnsupportedNodeError(f"{node}: attribute {shown(name)} is not supported")
        if attribute.value != ():
            proto.attribute.append(onnx.helper.make_attribute(name, attribute.value))
    numbers = {element: number for number, element in BY_NUMBER.items()}
    types = []
    for i in range(len(node.inputs)):
        known = inputs[i] if i < len(inputs) else None
        type_ = onnx.TypeProto()
        if known is not None:
            shape = [n if isinstance(n, int) else None for n in known[1]]
            type_ = onnx.helper.make_tensor_type_proto(numbers[known[0]], shape)
        types.append(type_.SerializeToString())
    version = opsets.get(node.domain, 1)
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    versions = versions or list(schema.context_dependent_function_opset_versions)
    data = schema.get_context_dependent_function_with_opset_version(max(versions), proto.SerializeToString(), types)
    if not data:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(data)
    return _complete(body, schema)
