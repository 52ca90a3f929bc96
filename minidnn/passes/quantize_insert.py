"""Insert: products multiply int8, and quantize, dequantize and requantize stand wherever types differ.

A product becomes the fused node ``quantized_<name>``: integer product, dequantize, and its float32 epilogue, with
a batch normalization folded into its weights. It gives float32; a quantize node follows where int8 is wanted. A
product without an epilogue gives int32, and requantize or dequantize follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_like, make_node, make_variable
from minidnn.ir.infer import known_types
from minidnn.ops.recurrent import MATRICES
from minidnn.passes.fold_parameters import ProductParts, anchor_traits, folded_numbers, take_apart
from minidnn.passes.quantize_mark import Marks, product_operands, recurrent_data
from minidnn.passes.quantize_weights import fold_affine, quantize_rows, quantize_weight
from minidnn.passes.quantized_graph import SAMPLES, PlannedRange, ProductParameters, QuantizedGraph, layer_output
from minidnn.passes.regions import Region, data_inputs, fuse_region

__all__ = ["insert", "nonnegative_entries"]

Array = np.ndarray[Any, Any]


def insert(
    graph: Graph, parameters: Mapping[str, Array], marks: Marks, dtype: str = "auto", per_channel_dense: bool = True
) -> QuantizedGraph:
    """The graph with int8 products, not calibrated yet.

    Args:
        graph: a float32 graph, after the fusion passes.
        parameters: values of its parameters, by name.
        marks: what to quantize.
        dtype: ``int8``; ``auto``: uint8 for values that cannot be negative, and for inputs of the graph where
            calibration sees nothing negative; ``uint8``: for any value where calibration sees nothing negative.
        per_channel_dense: whether dense layers have a scale per output channel, as convolutions do in any case.

    Raises:
        OpError: weights with NaN or infinity; the message names the layer.
    """
    return _Inserter(graph, parameters, marks, dtype, per_channel_dense).run()


class _Inserter:
    def __init__(
        self, graph: Graph, parameters: Mapping[str, Array], marks: Marks, dtype: str, per_channel_dense: bool
    ) -> None:
        self._graph = graph
        self._given = parameters
        self._marks = marks
        self._dtype = dtype
        self._per_channel_dense = per_channel_dense
        self._types = known_types(graph)
        self._nonnegative = nonnegative_entries(graph)
        self._names = {node.name for node in graph.nodes()}
        self._floats: dict[Entry, Entry] = {}
        self._int8: dict[Entry, tuple[Entry, Entry]] = {}
        self._dequantized: dict[Entry, Entry] = {}
        self._quantized_rows: dict[Entry, tuple[Entry, Entry]] = {}
        self._made: dict[str, Array] = {}
        self._ranges: dict[str, PlannedRange] = {}
        self._products: dict[str, ProductParameters] = {}

    def run(self) -> QuantizedGraph:
        for node in self._graph.nodes():
            if node.is_variable:
                self._floats[node[0]] = node[0]
            elif node in self._marks.products:
                self._insert_product(node)
            elif node in self._marks.recurrent:
                self._insert_recurrent(node)
            elif node in self._marks.transparent:
                self._carry(node)
            elif node in self._marks.tables:
                self._insert_table(node)
            else:
                kept = make_like(node, tuple(self._float(e) for e in node.inputs))
                for i in range(node.num_outputs):
                    self._give_float(node[i], kept[i])
        graph = type(self._graph)(self._float(e) for e in self._graph.outputs)
        used = {v.name for v in graph.variables()}
        values = {name: a for name, a in {**self._given, **self._made}.items() if name in used}
        return QuantizedGraph(graph, values, self._ranges, self._products)

    # ---- values ------------------------------------------------------------------------------------

    def _give_float(self, entry: Entry, new: Entry) -> None:
        """`new` is the float32 value of `entry`; where there is to be an int8 one, everyone reads that.

        Where ranges are found at run time in spite of calibration the float32 value exists anyway: only products read
        int8.
        """
        if entry in self._marks.int8:
            self._int8[entry] = self._quantizing("quantize", entry, [new], {})
        if entry not in self._marks.int8 or self._is_by_rows(entry):
            self._floats[entry] = new

    def _float(self, entry: Entry) -> Entry:
        return self._floats[entry] if entry in self._floats else self._from_int8(entry)

    def _from_int8(self, entry: Entry) -> Entry:
        if entry not in self._dequantized:
            node = make_node("dequantize", self._name(f"{_stem(entry)}_dequantize"), self._pair(entry))
            self._dequantized[entry] = node[0]
        return self._dequantized[entry]

    def _pair(self, entry: Entry) -> tuple[Entry, Entry]:
        """The integers and their scale. An input of the graph is quantized when it is first asked for."""
        if entry not in self._int8:
            self._int8[entry] = self._quantizing("quantize", entry, [self._floats[entry]], {})
        return self._int8[entry]

    def _quantizing(
        self, op: str, entry: Entry, inputs: Sequence[Entry], attrs: Mapping[str, Any]
    ) -> tuple[Entry, Entry]:
        """A node that quantizes `entry`, its type chosen and its range planned."""
        group = self._marks.group[entry]
        free = self._dtype != "int8" and entry not in self._marks.signed
        is_uint8 = free and all(e in self._nonnegative for e in group)
        by_calibration = free and (self._dtype == "uint8" or all(e.node.is_variable for e in group))
        name = self._name(f"{_stem(entry)}_{op}")
        axes = self._marks.batch_axes.get(entry, 0 if self._marks.calibrated else SAMPLES)
        node = make_node(op, name, inputs, {**attrs, "out_type": "uint8" if is_uint8 else "int8", "batch_axes": axes})
        if not self._is_by_rows(entry):
            layers = tuple(layer_output(e) for e in group)
            self._ranges[name] = PlannedRange(layers, by_calibration and not is_uint8)
        return node[0], node[1]

    def _is_by_rows(self, entry: Entry) -> bool:
        """Whether the range is found at run time although calibration gives ranges."""
        return self._marks.calibrated and entry in self._marks.batch_axes

    def _name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _variable(self, name: str, value: Array) -> Entry:
        name = self._name(name)
        self._made[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    # ---- nodes -------------------------------------------------------------------------------------

    def _carry(self, node: Node) -> None:
        data = data_inputs(node)
        pairs = [self._pair(e) for e in data]
        integers = {e: q for e, (q, _) in zip(data, pairs, strict=True)}
        inputs = tuple(integers[e] if e in integers else self._float(e) for e in node.inputs)
        new = Node(node.op, self._name(f"quantized_{node.name}"), node.attrs, inputs, hints=node.hints)
        scale = pairs[0][1]
        assert node.op is not None
        if not self._marks.calibrated and not scale.node.is_variable and node.op.moves_axes:
            scale = Node(node.op, self._name(f"{node.name}_scale"), node.attrs, (scale,))[0]
        for i in range(node.num_outputs):
            self._int8[node[i]] = new[i], scale

    def _insert_table(self, node: Node) -> None:
        assert node.op is not None
        position = node.op.input_names(node.attrs).index(node.op.table)
        table = node.inputs[position].node.name
        weight, _ = fold_affine(node.name, self._given[table], None, None)
        q, scale = quantize_weight(weight, per_channel=False)
        made = self._variable(f"{table}_int8", q)
        inputs = tuple(made if i == position else self._float(e) for i, e in enumerate(node.inputs))
        new = Node(node.op, self._name(f"quantized_{node.name}"), node.attrs, inputs)
        self._int8[node[0]] = new[0], self._variable(f"{table}_scale", scale[:1])

    def _insert_product(self, node: Node) -> None:
        known = self._types.get(node[0])
        parts = take_apart(node, None if known is None else known.ndim)
        anchor, tail, outer = parts.anchor, parts.tail, parts.outer
        pairs = [self._pair(e) for e in product_operands(node)]
        inputs, scales = [q for q, _ in pairs], [scale for _, scale in pairs]
        bias, names = None, None
        traits = anchor_traits(anchor)
        if traits.factors == 1:
            weight, scale, bias = self._insert_weights(node, parts)
            inputs.append(weight)
            scales.append(scale)
            names = ProductParameters(weight.node.name, scale.node.name, bias.node.name if bias else None)
        attrs = {**anchor.attrs, "no_bias": True} if "no_bias" in anchor.attrs else anchor.attrs
        product = make_node(traits.integer, f"quantized_{anchor.name}", inputs, attrs)
        scaling: Mapping[str, Any] = {"axis": traits.channel_axis, "per_channel": True}
        if not self._marks.calibrated:
            scales, scaling = self._sample_scales(anchor, scales, scaling)
        by_rows = any(self._is_by_rows(e) for e in product_operands(node))
        if bias is None and not tail and self._marks.calibrated and not by_rows:
            name = self._insert_bare(node, product, scales, scaling)
        else:
            region = [product, make_node("dequantize", f"{anchor.name}_dequantize", [product[0], *scales], scaling)]
            if bias is not None:
                region.append(make_node("add", f"{anchor.name}_bias", [region[-1][0], bias]))
            value = {parts.sums: region[-1][0]}
            for inner in tail:
                operands = [value[e] if e in value else self._operand(outer[e]) for e in inner.inputs]
                region.append(make_like(inner, tuple(operands)))
                value[inner[0]] = region[-1][0]
            name = self._insert_fused(node, region)
        if names is not None:
            self._products[name] = names

    def _insert_recurrent(self, node: Node) -> None:
        """Int8 data and weights; states are quantized where they are made, each by its own range."""
        assert node.op is not None
        given = dict(zip(node.op.input_names(node.attrs), node.inputs, strict=True))
        new = {name: self._float(e) for name, e in given.items() if name not in ("data", *MATRICES)}
        new["data"], new["data_scale"] = self._pair(recurrent_data(node))
        for name in MATRICES:
            if name in given:
                new[name], new[name.replace("weight", "scale")] = self._rows(node, given[name])
        attrs = node.attrs.replace(int8_weight=True, has_data_scale=True, state_levels="rows")
        inputs = [new[name] for name in node.op.input_names(attrs)]
        made = make_node("recurrent", self._name(f"quantized_{node.name}"), inputs, attrs)
        for i in range(node.num_outputs):
            self._give_float(node[i], made[i])

    def _rows(self, node: Node, weight: Entry) -> tuple[Entry, Entry]:
        """Integers and scales of the rows of a weight, once for all layers that share it."""
        if weight not in self._quantized_rows:
            name = weight.node.name
            numbers, scale = quantize_rows(node.layer, self._given[name])
            self._quantized_rows[weight] = (
                self._variable(f"{name}_int8", numbers),
                self._variable(f"{name}_scale", scale),
            )
        return self._quantized_rows[weight]

    def _sample_scales(
        self, anchor: Node, scales: list[Entry], scaling: Mapping[str, Any]
    ) -> tuple[list[Entry], Mapping[str, Any]]:
        """Scales with an axis for each of the product's, one for all that both factors of a batch_dot bring."""
        if anchor.op_name == "batch_dot":
            name = self._name(f"{anchor.name}_scale")
            return [make_node("multiply", name, scales)[0]], {"per_channel": False}
        if anchor.op_name == "fully_connected" and anchor.attrs.flatten and not scales[0].node.is_variable:
            name = self._name(f"{anchor.name}_scale")
            return [make_node("flatten", name, scales[:1])[0], *scales[1:]], scaling
        return scales, scaling

    def _insert_fused(self, node: Node, region: Region) -> str:
        inside = set(region)
        outside = {e: e for n in region for e in n.inputs if e.node not in inside}
        fused = fuse_region(region, outside, self._name(f"quantized_{node.name}"), node.hints)
        self._give_float(node[0], fused[0])
        return fused.name

    def _operand(self, entry: Entry) -> Entry:
        """What the epilogue reads beside the product: int8 wherever that exists, to move fewer bytes."""
        has_int8 = entry in self._marks.int8 and not self._is_by_rows(entry)
        return self._from_int8(entry) if has_int8 else self._float(entry)

    def _insert_bare(self, node: Node, product: Node, scales: Sequence[Entry], scaling: Mapping[str, Any]) -> str:
        """A product without an epilogue: int32, made int8 or float32 by the node behind it."""
        bare = Node(product.op, self._name(f"quantized_{node.name}"), product.attrs, product.inputs)
        inputs = [bare[0], *scales]
        if node[0] in self._marks.int8:
            self._int8[node[0]] = self._quantizing("requantize", node[0], inputs, scaling)
        else:
            self._floats[node[0]] = make_node("dequantize", self._name(f"{node.name}_dequantize"), inputs, scaling)[0]
        return bare.name

    def _insert_weights(self, node: Node, parts: ProductParts) -> tuple[Entry, Entry, Entry | None]:
        """Variables for the integer weights, their scales, and the bias, which is float32 until calibration."""
        anchor, outer = parts.anchor, parts.outer
        weight, bias = folded_numbers(node, parts, self._given)
        traits = anchor_traits(anchor)
        q, scale = quantize_weight(weight, per_channel=traits.always_per_channel or self._per_channel_dense)
        stem = outer[anchor.inputs[1]].node.name
        stem = stem.removesuffix("weight") if stem.endswith("weight") else f"{stem}_"
        variables = self._variable(f"{stem}weight_int8", q), self._variable(f"{stem}weight_scale", scale)
        if bias is None:
            return *variables, None
        # Behind a convolution it is added along axis 1, in front of the spatial dimensions.
        trailing = traits.trailing_axes(anchor.attrs)
        value = bias.astype(np.float32).reshape(-1, *(1,) * trailing)
        return *variables, self._variable(f"{stem}bias_float32", value)


def _stem(entry: Entry) -> str:
    return entry.node.name if entry.node.num_outputs == 1 else f"{entry.node.name}{entry.index}"


def nonnegative_entries(graph: Graph, given: frozenset[Entry] = frozenset()) -> frozenset[Entry]:
    """The entries that are known not to be negative; `given` are variables of which that is known."""
    known = set(given)
    for node in graph.operations():
        if node.subgraph is not None:
            inside = frozenset(inner for inner, outer in node.bind_inside(node.inputs).items() if outer in known)
            found = nonnegative_entries(node.subgraph, inside)
            known.update(node[i] for i, e in enumerate(node.subgraph.outputs) if e in found)
        elif _is_nonnegative(node, [e in known for e in data_inputs(node)]):
            known.update(node[i] for i in range(node.num_outputs))
    return frozenset(known)


def _is_nonnegative(node: Node, inputs: Sequence[bool]) -> bool:
    assert node.op is not None
    return node.op.nonnegative is not None and bool(node.op.nonnegative(node.attrs, inputs))
