"""quantize_net and quantize_model: options, forms of data, files, and agreement with float32."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from quantization_helpers import TwoInputs, draw, fill, op_names, residual, small_net, sqnr

import minidnn as mx
from minidnn import gluon
from minidnn.contrib.quantization import *  # noqa: F403 - as in the article
from minidnn.contrib.quantization import (
    CalibrationCollector,
    MSECollector,
    PercentileCollector,
    quantization_stages,
    quantize_model,
    quantize_net,
)
from minidnn.gluon import nn
from minidnn.ir.graph import Graph, evaluate
from minidnn.symbol import Symbol

BATCHES = [draw(4, 3, 16, 16, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def net() -> Any:
    return small_net()


def bits(block: Any, x: Any) -> bytes:
    return block(mx.np.array(x)).asnumpy().tobytes()


class ExampleNaiveCollector(CalibrationCollector):
    """The article's."""

    def __init__(self, logger: Any = None) -> None:
        super().__init__()
        self.logger = logger

    def collect(self, name: str, op_name: str, arr: Any) -> None:
        if name not in self.include_layers:
            return
        arr = arr.copyto(mx.cpu()).asnumpy()
        min_range = np.min(arr)
        max_range = np.max(arr)
        if name in self.min_max_dict:
            cur_min_max = self.min_max_dict[name]
            self.min_max_dict[name] = (min(cur_min_max[0], min_range), max(cur_min_max[1], max_range))
        else:
            self.min_max_dict[name] = (min_range, max_range)
        if self.logger:
            self.logger.debug(f"Collecting layer {name} min_range={min_range}, max_range={max_range}")

    def post_collect(self) -> Any:
        return self.min_max_dict


# ---- agreement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["tensor-wise", "channel-wise"])
@pytest.mark.parametrize("mode", ["full", "smart"])
@pytest.mark.parametrize("calibration", ["none", "naive", "entropy"])
def test_int8_agrees_with_float32(net: Any, calibration: str, mode: str, granularity: str) -> None:
    qnet = quantize_net(
        net,
        quantize_mode=mode,
        quantize_granularity=granularity,
        calib_mode=calibration,
        calib_data=BATCHES,
    )
    x = mx.np.array(BATCHES[1])
    assert sqnr(net(x), qnet(x)) > 20


@pytest.mark.parametrize("dtype", ["int8", "uint8", "auto"])
def test_every_dtype_agrees_with_float32(net: Any, dtype: str) -> None:
    qnet = quantize_net(net, dtype, calib_mode="naive", calib_data=BATCHES)
    x = mx.np.array(BATCHES[1])
    assert sqnr(net(x), qnet(x)) > 20


@pytest.mark.parametrize("collector", [PercentileCollector(99.9), PercentileCollector(100), MSECollector()])
def test_our_own_collectors_agree_with_float32(net: Any, collector: Any) -> None:
    qnet = quantize_net(net, calib_mode="custom", calib_data=BATCHES, LayerOutputCollector=collector)
    x = mx.np.array(BATCHES[1])
    assert sqnr(net(x), qnet(x)) > 20


def test_layers_of_every_kind_agree_with_float32() -> None:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(6, 3, strides=2, padding=1, in_channels=3, activation="relu"),
        nn.Conv2D(6, 3, padding=2, dilation=2, groups=6, in_channels=6),
        nn.BatchNorm(),
        nn.LeakyReLU(0.1),
        nn.Conv2D(9, 1, groups=3, in_channels=6),
        nn.AvgPool2D(2),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.Dense(7, activation="tanh"),
        nn.Dense(5),
    )
    fill(net, (1, 3, 16, 16))
    qnet = quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    x = mx.np.array(BATCHES[0])
    assert sqnr(net(x), qnet(x)) > 20
    assert sum("quantized" in name for name in op_names(qnet)) == len(op_names(qnet)) - 1


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks_agree_with_float32(rank: int) -> None:
    conv = (nn.Conv1D, None, nn.Conv3D)[rank - 1]
    assert conv is not None
    net = nn.HybridSequential()
    net.add(conv(4, 3, in_channels=2, activation="relu"), conv(3, 3, in_channels=4))
    shape = (2, 2, *(7,) * rank)
    fill(net, shape)
    x = draw(*shape)
    assert sqnr(net(mx.np.array(x)), quantize_net(net, calib_mode="naive", calib_data=[x])(mx.np.array(x))) > 20


