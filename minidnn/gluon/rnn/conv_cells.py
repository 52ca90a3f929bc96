"""Convolutional recurrent cells: both products of a cell are convolutions (X. Shi et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn import npx
from minidnn.errors import MXNetError
from minidnn.gluon.nn._op import per_axis
from minidnn.gluon.parameter import Init, Parameter
from minidnn.gluon.rnn._gates import apply_activation, gru_step, lstm_step
from minidnn.gluon.rnn.cells import HybridRecurrentCell, Made
from minidnn.ops.recurrent_cells import GATES

__all__ = [
    "Conv1DGRUCell",
    "Conv1DLSTMCell",
    "Conv1DRNNCell",
    "Conv2DGRUCell",
    "Conv2DLSTMCell",
    "Conv2DRNNCell",
    "Conv3DGRUCell",
    "Conv3DLSTMCell",
    "Conv3DRNNCell",
]

Ints = int | Sequence[int]

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


class _ConvCell(HybridRecurrentCell):
    """What all have in common; a subclass says the mode and the number of dimensions.

    Args:
        input_shape: of a time of one sample: ``(channels, *spatial)``.
        hidden_channels: channels of the state.
        i2h_kernel, h2h_kernel: of the convolutions of the input and of the state; the state's must be odd.
        i2h_pad, i2h_dilate, h2h_dilate: of these convolutions; that of the state keeps its size.
        i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer: of the parameters.
        conv_layout: channels first, as ``NCHW``.
        activation: of the new value, and of an LSTM's cell on its way out: a name or a block.

    Parameters: ``i2h_weight`` of shape ``(gates * hidden_channels, channels, *i2h_kernel)``, ``h2h_weight`` of
    ``(gates * hidden_channels, hidden_channels, *h2h_kernel)``, ``i2h_bias`` and ``h2h_bias``.

    Raises:
        ValueError: arguments that do not fit.
        MXNetError: a layout with channels last.
    """

    _mode = ""
    _rank = 0

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden_channels: int,
        i2h_kernel: Ints,
        h2h_kernel: Ints,
        i2h_pad: Ints = 0,
        i2h_dilate: Ints = 1,
        h2h_dilate: Ints = 1,
        i2h_weight_initializer: Init = None,
        h2h_weight_initializer: Init = None,
        i2h_bias_initializer: Init = "zeros",
        h2h_bias_initializer: Init = "zeros",
        conv_layout: str | None = None,
        activation: Any = "tanh",
    ) -> None:
        name, rank = type(self).__name__, self._rank
        if conv_layout not in (None, _LAYOUTS[rank]):
            raise MXNetError(f"{name}: conv_layout must be {_LAYOUTS[rank]!r}, got {conv_layout!r}")
        shape = tuple(input_shape)
        if len(shape) != rank + 1 or hidden_channels < 1:
            raise ValueError(
                f"{name}: input_shape must have {rank + 1} numbers and hidden_channels be at least 1, "
                f"got {shape} and {hidden_channels}"
            )
        self._kernels = tuple(
            per_axis(name, what, value, rank)
            for what, value in (("i2h_kernel", i2h_kernel), ("h2h_kernel", h2h_kernel))
        )
        if any(k % 2 == 0 for k in self._kernels[1]):
            raise ValueError(f"{name}: h2h_kernel must be odd, got {self._kernels[1]}")
        super().__init__()
        self._hidden_channels, self._activation = hidden_channels, activation
        self._dilates = (per_axis(name, "i2h_dilate", i2h_dilate, rank), per_axis(name, "h2h_dilate", h2h_dilate, rank))
        same = tuple(d * (k - 1) // 2 for d, k in zip(self._dilates[1], self._kernels[1], strict=True))
        self._pads = (per_axis(name, "i2h_pad", i2h_pad, rank), same)
        spatial = zip(shape[1:], self._kernels[0], self._pads[0], self._dilates[0], strict=True)
        self._state_shape = (hidden_channels, *(n + 2 * p - d * (k - 1) for n, k, p, d in spatial))
        rows = GATES[self._mode] * hidden_channels
        inits = {"i2h": i2h_weight_initializer, "h2h": h2h_weight_initializer}
        for (part, init), channels, kernel in zip(
            inits.items(), (shape[0], hidden_channels), self._kernels, strict=True
        ):
            weight = Parameter(f"{part}_weight", shape=(rows, channels, *kernel), init=init, allow_deferred_init=True)
            setattr(self, f"{part}_weight", weight)
        for part, init in (("i2h_bias", i2h_bias_initializer), ("h2h_bias", h2h_bias_initializer)):
            setattr(self, part, Parameter(part, shape=(rows,), init=init, allow_deferred_init=True))

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """The shape and layout of each state for a batch of that size."""
        info = {"shape": (batch_size, *self._state_shape), "__layout__": _LAYOUTS[self._rank]}
        return [dict(info) for _ in range(2 if self._mode == "lstm" else 1)]

    def infer_shape(self, inputs: Any, *args: Any) -> None:
        """Complete the shape of the input's weight from an input."""
        weight = self.params["i2h_weight"]
        rows, _, *kernel = weight.shape or ()
        weight.shape = (rows, inputs.shape[1], *kernel)

    def _products(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        i2h, h2h = (
            npx.convolution(
                x,
                self.params[f"{part}_weight"].data(),
                self.params[f"{part}_bias"].data(),
                kernel=self._kernels[i],
                dilate=self._dilates[i],
                pad=self._pads[i],
                num_filter=GATES[self._mode] * self._hidden_channels,
            )
            for i, (part, x) in enumerate((("i2h", inputs), ("h2h", state)))
        )
        return i2h, h2h

    def forward(self, inputs: Any, states: Any) -> Made:
        i2h, h2h = self._products(inputs, states[0])
        if self._mode == "lstm":
            hidden, cell = lstm_step(i2h + h2h, states[1], "sigmoid", self._activation)
            return hidden, [hidden, cell]
        if self._mode == "gru":
            output = gru_step(i2h, h2h, states[0], "sigmoid", self._activation)
        else:
            output = apply_activation(i2h + h2h, self._activation)
        return output, [output]

    def __repr__(self) -> str:
        rows, channels, *_ = self.params["i2h_weight"].shape or (0, 0)
        return f"{type(self).__name__}({channels if channels > 0 else None} -> {rows}, {_LAYOUTS[self._rank]})"


class Conv1DRNNCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "rnn", 1


class Conv2DRNNCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "rnn", 2


class Conv3DRNNCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "rnn", 3


class Conv1DLSTMCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "lstm", 1


class Conv2DLSTMCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "lstm", 2


class Conv3DLSTMCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "lstm", 3


class Conv1DGRUCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "gru", 1


class Conv2DGRUCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "gru", 2


class Conv3DGRUCell(_ConvCell):
    __doc__ = _ConvCell.__doc__
    _mode, _rank = "gru", 3
