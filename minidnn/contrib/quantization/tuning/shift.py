"""Shifts: what has one long side gets it in all 256 integers of uint8.

GELU, SiLU and their kin reach far up, and down to a fraction of one. As int8 is symmetric, half of it is left unused.
The tensor plus the constant that makes it nonnegative is uint8, in steps about half as large; layers that multiply it
give the constant times the sums of their weights beside, which their biases take away. That is exact where every output
sees all weights, so not through padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, Node, make_like, make_node
from minidnn.ir.infer import known_types
from minidnn.ops.quantization import QUANTIZED_RANGES
from minidnn.passes.fold_parameters import take_apart
from minidnn.passes.quantized_graph import layer_output
from minidnn.passes.regions import data_inputs, fuse_region

__all__ = ["Shift", "Shifter", "find_shifts"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shift:
    """A tensor that can be shifted.

    Args:
        entry: the tensor.
        amount: what is added.
        readers: names of all products that read it.
        layers: its name as collectors see it, and those of what carries it to the readers.
        by_rows: whether each row of it has a range of its own.
    """

    entry: Entry
    amount: float
    readers: tuple[str, ...]
    layers: tuple[str, ...]
    by_rows: bool


class Shifter:
    """Shifts those tensors whose integers become finer by it.

    Args:
        shifts: the tensors that can be shifted.

    Attributes:
        changed: those that are.
        layers: the names of all as collectors see them, which `shifted` has to be given.
    """

    def __init__(self, shifts: Sequence[Shift]) -> None:
        self.changed: list[Shift] = []
        self._shifts = {layer_output(shift.entry): shift for shift in shifts}
        self.layers = tuple(self._shifts)
        self._amounts: dict[str, float] = {}

    def shifted(self, name: str, arrays: Iterable[Array]) -> Iterable[Array]:
        """What the network with shifts has for a layer.

        Args:
            name: of the layer.
            arrays: what it gives on calibration data, batch by batch.
        """
        shift = self._shifts.get(name)
        if shift is not None:
            arrays = list(arrays)
            if _is_finer(shift, arrays):
                self.changed.append(shift)
                self._amounts.update(dict.fromkeys(shift.layers, shift.amount))
        if name not in self._amounts:
            return arrays
        return (np.maximum(array + np.float32(self._amounts[name]), np.float32(0)) for array in arrays)

    def apply(
        self, graph: Graph, parameters: Mapping[str, Array], names: Mapping[str, tuple[str, str]]
    ) -> tuple[Graph, dict[str, Array]]:
        """The same function with the shifts.

        Args:
            graph: each of its products with a weight and a bias of its own; with operations of the same names as the
                one that the shifts are of.
            parameters: their values, by name.
            names: of weight and bias, by the product's name.
        """
        values = dict(parameters)
        amounts = {shift.entry.node.name: shift.amount for shift in self.changed}
        for shift in self.changed:
            for reader in shift.readers:
                weight, bias = (values[name] for name in names[reader])
                sums = weight.reshape(len(weight), -1).sum(1, dtype=np.float64)
                values[names[reader][1]] = (bias - shift.amount * sums).astype(np.float32)

        def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
            if node.is_variable or node.name not in amounts:
                return None
            made = make_like(node, inputs)
            attrs = {"scalar": amounts[node.name], "is_int": False}
            added = make_node("add_scalar", f"{node.name}_shift", [made[0]], attrs)
            # Nothing is below zero now; this says so.
            kept = make_node("relu", f"{node.name}_nonnegative", [added[0]])
            return [fuse_region([made, added, kept], {e: e for e in inputs}, node.name, node.hints)[0]]

        return graph.rewrite(change), values


def _is_finer(shift: Shift, arrays: Sequence[Array]) -> bool:
    """Whether steps become smaller, in the mean of their squares over the rows or for the whole tensor."""
    lows, highs = ([f(a, axis=-1).reshape(-1) for a in arrays if a.size] for f in (np.min, np.max))
    if not lows:
        return False
    low, high = np.concatenate(lows).astype(np.float64), np.concatenate(highs).astype(np.float64)
    if not shift.by_rows:
        low, high = low.min(keepdims=True), high.max(keepdims=True)
    signed = float(np.square(np.maximum(-low, high) / QUANTIZED_RANGES["int8"][1]).mean())
    shifted = float(np.square((np.maximum(high, 0) + shift.amount) / QUANTIZED_RANGES["uint8"][1]).mean())
    return bool(low.min() < 0) and shifted < signed


def find_shifts(graph: Graph, names: Mapping[str, tuple[str, str]]) -> Iterable[Shift]:
    """The tensors that can be shifted.

    Args:
        graph: each of its products with a weight and a bias of its own.
        names: of weight and bias, by the product's name.
    """
    types, consumers = known_types(graph), graph.consumers()
    for node in graph.operations():
        entry, lowest = node[0], _lowest(node)
        if lowest is None or lowest >= 0 or entry not in types:
            continue
        readers: list[str] = []
        layers: list[str] = []
        by_rows = types[entry].ndim > 2
        pending = [entry]
        while pending:
            value = pending.pop()
            layers.append(layer_output(value))
            for reader in consumers.get(value, ()):
                if reader.name in names and _takes_shift(reader, value):
                    readers.append(reader.name)
                    by_rows = by_rows and value == entry and _reads_rows(reader)
                elif _carries_shift(reader) and data_inputs(reader) == [value]:
                    pending.append(reader[0])
                else:
                    readers.clear()
                    break
            else:
                if value not in graph.outputs:
                    continue
                readers.clear()
            break
        if readers:
            yield Shift(entry, -lowest, tuple(readers), tuple(layers), by_rows)


def _lowest(node: Node) -> float | None:
    """A number below which no element of a result lies."""
    if node.num_outputs != 1:
        return None
    last = node if node.subgraph is None else node.subgraph.outputs[0].node
    if last.op is None or last.op.lowest is None or last.subgraph is not None:
        return None
    return last.op.lowest(last.attrs)


def _takes_shift(node: Node, value: Entry) -> bool:
    """Whether a product multiplies the tensor with all its weights, for every output, and reads it nowhere else."""
    parts = take_apart(node, None)
    if not parts.only_multiplies(value):
        return False
    return "pad" not in parts.anchor.attrs or not any(parts.anchor.attrs.pad)


def _reads_rows(node: Node) -> bool:
    attrs = take_apart(node, None).anchor.attrs
    return "flatten" in attrs and not attrs.flatten


def _carries_shift(node: Node) -> bool:
    """Whether an operation gives the shifted result for a shifted tensor."""
    if node.op is None or node.num_outputs != 1:
        return False
    if node.op_name == "pooling":
        attrs = node.attrs
        return attrs.pool_type in ("max", "avg") and attrs.pooling_convention == "valid" and not any(attrs.pad)
    return node.op.holds(node.op.keeps_order, node.attrs) and node.op.holds(node.op.scale_transparent, node.attrs)
