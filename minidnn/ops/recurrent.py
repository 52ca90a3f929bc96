"""Recurrent layers: `recurrent`, one layer with all that ONNX's LSTM, GRU and RNN can say, and MXNet's `rnn`.

`rnn` is a stack of layers whose parameters are one vector: the weights of all layers and directions, then the biases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import DTYPES, FLOAT32, want_dtype, want_filled, want_float, want_rank, want_shape
from minidnn.ops.elementwise import BOOL
from minidnn.ops.recurrent_cells import (
    FUNCTIONS,
    GATES,
    LEVELS,
    Cell,
    Direction,
    Function,
    Weights,
    check_lengths,
    default_functions,
    run_layer,
)
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["MATRICES", "Packing", "inputs_of", "layers_of", "packing_of", "recurrent_layer"]

Array = np.ndarray[Any, Any]

_BYTES = frozenset({np.dtype(np.int8), np.dtype(np.uint8)})


def _widened(array: Array) -> Array:
    return array.astype(np.promote_types(array.dtype, np.float32), copy=False)


def _want_lengths(op: str, t: TensorType, batch: int) -> None:
    # MXNet's lengths are often float32.
    if t.dtype == BOOL or t.dtype not in DTYPES:
        raise TypeMismatchError(f"{op}: sequence_length must be integers (or whole floats), got {t}")
    want_shape(op, "sequence_length", t, (batch,), "one number for each sequence of data")


def _lengths(op: str, given: dict[str, Array], data: Array) -> Array:
    steps, batch = data.shape[:2]
    lengths = given.get("sequence_length")
    return np.full(batch, steps) if lengths is None else check_lengths(op, lengths, steps)


# ---- one layer ------------------------------------------------------------------------------------

_FLAGS = {
    "has_data_scale": ("data_scale",),
    "has_bias": ("i2h_bias", "h2h_bias"),
    "has_projection": ("h2r_weight",),
    "has_peephole": ("peephole",),
    "has_length": ("sequence_length",),
}
# Weights, with their dimensions; with one direction they may lack the first one, which is that of directions.
_WEIGHTS = {
    "i2h_weight": 3,
    "h2h_weight": 3,
    "i2h_bias": 2,
    "h2h_bias": 2,
    "h2r_weight": 3,
    "peephole": 2,
    "i2h_scale": 2,
    "h2h_scale": 2,
    "h2r_scale": 2,
}
# Those that may be int8, with a scale for each row: its name.
MATRICES = ("i2h_weight", "h2h_weight", "h2r_weight")
_SCALES = {name: name.replace("weight", "scale") for name in MATRICES}


def _recurrent_inputs(attrs: Attrs) -> tuple[str, ...]:
    optional = [name for flag, names in _FLAGS.items() if attrs[flag] for name in names]
    if attrs.int8_weight:
        optional += [scale for name, scale in _SCALES.items() if name != "h2r_weight" or attrs.has_projection]
    cells = ("state_cell",) if attrs.mode == "lstm" else ()
    return ("data", "i2h_weight", "h2h_weight", *optional, "state", *cells)


def _directions(attrs: Attrs) -> int:
    return 2 if attrs.direction == "bidirectional" else 1


def _functions(attrs: Attrs) -> tuple[tuple[Function, ...], ...]:
    """The activations of each direction.

    Raises:
        OpError: not as many as there must be, an unknown one, or numbers that are none.
    """
    op, defaults = "recurrent", default_functions(attrs.mode)
    count = len(defaults) * _directions(attrs)
    names = (attrs.activations,) if isinstance(attrs.activations, str) else attrs.activations
    if names is None:
        return (defaults,) * _directions(attrs)
    if not isinstance(names, tuple) or len(names) != count:
        raise OpError(f"{op}: activations must be {count} names, got {names!r}")
    made = []
    for i, name in enumerate(names):
        row = FUNCTIONS.get(str(name).lower())
        if row is None:
            raise OpError(f"{op}: activations must be among {sorted(FUNCTIONS)}, got {name!r}")
        numbers = (_number(attrs, "alpha", i, row.alpha), _number(attrs, "beta", i, row.beta))
        made.append(Function(str(name).lower(), *numbers))
    half = len(defaults)
    return tuple(tuple(made[i : i + half]) for i in range(0, count, half))


def _number(attrs: Attrs, name: str, index: int, default: float) -> float:
    """Number `index` of `activation_alpha` or `activation_beta`, one for each activation; None: its default."""
    given = attrs[f"activation_{name}"]
    numbers = given if isinstance(given, tuple) else () if given is None else (given,)
    if any(n is not None and (isinstance(n, bool) or not isinstance(n, (int, float))) for n in numbers):
        raise OpError(f"recurrent: activation_{name} must be numbers, got {given!r}")
    found = numbers[index] if index < len(numbers) else None
    return default if found is None else float(found)


def _check_recurrent(attrs: Attrs) -> None:
    _functions(attrs)
    for name in ("has_projection", "has_peephole", "input_forget"):
        if attrs[name] and attrs.mode != "lstm":
            raise OpError(f"recurrent: only an lstm can have {name}, got mode {attrs.mode!r}")
    if not attrs.int8_weight and (attrs.has_data_scale or attrs.state_levels == "rows"):
        raise OpError("recurrent: has_data_scale and state_levels='rows' need int8_weight")


def _infer_recurrent(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, given = "recurrent", dict(zip(_recurrent_inputs(attrs), types, strict=True))
    if attrs.has_data_scale:
        given["data"] = _want_scaled(op, given["data"], given["data_scale"])
    if attrs.int8_weight:
        given |= _want_int8(op, given)
    data, size, count = given["data"], attrs.state_size, _directions(attrs)
    want_rank(op, "data", data, 3, "(time, batch, inputs)")
    want_float(op, "data", data)
    want_filled(op, "data", data, [2])
    steps, batch, inputs = data.shape
    rows, state = GATES[attrs.mode] * size, size
    if attrs.has_projection:
        projection = given["h2r_weight"]
        want_rank(op, "h2r_weight", projection, 2 if projection.ndim == 2 else 3, "(directions, projection, size)")
        state = projection.shape[-2]
        want_filled(op, "h2r_weight", projection, [-2])
    wanted: dict[str, tuple[int, ...]] = {
        "i2h_weight": (count, rows, inputs),
        "h2h_weight": (count, rows, state),
        "i2h_bias": (count, rows),
        "h2h_bias": (count, rows),
        "h2r_weight": (count, state, size),
        "peephole": (count, 3 * size),
        "i2h_scale": (count, rows),
        "h2h_scale": (count, rows),
        "h2r_scale": (count, state),
        "state": (count, batch, state),
        "state_cell": (count, batch, size),
    }
    said = f"from data {data.shape}, mode={attrs.mode}, state_size={size}, direction={attrs.direction}"
    if count == 1:
        shorter = {name: shape[1:] for name, shape in wanted.items() if given.get(name, data).ndim == len(shape) - 1}
        wanted.update({name: shape for name, shape in shorter.items() if name in _WEIGHTS})
    _want_all(op, given, wanted, data, said)
    if attrs.has_length:
        _want_lengths(op, given["sequence_length"], batch)
    output = TensorType((steps, batch, count * state), data.dtype)
    return [output, *(given[name] for name in ("state", "state_cell") if name in given)]


def _want_scaled(op: str, data: TensorType, scale: TensorType) -> TensorType:
    """Data of int8 or uint8, as if it were float32: what the scale makes of it."""
    if data.dtype not in _BYTES:
        raise TypeMismatchError(f"{op}: data with a scale must be int8 or uint8, got {data}")
    want_dtype(op, "data_scale", scale, FLOAT32, "every scale")
    of_rows = (*data.shape[:-1], 1)
    fits = scale.ndim == data.ndim and all(n in (1, m) for n, m in zip(scale.shape, of_rows, strict=True))
    if scale.shape != (1,) and not fits:
        raise ShapeError(f"{op}: data_scale must have shape (1,), or be broadcast to {of_rows}, got {scale.shape}")
    return TensorType(data.shape, FLOAT32)


def _want_int8(op: str, given: dict[str, TensorType]) -> dict[str, TensorType]:
    """The matrices, which must be int8, as if they had the dtype of data."""
    matrices = {name: given[name] for name in _SCALES if name in given}
    for name, type_ in matrices.items():
        want_dtype(op, name, type_, np.dtype(np.int8), "quantized weights")
    return {name: TensorType(type_.shape, given["data"].dtype) for name, type_ in matrices.items()}


def _want_all(
    op: str, given: dict[str, TensorType], wanted: dict[str, tuple[int, ...]], data: TensorType, reason: str
) -> None:
    for name, shape in wanted.items():
        if name in given:
            want_dtype(op, name, given[name], data.dtype, "data")
            want_shape(op, name, given[name], shape, reason)


def recurrent_layer(attrs: Attrs, given: dict[str, Array]) -> list[Direction]:
    """The directions of a `recurrent` layer, from its inputs by name."""
    common: dict[str, Any] = {
        "mode": attrs.mode,
        "size": attrs.state_size,
        "reset_after": attrs.linear_before_reset,
        "coupled": attrs.input_forget,
        "clip": attrs.clip,
        "levels": attrs.state_levels,
    }
    result = []
    for d, functions in enumerate(_functions(attrs)):
        parts = {name: given[name] for name in _WEIGHTS if name in given}
        own = [
            (parts[n][d] if parts[n].ndim == rank else parts[n]) if n in parts else None for n, rank in _WEIGHTS.items()
        ]
        weights = Weights(*own)  # type: ignore[arg-type]
        is_reverse = attrs.direction == "reverse" or d == 1
        result.append(Direction(Cell(functions=functions, **common), weights, is_reverse))
    return result


def _recurrent(attrs: Attrs, *arrays: Array) -> tuple[Array, ...]:
    given = dict(zip(_recurrent_inputs(attrs), arrays, strict=True))
    lengths = _lengths("recurrent", given, arrays[0])
    kept = {"sequence_length", *(["data", *_SCALES] if attrs.int8_weight else [])}
    wide = {name: array if name in kept else _widened(array) for name, array in given.items()}
    data = wide["data"] if attrs.has_data_scale else _widened(wide["data"])
    layer, cells = recurrent_layer(attrs, wide), wide.get("state_cell")
    made = run_layer(layer, data, wide["state"], cells, lengths, wide.get("data_scale"))
    return tuple(array for array in made if array is not None)


register(
    Op(
        "recurrent",
        _infer_recurrent,
        _recurrent,
        _recurrent_inputs,
        attrs=(
            Attr("mode", "str", choices=tuple(GATES)),
            Attr("state_size", "int", low=1),
            Attr("direction", "str", "forward", choices=("forward", "reverse", "bidirectional")),
            Attr("activations", "tree", None),
            Attr("activation_alpha", "tree", None),
            Attr("activation_beta", "tree", None),
            Attr("clip", "float", None, low=0),
            Attr("linear_before_reset", "bool", True),
            Attr("input_forget", "bool", False),
            Attr("int8_weight", "bool", False),
            Attr("state_levels", "str", "none", choices=LEVELS),
            *(Attr(flag, "bool", False) for flag in _FLAGS),
        ),
        parameters=frozenset(_WEIGHTS),
        outputs=lambda attrs: 3 if attrs.mode == "lstm" else 2,
        check=_check_recurrent,
    )
)


# ---- MXNet's stack of layers ----------------------------------------------------------------------

# MXNet's modes: ours, and the activation of an Elman network.
_MODES = {"rnn_relu": ("rnn", "relu"), "rnn_tanh": ("rnn", "tanh"), "lstm": ("lstm", ""), "gru": ("gru", "")}


@dataclass(frozen=True)
class Packing:
    """How the parameters of a stack of layers lie in one vector.

    Args:
        mode: ``rnn``, ``lstm`` or ``gru``.
        inputs: features of the data.
        size: hidden units.
        layers, directions: how many.
        projection: size of the projected state; 0: none.
    """

    mode: str
    inputs: int
    size: int
    layers: int = 1
    directions: int = 1
    projection: int = 0

    @property
    def state(self) -> int:
        """Features of the state."""
        return self.projection or self.size

    def parts(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts in their order, by MXNet 1's names: ``l0_i2h_weight``, ``r0_i2h_weight``, ..."""
        rows, weights, biases = GATES[self.mode] * self.size, {}, {}
        for layer in range(self.layers):
            inputs = self.state * self.directions if layer else self.inputs
            for side in "lr"[: self.directions]:
                prefix = f"{side}{layer}"
                weights[f"{prefix}_i2h_weight"] = (rows, inputs)
                weights[f"{prefix}_h2h_weight"] = (rows, self.state)
                if self.projection:
                    weights[f"{prefix}_h2r_weight"] = (self.projection, self.size)
                biases.update(dict.fromkeys((f"{prefix}_i2h_bias", f"{prefix}_h2h_bias"), (rows,)))
        return {**weights, **biases}

    @property
    def total(self) -> int:
        """Elements of the vector."""
        return sum(map(math.prod, self.parts().values()))

    def unpack(self, vector: Array) -> dict[str, Array]:
        """The parts as views of the vector."""
        result, begin = {}, 0
        for name, shape in self.parts().items():
            result[name] = vector[begin : begin + math.prod(shape)].reshape(shape)
            begin += math.prod(shape)
        return result