# ---- forms of data --------------------------------------------------------------------------------


def loader() -> Iterator[Any]:
    for batch in BATCHES:
        yield [mx.np.array(batch), mx.np.array(np.arange(len(batch)))]


FORMS: dict[str, Any] = {
    "list of NumPy arrays": lambda: BATCHES,
    "list of arrays": lambda: [mx.np.array(b) for b in BATCHES],
    "generator with labels": loader,
    "DataLoader": lambda: gluon.data.DataLoader(mx.np.array(np.concatenate(BATCHES)), batch_size=4),
    "DataLoader with labels": lambda: gluon.data.DataLoader(
        gluon.data.ArrayDataset(np.concatenate(BATCHES), np.arange(12)), batch_size=4
    ),
    "tuples with labels": lambda: [(b, np.zeros(len(b))) for b in BATCHES],
    "objects with data": lambda: [SimpleNamespace(data=[b], label=[np.zeros(len(b))]) for b in BATCHES],
    "one NumPy array": lambda: np.concatenate(BATCHES),
    "one array": lambda: mx.np.array(np.concatenate(BATCHES)),
}


@pytest.mark.parametrize("form", FORMS)
def test_calibration_data_may_come_in_any_form(net: Any, form: str) -> None:
    wanted = quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    got = quantize_net(net, calib_mode="naive", calib_data=FORMS[form]())
    # One array is cut into other batches, for which float32 kernels may add up in another order.
    x = mx.np.array(BATCHES[0])
    assert bits(got, BATCHES[0]) == bits(wanted, BATCHES[0]) or (
        form.startswith("one") and sqnr(wanted(x), got(x)) > 40
    )


def test_only_so_many_batches_are_taken(net: Any) -> None:
    taken = []

    def endless() -> Iterator[Any]:
        for number in range(1000):
            taken.append(number)
            yield BATCHES[number % 3]

    got = quantize_net(net, calib_mode="naive", calib_data=endless(), num_calib_batches=2)
    assert taken == [0, 1]
    assert bits(got, BATCHES[0]) == bits(quantize_net(net, calib_mode="naive", calib_data=BATCHES[:2]), BATCHES[0])
    # Fewer than asked for will do.
    got = quantize_net(net, calib_mode="naive", calib_data=BATCHES, num_calib_batches=10)
    assert bits(got, BATCHES[0]) == bits(quantize_net(net, calib_mode="naive", calib_data=BATCHES), BATCHES[0])


def test_batches_may_differ_in_size(net: Any) -> None:
    data = np.concatenate(BATCHES)
    parts = quantize_net(net, calib_mode="naive", calib_data=[data[:5], data[5:6], data[6:]])
    whole = quantize_net(net, calib_mode="naive", calib_data=[data])
    x = mx.np.array(data)
    assert sqnr(whole(x), parts(x)) > 40


def test_several_inputs_with_and_without_labels() -> None:
    net = fill(TwoInputs(), (2, 5), (2, 4, 7))
    x, y = draw(2, 5), draw(2, 4, 7, seed=1)
    for batch in ((x, y), (x, y, np.zeros(2))):
        qnet = quantize_net(net, calib_mode="naive", calib_data=[batch])
        assert sqnr(net(mx.np.array(x), mx.np.array(y)), qnet(mx.np.array(x), mx.np.array(y))) > 20


def test_an_optional_input_counts_where_data_shapes_list_it() -> None:
    net = fill(TwoInputs(), (2, 5), (2, 4, 7))
    arrays = [draw(2, 5), draw(2, 4, 7, seed=1), np.float32([[[2.0]]])]
    shapes = [a.shape for a in arrays]
    qnet = quantize_net(net, calib_mode="naive", calib_data=[arrays], data_shapes=shapes)
    inputs = [mx.np.array(a) for a in arrays]
    assert sqnr(net(*inputs), qnet(*inputs)) > 20


