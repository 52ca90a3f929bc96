"""What tuning did: layer by layer, and as a recipe that stays with the network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from minidnn.errors import DataError
from minidnn.formats import version
from minidnn.gluon.block import SymbolBlock
from minidnn.ir.graph import Entry, Graph, Node, make_like
from minidnn.ops.registry import Attrs
from minidnn.passes.quantized_graph import QuantizedGraph
from minidnn.untrusted import html_table

__all__ = ["LayerTuning", "Tuning", "read_tuning", "with_tuning"]

# The hint of a weight's variable that holds the recipe, as JSON; it is saved with the graph.
_HINT = "tuning"


@dataclass(frozen=True)
class LayerTuning:
    """What was done to one product.

    Args:
        name: of the operation in the float32 graph.
        rounding: how its weights were rounded.
        rows: how many rows of its inputs that went by.
        inputs: signal to quantization noise in dB of its sums on them, with float32 weights: what its inputs have
            lost.
        sums: the same with int8 weights, which make up for a part of that.
    """

    name: str
    rounding: str
    rows: int
    inputs: float
    sums: float


@dataclass(frozen=True)
class Tuning:
    """How an int8 network was tuned. ``print`` shows a table.

    Args:
        sqnr: signal to quantization noise in dB of the outputs on the calibration data.
        naive: the same with ranges of minimum and maximum and weights rounded to nearest.
        samples: of calibration data.
        equalized: layers whose channels were scaled.
        shifted: layers whose outputs are shifted to have no negative numbers.
        floats: layers that stay in float32 so that a bound on the accuracy is kept.
        layers: what was done to each product.
        is_naive: whether tuning would have erred more than `naive`, which is what the network is then.
        steps: in their order.
        seed: of the choice of rows.
        version: of minidnn.
        note: what else there is to know; empty if nothing.
    """

    sqnr: float
    naive: float
    samples: int
    equalized: tuple[str, ...] = ()
    shifted: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    layers: tuple[LayerTuning, ...] = ()
    is_naive: bool = False
    steps: tuple[str, ...] = ("equalize", "shift", "ranges", "rounding", "bias", "sensitivity")
    seed: int = 0
    version: str = ""
    note: str = ""

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table: layer, what was done, dB of its inputs, dB of its sums."""
        found = [(e.name, self._done(e), _text(e.inputs), _text(e.sums)) for e in self.layers]
        return found + [(name, "float32", "", "") for name in self.floats]

    def _done(self, layer: LayerTuning) -> str:
        before = (("equalized", self.equalized), ("shifted", self.shifted))
        return ", ".join([*(word for word, names in before if layer.name in names), layer.rounding])

    def summary(self) -> str:
        """One line for the whole network."""
        text = f"outputs {_text(self.sqnr)} dB, naive {_text(self.naive)} dB, on {self.samples} samples"
        if self.is_naive:
            text += "; tuning would err more, so this is the naive network"
        return f"{text}; {self.note}" if self.note else text

    def _repr_html_(self) -> str:
        return html_table(("layer", "tuning", "inputs dB", "sums dB"), self.rows(), (2, 3))

    def __str__(self) -> str:
        rows = [("layer", "tuning", "inputs dB", "sums dB"), *self.rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            f"{a:{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in rows
        ]
        return "\n".join([*lines, self.summary()])


def _text(decibel: float) -> str:
    return f"{decibel:.1f}"


def with_tuning(quantized: QuantizedGraph, tuning: Tuning) -> QuantizedGraph:
    """The graph with the recipe in it."""
    # Where all products stay float32, some other parameter.
    weight = next((p.weight for p in quantized.products.values()), next(iter(quantized.parameters), None))
    text = json.dumps(asdict(replace(tuning, version=version())))

    def change(node: Node, inputs: tuple[Entry, ...]) -> list[Entry] | None:
        if not node.is_variable or node.name != weight:
            return None
        return [make_like(node, inputs, hints=Attrs({**node.hints, _HINT: text}))[0]]

    return replace(quantized, graph=quantized.graph.rewrite(change))


def read_tuning(network: SymbolBlock) -> Tuning | None:
    """How a network was tuned, also one that was read from a file; None if it was not.

    Raises:
        TypeError: it is no SymbolBlock.
        DataError: what the file says of it is damaged.
    """
    if not isinstance(network, SymbolBlock):
        raise TypeError(f"network must be a SymbolBlock made by quantize_net, got {type(network).__name__}")
    graph: Graph = network._own_graph().symbol
    text = next((v.hints[_HINT] for v in graph.variables() if _HINT in v.hints), None)
    return None if text is None else _parsed(text)


def _parsed(text: Any) -> Tuning:
    try:
        found = json.loads(str(text))
        layers = tuple(LayerTuning(**_known(LayerTuning, layer)) for layer in found.pop("layers"))
        found.setdefault("shifted", ())
        lists = {key: tuple(map(str, found.pop(key))) for key in ("equalized", "shifted", "floats", "steps")}
        numbers = {key: float(found.pop(key)) for key in ("sqnr", "naive")}
        made = Tuning(**{**_known(Tuning, found), **lists, **numbers, "layers": layers})
        for layer in layers:
            math.isnan(layer.inputs + layer.sums)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"the network's tuning is damaged: {error}") from None
    return made


def _known(kind: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {key: value for key, value in found.items() if key in names}
