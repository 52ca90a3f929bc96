"""Fold: what stands around an operation only to change types becomes part of it.

An operation with a float32 epilogue takes in the dequantize nodes in front of it and the calibrated quantize or
requantize behind it: one kernel then reads int8 and stores int8, or float32 where nobody wants int8. A range that is
found at run time cannot be taken in, for it needs the whole tensor first. Where the scale of the data is known the
bias becomes int32, the value with which the accumulators begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_fused, make_like, make_node, make_variable
from minidnn.ops.quantization import calibrated_scale
from minidnn.passes.legality import can_be_epilogue, is_elementwise
from minidnn.passes.naming import find_anchor
from minidnn.passes.quantize_weights import fits_int32, quantize_bias
from minidnn.passes.quantized_graph import QUANTIZING, ProductParameters, QuantizedGraph
from minidnn.passes.regions import Region, fuse_region

__all__ = ["fold_bias", "fold_given_types", "fold_types"]

# Quantization as ONNX has it.
_LINEAR = frozenset({"quantize_linear", "dequantize_linear"})

Array = np.ndarray[Any, Any]


def fold_bias(quantized: QuantizedGraph) -> QuantizedGraph:
    """The bias of every product whose data has a known scale, as int32 inside the product."""
    parameters = dict(quantized.parameters)
    products = dict(quantized.products)
    renewed: dict[str, Entry] = {}

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        names = products.get(node.name)
        if names is None or names.bias is None or node.subgraph is None:
            return None
        scale = _data_scale(node, inputs, parameters)
        if scale is None:
            return None
        numbers = parameters[names.bias].reshape(-1).astype(np.float64)
        if not fits_int32(numbers, float(scale)):
            return None
        bias, weight, weight_scale = quantize_bias(
            numbers, parameters[names.weight], parameters[names.scale], float(scale)
        )
        del parameters[names.bias]
        parameters[names.weight], parameters[names.scale] = weight, weight_scale
        name = names.bias.replace("bias_float32", "bias_int32")
        parameters[name] = bias
        products[node.name] = ProductParameters(names.weight, names.scale, name)
        position = next(i for i, e in enumerate(inputs) if e.node.name == names.bias)
        renewed[name] = make_variable(name, shape=bias.shape, dtype=bias.dtype)
        changed = (*inputs[:position], renewed[name], *inputs[position + 1 :])
        inside = _with_bias_inside(node.subgraph, node.inner_inputs[position][0])
        made = make_fused(node.name, changed, inside, node.hints, node.inner_inputs)
        return [made[0]]

    graph = quantized.graph.rewrite(change)
    return replace(quantized, graph=graph, parameters=parameters, products=products)


def _data_scale(node: Node, inputs: Sequence[Entry], parameters: Mapping[str, Array]) -> np.float32 | None:
    """The scale of what a product multiplies, if calibration has fixed it, or it is that of a table."""
    assert node.subgraph is not None
    dequantize = next(n for n in node.subgraph.operations() if _is_integer_product(n.inputs[0].node))
    source = node.bind_inside(inputs)[dequantize.inputs[1]].node
    if source.is_variable:
        scale = parameters[source.name]
        return np.float32(scale.reshape(-1)[0]) if scale.size == 1 else None
    return calibrated_scale(source.attrs) if source.op_name in QUANTIZING else None


def _with_bias_inside(subgraph: Graph, variable: Entry) -> Graph:
    """The bias, which is that variable, moved from the addition behind the product to the product's own input."""

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if _is_integer_product(node):
            return [make_node(node.op_name, node.name, [*inputs, variable], {**node.attrs, "no_bias": False})[0]]
        return [inputs[0]] if variable in node.inputs else None

    return subgraph.rewrite(change)


def fold_types(quantized: QuantizedGraph) -> QuantizedGraph:
    """Take dequantize, requantize and quantize nodes into the operations before and behind them."""
    return replace(quantized, graph=_with_types_folded(quantized.graph))


