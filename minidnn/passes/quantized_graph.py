"""What the quantization passes share: a graph, its parameters, the ranges it waits for, and which axes have their own.

Where ranges are found at run time, a sample with NaN, infinity or a huge number must not spoil its neighbours in the
batch. So each sample has its range, and where a product sums along the last axis alone each row; that is the more
accurate rule, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node

__all__ = [
    "QUANTIZING",
    "ROWS",
    "SAMPLES",
    "PlannedRange",
    "ProductParameters",
    "QuantizedGraph",
    "find_batch_axes",
    "is_quantized",
    "layer_output",
    "operand_axes",
]

# Operators with a range.
QUANTIZING = frozenset({"quantize", "requantize"})


@dataclass(frozen=True)
class PlannedRange:
    """Where the range of one quantizing node comes from.

    Args:
        layers: outputs of the float32 graph, by name; the range is the smallest that holds all of theirs.
        uint8_if_positive: whether calibration may still choose uint8, where it sees nothing negative.
    """

    layers: tuple[str, ...]
    uint8_if_positive: bool


@dataclass(frozen=True)
class ProductParameters:
    """Names of the variables of one product with weights."""

    weight: str
    scale: str
    bias: str | None


@dataclass(frozen=True)
class QuantizedGraph:
    """A graph on its way to int8.

    Args:
        graph: the graph.
        parameters: the values of its parameters, by name.
        ranges: by name of the quantizing node.
        products: by name of the node that multiplies int8.
    """

    graph: Graph
    parameters: Mapping[str, np.ndarray[Any, Any]]
    ranges: Mapping[str, PlannedRange]
    products: Mapping[str, ProductParameters]

    def layers(self) -> tuple[str, ...]:
        """The outputs of the float32 graph whose ranges are needed, each once."""
        return tuple(dict.fromkeys(layer for planned in self.ranges.values() for layer in planned.layers))


def layer_output(entry: Entry) -> str:
    """The name under which collectors see a value: ``<node>_output``, or its own name for an input of the graph."""
    if entry.node.is_variable:
        return entry.node.name
    return f"{entry.node.name}_output{entry.index if entry.node.num_outputs > 1 else ''}"


def is_quantized(graph: Graph) -> bool:
    """Whether there are int8 operations in a graph."""
    return any(
        is_quantized(n.subgraph) if n.subgraph is not None else n.op_name in QUANTIZING or _is_integer_product(n)
        for n in graph.operations()
    )


def _is_integer_product(node: Node) -> bool:
    return node.op is not None and node.op.anchor is not None and node.op.anchor.is_integer


# Values of the attribute ``batch_axes``: the first axis; all but the last; all but the last two.
SAMPLES, ROWS, _MATRICES = 1, -1, -2


def operand_axes(anchor: Node) -> tuple[int, ...]:
    """The finest ``batch_axes`` of each operand of a product: what is summed up has one scale."""
    if anchor.op_name == "batch_dot":
        return (_MATRICES if anchor.attrs.transpose_a else ROWS), _MATRICES
    if anchor.op_name == "fully_connected" and not anchor.attrs.flatten:
        return (ROWS,)
    return (SAMPLES,)


def find_batch_axes(readers: Iterable[tuple[Entry, int]], origins: Mapping[Entry, Sequence[Entry]]) -> dict[Entry, int]:
    """The attribute ``batch_axes`` of every value that is quantized: the finest that all its readers can use.

    Args:
        readers: int8 values, and the finest that a reader of it can use.
        origins: see `Marks`.
    """
    found: dict[Entry, int] = {}
    for entry, axes in readers:
        for origin in origins[entry]:
            # Axes may lie elsewhere when a value has been carried, but for the first.
            own = axes if origin == entry else SAMPLES
            known = found.get(origin, own)
            found[origin] = SAMPLES if SAMPLES in (own, known) else min(own, known)
    return found
