"""What cells make of their products."""

from __future__ import annotations

from typing import Any

from minidnn import npx

__all__ = ["apply_activation", "gru_step", "lstm_step"]


def apply_activation(x: Any, activation: Any) -> Any:
    """An activation by its name, or a block."""
    return npx.activation(x, act_type=activation) if isinstance(activation, str) else activation(x)


def lstm_step(gates: Any, cell: Any, gate_activation: Any, activation: Any, axis: int = 1) -> tuple[Any, Any]:
    """The output and the next cell of an LSTM, from the sums of its four gates side by side along `axis`."""
    entry, forget, new, out = npx.slice_channel(gates, 4, axis)
    entry, forget, out = (apply_activation(x, gate_activation) for x in (entry, forget, out))
    cell = forget * cell + entry * apply_activation(new, activation)
    return out * apply_activation(cell, activation), cell


def gru_step(i2h: Any, h2h: Any, state: Any, gate_activation: Any, activation: Any, axis: int = 1) -> Any:
    """The next state of a GRU whose reset gate comes after the product, from the two products."""
    (reset, update, new), (h_reset, h_update, h_new) = (npx.slice_channel(x, 3, axis) for x in (i2h, h2h))
    reset = apply_activation(reset + h_reset, gate_activation)
    update = apply_activation(update + h_update, gate_activation)
    return (1 - update) * apply_activation(new + reset * h_new, activation) + update * state