def packing_of(attrs: Attrs, inputs: int) -> Packing:
    """How the parameters of an `rnn` with these attributes lie, for data of so many features."""
    directions = 2 if attrs.bidirectional else 1
    mode = _MODES[attrs.mode][0]
    return Packing(mode, inputs, attrs.state_size, attrs.num_layers, directions, attrs.projection_size or 0)


def inputs_of(attrs: Attrs, total: int) -> int:
    """Features of the data of an `rnn` whose parameters are so many."""
    packing = packing_of(attrs, 0)
    return (total - packing.total) // (GATES[packing.mode] * packing.size * packing.directions)


def _rnn_inputs(attrs: Attrs) -> tuple[str, ...]:
    cells = ("state_cell",) if attrs.mode == "lstm" else ()
    lengths = ("sequence_length",) if attrs.use_sequence_length else ()
    return ("data", "parameters", "state", *cells, *lengths)


def _check_rnn(attrs: Attrs) -> None:
    low, high = attrs.lstm_state_clip_min, attrs.lstm_state_clip_max
    if (low is None) != (high is None) or (low is not None and not low <= high):
        raise OpError(
            f"rnn: lstm_state_clip_min and lstm_state_clip_max must be both numbers, in order, got {low} and {high}"
        )
    if attrs.mode != "lstm" and (attrs.projection_size is not None or low is not None):
        raise OpError(f"rnn: only an lstm can have projection_size or lstm_state_clip_min, got mode {attrs.mode!r}")
    if attrs.p > 1:
        raise OpError(f"rnn: p must be in [0, 1], got {attrs.p}")


