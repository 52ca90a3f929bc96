"""Recurrent layers of Gluon against torch with the same weights, however they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gluon_helpers import close, draw

import minidnn as mx
from minidnn.errors import DataError, OpError, ShapeError
from minidnn.gluon import SymbolBlock, nn, rnn

Array = np.ndarray[Any, Any]

LAYERS: dict[str, Any] = {
    "lstm": (rnn.LSTM, torch.nn.LSTM),
    "gru": (rnn.GRU, torch.nn.GRU),
    "tanh": (lambda *a, **k: rnn.RNN(*a, activation="tanh", **k), torch.nn.RNN),
    "relu": (rnn.RNN, lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k)),
}


def pair(name: str, layers: int = 1, bidirectional: bool = False, **more: Any) -> tuple[Any, torch.nn.RNNBase]:
    """A layer and torch's with the same random weights."""
    ours, theirs = LAYERS[name]
    layer = ours(7, layers, bidirectional=bidirectional, input_size=5, **more)
    module = theirs(5, 7, num_layers=layers, bidirectional=bidirectional)
    layer.initialize()
    for part in layer.rnn_param.packing.parts():
        side, number, kind = part[0], part[1], part[3:]
        theirs_name = {"i2h": "ih", "h2h": "hh"}[kind[:3]]
        suffix = "_reverse" if side == "r" else ""
        parameter = getattr(module, f"{kind[4:]}_{theirs_name}_l{number}{suffix}")
        getattr(layer, part).set_data(parameter.detach().numpy())
    return layer, module


def expected(module: torch.nn.RNNBase, x: Array, states: list[Array] | None = None) -> list[torch.Tensor]:
    given: Any = None if states is None else [torch.from_numpy(s) for s in states]
    given = tuple(given) if given is not None and len(given) > 1 else given and given[0]
    with torch.no_grad():
        out, last = module(torch.from_numpy(x), given)
    return [out, *(last if isinstance(last, tuple) else [last])]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_a_layer_is_torchs(name: str, layers: int, bidirectional: bool) -> None:
    layer, module = pair(name, layers, bidirectional)
    x = draw(6, 3, 5)
    close(layer(mx.np.array(x)), expected(module, x)[0])
    states = [draw(*info["shape"]) for info in layer.state_info(3)]
    out, last = layer(mx.np.array(x), [mx.np.array(s) for s in states])
    for ours, theirs in zip([out, *last], expected(module, x, states), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_one_graph_serves_any_batch_and_length(name: str) -> None:
    layer, module = pair(name, 2, True)
    layer.optimize_for(mx.np.array(draw(6, 3, 5)))
    assert [step.on_host for step in layer.steps()] == [False] * len(layer.steps())
    assert "data: (N, L, 5)" in layer.explain_shapes() and "no decision" in layer.explain_shapes()
    for times, batch in ((6, 3), (1, 1), (9, 4), (2, 8)):
        x = draw(times, batch, 5)
        close(layer(mx.np.array(x)), expected(module, x)[0])
    assert len(layer._programs) == 1


def test_batches_may_come_first() -> None:
    layer, module = pair("lstm", layout="NTC")
    x = draw(3, 6, 5)
    for compile_it in (False, True):
        layer.hybridize(compile_it)
        close(layer(mx.np.array(x)), expected(module, x.swapaxes(0, 1))[0].swapaxes(0, 1))


def test_states_may_be_one_array() -> None:
    layer, module = pair("gru")
    x, state = draw(6, 3, 5), draw(1, 3, 7)
    out, (last,) = layer(mx.np.array(x), mx.np.array(state))
    for ours, theirs in zip((out, last), expected(module, x, [state]), strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("mode", ["eager", "hybridized", "optimized"])
def test_lengths(mode: str) -> None:
    layer, module = pair("lstm", 2, True, use_sequence_length=True)
    x, lengths = draw(6, 3, 5), np.array([2, 6, 1])
    given = mx.np.array(x), None, mx.np.array(lengths)
    if mode == "optimized":
        layer.optimize_for(*given)
    layer.hybridize(mode != "eager", backend="MINIDNN" if mode == "optimized" else None)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x), torch.from_numpy(lengths), enforce_sorted=False
    )
    with torch.no_grad():
        out, last = module(packed)
        out, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
    close(layer(given[0], sequence_length=given[2]), out)
    ours, states = layer(given[0], layer.begin_state(3), given[2])
    for one, two in zip([ours, *states], [out, *last], strict=True):
        close(one, two)
    with pytest.raises(OpError, match=r"sequence_length must be integers from 0 to 6, got 7"):
        layer(given[0], sequence_length=mx.np.array([7, 1, 1]))


