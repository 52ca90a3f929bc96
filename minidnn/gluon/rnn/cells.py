"""Recurrent cells: one step of an Elman network, an LSTM, a GRU, and their unrolling over times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidnn import npx
from minidnn import numpy as np
from minidnn.dispatch import invoke
from minidnn.errors import OpError
from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.calls import is_in_block, run_in_block
from minidnn.gluon.parameter import Init, Parameter
from minidnn.gluon.rnn._gates import apply_activation, gru_step, lstm_step
from minidnn.gluon.rnn._sequences import axis_of_time, given_lengths, make_states, masked, merged, separated
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.recurrent_cells import GATES

__all__ = [
    "GRUCell",
    "HybridRecurrentCell",
    "LSTMCell",
    "LSTMPCell",
    "Made",
    "RNNCell",
    "RecurrentCell",
]

# A step's output and its states, or those of a whole sequence.
Made = tuple[Any, list[Any]]


class RecurrentCell(Block):
    """Base of all cells: ``cell(inputs, states)`` gives the output of a step and the list of states after it."""

    _is_modified = False

    def reset(self) -> None:
        """Forget what a sequence left behind, before another."""
        for child in self._children.values():
            if isinstance(child, RecurrentCell):
                child.reset()

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The shape and layout of each state for a batch of that size."""
        raise NotImplementedError(f"{type(self).__name__} has no state_info()")

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = np.zeros, **kwargs: Any) -> list[Any]:
        """States to begin with, made by ``func(shape=..., device=..., dtype=...)``.

        Raises:
            RuntimeError: the cell is inside a modifier, whose begin_state is to be called.
        """
        if self._is_modified:
            raise RuntimeError(f"{type(self).__name__}: the cell has been modified; call the modifier cell instead")
        return make_states(self.state_info(batch_size), func, kwargs)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence.

        Args:
            length: times.
            inputs: ``(batch, time, ...)``, or time first with layout ``TNC``; or a list of arrays ``(batch, ...)``.
            begin_state: the states; None: zeros.
            layout: ``NTC`` or ``TNC``.
            merge_outputs: whether outputs are one array; a list of times otherwise. None: whatever is faster.
            valid_length: ``(batch,)``, from 0 to `length`: outputs behind the end of a sequence are zeros, and its
                states are those of its end. In a network that is traced, lengths beyond that are clipped.

        Returns:
            The outputs and the last states.

        Raises:
            OpError: shapes do not fit, or a length is out of range.
        """
        self.reset()
        name = type(self).__name__
        axis = axis_of_time(name, layout)
        times = separated(name, inputs, length, axis)
        states = self._states(begin_state, times[0])
        seen, outputs = [states], []
        for x in times:
            output, states = self(x, states)
            outputs.append(output)
            seen.append(states)
        if valid_length is None:
            return self._formed(outputs, length, axis, merge_outputs), states
        lengths = given_lengths(name, valid_length, length)
        ends = [_at(np.stack([*of_one], axis=0), lengths) for of_one in zip(*seen, strict=True)]
        whole = masked(merged(name, outputs, length, axis), lengths, axis)
        return self._formed(whole, length, axis, merge_outputs), ends

    def _states(self, begin_state: Any, x: ndarray) -> list[Any]:
        """The given states, or zeros for a batch like `x`, of one time."""
        if begin_state is not None:
            return [begin_state] if isinstance(begin_state, ndarray) else [*begin_state]
        return self.begin_state(batch_size=x.shape[0], dtype=x.dtype)

    def _formed(self, outputs: Any, length: int, axis: int, merge: bool | None) -> Any:
        if merge is None:
            return outputs
        return (merged if merge else separated)(type(self).__name__, outputs, length, axis)


def _at(stacked: ndarray, lengths: ndarray) -> ndarray:
    """For each sequence the state after as many times, of states ``(1 + time, batch, ...)``."""
    index = lengths.reshape((-1, *(1,) * (stacked.ndim - 2))).broadcast_to(stacked.shape[1:])
    return npx.pick(stacked, index, axis=0)


class HybridRecurrentCell(RecurrentCell, HybridBlock):
    """Base of cells that can be traced."""


# The activations of cells that the operator of whole sequences has, by their names there.
_FUNCTIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "softsign": "Softsign", "softrelu": "Softplus"}


class _GatedCell(HybridRecurrentCell):
    """A cell of two products, of the input and of the state.

    Args:
        mode: ``rnn``, ``lstm`` or ``gru``.
        hidden_size: hidden units.
        input_size: features of the input; 0: known at the first call.
        inits: initializers of the parameters.
        projection_size: of a projected state; 0: none.
    """

    def __init__(
        self, mode: str, hidden_size: int, input_size: int, inits: dict[str, Init], projection_size: int = 0
    ) -> None:
        name = type(self).__name__
        for what, value, low in (("hidden_size", hidden_size, 1), ("input_size", input_size, 0)):
            if not isinstance(value, int) or value < low:
                raise ValueError(f"{name}: {what} must be an integer of at least {low}, got {value!r}")
        super().__init__()
        self._mode, self._hidden_size, self._state_size = mode, hidden_size, projection_size or hidden_size
        rows = GATES[mode] * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "i2h_weight": (rows, input_size),
            "h2h_weight": (rows, self._state_size),
            **({"h2r_weight": (projection_size, hidden_size)} if projection_size else {}),
            "i2h_bias": (rows,),
            "h2h_bias": (rows,),
        }
        for part, shape in shapes.items():
            setattr(self, part, Parameter(part, shape=shape, init=inits[part], allow_deferred_init=True))

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The shape and layout of each state for a batch of that size."""
        sizes = [self._state_size, *([self._hidden_size] if self._mode == "lstm" else [])]
        return [{"shape": (batch_size, n), "__layout__": "NC"} for n in sizes]

    def infer_shape(self, inputs: Any, *args: Any) -> None:
        """Complete the shape of the input's weight from an input."""
        weight = self.params["i2h_weight"]
        weight.shape = ((weight.shape or (0,))[0], inputs.shape[-1])

    def _products(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        parameters, rows = self.params, GATES[self._mode] * self._hidden_size
        return tuple(  # type: ignore[return-value]
            npx.fully_connected(
                x,
                parameters[f"{kind}_weight"].data(),
                parameters[f"{kind}_bias"].data(),
                num_hidden=rows,
                no_bias=False,
                flatten=False,
            )
            for kind, x in (("i2h", inputs), ("h2h", state))
        )

    def _activations(self) -> Sequence[Any]:
        """Of gates, of the new value, and of an LSTM's cell on its way out."""
        raise NotImplementedError

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> Made:
        """Run over a whole sequence, as one operator; see `RecurrentCell.unroll`."""
        name, activations = type(self).__name__, self._activations()
        if not all(isinstance(a, str) and a in _FUNCTIONS for a in activations):
            return super().unroll(length, inputs, begin_state, layout, merge_outputs, valid_length)
        self.reset()
        axis = axis_of_time(name, layout)
        whole = merged(name, inputs, length, axis)
        x = whole if axis == 0 else whole.swapaxes(0, 1)
        states = [np.expand_dims(state, 0) for state in self._states(begin_state, x[0])]
        lengths = [] if valid_length is None else [given_lengths(name, valid_length, length)]
        self._complete_parameters((whole, states))
        weights = [parameter.data() for part, parameter in self.params.items() if part != "h2r_weight"]
        projection = [parameter.data() for part, parameter in self.params.items() if part == "h2r_weight"]
        attrs = {
            "mode": self._mode,
            "state_size": self._hidden_size,
            "activations": tuple(_FUNCTIONS[a] for a in activations),
            "has_bias": True,
            "has_projection": bool(projection),
            "has_length": bool(lengths),
        }
        output, *last = self._invoke([x, *weights, *projection, *lengths, *states], attrs)
        output = output if axis == 0 else output.swapaxes(0, 1)
        return self._formed(output, length, axis, merge_outputs), [state[0] for state in last]

    def _invoke(self, arrays: Sequence[Any], attrs: dict[str, Any]) -> Any:
        try:
            return run_in_block(self, lambda: invoke("recurrent", *arrays, **attrs))
        except OpError as error:
            if is_in_block():
                raise
            raise type(error)(f"{type(self).__name__}: {error}") from None

    def __repr__(self) -> str:
        rows, inputs = self.params["i2h_weight"].shape or (0, 0)
        return f"{type(self).__name__}({inputs if inputs > 0 else None} -> {rows})"


class RNNCell(_GatedCell):
    """One step of an Elman network: ``act(i2h_weight x + i2h_bias + h2h_weight h + h2h_bias)``.

    Args:
        hidden_size: hidden units.
        activation: name of an activation, or a block.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parameters.
        input_size: features of the input; 0: known at the first call.

    Parameters: ``i2h_weight`` of shape ``(hidden_size, input_size)``, ``h2h_weight`` of ``(hidden_size, hidden_size)``,
    ``i2h_bias`` and ``h2h_bias`` of ``(hidden_size,)``.
    """

    def __init__(
        self,
        hidden_size: int,
        activation: Any = "tanh",
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
    ) -> None:
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__("rnn", hidden_size, input_size, inits)
        self._activation = activation

    def _activations(self) -> Sequence[Any]:
        return (self._activation,)

    def forward(self, inputs: Any, states: Any) -> Made:
        i2h, h2h = self._products(inputs, states[0])
        output = apply_activation(i2h + h2h, self._activation)
        return output, [output]


class LSTMCell(_GatedCell):
    """One step of an LSTM; its states are the output and the cell.

    Args:
        hidden_size: hidden units.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parameters.
        input_size: features of the input; 0: known at the first call.
        activation: of the new value and of the cell on its way out.
        recurrent_activation: of the gates.

    Parameters: as those of `RNNCell`, with the rows of four gates: input, forget, cell, output.
    """

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
    ) -> None:
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__("lstm", hidden_size, input_size, inits)
        self._activation, self._recurrent_activation = activation, recurrent_activation

    def _activations(self) -> Sequence[Any]:
        return (self._recurrent_activation, self._activation, self._activation)

    def forward(self, inputs: Any, states: Any) -> Made:
        i2h, h2h = self._products(inputs, states[0])
        hidden, cell = lstm_step(i2h + h2h, states[1], self._recurrent_activation, self._activation)
        return hidden, [hidden, cell]


