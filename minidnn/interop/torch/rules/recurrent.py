"""Recurrent layers: a stack of layers, each of which reads what the one before it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, Rule, aten

__all__: list[str] = []


def _stacked(call: Call, values: Sequence[Value]) -> Value:
    return call.emit("stack", *values, num_args=len(values), axis=0)


def _rows(call: Call, x: Value, first: int, count: int) -> Value:
    return call.emit("slice_axis", x, axis=0, begin=first, end=first + count)


def _run(
    call: Call,
    x: Value,
    states: Sequence[Value],
    parameters: Sequence[Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    *,
    mode: str,
    activation: str | None = None,
) -> list[Value]:
    """The outputs of the last layer, and the last states of all layers, one behind the other."""
    if train and dropout:
        call.refuse("dropout of training is not supported: call the module's eval() before")
    directions = 2 if bidirectional else 1
    each = len(parameters) // (num_layers * directions)
    has_projection = each == (5 if has_biases else 3)
    x = call.transpose(x, (1, 0, 2)) if batch_first else x
    size = int(parameters[1].dim(0)) // {"lstm": 4, "gru": 3, "rnn": 1}[mode]
    lasts: list[list[Value]] = [[] for _ in states]
    for layer in range(num_layers):
        first = layer * directions
        mine = [parameters[(first + d) * each : (first + d + 1) * each] for d in range(directions)]
        # In the order of the operator's inputs: weights, biases, projection.
        weights = [_stacked(call, same) for same in zip(*mine, strict=True)]
        before = [_rows(call, state, first, directions) for state in states]
        attrs: dict[str, Any] = {
            "mode": mode,
            "state_size": size,
            "direction": "bidirectional" if bidirectional else "forward",
            "has_bias": has_biases,
            "has_projection": has_projection,
        }
        if activation is not None:
            attrs["activations"] = (activation,) * directions
        x, *after = call.emit_all("recurrent", x, *weights, *before, **attrs)
        for last, state in zip(lasts, after, strict=True):
            last.append(state)
    finals = [call.concatenate(last, 0) for last in lasts]
    return [call.transpose(x, (1, 0, 2)) if batch_first else x, *finals]


@aten("lstm.input")
def _lstm(call: Call, x: Value, states: Sequence[Value], parameters: Sequence[Value], *options: Any) -> list[Value]:
    return _run(call, x, states, parameters, *options, mode="lstm")


def _rule(mode: str, activation: str | None) -> Rule:
    def read(call: Call, x: Value, state: Value, parameters: Sequence[Value], *options: Any) -> list[Value]:
        return _run(call, x, (state,), parameters, *options, mode=mode, activation=activation)

    return read


aten("gru.input")(_rule("gru", None))
aten("rnn_tanh.input")(_rule("rnn", "tanh"))
aten("rnn_relu.input")(_rule("rnn", "relu"))
