"""What MXNet's oneDNN backend fused and quantized, read as the operations that it is made of.

A fused node (``_sg_onednn_conv``, in older files ``_sg_mkldnn_conv``) has what was fused as its subgraph. A quantized
one reads integers, each tensor with its range behind the inputs of the subgraph, multiplies integers, and gives
integers with their range, or floats. Weights are int8 with a range, or float32; these are quantized for each output
channel, as MXNet does before its first run.

Levels, the real numbers that one step of integers stands for, are constants of the graph where the file says ranges:
then what follows fuses with the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import GraphError
from minidnn.interop.mxnet_node import MxnetNode, Upgrade
from minidnn.interop.mxnet_ranges import Integers, dtype_of
from minidnn.ir.graph import Entry, Graph, Node, make_like
from minidnn.ir.json_format import Call, Inlined

__all__ = ["FUSED"]

# They tell what the subgraph shows.
_TOLD = (
    *("with_bn", "with_act", "with_sum", "with_postsum_act", "with_relu", "with_postsum_relu", "with_eltwise"),
    *("dedup_sum", "num_args", "enable_fuse_add"),
)
_NONNEGATIVE = frozenset({"square", "sqrt", "exp", "abs"})


class _Output:
    """What a quantized node gives, by its attributes."""

    def __init__(self, node: MxnetNode) -> None:
        low, high = node.number("min_calib_range"), node.number("max_calib_range")
        self._range = None if low is None or high is None else (low, high)
        wanted = node.text("enabled_float_output", "None")
        if wanted not in ("None", "float32"):
            raise GraphError(f"{node.op}: attribute 'enabled_float_output' must be float32, got {wanted[:80]!a}")
        self.is_float = node.flag("enable_float_output") or wanted == "float32"

    def of(self, node: MxnetNode, real: Entry, level: Entry, unsigned: bool = False) -> Inlined:
        """The outputs.

        Args:
            node: the node.
            real: what it computes.
            level: of the sums, where they are what it gives.
            unsigned: whether calibrated integers are uint8.
        """
        if self.is_float:
            return Inlined([node.named("identity", {}, real)])
        if self._range is None:
            return Inlined(node.named_all("mxnet_as_sums", {}, real, level))
        low, high = self._range
        dtype = "uint8" if unsigned else "int8"
        level = node.constant("output_level", max(abs(low), abs(high)) / (255 if unsigned else 127) or 1.0)
        zero = node.constant("output_zero", 0.0)
        q = node.named("quantize_linear", {"out_type": dtype}, real, level, zero)
        return Inlined([q, node.constant("output_min", low), node.constant("output_max", high)])


# ---- nodes with subgraphs -----------------------------------------------------------------------------


def _subgraph(node: MxnetNode) -> Graph:
    if len(node.subgraphs) != 1:
        raise GraphError(f"{node.op}: it must have one subgraph, got {len(node.subgraphs)}")
    (graph,) = node.subgraphs
    if len(graph.outputs) != 1 or graph.outputs[0].node.is_variable:
        raise GraphError(f"{node.op}: its subgraph must have one output, which operations compute")
    return graph


def _inline(node: MxnetNode, graph: Graph, given: dict[Entry, Entry], last: str) -> Entry:
    """The output of a subgraph, for what its variables are and results that are known; by nodes of the names' own."""
    values = dict(given)
    for inner in graph.operations():
        if inner[0] in values:
            continue
        name = last if inner is graph.outputs[0].node else f"{node.name}_{inner.name}"
        made = make_like(inner, tuple(values[e] for e in inner.inputs), name=name)
        values.update({inner[i]: made[i] for i in range(made.num_outputs)})
    return values[graph.outputs[0]]


def _given(node: MxnetNode, graph: Graph) -> dict[Entry, Entry]:
    """The inputs of the node that the variables of its subgraph stand for, in their order."""
    variables = graph.variables()
    if len(node.inputs) < len(variables):
        raise GraphError(f"{node.op}: its subgraph has {len(variables)} inputs, the node has {len(node.inputs)}")
    return {variable[0]: entry for variable, entry in zip(variables, node.inputs, strict=False)}


