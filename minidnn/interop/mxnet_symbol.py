"""Writing MXNet 2's symbol JSON, with MXNet's names and attributes as `minidnn.interop.mxnet_operators` lists them.

The other direction needs no function of its own: `minidnn.symbol.load` reads both kinds of file by one path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.errors import GraphError
from minidnn.interop.mxnet_operators import rule_of_op
from minidnn.interop.mxnet_params import save_params
from minidnn.ir.graph import Entry, Graph, Node, make_node, unfused_outputs
from minidnn.ir.json_format import MAX_NESTING, VERSION, hints_to_strings, subgraphs_of
from minidnn.ir.symbolic import bind_examples
from minidnn.ops.registry import Body
from minidnn.replacing import replacing

__all__ = ["export_mxnet", "to_mxnet_json"]

# What MXNet's Gluon notes at every parameter.
_PARAMETER = {"__lr_mult__": "1.0", "__wd_mult__": "1.0", "__storage_type__": "0"}


def to_mxnet_json(graph: Graph, parameters: Collection[str]) -> str:
    """The graph as MXNet 2 writes it.

    Args:
        graph: without quantized nodes; of fused ones, what was fused is written.
        parameters: names of the variables that are no data; they are written with shape and dtype.

    Raises:
        GraphError: a node that MXNet has no operator for; the message names it.
    """
    fields = _write_graph(bind_examples(graph), parameters, 0)
    return json.dumps({**fields, "attrs": VERSION}, indent=2) + "\n"


def _write_graph(graph: Graph, parameters: Collection[str], depth: int) -> dict[str, Any]:
    if depth > MAX_NESTING:
        raise GraphError(f"subgraphs are nested more than {MAX_NESTING} deep")
    graph = Graph(graph.rewrite(unfused_outputs).rewrite(_take_apart).outputs, graph.declared)
    number: dict[Node, int] = {}
    nodes: list[dict[str, Any]] = []
    row_ptr = [0]
    for node in graph.listing():
        number[node] = len(nodes)
        inputs = [[number[e.node], e.index, 0] for e in node.inputs]
        inside = subgraphs_of(node)
        if node.op is None:
            name, attrs, outputs = "null", _variable_attrs(node) if node.name in parameters else {}, 1
        else:
            name, attrs, outputs = _operation(node)
            if inside:
                attrs["num_args"] = str(len(inputs))
        fields = {"op": name, "name": node.name, "attrs": dict(sorted(attrs.items())), "inputs": inputs}
        nodes.append({key: value for key, value in fields.items() if key != "attrs" or value})
        if inside:
            nodes[-1]["subgraphs"] = [_write_graph(inner, (), depth + 1) for inner in inside]
        row_ptr.append(row_ptr[-1] + outputs)
    return {
        "nodes": nodes,
        "arg_nodes": [i for node, i in number.items() if node.is_variable],
        "node_row_ptr": row_ptr,
        "heads": [[number[e.node], e.index, 0] for e in graph.outputs],
    }


def export_mxnet(
    symbol_file: str | os.PathLike[str], params_file: str | os.PathLike[str], graph: Graph, arrays: Mapping[str, Any]
) -> tuple[str, str]:
    """Write a graph and its parameters, with the prefixes ``arg:`` and ``aux:``, as MXNet 2's export does.

    Returns:
        The two file names.

    Raises:
        GraphError: a node that MXNet has no operator for; the message names it.
        DataError: an array that MXNet cannot hold.
        OSError: a file cannot be written.
    """
    text = to_mxnet_json(graph, {name[4:] for name in arrays})
    save_params(params_file, arrays)
    with replacing(Path(symbol_file)) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return os.fspath(symbol_file), os.fspath(params_file)


def _refused(node: Node) -> str | None:
    """Why MXNet's format cannot hold a node; None if it can."""
    assert node.op is not None
    if "quantize" in node.op.name:
        return f"MXNet has no operator like minidnn's {node.op.name}; export the network before quantization"
    if node.attrs.get("order", "C") != "C":
        return f"MXNet's reshape has no order {node.attrs.order!r}"
    if not node.op.mxnet and node.op.decomposition is None:
        return f"MXNet has no operator like minidnn's {node.op.name}"
    return None


# ---- operators of minidnn alone ---------------------------------------------------------------------


def _take_apart(node: Node, inputs: tuple[Entry, ...]) -> list[Entry] | None:
    if node.op is None:
        return None
    why = _refused(node)
    if why is not None:
        raise GraphError(f"node {node.name!r}: {why}")
    if node.op.mxnet or node.op.decomposition is None:
        return None
    values = list(inputs)
    for part in node.op.decomposition(node.attrs):
        name = f"{node.name}_{part.suffix}" if part.suffix else node.name
        values.append(make_node(part.op, name, [values[i] for i in part.inputs], part.attrs)[0])
    return [values[-1]]


# ---- one node ---------------------------------------------------------------------------------------


def _variable_attrs(node: Node) -> dict[str, str]:
    return {**_PARAMETER, **hints_to_strings(node)}


def _operation(node: Node) -> tuple[str, dict[str, str], int]:
    """Name, attributes, and how many outputs MXNet counts."""
    assert node.op is not None
    rule = rule_of_op(node.op.name)
    theirs = {our: their for their, our in rule.renamed.items()}
    values = {theirs.get(key, key): value for key, value in {**node.attrs, **_spelled(node)}.items()}
    attrs = {**rule.backend, **rule.absent, **rule.written}
    attrs |= {key: _text(value) for key, value in values.items() if value is not None and not isinstance(value, Body)}
    constant = _CONSTANTS.get(node.attrs.value) if node.op.name == "full" else None
    if constant is not None:
        return constant, {"ctx": "cpu", "dtype": attrs["dtype"], "shape": attrs["shape"]}, 1
    name = rule.name or node.op.mxnet[0]
    if attrs.get("in_state_index"):
        name = "_npx_foreach"
    extra = rule.extra_outputs
    if node.op.name == "pooling" and node.attrs.pool_type == "max":
        extra = 1  # oneDNN's workspace
    return name, attrs, node.num_outputs + extra


# What MXNet has operators of their own for: those that fill an array differ in its versions.
_CONSTANTS = {0.0: "_npi_zeros", 1.0: "_npi_ones"}


def _spelled(node: Node) -> dict[str, Any]:
    """Attributes that MXNet writes in another way."""
    assert node.op is not None
    if node.op.name == "pooling" and node.attrs.global_pool:
        # The geometry means nothing; MXNet reads the number of dimensions from it.
        rank = len(node.attrs.layout or "NCHW") - 2
        geometry = {"kernel": (1,) * rank, "stride": (1,) * rank, "pad": (0,) * rank}
        return {**geometry, "pooling_convention": "full"}
    if node.op.name == "leaky_relu" and node.attrs.act_type == "gelu_erf":
        return {"act_type": "gelu"}
    if node.op.name == "foreach" and node.attrs.in_state_index == tuple(
        range(node.attrs.num_outputs - node.attrs.num_out_data)
    ):
        return {"in_state_index": None}
    if node.op.name == "deconvolution" and not any(node.attrs.target_shape or ()):
        return {"target_shape": None}
    return {}


def _text(value: Any) -> str:
    """A value as MXNet's parameters read it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        separator = ", " if None in value else ","
        return f"[{separator.join('None' if v is None else _text(v) for v in value)}]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return str(value.name) if isinstance(value, np.dtype) else str(value)
