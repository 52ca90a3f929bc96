"""``minidnn viz``: what it draws, what it refuses, and its exit codes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from small_network import export

from minidnn.cli import main

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    export(folder)
    return folder


def drawn(file: Path) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(file.read_text(encoding="utf-8")).iter(f"{SVG}text")]


def test_svg_without_graphviz(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    file = tmp_path / "net.svg"
    assert main(["viz", str(model), "-o", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 9 nodes\n"
    lines = drawn(file)
    assert lines[0] == "small, traced"
    assert {"convolution 3x3/1, 8", "batch_norm", "pooling avg, global", "Nx3xHxW"} <= set(lines)


def test_each_stage_shows_what_it_adds(model: Path, tmp_path: Path) -> None:
    shown = {}
    for stage in ("traced", "fused", "inserted", "calibrated", "quantized"):
        file = tmp_path / f"{stage}.svg"
        assert main(["viz", str(model), "-o", str(file), "--stage", stage, "--shape", "3x8x8", "--batch", "2"]) == 0
        shown[stage] = drawn(file)
        assert any(line.startswith("2x3x8x8") for line in shown[stage]), stage
    assert any(line.startswith("fused_") for line in shown["fused"])
    assert not any(line.startswith("fused_") for line in shown["traced"])
    assert any(line.endswith("_quantize") for line in shown["inserted"])
    assert not any(line.startswith("quantize ") and "[" in line for line in shown["inserted"])
    assert any(line.startswith("quantize uint8 [0, ") for line in shown["calibrated"])
    assert "uint8" in shown["quantized"]
    assert not any("bias_float32" in line for stage in shown.values() for line in stage)


def test_page_and_graphviz_source(model: Path, tmp_path: Path) -> None:
    assert main(["viz", str(model), "-o", str(tmp_path / "net.html"), "--fused", "--title", "a <b> title"]) == 0
    page = (tmp_path / "net.html").read_text(encoding="utf-8")
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    assert root.findtext("head/title") == "a <b> title"
    assert main(["viz", str(model), "-o", str(tmp_path / "net.dot"), "--weights"]) == 0
    assert "0.weight" in (tmp_path / "net.dot").read_text(encoding="utf-8")


def test_network_of_the_zoo_quantized(tmp_path: Path) -> None:
    file = tmp_path / "net.svg"
    assert main(["viz", "mobilenet0.25", "-o", str(file), "--quantized", "--shape", "3x32x32"]) == 0
    lines = drawn(file)
    assert "1x3x32x32" in lines
    assert any("quantized_convolution 3x3/2, 8" in line for line in lines)


def test_other_formats_are_graphvizs_and_say_so(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["viz", str(model), "-o", str(tmp_path / "net.png")]) == 1
    assert "apt install graphviz" in capsys.readouterr().err
    assert not (tmp_path / "net.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet18_v1"], "the following arguments are required: -o/--output"),
        (["resnet18_v1", "-o", "net.bmp"], "a file that ends in one of .svg .html .dot .gv .pdf .png is wanted"),
        (["resnet18_v1", "-o", "a.svg", "--stage", "int4"], "invalid choice: 'int4'"),
        (["resnet18_v1", "-o", "a.svg", "--fused", "--quantized"], "not allowed with argument"),
        (["resnet18_v9", "-o", "a.svg"], "no model is named 'resnet18_v9'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["viz", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_drawn_exits_with_1(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["viz", str(model), "-o", str(tmp_path / "missing" / "net.svg")]) == 1
    assert "missing" in capsys.readouterr().err
    (tmp_path / "bad-symbol.json").write_text("{")
    assert main(["viz", str(tmp_path / "bad"), "-o", str(tmp_path / "net.svg")]) == 1
    assert capsys.readouterr().err.startswith("minidnn: error: ")


def test_mxnets_graph_which_says_no_shapes_is_drawn_as_it_is_fused(tmp_path: Path) -> None:
    model = Path(__file__).parents[1] / "assets" / "mxnet" / "smallres"
    file = tmp_path / "net.svg"
    for shape in ([], ["--shape", "3x32x32"]):
        assert main(["viz", str(model), "-o", str(file), "--fused", *shape]) == 0
        assert sum(line.startswith("fused_conv_bn_add_act") for line in drawn(file)) == 2
    assert main(["viz", str(model), "-o", str(file), "--fused", "--shape", "4x32x32"]) == 1
