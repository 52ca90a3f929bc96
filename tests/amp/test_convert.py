"""Networks with weights in bfloat16: what they compute, what is converted and what is not, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import minidnn as mx
from minidnn import amp
from minidnn.errors import OpError
from minidnn.gluon import nn
from minidnn.runtime.library import chosen_isa

sys.path.append(str(Path(__file__).parents[1] / "accuracy"))

BFLOAT16 = ["bfloat16", ml_dtypes.bfloat16, torch.bfloat16, np.dtype([("bfloat16", np.uint16)])]


def draw(*shape: int, seed: int = 0) -> Any:
    return mx.np.array(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def rounded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(array, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def network() -> Any:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(24, 3, padding=1, in_channels=6),
        nn.BatchNorm(in_channels=24),
        nn.Activation("relu"),
        nn.Conv2D(24, 3, groups=24, in_channels=24),
        nn.Conv2D(32, 1, groups=2, use_bias=False, in_channels=24),
        nn.BatchNorm(in_channels=32),
        nn.Conv2DTranspose(10, 4, strides=2, padding=1, in_channels=32),
        nn.BatchNorm(in_channels=10),
        nn.Flatten(),
        nn.Dense(21, activation="relu", in_units=10 * 12 * 14),
        nn.Dense(5, use_bias=False, in_units=21),
    )
    # Of some seeds, sums cancel more than a bound for float32 allows.
    mx.random.seed(2)
    net.initialize(mx.init.Normal(0.2))
    rng = np.random.default_rng(3)
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "running_var", "beta", "running_mean", "bias")):
            low = 0.5 if name.endswith(("gamma", "running_var")) else -0.5
            parameter.set_data(mx.np.array(rng.uniform(low, 1.5, parameter.shape).astype("float32")))
    return net


def with_rounded_weights(net: Any, x: Any) -> np.ndarray[Any, Any]:
    """The network by PyTorch in float64, its weights rounded with the batch norms behind them folded in."""
    p = {name: torch.from_numpy(v.data().asnumpy().astype(np.float64)) for name, v in net.collect_params().items()}

    def folded(layer: int, norm: int | None, axis: int, groups: int = 1) -> tuple[Any, Any]:
        weight = p[f"{layer}.weight"]
        bias = p.get(f"{layer}.bias", torch.zeros(1, dtype=torch.float64))
        if norm is not None:
            scale = p[f"{norm}.gamma"] / torch.sqrt(p[f"{norm}.running_var"] + 1e-5)
            weight = weight * scale.reshape([-1 if d == axis else 1 for d in range(weight.ndim)])
            bias = (bias - p[f"{norm}.running_mean"]) * scale + p[f"{norm}.beta"]
        return torch.from_numpy(rounded(weight.numpy()).astype(np.float64)), bias

    f = torch.nn.functional
    y = torch.from_numpy(x.asnumpy().astype(np.float64))
    weight, bias = folded(0, 1, 0)
    y = torch.relu(f.conv2d(y, weight, bias, padding=1))
    y = f.conv2d(y, p["3.weight"], p["3.bias"], groups=24)
    weight, bias = folded(4, 5, 0)
    y = f.conv2d(y, weight, bias, groups=2)
    weight, bias = folded(6, 7, 1)
    y = f.conv_transpose2d(y, weight, bias, stride=2, padding=1).flatten(1)
    y = torch.relu(y @ folded(9, None, 0)[0].T + p["9.bias"])
    return (y @ folded(10, None, 0)[0].T).numpy()


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """A network, and it converted."""
    net = network()
    return net, amp.convert_hybrid_block(net, draw(2, 6, 8, 9))


def is_native() -> bool:
    """Whether data is rounded too, since this CPU multiplies bfloat16."""
    return bool(chosen_isa().bfloat16)


def assert_near(actual: Any, wanted: np.ndarray[Any, Any]) -> None:
    tolerance = 2e-2 if is_native() else 2e-6
    np.testing.assert_allclose(actual.asnumpy(), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def test_it_computes_with_rounded_weights_and_float32_sums(pair: tuple[Any, Any]) -> None:
    net, made = pair
    for batch in (2, 1, 3):
        x = draw(batch, 6, 8, 9, seed=batch)
        assert_near(made(x), with_rounded_weights(net, x))
    assert np.abs(made(x).asnumpy() - net(x).asnumpy()).max() > 1e-3 * np.abs(net(x).asnumpy()).max()
    assert not any(step.on_host for step in made.steps())


def test_weights_take_half_the_memory_and_depthwise_ones_stay(pair: tuple[Any, Any]) -> None:
    kinds = {name: str(p.dtype) for name, p in pair[1].collect_params().items()}
    assert [name for name, kind in kinds.items() if kind == "uint16"] == [
        f"{layer}.weight_bfloat16" for layer in (0, 4, 6, 9, 10)
    ]
    assert kinds["3.weight"] == "float32"
    assert not any("running" in name for name in kinds)


def test_it_is_exported_imported_and_compiled(pair: tuple[Any, Any], tmp_path: Path) -> None:
    made, x = pair[1], draw(2, 6, 8, 9)
    made.export(str(tmp_path / "net"))
    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params"))
    np.testing.assert_array_equal(again(x).asnumpy(), made(x).asnumpy())
    again.optimize_for(x)
    np.testing.assert_array_equal(again(x).asnumpy(), made(x).asnumpy())
    assert "convolution_bfloat16_weight" in again.export(None)[0].tojson()


def test_onnx_has_its_weights_in_bfloat16(pair: tuple[Any, Any], tmp_path: Path) -> None:
    made, x = pair[1], draw(2, 6, 8, 9)
    path = tmp_path / "net.onnx"
    mx.onnx.export_model(made, path)
    kinds = [t.data_type for t in onnx.load(path).graph.initializer if len(t.dims) > 1]
    assert sorted(kinds) == [onnx.TensorProto.FLOAT] + [onnx.TensorProto.BFLOAT16] * 5
    session = onnxruntime.InferenceSession(path)
    (wanted,) = session.run(None, {session.get_inputs()[0].name: x.asnumpy()})
    assert_near(made(x), wanted)
    assert_near(mx.onnx.import_model(path)(x), wanted)


@pytest.mark.parametrize("kind", BFLOAT16, ids=str)
def test_the_target_is_known_by_every_name(kind: Any) -> None:
    assert {"Convolution", "Deconvolution", "FullyConnected"} <= set(amp.list_lp16_ops(kind))
    amp.init(kind)


@pytest.mark.parametrize("kind", ["float16", np.float16, "int8", None, 3, "float32"])
def test_other_targets_are_refused(kind: Any) -> None:
    dense = nn.Dense(3, in_units=2)
    dense.initialize()
    calls = [
        lambda: amp.convert_hybrid_block(dense, draw(1, 2), kind),
        lambda: amp.init(kind),
        lambda: amp.list_fp32_ops(kind),
        lambda: amp.list_widest_type_cast(kind),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="target_dtype must be 'bfloat16', got"):
            call()


def test_the_lists_do_not_intersect_and_have_all_operators() -> None:
    low, high = amp.list_lp16_ops("bfloat16"), amp.list_fp32_ops("bfloat16")
    assert not set(low) & set(high)
    assert {"Pooling", "BatchNorm", "quantized_convolution"} <= set(high)
    for empty in (amp.list_lp16_fp32_ops, amp.list_conditional_fp32_ops, amp.list_loss_output_functions):
        assert empty("bfloat16") == []
    assert amp.list_lp16_use_fp32_params("bfloat16")["Convolution"] == ["", "", "bias"]


def _converted(**options: Any) -> set[str]:
    """The layers whose weights are bfloat16."""
    made = amp.convert_hybrid_block(network(), draw(1, 6, 8, 9), "bfloat16", **options)
    return {name.split(".")[0] for name, p in made.collect_params().items() if p.dtype == np.uint16}


@pytest.mark.parametrize(
    "options, layers",
    [
        ({"target_dtype_ops": ["FullyConnected"]}, "9 10"),
        ({"target_dtype_ops": ["convolution", "Pooling"]}, "0 4"),
        ({"target_dtype_ops": []}, ""),
        ({"fp32_ops": ["FullyConnected", "Convolution"]}, "6"),
        (
            {"conditional_fp32_ops": [("Convolution", "num_group", ["2"]), ("FullyConnected", "no_bias", ["True"])]},
            "0 6 9",
        ),
        ({"excluded_sym_names": ["0", "9_fully_connected"]}, "4 6 10"),
        ({"cast_params_offline": True, "device": mx.cpu()}, "0 4 6 9 10"),
    ],
    ids=str,
)
def test_lists_choose_what_is_converted(options: dict[str, Any], layers: str) -> None:
    assert _converted(**options) == set(layers.split())


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"target_dtype_ops": ["Konvolution"]}, ValueError, "target_dtype_ops: there is no operator 'Konvolution'"),
        ({"fp32_ops": "Convolution"}, TypeError, "fp32_ops must be a list of names"),
        ({"conditional_fp32_ops": [("Convolution", "kernel")]}, TypeError, "a list of .operator, attribute, list of"),
        ({"conditional_fp32_ops": [("Convolution", "colour", ["red"])]}, ValueError, "has no attribute 'colour'"),
        ({"excluded_sym_names": ["12"]}, ValueError, "excluded_sym_names: no layer fits '12'"),
        (
            {"target_dtype_ops": ["Convolution"], "fp32_ops": ["convolution"]},
            ValueError,
            r"operators in fp32_ops and in target_dtype_ops: \['convolution'\]",
        ),
        ({"device": "cpu"}, TypeError, "device must be a Device"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        amp.convert_hybrid_block(network(), draw(1, 6, 8, 9), "bfloat16", **options)


def test_what_is_no_network_or_no_array_is_refused() -> None:
    with pytest.raises(TypeError, match="block must be a HybridBlock, got Lambda"):
        amp.convert_hybrid_block(nn.Lambda("tanh"), draw(1))
    with pytest.raises(TypeError, match=r"data_example must be an mx.np.ndarray, .* got ndarray"):
        amp.convert_hybrid_block(network(), np.ones((1, 6, 8, 9), np.float32))
    with pytest.raises(OpError, match="channels"):
        amp.convert_hybrid_block(network(), draw(1, 5, 8, 9))


def test_numbers_beyond_bfloat16_are_refused_and_others_kept() -> None:
    dense = nn.Dense(2, in_units=3, use_bias=False)
    dense.initialize()
    dense.weight.set_data(mx.np.array([[1, 2, np.inf], [np.nan, 3, 4]]))
    made = amp.convert_hybrid_block(dense, draw(1, 3))
    (weight,) = made.collect_params().values()
    np.testing.assert_array_equal(
        weight.data().asnumpy().view(ml_dtypes.bfloat16).astype(np.float32), dense.weight.data().asnumpy()
    )
    dense.weight.set_data(mx.np.full((2, 3), 3.4e38))
    with pytest.raises(OpError, match=r"its weight has numbers beyond bfloat16, up to 3\.4e\+38"):
        amp.convert_hybrid_block(dense, draw(1, 3))


class Products(nn.HybridBlock):
    """Products by known matrices, and by what is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.right = mx.gluon.Parameter("right", shape=(70, 33), init=mx.init.Normal(0.3))
        self.other = mx.gluon.Parameter("other", shape=(33, 17), init=mx.init.Normal(0.3))
        self.dense = nn.Dense(9, flatten=False, in_units=17)

    def forward(self, x: Any) -> Any:
        y = mx.np.dot(mx.np.matmul(x, self.right.data()), self.other.data())
        return self.dense(y) + self.dense(mx.npx.relu(y)), mx.np.matmul(x, x.swapaxes(-1, -2))


