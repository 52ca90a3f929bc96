"""Stacks of recurrent layers, ``rnn``, as a `recurrent` for each layer: what is quantized layer by layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable
from minidnn.ops.recurrent import Packing, inputs_of, packing_of
from minidnn.ops.registry import get_op

__all__ = ["split_stacks"]

Array = np.ndarray[Any, Any]

_PARTS = ("i2h_weight", "h2h_weight", "h2r_weight", "i2h_bias", "h2h_bias")


def split_stacks(
    graph: Graph, parameters: Mapping[str, Array], excluded: Collection[str]
) -> tuple[Graph, dict[str, Array]]:
    """The graph with the layers of every stack, whose weights are parameters of their own, and values.

    Those with a bounded cell state, which a `recurrent` lacks, stay.

    Args:
        graph: a float32 graph.
        parameters: values of its parameters, by name.
        excluded: names of operations that stay as they are.
    """
    splitter = _Splitter(graph, parameters)

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node.op_name != "rnn" or node.name in excluded or node.attrs.lstm_state_clip_min is not None:
            return None
        return splitter.split(node, inputs)

    result = graph.rewrite(change)
    used = {node.name for node in result.variables()}
    return result, {name: value for name, value in splitter.values.items() if name in used}


class _Splitter:
    def __init__(self, graph: Graph, parameters: Mapping[str, Array]) -> None:
        self.values = dict(parameters)
        self._names = {node.name for node in graph.nodes()}

    def split(self, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        assert node.op is not None
        given, attrs = dict(zip(node.op.input_names(node.attrs), inputs, strict=True)), node.attrs
        source = given["parameters"].node
        vector = self.values.get(source.name) if source.is_variable else None
        if vector is None or vector.dtype != np.float32:
            return None
        packing = packing_of(attrs, inputs_of(attrs, vector.size))
        x, states = given["data"], []
        for layer in range(packing.layers):
            made = self._layer(node, {**given, "data": x}, packing, vector, layer)
            x = made[0]
            states.append([made[i] for i in range(1, made.num_outputs)])
        if not attrs.state_outputs:
            return [x]
        names = ("state", "state_cell")
        return [x, *(_joined(node, name, of) for name, of in zip(names, zip(*states, strict=True), strict=False))]

    def _layer(self, node: Node, given: Mapping[str, Entry], packing: Packing, vector: Array, layer: int) -> Node:
        attrs, parts, sides = node.attrs, packing.unpack(vector), "lr"[: packing.directions]
        name = self._name(f"{node.name}_l{layer}")
        new = {"data": given["data"]}
        for part in _PARTS:
            if f"l{layer}_{part}" in parts:
                value = np.stack([parts[f"{side}{layer}_{part}"] for side in sides])
                new[part] = self._variable(f"{given['parameters'].node.name}_l{layer}_{part}", value)
        for part in ("state", "state_cell"):
            if part in given:
                begin = layer * packing.directions
                cut = {"axis": 0, "begin": begin, "end": begin + packing.directions}
                new[part] = make_node("slice_axis", self._name(f"{name}_{part}"), [given[part]], cut)[0]
        if "sequence_length" in given:
            new["sequence_length"] = given["sequence_length"]
        function = attrs.mode.removeprefix("rnn_") if packing.mode == "rnn" else None
        op = get_op("recurrent")
        made = op.make_attrs(
            {
                "mode": packing.mode,
                "state_size": packing.size,
                "direction": "bidirectional" if packing.directions == 2 else "forward",
                "activations": (function,) * packing.directions if function else None,
                "has_bias": True,
                "has_projection": packing.projection > 0,
                "has_length": "sequence_length" in given,
            }
        )
        return make_node(op, name, [new[part] for part in op.input_names(made)], made)

    def _variable(self, name: str, value: Array) -> Entry:
        name = self._name(name)
        self.values[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    def _name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def _joined(node: Node, name: str, parts: Sequence[Entry]) -> Entry:
    if len(parts) == 1:
        return parts[0]
    return make_node("concatenate", f"{node.name}_{name}", list(parts), {"num_args": len(parts), "axis": 0})[0]
