"""What a notebook shows of our objects: pictures and tables that need no other program."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import minidnn as mx
from minidnn.contrib.quantization import layer_errors, quantize_net
from minidnn.gluon import metric, nn
from minidnn.gluon.metric import Accuracy, CompositeEvalMetric, TopKAccuracy


@pytest.fixture(scope="module")
def net() -> Any:
    made = nn.HybridSequential()
    made.add(nn.Conv2D(4, 3, in_channels=3), nn.Activation("relu"), nn.Dense(5, in_units=4 * 4 * 4))
    made.initialize()
    made.hybridize()
    made(mx.np.ones((1, 3, 6, 6)))
    return made


def table(html: str) -> list[list[str]]:
    """The cells of the one table."""
    root = ElementTree.fromstring(f"<div>{html}</div>")
    (found,) = root.iter("table")
    return [[cell.text or "" for cell in row] for row in found.iter("tr")]


def test_a_plot_is_our_drawing_though_there_is_no_dot(
    net: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plot = mx.viz.plot_network(net.export(None)[0], "a <title>")
    bundle = plot._repr_mimebundle_()
    drawing = ElementTree.fromstring(bundle["image/svg+xml"])
    assert drawing.tag.endswith("svg")
    said = "".join(drawing.itertext())
    assert "a <title>" in said
    assert "convolution 3x3/1, 4" in said
    assert bundle["text/plain"]
    assert plot._repr_svg_() == bundle["image/svg+xml"]
    assert [*plot._repr_mimebundle_(include=["text/plain"])] == ["text/plain"]
    assert [*plot._repr_mimebundle_(exclude=["text/plain"])] == ["image/svg+xml"]


def test_a_symbol_is_a_table_of_its_nodes(net: Any) -> None:
    symbol = net.export(None)[0]
    rows = table(symbol._repr_html_())
    assert rows[0] == ["name", "op", "inputs", "attributes", "type"]
    assert [row[1] for row in rows[1:]] == ["input", "convolution", "activation", "fully_connected", ""]
    hostile = mx.sym.var("<script>\x1b[31m")
    assert "<script>" not in hostile._repr_html_()
    assert "\x1b" not in hostile._repr_html_()


def test_a_metric_is_a_table_of_its_values() -> None:
    one = Accuracy()
    one.update(mx.np.array([0, 1]), mx.np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert table(one._repr_html_()) == [["metric", "value"], ["accuracy", "0.5"]]
    both = CompositeEvalMetric([one, TopKAccuracy(2)])
    assert [row[0] for row in table(both._repr_html_())] == ["metric", "accuracy", "top_k_accuracy_2"]
    assert table(metric.MAE()._repr_html_())[1] == ["mae", "nan"]


def test_layer_errors_are_a_table(net: Any) -> None:
    x = mx.np.ones((2, 3, 6, 6))
    errors = layer_errors(net, quantize_net(net, calib_mode="naive", calib_data=[x]), [x])
    rows = table(errors._repr_html_())
    assert rows[0] == ["layer", "own dB", "accumulated dB"]
    assert [row[0] for row in rows[1:]] == [error.name for error in errors]


def test_a_profile_is_a_table_with_its_summary(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from minidnn.runtime import profile as module

    monkeypatch.setattr(module, "measure_peaks", lambda threads: module.Peaks(1e11, 1e10))
    with mx.profiler.profile("a & b") as profile:
        net(mx.np.ones((1, 3, 6, 6)))
    html = profile._repr_html_()
    assert "<p>a &amp; b</p>" in html
    assert len(table(html)) == 1 + len(profile.steps())
    assert "GFLOP/s in float32" in html
    assert module.Profile([], 1)._repr_html_()


def test_calibration_is_logged_batch_by_batch(net: Any, caplog: pytest.LogCaptureFixture) -> None:
    batches = [mx.np.ones((1, 3, 6, 6))] * 3
    with caplog.at_level("INFO", logger="minidnn"):
        quantize_net(net, calib_mode="entropy", calib_data=batches)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("minidnn.contrib")]
    assert [line for line in said if line.startswith("Calibrating")] == [
        f"Calibrating, batch {i} of 3 done" for i in (1, 2, 3)
    ]
    assert any(line.startswith("Finding thresholds, layer 1 of ") for line in said)