@pytest.mark.parametrize(
    "shapes",
    [[(4, 3, 16, 16)], (4, 3, 16, 16), [("data", (4, 3, 16, 16))], [SimpleNamespace(shape=(4, 3, 16, 16))]],
    ids=str,
)
def test_without_data_shapes_are_enough(net: Any, shapes: Any) -> None:
    qnet = quantize_net(net, data_shapes=shapes)
    x = mx.np.array(BATCHES[0])
    assert sqnr(net(x), qnet(x)) > 20


def test_a_network_that_has_run_knows_its_shapes() -> None:
    net, x = residual(), mx.np.array(draw(1, 8, 6, 6))
    net.optimize_for(x)
    assert sqnr(net(x), quantize_net(net)(x)) > 20


def test_a_network_that_waits_for_its_first_batch_is_completed_by_calibration() -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Dense(3))
    net.initialize()
    x = draw(2, 3, 8, 8)
    qnet = quantize_net(net, calib_mode="naive", calib_data=[x])
    assert sqnr(net(mx.np.array(x)), qnet(mx.np.array(x))) > 20


def test_a_network_with_several_outputs_gives_them_all() -> None:
    class Two(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Dense(3, in_units=4), nn.Dense(2, in_units=4)

        def forward(self, x: Any) -> Any:
            return self.a(x), self.b(x)

    net, x = fill(Two(), (2, 4)), mx.np.array(draw(2, 4))
    got = quantize_net(net, calib_mode="naive", calib_data=[x])(x)
    for wanted, output in zip(net(x), got, strict=True):
        assert sqnr(wanted, output) > 20


# ---- what it leaves alone -------------------------------------------------------------------------


def test_the_float32_network_stays_as_it_is(net: Any) -> None:
    before = {name: p.data().asnumpy() for name, p in net.collect_params().items()}
    wanted = bits(net, BATCHES[0])
    quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    assert not net._active
    assert bits(net, BATCHES[0]) == wanted
    for name, parameter in net.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name])


def test_later_changes_of_the_float32_network_do_not_reach_the_int8_one() -> None:
    net = residual()
    x = draw(1, 8, 6, 6)
    qnet = quantize_net(net, calib_mode="naive", calib_data=[x], exclude_layers=["conv1"])
    wanted = bits(qnet, x)
    for parameter in net.collect_params().values():
        parameter.set_data(mx.np.zeros(parameter.shape))
    assert bits(qnet, x) == wanted


def test_a_fused_and_a_plain_network_give_the_same_int8_one() -> None:
    x = draw(2, 8, 6, 6)
    plain = residual()
    wanted = quantize_net(plain, calib_mode="naive", calib_data=[x])
    plain.optimize_for(mx.np.array(x), backend="ONEDNN")
    got = quantize_net(plain, calib_mode="naive", calib_data=[x])
    assert bits(got, x) == bits(wanted, x)
    assert got.export(None)[0] == wanted.export(None)[0]


# ---- exclusions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        {"exclude_layers": ["conv1"]},
        {"exclude_layers": ["conv1_convolution"]},
        {"exclude_layers": ["fused_conv_bn_act_0"]},
        {"exclude_layers": ["fused_conv_bn_act_0_output"]},
        {"exclude_layers_match": ["nv1_conv"]},
    ],
    ids=str,
)
def test_layers_are_excluded_by_any_of_their_names(option: dict[str, Any]) -> None:
    net, x = residual(), mx.np.array(draw(1, 8, 6, 6))
    qnet = quantize_net(net, calib_mode="naive", calib_data=[x], **option)
    assert op_names(qnet)[0] == "fused_conv_bn_act_0"
    assert op_names(qnet)[-1] == "quantized_fused_conv_bn_add_act_1"
    assert sqnr(net(x), qnet(x)) > 20


@pytest.mark.parametrize("operator", ["fully_connected", "FullyConnected", "_sg_onednn_fully_connected"])
def test_operators_are_excluded_by_our_name_or_mxnets(net: Any, operator: str) -> None:
    qnet = quantize_net(net, calib_mode="naive", calib_data=BATCHES, exclude_operators=[operator])
    symbol = qnet.export(None)[0]
    assert symbol.operations()[-1].op_name == "fully_connected"
    x = mx.np.array(BATCHES[0])
    assert sqnr(net(x), qnet(x)) > 20


# ---- the article ----------------------------------------------------------------------------------


