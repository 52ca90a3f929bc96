"""Walks a graph, inputs before users, and lowers each node by the rule for its operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidnn.errors import GraphError
from minidnn.ir.control_flow import is_control_flow, written_out
from minidnn.ir.graph import Entry, Graph, Node, make_like, make_node, make_variable
from minidnn.lowering.anchor import Anchor
from minidnn.lowering.builder import Builder
from minidnn.lowering.elementwise import lower_elementwise
from minidnn.lowering.epilogue import is_float_instruction
from minidnn.lowering.host import lower_host
from minidnn.lowering.pooling import lower_dequantized_pooling
from minidnn.lowering.rules import ANCHORS, NETWORK_RULES, RULES, anchor_rule, rules_for
from minidnn.lowering.steps import Measure
from minidnn.lowering.values import Array, Value
from minidnn.lowering.weight_store import WeightStore
from minidnn.ops.quantization import calibrated_scale
from minidnn.ops.registry import Attrs, TensorType, get_op
from minidnn.ops.traits import Part
from minidnn.passes import run_passes
from minidnn.passes.legality import can_be_epilogue, is_epilogue_group
from minidnn.plan.program import Program
from minidnn_kernels.isa import Isa

__all__ = ["has_kernel", "lower", "why_on_host"]

# Those whose kernels take lengths or weights that are integers, or masks, which are bools: kinds of such dtypes.
_OTHER_KINDS = {
    "attention": "iub",
    **dict.fromkeys((name for name in ANCHORS if name.endswith("_bfloat16_weight")), "u"),
    "fully_connected_int8_weight": "i",
    "recurrent": "iu",
    "rnn": "iu",
}

_NONE = Attrs({})
_NO_ELEMENTS = "there are no elements to compute"

# Those whose references compute float16 in float32: their kernels do the same.
_HALF_IN_FLOAT32 = frozenset(
    {
        *("grid_sample", "roi_align", "max_roi_pool", "deformable_sampling"),
        *("max_pool_indices", "columns_to_image", "bipartite_matching"),
        *("softmax", "log_softmax", "masked_softmax", "masked_log_softmax"),
    }
)
_HALF, _FLOAT = np.dtype(np.float16), np.dtype(np.float32)


def has_kernel(op_name: str, types: Sequence[TensorType], attrs: Attrs = _NONE) -> bool:
    """Whether an operator by itself is worth a kernel for inputs of these types; if not, its reference computes it.

    In a network it may have one all the same: comparisons, casts and arithmetic on integers are fused, but alone no
    faster than NumPy.

    Args:
        op_name: the operator.
        types: of its inputs.
        attrs: its attributes.
    """
    data = [t for t in types if t.dtype.kind not in _OTHER_KINDS.get(op_name, "")]
    if any(t.dtype != np.float32 for t in data) or not all(t.size for t in types):
        return False
    return op_name in ANCHORS or op_name in RULES or is_float_instruction(get_op(op_name), attrs)


def why_on_host(op_name: str, types: Sequence[TensorType], is_alone: bool = False) -> str:
    """Why an operator runs as its reference with inputs of these types, for people to read.

    Args:
        op_name: the operator.
        types: of its inputs.
        is_alone: whether it is called by itself, and not in a network.
    """
    op = get_op(op_name)
    if op.is_dynamic:
        return "the size of its result depends on values"
    if not all(t.size for t in types):
        return _NO_ELEMENTS
    if is_alone and op.expansion is not None:
        return "it has kernels in networks alone"
    if op_name not in {**ANCHORS, **RULES, **NETWORK_RULES} and op.epilogue is None and op.expansion is None:
        return "no kernel computes this operator"
    others = sorted({str(t.dtype) for t in types} - {"float32"})
    if others and "quantize" not in op_name:
        return f"its kernel computes float32, got {', '.join(others)}"
    if is_alone and op.epilogue is not None:
        return "it has a kernel in networks alone, where it is fused"
    return "no kernel computes it with these shapes and attributes"


def lower(
    graph: Graph,
    parameters: Mapping[str, Array],
    inputs: Mapping[str, tuple[TensorType, str]],
    output_layouts: Sequence[str] | None,
    isa: Isa,
    versions: Mapping[str, int] | None = None,
    usual: Mapping[str, tuple[TensorType, ...]] | None = None,
    store: WeightStore | None = None,
    types: Mapping[str, tuple[TensorType, ...]] | None = None,
    measure: Measure | None = None,
) -> Program:
    """The program that computes `graph`.

    Args:
        graph: its variables are the keys of `parameters` and `inputs`.
        parameters: weights, constant from now on.
        inputs: types and layouts of what a run is given, in order.
        output_layouts: layout of each output; None leaves each in the layout its last step gives.
        isa: what kernels are chosen for.
        versions: numbers that change when a parameter is written to; packed weights are shared by programs that have
            the same parameters, those with a version.
        usual: what nodes make, also those inside of fused ones, by name, in the call that the network was traced with,
            as far as it has other shapes; what they decide is the same for all sizes of the inputs. None: there are no
            other sizes.
        store: what has been made of these parameters for other sizes.
        types: what nodes make here, by name, where that is known; the rest is inferred.
        measure: says which of some programs is the fastest; None: algorithms are chosen by estimates alone.

    Raises:
        OpError: shapes or dtypes do not fit; the message names the node.
        GraphError: a variable is neither parameter nor input.
    """
    builder = Builder(isa, usual, store, types, measure)
    values: dict[Entry, Value] = {}
    given = {name: builder.input(type, layout) for name, (type, layout) in inputs.items()}
    for node in graph.nodes():
        if node.is_variable:
            if node.name not in given and node.name not in parameters:
                raise GraphError(f"variable {node.name!r} is neither an input nor a parameter")
            value = (
                given[node.name]
                if node.name in given
                else builder.given(parameters[node.name], (versions or {}).get(node.name))
            )
            values[node[0]] = value
            continue
        needed = [values[e] for e in node.inputs]
        made = builder.repetitions.lower(node, needed, partial(_lower_node, builder, node, needed))
        for i, value in enumerate(made):
            values[node[i]] = value
    outputs = [values[e] for e in graph.outputs]
    layouts = [v.layout for v in outputs] if output_layouts is None else output_layouts
    return builder.finish(outputs, layouts)


def _lower_node(builder: Builder, node: Node, inputs: Sequence[Value]) -> list[Value]:
    inside, types = None, builder.types.get(node.name)
    if node.subgraph is not None:
        inside = _types_inside(builder, node, inputs)
        types = tuple([inside[e] for e in node.subgraph.outputs])
    elif types is None:
        types = node.infer_types([v.type for v in inputs])
    builder.results[node.name] = types[0]
    if not all(t.size for t in (*types, *(v.type for v in inputs))):
        # Kernels cut their work into parts, and nothing cannot be cut.
        return lower_host(builder, node, inputs, types, _NO_ELEMENTS)
    if inside is not None:
        return _lower_fused(builder, node, inputs, inside)
    values = _lower_by_rules(builder, node, inputs, types)
    if values is not None:
        return values
    if node.op_name in _HALF_IN_FLOAT32 and any(v.type.dtype == _HALF for v in inputs):
        values = builder.attempt(partial(_lower_in_float32, builder, node, inputs, types))
        if values is not None:
            return values
    if can_be_epilogue(node):
        outside = dict(zip(node.inputs, inputs, strict=True))
        value = builder.attempt(lambda: lower_elementwise(builder, node.name, [node], outside, types[0]))
        if value is not None:
            return [value, *_known_scales(builder, node, types)]
    if is_control_flow(node):
        return _lower_control_flow(builder, node, inputs)
    if node.op is not None and node.op.expansion is not None:
        expanded = node.op.expansion(node.attrs, [v.type for v in inputs])
        if expanded is not None:
            return _lower_expanded(builder, node, inputs, *expanded)
    return lower_host(builder, node, inputs, types, why_on_host(node.op_name, [v.type for v in inputs]))


def _lower_by_rules(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """An operation by a rule for its operator; None where no rule can do it."""
    lower_anchor = anchor_rule(node.op_name)
    if lower_anchor is not None:
        anchor = Anchor(node.name, node.attrs, inputs, types[0], types[0], usual=builder.usual_shape(node.name))
        value = builder.attempt(lambda: lower_anchor(builder, anchor))
        if value is not None:
            return [value]
    for rule in rules_for(node.op_name):
        values = builder.attempt(partial(rule, builder, node, inputs, types))
        if values is not None:
            return values
    return None


def _lower_in_float32(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Sequence[TensorType]
) -> list[Value] | None:
    """An operation on float16 by its kernel for float32."""
    if any(v.type.dtype == _HALF and v.array is not None for v in inputs[:1]):
        return None
    wide = [
        _cast(builder, f"{node.name}_float32_{i}", v, _FLOAT) if v.type.dtype == _HALF else v
        for i, v in enumerate(inputs)
    ]
    results = [TensorType(t.shape, _FLOAT) if t.dtype == _HALF else t for t in types]
    made = _lower_by_rules(builder, node, wide, results)
    if made is None:
        return None
    return [
        _cast(builder, f"{node.name}_float16_{i}", v, t.dtype) if v.type.dtype != t.dtype else v
        for i, (v, t) in enumerate(zip(made, types, strict=True))
    ]


def _cast(builder: Builder, name: str, value: Value, dtype: np.dtype[Any]) -> Value:
    if value.array is not None:
        return builder.parameter(value.array.astype(dtype))
    (made,) = _lower_node(builder, make_node("cast", name, [make_variable("input")], {"dtype": dtype}), [value])
    return made


def _lower_expanded(
    builder: Builder, node: Node, inputs: Sequence[Value], parts: Sequence[Part], outputs: Sequence[int]
) -> list[Value]:
    """An operation by those that it is made of for inputs of these types; what constants make is computed here."""
    values = list(inputs)
    for part in parts:
        variables = [make_variable(f"input{i}") for i in part.inputs]
        made = make_node(part.op, f"{node.name}/{part.suffix}", variables, part.attrs)
        given = [values[i] for i in part.inputs]
        arrays = [v.array for v in given if v.array is not None]
        if given and len(arrays) == len(given):
            values += [builder.parameter(a) for a in made.compute(arrays)]
        else:
            values += _lower_node(builder, made, given)
    return [values[i] for i in outputs]


def _lower_control_flow(builder: Builder, node: Node, inputs: Sequence[Value]) -> list[Value]:
    """A loop or a branch written out, with what can be fused in it fused."""
    types = [v.type for v in inputs]
    outside = [make_variable(f"{node.name}/in{i}", shape=t.shape, dtype=t.dtype) for i, t in enumerate(types)]
    graph = run_passes(written_out(node, types, outside))
    values = dict(zip(outside, inputs, strict=True))
    for inner in graph.operations():
        named = make_like(inner, inner.inputs, name=f"{node.name}/{inner.name}")
        made = _lower_node(builder, named, [values[e] for e in inner.inputs])
        values.update({inner[i]: value for i, value in enumerate(made)})
    return [values[e] for e in graph.outputs]


def _types_inside(builder: Builder, node: Node, inputs: Sequence[Value]) -> dict[Entry, TensorType]:
    """The types of everything inside a fused node."""
    assert node.subgraph is not None
    inside = {variable[0]: value.type for variable, value in zip(node.inner_inputs, inputs, strict=True)}
    for inner in node.subgraph.operations():
        made = builder.types.get(inner.name)
        if made is None:
            return node.infer_inside([v.type for v in inputs])
        for i, type in enumerate(made):
            inside[inner[i]] = type
    return inside


def _lower_fused(
    builder: Builder, node: Node, inputs: Sequence[Value], types: Mapping[Entry, TensorType]
) -> list[Value]:
    """A fused node as one step; where no kernel can do all of it, as the longest parts that one can do each.

    `types` are those of the entries inside.
    """
    assert node.subgraph is not None
    rest = _Rest(node.subgraph, types, node.bind_inside(inputs))
    while rest.nodes:
        count, made = _lower_longest(builder, node.name, rest)
        rest.take(count, made)
    return [rest.values[e] for e in node.subgraph.outputs]


class _Rest:
    """What is still to be lowered of a fused node.

    Args:
        subgraph: of the node.
        types: of its entries.
        values: of the entries that exist.
    """

    def __init__(self, subgraph: Graph, types: Mapping[Entry, TensorType], values: dict[Entry, Value]) -> None:
        self.nodes = subgraph.operations()
        self.types = types
        self.values = values
        self.is_whole = True
        self._outputs = frozenset(subgraph.outputs)

    def take(self, count: int, made: Sequence[Value]) -> None:
        """The first `count` operations have been lowered; `made` are the outputs of the last one of them."""
        last = self.nodes[count - 1]
        self.values.update({last[i]: value for i, value in enumerate(made)})
        self.nodes = self.nodes[count:]
        self.is_whole = False

    def has_one_exit(self, count: int) -> bool:
        """Whether of what the first `count` operations make, only the results of the last are wanted by others."""
        inside = {node[i] for node in self.nodes[: count - 1] for i in range(node.num_outputs)}
        wanted = self._outputs.union(*(node.inputs for node in self.nodes[count:]))
        return inside.isdisjoint(wanted)


def _lower_longest(builder: Builder, name: str, rest: _Rest) -> tuple[int, list[Value]]:
    """As many of the first operations as one step can compute: their number, and the outputs of the last one.

    Several have the name of the whole, a single one has its own.
    """
    for count in range(len(rest.nodes), 0 if rest.is_whole and len(rest.nodes) == 1 else 1, -1):
        if not rest.has_one_exit(count):
            continue
        last = rest.nodes[count - 1]
        builder.results[name] = rest.types[last[0]]
        value = builder.attempt(lambda count=count: _lower_group(builder, name, rest.nodes[:count], rest))  # type: ignore[misc]
        if value is not None:
            types = [rest.types[last[i]] for i in range(last.num_outputs)]
            return count, [value, *_known_scales(builder, last, types)]
    node = rest.nodes[0]
    return 1, _lower_node(builder, node, [rest.values[e] for e in node.inputs])


def _lower_group(builder: Builder, name: str, nodes: Sequence[Node], rest: _Rest) -> Value | None:
    """One step for operations whose last one gives the result; None if no kernel can do them."""
    result, outside = rest.types[nodes[-1][0]], rest.values
    anchors = [n for n in nodes if n.op_name in ANCHORS]
    others = tuple(n for n in nodes if n not in anchors)
    if not anchors:
        value = lower_dequantized_pooling(builder, name, nodes, outside)
        if value is None and is_epilogue_group(nodes, rest.types, result.shape):
            value = lower_elementwise(builder, name, nodes, outside, result)
        return value
    node, type = anchors[0], rest.types[anchors[0][0]]
    if len(anchors) > 1 or not all(e in outside for e in node.inputs):
        return None
    if result.shape != type.shape or not is_epilogue_group(others, rest.types, type.shape):
        return None
    inputs, usual = [outside[e] for e in node.inputs], builder.usual_shape(node.name)
    anchor = Anchor(name, node.attrs, inputs, type, result, node[0], others, outside, usual)
    lower_anchor = anchor_rule(node.op_name)
    assert lower_anchor is not None
    return lower_anchor(builder, anchor)


def _known_scales(builder: Builder, node: Node, types: Sequence[TensorType]) -> list[Value]:
    """The second output of a calibrated quantization: its scale."""
    if len(types) == 1:
        return []
    scale = calibrated_scale(node.attrs)
    assert scale is not None
    return [builder.parameter(np.full(types[1].shape, scale, types[1].dtype))]