@pytest.mark.parametrize("format", ["minidnn", "mxnet"])
def test_an_exported_network_is_read_back(tmp_path: Path, format: Any) -> None:
    class Net(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.lstm = nn.Dense(5, flatten=False), rnn.LSTM(7, 2, bidirectional=True, layout="NTC")
            self.after = nn.Dense(4)

        def forward(self, x: Any) -> Any:
            return self.after(self.lstm(self.before(x)).mean(axis=1))

    net = Net()
    net.initialize(mx.init.Xavier())
    x = mx.np.array(draw(3, 6, 8))
    net.optimize_for(x)
    files = net.export(tmp_path / "net", format=format)
    read = SymbolBlock.imports(str(files[0]), ["data"], str(files[1]))
    close(read(x), torch.from_numpy(net(x).asnumpy()))
    if format == "minidnn":
        longer = mx.np.array(draw(2, 9, 8))
        close(read(longer), torch.from_numpy(net(longer).asnumpy()))


def test_a_projected_state() -> None:
    layer = rnn.LSTM(7, 2, bidirectional=True, projection_size=3)
    layer.initialize()
    x = mx.np.array(draw(4, 2, 5))
    out, states = layer(x, layer.begin_state(2))
    assert out.shape == (4, 2, 6) and [s.shape for s in states] == [(4, 2, 3), (4, 2, 7)]
    assert layer.rnn_param.shape == (layer.rnn_param.packing.total,)
    eager = out.asnumpy()
    layer.optimize_for(x)
    close(layer(x), torch.from_numpy(eager))


# ---- parameters -------------------------------------------------------------------------------------


def test_there_is_one_parameter_with_mxnets_name() -> None:
    layer = rnn.GRU(7, 2, bidirectional=True)
    assert [*layer.collect_params()] == ["rnn_param"]
    assert layer.rnn_param.shape == (-1,)
    assert repr(layer) == "GRU(None -> 7, TNC, num_layers=2, bidirectional)"
    layer.initialize()
    layer(mx.np.array(draw(2, 3, 5)))
    assert layer.rnn_param.shape == (2 * 21 * (5 + 7 + 2) + 2 * 21 * (14 + 7 + 2),)
    assert repr(layer) == "GRU(5 -> 7, TNC, num_layers=2, bidirectional)"


def test_parts_have_mxnet_1s_names_and_shapes() -> None:
    layer = rnn.LSTM(7, 2, bidirectional=True, input_size=5, i2h_bias_initializer="ones")
    layer.initialize()
    assert layer.l0_i2h_weight.shape == (28, 5) and layer.r1_i2h_weight.shape == (28, 14)
    assert layer.r0_h2h_weight.shape == (28, 7) and layer.l1_h2h_bias.shape == (28,)
    assert (layer.l1_i2h_bias.data().asnumpy() == 1).all() and not layer.l1_h2h_bias.data().asnumpy().any()
    values = draw(28, 7)
    layer.r0_h2h_weight.set_data(values)
    np.testing.assert_array_equal(layer.r0_h2h_weight.data().asnumpy(), values)
    with pytest.raises(DataError, match=r"r0_h2h_weight must have shape \(28, 7\), got \(7, 28\)"):
        layer.r0_h2h_weight.set_data(values.T)
    with pytest.raises(AttributeError, match="l2_i2h_weight"):
        layer.l2_i2h_weight  # noqa: B018


def test_the_initializer_of_a_network_fills_weights_as_matrices() -> None:
    layer = rnn.LSTM(40, input_size=30, h2h_weight_initializer="zeros")
    layer.initialize(mx.init.Xavier(magnitude=3))
    weights = layer.l0_i2h_weight.data().asnumpy()
    bound = (2 * 3 / (30 + 160)) ** 0.5
    assert 0.9 * bound < np.abs(weights).max() <= bound
    assert not layer.l0_h2h_weight.data().asnumpy().any()


def test_files_of_mxnet_1_are_read(tmp_path: Path) -> None:
    """There every part was a parameter of its own."""
    old = rnn.GRU(7, 2, bidirectional=True, input_size=5)
    old.initialize()
    parts = old.rnn_param.packing.unpack(old.rnn_param.data().asnumpy())
    arrays = {f"lstm.{name}": mx.np.array(part) for name, part in parts.items()}

    class Net(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = rnn.GRU(7, 2, bidirectional=True)

    net = Net()
    mx.npx.savez(str(tmp_path / "old.npz"), **arrays)
    net.load_parameters(str(tmp_path / "old.npz"))
    np.testing.assert_array_equal(net.lstm.rnn_param.data().asnumpy(), old.rnn_param.data().asnumpy())
    wrong = {**arrays, "lstm.r1_h2h_weight": mx.np.ones((7, 21))}
    with pytest.raises(DataError, match=r"'lstm.r1_h2h_weight' must have shape \(21, 7\), got \(7, 21\)"):
        net.load_dict(wrong)
    del wrong["lstm.r1_h2h_weight"]
    with pytest.raises(DataError, match=r"'lstm.rnn_param' is missing"):
        net.load_dict(wrong, ignore_extra=True)


# ---- what does not fit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnn.LSTM(0), "LSTM: rnn: attribute 'state_size' must be at least 1"),
        (lambda: rnn.GRU(3, 0), "GRU: rnn: attribute 'num_layers' must be at least 1"),
        (lambda: rnn.LSTM(3, layout="CTN"), "LSTM: layout must be 'TNC' or 'NTC', got 'CTN'"),
        (lambda: rnn.RNN(3, activation="elu"), "RNN: activation must be 'relu' or 'tanh', got 'elu'"),
        (lambda: rnn.LSTM(3, input_size=-1), "input_size must be at least 0, got -1"),
        (lambda: rnn.LSTM(3, state_clip_min=1.0), "must be both numbers"),
    ],
)
def test_layers_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("compile_it", [False, True])
def test_inputs_that_do_not_fit(compile_it: bool) -> None:
    layer = rnn.LSTM(7)
    layer.initialize()
    x = mx.np.array(draw(6, 3, 5))
    layer(x)
    layer.hybridize(compile_it)
    with pytest.raises(ShapeError, match=r"LSTM: rnn: state must have shape \(1, 3, 7\).* got \(1, 2, 7\)"):
        layer(x, layer.begin_state(2))
    with pytest.raises(ShapeError, match=r"parameters must have shape"):
        layer(mx.np.array(draw(6, 3, 4)))
    with pytest.raises(ValueError, match="LSTM: inputs must have 3 dimensions, TNC"):
        layer(x[0])
    with pytest.raises(ValueError, match="LSTM: states must be 2 arrays, got 1"):
        layer(x, layer.begin_state(3)[:1])
    with pytest.raises(ValueError, match="LSTM: sequence_length is not wanted without use_sequence_length=True"):
        layer(x, None, mx.np.array([1, 1, 1]))
    wanting = rnn.LSTM(7, use_sequence_length=True)
    with pytest.raises(ValueError, match="LSTM: sequence_length is wanted"):
        wanting(x)


def test_npx_rnn_says_what_is_missing() -> None:
    with pytest.raises(OpError, match="rnn: state_cell is missing"):
        mx.npx.rnn(mx.np.ones((2, 1, 3)), mx.np.ones((84,)), mx.np.ones((1, 1, 3)), mode="lstm")
    with pytest.raises(OpError, match="rnn: attribute 'mode' must be a str, got None"):
        mx.npx.rnn(mx.np.ones((2, 1, 3)), mx.np.ones((84,)), mx.np.ones((1, 1, 3)), state_size=3, num_layers=1)
