"""Text drawn onto pictures is read back, upright, upside down and askew; by the function and on the command line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from real_models import model_file

from minidnn.cli import main, read
from minidnn.contrib.ocr import TextReader
from minidnn.contrib.ocr.boxes import cut_out, find_boxes
from minidnn.errors import DataError, ShapeError, TypeMismatchError

LINES = ["Hello minidnn", "Total: 1,234.56 EUR", "Gluon and MXNet 2.0"]


def page() -> Image.Image:
    image = Image.new("RGB", (640, 400), "white")
    for i, text in enumerate(LINES):
        ImageDraw.Draw(image).text((40, 50 + 90 * i), text, fill="black", font=ImageFont.load_default(36))
    return image


def unspaced(texts: Any) -> list[str]:
    """The network leaves out some spaces."""
    return ["".join(text.split()) for text in texts]


@pytest.fixture(scope="module")
def reader() -> TextReader:
    model_file("rapidocr_onnxruntime", "*_rec_*.onnx")
    pytest.importorskip("cv2")
    return TextReader()


@pytest.mark.parametrize("angle", [0, 180, 4, -6])
def test_lines_are_read_back(reader: TextReader, angle: int) -> None:
    turned = page().rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    lines = reader.read(np.asarray(turned))
    wanted = LINES[::-1] if angle == 180 else LINES
    assert unspaced(line.text for line in lines) == unspaced(wanted)
    assert all(0.8 < line.confidence <= 1 for line in lines)
    for line in lines:
        (left, top), (right, _), (_, bottom), _ = line.box
        assert 0 <= left < right <= turned.width
        assert 0 <= top < bottom <= turned.height


def test_a_picture_without_text_and_a_thin_one(reader: TextReader) -> None:
    assert reader.read(np.full((50, 700, 3), 255, np.uint8)) == []
    thin = Image.new("RGB", (700, 40), "white")
    ImageDraw.Draw(thin).text((10, 2), "one thin line", fill="black", font=ImageFont.load_default(28))
    assert unspaced(line.text for line in reader.read(np.asarray(thin))) == ["onethinline"]


def test_pixels_that_are_none(reader: TextReader) -> None:
    with pytest.raises(TypeMismatchError, match="pixels must be uint8, got float32"):
        reader.read(np.zeros((8, 8, 3), np.float32))
    for shape in ((8, 8), (8, 8, 4), (0, 8, 3)):
        with pytest.raises(ShapeError, match=r"pixels must be \(H, W, 3\)"):
            reader.read(np.zeros(shape, np.uint8))


def test_the_command_shows_lines_and_json(
    tmp_path: Path, reader: TextReader, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "TextReader", {None: reader}.__getitem__)
    page().save(tmp_path / "page.png")
    Image.new("RGB", (640, 400), "white").save(tmp_path / "white.png")
    assert main(["read", str(tmp_path / "page.png")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert unspaced(line.partition("  [")[0] for line in shown) == unspaced(LINES)
    assert main(["read", str(tmp_path / "page.png"), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert unspaced(line["text"] for line in made) == unspaced(LINES)
    assert all(len(line["box"]) == 4 and line["confidence"] > 0.8 for line in made)
    assert main(["read", str(tmp_path / "white.png")]) == 1
    assert "no text found" in capsys.readouterr().err


def test_what_is_missing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page().save(tmp_path / "page.png")
    if importlib.util.find_spec("cv2") is not None:
        assert main(["read", str(tmp_path / "page.png"), "--models", str(tmp_path)]) == 1
        assert "one file *_det_*.onnx is wanted, found []" in capsys.readouterr().err
        with pytest.raises(DataError, match="one file"):
            TextReader(tmp_path)
    real = importlib.util.find_spec
    for missing in ("rapidocr_onnxruntime", "cv2"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, _no=missing: None if name == _no else real(name))
        assert main(["read", str(tmp_path / "page.png")]) == 1
        assert "pip install 'minidnn[read]'" in capsys.readouterr().err


def test_boxes_of_a_map_are_in_the_order_of_reading() -> None:
    pytest.importorskip("cv2")
    heat = np.zeros((100, 200), np.float32)
    heat[60:70, 20:80], heat[20:30, 120:180], heat[22:32, 10:70] = 0.9, 0.8, 0.9
    heat[80:90, 100:160], heat[95:97, 5:8] = 0.35, 1  # too unsure, too small
    found = find_boxes(heat, 400, 100)
    assert [tuple(np.round(box.mean(0) / 10).astype(int)) for box in found] == [(8, 3), (30, 2), (10, 6)]
    for box in found:
        assert (np.diff(box[:2, 0]) > 0).all() and (box[2:, 1] > box[:2, 1]).all()
    assert find_boxes(np.zeros((32, 32), np.float32), 32, 32) == []


def test_what_is_cut_out_runs_from_left_to_right() -> None:
    pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    box = np.array([[10, 5], [50, 5], [50, 25], [10, 25]], np.float32)
    np.testing.assert_array_equal(cut_out(pixels, box), pixels[5:25, 10:50])
    high = np.array([[10, 5], [20, 5], [20, 35], [10, 35]], np.float32)
    np.testing.assert_array_equal(cut_out(pixels, high), np.rot90(pixels[5:35, 10:20]))