def test_products_by_a_known_matrix_are_dense_layers_and_weights_are_rounded_once() -> None:
    net, x = Products(), draw(2, 5, 70)
    net.initialize(mx.init.Normal(0.3))
    made = amp.convert_hybrid_block(net, x)
    assert {n: str(p.dtype) for n, p in made.collect_params().items()} == {
        "right_bfloat16": "uint16",
        "other_bfloat16": "uint16",
        "dense.weight_bfloat16": "uint16",
        "dense.bias": "float32",
    }
    x64 = x.asnumpy().astype(np.float64)
    right, other, weight = (
        rounded(p.data().asnumpy()).astype(np.float64) for p in (net.right, net.other, net.dense.weight)
    )
    y = x64 @ right @ other
    first, second = made(x)
    assert_near(first, y @ weight.T + np.maximum(y, 0) @ weight.T + 2 * net.dense.bias.data().asnumpy())
    np.testing.assert_allclose(second.asnumpy(), x64 @ x64.swapaxes(-1, -2), rtol=0, atol=1e-4)


def test_a_symbol_with_its_parameters_gives_the_same(pair: tuple[Any, Any]) -> None:
    net, x = pair[0], draw(2, 6, 8, 9)
    net.hybridize()
    net(x)
    symbol = net.export(None)[0]
    values = {n: p.data() for n, p in net.collect_params().items()}
    (name,) = [n for n in symbol.list_inputs() if n not in values]
    auxiliary = {n: values.pop(n) for n in symbol.list_auxiliary_states()}
    made, arguments, rest = amp.convert_model(symbol, values, auxiliary, {name: "float32"}, "bfloat16")
    assert rest == {}
    assert sum(a.dtype == np.uint16 for a in arguments.values()) == 5
    block = mx.gluon.SymbolBlock(made, [mx.sym.var(name)], arguments)
    np.testing.assert_array_equal(block(x).asnumpy(), pair[1](x).asnumpy())
    with pytest.raises(TypeError, match="arg_params must be a dict"):
        amp.convert_model(symbol, [], {}, {name: "float32"}, "bfloat16")
    with pytest.raises(TypeError, match="sym must be a Symbol, got"):
        amp.convert_model(net, {}, {}, {}, "bfloat16")


