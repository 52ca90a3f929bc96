"""Pictures and summaries of networks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import graphviz
import pytest

from minidnn.errors import GraphError, MXNetError, ShapeError
from minidnn.gluon.nn import Dense
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op
from minidnn.viz import plot_network, print_summary


def network(**hints: object) -> Symbol:
    x = var("data", **hints)
    inputs = [x, var("conv.weight"), var("conv.bias")]
    conv = apply_op("convolution", inputs, "conv", kernel=(3, 3), num_filter=4, pad=(1, 1), stride=(1, 2))
    act = apply_op("activation", [conv], "act", act_type="relu")
    pool = apply_op("pooling", [act], "pool", kernel=(2, 2), stride=(2, 2), pool_type="max")
    return apply_op("fully_connected", [pool, var("fc.weight"), var("fc.bias")], "fc", num_hidden=10)


def labels(source: str) -> dict[str, str]:
    """Identifier -> label of every node."""
    return dict(re.findall(r'^\t(n\d+) \[label="?([^"\]]*?)"? fillcolor', source, flags=re.MULTILINE))


def edges(source: str) -> set[tuple[str, str]]:
    """(reader, source) of every edge, by the first lines of their labels."""
    name = {identifier: label.splitlines()[0] for identifier, label in labels(source).items()}
    return {(name[a], name[b]) for a, b in re.findall(r"^\t(n\d+) -> (n\d+)", source, flags=re.MULTILINE)}


# ---- plot_network ----------------------------------------------------------------------------------


def test_picture_has_a_node_for_each_operation_and_input() -> None:
    plot = plot_network(network(), title="net", save_format="png")
    assert isinstance(plot, graphviz.Digraph)
    assert plot.name == "net"
    assert plot.format == "png"
    assert list(labels(plot.source).values()) == [
        "data",
        "conv\nconvolution 3x3/1x2, 4",
        "act\nactivation relu",
        "pool\npooling max, 2x2/2",
        "fc\nfully_connected 10",
    ]
    assert edges(plot.source) == {("conv", "data"), ("act", "conv"), ("pool", "act"), ("fc", "pool")}


def test_weights_show_when_asked_for() -> None:
    shown = edges(plot_network(network(), hide_weights=False).source)
    assert {("conv", "conv.weight"), ("conv", "conv.bias"), ("fc", "fc.weight")} <= shown


def test_fused_node_lists_what_is_inside() -> None:
    source = plot_network(network().optimize_for()).source
    assert "fused_conv_act_0\nconvolution 3x3/1x2, 4\nactivation relu" in labels(source).values()
    assert edges(source) == {("fused_conv_act_0", "data"), ("pool", "fused_conv_act_0"), ("fc", "pool")}


def test_edges_carry_shapes_when_the_shape_is_given() -> None:
    with_shapes = plot_network(network(), shape={"data": (2, 3, 8, 8)}).source
    assert re.findall(r'-> n\d+ \[label="?(\w+)', with_shapes) == ["2x3x8x8", "2x4x8x4", "2x4x8x4", "2x4x4x2"]
    assert "2x3x8x8" not in plot_network(network()).source


def test_dtype_for_all_or_by_name() -> None:
    x = var("x") + var("y")
    shape = {"x": (2, 3), "y": (3,)}
    assert "2x3" in plot_network(x, shape=shape, dtype="float16").source
    assert "2x3" in plot_network(x, shape=shape, dtype={"x": "float64"}).source
    with pytest.raises(GraphError, match="no variable 'z'"):
        plot_network(x, dtype={"z": "float64"}, shape=shape)


def test_families_have_colours_of_their_own() -> None:
    source = plot_network(network()).source
    colours = re.findall(r'fillcolor="(#\w+)"', source)
    assert len(set(colours)) == 4
    assert colours[1] == colours[4]


def test_fused_node_has_the_colour_of_its_anchor() -> None:
    colour = re.compile(r'fillcolor="(#\w+)"')
    before = colour.findall(plot_network(network()).source)
    after = colour.findall(plot_network(network().optimize_for()).source)
    assert after[1] == before[1]
    chain = colour.findall(plot_network(abs(-var("x")).optimize_for()).source)
    assert chain[1] == before[2]


def test_node_attributes_go_before_ours() -> None:
    source = plot_network(network(), node_attrs={"shape": "hexagon", "fontsize": "20"}).source
    assert "shape=oval" not in source
    assert "shape=hexagon" in source
    assert "fontsize=20" in source


@pytest.mark.parametrize("name", ["a:b:c", "<b>bold</b>", "<x>", 'quo"te', "back\\slash", "new\nline", "semi;{}", "\\"])
def test_names_mean_nothing_to_graphviz(name: str) -> None:
    source = plot_network(apply_op("exp", [var(name)], "exp")).source
    assert "n1 -> n0" in source
    assert "label=<" not in source
    assert "tooltip=<" not in source


def test_operand_read_twice_is_one_edge() -> None:
    x = var("x")
    assert plot_network(x + x).source.count("->") == 1


def test_scalar_edges_say_so() -> None:
    total = apply_op("sum", [var("x")], "sum")
    assert "label=scalar" in plot_network(-total, shape={"x": (3,)}).source


def test_shapes_that_do_not_fit_and_unknown_names_are_refused() -> None:
    with pytest.raises(ShapeError, match="node 'conv'"):
        plot_network(network(), shape={"data": (2, 3)})
    with pytest.raises(GraphError, match=r"no variable 'image'.*'data'"):
        plot_network(network(), shape={"image": (2, 3, 8, 8)})


def test_what_the_graph_knows_may_be_nothing() -> None:
    wrong = network(shape=(2, 3))
    assert "conv" in plot_network(wrong).source


def test_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'bmpx'"):
        plot_network(network(), save_format="bmpx")


def test_drawing_without_dot_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plot = plot_network(network())
    for draw in (plot.render, plot.view):
        with pytest.raises(MXNetError, match=r"Graphviz.*'dot'.*apt install graphviz"):
            draw(directory=tmp_path)
    with pytest.raises(graphviz.ExecutableNotFound, match="apt install graphviz"):
        plot.pipe()
    assert Path(plot.save(tmp_path / "plot.gv")).read_text() == plot.source


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for dot")
def test_drawing_calls_dot_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = tmp_path / "dot"
    dot.write_text("#!/bin/sh\necho drawn\n")
    dot.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    plot = plot_network(network(), save_format="svg")
    assert plot.pipe() == b"drawn\n"
    assert plot.render(directory=tmp_path).endswith("plot.gv.svg")


def test_graphviz_is_imported_when_the_first_picture_is_made() -> None:
    code = "import sys, minidnn.viz; assert 'graphviz' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- print_summary ---------------------------------------------------------------------------------


def summary(capsys: pytest.CaptureFixture[str], *args: object, **kwargs: object) -> list[str]:
    print_summary(*args, **kwargs)
    return capsys.readouterr().out.splitlines()


def test_summary_has_shapes_and_numbers_of_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, network(), shape={"data": (2, 3, 8, 8)})
    rows = [line.split() for line in lines if line.startswith(("data", "conv", "act", "pool", "fc"))]
    assert rows == [
        ["data(null)", "3x8x8", "0"],
        ["conv(convolution)", "4x8x4", "112", "data"],
        ["act(activation)", "4x8x4", "0", "conv"],
        ["pool(pooling)", "4x4x2", "0", "act"],
        ["fc(fully_connected)", "10", "330", "pool"],
    ]
    assert lines[-4:] == [lines[-4], "=" * 120, "Total params: 442", "_" * 120]
    assert lines[1].split("  ")[0] == "Layer (type)"


def test_every_input_of_a_layer_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    x = var("x", shape=(2, 3))
    lines = summary(capsys, apply_op("add", [apply_op("abs", [x], "abs"), x], "sum"))
    (row,) = [i for i, line in enumerate(lines) if line.startswith("sum(add)")]
    assert [line.split() for line in lines[row : row + 2]] == [["sum(add)", "3", "0", "abs"], ["x"]]


def test_summary_of_a_fused_graph_has_the_same_total(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, network(shape=(2, 3, 8, 8)).optimize_for())
    assert "Total params: 442" in lines


def test_shared_parameters_count_once(capsys: pytest.CaptureFixture[str]) -> None:
    x, weight = var("x", shape=(2, 4)), var("w", shape=(4, 4))
    first = apply_op("fully_connected", [x, weight], "first", num_hidden=4, no_bias=True)
    second = apply_op("fully_connected", [first, weight], "second", num_hidden=4, no_bias=True)
    assert "Total params: 16" in summary(capsys, second)


def test_unknown_shapes_are_question_marks(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, network())
    assert any(line.split() == ["conv(convolution)", "?", "?", "data"] for line in lines)
    assert "Total params: at least 0" in lines


def test_width_and_columns_are_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary(capsys, Group([network(), var("y" * 200)]), line_length=60, positions=[0.3, 0.6, 0.75, 1.0])
    assert max(map(len, lines)) == 60


def test_summary_refuses_names_that_are_not_there() -> None:
    with pytest.raises(GraphError, match="no variable 'image'"):
        print_summary(network(), shape={"image": (1,)})


@pytest.mark.parametrize("draw", [plot_network, print_summary])
@pytest.mark.parametrize("wrong", [Dense(3), "net-symbol.json", None])
def test_what_is_no_symbol_is_refused_with_a_hint(draw: Callable[..., object], wrong: object) -> None:
    with pytest.raises(TypeError, match=rf"a symbol, such as net\.export.*got {type(wrong).__name__}"):
        draw(wrong)