class GRUCell(_GatedCell):
    """One step of a GRU, cuDNN's: the reset gate comes after the product with the state.

    Args:
        hidden_size: hidden units.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parameters.
        input_size: features of the input; 0: known at the first call.
        activation: of the new value.
        recurrent_activation: of the gates.

    Parameters: as those of `RNNCell`, with the rows of three gates: reset, update, new.
    """

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
    ) -> None:
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__("gru", hidden_size, input_size, inits)
        self._activation, self._recurrent_activation = activation, recurrent_activation

    def _activations(self) -> Sequence[Any]:
        return (self._recurrent_activation, self._activation)

    def forward(self, inputs: Any, states: Any) -> Made:
        i2h, h2h = self._products(inputs, states[0])
        output = gru_step(i2h, h2h, states[0], self._recurrent_activation, self._activation)
        return output, [output]


class LSTMPCell(_GatedCell):
    """One step of an LSTM with a projected state (H. Sak et al., 2014); its states are the output and the cell.

    Args:
        hidden_size: hidden units.
        projection_size: elements of the output.
        i2h_weight_initializer, h2h_weight_initializer, h2r_weight_initializer, i2h_bias_initializer,
            h2h_bias_initializer: of the parameters.
        input_size: features of the input; 0: known at the first call.

    Parameters: as those of `LSTMCell`, ``h2h_weight`` of ``(4 * hidden_size, projection_size)``, and ``h2r_weight`` of
    ``(projection_size, hidden_size)``.
    """

    def __init__(
        self,
        hidden_size: int,
        projection_size: int,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        h2r_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        input_size: int = 0,
    ) -> None:
        if not isinstance(projection_size, int) or projection_size < 1:
            raise ValueError(f"LSTMPCell: projection_size must be an integer of at least 1, got {projection_size!r}")
        inits = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "h2r_weight": h2r_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        super().__init__("lstm", hidden_size, input_size, inits, projection_size)

    def _activations(self) -> Sequence[Any]:
        return ("sigmoid", "tanh", "tanh")

    def forward(self, inputs: Any, states: Any) -> Made:
        i2h, h2h = self._products(inputs, states[0])
        hidden, cell = lstm_step(i2h + h2h, states[1], "sigmoid", "tanh")
        weight = self.params["h2r_weight"].data()
        output = npx.fully_connected(hidden, weight, num_hidden=self._state_size, no_bias=True, flatten=False)
        return output, [output, cell]