def _want_inputs(node: MxnetNode, count: int) -> None:
    if len(node.inputs) != count:
        raise GraphError(
            f"{node.op}: {count} inputs are wanted, those of its subgraph and ranges; got {len(node.inputs)}"
        )


def _float_subgraph(node: MxnetNode) -> Inlined:
    graph = _subgraph(node)
    given = _given(node, graph)
    _want_inputs(node, len(given))
    node.check_attrs()
    return Inlined([_inline(node, graph, given, node.name)])


def _anchor(node: MxnetNode, graph: Graph, op: str) -> Node:
    found = [inner for inner in graph.operations() if inner.op_name == op]
    if len(found) != 1 or not all(e.node.is_variable for e in found[0].inputs):
        raise GraphError(f"{node.op}: its subgraph must have one {op}, of variables alone")
    return found[0]


def _sum_operand(node: MxnetNode, graph: Graph, anchor: Node) -> Entry | None:
    """The variable that is added to what the product has become; None if there is none."""
    found = [
        entry
        for inner in graph.operations()
        if inner.op_name == "add"
        for entry in inner.inputs
        if entry.node.is_variable
    ]
    if len(found) > 1:
        raise GraphError(f"{node.op}: its subgraph adds {len(found)} variables, at most one is supported")
    return found[0] if found else None


def _is_unsigned(graph: Graph) -> bool:
    """Whether MXNet stores a calibrated result as uint8."""
    last = graph.outputs[0].node
    if last.op_name == "activation":
        return last.attrs.act_type in ("relu", "sigmoid", "softrelu")
    if last.op_name == "clip":
        return bool(last.attrs.a_min is not None and last.attrs.a_min >= 0)
    return last.op_name in _NONNEGATIVE


def _ranges(node: MxnetNode, first: int, integers: Sequence[Entry], given: dict[Entry, Entry]) -> dict[Entry, Integers]:
    """Those inputs of the subgraph that are integers, with their ranges, which begin at input `first`."""
    _want_inputs(node, first + 2 * len(integers))
    return {
        entry: Integers(node, given[entry], node.input(first + 2 * i), node.input(first + 2 * i + 1))
        for i, entry in enumerate(integers)
    }


def _conv(node: MxnetNode) -> Inlined:
    node.drop(*_TOLD)
    quantized, output = node.flag("quantized"), _Output(node)
    if not quantized:
        return _float_subgraph(node)
    node.check_attrs()
    graph = _subgraph(node)
    given, anchor = _given(node, graph), _anchor(node, graph, "convolution")
    if (anchor.attrs.layout or "NC")[1] != "C":
        raise GraphError(f"{node.op}: layout {anchor.attrs.layout} of integers is not supported")
    added = _sum_operand(node, graph, anchor)
    integers = list(dict.fromkeys([anchor.inputs[0], *([] if added is None else [added])]))
    found = _ranges(node, len(given), integers, given)
    data, (weight, *bias) = found[anchor.inputs[0]], [given[e] for e in anchor.inputs[1:]]
    weight, scale = _by_channel(node, weight, len(anchor.attrs.kernel) + 2)
    product, level = _product(node, anchor, data, weight, scale, 1)
    if bias:
        shape = (-1, *(1,) * len(anchor.attrs.kernel))
        product = node.before("biased", "add", {}, product, node.before("bias", "reshape", {"newshape": shape}, *bias))
    return _rest(node, graph, anchor, product, level, given, found, output)


def _fully_connected(node: MxnetNode) -> Inlined:
    node.drop(*_TOLD)
    quantized, output = node.flag("quantized"), _Output(node)
    by_channel = node.flag("channel_wise_quantize")
    if node.flag("shifted_output") or node.flag("shifted"):
        raise GraphError(f"{node.op}: shifted integers are not supported")
    if not quantized:
        return _float_subgraph(node)
    node.check_attrs()
    graph = _subgraph(node)
    given, anchor = _given(node, graph), _anchor(node, graph, "fully_connected")
    added = _sum_operand(node, graph, anchor)
    integers = [anchor.inputs[0]] if by_channel else list(anchor.inputs)
    if added is not None and not output.is_float:
        integers.append(added)
    found = _ranges(node, len(given), list(dict.fromkeys(integers)), given)
    data, weight = found[anchor.inputs[0]], given[anchor.inputs[1]]
    if by_channel:
        weight, scale = _by_channel(node, weight, 2)
    else:
        scale = found[anchor.inputs[1]].level
    product, level = _product(node, anchor, data, weight, scale, -1)
    if len(anchor.inputs) > 2:
        bias = given[anchor.inputs[2]]
        if not by_channel:
            whole = found[anchor.inputs[2]]
            bias = node.before("bias", "mxnet_real_bias", {}, bias, whole.low, whole.high, level)
        product = node.before("biased", "add", {}, product, bias)
    return _rest(node, graph, anchor, product, level, given, found, output)


