"""Walks a graph, inputs before users, and lowers each node by the rule for its operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minidnn.errors import GraphError
from minidnn.ir.graph import Entry, Graph, Node
from minidnn.lowering.anchor import Anchor
from minidnn.lowering.builder import Builder
from minidnn.lowering.deconvolution import lower_deconvolution
from minidnn.lowering.dynamic import lower_dynamic_quantize
from minidnn.lowering.elementwise import lower_elementwise
from minidnn.lowering.host import lower_host
from minidnn.lowering.matmul import lower_batch_dot, lower_convolution, lower_fully_connected, lower_matmul
from minidnn.lowering.pooling import lower_dequantized_pooling, lower_pooling, lower_reduction
from minidnn.lowering.quantized import (
    lower_quantized_batch_dot,
    lower_quantized_convolution,
    lower_quantized_fully_connected,
)
from minidnn.lowering.rows import lower_layer_norm, lower_softmax
from minidnn.lowering.tail import ELEMENTWISE
from minidnn.lowering.values import Array, Value
from minidnn.lowering.views import lower_concatenate, lower_pad, lower_stack, lower_view
from minidnn.ops.ranges import calibrated_scale
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Program
from minidnn_kernels.isa import Isa

__all__ = ["has_kernel", "lower"]

# Operators whose kernel can carry a tail.
_ANCHORS: dict[str, Callable[[Builder, Anchor], Value | None]] = {
    "convolution": lower_convolution,
    "deconvolution": lower_deconvolution,
    "fully_connected": lower_fully_connected,
    "batch_dot": lower_batch_dot,
    "matmul": lower_matmul,
    "dot": lower_matmul,
    "quantized_batch_dot": lower_quantized_batch_dot,
    "quantized_convolution": lower_quantized_convolution,
    "quantized_fully_connected": lower_quantized_fully_connected,
}

Rule = Callable[[Builder, Node, Sequence[Value], Sequence[TensorType]], list[Value] | None]

# The others; a rule gives None for what its kernel cannot do.
_RULES: dict[str, Rule] = {
    "pooling": lower_pooling,
    "softmax": lower_softmax,
    "log_softmax": lower_softmax,
    "layer_norm": lower_layer_norm,
    "concatenate": lower_concatenate,
    "stack": lower_stack,
    "pad": lower_pad,
    "quantize": lower_dynamic_quantize,
    **dict.fromkeys(("sum", "mean", "max"), lower_reduction),
    **dict.fromkeys(("reshape", "npx_reshape", "reshape_like", "flatten", "expand_dims", "squeeze"), lower_view),
    **dict.fromkeys(("transpose", "swapaxes", "moveaxis", "broadcast_to", "broadcast_like", "flip"), lower_view),
    **dict.fromkeys(("slice", "slice_axis", "slice_like", "split", "identity", "dropout"), lower_view),
}


def has_kernel(op_name: str, types: Sequence[TensorType]) -> bool:
    """Whether the operator may have a kernel for inputs of these types; if not, its reference is all there is."""
    if any(t.dtype != np.float32 or not t.size for t in types):
        return False
    return op_name in _ANCHORS or op_name in _RULES or op_name in ELEMENTWISE


def lower(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, tuple[TensorType, str]],
    output_layouts: Sequence[str] | None,
    isa: Isa,
) -> Program:
    """The program that computes `graph`.

    Args:
        graph: its variables are the keys of `parameters` and `inputs`.
        parameters: weights, constant from now on.
        inputs: types and layouts of what a run is given, in order.
        output_layouts: layout of each output; None leaves each in the layout its last step gives.
        isa: what kernels are chosen for.

    Raises:
        OpError: shapes or dtypes do not fit; the message names the node.
        GraphError: a variable is neither parameter nor input.
    """
    builder = Builder(isa)
    values: dict[Entry, Value] = {}
    given = {name: builder.input(type, layout) for name, (type, layout) in inputs.items()}
    for node in graph.nodes():
        if node.is_variable:
            if node.name not in given and node.name not in parameters:
                raise GraphError(f"variable {node.name!r} is neither an input nor a parameter")
            value = given[node.name] if node.name in given else builder.parameter(parameters[node.name])
            values[node[0]] = value
            continue
        for i, value in enumerate(_lower_node(builder, node, [values[e] for e in node.inputs])):
            values[node[i]] = value
    outputs = [values[e] for e in graph.outputs]
    layouts = [v.layout for v in outputs] if output_layouts is None else output_layouts
    return builder.finish(outputs, layouts)


def _lower_node(builder: Builder, node: Node, inputs: Sequence[Value]) -> list[Value]:
    types = node.infer_types([v.type for v in inputs])
    builder.results[node.name] = types[0]
    if not all(t.size for t in (*types, *(v.type for v in inputs))):
        # Kernels cut their work into parts, and nothing cannot be cut.
        return lower_host(builder, node, inputs, types)
    if node.subgraph is not None:
        return _lower_fused(builder, node, inputs, types)
    if node.op_name in _ANCHORS:
        value = _ANCHORS[node.op_name](builder, Anchor(node.name, node.attrs, inputs, types[0], types[0]))
        if value is not None:
            return [value]
    if node.op_name in _RULES:
        values = _RULES[node.op_name](builder, node, inputs, types)
        if values is not None:
            return values
    if node.op_name in ELEMENTWISE:
        outside = dict(zip(node.inputs, inputs, strict=True))
        value = lower_elementwise(builder, node.name, [node], outside, types[0])
        if value is not None:
            return [value, *_known_scales(builder, node, types)]
    return lower_host(builder, node, inputs, types)


def _lower_fused(builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]) -> list[Value]:
    """A fused node as one step; as a step for each of its nodes where no kernel can do all of it.

    A kernel makes one tensor. A node that ends in a quantization has its scale as a second output, which is
    known when it is calibrated.
    """
    assert node.subgraph is not None
    outside = node.bind_inside(inputs)
    inner = node.subgraph.operations()
    anchors = [n for n in inner if n.op_name in _ANCHORS]
    value: Value | None = None
    ends = node.subgraph.outputs
    if ends[0] != inner[-1][0] or any(e.node is not inner[-1] for e in ends):
        anchors = []
    elif len(anchors) == 1 and all(e in outside for e in anchors[0].inputs):
        anchor_node = anchors[0]
        rest = tuple(n for n in inner if n is not anchor_node)
        anchor_inputs = [outside[e] for e in anchor_node.inputs]
        anchor_type = anchor_node.infer_types([v.type for v in anchor_inputs])[0]
        anchor = Anchor(
            node.name, anchor_node.attrs, anchor_inputs, anchor_type, types[0], anchor_node[0], rest, outside
        )
        value = _ANCHORS[anchor_node.op_name](builder, anchor)
    else:
        value = lower_dequantized_pooling(builder, node.name, inner, outside)
        if value is None and not anchors:
            value = lower_elementwise(builder, node.name, inner, outside, types[0])
    if value is not None:
        return [value, *_known_scales(builder, inner[-1], types)]
    values: dict[Entry, Value] = dict(outside)
    # What follows an average need not keep it from reading integers.
    pooled = lower_dequantized_pooling(builder, node.name, inner[:2], outside)
    if pooled is not None:
        values[inner[1][0]], inner = pooled, inner[2:]
    for part in inner:
        for i, made in enumerate(_lower_node(builder, part, [values[e] for e in part.inputs])):
            values[part[i]] = made
    return [values[e] for e in node.subgraph.outputs]


def _known_scales(builder: Builder, node: Node, types: Sequence[TensorType]) -> list[Value]:
    """The second output of a calibrated quantization: its scale."""
    if len(types) == 1:
        return []
    scale = calibrated_scale(node.attrs)
    assert scale is not None
    return [builder.parameter(np.full(types[1].shape, scale, types[1].dtype))]
