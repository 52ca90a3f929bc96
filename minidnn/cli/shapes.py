"""The shape of what a network of a command is given."""

from __future__ import annotations

import argparse

from minidnn.cli.networks import Source

__all__ = ["add_shape", "input_shape"]


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
    from minidnn import symbol
    from minidnn.gluon.model_zoo import vision
    from minidnn.symbol.roles import parameter_variables

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
