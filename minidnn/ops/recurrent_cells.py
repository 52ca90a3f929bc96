"""Recurrent cells: what a step of an LSTM, a GRU or an Elman network computes, and a whole layer of them.

Gates stand in the order of MXNet, cuDNN and PyTorch: input, forget, cell, output of an LSTM (S. Hochreiter and
J. Schmidhuber, 1997); reset, update, new of a GRU (K. Cho et al., 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.quantization import quantize_array, scales_of_ranges

__all__ = [
    "FUNCTIONS",
    "GATES",
    "LEVELS",
    "Cell",
    "Direction",
    "Function",
    "Weights",
    "check_lengths",
    "default_functions",
    "folded_bias",
    "run_layer",
]

Array = np.ndarray[Any, Any]

# Of each hidden unit.
GATES = {"rnn": 1, "lstm": 4, "gru": 3}

# What states are made of before they are multiplied, at each time: nothing; int8 by the range of each sequence's state;
# uint8 with a zero point by the range of all, as ONNX Runtime's ``DynamicQuantizeLSTM`` has it.
LEVELS = ("none", "rows", "batch")


def _sigmoid(x: Array) -> Array:
    shrunk = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, shrunk, 1) / (1 + shrunk))


@dataclass(frozen=True)
class _Row:
    """An activation: its default numbers, and what it computes from x, alpha and beta."""

    alpha: float
    beta: float
    compute: Callable[[Array, float, float], Array]


# By ONNX's names in lower case, with ONNX's defaults.
FUNCTIONS: dict[str, _Row] = {
    "tanh": _Row(0.0, 0.0, lambda x, a, b: np.tanh(x)),
    "sigmoid": _Row(0.0, 0.0, lambda x, a, b: _sigmoid(x)),
    "relu": _Row(0.0, 0.0, lambda x, a, b: np.maximum(x, 0)),
    "affine": _Row(1.0, 0.0, lambda x, a, b: a * x + b),
    "leakyrelu": _Row(0.01, 0.0, lambda x, a, b: np.where(x < 0, a * x, x)),
    "thresholdedrelu": _Row(1.0, 0.0, lambda x, a, b: np.where(x < a, 0, x)),
    "scaledtanh": _Row(1.0, 1.0, lambda x, a, b: a * np.tanh(b * x)),
    "hardsigmoid": _Row(0.2, 0.5, lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "elu": _Row(1.0, 0.0, lambda x, a, b: np.where(x < 0, a * np.expm1(x), x)),
    "softsign": _Row(0.0, 0.0, lambda x, a, b: x / (1 + np.abs(x))),
    "softplus": _Row(0.0, 0.0, lambda x, a, b: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
}

_DEFAULTS = {"rnn": ("tanh",), "gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}


@dataclass(frozen=True)
class Function:
    """An activation with its numbers."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        made: Array = np.asarray(FUNCTIONS[self.name].compute(x, self.alpha, self.beta), x.dtype)
        return made


def default_functions(mode: str) -> tuple[Function, ...]:
    """What ONNX calls f, g and h: of the gates, of the new value, and of an LSTM's cell on its way out."""
    return tuple(Function(name) for name in _DEFAULTS[mode])


@dataclass(frozen=True)
class Cell:
    """What a step of one direction computes, but for its weights.

    Args:
        mode: ``rnn``, ``lstm`` or ``gru``.
        size: hidden units.
        functions: f, g and h of `default_functions`.
        reset_after: whether a GRU's reset gate comes after the product with the state, as in MXNet and cuDNN.
        coupled: whether an LSTM's forget gate is 1 minus its input gate.
        clip: bound of the gates before their activations; None: none.
        state_low, state_high: bounds of an LSTM's cell state; None: none.
        keep_nan: whether a NaN passes those bounds.
        levels: of `LEVELS`.
    """

    mode: str
    size: int
    functions: tuple[Function, ...]
    reset_after: bool = True
    coupled: bool = False
    clip: float | None = None
    state_low: float | None = None
    state_high: float | None = None
    keep_nan: bool = True
    levels: str = "none"

    @property
    def gates(self) -> int:
        return GATES[self.mode]


