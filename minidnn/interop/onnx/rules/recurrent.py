"""``LSTM``, ``GRU`` and ``RNN``: layers of `minidnn.ops.recurrent`, their gates put in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.rules.integers import dequantize, dynamically_quantized
from minidnn.interop.onnx.values import Value, known

__all__: list[str] = []


@dataclass(frozen=True)
class _Kind:
    """An operator of ONNX.

    Args:
        mode: of the layer.
        gates: the places of our gates, in their order, among ONNX's.
        functions: how many activations a direction has.
    """

    mode: str
    gates: tuple[int, ...]
    functions: int


# LSTM: i, f, g, o of ONNX's i, o, f, c; GRU: r, z, n of its z, r, h.
_KINDS = {
    "LSTM": _Kind("lstm", (0, 2, 3, 1), 3),
    "GRU": _Kind("gru", (1, 0, 2), 2),
    "RNN": _Kind("rnn", (0,), 1),
}
_PEEPHOLES = (0, 2, 1)

# Activations that take a number of `activation_alpha` and of `activation_beta`; others leave it to the next one.
_WITH_ALPHA = frozenset(["affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"])
_WITH_BETA = frozenset(["affine", "scaledtanh", "hardsigmoid"])


@rule("LSTM", "GRU", "RNN")
def _recurrent(call: Call) -> list[Value]:
    return _layer(call, call.op)


@rule("DynamicQuantizeLSTM", domain="com.microsoft")
def _quantized_lstm(call: Call) -> list[Value]:
    """An LSTM whose products are those of integers: the input quantized as a whole, states at each time."""
    q, scale, zero = dynamically_quantized(call, call[0])
    integers, scales, is_exact = [], [], True
    for index, first in ((1, 8), (2, 10)):
        made, factors = _integers(call, call[index], call[first], call[first + 1])
        is_exact = is_exact and made.array is not None and _are_int8(made.array)
        integers.append(made)
        scales.append(factors)
    call.inputs[0] = dequantize(call, q, scale, zero)
    if is_exact:
        call.inputs[1:3] = [call.cast(made, np.int8) for made in integers]
        return _layer(call, "LSTM", "batch", scales)
    floats = [call.binary("multiply", call.cast(n, np.float32), s) for n, s in zip(integers, scales, strict=True)]
    call.inputs[1:3] = floats
    return _layer(call, "LSTM", "batch")


def _are_int8(numbers: np.ndarray[Any, Any]) -> bool:
    return bool(numbers.min(initial=0) >= -128 and numbers.max(initial=0) <= 127)


def _integers(call: Call, weights: Value, scale: Value, zero: Value) -> tuple[Value, Value]:
    """Weights ``(directions, depth, rows)`` as whole numbers ``(directions, rows, depth)``, and scales of the rows.

    Scale and zero point are numbers of each direction, or of each row of it.
    """
    if weights.ndim != 3:
        call.fail(f"quantized weights must have 3 dimensions, got {weights.ndim}")
    directions, rows = weights.dim(0), weights.dim(2)
    spread = []
    for name, value in (("scale", scale), ("zero point", zero)):
        shapes = ((directions,), (directions, rows))
        if value._type.shape not in shapes:
            call.misfit(f"the {name} of weights must have one of the shapes {shapes}, got {value._type.shape}")
        wide = value if value.ndim == 2 else call.expand_dims(value, (1,))
        spread.append(call.expand_dims(wide, (2,)))
    moved = call.transpose(call.cast(weights, np.int32), (0, 2, 1))
    whole = call.binary("subtract", moved, call.cast(spread[1], np.int32))
    ones = call.filled((directions, rows, 1), 1.0, np.float32)
    return whole, call.binary("multiply", ones, call.cast(spread[0], np.float32))


def _layer(call: Call, op: str, levels: str = "none", scales: Sequence[Value] = ()) -> list[Value]:
    """One layer; `levels` as its record has it, and scales ``(directions, rows, 1)`` of weights that are int8."""
    kind, is_lstm = _KINDS[op], op == "LSTM"
    is_batch_first = call.flag("layout")
    direction = call.text("direction", "forward", ("forward", "reverse", "bidirectional"))
    directions = 2 if direction == "bidirectional" else 1
    call.ignore("output_sequence")
    x, weight, recurrence = call[0], call[1], call[2]
    for name, value in (("X", x), ("W", weight), ("R", recurrence)):
        if value.ndim != 3:
            call.fail(f"{name} must have 3 dimensions, got {value.ndim}")
    size = int(recurrence.dim(2))
    if call.integer("hidden_size", size) != size:
        call.fail(f"attribute 'hidden_size' does not fit R of shape {recurrence.shape}")
    x = call.transpose(x, (1, 0, 2)) if is_batch_first else x
    inputs = {
        "i2h_weight": _ordered(call, weight, kind.gates, (directions, size, int(weight.dim(2)))),
        "h2h_weight": _ordered(call, recurrence, kind.gates, (directions, size, size)),
        **_biases(call, kind, directions, size),
    }
    if is_lstm and call.get(7) is not None:
        inputs["peephole"] = _ordered(call, call[7], _PEEPHOLES, (directions, size))
    flags = {"has_bias": "i2h_bias" in inputs, "has_peephole": "peephole" in inputs}
    if call.get(4) is not None:
        inputs["sequence_length"] = call[4]
        flags["has_length"] = True
    for name, factors in zip(("i2h_scale", "h2h_scale"), scales, strict=False):
        ordered = _ordered(call, factors, kind.gates, (directions, size, 1))
        flags["int8_weight"], inputs[name] = True, call.reshape(ordered, factors._type.shape[:2])
    inputs["state"] = _state(call, 5, x, directions, size, is_batch_first)
    if is_lstm:
        inputs["state_cell"] = _state(call, 6, x, directions, size, is_batch_first)
    made = call.emit_all(
        "recurrent",
        x,
        *inputs.values(),
        mode=kind.mode,
        state_size=size,
        direction=direction,
        clip=call.real("clip", None),
        linear_before_reset=call.flag("linear_before_reset") if op == "GRU" else True,
        input_forget=is_lstm and call.flag("input_forget"),
        state_levels=levels,
        **_activations(call, kind.functions * directions),
        **flags,
    )
    return [_output(call, made[0], directions, size, is_batch_first), *_states(call, made[1:], is_batch_first)]


def _ordered(call: Call, value: Value, order: Sequence[int], shape: tuple[int, ...]) -> Value:
    """Weights ``(directions, gates * size, ...)`` with their gates in another order."""
    directions, size, *rest = shape
    if value._type.shape != (directions, len(order) * size, *rest):
        call.misfit(f"weights of shape {(directions, len(order) * size, *rest)} are wanted, got {value._type.shape}")
    if list(order) == list(range(len(order))):
        return value
    gates = call.reshape(value, (directions, len(order), size, *rest))
    moved = call.emit("take", gates, known(np.array(order)), axis=1)
    return call.reshape(moved, value._type.shape)


def _biases(call: Call, kind: _Kind, directions: int, size: int) -> dict[str, Value]:
    bias, rows = call.get(3), len(kind.gates) * size
    if bias is None:
        return {}
    if bias._type.shape != (directions, 2 * rows):
        call.misfit(f"B must have shape {(directions, 2 * rows)}, got {bias._type.shape}")
    halves = [call.emit("slice_axis", bias, axis=1, begin=begin, end=begin + rows) for begin in (0, rows)]
    ordered = [_ordered(call, half, kind.gates, (directions, size)) for half in halves]
    return dict(zip(("i2h_bias", "h2h_bias"), ordered, strict=True))


def _state(call: Call, index: int, x: Value, directions: int, size: int, is_batch_first: bool) -> Value:
    given = call.get(index)
    if given is None:
        return call.filled((directions, x.dim(1), size), 0.0, x.dtype)
    state = call.transpose(given, (1, 0, 2)) if is_batch_first else given
    return state if call.get(4) is None else _without_empty(call, state, call[4])


def _without_empty(call: Call, state: Value, lengths: Value) -> Value:
    """The state with zeros for sequences of no elements: ONNX Runtime gives these as their last state, too."""
    has_some = call.emit("greater_scalar", lengths, scalar=0)
    if has_some.array is not None and has_some.array.all():
        return state
    return call.emit("where", call.reshape(has_some, (1, -1, 1)), state, call.like(0, state))


def _activations(call: Call, count: int) -> dict[str, Any]:
    """Names, and for each of them its alpha and beta; None for those that are left to the default."""
    names = call.texts("activations", None)
    alphas, betas = call.reals("activation_alpha", None), call.reals("activation_beta", None)
    if not names:
        return {}
    if len(names) != count:
        call.fail(f"attribute 'activations' must have {count} names, got {len(names)}")
    left = {"activation_alpha": list(alphas or ()), "activation_beta": list(betas or ())}
    dealt: dict[str, Any] = {"activations": tuple(names)}
    for key, takers in (("activation_alpha", _WITH_ALPHA), ("activation_beta", _WITH_BETA)):
        numbers = left[key]
        dealt[key] = tuple(numbers.pop(0) if name.lower() in takers and numbers else None for name in names)
    return dealt


def _output(call: Call, y: Value, directions: int, size: int, is_batch_first: bool) -> Value:
    """``(time, batch, directions * size)`` as ONNX has it."""
    if directions == 1 and not is_batch_first:
        return call.expand_dims(y, (1,))
    parted = call.reshape(y, (y.dim(0), y.dim(1), directions, size))
    return call.transpose(parted, (1, 0, 2, 3) if is_batch_first else (0, 2, 1, 3))


def _states(call: Call, states: Sequence[Value], is_batch_first: bool) -> list[Value]:
    return [call.transpose(state, (1, 0, 2)) if is_batch_first else state for state in states]
