"""Recurrent layers as MXNet's one function."""

from __future__ import annotations

from typing import Any

from minidnn import dispatch
from minidnn.npx.layers import required_arrays

__all__ = ["rnn"]


def rnn(
    data: Any = None,
    parameters: Any = None,
    state: Any = None,
    state_cell: Any = None,
    sequence_length: Any = None,
    mode: str | None = None,
    state_size: int | None = None,
    num_layers: int | None = None,
    bidirectional: bool = False,
    state_outputs: bool = False,
    p: float = 0.0,
    use_sequence_length: bool = False,
    projection_size: int | None = None,
    lstm_state_clip_min: float | None = None,
    lstm_state_clip_max: float | None = None,
    lstm_state_clip_nan: bool = False,
) -> Any:
    """A stack of recurrent layers.

    Args:
        data: ``(time, batch, inputs)``.
        parameters: all weights, then all biases, as one vector: for each layer and direction the matrices of the input
            and of the state and the projection, then for each the biases of the input and of the state.
        state: ``(num_layers * directions, batch, state)``, where a projected state has `projection_size` elements and
            any other `state_size`.
        state_cell: ``(num_layers * directions, batch, state_size)``, of an LSTM.
        sequence_length: ``(batch,)``, from 0 to time; outputs behind the end of a sequence are zeros, and its last
            state is that of its end. A sequence of length 0 keeps its state.
        mode: ``rnn_relu``, ``rnn_tanh``, ``lstm`` or ``gru``.
        state_size: hidden units.
        num_layers, bidirectional: layers, and whether each has a second direction, from the end to the begin.
        state_outputs: whether the last states are given too.
        p: share of outputs that training would drop between layers.
        use_sequence_length: whether `sequence_length` is used.
        projection_size: of the projected state of an LSTM; None: none.
        lstm_state_clip_min, lstm_state_clip_max: bounds of an LSTM's cell state; None: none.
        lstm_state_clip_nan: whether a NaN becomes the lower bound.

    Returns:
        ``(time, batch, directions * state)``; with `state_outputs` a list of that, the last states and, of an LSTM,
        the last cell states.

    Raises:
        OpError: an argument is missing, shapes or dtypes do not fit, or a length is out of range.
    """
    named = {"data": data, "parameters": parameters, "state": state}
    named |= {"state_cell": state_cell} if mode == "lstm" else {}
    named |= {"sequence_length": sequence_length} if use_sequence_length else {}
    result = dispatch.invoke(
        "rnn",
        *required_arrays("rnn", **named),
        mode=mode,
        state_size=state_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        state_outputs=state_outputs,
        p=p,
        use_sequence_length=use_sequence_length,
        projection_size=projection_size,
        lstm_state_clip_min=lstm_state_clip_min,
        lstm_state_clip_max=lstm_state_clip_max,
        lstm_state_clip_nan=lstm_state_clip_nan,
    )
    return list(result) if isinstance(result, tuple) else result
