"""Products whose weights are bfloat16: half of the bytes in memory, data and sums in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable, unfused_outputs
from minidnn.ops.bfloat16 import round_to_bfloat16
from minidnn.ops.registry import get_op
from minidnn.passes.fold_batch_norm import normalizes_channels
from minidnn.passes.regions import GraphView

__all__ = ["bfloat16_weights"]

Array = np.ndarray[Any, Any]

_FLOAT32 = np.dtype(np.float32)
_DENSE = "fully_connected"


def bfloat16_weights(
    graph: Graph, parameters: Mapping[str, Array], chosen: Callable[[Node], bool]
) -> tuple[Graph, dict[str, Array]]:
    """The graph, not fused, with the weights of chosen products in bfloat16, and the values of its parameters.

    Products are the operators that have a form with such weights, and ``matmul`` and ``dot`` by a known matrix on the
    right, which become dense layers. A batch normalization that alone reads a product is folded before rounding.
    Depthwise convolutions stay as they are: they have few weights, and are not multiplied in pairs.

    Args:
        graph: a float32 graph, fused or not.
        parameters: values of its parameters, by name.
        chosen: of the operations that could be changed, those that are.

    Raises:
        OpError: a finite weight is beyond bfloat16; the message names the layer.
    """
    plain = graph.rewrite(unfused_outputs)
    work = _Rounding(plain, parameters, chosen)
    result = plain.rewrite(work.change)
    used = {node.name for node in result.variables()}
    return result, {name: value for name, value in work.values.items() if name in used}


class _Rounding:
    """Replaces products one by one; weights that several share are rounded once."""

    def __init__(self, graph: Graph, parameters: Mapping[str, Array], chosen: Callable[[Node], bool]) -> None:
        self.values: dict[str, Array] = dict(parameters)
        self._view = GraphView(graph)
        self._chosen = chosen
        self._names = {node.name for node in graph.nodes()}
        self._made: dict[tuple[str, ...], Entry] = {}
        # Batch normalizations that are folded, and so give what they got.
        self._folded: set[Node] = set()

    def change(self, node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        if node in self._folded:
            return [inputs[0]]
        if node.op is None or node.op.anchor is None:
            return None
        weight = self._known(inputs[1]) if len(inputs) > 1 else None
        if weight is None or weight.dtype != _FLOAT32:
            return None
        if node.op.anchor.bfloat16:
            is_possible = not _is_depthwise(node, weight)
            return self._replaced(node, inputs, weight) if is_possible and self._chosen(node) else None
        if node.op_name in ("matmul", "dot") and self._is_dense(node, weight) and self._chosen(node):
            rounded = self._variable((inputs[1].node.name, "", "transposed"), lambda: self._round(node, weight.T))
            attrs = {"num_hidden": weight.shape[1], "no_bias": True, "flatten": False}
            return [make_node(_bfloat16_form(_DENSE), node.name, [inputs[0], rounded], attrs)[0]]
        return None

    def _is_dense(self, node: Node, weight: Array) -> bool:
        """Whether a product by a matrix is a dense layer: ``dot`` of a single number is none."""
        rank = self._view.ndim(node.inputs[0])
        is_matrix = weight.ndim == 2 and weight.size > 0
        return is_matrix and self._known(node.inputs[0]) is None and (node.op_name == "matmul" or bool(rank))

    def _replaced(self, node: Node, inputs: tuple[Entry, ...], weight: Array) -> Sequence[Entry] | None:
        """The product with rounded weights, and with what follows it folded in."""
        assert node.op is not None and node.op.anchor is not None
        source, bias = inputs[1].node.name, self._known(inputs[2]) if len(inputs) > 2 else None
        norm = self._norm_behind(node)
        if norm is None or (len(inputs) > 2 and bias is None):
            rounded = self._variable((source,), lambda: self._round(node, weight))
            return [make_node(node.op.anchor.bfloat16, node.name, [inputs[0], rounded, *inputs[2:]], node.attrs)[0]]
        assert norm.op is not None and norm.op.affine is not None
        known = [self.values[e.node.name] for e in norm.inputs[1:]]
        scale, shift = norm.op.affine.numbers(norm.attrs, known)
        self._folded.add(norm)
        names = (source, norm.name)
        new = [
            inputs[0],
            self._variable(names, lambda: self._round(node, _scaled(node, weight, scale))),
            self._variable((*names, "bias"), lambda: _float32(shift if bias is None else bias * scale + shift)),
        ]
        return [make_node(node.op.anchor.bfloat16, node.name, new, node.attrs.replace(no_bias=False))[0]]

    def _norm_behind(self, node: Node) -> Node | None:
        """The batch normalization of the product's channels that alone reads it, with known numbers."""
        norm = self._view.only_consumer(node[0])
        if norm is None or norm.op is None or norm.op.affine is None or norm.inputs[0] != node[0]:
            return None
        if not normalizes_channels(norm, node, self._view.ndim(node[0])):
            return None
        return norm if all(self._known(e) is not None for e in norm.inputs[1:]) else None

    def _known(self, entry: Entry) -> Array | None:
        return self.values.get(entry.node.name) if entry.node.is_variable else None

    def _round(self, node: Node, weight: Array) -> Array:
        rounded = round_to_bfloat16(weight)
        # The bits of infinity, without the sign.
        if ((rounded & 0x7FFF) == 0x7F80).any() and not np.isinf(weight).any():
            raise OpError(f"{node.layer}: its weight has numbers beyond bfloat16, up to {np.abs(weight).max():.4g}")
        return rounded

    def _variable(self, key: tuple[str, ...], make: Callable[[], Array]) -> Entry:
        """The variable for what is made of these parameters."""
        if key not in self._made:
            value = make()
            name = f"{key[0]}_bfloat16" if value.dtype != _FLOAT32 else f"{key[0]}_folded_bias"
            while name in self._names:
                name += "_"
            self._names.add(name)
            self.values[name] = value
            self._made[key] = make_variable(name, shape=value.shape, dtype=value.dtype)
        return self._made[key]


def _bfloat16_form(name: str) -> str:
    anchor = get_op(name).anchor
    assert anchor is not None and anchor.bfloat16
    return anchor.bfloat16


def _is_depthwise(node: Node, weight: Array) -> bool:
    return bool(node.attrs.get("num_group", 1) > 1 and weight.shape[1] == 1)


def _scaled(node: Node, weight: Array, scale: Array) -> Array:
    """Weights times a factor for each output channel."""
    if node.op_name != "deconvolution":
        return _float32(weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)))
    groups = node.attrs.num_group
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return _float32(split * scale.reshape(groups, 1, -1, *(1,) * (weight.ndim - 2))).reshape(weight.shape)


def _float32(numbers: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(numbers, np.float32)
