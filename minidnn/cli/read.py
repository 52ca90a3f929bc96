"""``minidnn read``: the text in a picture."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from minidnn.cli.arguments import add_threads, use_threads
from minidnn.cli.photos import read_rgb
from minidnn.contrib.ocr import TextReader
from minidnn.errors import DataError

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "read the text in a picture"
DESCRIPTION = (
    "Find lines of text in a picture and read them, with PP-OCR's models of the package rapidocr-onnxruntime. Shows "
    "each line with the model's confidence and the corners of its box."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the picture")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="a folder with the models *_det_*.onnx, *_cls_*.onnx and *_rec_*.onnx (default: the package's)",
    )
    parser.add_argument("--json", action="store_true", help="write JSON")
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    pixels = read_rgb(arguments.image)
    lines = TextReader(arguments.models).read(pixels)
    if arguments.json:
        print(json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=2))
        return 0
    if not lines:
        raise DataError(f"{arguments.image}: no text found")
    for line in lines:
        corners = " ".join(f"{x:.0f},{y:.0f}" for x, y in line.box)
        print(f"{line.text}  [{line.confidence:.2f}] {corners}")
    return 0