def test_the_articles_collector_gives_what_naive_mode_gives(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("collector")
    with caplog.at_level(logging.DEBUG):
        mine = ExampleNaiveCollector(logger=logger)
        got = quantize_net(net, calib_mode="custom", calib_data=BATCHES, LayerOutputCollector=mine, logger=logger)
    wanted = quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    assert bits(got, BATCHES[0]) == bits(wanted, BATCHES[0])
    assert set(mine.include_layers) == set(mine.min_max_dict)
    assert "data" in mine.include_layers
    assert "Collecting layer data" in caplog.text
    assert "Quantized" in caplog.text


def test_collectors_see_layers_of_the_fused_graph_as_far_as_the_last_range(net: Any) -> None:
    seen: list[tuple[str, str]] = []

    class Watching(ExampleNaiveCollector):
        def collect(self, name: str, op_name: str, arr: Any) -> None:
            seen.append((name, op_name))
            super().collect(name, op_name, arr)

    quantize_net(net, calib_mode="custom", calib_data=BATCHES[:1], LayerOutputCollector=Watching())
    names = [name for name, _ in seen]
    assert names[0] == "data"
    assert "fused_conv_bn_act_0_output" in names
    # The dense layer at the end feeds nobody who needs a range.
    assert not any("fully_connected" in name or "dense" in name for name in names)


def test_the_article_runs(tmp_path: Path, net: Any) -> None:
    net.hybridize(static_alloc=True, static_shape=True)
    net.optimize_for(mx.np.array(BATCHES[0]), backend="ONEDNN", static_alloc=True, static_shape=True)
    for mode in ("naive", "entropy"):
        qnet = quantize_net(net, calib_mode=mode, calib_data=BATCHES, num_calib_batches=10)
        qnet.hybridize(static_alloc=True, static_shape=True)
        out = qnet(mx.np.array(BATCHES[0]))
        out.wait_to_read()
        qsym, qparams = qnet.export(None)
        assert all(name.startswith("arg:") for name in qparams)
        assert set(qsym.list_inputs()) - {"data"} == {name[4:] for name in qparams}
    net.hybridize(active=False)


# ---- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", ["none", "naive", "entropy"])
def test_export_and_import_give_the_same_bits(net: Any, tmp_path: Path, calibration: str) -> None:
    qnet = quantize_net(net, calib_mode=calibration, calib_data=BATCHES)
    symbol_file, params_file = qnet.export(str(tmp_path / "q"))
    again = gluon.SymbolBlock.imports(symbol_file, ["data"], params_file)
    for x in BATCHES:
        assert bits(again, x) == bits(qnet, x)
    assert again.export(None)[0] == qnet.export(None)[0]


def test_parameters_save_and_load(net: Any, tmp_path: Path) -> None:
    qnet = quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    wanted = bits(qnet, BATCHES[0])
    qnet.save_parameters(str(tmp_path / "q.params"))
    symbol = qnet.export(None)[0]
    fresh = gluon.SymbolBlock(symbol, mx.sym.var("data"))
    fresh.load_parameters(str(tmp_path / "q.params"))
    assert bits(fresh, BATCHES[0]) == wanted


def test_weights_on_disk_are_a_quarter(tmp_path: Path) -> None:
    net = fill(nn.Dense(256, in_units=512), (1, 512))
    quantize_net(net, calib_mode="naive", calib_data=[draw(2, 512)]).export(str(tmp_path / "q"))
    assert (tmp_path / "q-0000.params").stat().st_size < 256 * 512 * 1.05


def test_the_same_call_gives_the_same_bits(net: Any) -> None:
    first, second = (quantize_net(net, calib_mode="entropy", calib_data=BATCHES) for _ in range(2))
    one, other = first.export(None), second.export(None)
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, array in one[1].items():
        assert array.asnumpy().tobytes() == other[1][name].asnumpy().tobytes()


def test_kernels_give_the_bits_of_the_references(net: Any) -> None:
    symbol, params = quantize_net(net, calib_mode="naive", calib_data=BATCHES).export(None)
    feed = {name.removeprefix("arg:"): a.asnumpy() for name, a in params.items()} | {"data": BATCHES[0]}
    layers = [node[0] for node in symbol.operations() if node.num_outputs == 2]
    assert len(layers) > 5
    (*got,) = Symbol(layers).eval(**{v.name: feed[v.name] for v in Graph(layers).variables()})
    for mine, wanted in zip(got, evaluate(Graph(layers), feed), strict=True):
        np.testing.assert_array_equal(mine.asnumpy(), wanted)


# ---- symbols and stages ---------------------------------------------------------------------------


def test_quantize_model_takes_and_gives_symbol_and_parameters() -> None:
    net, x = residual(), mx.np.array(draw(2, 8, 6, 6))
    net.hybridize()
    wanted = net(x)
    symbol, params = net.export(None)
    arg = {name[4:]: a for name, a in params.items() if name.startswith("arg:")}
    aux = {name[4:]: a for name, a in params.items() if name.startswith("aux:")}
    options: dict[str, Any] = {"quantized_dtype": "auto", "quantize_mode": "full", "calib_mode": "naive"}
    qsym, qarg, qaux = quantize_model(symbol, arg, aux, calib_data=[x], **options)
    (out,) = qsym.eval(data=x, **qarg, **qaux)
    assert sqnr(wanted, out) > 20
    same = quantize_net(net, calib_data=[x], **options)
    assert qsym == same.export(None)[0]
    assert out.asnumpy().tobytes() == bits(same, x)
    # MXNet's defaults, for comparison: entropy, int8, smart.
    qsym, qarg, qaux = quantize_model(symbol, arg, aux, calib_data=[x])
    assert all(a.dtype != np.uint8 for a in qarg.values())
    (out,) = qsym.eval(data=x, **qarg, **qaux)
    assert sqnr(wanted, out) > 20


def test_every_stage_can_be_printed() -> None:
    net = residual()
    stages = quantization_stages(net, calib_mode="naive", calib_data=[draw(1, 8, 6, 6)])
    assert [n.name for n in stages.fused.operations()] == ["fused_conv_bn_act_0", "fused_conv_bn_add_act_1"]
    assert "data_quantize" in str(stages.inserted.graph)
    assert "min_calib_range" not in str(stages.inserted.graph)
    assert stages.calibrated is not None
    assert "min_calib_range" in str(stages.calibrated.graph)
    assert len(stages.quantized.graph.operations()) == 3
    assert quantization_stages(net, data_shapes=[(1, 8, 6, 6)]).calibrated is None


def test_every_stage_is_shown_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MINIDNN_DEBUG", "passes")
    quantize_net(residual(), calib_mode="naive", calib_data=[draw(1, 8, 6, 6)])
    shown = capsys.readouterr()
    for stage in ("insert: 5 operations", "calibrate: 5 operations", "fold: 3 operations"):
        assert f"after {stage}" in shown.out + shown.err


def test_a_progress_bar_is_shown_on_a_terminal_only(
    net: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    assert capsys.readouterr().err == ""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    assert "Calibrating" in terminal.getvalue()


def test_fusing_an_int8_network_again_changes_nothing(net: Any) -> None:
    qnet = quantize_net(net, calib_mode="naive", calib_data=BATCHES)
    wanted, graph = bits(qnet, BATCHES[0]), qnet.export(None)[0]
    qnet.optimize_for(mx.np.array(BATCHES[0]), backend="ONEDNN")
    assert bits(qnet, BATCHES[0]) == wanted
    assert qnet.export(None)[0] == graph


def test_a_hybrid_block_may_hold_an_int8_one(net: Any) -> None:
    outer = nn.HybridSequential()
    outer.add(quantize_net(net, calib_mode="naive", calib_data=BATCHES), nn.Activation("relu"))
    x = mx.np.array(BATCHES[0])
    wanted = np.maximum(net(x).asnumpy(), 0)
    assert sqnr(wanted, outer(x)) > 20
    outer.hybridize()
    assert sqnr(wanted, outer(x)) > 20


def test_importing_everything_brings_the_names_of_the_article() -> None:
    assert {"quantize_net", "CalibrationCollector", "cpu"} <= set(mx.contrib.quantization.__all__)
    assert all(hasattr(mx.contrib.quantization, name) for name in mx.contrib.quantization.__all__)
    assert cpu() == mx.cpu()  # noqa: F405