def _by_channel(node: MxnetNode, weight: Entry, rank: int) -> tuple[Entry, Entry]:
    """int8 weights and their scales, one for each output channel."""
    largest = node.before("largest", "max", {"axis": tuple(range(1, rank))}, node.before("size", "abs", {}, weight))
    scale = node.before("steps", "multiply_scalar", {"scalar": 1 / 127}, largest)
    scale = node.before("weight_scale", "maximum_scalar", {"scalar": 1e-30}, scale)
    zero = node.constant("weight_zero", 0.0)
    return node.before("weight", "quantize_linear", {"out_type": "int8", "axis": 0}, weight, scale, zero), scale


def _product(
    node: MxnetNode, anchor: Node, data: Integers, weight: Entry, scale: Entry, axis: int
) -> tuple[Entry, Entry]:
    """The product of integers as real numbers without bias, and the level of its sums: the largest of any channel."""
    assert anchor.op is not None and anchor.op.anchor is not None
    attrs = {**anchor.attrs, "no_bias": True}
    sums = node.before("sums", anchor.op.anchor.integer, attrs, data.q, weight)
    real = node.before("product", "dequantize", {"axis": axis, "per_channel": True}, sums, data.level, scale)
    levels = node.before("levels", "multiply", {}, scale, data.level)
    whole = node.before("level", "reshape", {"newshape": (1,)}, node.before("largest_level", "max", {}, levels))
    return real, whole


def _rest(
    node: MxnetNode,
    graph: Graph,
    anchor: Node,
    product: Entry,
    level: Entry,
    given: dict[Entry, Entry],
    integers: dict[Entry, Integers],
    output: _Output,
) -> Inlined:
    """What the subgraph does behind its product, on real numbers."""
    read = {e for inner in graph.operations() if inner is not anchor for e in inner.inputs}
    known = {**given, **{entry: whole.real for entry, whole in integers.items() if entry in read}, anchor[0]: product}
    real = _inline(node, graph, known, f"{node.name}_result")
    return output.of(node, real, level, _is_unsigned(graph))


# ---- attention ----------------------------------------------------------------------------------------


def _factors(node: MxnetNode, count: int) -> tuple[list[Entry], Entry | None]:
    """Inputs as real numbers, and the level of their products if they were integers."""
    if not node.flag("quantized"):
        _want_inputs(node, count)
        return list(node.inputs), None
    _want_inputs(node, 3 * count)
    found = [
        Integers(node, node.input(i), node.input(count + 2 * i), node.input(count + 2 * i + 1)) for i in range(count)
    ]
    level = found[0].level
    for other in found[1:] or found:
        level = node.before("level", "multiply", {}, level, other.level)
    return [x.real for x in found], level


def _finished(node: MxnetNode, output: _Output, real: Entry, level: Entry | None) -> Inlined:
    node.check_attrs()
    return Inlined([node.named("identity", {}, real)]) if level is None else output.of(node, real, level)


def _interleaved(node: MxnetNode) -> Inlined:
    """MXNet 1's, which has what it is made of inside."""
    node.drop("heads")
    output, graph = _Output(node), _subgraph(node)
    values, level = _factors(node, len(graph.variables()))
    given = {variable[0]: value for variable, value in zip(graph.variables(), values, strict=True)}
    return _finished(node, output, _inline(node, graph, given, f"{node.name}_result"), level)


def _heads(node: MxnetNode, suffix: str, x: Entry, heads: int) -> Entry:
    """(batch, heads, time, size) of (batch, time, heads * size)."""
    apart = node.before(f"{suffix}_apart", "npx_reshape", {"newshape": (-2, -2, heads, -1)}, x)
    return node.before(f"{suffix}_heads", "transpose", {"axes": (0, 2, 1, 3)}, apart)


