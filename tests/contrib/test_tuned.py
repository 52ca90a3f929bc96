"""``calib_mode='tuned'``: nearer to the float32 network than minimum and maximum, whatever the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantization_helpers import Residual, draw, fill, op_names, small_net, sqnr

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import quantize_net, read_tuning
from minidnn.errors import DataError
from minidnn.gluon import nn


def tuned(net: Any, *batches: Any, **options: Any) -> Any:
    return quantize_net(net, calib_mode="tuned", calib_data=[mx.np.array(b) for b in batches], **options)


def naive(net: Any, *batches: Any) -> Any:
    data = [mx.np.array(b) for b in batches]
    return quantize_net(net, calib_mode="naive", calib_data=data, quantize_granularity="channel-wise")


def compared(net: Any, x: Any, *calibration: Any) -> tuple[float, float]:
    """dB on `x`, tuned and naive."""
    x = mx.np.array(x)
    wanted = net(x)
    return sqnr(wanted, tuned(net, *calibration)(x)), sqnr(wanted, naive(net, *calibration)(x))


class Depthwise(gluon.HybridBlock):
    """An inverted residual between a stem and a dense layer, as MobileNetV2 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2D(8, 3, strides=2, padding=1, use_bias=False, in_channels=3)
        self.expand = nn.Conv2D(24, 1, use_bias=False, in_channels=8)
        self.depthwise = nn.Conv2D(24, 3, padding=1, groups=24, use_bias=False, in_channels=24)
        self.project = nn.Conv2D(8, 1, use_bias=False, in_channels=24)
        self.norms = nn.HybridSequential()
        self.norms.add(*(nn.BatchNorm() for _ in range(4)))
        self.dense = nn.Dense(10)

    def forward(self, x: Any) -> Any:
        x = mx.np.clip(self.norms[0](self.stem(x)), 0, 6)
        y = mx.np.clip(self.norms[1](self.expand(x)), 0, 6)
        y = mx.np.clip(self.norms[2](self.depthwise(y)), 0, 6)
        y = self.norms[3](self.project(y)) + x
        return self.dense(mx.npx.pooling(y, pool_type="avg", global_pool=True, kernel=(1, 1)))


NETS: dict[str, Any] = {
    "residual": (small_net, (16, 3, 16, 16)),
    "depthwise": (lambda: fill(Depthwise(), (1, 3, 12, 12)), (16, 3, 12, 12)),
    "dense": (lambda: _dense(), (64, 20)),
}


def _dense() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Dense(32, activation="relu", in_units=20), nn.Dense(32, activation="relu"), nn.Dense(5))
    return fill(net, (1, 20))


@pytest.mark.parametrize("name", NETS)
def test_it_is_nearer_to_float32_than_minimum_and_maximum_also_on_other_data(name: str) -> None:
    make, shape = NETS[name]
    ours, theirs = compared(make(), draw(*shape, seed=9), draw(*shape, seed=1), draw(*shape, seed=2))
    assert ours > theirs


def test_the_same_data_gives_the_same_bits() -> None:
    net, x = small_net(), draw(4, 3, 16, 16)
    first, second = (tuned(net, x, x[:3]) for _ in range(2))
    assert first.export(None)[0] == second.export(None)[0]
    arrays = [{name: p.data().asnumpy().tobytes() for name, p in q.collect_params().items()} for q in (first, second)]
    assert arrays[0] == arrays[1]


def test_the_network_has_the_operations_of_a_naive_one(tmp_path: Any) -> None:
    net, x = fill(Depthwise(), (1, 3, 12, 12)), draw(8, 3, 12, 12)
    ours = tuned(net, x)
    assert op_names(ours) == op_names(naive(net, x))
    wanted = ours(mx.np.array(x)).asnumpy()
    files = ours.export(tmp_path / "net")
    again = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    assert again(mx.np.array(x)).asnumpy().tobytes() == wanted.tobytes()


