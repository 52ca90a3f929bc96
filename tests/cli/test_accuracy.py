"""``minidnn accuracy``: the lines it prints, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_network import CLASSES, export, write_samples

import minidnn as mx
from minidnn.cli import main
from minidnn.gluon import nn


def run(*arguments: Any) -> int:
    return main(["accuracy", *map(str, arguments)])


def lines(out: str) -> dict[str, tuple[float, float, int]]:
    """Description -> top-1, top-5, batches; the whole output must be such lines."""
    pattern = r"(.{12}) Top1 Accuracy: (\d\.\d{4}) Top5 Accuracy: (\d\.\d{4}) from ( *\d+) batches in ( *\d+\.\d\d)s"
    matches = [re.fullmatch(pattern, line) for line in out.splitlines()]
    assert all(match is not None and len(match[4]) == 4 and len(match[5]) == 8 for match in matches)
    return {m[1].rstrip(): (float(m[2]), float(m[3]), int(m[4])) for m in matches if m is not None}


def test_lines_in_the_articles_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 50, wrong=5)
    assert run(tmp_path / "net", tmp_path / "data.npz", "--batch", 8, "--bf16") == 0
    out, error = capsys.readouterr()
    assert error == ""
    measured = lines(out)
    assert list(measured) == ["FP32", "FP32 fused", "BF16", "INT8 Naive", "INT8 Entropy"]
    assert measured["BF16"][0] >= 0.88
    # 50 samples are 6 batches of 8 and one of 2: what fills up the last one is not counted.
    assert measured["FP32"] == measured["FP32 fused"] == (0.9, 0.9, 7)
    assert measured["INT8 Naive"][0] >= 0.8
    assert measured["INT8 Naive"][1:] == (0.9, 7)


def test_a_network_that_is_quantized_already_is_measured_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 20)
    assert (
        main(["quantize", str(tmp_path / "net"), "--calib", str(tmp_path / "data.npz"), "-o", str(tmp_path / "q")]) == 0
    )
    capsys.readouterr()
    assert run(tmp_path / "q", tmp_path / "data.npz", "--bf16") == 1
    assert "quantized already; leave --bf16 out" in capsys.readouterr().err
    assert run(tmp_path / "q", tmp_path / "data.npz") == 0
    measured = lines(capsys.readouterr().out)
    assert list(measured) == ["INT8"]
    assert measured["INT8"][0] >= 0.9


def test_a_folder_of_images_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    for number, colour in enumerate(np.random.default_rng(0).integers(0, 256, (6, 3), np.uint8)):
        data = np.broadcast_to((colour[:, None, None] / np.float32(255) - 0.5) / 0.25, (1, 3, 8, 8))
        label = net(mx.np.array(data)).asnumpy().argmax()
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 20), tuple(map(int, colour))).save(folder / f"{number}.png")
    preparation = ("--size", 8, "--mean", 0.5, 0.5, 0.5, "--std", 0.25, 0.25, 0.25)
    assert run(tmp_path / "net", tmp_path / "images", "--batch", 4, "--calib", 1, *preparation) == 0
    measured = lines(capsys.readouterr().out)
    assert list(measured) == ["FP32", "FP32 fused", "INT8 Naive", "INT8 Entropy"]
    assert measured["FP32"] == measured["FP32 fused"] == (1, 1, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": np.zeros((4, 5, 8, 8)), "y": [0] * 4}, "data has 5 channels but weight (8, 3, 3, 3)"),
        ({"x": np.zeros((4, 3)), "y": [0] * 4}, "data must have 4 dimensions (N, C, H, W)"),
        (
            {"x": np.zeros((4, 3, 8, 8)), "y": [0, 1, CLASSES, 2]},
            "the label of sample 2 is 7; the network has 7 classes",
        ),
        ({"x": np.zeros((4, 3, 8, 8)), "y": [0, 1]}, "y is to be 4 whole numbers"),
        ({"x": np.zeros((4, 3, 8, 8))}, "there are no labels"),
    ],
)
def test_data_that_does_not_fit_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: dict[str, Any], message: str
) -> None:
    export(tmp_path / "net")
    np.savez(tmp_path / "data.npz", **data)
    assert run(tmp_path / "net", tmp_path / "data.npz") == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("minidnn: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_network_that_does_not_classify_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = export(tmp_path / "net")
    write_samples(tmp_path / "data.npz", net, 4)
    images = nn.HybridSequential()
    images.add(nn.Activation("relu"))
    images.hybridize()
    images(mx.np.zeros((1, 3, 8, 8)))
    images.export(tmp_path / "images")
    assert run(tmp_path / "images", tmp_path / "data.npz") == 1
    assert "scores (N, classes) are wanted; the network gives an output (4, 3, 8, 8)" in capsys.readouterr().err


def test_files_and_models_that_are_missing_have_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "net")
    assert run(tmp_path / "net", tmp_path / "missing.npz") == 1
    assert "No such file or directory" in (error := capsys.readouterr().err)
    assert "missing.npz" in error
    assert run("resnet18_v1", tmp_path) == 1
    assert f"{tmp_path}: no images" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        run("resnet50_v3", tmp_path)
    assert caught.value.code == 2
    assert "no model is named 'resnet50_v3'" in capsys.readouterr().err