def fold_given_types(graph: Graph) -> Graph:
    """The same for a graph whose integers have zero points: one that was quantized elsewhere."""
    linear = any(node.op_name in _LINEAR for node in graph.operations())
    return _with_types_folded(graph) if linear else graph


def _with_types_folded(graph: Graph) -> Graph:
    consumers = graph.consumers()
    outputs = set(graph.outputs)
    new: dict[Entry, Entry] = {}
    folded: dict[Node, Node] = {}
    for node in graph.operations():
        if not _folds(node):
            continue
        behind = _only_reader(node, consumers, outputs)
        if behind is not None and _can_be_stored(behind):
            folded[node] = behind
    storing = {behind: node for node, behind in folded.items()}
    for node in graph.nodes():
        if node in folded:
            continue
        core = storing.get(node, node)
        takes = _folds(core) or core.op_name == "quantize_linear"
        before = _plain_dequantizes([e.node for e in core.inputs]) if takes else []
        region: Region = list(dict.fromkeys([*before, core, node]))
        if len(region) == 1:
            made = node if node.is_variable else make_like(node, tuple(new[e] for e in node.inputs))
        else:
            made = _fuse(region, core, new)
        new.update({node[i]: made[i] for i in range(node.num_outputs)})
    return type(graph)(new[e] for e in graph.outputs)


def _is_integer_product(node: Node) -> bool:
    return node.op is not None and node.op.anchor is not None and node.op.anchor.is_integer


def _only_reader(node: Node, consumers: dict[Entry, list[Node]], outputs: set[Entry]) -> Node | None:
    readers = consumers.get(node[0], [])
    return readers[0] if len(readers) == 1 and node.num_outputs == 1 and node[0] not in outputs else None


def _folds(node: Node) -> bool:
    """Whether an operation computes in float32 what a kernel can do between reading and storing int8."""
    inner = node.subgraph.operations() if node.subgraph is not None else (node,)
    if any(map(_is_integer_product, inner)):
        return True
    if node.is_variable or find_anchor(node) is not None:
        return False
    if node.op_name == "pooling":
        return bool(node.attrs.pool_type != "max")
    return all(can_be_epilogue(n) and is_elementwise(n) for n in inner)


def _can_be_stored(behind: Node) -> bool:
    if behind.op_name in QUANTIZING:
        return calibrated_scale(behind.attrs) is not None
    if behind.op_name == "quantize_linear":
        return True
    # The dequantize behind a bare integer product; one with its scales alone undoes a quantize of its own.
    return behind.op_name == "dequantize" and behind.attrs.per_channel


def _plain_dequantizes(nodes: Sequence[Node]) -> list[Node]:
    return [
        n for n in nodes if n.op_name == "dequantize_linear" or (n.op_name == "dequantize" and not n.attrs.per_channel)
    ]


def _fuse(region: Region, core: Node, new: dict[Entry, Entry]) -> Node:
    """One node of the region, named for its core; a requantize inside it becomes the two steps that it is."""
    region = [step for node in region for step in _steps(node, region)]
    inside = set(region)
    renewed = {e: new[e] for node in region for e in node.inputs if e.node not in inside}
    hints: dict[str, Any] = dict(core.hints)
    last = region[-1]
    if last.op_name == "quantize":
        hints |= {key: last.attrs[key] for key in ("out_type", "min_calib_range", "max_calib_range")}
    name = core.name if core.name.startswith("quantized_") else f"quantized_{core.name}"
    return fuse_region(region, renewed, name, hints)


def _steps(node: Node, region: Region) -> list[Node]:
    if node.op_name != "requantize":
        return [node]
    a = node.attrs
    first = make_node(
        "dequantize", f"{node.name}_dequantize", node.inputs, {"axis": a.axis, "per_channel": a.per_channel}
    )
    keys = ("out_type", "min_calib_range", "max_calib_range")
    return [first, make_node("quantize", f"{node.name}_quantize", [first[0]], {key: a[key] for key in keys})]