def _number_of_heads(node: MxnetNode) -> int:
    heads = node.ints("heads")
    if len(heads) != 1 or heads[0] < 1:
        raise GraphError(f"{node.op}: attribute 'heads' must be a positive number, got {heads}")
    return heads[0]


def _split(node: MxnetNode, x: Entry) -> list[Entry]:
    parts = node.before("split", "split", {"sections": 3, "axis": -1}, x).node
    return [parts[i] for i in range(3)]


def _query_key(split: bool) -> Any:
    def read(node: MxnetNode) -> Inlined:
        if node.subgraphs:
            return _interleaved(node)
        heads, output = _number_of_heads(node), _Output(node)
        values, level = _factors(node, 1 if split else 2)
        query, key = _split(node, values[0])[:2] if split else values
        attrs = {"transpose_b": True}
        query, key = _heads(node, "query", query, heads), _heads(node, "key", key, heads)
        return _finished(node, output, node.before("product", "batch_dot", attrs, query, key), level)

    return read


def _value_attention(node: MxnetNode) -> Inlined:
    if node.subgraphs:
        return _interleaved(node)
    heads, output = _number_of_heads(node), _Output(node)
    (attention, packed), level = _factors(node, 2)
    value = _heads(node, "value", _split(node, packed)[2], heads)
    product = node.before("product", "batch_dot", {}, attention, value)
    rows = node.before("rows", "transpose", {"axes": (0, 2, 1, 3)}, product)
    return _finished(node, output, node.before("joined", "npx_reshape", {"newshape": (-2, -2, -1)}, rows), level)


# ---- nodes without subgraphs --------------------------------------------------------------------------


def _batch_dot(node: MxnetNode) -> Inlined:
    node.drop("forward_stype")
    attrs = {key: node.flag(key) for key in ("transpose_a", "transpose_b")}
    output = _Output(node)
    if not node.flag("quantized"):
        _want_inputs(node, 2)
        node.check_attrs()
        return Inlined([node.named("batch_dot", attrs, *node.inputs)])
    node.check_attrs()
    _want_inputs(node, 6)
    lhs, rhs = (Integers(node, node.input(i), node.input(2 + 2 * i), node.input(3 + 2 * i)) for i in range(2))
    level = node.before("level", "multiply", {}, lhs.level, rhs.level)
    if rhs.dtype == "int8":
        sums = node.before("sums", "quantized_batch_dot", attrs, lhs.q, rhs.q)
        real = node.before("product", "dequantize", {}, sums, level)
    else:
        real = node.before("product", "batch_dot", attrs, lhs.real, rhs.real)
    return output.of(node, real, level)


def _quantize(node: MxnetNode) -> Call | Inlined:
    """Calibrated numbers by a kernel; what may be integers already, or has a range that is found, by its record."""
    attrs = dict(node.attrs)
    low, high = node.number("min_calib_range"), node.number("max_calib_range")
    kind = node.text("out_type", "int8")
    source = node.input().node
    is_float = source.hints.get("dtype", np.dtype(np.float32)) == np.float32 and dtype_of(node.input()) is None
    if low is None or high is None or not is_float or kind not in ("int8", "uint8", "auto"):
        node.attrs.clear()
        return node.finish("mxnet_quantize_v2", attrs, *node.inputs)
    _want_inputs(node, 1)
    node.check_attrs()
    largest = max(abs(low), abs(high))
    kind = ("uint8" if low >= 0 else "int8") if kind == "auto" else kind
    first = 0.0 if kind == "uint8" else -largest
    calibrated = {"out_type": kind, "min_calib_range": first, "max_calib_range": largest}
    q = node.named("quantize", calibrated, node.input())
    return Inlined([q, node.constant("min", first), node.constant("max", largest)])


def _dequantize(node: MxnetNode) -> Inlined:
    _want_inputs(node, 3)
    if node.text("out_type", "float32") != "float32":
        raise GraphError(f"{node.op}: attribute 'out_type' must be float32")
    node.check_attrs()
    data = Integers(node, *node.inputs)
    return Inlined([node.named("dequantize_linear", {}, data.q, data.level, node.constant("zero", 0.0))])


