"""``minidnn profile``: what it writes, what it refuses, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from small_network import export

import minidnn as mx
from minidnn.cli import main
from minidnn.runtime import profile as module


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "measure_peaks", lambda threads: module.Peaks(1e11, 1e10))
    before = mx.get_num_threads()
    yield
    mx.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    export(folder)
    return folder


def test_text_is_a_table_with_the_machines_peak_below(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(model), "--batch", "2", "--rounds", "3", "--threads", "1", "--shape", "3x8x8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small, float32, batch 2, 1 threads"
    assert lines[1].split()[:4] == ["step", "name", "kernel", "shape"]
    assert any("fused_" in line and "2x8x8x8 float32" in line for line in lines)
    assert "3 runs" in lines[-1]
    assert "100.0 GFLOP/s in float32, 10.0 GB/s from memory" in lines[-1]


def test_json_of_int8_sorted(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["profile", str(model), "--int8", "--sort", "--format", "json", "--rounds", "2", "--shape", "3x8x8"]
    assert main(arguments) == 0
    read = json.loads(capsys.readouterr().out)
    shares = [step["share"] for step in read["steps"]]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 1) < 1e-9
    assert {step["calls"] for step in read["steps"]} == {2}
    assert "uint8" in {step["dtype"] for step in read["steps"]}
    assert "int8" in read["title"]


def test_page_is_written_to_a_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "profile.html"
    assert main(["profile", str(model), "--format", "html", "-o", str(file), "--rounds", "1", "--shape", "3x8x8"]) == 0
    page = ElementTree.fromstring(file.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))
    rows = page.findall("body/table/tr")
    assert capsys.readouterr().out == f"{file}: {len(rows) - 1} steps\n"
    assert page.findtext("head/title") == f"small, float32, batch 1, {mx.get_num_threads()} threads"


def test_network_of_the_zoo_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "mobilenet0.25", "--rounds", "1", "--shape", "3x32x32"]) == 0
    assert "depthwise" in capsys.readouterr().out


def test_a_quantized_network_is_not_quantized_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32))
    assert main(["quantize", str(model), "--calib", str(tmp_path / "x.npy"), "-o", str(tmp_path / "int8")]) == 0
    assert main(["profile", str(tmp_path / "int8"), "--int8"]) == 1
    assert "quantized already; leave --int8 out" in capsys.readouterr().err
    assert main(["profile", str(tmp_path / "int8"), "--rounds", "1", "--shape", "3x8x8"]) == 0
    assert capsys.readouterr().out.startswith("small, int8, ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["profile"], "the following arguments are required: MODEL"),
        (["profile", "mobilnet1.0"], "no model is named 'mobilnet1.0'"),
        (["profile", "resnet18_v1", "--format", "xml"], "invalid choice: 'xml'"),
        (["profile", "resnet18_v1", "--shape", "3x0x8"], "sizes such as 3x224x224 are wanted, got '3x0x8'"),
        (["profile", "resnet18_v1", "--rounds", "0"], "--rounds: a whole number of at least 1 is wanted, got '0'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_shape_that_does_not_fit_and_a_folder_that_is_not_there_exit_with_1(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(model), "--shape", "5x8x8"]) == 1
    assert "minidnn: error: " in capsys.readouterr().err
    missing = str(tmp_path / "missing" / "file")
    assert main(["profile", str(model), "--shape", "3x8x8", "--rounds", "1", "--format", "json", "-o", missing]) == 1
    assert "missing" in capsys.readouterr().err