@dataclass(frozen=True)
class Weights:
    """Of one direction: matrices ``(gates * size, inputs)`` and ``(gates * size, state)``; None for what it lacks.

    Args:
        i2h, h2h: for the input and for the state.
        i2h_bias, h2h_bias: ``(gates * size,)``.
        h2r: the projection ``(state, size)``.
        peephole: of an LSTM's input, forget and output gates, ``(3 * size,)``.
        i2h_scale, h2h_scale, h2r_scale: what rows of a matrix are multiplied by, where it is int8.
    """

    i2h: Array
    h2h: Array
    i2h_bias: Array | None = None
    h2h_bias: Array | None = None
    h2r: Array | None = None
    peephole: Array | None = None
    i2h_scale: Array | None = None
    h2h_scale: Array | None = None
    h2r_scale: Array | None = None


def check_lengths(op: str, lengths: Array, steps: int) -> Array:
    """The lengths of sequences as int64.

    Raises:
        OpError: one is below 0, above `steps`, or no integer.
    """
    whole = np.isfinite(lengths) & (lengths == np.trunc(lengths))
    wrong = np.flatnonzero(~(whole & (lengths >= 0) & (lengths <= steps)))
    if wrong.size:
        first = int(wrong[0])
        raise OpError(f"{op}: sequence_length must be integers from 0 to {steps}, got {lengths[first]} at {first}")
    return lengths.astype(np.int64)


def _batch_levels(h: Array) -> tuple[Array, Array]:
    """Whole numbers in 256 levels between the extremes of all states and zero, and their scale."""
    low, high = (f.reduce(h, axis=None, initial=0) for f in (np.fmin, np.fmax))
    scale = (high - low) / h.dtype.type(255)
    scale = scale if 0 < scale < np.inf else h.dtype.type(1)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return np.asarray(np.clip(np.rint(h / scale) + zero, 0, 255) - zero), np.asarray(scale)


def _row_levels(h: Array) -> tuple[Array, Array]:
    """int8 of each row, and scales ``(rows, 1)``; the scale of a row that is not finite is NaN."""
    most, least = (f(h, axis=1, keepdims=True, initial=0) for f in (np.max, np.min))
    scale = scales_of_ranges(least.astype(np.float32), most.astype(np.float32), "int8")
    return quantize_array(h.astype(np.float32), scale, "int8"), scale


def _multiplied(x: Array, matrix: Array, scale: Array | None, x_scale: Array | None = None) -> Array:
    """``x @ matrix.T``, sums times the scales of rows of the matrix and of x.

    Sums of integers are exact, and what follows them are single operations of float32.
    """
    if x_scale is None:
        return np.asarray(x @ (matrix if scale is None else matrix * scale[:, None]).T)
    if scale is None:
        return np.asarray((x * x_scale) @ matrix.T)
    sums = x.astype(np.float64) @ matrix.T.astype(np.float64)
    return np.asarray(sums.astype(np.float32) * (x_scale * scale))


def _state_product(cell: Cell, h: Array, matrix: Array, scale: Array | None, rows: slice = slice(None)) -> Array:
    """States, in levels if they are to be, by some rows of a matrix."""
    x, x_scale = h, None
    if cell.levels != "none":
        x, x_scale = (_row_levels if cell.levels == "rows" else _batch_levels)(h)
    return _multiplied(x, matrix[rows], None if scale is None else scale[rows], x_scale)


def _step(cell: Cell, w: Weights, x: Array, h: Array, c: Array | None) -> tuple[Array, Array | None]:
    """The next state and cell from the gates' share of the input, ``(batch, gates * size)``, biases included."""
    f, g = cell.functions[0], cell.functions[min(1, len(cell.functions) - 1)]

    def bounded(z: Array) -> Array:
        return z if cell.clip is None else np.clip(z, -cell.clip, cell.clip)

    if cell.mode == "rnn":
        return f(bounded(x + _state_product(cell, h, w.h2h, w.h2h_scale))), None
    if cell.mode == "gru":
        return _gru_step(cell, w, x, h, bounded), None
    assert c is not None
    gates = np.split(x + _state_product(cell, h, w.h2h, w.h2h_scale), 4, axis=1)
    peephole = None if w.peephole is None else np.split(w.peephole, 3)
    if peephole is not None:
        gates[0], gates[1] = gates[0] + peephole[0] * c, gates[1] + peephole[1] * c
    entry = f(bounded(gates[0]))
    forget = 1 - entry if cell.coupled else f(bounded(gates[1]))
    c = forget * c + entry * g(bounded(gates[2]))
    c = _bound_state(cell, c)
    out = gates[3] if peephole is None else gates[3] + peephole[2] * c
    h = f(bounded(out)) * cell.functions[2](c)
    return (h if w.h2r is None else _state_product(cell, h, w.h2r, w.h2r_scale)), c


