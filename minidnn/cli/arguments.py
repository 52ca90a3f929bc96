"""Arguments that several commands take."""

from __future__ import annotations

import argparse
import sys
import warnings

from minidnn import engine
from minidnn.gluon.model_zoo import vision
from minidnn.gluon.model_zoo.vision.models import close_models, describe_models

__all__ = ["add_threads", "model_name", "positive", "use_threads"]


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
        close = close_models(text)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are\n{describe_models()}"
        raise argparse.ArgumentTypeError(f"no model is named {text!r}; {hint}")
    return text.lower()


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads to compute with, at most one for each core (default: what 'minidnn info' shows)",
    )


def use_threads(arguments: argparse.Namespace) -> None:
    """Compute with as many threads as the arguments of `add_threads` say, or the environment; warn of too many."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if arguments.threads is not None:
            engine.set_num_threads(arguments.threads)
        engine.get_num_threads()
    for warning in caught:
        print(f"minidnn: warning: {warning.message}", file=sys.stderr)
