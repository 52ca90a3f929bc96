"""Which tensors of a network can have their channels scaled: see `equalize`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node
from minidnn.ir.infer import known_types
from minidnn.ir.roles import input_roles
from minidnn.passes.fold_parameters import take_apart
from minidnn.passes.quantized_graph import layer_output
from minidnn.passes.regions import data_inputs

__all__ = ["Chain", "Reader", "find_chains"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reader:
    """A product that reads a tensor: how it multiplies its channels.

    Args:
        weight, bias: names of its parameters.
        shape: as which the weights are (outputs, channels, rest), for one group after the other.
        groups: of a convolution.
        by_rows: whether it is a dense layer that works on rows.
    """

    weight: str
    bias: str
    shape: tuple[int, int, int]
    groups: int
    by_rows: bool = False

    def columns(self, weight: Array) -> Array:
        """(G, P, C, rest): the weights by group, output, channel."""
        outputs, channels, rest = self.shape
        return weight.reshape(self.groups, outputs // self.groups, channels, rest)

    def per_group(self, values: Array) -> Array:
        """A number for each channel of the tensor, as (G, 1, C, 1)."""
        return values.reshape(self.groups, 1, self.shape[1], 1)


@dataclass(frozen=True)
class Chain:
    """A tensor whose channels can be scaled.

    Args:
        entry: the tensor.
        axis: of its channels.
        scaled: names of the parameters that scale it, each with a number or a row for each channel.
        readers: all that multiply it.
        adders: all others that read it: they compute element by element, and are given it as it was.
        by_rows: whether each row of it has a range of its own.
        layers: its name as collectors see it, and those of what carries its channels to the readers.
        bound: beyond which it is clipped; None if it is not.
        signed: whether it has negative numbers.
        added: which of `scaled` is added to the channels, where constants can be moved into all that reads them; None
            where they cannot.
    """

    entry: Entry
    axis: int
    scaled: tuple[str, ...]
    readers: tuple[Reader, ...]
    adders: tuple[Node, ...]
    by_rows: bool
    layers: tuple[str, ...]
    bound: float | None
    signed: bool
    added: str | None = None


def find_chains(graph: Graph, parameters: Mapping[str, Array], names: Mapping[str, tuple[str, str]]) -> Iterator[Chain]:
    """The tensors whose channels can be scaled.

    Args:
        graph: each of its products with a weight and a bias of its own.
        parameters: their values, by name.
        names: of weight and bias, by the product's name.
    """
    types, consumers = known_types(graph), graph.consumers()
    used: dict[str, int] = {}
    for node in graph.operations():
        for entry in node.inputs:
            if entry.node.is_variable:
                used[entry.node.name] = used.get(entry.node.name, 0) + 1
    for node in graph.operations():
        entry = node[0]
        if node.num_outputs != 1 or entry not in types:
            continue
        source = _source(node, types[entry].ndim, names)
        if source is None or any(used[name] != 1 for name in source[0]):
            continue
        scaled, axis, bound, signed = source
        channels = parameters[scaled[0]].shape[0]
        readers, layers = _readers(graph, entry, axis, channels, consumers, parameters, names, types)
        if readers:
            products = [r for r in readers if isinstance(r, Reader)]
            adders = [r for r in readers if isinstance(r, Node)]
            rows = types[entry].ndim > 2 and layers == [layer_output(entry)] and all(r.by_rows for r in products)
            added = scaled[-1] if rows and signed and len(scaled) == 2 else None
            yield Chain(entry, axis, scaled, tuple(products), tuple(adders), rows, tuple(layers), bound, signed, added)


def _source(
    node: Node, ndim: int, names: Mapping[str, tuple[str, str]]
) -> tuple[tuple[str, ...], int, float | None, bool] | None:
    """What scales the channels of a result, last what is added to them; their axis, where it is clipped, and whether it
    may be negative.
    """
    if node.op_name == "layer_norm":
        axis = node.attrs.axis % ndim
        own = [e.node for e, role in zip(node.inputs, input_roles(node), strict=True) if role.is_parameter]
        if axis != ndim - 1 or not own or not all(v.is_variable for v in own):
            return None
        return tuple(v.name for v in own), axis, None, True
    if node.name not in names:
        return None
    parts = take_apart(node, None)
    bound, signed = None, True
    for step in parts.tail:
        if len(step.inputs) != 1:
            return None
        if step.op_name == "clip" and step.attrs.a_min == 0 and step.attrs.a_max is not None:
            bound = float(step.attrs.a_max) if bound is None else min(bound, float(step.attrs.a_max))
        elif not (step.op_name == "relu" or (step.op_name == "activation" and step.attrs.act_type == "relu")):
            return None
        signed = False
    if "kernel" in parts.anchor.attrs:
        return names[node.name], 1, bound, signed
    return names[node.name], ndim - 1, bound, signed


def _readers(
    graph: Graph,
    entry: Entry,
    axis: int,
    channels: int,
    consumers: Mapping[Entry, Sequence[Node]],
    parameters: Mapping[str, Array],
    names: Mapping[str, tuple[str, str]],
    types: Mapping[Entry, Any],
) -> tuple[list[Reader | Node], list[str]]:
    """All products that read a tensor, directly or through what does the same to every channel, those that can be given
    it as it was, and all that is on the way; none where others read it.

    The last are those that add a layer normalization's result to something else: around layers of a transformer.
    """
    found: list[Reader | Node] = []
    layers: list[str] = []
    nothing: tuple[list[Reader | Node], list[str]] = [], []
    has_adders = entry.node.op_name == "layer_norm"
    pending = [entry]
    while pending:
        value = pending.pop()
        layers.append(layer_output(value))
        if value in graph.outputs or value not in types:
            return nothing
        for node in consumers.get(value, ()):
            if has_adders and value == entry and _reads_elements(node, value):
                found.append(node)
            elif node.name in names:
                reader = _reader(node, value, axis, channels, parameters, names, types[value].ndim)
                if reader is None:
                    return nothing
                found.append(reader)
            elif _keeps_channels(node, axis) and data_inputs(node) == [value]:
                pending.append(node[0])
            else:
                return nothing
    return (found, layers) if any(isinstance(reader, Reader) for reader in found) else nothing


def _reads_elements(node: Node, value: Entry) -> bool:
    """Whether an operation, fused or not, computes with a tensor element by element only."""
    if node.subgraph is None:
        return _is_elementwise(node)
    inner = {variable for variable, outer in node.bind_inside(node.inputs).items() if outer == value}
    return all(_is_elementwise(n) for n in node.subgraph.operations() if inner.intersection(n.inputs))


def _is_elementwise(node: Node) -> bool:
    return node.op is not None and node.op.epilogue_step(node.attrs) is not None and node.num_outputs == 1


def _keeps_channels(node: Node, axis: int) -> bool:
    """Whether an operation gives a multiple of a channel for a multiple of it."""
    attrs = node.attrs
    if node.op_name == "pooling":
        return bool(axis == 1 and attrs.pool_type in ("max", "avg") and not str(attrs.layout).endswith("C"))
    if node.op_name == "pad":
        assert node.op is not None
        width = attrs.pad_width
        return node.op.holds(node.op.scale_transparent, attrs) and tuple(width[axis if axis < len(width) else 0]) == (
            0,
            0,
        )
    return node.op_name == "relu" or (node.op_name == "flatten" and axis == 1)


def _reader(
    node: Node,
    value: Entry,
    axis: int,
    channels: int,
    parameters: Mapping[str, Array],
    names: Mapping[str, tuple[str, str]],
    ndim: int,
) -> Reader | None:
    parts = take_apart(node, None)
    if not parts.only_multiplies(value):
        return None
    weight, bias = names[node.name]
    shape, attrs = parameters[weight].shape, parts.anchor.attrs
    if "kernel" in attrs:
        size = int(np.prod(shape[2:]))
        fits = axis == 1 and shape[1] * attrs.num_group == channels
        return Reader(weight, bias, (shape[0], shape[1], size), int(attrs.num_group)) if fits else None
    if axis != (1 if attrs.flatten else ndim - 1) or shape[1] % channels:
        return None
    return Reader(weight, bias, (shape[0], channels, shape[1] // channels), 1, by_rows=not attrs.flatten)
