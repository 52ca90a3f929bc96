"""``DynamicQuantizeLSTM``: products of integers against NumPy's, and the layer against ONNX Runtime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from onnx_models import Array, make_model, run, tensor

import minidnn as mx
from minidnn.interop.onnx.maker import UnsupportedNodeError

RNG = np.random.default_rng(5)
TIMES, INPUTS, SIZE = 4, 7, 19


def quantized_model(
    batch: int, directions: int, weights: str, *, by_row: bool = False, lengths: Any = None
) -> tuple[Any, dict[str, Array], dict[str, Array]]:
    """A layer of so many directions, what it is called with, and its constants."""
    rows, kind = 4 * SIZE, np.dtype(weights)
    of_scale = (directions, rows) if by_row else (directions,)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    known: dict[str, Array] = {
        "W": RNG.integers(low, high, (directions, INPUTS, rows), kind, True),
        "R": RNG.integers(low, high, (directions, SIZE, rows), kind, True),
        "B": (RNG.normal(size=(directions, 2 * rows)) * 0.2).astype(np.float32),
    }
    for name in "WR":
        known[f"{name}_scale"] = RNG.uniform(1e-3, 4e-3, of_scale).astype(np.float32)
        zero = 0 if kind == np.int8 else 121
        known[f"{name}_zero"] = np.full(of_scale, zero, kind)
    given = {
        "X": RNG.normal(size=(TIMES, batch, INPUTS)).astype(np.float32),
        "H": RNG.uniform(-0.8, 0.9, (directions, batch, SIZE)).astype(np.float32),
        "C": RNG.normal(size=(directions, batch, SIZE)).astype(np.float32),
    }
    if lengths is not None:
        known["lengths"] = np.array(lengths, np.int32)
    names = ["X", "W", "R", "B", "lengths" if lengths else "", "H", "C", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    direction = "bidirectional" if directions == 2 else "forward"
    made = helper.make_node(
        "DynamicQuantizeLSTM",
        names,
        ["Y", "Y_h", "Y_c"],
        domain="com.microsoft",
        hidden_size=SIZE,
        direction=direction,
    )
    model = make_model([made], [tensor(name, a.shape) for name, a in given.items()], [], known, 14)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.output.extend(tensor(name, None) for name in ("Y", "Y_h", "Y_c"))
    model.ir_version = 8
    return model, given, known


def product(x: Array, known: dict[str, Array], name: str, direction: int) -> Array:
    """``x @ W`` of dynamically quantized x, the sums exact."""
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    scale = (high - low) / np.float32(255)
    zero = np.rint(-low / scale)
    q = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.int64) - int(zero)
    integers = known[name][direction].astype(np.int64) - known[f"{name}_zero"][direction].astype(np.int64)
    return np.asarray((q @ integers) * (known[f"{name}_scale"][direction] * scale))


def reference(given: dict[str, Array], known: dict[str, Array]) -> list[Array]:
    def sigmoid(x: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-x)))

    x, (directions, batch, _) = given["X"], given["H"].shape
    lengths = known.get("lengths", np.full(batch, TIMES))
    output = np.zeros((TIMES, directions, batch, SIZE))
    states, cells = given["H"].copy(), given["C"].copy()
    for d in range(directions):
        inputs = product(x.reshape(-1, INPUTS), known, "W", d).reshape(TIMES, batch, -1)
        bias = known["B"][d].reshape(2, -1).sum(0)
        for time in range(TIMES):
            rows = np.flatnonzero(lengths > time)
            if not rows.size:
                break
            at = lengths[rows] - 1 - time if d else np.full(rows.size, time)
            gates = inputs[at, rows] + bias + product(states[d, rows], known, "R", d)
            entry, out, forget, new = np.split(gates, 4, axis=1)
            cells[d, rows] = sigmoid(forget) * cells[d, rows] + sigmoid(entry) * np.tanh(new)
            states[d, rows] = sigmoid(out) * np.tanh(cells[d, rows])
            output[at, d, rows] = states[d, rows]
    return [output, states, cells]


@pytest.mark.parametrize(("weights", "by_row"), [("int8", False), ("int8", True), ("uint8", False), ("uint8", True)])
def test_sums_are_those_of_integers(weights: str, by_row: bool) -> None:
    model, given, known = quantized_model(3, 2, weights, by_row=by_row, lengths=[2, 4, 3])
    net = mx.onnx.import_model(model)
    for got, want in zip(run(net, *given.values()), reference(given, known), strict=True):
        np.testing.assert_allclose(got, want, 0, 2e-6)
    assert not any(step.on_host for step in net.steps())


def test_states_are_rounded_as_in_onnx_runtime() -> None:
    model, given, _ = quantized_model(1, 2, "int8")
    options = onnxruntime.SessionOptions()
    # Without it, sums of uint8 and int8 saturate on processors without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    for got, want in zip(run(mx.onnx.import_model(model), *given.values()), session.run(None, given), strict=True):
        np.testing.assert_allclose(got, want, 0, 1e-5)


def test_a_scale_that_fits_no_weights_is_an_error() -> None:
    model, given, _ = quantized_model(1, 1, "int8")
    for constant in model.graph.initializer:
        if constant.name == "R_scale":
            constant.CopyFrom(helper.make_tensor("R_scale", 1, [3], [1.0, 1.0, 1.0]))
    with pytest.raises((UnsupportedNodeError, ValueError), match="scale of weights"):
        run(mx.onnx.import_model(model), *given.values())
