"""``minidnn profile``: what it writes, what it refuses, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from small_network import export

import minidnn as mx
from minidnn import gluon
from minidnn.cli import main
from minidnn.gluon import nn
from minidnn.runtime import profile as module
from minidnn.runtime import threads


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


def test_weights_in_bfloat16(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(model), "--bf16", "--rounds", "1", "--shape", "3x8x8"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("small, bf16, ")
    assert "igemm_bf16" in out
    x = mx.np.ones((1, 3, 8, 8))
    net = gluon.SymbolBlock.imports(str(model / "small-symbol.json"), ["data"], str(model / "small-0000.params"))
    mx.amp.convert_hybrid_block(net, x).export(str(tmp_path / "half"))
    assert main(["profile", str(tmp_path / "half"), "--rounds", "1", "--shape", "3x8x8"]) == 0
    assert capsys.readouterr().out.startswith("half, bf16, ")
    with pytest.raises(SystemExit):
        main(["profile", str(model), "--bf16", "--int8"])
    assert "not allowed with" in capsys.readouterr().err


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


class _Tokens(nn.HybridBlock):
    """As a vision transformer: weights that no operator calls so come before the data."""

    def __init__(self) -> None:
        super().__init__()
        self.token = gluon.Parameter("token", shape=(1, 1, 6))
        self.position = gluon.Parameter("position", shape=(1, 17, 6))
        self.patches = nn.Dense(6, flatten=False, in_units=3)

    def forward(self, x: Any) -> Any:
        rows = self.patches(x.reshape(-2, -2, -1).transpose(0, 2, 1))
        token = mx.np.broadcast_to(self.token.data(), (x.shape[0], 1, 6))
        return mx.np.concatenate([token, rows], axis=1) + self.position.data()


@pytest.mark.parametrize("command", [["profile", "--rounds", "1"], ["viz", "-o", "graph.svg"]])
def test_what_is_not_among_the_weights_is_the_data(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = _Tokens()
    net.initialize()
    net.hybridize()
    net(mx.np.zeros((1, 3, 4, 4)))
    net.export("tokens")
    name, *options = command
    assert main([name, "tokens", *options]) == 0
    assert capsys.readouterr().out
    if name == "viz":
        drawn = Path("graph.svg").read_text(encoding="utf-8")
        assert "position</text>" not in drawn
        assert "Nx3x4x4" in drawn


def test_too_many_threads_are_limited_with_a_warning(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert main(["profile", str(model), "--rounds", "1", "--threads", "99", "--shape", "3x8x8"]) == 0
    monkeypatch.undo()
    shown = capsys.readouterr()
    assert shown.out.startswith("small, float32, batch 1, 1 threads")
    assert (
        "minidnn: warning: set_num_threads: 99 threads on 1 usable core would wait for each other; 1 will" in shown.err
    )


def test_the_page_says_what_its_timeline_shows(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "profile.html"
    assert main(["profile", str(model), "--format", "html", "-o", str(file), "--rounds", "3", "--shape", "3x8x8"]) == 0
    page = file.read_text(encoding="utf-8")
    assert "<p>The fastest of 3 runs: " in page
