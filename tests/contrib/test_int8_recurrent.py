"""Recurrent layers in int8: data, weights and states, in every mode of calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantization_helpers import Array

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import GraphError, OpError, ShapeError
from minidnn.gluon import nn, rnn
from minidnn.interop.onnx.export.writer import ExportError

MODES = ["none", "naive", "entropy", "tuned"]


def draw(*shape: int, seed: int = 0) -> Any:
    return mx.np.array(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def flat(outputs: Any) -> list[Array]:
    if isinstance(outputs, list | tuple):
        return [array for output in outputs for array in flat(output)]
    return [outputs.asnumpy()]


def tagger(layer: Any) -> Any:
    """A recurrent layer between dense ones."""
    mx.random.seed(1)
    net = nn.HybridSequential()
    net.add(nn.Dense(24, flatten=False, activation="relu", in_units=11), layer, nn.Dense(5, flatten=False))
    net.initialize(mx.init.Xavier())
    return net


def signal_to_noise(got: Sequence[Array], wanted: Sequence[Array]) -> float:
    noise = sum(((a - b).astype(np.float64) ** 2).sum() for a, b in zip(got, wanted, strict=True))
    return float(10 * np.log10(sum((b.astype(np.float64) ** 2).sum() for b in wanted) / noise))


LAYERS = {
    "lstm": lambda: rnn.LSTM(40, num_layers=2, bidirectional=True, input_size=24),
    "projected lstm": lambda: rnn.LSTM(40, projection_size=17, input_size=24),
    "gru, batch first": lambda: rnn.GRU(33, layout="NTC", input_size=24),
    "rnn": lambda: rnn.RNN(40, activation="tanh", input_size=24),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LAYERS)
def test_a_network_in_int8_is_near_the_one_in_float32(name: str, mode: str) -> None:
    net, x = tagger(LAYERS[name]()), draw(9, 6, 11)
    data = None if mode == "none" else [x, draw(9, 6, 11, seed=1)]
    net(x)
    net.hybridize()
    net(x)
    made = quantize_net(net, calib_mode=mode, calib_data=data)
    fresh = draw(7, 3, 11, seed=2)
    assert signal_to_noise(flat(made(fresh)), flat(net(fresh))) > 26
    kinds = [str(p.dtype) for key, p in made.collect_params().items() if "weight" in key and "scale" not in key]
    assert set(kinds) == {"int8"} and len(kinds) >= 4
    steps = made.steps()
    assert not any(step.on_host for step in steps)
    assert any("recurrent" in step.kernel for step in steps)


@pytest.mark.parametrize("mode", ["none", "naive"])
def test_a_sequence_gives_the_same_bits_in_any_batch(mode: str) -> None:
    net, x = tagger(LAYERS["lstm"]()), draw(9, 6, 11)
    net(x)
    made = quantize_net(net, calib_mode=mode, calib_data=None if mode == "none" else [x], data_shapes=[(9, 6, 11)])
    whole = made(x).asnumpy()
    for rows in ([2], [5, 0, 3]):
        np.testing.assert_array_equal(made(x[:, rows]).asnumpy(), whole[:, rows])


def test_states_and_lengths_of_a_layer_by_itself() -> None:
    class Layer(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.gru = rnn.GRU(21, num_layers=2, input_size=13, use_sequence_length=True)

        def forward(self, x: Any, state: Any, lengths: Any) -> Any:
            return self.gru(x, [state], lengths)

    mx.random.seed(0)
    net = Layer()
    net.initialize(mx.init.Xavier())
    x, state, lengths = draw(6, 4, 13), draw(2, 4, 21, seed=1), mx.np.array([6, 0, 3, 1], dtype="int32")
    net(x, state, lengths)
    made = quantize_net(net, calib_mode="naive", calib_data=[[x, state, lengths]])
    got, wanted = flat(made(x, state, lengths)), flat(net(x, state, lengths))
    assert signal_to_noise(got, wanted) > 26
    np.testing.assert_array_equal(got[1][:, 1], state.asnumpy()[:, 1], err_msg="an empty sequence keeps its state")
    assert not got[0][3:, 2].any()


def test_unrolled_cells_are_quantized_alike() -> None:
    class Unrolled(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.cell = rnn.LSTMCell(30, input_size=14)

        def forward(self, x: Any) -> Any:
            return self.cell.unroll(7, x, layout="NTC", merge_outputs=True)[0]

    mx.random.seed(0)
    net, x = Unrolled(), draw(3, 7, 14)
    net.initialize(mx.init.Xavier())
    net(x)
    made = quantize_net(net, calib_mode="naive", calib_data=[x])
    assert signal_to_noise(flat(made(x)), flat(net(x))) > 26
    assert sum(str(p.dtype) == "int8" for p in made.collect_params().values()) == 2


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    net, x = tagger(LAYERS["lstm"]()), draw(9, 6, 11)
    net(x)
    made = quantize_net(net, calib_mode="naive", calib_data=[x])
    made.export(str(tmp_path / "net"))
    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    np.testing.assert_array_equal(again(x).asnumpy(), made(x).asnumpy())
    with pytest.raises(ExportError, match="no recurrent layer with int8 weights or states"):
        mx.onnx.export_model(made, str(tmp_path / "net.onnx"))
    with pytest.raises(GraphError, match="int8 already"):
        quantize_net(made, calib_mode="naive", calib_data=[x])


def test_what_is_excluded_stays_in_float32() -> None:
    net, x = tagger(LAYERS["lstm"]()), draw(9, 6, 11)
    net(x)
    for options in ({"exclude_layers": ["1"]}, {"exclude_operators": ["RNN"]}):
        made = quantize_net(net, calib_mode="naive", calib_data=[x], **options)
        kinds = {key: str(p.dtype) for key, p in made.collect_params().items() if "weight" in key or "rnn" in key}
        assert kinds["1.rnn_param"] == "float32", kinds
        assert [str(p.dtype) for p in made.collect_params().values()].count("int8") == 2


def test_not_a_number_spoils_its_own_sequence() -> None:
    net, x = tagger(LAYERS["projected lstm"]()), draw(5, 3, 11)
    net(x)
    made = quantize_net(net, calib_mode="none", data_shapes=[(5, 3, 11)])
    before = made(x).asnumpy()
    x[2, 1, 4] = np.nan
    after = made(x).asnumpy()
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    np.testing.assert_array_equal(after[:2], before[:2])
    assert np.isnan(after[2:, 1]).all()


def test_inputs_that_do_not_fit_are_named() -> None:
    class Layer(nn.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = rnn.LSTM(9, input_size=5, use_sequence_length=True)

        def forward(self, x: Any, state: Any, lengths: Any) -> Any:
            return self.lstm(x, [state, state], lengths)

    net, inputs = Layer(), [draw(4, 2, 5), draw(1, 2, 9), mx.np.array([4, 2], dtype="int32")]
    net.initialize(mx.init.Xavier())
    net(*inputs)
    made = quantize_net(net, calib_mode="naive", calib_data=[inputs])
    for wrong in ([5, 1], [-1, 1]):
        with pytest.raises(OpError, match=r"sequence_length must be integers from 0 to 4, got -?\d at 0"):
            made(*inputs[:2], mx.np.array(wrong, dtype="int32"))
    with pytest.raises(ShapeError, match=r"state must have shape \(1, 2, 9\)"):
        made(inputs[0], draw(1, 3, 9), inputs[2])
    empty = flat(made(*inputs[:2], mx.np.array([0, 0], dtype="int32")))
    assert not empty[0].any()
    np.testing.assert_array_equal(empty[1], inputs[1].asnumpy())
    assert [array.shape for array in flat(made(draw(4, 0, 5), draw(1, 0, 9), mx.np.zeros((0,), dtype="int32")))] == [
        (4, 0, 9),
        (1, 0, 9),
        (1, 0, 9),
    ]
