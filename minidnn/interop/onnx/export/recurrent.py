"""Recurrent layers as nodes of ONNX."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import Tensor, Writer, export_rule
from minidnn.ops.recurrent import packing_of
from minidnn.ops.registry import Attrs, TensorType

__all__: list[str] = []

# Where ONNX has a gate, which of ours it is: i o f c of i f c o, and z r h of r z h.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}
_LAYERS = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def _in_order(w: Writer, name: str, mode: str) -> str:
    """Weights or biases (directions, rows, ...) with their gates in ONNX's order."""
    order = _GATES[mode]
    if len(order) == 1:
        return name
    parts = w.all("Split", name, count=len(order), axis=1, num_outputs=len(order))
    return w.node("Concat", *(parts[i] for i in order), axis=1)


def _layer(
    w: Writer,
    mode: str,
    x: Tensor | str,
    weights: Mapping[str, str],
    lengths: str | None,
    states: Sequence[Tensor | str],
    size: int,
    directions: int,
    **attrs: Any,
) -> list[str]:
    """One layer: its outputs (time, batch, features) and its last states.

    Args:
        w: the writer.
        mode: of the cells.
        x: (time, batch, inputs).
        weights: ``i2h_weight`` and so on, each with an axis of directions in front.
        lengths: of the sequences, int32.
        states: the first states, each (directions, batch, size).
        size: hidden units.
        directions: how many.
        attrs: further attributes of the node.
    """
    ordered = {name: _in_order(w, part, mode) for name, part in weights.items()}
    bias = None
    if "i2h_bias" in ordered:
        bias = w.node("Concat", ordered["i2h_bias"], ordered["h2h_bias"], axis=1)
    made = w.all(
        _LAYERS[mode],
        x,
        ordered["i2h_weight"],
        ordered["h2h_weight"],
        bias,
        lengths,
        *states,
        count=1 + len(states),
        hidden_size=size,
        **{"direction": "bidirectional" if directions == 2 else None, **attrs},
    )
    moved = w.transposed(made[0], (0, 2, 1, 3))
    return [w.node("Reshape", moved, w.ints([0, 0, directions * size])), *made[1:]]


@export_rule("recurrent")
def _recurrent(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    if attrs.has_projection or attrs.has_peephole:
        w.fail("projections and peepholes are not supported")
    if attrs.int8_weight or attrs.state_levels != "none":
        w.fail("ONNX has no recurrent layer with int8 weights or states; leave it in float32, by exclude_layers")
    names = ["i2h_weight", "h2h_weight", *(["i2h_bias", "h2h_bias"] if attrs.has_bias else [])]
    names += [*(["sequence_length"] if attrs.has_length else []), "state", "state_cell"]
    given = dict(zip(names, x[1:], strict=False))
    weights = {}
    for name, tensor in given.items():
        if name.startswith(("i2h", "h2h")):
            has_directions = tensor.ndim == (3 if name.endswith("weight") else 2)
            weights[name] = w.name_of(tensor) if has_directions else w.unsqueezed(w.name_of(tensor), [0])
    mode, activations = attrs.mode, attrs.activations
    return _layer(
        w,
        mode,
        x[0],
        weights,
        w.cast(given["sequence_length"], np.int32) if attrs.has_length else None,
        [given[name] for name in ("state", "state_cell") if name in given],
        attrs.state_size,
        2 if attrs.direction == "bidirectional" else 1,
        direction=attrs.direction,
        activations=None if activations is None else [_FUNCTIONS.get(n.lower(), n) for n in np.atleast_1d(activations)],
        activation_alpha=_numbers(w, attrs.activation_alpha),
        activation_beta=_numbers(w, attrs.activation_beta),
        clip=attrs.clip,
        linear_before_reset=int(attrs.linear_before_reset) if mode == "gru" else None,
        input_forget=int(attrs.input_forget) if mode == "lstm" else None,
    )


_FUNCTIONS = {name.lower(): name for name in ("Tanh", "Sigmoid", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu")}
_FUNCTIONS |= {name.lower(): name for name in ("ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus")}


def _numbers(w: Writer, given: Any) -> list[float] | None:
    if given is None:
        return None
    listed = list(given) if isinstance(given, tuple) else [given]
    if None in listed:
        w.fail("numbers of some activations and not of others are not supported")
    return [float(n) for n in listed]


@export_rule("rnn")
def _rnn(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    """A stack of layers whose parameters are one vector."""
    if attrs.projection_size or attrs.lstm_state_clip_min is not None:
        w.fail("projections and clipped states are not supported")
    packing = packing_of(attrs, int(x[0].shape[2]))
    parts, begin = {}, 0
    for name, shape in packing.parts().items():
        stretch = w.part(w.name_of(x[1]), 0, begin, begin + math.prod(shape))
        parts[name] = w.reshaped(stretch, (1, *shape))
        begin += math.prod(shape)
    count = packing.directions
    states = x[2 : 4 if packing.mode == "lstm" else 3]
    lengths = w.cast(x[-1], np.int32) if attrs.use_sequence_length else None
    activation = [attrs.mode.removeprefix("rnn_").capitalize()] * count if packing.mode == "rnn" else None
    output: Tensor | str = x[0]
    lasts: list[list[str]] = [[] for _ in states]
    for layer in range(packing.layers):
        weights = {}
        for name in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias"):
            sides = [parts[f"{side}{layer}_{name}"] for side in "lr"[:count]]
            weights[name] = sides[0] if count == 1 else w.node("Concat", *sides, axis=0)
        before = [w.part(w.name_of(s), 0, layer * count, (layer + 1) * count) for s in states]
        reset = 1 if packing.mode == "gru" else None
        output, *after = _layer(
            w,
            packing.mode,
            output,
            weights,
            lengths,
            before,
            packing.size,
            count,
            activations=activation,
            linear_before_reset=reset,
        )
        for last, state in zip(lasts, after, strict=True):
            last.append(state)
    finals = [made[0] if len(made) == 1 else w.node("Concat", *made, axis=0) for made in lasts]
    return [output, *(finals if attrs.state_outputs else ())]