def _infer_rnn_parameters(attrs: Attrs, data: TensorType) -> dict[str, tuple[int, ...]]:
    want_rank("rnn", "data", data, 3, "(time, batch, inputs)")
    want_filled("rnn", "data", data, [2])
    return {"parameters": (packing_of(attrs, data.shape[2]).total,)}


def _infer_rnn(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, given = "rnn", dict(zip(_rnn_inputs(attrs), types, strict=True))
    data = given["data"]
    shapes = _infer_rnn_parameters(attrs, data)
    want_float(op, "data", data)
    steps, batch, inputs = data.shape
    packing = packing_of(attrs, inputs)
    count = packing.layers * packing.directions
    wanted = {**shapes, "state": (count, batch, packing.state), "state_cell": (count, batch, packing.size)}
    said = ", ".join(f"{name}={attrs[name]}" for name in ("mode", "state_size", "num_layers", "bidirectional"))
    _want_all(op, given, wanted, data, f"from data {data.shape}, {said}, projection_size={attrs.projection_size}")
    if attrs.use_sequence_length:
        _want_lengths(op, given["sequence_length"], batch)
    output = TensorType((steps, batch, packing.directions * packing.state), data.dtype)
    states = [given[name] for name in ("state", "state_cell") if name in given]
    return [output, *(states if attrs.state_outputs else ())]


def layers_of(attrs: Attrs, parameters: Array, inputs: int) -> list[list[Direction]]:
    """The directions of each layer of an `rnn`, whose weights are views of its parameters."""
    packing, (mode, function) = packing_of(attrs, inputs), _MODES[attrs.mode]
    cell = Cell(
        mode,
        attrs.state_size,
        (Function(function),) if function else default_functions(mode),
        state_low=attrs.lstm_state_clip_min,
        state_high=attrs.lstm_state_clip_max,
        keep_nan=not attrs.lstm_state_clip_nan,
    )
    parts = packing.unpack(parameters)
    names = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias", "h2r_weight")
    return [
        [
            Direction(cell, Weights(*(parts.get(f"{side}{layer}_{name}") for name in names)), side == "r")  # type: ignore[arg-type]
            for side in "lr"[: packing.directions]
        ]
        for layer in range(packing.layers)
    ]


def _rnn(attrs: Attrs, *arrays: Array) -> tuple[Array, ...]:
    given = dict(zip(_rnn_inputs(attrs), arrays, strict=True))
    lengths = _lengths("rnn", given, arrays[0])
    x, state = _widened(given["data"]), _widened(given["state"])
    cells = _widened(given["state_cell"]) if "state_cell" in given else None
    states, last_cells, count = [], [], 2 if attrs.bidirectional else 1
    for i, directions in enumerate(layers_of(attrs, _widened(given["parameters"]), x.shape[2])):
        own = slice(i * count, (i + 1) * count)
        x, h, c = run_layer(directions, x, state[own], None if cells is None else cells[own], lengths)
        states.append(h)
        last_cells += [] if c is None else [c]
    lasts = [np.concatenate(made) for made in (states, last_cells) if made]
    return (x, *(lasts if attrs.state_outputs else ()))


register(
    Op(
        "rnn",
        _infer_rnn,
        _rnn,
        _rnn_inputs,
        attrs=(
            Attr("mode", "str", choices=tuple(_MODES)),
            Attr("state_size", "int", low=1),
            Attr("num_layers", "int", low=1),
            Attr("bidirectional", "bool", False),
            Attr("state_outputs", "bool", False),
            Attr("p", "float", 0.0, low=0),
            Attr("use_sequence_length", "bool", False),
            Attr("projection_size", "int", None, low=1),
            Attr("lstm_state_clip_min", "float", None),
            Attr("lstm_state_clip_max", "float", None),
            Attr("lstm_state_clip_nan", "bool", False),
        ),
        parameters=frozenset({"parameters"}),
        infer_parameters=_infer_rnn_parameters,
        mxnet=("RNN", "_npx_rnn"),
        outputs=lambda attrs: (
            len(_rnn_inputs(attrs.replace(use_sequence_length=False))) - 1 if attrs.state_outputs else 1
        ),
        check=_check_rnn,
    )
)
