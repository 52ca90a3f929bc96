"""``LSTM``, ``GRU`` and ``RNN`` against ONNX Runtime, which has no batch-first layout: that against the other one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx_models import Array, by_references, make_model, node, run, tensor

import minidnn as mx

RNG = np.random.default_rng(12)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
TIMES, BATCH, INPUTS, SIZE = 5, 3, 4, 6


def recurrent_model(
    op: str,
    directions: int = 1,
    *,
    is_batch_first: bool = False,
    lengths: Any = None,
    optional: bool = True,
    opset: int = 14,
    **attributes: Any,
) -> tuple[Any, dict[str, Array]]:
    """A layer with all inputs, or with those alone that it must have, and what it is called with."""

    def numbers(*shape: int) -> Array:
        return (RNG.normal(size=shape) * 0.5).astype(np.float32)

    rows = GATES[op] * SIZE
    weights = {"W": numbers(directions, rows, INPUTS), "R": numbers(directions, rows, SIZE)}
    x = numbers(TIMES, BATCH, INPUTS)
    given = {"X": x.swapaxes(0, 1) if is_batch_first else x}
    if optional:
        weights["B"] = numbers(directions, 2 * rows)
        states = {"H": numbers(directions, BATCH, SIZE)}
        if op == "LSTM":
            states["C"] = numbers(directions, BATCH, SIZE)
            weights["P"] = numbers(directions, 3 * SIZE)
        given |= {name: a.swapaxes(0, 1) if is_batch_first else a for name, a in states.items()}
    if lengths is not None:
        given["lengths"] = np.array(lengths, np.int32)
    names = [
        name if name in given or name in weights else "" for name in ("X", "W", "R", "B", "lengths", "H", "C", "P")
    ]
    while not names[-1]:
        names.pop()
    if is_batch_first:
        attributes["layout"] = 1
    outputs = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    made = node(op, names, outputs, hidden_size=SIZE, **attributes)
    inputs = [tensor(name, a.shape, a.dtype.name) for name, a in given.items()]
    model = make_model([made], inputs, [], weights, opset)
    model.graph.output.extend(tensor(name, None) for name in outputs)
    model.ir_version = 8
    return model, given


def in_order(net: Any, given: dict[str, Array]) -> list[Array]:
    return [given[port.name] for port in net._model.inputs]


def assert_like_runtime(model: Any, given: dict[str, Array]) -> None:
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)
    net = mx.onnx.import_model(model)
    for got, want in zip(run(net, *in_order(net, given)), wanted, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, 1e-5, 1e-5)


@pytest.mark.parametrize("op", GATES)
def test_layers_with_states_and_sequences_of_several_lengths(op: str) -> None:
    assert_like_runtime(*recurrent_model(op, 2, direction="bidirectional", lengths=[5, 1, 3]))
    assert_like_runtime(*recurrent_model(op, direction="reverse", clip=0.3))


@pytest.mark.parametrize("op", GATES)
def test_a_sequence_of_no_elements_leaves_zeros(op: str) -> None:
    model, given = recurrent_model(op, lengths=[0, 5, 2])
    assert_like_runtime(model, given)
    net = mx.onnx.import_model(model)
    for output in run(net, *in_order(net, given))[1:]:
        assert not output[0, 0].any()
        assert output[0, 1:].all()


@pytest.mark.parametrize("op", GATES)
def test_inputs_that_are_left_out_are_zeros(op: str) -> None:
    assert_like_runtime(*recurrent_model(op, optional=False, opset=7))


@pytest.mark.parametrize("op", GATES)
def test_batches_in_front(op: str) -> None:
    model, given = recurrent_model(op, 2, direction="bidirectional", is_batch_first=True)
    net = mx.onnx.import_model(model)
    y, *states = run(net, *in_order(net, given))
    model.graph.node[0].attribute.remove(next(a for a in model.graph.node[0].attribute if a.name == "layout"))
    for port in model.graph.input:
        first, second = port.type.tensor_type.shape.dim[:2]
        first.dim_value, second.dim_value = second.dim_value, first.dim_value
    turned = {name: a.swapaxes(0, 1) for name, a in given.items()}
    wanted, *last = onnxruntime.InferenceSession(model.SerializeToString()).run(None, turned)
    np.testing.assert_allclose(y, wanted.transpose(2, 0, 1, 3), 1e-5, 1e-5)
    for got, want in zip(states, last, strict=True):
        np.testing.assert_allclose(got, want.swapaxes(0, 1), 1e-5, 1e-5)


def test_a_gru_that_resets_behind_the_product() -> None:
    assert_like_runtime(*recurrent_model("GRU", linear_before_reset=1, clip=0.4))


def test_an_lstm_whose_gates_are_coupled() -> None:
    assert_like_runtime(*recurrent_model("LSTM", input_forget=1))


def test_numbers_of_activations_go_to_those_that_take_some() -> None:
    activations = ["HardSigmoid", "Tanh", "Affine", "Sigmoid", "LeakyRelu", "ScaledTanh"]
    numbers = {"activation_alpha": [0.3, 0.9, 0.15, 1.2], "activation_beta": [0.4, 0.1, 0.5]}
    model = recurrent_model("LSTM", 2, direction="bidirectional", activations=activations, **numbers)
    assert_like_runtime(*model)
    assert_like_runtime(*recurrent_model("GRU", activations=["Softsign", "elu"]))
    assert_like_runtime(*recurrent_model("RNN", activations=["Softplus"]))


def test_the_references_agree() -> None:
    model, given = recurrent_model("LSTM", 2, direction="bidirectional", lengths=[0, 5, 2])
    net = mx.onnx.import_model(model)
    for got, want in zip(by_references(net, *in_order(net, given)), run(net, *in_order(net, given)), strict=True):
        np.testing.assert_allclose(got, want, 1e-5, 1e-5)


def test_one_kernel_goes_through_the_times() -> None:
    model, given = recurrent_model("GRU")
    net = mx.onnx.import_model(model)
    net.optimize_for(*(mx.np.array(a) for a in in_order(net, given)))
    assert [step.name for step in net.steps() if step.on_host] == []
    assert any(step.kernel.startswith("recurrent: ") for step in net.steps())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activations": ["Tanh"]}, "attribute 'activations' must have 3 names, got 1"),
        ({"activations": ["Tanh", "Sine", "Tanh"]}, r"recurrent: activations must be among .*, got 'Sine'"),
        ({"direction": "sideways"}, "attribute 'direction' must be one of .* got 'sideways'"),
        ({"direction": "bidirectional"}, r"weights of shape \(2, 24, 4\) are wanted, got \(1, 24, 4\)"),
        ({"linear_before_reset": 1}, "attribute 'linear_before_reset' is not supported"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    model, _ = recurrent_model("LSTM", **change)
    with pytest.raises(mx.MXNetError, match=rf"node 'Y' \(LSTM\): {message}"):
        mx.onnx.import_model(model)


def test_lengths_beyond_the_times_are_refused() -> None:
    model, given = recurrent_model("RNN", lengths=[1, 2, 6])
    net = mx.onnx.import_model(model)
    with pytest.raises(mx.MXNetError, match="sequence_length must be integers from 0 to 5, got 6 at 2"):
        run(net, *in_order(net, given))