def test_a_converted_network_stays_as_it_is_when_converted_again(pair: tuple[Any, Any]) -> None:
    x = draw(2, 6, 8, 9)
    again = amp.convert_hybrid_block(pair[1], x)
    np.testing.assert_array_equal(again(x).asnumpy(), pair[1](x).asnumpy())


def test_arrays_and_parameters_of_bfloat16_are_refused_with_the_way_to_go() -> None:
    dense = nn.Dense(3, in_units=2)
    dense.initialize()
    norm = nn.BatchNorm(in_channels=2)
    calls = [
        lambda: mx.np.array([1], dtype="bfloat16"),
        lambda: mx.np.zeros(2, dtype="bfloat16"),
        lambda: mx.np.empty(2, dtype=ml_dtypes.bfloat16),
        lambda: mx.np.array(np.ones(2, ml_dtypes.bfloat16)),
        lambda: mx.np.ones(2).astype("bfloat16"),
        lambda: dense.cast("bfloat16"),
        lambda: norm.cast("bfloat16"),
        lambda: nn.Dense(3, in_units=2, dtype="bfloat16"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"arrays of bfloat16 are not supported; mx.amp.convert_hybrid_block"):
            call()
    assert dense.weight.dtype == np.float32


def test_bfloat16_loses_no_image_of_the_digits() -> None:
    from digits import load_net, read_digits

    test = read_digits()[1]
    net, images = load_net(), mx.np.array(test.images)
    made = amp.convert_hybrid_block(net, images[:100])
    logits, wanted = (
        np.concatenate([n(images[i : i + 500]).asnumpy() for i in range(0, 2000, 500)]) for n in (made, net)
    )
    assert np.mean(logits.argmax(1) == test.labels) >= np.mean(wanted.argmax(1) == test.labels)
    assert np.abs(logits - wanted).max() > 0
