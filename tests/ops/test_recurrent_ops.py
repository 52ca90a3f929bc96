"""Recurrent layers against torch, and against loops in the test where torch has no such layer."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from ops_helpers import Array, assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.recurrent import Packing

PEERS: dict[str, Any] = {
    "rnn_relu": lambda *sizes, **more: torch.nn.RNN(*sizes, nonlinearity="relu", **more),
    "rnn_tanh": torch.nn.RNN,
    "lstm": torch.nn.LSTM,
    "gru": torch.nn.GRU,
}


def vector_of(net: torch.nn.RNNBase) -> Array:
    """All weights, then all biases, as MXNet has them."""
    parts = dict(net.named_parameters())
    names = [name for name in parts if "weight" in name] + [name for name in parts if "bias" in name]
    return np.concatenate([parts[name].detach().numpy().ravel() for name in names])


def run_torch(net: torch.nn.RNNBase, x: Array, states: list[Array], lengths: Array | None = None) -> list[Array]:
    given: Any = torch.from_numpy(x)
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(given, torch.from_numpy(lengths), enforce_sorted=False)
    begin: Any = tuple(map(torch.from_numpy, states)) if len(states) > 1 else torch.from_numpy(states[0])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of projections without oneDNN
        out, last = net(given, begin)
    if lengths is not None:
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=len(x))
    return [out.numpy(), *(s.numpy() for s in (last if isinstance(last, tuple) else [last]))]


@pytest.mark.parametrize(
    ("mode", "layers", "bidirectional", "projection"),
    [
        *((mode, layers, both, None) for mode in PEERS for layers, both in ((1, False), (2, True))),
        ("lstm", 2, True, 3),
    ],
)
@pytest.mark.parametrize("with_lengths", [False, True])
def test_rnn_is_torchs(mode: str, layers: int, bidirectional: bool, projection: int | None, with_lengths: bool) -> None:
    torch.manual_seed(0)
    more = {"proj_size": projection} if projection else {}
    net = PEERS[mode](4, 6, num_layers=layers, bidirectional=bidirectional, **more)
    count = layers * (2 if bidirectional else 1)
    x, states = normal(5, 3, 4), [normal(count, 3, projection or 6, seed=1)]
    states += [normal(count, 3, 6, seed=2)] if mode == "lstm" else []
    lengths = np.array([2, 5, 1]) if with_lengths else None
    made = reference(
        "rnn",
        *(x, vector_of(net), *states, *([] if lengths is None else [lengths])),
        mode=mode,
        state_size=6,
        num_layers=layers,
        bidirectional=bidirectional,
        projection_size=projection,
        state_outputs=True,
        use_sequence_length=with_lengths,
    )
    for ours, theirs in zip(made, run_torch(net, x, states, lengths), strict=True):
        assert_close(ours, theirs)


def test_without_states_there_is_one_output() -> None:
    packing = Packing("gru", 4, 6)
    attrs = {"mode": "gru", "state_size": 6, "num_layers": 1}
    whole = reference("rnn", normal(5, 3, 4), normal(packing.total), normal(1, 3, 6), state_outputs=True, **attrs)
    assert_close(reference("rnn", normal(5, 3, 4), normal(packing.total), normal(1, 3, 6), **attrs), whole[0])


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# f, g, h by ONNX's names, alpha and beta.
ACTIVATIONS: dict[str, Any] = {
    "Relu": lambda x, a, b: max(x, 0.0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: x if x >= 0 else a * x,
    "ThresholdedRelu": lambda x, a, b: x if x >= a else 0.0,
    "ScaledTanh": lambda x, a, b: a * math.tanh(b * x),
    "HardSigmoid": lambda x, a, b: min(max(a * x + b, 0.0), 1.0),
    "Elu": lambda x, a, b: x if x >= 0 else a * (math.exp(x) - 1),
    "Softsign": lambda x, a, b: x / (1 + abs(x)),
    "Softplus": lambda x, a, b: math.log1p(math.exp(x)),
    "Sigmoid": lambda x, a, b: 1 / (1 + math.exp(-x)),
    "Tanh": lambda x, a, b: math.tanh(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    x, w = normal(3, 2, 4), normal(1, 5, 4, seed=1)
    attrs = {"activations": (name,), "activation_alpha": (0.7,), "activation_beta": (0.4,)}
    zero = np.zeros((1, 5, 5), np.float32)
    out, last = reference("recurrent", x, w, zero, normal(1, 2, 5), mode="rnn", state_size=5, **attrs)
    expected = np.vectorize(lambda v: ACTIVATIONS[name](v, 0.7, 0.4))(x.astype(np.float64) @ w[0].T)
    assert_close(out, expected)
    assert_close(last[0], expected[-1])


def test_an_lstm_with_peepholes_bounds_and_coupled_gates() -> None:
    x, size = normal(4, 2, 3), 5
    w, r, p = normal(20, 3, seed=1), normal(20, size, seed=2), normal(15, seed=3)
    h, c = normal(2, size, seed=4), normal(2, size, seed=5)
    attrs = {"mode": "lstm", "state_size": size, "has_peephole": True, "clip": 0.6}
    made = reference("recurrent", x, w[None], r[None], p[None], h[None], c[None], **attrs)
    coupled = reference("recurrent", x, w[None], r[None], p[None], h[None], c[None], input_forget=True, **attrs)
    for (out, last, cells), is_coupled in ((made, False), (coupled, True)):
        hidden, cell = h.astype(np.float64), c.astype(np.float64)
        for t in range(4):
            i, f, g, o = np.split(x[t] @ w.T + hidden @ r.T, 4, axis=1)
            entry = sigmoid(np.clip(i + p[:5] * cell, -0.6, 0.6))
            forget = 1 - entry if is_coupled else sigmoid(np.clip(f + p[5:10] * cell, -0.6, 0.6))
            cell = forget * cell + entry * np.tanh(np.clip(g, -0.6, 0.6))
            hidden = sigmoid(np.clip(o + p[10:] * cell, -0.6, 0.6)) * np.tanh(cell)
            assert_close(out[t], hidden)
        assert_close(last[0], hidden)
        assert_close(cells[0], cell)


def test_a_gru_whose_reset_gate_comes_before_the_product() -> None:
    x, size = normal(4, 2, 3), 5
    w, r = normal(15, 3, seed=1), normal(15, size, seed=2)
    b, c, h = normal(15, seed=3), normal(15, seed=4), normal(2, size, seed=5)
    attrs = {"mode": "gru", "state_size": size, "has_bias": True, "linear_before_reset": False, "direction": "reverse"}
    out, last = reference("recurrent", x, w[None], r[None], b[None], c[None], h[None], **attrs)
    state = h.astype(np.float64)
    for t in reversed(range(4)):
        share = x[t] @ w.T + b + c
        reset, update = (sigmoid(share[:, k] + state @ r[k].T) for k in (slice(0, 5), slice(5, 10)))
        new = np.tanh(share[:, 10:] + (reset * state) @ r[10:].T)
        state = (1 - update) * new + update * state
        assert_close(out[t], state)
    assert_close(last[0], state)


def test_with_one_direction_weights_may_lack_its_axis() -> None:
    x, w, r, h = normal(4, 2, 3), normal(1, 5, 3, seed=1), normal(1, 5, 5, seed=2), normal(1, 2, 5)
    whole = reference("recurrent", x, w, r, h, mode="rnn", state_size=5)
    for ours, theirs in zip(reference("recurrent", x, w[0], r[0], h, mode="rnn", state_size=5), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ShapeError, match="i2h_weight must have shape \\(2, 5, 3\\)"):
        infer("recurrent", *map(tensor_of, (x, w[0], r[0], h)), mode="rnn", state_size=5, direction="bidirectional")


def tensor_of(array: Array) -> Any:
    return tensor(*array.shape)


def test_bounds_of_the_cell_hold_at_every_step() -> None:
    packing = Packing("lstm", 2, 3)
    x, p, h, c = normal(6, 2, 2) * 9, normal(packing.total) * 3, normal(1, 2, 3), normal(1, 2, 3)
    attrs = {"mode": "lstm", "state_size": 3, "num_layers": 1, "state_outputs": True}
    attrs |= {"lstm_state_clip_min": -0.1, "lstm_state_clip_max": 0.2}
    out, _, cells = reference("rnn", x, p, h, c, **attrs)
    assert np.abs(out).max() < np.tanh(0.2) + 1e-7
    assert cells.min() == np.float32(-0.1) and cells.max() == np.float32(0.2)
    c[0, 1, 2] = np.nan
    assert np.isnan(reference("rnn", x, p, h, c, **attrs)[2]).any()
    kept = reference("rnn", x, p, h, c, lstm_state_clip_nan=True, **attrs)
    assert np.isfinite(kept[2]).all() and np.isfinite(kept[0]).all()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_results_have_the_datas_dtype(dtype: str) -> None:
    packing = Packing("lstm", 2, 3)
    arrays = [normal(*shape, dtype=dtype) for shape in ((4, 2, 2), (packing.total,), (1, 2, 3), (1, 2, 3))]
    made = reference("rnn", *arrays, mode="lstm", state_size=3, num_layers=1, state_outputs=True)
    assert {array.dtype for array in made} == {np.dtype(dtype)}


def test_a_sequence_of_no_times_keeps_its_state() -> None:
    packing, h = Packing("gru", 2, 3), normal(1, 2, 3)
    arrays = (normal(4, 2, 2), normal(packing.total), h, np.array([0, 4]))
    attrs = {"mode": "gru", "state_size": 3, "num_layers": 1, "state_outputs": True, "use_sequence_length": True}
    out, last = reference("rnn", *arrays, **attrs)
    assert not out[:, 0].any()
    np.testing.assert_array_equal(last[0, 0], h[0, 0])


@pytest.mark.parametrize("lengths", [[5, 1], [-1, 2], [1.5, 2], [np.nan, 1], [np.inf, 1]])
def test_lengths_that_are_none(lengths: list[float]) -> None:
    packing = Packing("gru", 2, 3)
    arrays = (normal(4, 2, 2), normal(packing.total), normal(1, 2, 3), np.array(lengths, np.float32))
    with pytest.raises(OpError, match=r"sequence_length must be integers from 0 to 4, got .* at 0"):
        reference("rnn", *arrays, mode="gru", state_size=3, num_layers=1, use_sequence_length=True)


GRU = {"mode": "gru", "state_size": 3, "num_layers": 1}
FITTING = ((4, 2, 2), (Packing("gru", 2, 3).total,), (1, 2, 3))


@pytest.mark.parametrize(
    ("number", "shape", "message"),
    [
        (0, (4, 2), "data must have 3 dimensions"),
        (0, (4, 2, 0), "data must not be empty"),
        (1, (62,), r"parameters must have shape \(63,\) .*mode=gru, state_size=3"),
        (2, (1, 3, 3), r"state must have shape \(1, 2, 3\)"),
        (2, (2, 2, 3), r"state must have shape \(1, 2, 3\)"),
    ],
)
def test_shapes_that_do_not_fit(number: int, shape: tuple[int, ...], message: str) -> None:
    shapes = [*FITTING[:number], shape, *FITTING[number + 1 :]]
    with pytest.raises(ShapeError, match=f"rnn: {message}"):
        infer("rnn", *(tensor(*s) for s in shapes), **GRU)


def test_dtypes_that_do_not_fit() -> None:
    with pytest.raises(TypeMismatchError, match="rnn: data must be float16, float32 or float64"):
        infer("rnn", tensor(4, 2, 2, dtype="int32"), *(tensor(*s) for s in FITTING[1:]), **GRU)
    with pytest.raises(TypeMismatchError, match="rnn: state must be float32 like data"):
        infer("rnn", *(tensor(*s) for s in FITTING[:2]), tensor(1, 2, 3, dtype="float64"), **GRU)
    with pytest.raises(TypeMismatchError, match="sequence_length must be integers"):
        lengths = tensor(2, dtype="bool")
        infer("rnn", *(tensor(*s) for s in FITTING), lengths, use_sequence_length=True, **GRU)


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("rnn", {**GRU, "state_size": 0}, "'state_size' must be at least 1, got 0"),
        ("rnn", {**GRU, "num_layers": 0}, "'num_layers' must be at least 1, got 0"),
        ("rnn", {**GRU, "mode": "sru"}, "'mode' must be one of"),
        ("rnn", {**GRU, "projection_size": 2}, "only an lstm can have projection_size"),
        ("rnn", {**GRU, "mode": "lstm", "lstm_state_clip_min": 1}, "must be both numbers, in order, got 1.0 and None"),
        ("rnn", {**GRU, "mode": "lstm", "lstm_state_clip_min": 1, "lstm_state_clip_max": 0}, "in order, got 1.0 and 0"),
        ("rnn", {**GRU, "p": 2}, r"p must be in \[0, 1\], got 2"),
        ("recurrent", {"mode": "gru", "state_size": 3, "has_peephole": True}, "only an lstm can have has_peephole"),
        ("recurrent", {"mode": "gru", "state_size": 3, "activations": ("Tanh",)}, "activations must be 2 names"),
        ("recurrent", {"mode": "rnn", "state_size": 3, "activations": ("Swish",)}, "must be among .* got 'Swish'"),
        ("recurrent", {"mode": "rnn", "state_size": 3, "activation_alpha": ("a",), "activations": ("Elu",)}, "numbers"),
        ("recurrent", {"mode": "rnn", "state_size": 3, "direction": "up"}, "'direction' must be one of"),
    ],
)
def test_attributes_that_do_not_fit(op: str, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(OpError, match=message):
        infer(op, **attrs)
