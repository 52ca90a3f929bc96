"""What a symbol looks like, and what ``MINIDNN_DEBUG`` shows."""

from __future__ import annotations

import pytest

from minidnn.ir.printing import debug_enabled
from minidnn.passes import FUSION_PASSES, run_passes
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op


def network() -> Symbol:
    inputs = [var("data", shape=(1, 3, 8, 8)), var("conv.weight")]
    conv = apply_op("convolution", inputs, "conv", kernel=(3, 3), num_filter=4, no_bias=True, pad=(1, 1))
    return apply_op("activation", [conv], "act", act_type="relu")


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.split()[:1] == [name])
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_table_has_name_operator_inputs_attributes_and_type() -> None:
    text = str(network())
    expected = ["conv", "convolution", "data, conv.weight", "kernel=(3, 3) num_filter=4 pad=(1, 1) no_bias=True"]
    assert row(text, "conv") == [*expected, "float32[1, 4, 8, 8]"]
    assert row(text, "act") == ["act", "activation", "conv", "act_type=relu", "float32[1, 4, 8, 8]"]
    assert row(text, "data") == ["data", "input", "float32[1, 3, 8, 8]"]
    assert row(text, "outputs") == ["outputs", "act"]


def test_fused_node_shows_its_inside_indented_with_the_names_from_outside() -> None:
    text = str(network().optimize_for())
    assert row(text, "fused_conv_act_0")[1] == "fused"
    assert "  conv  " in text
    assert row(text, "conv")[2] == "data, conv.weight"
    assert "in0" not in text


def test_unknown_types_are_left_out_and_wrong_ones_do_not_prevent_printing() -> None:
    unknown = apply_op("exp", [var("x")], "exp")
    assert row(str(unknown), "exp") == ["exp", "exp", "x"]
    wrong = apply_op("add", [var("x", shape=(2,)), var("y", shape=(3,))], "sum")
    assert row(str(wrong), "sum") == ["sum", "add", "x, y"]


def test_short_form_names_the_outputs() -> None:
    assert repr(network()) == "<Symbol act>"
    assert repr(Group([network(), var("x")])) == "<Symbol group [act, x]>"


def test_names_cannot_drive_the_terminal() -> None:
    symbol = apply_op("exp", [var("x\x1b[2J\n")], "exp\r")
    assert symbol.outputs[0].node.name == "exp\r"
    assert "\x1b" not in str(symbol)
    assert "\r" not in str(symbol) + repr(symbol)
    assert "x\\x1b[2J\\n" in str(symbol)


def test_long_cells_are_cut() -> None:
    symbol = apply_op("exp", [var("x" * 500)], "y" * 500)
    assert max(map(len, str(symbol).splitlines())) < 250


def test_debug_passes_shows_the_graph_after_each_pass(monkeypatch, capsys) -> None:
    monkeypatch.setenv("MINIDNN_DEBUG", "passes")
    run_passes(network())
    shown = capsys.readouterr()
    assert shown.out == ""
    for name in ("remove_identities", "fold_batch_norm", "fuse_epilogues", "fuse_elementwise"):
        assert f"[minidnn passes] after {name}: " in shown.err
    assert "fused_conv_act_0" in shown.err
    assert "[minidnn graph]" not in shown.err


def test_debug_graph_shows_before_and_after(monkeypatch, capsys) -> None:
    monkeypatch.setenv("MINIDNN_DEBUG", "plan, graph")
    run_passes(network())
    shown = capsys.readouterr().err
    count = len(FUSION_PASSES)
    before, after = shown.index(f"before {count} passes"), shown.index(f"after {count} passes")
    assert before < after < shown.index("fused_conv_act_0")


@pytest.mark.parametrize(("value", "on"), [("", False), ("graph", False), ("graph,passes", True), ("all", True)])
def test_debug_topics_are_a_list(monkeypatch, value: str, on: bool) -> None:
    monkeypatch.setenv("MINIDNN_DEBUG", value)
    assert debug_enabled("passes") is on


def test_debug_is_silent_by_default(monkeypatch, capsys) -> None:
    monkeypatch.delenv("MINIDNN_DEBUG", raising=False)
    run_passes(network())
    assert capsys.readouterr().err == ""
