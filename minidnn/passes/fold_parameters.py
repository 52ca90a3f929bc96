"""What a product is made of, and the graph in which every product has a weight and a bias of its own.

Tuning moves numbers about in weights and biases. There it is one case only: anchor, weight, bias, epilogue; a batch
normalization behind the anchor is in the numbers already, and no two products share a variable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_like, make_node, make_variable
from minidnn.ir.infer import known_types
from minidnn.ops.traits import AnchorTraits
from minidnn.passes.fold_batch_norm import normalizes_channels
from minidnn.passes.naming import find_anchor
from minidnn.passes.quantize_weights import fold_affine
from minidnn.passes.regions import Region, fuse_region

__all__ = ["ProductParts", "anchor_traits", "average_by_pooling", "fold_parameters", "folded_numbers", "take_apart"]

Array = np.ndarray[Any, Any]
_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class ProductParts:
    """A product, fused or not.

    Args:
        anchor: the operation that multiplies.
        norm: the batch normalization that folds into its weights; None if there is none.
        tail: the rest of the epilogue, inputs before users.
        outer: what the entries inside a fused node are outside.
    """

    anchor: Node
    norm: Node | None
    tail: Sequence[Node]
    outer: Mapping[Entry, Entry]

    @property
    def sums(self) -> Entry:
        """What the rest of the epilogue works on."""
        return (self.norm or self.anchor)[0]

    def only_multiplies(self, value: Entry) -> bool:
        """Whether a tensor outside is what the anchor multiplies by its weights, and the epilogue does not read it."""
        data = self.anchor.inputs[0]
        others = [e for node in (self.anchor, self.norm, *self.tail) if node is not None for e in node.inputs]
        return self.outer[data] == value and [e for e in others if self.outer.get(e) == value] == [data]


def anchor_traits(anchor: Node) -> AnchorTraits:
    assert anchor.op is not None and anchor.op.anchor is not None
    return anchor.op.anchor


def take_apart(node: Node, ndim: int | None) -> ProductParts:
    """The parts of a product whose result has rank `ndim`, where that is known."""
    anchor = find_anchor(node)
    assert anchor is not None
    if node.subgraph is None:
        return ProductParts(anchor, None, [], {e: e for e in node.inputs})
    rest = [n for n in node.subgraph.operations() if n is not anchor]
    readers = [n for n in rest if anchor[0] in n.inputs]
    norm = readers[0] if len(readers) == 1 and _folds(readers[0], anchor, ndim) else None
    return ProductParts(anchor, norm, [n for n in rest if n is not norm], node.bind_inside(node.inputs))


def _folds(norm: Node, anchor: Node, ndim: int | None) -> bool:
    if norm.op is None or norm.op.affine is None or norm.inputs.count(anchor[0]) != 1:
        return False
    return anchor_traits(anchor).factors == 1 and normalizes_channels(norm, anchor, ndim)


def folded_numbers(node: Node, parts: ProductParts, given: Mapping[str, Array]) -> tuple[Array, Array | None]:
    """Weight and bias of a product, with its batch normalization in them: see `fold_affine`."""
    numbers = [given[parts.outer[e].node.name] for e in parts.anchor.inputs[1:]]
    affine = None
    if parts.norm is not None:
        assert parts.norm.op is not None and parts.norm.op.affine is not None
        values = [given[parts.outer[e].node.name] for e in parts.norm.inputs[1:]]
        affine = parts.norm.op.affine.numbers(parts.norm.attrs, values)
    return fold_affine(node.name, numbers[0], numbers[1] if len(numbers) > 1 else None, affine)


def fold_parameters(
    graph: Graph, parameters: Mapping[str, Array], products: Collection[Node]
) -> tuple[Graph, dict[str, Array], dict[str, tuple[str, str]]]:
    """The graph in which every product has a weight and a bias of its own, and no batch normalization.

    Args:
        graph: a float32 graph, after the fusion passes.
        parameters: values of its parameters, by name.
        products: operations of it that multiply int8; those without weights stay as they are.

    Returns:
        The graph, all its parameters, and the names of weight and bias by the product's name.

    Raises:
        OpError: weights with NaN or infinity; the message names the layer.
    """
    types = known_types(graph)
    weighted = {node for node in products if anchor_traits(_anchor(node)).factors == 1}
    taken = {node.name for node in graph.operations()}
    taken |= {e.node.name for node in graph.operations() if node not in weighted for e in node.inputs}
    values = dict(parameters)
    names: dict[str, tuple[str, str]] = {}

    def variable(name: str, value: Array) -> Entry:
        while name in taken:
            name += "_"
        taken.add(name)
        values[name] = np.ascontiguousarray(value, np.float32)
        return make_variable(name, shape=value.shape, dtype=np.dtype(np.float32))

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node not in weighted:
            return None
        known = types.get(node[0])
        parts = take_apart(node, None if known is None else known.ndim)
        weight, bias = folded_numbers(node, parts, parameters)
        own = [parts.outer[e].node.name for e in parts.anchor.inputs[1:]]
        stem = own[0].removesuffix("weight") if own[0].endswith("weight") else f"{own[0]}_"
        bias = np.zeros(len(weight)) if bias is None else bias
        new = variable(own[0], weight), variable(own[1] if len(own) > 1 else f"{stem}bias", bias)
        names[node.name] = new[0].node.name, new[1].node.name
        outer = dict(zip(node.inner_inputs, inputs, strict=True)) if node.subgraph is not None else {}
        data = parts.anchor.inputs[0]
        source = outer[data.node] if node.subgraph is not None else inputs[0]
        attrs = {**parts.anchor.attrs, "no_bias": False}
        anchor = make_node(parts.anchor.op or "", parts.anchor.name, [source, *new], attrs)
        if node.subgraph is None:
            return [make_like(anchor, anchor.inputs, name=node.name, hints=node.hints)[0]]
        region: Region = [anchor]
        value = {parts.sums: anchor[0]}
        for inner in parts.tail:
            operands = [value[e] if e in value else outer[e.node] for e in inner.inputs]
            region.append(make_like(inner, tuple(operands)))
            value[inner[0]] = region[-1][0]
        if len(region) == 1:
            return [make_like(anchor, anchor.inputs, name=node.name, hints=node.hints)[0]]
        inside = set(region)
        outside = {e: e for n in region for e in n.inputs if e.node not in inside}
        return [fuse_region(region, outside, node.name, node.hints)[0]]

    folded = graph.rewrite(change)
    used = {v.name for v in folded.variables()}
    return folded, {name: array for name, array in values.items() if name in used}, names


def average_by_pooling(graph: Graph) -> Graph:
    """The graph with means of all pixels as average pooling, which reads int8."""
    types = known_types(graph)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        known = types.get(node.inputs[0]) if node.op_name == "mean" else None
        if known is None or not 3 <= known.ndim <= 5 or {known.dtype, types[node[0]].dtype} != {_FLOAT32}:
            return None
        axes = {axis % known.ndim for axis in node.attrs.axis or ()}
        if axes != set(range(2, known.ndim)):
            return None
        attrs = {"kernel": (1,) * len(axes), "pool_type": "avg", "global_pool": True}
        pooled = make_node("pooling", node.name, inputs, attrs)
        if node.attrs.keepdims:
            return [pooled[0]]
        return [make_node("flatten", f"{node.name}_flatten", [pooled[0]])[0]]

    return graph.rewrite(change)


def _anchor(node: Node) -> Node:
    anchor = find_anchor(node)
    assert anchor is not None
    return anchor
