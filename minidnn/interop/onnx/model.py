"""An ONNX model as plain data: what `minidnn.interop.onnx.reader` makes of a file and the rules read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidnn.interop.onnx.elements import Element

__all__ = ["Attribute", "Constant", "Dimension", "Function", "Model", "ModelGraph", "ModelNode", "Port", "shown"]

# A number, the name of a size, or None where nothing is known.
Dimension = int | str | None


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor of a file: the elements in their carrier's dtype, and what they are."""

    array: np.ndarray[Any, Any]
    element: Element


@dataclass(frozen=True)
class Attribute:
    """An attribute of a node.

    Args:
        kind: ``float``, ``int``, ``string``, ``tensor``, ``graph`` or the plural of one; ``reference`` to an attribute
            of the function that the node is in, by name; any other kind that nothing here reads.
        value: a number, text, `Constant` or `ModelGraph`, or a tuple of them.
    """

    kind: str
    value: Any


@dataclass(frozen=True, eq=False)
class ModelNode:
    """A node; the name of an input or output that is left out is empty."""

    op: str
    domain: str
    overload: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def __str__(self) -> str:
        own = self.name or next(filter(None, self.outputs), "")
        domain = f"{self.domain}." if self.domain else ""
        return f"node {shown(own)} ({shown(domain + self.op)[1:-1]})"


@dataclass(frozen=True)
class Port:
    """An input or an output of a graph.

    Args:
        name: its name.
        element: the type of its elements; None where the file does not say, as in graphs inside of nodes.
        shape: None where not even the rank is known.
        kind: ``tensor``, or what it is instead.
    """

    name: str
    element: Element | None
    shape: tuple[Dimension, ...] | None
    kind: str = "tensor"


@dataclass(frozen=True, eq=False)
class ModelGraph:
    """A graph: nodes in an order in which each comes behind those it reads."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[ModelNode, ...]
    constants: Mapping[str, Constant]


@dataclass(frozen=True, eq=False)
class Function:
    """A function: a node that calls it stands for its nodes."""

    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    defaults: Mapping[str, Attribute]
    nodes: tuple[ModelNode, ...]
    opsets: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Model:
    """A model.

    Args:
        label: what errors call it: the name of the file.
        graph: what it computes.
        opsets: versions of sets of operators, by domain; ONNX's own is empty.
        functions: by domain, name and overload.
        metadata: texts by name.
    """

    label: str
    graph: ModelGraph
    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str, str], Function]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What a call gives: the inputs of the graph that have no value in the file."""
        return tuple(port for port in self.graph.inputs if port.name not in self.graph.constants)

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.graph.outputs


def shown(text: str) -> str:
    """A text of a file, quoted, fit for a message."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
