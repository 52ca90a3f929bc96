"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import difflib

from minidnn.gluon.model_zoo import vision

__all__ = ["add_threads", "model_name", "positive"]


def positive(text: str) -> int:
    """An integer of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is wanted, got {text!r}")
    return number


def model_name(text: str) -> str:
    """A name of the model zoo."""
    names = vision.list_models()
    if text.lower() not in names:
        close = difflib.get_close_matches(text.lower(), names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names)}"
        raise argparse.ArgumentTypeError(f"no model is named {text!r}; {hint}")
    return text.lower()


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads to compute with (default: what 'minidnn info' shows)"
    )