class PostNorm(gluon.HybridBlock):
    """The dense half of a transformer's layer: its input goes by the dense layers, too."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Dense(24, flatten=False, in_units=12, activation="relu")
        self.narrow = nn.Dense(12, flatten=False, in_units=24)
        self.norm = nn.LayerNorm(in_channels=12)
        self.head = nn.Dense(4, flatten=False, in_units=12, use_bias=False)

    def forward(self, x: Any) -> Any:
        return self.head(self.norm(self.narrow(self.wide(x)) + x))


def uneven_rows(*shape: int, seed: int) -> Any:
    """Rows of which some are a hundred times as large as others."""
    return draw(*shape, seed=seed) * 10.0 ** np.random.default_rng(seed).uniform(-1, 1, (*shape[:-1], 1)).astype("f")


def test_dense_layers_on_rows_find_the_range_of_each_row(tmp_path: Any) -> None:
    net = fill(PostNorm(), (1, 5, 12))
    x, data = mx.np.array(uneven_rows(4, 5, 12, seed=1)), uneven_rows(64, 5, 12, seed=2)
    net(x)
    ours = tuned(net, data)
    wanted, got = net(x).asnumpy(), ours(x).asnumpy()
    # Of each row, for the range of all rows together leaves nothing of small ones.
    recipe = read_tuning(ours)
    assert recipe is not None and all("ranges of rows" in layer.rounding for layer in recipe.layers)
    noise = np.square(wanted - got).sum(-1) / np.square(wanted).sum(-1)
    assert noise.max() < 0.01
    assert sqnr(wanted, got) > sqnr(wanted, naive(net, data)(x)) + 3
    alone = [ours(x[i : i + 1, j : j + 1]).asnumpy() for i in range(4) for j in range(5)]
    assert np.stack(alone).tobytes() == got.reshape(20, 1, 1, 4).tobytes()
    files = ours.export(tmp_path / "net")
    again = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    assert again(x).asnumpy().tobytes() == got.tobytes()


def test_rows_are_tuned_in_batches_of_different_sizes() -> None:
    net = fill(PostNorm(), (1, 5, 12))
    x = mx.np.array(uneven_rows(4, 5, 12, seed=3))
    made = tuned(net, uneven_rows(16, 5, 12, seed=4), uneven_rows(3, 9, 12, seed=5))
    assert sqnr(net(x), made(x)) > 25


def test_a_dense_layer_on_whole_samples_keeps_the_range_of_calibration() -> None:
    made = tuned(_dense(), draw(64, 20))
    quantizing = [n for n in made._own_graph().symbol.operations() if n.op_name == "quantize"]
    assert quantizing and all(n.attrs.min_calib_range is not None for n in quantizing)


def test_the_float32_network_stays_as_it_is() -> None:
    net, x = small_net(), mx.np.array(draw(4, 3, 16, 16))
    before = net(x).asnumpy().tobytes()
    tuned(net, x)
    assert net(x).asnumpy().tobytes() == before


def test_excluded_layers_stay_in_float32_also_by_the_name_of_what_is_folded() -> None:
    net, x = fill(Residual(8), (1, 8, 6, 6)), draw(4, 8, 6, 6)
    for name in ("conv2", "bn2"):
        names = op_names(tuned(net, x, exclude_layers=[name]))
        assert "fused_conv_bn_add_act_1" in names and "quantized_fused_conv_bn_act_0" in names


@pytest.mark.parametrize("kind", ["one sample", "zeros", "all equal", "tiny", "huge"])
def test_thin_data_is_never_worse_than_minimum_and_maximum_on_it(kind: str) -> None:
    net = small_net()
    x = {
        "one sample": draw(1, 3, 16, 16),
        "zeros": np.zeros((2, 3, 16, 16), np.float32),
        "all equal": np.full((4, 3, 16, 16), 0.7, np.float32),
        "tiny": 1e-30 * draw(2, 3, 16, 16),
        "huge": 1e12 * draw(2, 3, 16, 16),
    }[kind]
    ours, theirs = compared(net, x, x)
    assert ours >= theirs


def test_dead_channels_and_dead_inputs_are_no_trouble() -> None:
    net, x = small_net(), draw(4, 3, 16, 16)
    x[:, 1] = 0
    weight = net[0].weight.data().asnumpy()
    weight[2] = 0
    net[0].weight.set_data(mx.np.array(weight))
    net[1].gamma.set_data(mx.np.array(np.where(np.arange(8) == 5, 0, net[1].gamma.data().asnumpy())))
    ours, theirs = compared(net, x, x)
    assert ours >= theirs


def test_layers_that_share_weights_are_tuned_each_by_itself() -> None:
    class Twice(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2D(6, 3, padding=1, in_channels=6)

        def forward(self, x: Any) -> Any:
            return self.conv(mx.npx.relu(self.conv(x)))

    net, x = fill(Twice(), (1, 6, 8, 8)), draw(8, 6, 8, 8)
    made = tuned(net, x)
    integers = [p.data().asnumpy() for n, p in made.collect_params().items() if p.dtype == np.int8]
    assert len(integers) == 2 and not np.array_equal(*integers)
    assert sqnr(net(mx.np.array(x)), made(mx.np.array(x))) > 35


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinity_in_the_data_is_an_error(value: float) -> None:
    x = draw(2, 3, 16, 16)
    x[0, 0, 0, 0] = value
    with pytest.raises(DataError, match=r"batch 1.*NaN or infinity"):
        tuned(small_net(), draw(2, 3, 16, 16), x)


@pytest.mark.parametrize(
    "batches", [[], iter(()), np.zeros((0, 3, 16, 16), np.float32)], ids=["list", "iterator", "array"]
)
def test_no_data_is_an_error(batches: Any) -> None:
    with pytest.raises(DataError, match=r"empty|no batch|no sample"):
        quantize_net(small_net(), calib_mode="tuned", calib_data=batches)


def test_one_layer_and_inputs_that_depend_on_each_other() -> None:
    dense = nn.Dense(4, in_units=9)
    fill(dense, (1, 9))
    one = draw(12, 3)
    # Moments of rank 3, and a column that is always the same.
    x = np.concatenate([one, one, 2 * one], 1)
    x[:, 4] = 1
    ours, theirs = compared(dense, x, x)
    assert ours >= theirs


def test_batches_of_other_heights_and_widths_are_tuned_on_together() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, 3, padding=1, in_channels=3, activation="relu"), nn.Conv2D(4, 3, in_channels=6))
    fill(net, (1, 3, 12, 12))
    ours, theirs = compared(net, draw(4, 3, 9, 14, seed=5), draw(4, 3, 12, 12), draw(2, 3, 7, 20), draw(1, 3, 12, 12))
    assert ours > theirs


def test_around_layers_of_a_transformer_outliers_are_scaled_down(tmp_path: Any) -> None:
    class Layer(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.norm2 = nn.LayerNorm(in_channels=32), nn.LayerNorm(in_channels=32)
            self.wide, self.back = (nn.Dense(n, flatten=False, in_units=96 - n) for n in (64, 32))

        def forward(self, x: Any) -> Any:
            y = self.norm(x)
            return self.norm2(self.back(mx.npx.gelu(self.wide(y))) + y)

    net, x = fill(Layer(), (1, 4, 32)), draw(8, 16, 32)
    gamma = np.ones(32, np.float32)
    gamma[5] = 40
    net.norm.gamma.set_data(mx.np.array(gamma))
    made = tuned(net, x)
    recipe = read_tuning(made)
    assert recipe is not None and len(recipe.equalized) == 1 and len(recipe.shifted) == 1
    other = mx.np.array(draw(8, 16, 32, seed=3))
    wanted = net(other)
    found = sqnr(wanted, made(other))
    assert found > sqnr(wanted, naive(net, x)(other)) + 6
    files = made.export(tmp_path / "net")
    back = gluon.SymbolBlock.imports(files[0], ["data"], files[1])
    assert back(other).asnumpy().tobytes() == made(other).asnumpy().tobytes()
    # The layer that adds undoes the scales in its own kernel.
    plain = quantize_net(net, quantize_granularity="channel-wise", data_shapes=[x.shape])
    plain(other)
    assert len(made.steps()) <= len(plain.steps())
    assert not any(step.on_host for step in made.steps())


def test_what_a_layer_also_adds_is_not_shifted() -> None:
    class Around(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Dense(24, in_units=12), nn.Dense(24, in_units=24)

        def forward(self, x: Any) -> Any:
            y = mx.npx.gelu(self.one(x))
            return self.two(y) + y

    net, x = fill(Around(), (1, 12)), draw(40, 12)
    ours, theirs = compared(net, x, x)
    assert ours > theirs
    recipe = read_tuning(tuned(net, x))
    assert recipe is not None and not recipe.is_naive and not recipe.shifted


def test_it_needs_data() -> None:
    with pytest.raises(ValueError, match="calib_mode='tuned' needs calib_data"):
        quantize_net(small_net(), calib_mode="tuned", data_shapes=[(1, 3, 16, 16)])


def test_a_network_with_nothing_to_quantize_stays_in_float32() -> None:
    net = nn.HybridSequential()
    net.add(nn.Activation("relu"), nn.Flatten())
    net.initialize()
    x = draw(2, 3, 4)
    assert tuned(net, x)(mx.np.array(x)).asnumpy().tobytes() == net(mx.np.array(x)).asnumpy().tobytes()


def test_batches_of_different_sizes_are_as_good() -> None:
    net, x = small_net(), draw(7, 3, 16, 16)
    ours, theirs = compared(net, x, x[:4], x[4:])
    assert ours > theirs


def test_the_recipe_stays_with_the_network(tmp_path: Any) -> None:
    net, x = fill(Depthwise(), (1, 3, 12, 12)), draw(8, 3, 12, 12)
    made = tuned(net, x)
    recipe = read_tuning(made)
    assert recipe is not None and not recipe.is_naive and recipe.samples == 8
    assert [layer.name for layer in recipe.layers] == [
        name.removeprefix("quantized_") for name in op_names(made) if "conv" in name or "dense" in name
    ]
    assert recipe.sqnr >= recipe.naive
    wanted, got = net(mx.np.array(x)), made(mx.np.array(x))
    assert abs(recipe.sqnr - sqnr(wanted, got)) < 0.01
    assert all(layer.name in str(recipe) for layer in recipe.layers)
    files = made.export(tmp_path / "net")
    assert read_tuning(gluon.SymbolBlock.imports(files[0], ["data"], files[1])) == recipe
    assert read_tuning(naive(net, x)) is None
    with pytest.raises(TypeError, match="must be a SymbolBlock"):
        read_tuning(net)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layers": 5}', '{"layers": [], "sqnr": "x"}', "[" * 5000])
def test_a_damaged_recipe_is_an_error(tmp_path: Any, text: str) -> None:
    made = tuned(_dense(), draw(8, 20))
    file, params = made.export(tmp_path / "net")
    lines = Path(file).read_text()
    recipe = json.loads(lines)
    for node in recipe["nodes"]:
        if "__tuning__" in node.get("attrs", {}):
            node["attrs"]["__tuning__"] = text
    Path(file).write_text(json.dumps(recipe))
    with pytest.raises(DataError, match="tuning"):
        read_tuning(gluon.SymbolBlock.imports(file, ["data"], params))


def test_a_bound_in_decibel_is_kept_by_leaving_few_layers_in_float32() -> None:
    net, x = small_net(), mx.np.array(draw(8, 3, 16, 16))
    plain = sqnr(net(x), tuned(net, x)(x))
    made = tuned(net, x, accuracy=plain + 3)
    recipe = read_tuning(made)
    assert recipe is not None
    assert sqnr(net(x), made(x)) >= plain + 3
    assert 0 < len(recipe.floats) < 6
    assert not {f"quantized_{name}" for name in recipe.floats} & set(op_names(made))
    everything = tuned(net, x, accuracy=140)
    assert sqnr(net(x), everything(x)) > 100


def test_a_bound_on_a_metric_is_kept() -> None:
    net, x = small_net(), mx.np.array(draw(32, 3, 16, 16, seed=4))
    labels = net(x).asnumpy().argmax(1)

    def margin(labels: Any, scores: Any) -> float:
        return float(np.take_along_axis(scores, labels[:, None].astype(int), 1).mean())

    loose = quantize_net(net, calib_mode="tuned", calib_data=[(x, labels)], accuracy=(mx.gluon.metric.Accuracy(), 0.1))
    found = read_tuning(loose)
    assert found is not None and not found.floats and not found.note
    exact = margin(labels, net(x).asnumpy())
    lost = exact - margin(labels, loose(x).asnumpy())
    bound = abs(lost) / 3
    strict = quantize_net(net, calib_mode="tuned", calib_data=[(x, labels)], accuracy=(margin, bound))
    assert exact - margin(labels, strict(x).asnumpy()) <= bound + 1e-6


def test_losses_are_better_when_they_are_smaller() -> None:
    net, x = _dense(), mx.np.array(draw(64, 20))
    wanted = net(x)
    metric = mx.gluon.metric.MSE()
    bound = float(np.square(wanted.asnumpy() - tuned(net, x)(x).asnumpy()).mean()) / 4
    made = quantize_net(net, calib_mode="tuned", calib_data=[(x, wanted)], accuracy=(metric, bound))
    assert np.square(wanted.asnumpy() - made(x).asnumpy()).mean() <= bound * 1.001
    recipe = read_tuning(made)
    assert recipe is not None and recipe.floats


def test_a_bound_that_so_few_samples_cannot_show_is_said(caplog: pytest.LogCaptureFixture) -> None:
    net, x = _dense(), draw(16, 20)
    labels = np.zeros(16, np.int64)
    made = quantize_net(net, calib_mode="tuned", calib_data=[(x, labels)], accuracy=("accuracy", 0.001))
    assert "finer than 16 samples can show" in read_tuning(made).note  # type: ignore[union-attr]
    assert "finer than 16 samples can show" in caplog.text


@pytest.mark.parametrize(
    ("accuracy", "error", "message"),
    [
        ("accuracy", TypeError, "must be"),
        ((print, -1), ValueError, "must not be negative"),
        ((print, "x"), ValueError, "a pair of a metric and a number"),
        (float("nan"), ValueError, "finite"),
        (("no such metric", 1), ValueError, "pair of a metric"),
        (True, TypeError, "must be"),
    ],
)
def test_an_impossible_bound_is_refused(accuracy: Any, error: type[Exception], message: str) -> None:
    x = draw(4, 20)
    with pytest.raises(error, match=message):
        quantize_net(_dense(), calib_mode="tuned", calib_data=[(x, np.zeros(4))], accuracy=accuracy)


def test_a_metric_needs_labels_and_a_bound_needs_tuning() -> None:
    x = draw(4, 20)
    with pytest.raises(DataError, match="accuracy needs labels"):
        tuned(_dense(), x, accuracy=("accuracy", 0.1))
    with pytest.raises(ValueError, match="accuracy belongs to calib_mode='tuned'"):
        quantize_net(_dense(), calib_mode="naive", calib_data=[x], accuracy=30)
