"""Dense and recurrent layers whose weights alone are int8: data and sums stay float32."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable, unfused_outputs
from minidnn.ops.recurrent import inputs_of, packing_of
from minidnn.ops.registry import get_op
from minidnn.passes.quantize_weights import fold_affine, quantize_weight

__all__ = ["quantize_weights_only"]

Array = np.ndarray[Any, Any]

# Layers with fewer weights stay as they are: a cache holds them.
_LEAST_WEIGHTS = 4096


def quantize_weights_only(
    graph: Graph, parameters: Mapping[str, Array], excluded: Collection[str]
) -> tuple[Graph, dict[str, Array]]:
    """The graph, not fused, with int8 weights of large dense and recurrent layers and a scale for each row, and values.

    Args:
        graph: a float32 graph, fused or not.
        parameters: values of its parameters, by name.
        excluded: names of operations that stay as they are.

    Raises:
        OpError: weights with NaN or infinity; the message names the layer.
    """
    made = _Weights(graph.rewrite(unfused_outputs), parameters)
    rules = {"fully_connected": _dense, "recurrent": _recurrent, "rnn": _stack}

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        rule = rules.get(node.op_name)
        return None if rule is None or node.name in excluded else rule(made, node, inputs)

    result = made.graph.rewrite(change)
    if not made.quantized:
        raise OpError(f"no dense or recurrent layer has {_LEAST_WEIGHTS} weights or more that could become int8")
    used = {node.name for node in result.variables()}
    return result, {name: value for name, value in made.values.items() if name in used}


class _Weights:
    """What parameters of a graph become.

    Args:
        graph: it.
        parameters: their values, by name.
    """

    def __init__(self, graph: Graph, parameters: Mapping[str, Array]) -> None:
        self.graph, self.values = graph, dict(parameters)
        self._names = {node.name for node in graph.nodes()}
        self.quantized: dict[str, tuple[Entry, Entry]] = {}

    def variable(self, name: str, value: Array) -> Entry:
        while name in self._names:
            name += "_"
        self._names.add(name)
        self.values[name] = value
        return make_variable(name, shape=value.shape, dtype=value.dtype)

    def known(self, entry: Entry) -> Array | None:
        """The value of a parameter of float32."""
        value = self.values.get(entry.node.name) if entry.node.is_variable else None
        return None if value is None or value.dtype != np.float32 else value

    def quantize(self, layer: str, name: str, weight: Array) -> tuple[Entry, Entry]:
        """int8 numbers and scales of all but the last axis, once for all layers that share them.

        Raises:
            OpError: weights with NaN or infinity.
        """
        if name not in self.quantized:
            rows = weight.reshape(-1, weight.shape[-1])
            fold_affine(layer, rows, None, None)
            numbers, scale = quantize_weight(rows)
            self.quantized[name] = (
                self.variable(f"{name}_int8", numbers.reshape(weight.shape)),
                self.variable(f"{name}_scale", scale.reshape(weight.shape[:-1])),
            )
        return self.quantized[name]


def _dense(made: _Weights, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    weight = made.known(inputs[1])
    if weight is None or weight.size < _LEAST_WEIGHTS:
        return None
    new = [inputs[0], *made.quantize(node.layer, inputs[1].node.name, weight), *inputs[2:]]
    return [make_node("fully_connected_int8_weight", node.name, new, node.attrs)[0]]


_MATRICES = ("i2h_weight", "h2h_weight", "h2r_weight")


def _recurrent(made: _Weights, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    assert node.op is not None
    given = dict(zip(node.op.input_names(node.attrs), inputs, strict=True))
    matrices = {name: made.known(given[name]) for name in _MATRICES if name in given}
    known = {name: weight for name, weight in matrices.items() if weight is not None}
    is_quantized = node.attrs.int8_weight or node.attrs.round_state
    if is_quantized or len(known) < len(matrices) or sum(w.size for w in known.values()) < _LEAST_WEIGHTS:
        return None
    for name, weight in known.items():
        numbers, scale = made.quantize(node.layer, given[name].node.name, weight)
        given |= {name: numbers, name.replace("weight", "scale"): scale}
    attrs = node.attrs.replace(int8_weight=True)
    new = [given[name] for name in node.op.input_names(attrs)]
    return _outputs(make_node("recurrent", node.name, new, attrs))


def _stack(made: _Weights, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
    """MXNet's layers as a `recurrent` each; those with a bounded cell state, which that lacks, stay."""
    assert node.op is not None
    given, attrs = dict(zip(node.op.input_names(node.attrs), inputs, strict=True)), node.attrs
    parameters = made.known(given["parameters"])
    if parameters is None or parameters.size < _LEAST_WEIGHTS or attrs.lstm_state_clip_min is not None:
        return None
    packing = packing_of(attrs, inputs_of(attrs, parameters.size))
    parts, x, states = packing.unpack(parameters), given["data"], []
    for layer in range(packing.layers):
        outputs = _layer(made, node, given, x, parts, layer)
        x = outputs[0]
        states.append(outputs[1:])
    if not attrs.state_outputs:
        return [x]
    names = ("state", "state_cell")
    return [x, *(_joined(node, name, of) for name, of in zip(names, zip(*states, strict=True), strict=False))]


def _layer(
    made: _Weights, node: Node, given: Mapping[str, Entry], x: Entry, parts: Mapping[str, Array], layer: int
) -> Sequence[Entry]:
    """One of the layers, for the output `x` of the one before."""
    attrs, source = node.attrs, given["parameters"].node.name
    packing = packing_of(attrs, inputs_of(attrs, made.values[source].size))
    sides, name = "lr"[: packing.directions], f"{node.name}_l{layer}"
    new: dict[str, Entry] = {"data": x}
    for part in ("i2h_weight", "h2h_weight", "h2r_weight", "i2h_bias", "h2h_bias"):
        if f"l{layer}_{part}" not in parts:
            continue
        value = np.stack([parts[f"{side}{layer}_{part}"] for side in sides])
        called = f"{source}_l{layer}_{part}"
        if part in _MATRICES:
            new[part], new[part.replace("weight", "scale")] = made.quantize(node.layer, called, value)
        else:
            new[part] = made.variable(called, value)
    for part in ("state", "state_cell"):
        if part in given:
            begin = layer * packing.directions
            cut: dict[str, Any] = {"axis": 0, "begin": begin, "end": begin + packing.directions}
            new[part] = make_node("slice_axis", f"{name}_{part}", [given[part]], cut)[0]
    if "sequence_length" in given:
        new["sequence_length"] = given["sequence_length"]
    function = attrs.mode.removeprefix("rnn_") if packing.mode == "rnn" else None
    made_attrs: dict[str, Any] = {
        "mode": packing.mode,
        "state_size": packing.size,
        "direction": "bidirectional" if packing.directions == 2 else "forward",
        "activations": (function,) * packing.directions if function else None,
        "has_bias": True,
        "has_projection": packing.projection > 0,
        "has_length": "sequence_length" in given,
        "int8_weight": True,
    }
    op = get_op("recurrent")
    names = op.input_names(op.make_attrs(made_attrs))
    return _outputs(make_node("recurrent", name, [new[part] for part in names], made_attrs))


def _outputs(node: Node) -> list[Entry]:
    return [node[i] for i in range(node.num_outputs)]


def _joined(node: Node, name: str, parts: Sequence[Entry]) -> Entry:
    if len(parts) == 1:
        return parts[0]
    return make_node("concatenate", f"{node.name}_{name}", list(parts), {"num_args": len(parts), "axis": 0})[0]
