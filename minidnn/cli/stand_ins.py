"""Networks of commands that look at what is computed and not at the numbers: any weights and inputs will do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import minidnn as mx
from minidnn import symbol
from minidnn.cli.networks import Source, load_network
from minidnn.gluon.model_zoo import vision
from minidnn.ir.roles import parameter_variables

__all__ = ["add_shape", "input_shape", "load_any_weights"]


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=_shape,
        metavar="CxHxW",
        help="of one sample, such as 3x224x224 (default: what an exported network was exported with, or the images "
        "that a network of the zoo was made for)",
    )


def _shape(text: str) -> tuple[int, ...]:
    words = text.split("x")
    if not all(word.isascii() and word.isdecimal() and int(word) > 0 for word in words):
        raise argparse.ArgumentTypeError(f"sizes such as 3x224x224 are wanted, got {text!r}")
    return tuple(map(int, words))


def input_shape(source: Source, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Of one sample, without the batch: as given, else as the network's file says, else of an image.

    Raises:
        GraphError: the file is malformed.
        OSError: it cannot be read.
    """
    if given is not None:
        return given
    if source.symbol is not None:
        graph = symbol.load(source.symbol)
        parameters = set(parameter_variables(graph))
        for variable in graph.variables():
            shape = variable.hints.get("shape")
            if variable not in parameters and shape is not None and len(shape) > 1:
                return tuple(map(int, shape[1:]))
    size = vision.get_image_size(source.name)
    return (3, size, size)


def load_any_weights(source: Source, params: Path | None) -> Any:
    """The network; one of the zoo with random weights where none are given.

    Raises:
        DataError: an exported network has no weights, or a file is damaged.
        OSError: a file cannot be read.
    """
    if source.symbol is not None or params is not None:
        return load_network(source, params)
    net = vision.get_model(source.name)
    net.initialize(mx.init.MSRAPrelu())
    return net