def _batch_norm_relu(node: MxnetNode) -> Inlined:
    node.drop("min_calib_range", "max_calib_range", "cudnn_off")
    attrs = dict(node.attrs)
    node.drop(*attrs)
    _want_inputs(node, 5)
    normed = node.before("norm", "batch_norm", attrs, *node.inputs)
    return Inlined([node.named("activation", {"act_type": "relu"}, normed)])


def _pow_mul_scalar(node: MxnetNode) -> Inlined:
    _want_inputs(node, 1)
    power = {"scalar": node.text("exponent", "1"), "is_int": node.flag("exp_is_int", True)}
    factor = {"scalar": node.text("multiplier", "1"), "is_int": node.flag("mul_is_int", True)}
    node.check_attrs()
    raised = node.before("power", "power_scalar", power, node.input())
    return Inlined([node.named("multiply_scalar", factor, raised)])


def _quantized_batch_norm(relu: bool) -> Any:
    def read(node: MxnetNode) -> Inlined:
        output = _Output(node)
        node.drop("cudnn_off")
        attrs = dict(node.attrs)
        node.drop(*attrs)
        _want_inputs(node, 7)
        data = Integers(node, node.input(), node.input(5), node.input(6))
        real = node.before("norm", "batch_norm", attrs, data.real, *node.inputs[1:5])
        if relu:
            real = node.before("relu", "activation", {"act_type": "relu"}, real)
        return output.of(node, real, data.level)

    return read


def _quantized_binary(op: str) -> Any:
    def read(node: MxnetNode) -> Inlined:
        output = _Output(node)
        node.check_attrs()
        _want_inputs(node, 6)
        lhs, rhs = (Integers(node, node.input(i), node.input(2 + 2 * i), node.input(3 + 2 * i)) for i in range(2))
        level = node.before("level", op, {}, lhs.level, rhs.level)
        return output.of(node, node.before("real", op, {}, lhs.real, rhs.real), level)

    return read


def _quantized_embedding(node: MxnetNode) -> Inlined:
    attrs = dict(node.attrs)
    node.drop(*attrs)
    _want_inputs(node, 4)
    attrs.pop("sparse_grad", None)
    attrs["dtype"] = "int8"
    return Inlined([node.named("embedding", attrs, *node.inputs[:2]), *node.inputs[2:]])


def _both(name: str, read: Any, meaning: str) -> dict[str, Upgrade]:
    return dict.fromkeys((f"_sg_onednn_{name}", f"_sg_mkldnn_{name}"), Upgrade(read, meaning))


_INSIDE = "what it has inside; quantized with a product of integers"
FUSED: dict[str, Upgrade] = {
    **_both("conv", _conv, _INSIDE),
    **_both("fully_connected", _fully_connected, _INSIDE),
    **_both("batch_dot", _batch_dot, "batch_dot; quantized of integers"),
    **_both("batch_norm", _batch_norm_relu, "batch_norm and a relu"),
    **_both("selfatt_qk", _query_key(False), "batch_dot of heads"),
    **_both("selfatt_qk_split", _query_key(True), "batch_dot of heads"),
    **_both("selfatt_valatt", _value_attention, "batch_dot of heads"),
    "_contrib_quantize_v2": Upgrade(_quantize, "integers and their range"),
    "_contrib_dequantize": Upgrade(_dequantize, "real numbers of integers and their range"),
    "_sg_pow_mul_scalar": Upgrade(_pow_mul_scalar, "a power and a factor"),
    "_contrib_quantized_batch_norm": Upgrade(_quantized_batch_norm(False), "integers and their range"),
    "_contrib_quantized_batch_norm_relu": Upgrade(_quantized_batch_norm(True), "integers and their range"),
    "_contrib_quantized_elemwise_mul": Upgrade(_quantized_binary("multiply"), "integers and their range"),
    "_npx_quantized_elemwise_mul": Upgrade(_quantized_binary("multiply"), "integers and their range"),
    "_contrib_quantized_embedding": Upgrade(_quantized_embedding, "integers and their range"),
    "_npx_quantized_embedding": Upgrade(_quantized_embedding, "integers and their range"),
}
