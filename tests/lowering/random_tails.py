"""Graphs of an anchor with elementwise nodes behind it, of every kind of operand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from small_graphs import Array, fuse, node, normal

from minidnn.ir.graph import Entry, Graph, Node, make_variable

__all__ = ["TAILS", "Network", "add_tail"]

var = make_variable


@dataclass
class Network:
    """A graph under construction: its inputs and parameters by name, and the fused node's variables for them."""

    feed: dict[str, Array] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)

    def new(self, *shape: int, constant: bool = False, positive: bool = False) -> Entry:
        """The variable of a new input or parameter of random numbers."""
        number = len(self.feed)
        array = normal(*shape, seed=number)
        name = f"v{number}"
        self.feed[name] = np.abs(array) + np.float32(0.5) if positive else array
        if constant:
            self.parameters.append(name)
        return var(f"in{number}")

    def graph(self, outputs: list[Entry], fused: bool) -> Graph:
        if fused:
            return fuse("fused", [var(name) for name in self.feed], outputs)
        names = list(self.feed)

        def rename(made: Node, _: Sequence[Entry]) -> list[Entry] | None:
            return [var(names[int(made.name.removeprefix("in"))])] if made.is_variable else None

        return Graph(outputs).rewrite(rename)


def add_tail(network: Network, x: Entry, shape: tuple[int, ...], kind: str, name: str) -> Entry:
    """One more elementwise node behind `x`."""
    channels, ones = shape[1], (1,) * (len(shape) - 2)
    new = network.new
    if kind == "batch_norm":
        parameters = [new(channels, constant=True, positive=i == 3) for i in range(4)]
        return node("batch_norm", x, *parameters, name=name, axis=1, fix_gamma=False, eps=1e-3)
    if kind == "prelu":
        return node("leaky_relu", x, new(channels, constant=True), name=name, act_type="prelu")
    operand = {
        "residual": lambda: new(*shape),
        "constant": lambda: new(*shape, constant=True),
        "channel": lambda: new(channels, *ones),
        "constant_channel": lambda: new(1, channels, *ones, constant=True),
        "scalar": lambda: new(1),
        "last_dimension": lambda: new(shape[-1]),
        "image": lambda: new(shape[0], 1, *ones),
        "itself": lambda: x,
    }.get(kind)
    if operand is not None:
        return node("add", operand(), x, name=name)
    return node(kind, x, name=name)


TAILS = (
    *("relu", "sigmoid", "batch_norm", "prelu", "residual", "constant", "channel", "constant_channel", "scalar"),
    *("last_dimension", "image", "itself"),
)
