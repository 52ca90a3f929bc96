"""``minidnn embed``: sentences to vectors, and how similar they are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.cli.arguments import add_threads, positive, use_threads
from minidnn.cli.console import make_console
from minidnn.errors import DataError
from minidnn.gluon.model_zoo import text

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "turn sentences into vectors and compare them"
DESCRIPTION = (
    "Compute the embedding of each sentence with a sentence encoder and its published weights, and show the cosine "
    "similarities of all pairs; with --output, write the embeddings to a file."
)
_MODEL = "all-MiniLM-L6-v2"
# Columns of the table of similarities, and letters of a sentence in it.
_MOST_SHOWN, _LETTERS = 10, 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="a sentence")
    parser.add_argument("--file", type=Path, metavar="FILE", help="a text file with a sentence in each line (UTF-8)")
    parser.add_argument("--model", default=_MODEL, metavar="NAME", help=f"the encoder (default: {_MODEL})")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write embeddings to FILE.npy, one row a sentence, or with sentences and similarities to FILE.json",
    )
    parser.add_argument(
        "--batch", type=positive, default=32, metavar="N", help="sentences computed together (default: 32)"
    )
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    sentences = [*arguments.sentences, *_lines(arguments.file)]
    if not sentences:
        raise DataError("embed: give sentences, or a file of them by --file")
    output = arguments.output
    if output is not None and output.suffix not in _WRITERS:
        raise DataError(f"embed: the output must end in {' or '.join(_WRITERS)}, got {output}")
    use_threads(arguments)
    try:
        net = text.get_model(arguments.model, pretrained=True)
    except ValueError as error:
        raise DataError(f"embed: {error}") from None
    vectors = net.encode(sentences, arguments.batch).asnumpy()
    if output is not None:
        _WRITERS[output.suffix](output, sentences, vectors)
    _show(sentences, vectors)
    return 0


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8: {error}") from None


def _write_array(path: Path, sentences: list[str], vectors: np.ndarray[Any, Any]) -> None:
    with path.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)


def _write_json(path: Path, sentences: list[str], vectors: np.ndarray[Any, Any]) -> None:
    similarities = (vectors @ vectors.T).tolist()
    made = {"sentences": sentences, "embeddings": vectors.tolist(), "similarities": similarities}
    path.write_text(json.dumps(made, ensure_ascii=False), "utf-8")


_WRITERS = {".npy": _write_array, ".json": _write_json}


def _show(sentences: list[str], vectors: np.ndarray[Any, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = min(len(sentences), _MOST_SHOWN)
    table = Table(title=f"cosine similarities, {vectors.shape[1]} numbers a sentence")
    table.add_column("", justify="right")
    table.add_column("sentence")
    for number in range(shown):
        table.add_column(str(number + 1), justify="right")
    for number, (sentence, row) in enumerate(zip(sentences, vectors @ vectors[:shown].T, strict=True), 1):
        short = sentence if len(sentence) <= _LETTERS else f"{sentence[: _LETTERS - 1]}…"
        table.add_row(str(number), escape(short), *(f"{value:.3f}" for value in row))
    make_console().print(table)