def _bound_state(cell: Cell, c: Array) -> Array:
    if cell.state_low is None or cell.state_high is None:
        return c
    low, high = c.dtype.type(cell.state_low), c.dtype.type(cell.state_high)
    return np.clip(c, low, high) if cell.keep_nan else np.fmin(np.fmax(c, low), high)


def _gru_step(cell: Cell, w: Weights, x: Array, h: Array, bounded: Callable[[Array], Array]) -> Array:
    f, g, size = cell.functions[0], cell.functions[1], cell.size
    first, last = slice(2 * size), slice(2 * size, None)
    both = f(bounded(x[:, first] + _state_product(cell, h, w.h2h, w.h2h_scale, first)))
    reset, update = both[:, :size], both[:, size:]
    if cell.reset_after:
        bias = 0 if w.h2h_bias is None else w.h2h_bias[last]
        new = x[:, last] + reset * (_state_product(cell, h, w.h2h, w.h2h_scale, last) + bias)
    else:
        new = x[:, last] + _state_product(cell, reset * h, w.h2h, w.h2h_scale, last)
    result: Array = (1 - update) * g(bounded(new)) + update * h
    return result


def folded_bias(cell: Cell, w: Weights) -> Array | None:
    """What is added to the product of the input: both biases, but not the one that a GRU's reset gate multiplies."""
    if w.i2h_bias is None or w.h2h_bias is None:
        return w.i2h_bias if w.h2h_bias is None else w.h2h_bias
    inner = w.h2h_bias.copy()
    if cell.mode == "gru" and cell.reset_after:
        inner[2 * cell.size :] = 0
    made: Array = w.i2h_bias + inner
    return made


@dataclass(frozen=True)
class Direction:
    """A layer, or one of its two directions.

    Args:
        cell, weights: what it computes.
        is_reverse: whether it begins at the end of each sequence.
    """

    cell: Cell
    weights: Weights
    is_reverse: bool = False

    def run(
        self, x: Array, h: Array, c: Array | None, lengths: Array, scale: Array | None = None
    ) -> tuple[Array, Array, Array | None]:
        """Outputs ``(time, batch, state)``, zeros behind the end of a sequence, and the last state and cell."""
        steps, batch = x.shape[:2]
        bias = folded_bias(self.cell, self.weights)
        gates = _multiplied(x, self.weights.i2h, self.weights.i2h_scale, scale)
        gates = gates if bias is None else gates + bias
        output = np.zeros((steps, batch, h.shape[1]), h.dtype)
        rows = np.arange(batch)
        for i in range(steps):
            rows = rows[lengths[rows] > i]
            times = lengths[rows] - 1 - i if self.is_reverse else np.full(len(rows), i)
            made, cells = _step(self.cell, self.weights, gates[times, rows], h[rows], None if c is None else c[rows])
            h = _replaced(h, rows, made)
            c = None if c is None or cells is None else _replaced(c, rows, cells)
            output[times, rows] = made
        return output, h, c


def _replaced(state: Array, rows: Array, new: Array) -> Array:
    made = state.copy()
    made[rows] = new
    return made


def run_layer(
    directions: Sequence[Direction],
    x: Array,
    h: Array,
    c: Array | None,
    lengths: Array,
    scale: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """All directions of a layer: outputs side by side, ``(time, batch, directions * state)``, and their states.

    Args:
        directions: of the layer.
        x: ``(time, batch, inputs)``.
        h, c: ``(directions, batch, state)`` and ``(directions, batch, size)``.
        lengths: of sequences.
        scale: of x where that is int8 or uint8, broadcast to ``(time, batch, 1)``.
    """
    made = [s.run(x, h[d], None if c is None else c[d], lengths, scale) for d, s in enumerate(directions)]
    outputs, states, cells = zip(*made, strict=True)
    return np.concatenate(outputs, 2), np.stack(states), None if c is None else np.stack(cells)
