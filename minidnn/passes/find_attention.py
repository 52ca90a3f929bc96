"""Attention that is written as products around a softmax becomes one operation.

Forms: ``batch_dot`` or ``matmul`` of queries and keys, or MXNet's interleaved products; scores that are scaled, added
to, or masked; ``softmax`` or ``masked_softmax``; the product with the values. Transposes and reshapes around them stay:
lowering reads what they give where it lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, Node, make_node
from minidnn.ops.attention_products import INTERLEAVED
from minidnn.passes.regions import GraphView
from minidnn.passes.remove_identities import remove_identities
from minidnn.sizes import by_example, is_same

__all__ = ["find_attention"]

_FLOAT32 = np.dtype(np.float32)
_NO_MORE = 16


@dataclass(frozen=True)
class _Scores:
    """What a softmax is taken of.

    Args:
        query, key: ``(..., rows, size)``; None while they have not been reached.
        scale: of the product.
        mask: added to scores, or bools.
        mask_value: what scores are where a mask of bools does not hold.
    """

    query: Entry | None = None
    key: Entry | None = None
    scale: Any = 1.0
    mask: Entry | None = None
    mask_value: float = -math.inf


def find_attention(graph: Graph) -> Graph:
    """Make one ``attention`` of every product of values whose weights nobody else reads."""
    if not any(node.op_name in _SOFTMAX for node in graph.operations()):
        return graph
    finder = _Finder(GraphView(graph))
    found = {node: made for node in finder.view.operations if (made := finder.attend(node)) is not None}
    if not found:
        return graph
    new: dict[Entry, Entry] = {}

    def change(node: Node, inputs: tuple[Entry, ...]) -> Sequence[Entry] | None:
        new.update(zip(node.inputs, inputs, strict=True))
        return [_renewed(found[node], new)] if node in found else None

    # Reshapes on both sides of what was found may cancel.
    return remove_identities(graph.rewrite(change))


def _renewed(entry: Entry, new: dict[Entry, Entry]) -> Entry:
    """What the finder has made, of what stands for its inputs now."""
    if entry in new:
        return new[entry]
    node = entry.node
    inputs = [_renewed(e, new) for e in node.inputs]
    if tuple(inputs) != node.inputs:
        node = replace(node, inputs=tuple(inputs))
    for i in range(node.num_outputs):
        new[entry.node[i]] = node[i]
    return new[entry]


_SOFTMAX = frozenset({"softmax", "masked_softmax"})


class _Finder:
    """Reads a graph from products of values back to those of queries and keys."""

    def __init__(self, view: GraphView) -> None:
        self.view = view
        self._names = {node.name for node in view.position}

    def attend(self, node: Node) -> Entry | None:
        """What stands for the node's output, if it is the product of values of an attention."""
        try:
            if node.op_name in ("batch_dot", "matmul"):
                return self._of_product(node)
            if node.op_name.endswith("_valatt"):
                return self._of_interleaved(node)
        except OpError:  # an attribute that depends on sizes in a way that no operator here can
            pass
        return None

    # ---- from the values to the queries

    def _of_product(self, node: Node) -> Entry | None:
        if node.op_name == "batch_dot" and node.attrs.transpose_a:
            return None
        scores = self._scores(node.inputs[0])
        if scores is None or scores.query is None or scores.key is None:
            return None
        value = node.inputs[1]
        if node.op_name == "batch_dot" and node.attrs.transpose_b:
            value = self._turned(node, value, "value")
        return self._made(node, scores, scores.query, scores.key, value)

    def _made(self, node: Node, scores: _Scores, query: Entry, key: Entry, value: Entry) -> Entry | None:
        out = self._shape(node[0])
        shapes = [shape for e in (query, key, value) if (shape := self._shape(e)) is not None]
        if out is None or len(out) not in (3, 4) or len(shapes) < 3:
            return None
        if any(len(shape) != len(out) or not _same(shape[:-2], out[:-2]) for shape in shapes):
            return None
        if node.op_name == "matmul" and any(not all(map(is_same, shape[:-2], out[:-2])) for shape in shapes):
            # For other sizes one could be repeated for the others.
            return None
        apart = [self._heads_apart(e) for e in (query, key, value)] if len(out) == 3 else []
        lead: tuple[Any, ...] | None = None
        if apart and all(e is not None for e in apart):
            leads = [(self._shape(e) or ())[:2] for e in apart if e is not None]
            if all(_same(other, leads[0]) for other in leads):
                lead = leads[0]
                query, key, value = (e for e in apart if e is not None)
        mask = None
        if scores.mask is not None:
            rows, keys = out[-2], shapes[1][-2]
            mask = self._mask(node, scores.mask, (*out[:-2], rows, keys), lead)
            if mask is None:
                return None
        attrs = {"scale": scores.scale, "mask_value": scores.mask_value, "use_mask": mask is not None}
        made = make_node("attention", self._name(node), [query, key, value, *([mask] if mask else [])], attrs)[0]
        if lead is None:
            return made
        return make_node("reshape", self._new_name(node, "merged"), [made], {"newshape": out})[0]

    def _scores(self, weights: Entry) -> _Scores | None:
        """Back from the weights of a product of values."""
        weights = self._unshaped(weights)
        node, shape = weights.node, self._shape(weights)
        if node.op_name not in _SOFTMAX or shape is None or not self._is_only(weights):
            return None
        attrs = node.attrs
        if (
            attrs.axis not in (-1, len(shape) - 1)
            or attrs.get("use_length")
            or attrs.get("dtype") not in (None, _FLOAT32)
        ):
            return None
        found = _Scores(scale=1.0 if attrs.temperature is None else 1.0 / attrs.temperature)
        if node.op_name == "masked_softmax":
            found = replace(found, mask=node.inputs[1])
        return self._back(node.inputs[0], found, is_scaled=attrs.temperature not in (None, 1.0))

    def _back(self, entry: Entry, found: _Scores, is_scaled: bool = False) -> _Scores | None:
        """Back through what is done to scores, to their product; `is_scaled`: a mask would be scaled too."""
        for _ in range(_NO_MORE):
            entry = self._unshaped(entry)
            node = entry.node
            if not self._is_only(entry) or node.op is None or self.view.types.get(entry) is None:
                return None
            if node.op_name in ("batch_dot", "matmul", "interleaved_matmul_selfatt_qk", "interleaved_matmul_encdec_qk"):
                return self._product(node, found)
            factor = self._factor(node)
            if factor is not None:
                found, is_scaled = replace(found, scale=found.scale * factor), True
                entry = node.inputs[0]
            elif node.op_name in ("add", "where") and found.mask is None and not is_scaled:
                step = self._added(node, found) if node.op_name == "add" else self._chosen(node, found)
                if step is None:
                    return None
                entry, found = step
            else:
                return None
        return None

    def _added(self, node: Node, found: _Scores) -> tuple[Entry, _Scores] | None:
        shape = self._shape(node[0])
        for entry, other in (node.inputs, node.inputs[::-1]):
            added = self.view.types.get(other)
            is_mask = added is not None and added.dtype == _FLOAT32
            if is_mask and _same(self._shape(entry), shape) and self._leads_to_product(entry):
                return entry, replace(found, mask=other)
        return None

    def _chosen(self, node: Node, found: _Scores) -> tuple[Entry, _Scores] | None:
        condition, scores, other = node.inputs
        known = self.view.types.get(condition)
        fill = other.node.attrs.get("value") if other.node.op_name == "full" else None
        if known is None or known.dtype != np.bool_ or not isinstance(fill, (int, float)):
            return None
        if not _same(self._shape(scores), self._shape(node[0])):
            return None
        return scores, replace(found, mask=condition, mask_value=float(fill))

    def _leads_to_product(self, entry: Entry) -> bool:
        for _ in range(_NO_MORE):
            entry = self._unshaped(entry)
            if entry.node.op_name in ("batch_dot", "matmul") or entry.node.op_name.endswith("_qk"):
                return True
            if self._factor(entry.node) is None:
                return False
            entry = entry.node.inputs[0]
        return False

    def _factor(self, node: Node) -> Any:
        """What an operation multiplies its input by; None if it does something else."""
        if node.op_name == "multiply_scalar":
            return node.attrs.scalar
        if node.op_name == "true_divide_scalar":
            return 1.0 / node.attrs.scalar if node.attrs.scalar != 0 else None
        if node.op_name == "div_sqrt_dim":
            shape = self._shape(node[0])
            return shape[-1] ** -0.5 if shape else None
        return None

    def _product(self, node: Node, found: _Scores) -> _Scores | None:
        """The product of queries and keys, whose own factors go into the scale."""
        if node.op_name.endswith("_qk"):
            return replace(found, query=node[0])
        query, key = node.inputs
        if node.op_name == "batch_dot" and node.attrs.transpose_a:
            query = self._turned(node, query, "query")
        if node.op_name == "matmul" or not node.attrs.transpose_b:
            key = self._turned(node, key, "key")
        scale = found.scale
        query, query_factor = self._unscaled(query)
        key, key_factor = self._unscaled(key)
        return replace(found, query=query, key=key, scale=scale * query_factor * key_factor)

    def _unscaled(self, entry: Entry) -> tuple[Entry, Any]:
        """What is multiplied by a number right before, and the number."""
        turned = entry.node if entry not in self.view.types and entry.node.op_name == "transpose" else None
        inner = entry if turned is None else turned.inputs[0]
        factor = self._factor(inner.node)
        if factor is None or not self._is_only(inner):
            return entry, 1.0
        source = inner.node.inputs[0]
        if turned is None:
            return source, factor
        return make_node("transpose", turned.name, [source], turned.attrs)[0], factor

    # ---- MXNet's interleaved products

    def _of_interleaved(self, node: Node) -> Entry | None:
        """Projections (time, batch, heads * count * size), of which the last of each head are the values."""
        projections, weights = node.inputs
        scores = self._scores(weights)
        if scores is None or scores.query is None or not scores.query.node.op_name.endswith("_qk"):
            return None
        product = scores.query.node
        if product.inputs[-1] != projections or product.attrs.heads != node.attrs.heads:
            return None
        parts: list[Entry] = []
        for entry, count in zip(product.inputs, INTERLEAVED[product.op_name], strict=True):
            apart = self._apart(node, entry, node.attrs.heads, count, len(parts))
            if apart is None:
                return None
            parts += apart
        query, key, value = parts
        out = self._shape(node[0])
        shape = self._shape(projections)
        kept = self._shape(product[0])
        if out is None or shape is None or kept is None:
            return None
        heads, size = node.attrs.heads, out[2] // node.attrs.heads
        mask = None
        if scores.mask is not None:
            mask = self._mask(node, scores.mask, kept, (out[1], heads))
            if mask is None:
                return None
        scale = scores.scale * size**-0.5
        attrs = {"scale": scale, "mask_value": scores.mask_value, "use_mask": mask is not None}
        made = make_node("attention", self._name(node), [query, key, value, *([mask] if mask else [])], attrs)[0]
        moved = make_node("transpose", self._new_name(node, "moved"), [made], {"axes": (2, 0, 1, 3)})[0]
        return make_node("reshape", self._new_name(node, "merged"), [moved], {"newshape": out})[0]

    def _apart(self, node: Node, entry: Entry, heads: int, count: int, first: int) -> list[Entry] | None:
        """Each of `count` projections as (batch, heads, time, size)."""
        shape = self._shape(entry)
        if shape is None:
            return None
        split = (*shape[:2], heads, count, shape[2] // (heads * count))
        whole = make_node("reshape", self._new_name(node, f"split{first}"), [entry], {"newshape": split})[0]
        moved = make_node("transpose", self._new_name(node, f"turned{first}"), [whole], {"axes": (3, 1, 2, 0, 4)})[0]
        attrs = {"sections": count, "axis": 0, "squeeze_axis": True}
        parts = make_node("split", self._new_name(node, f"parts{first}"), [moved], attrs)
        return [parts[i] for i in range(count)]

    # ---- shapes

    def _shape(self, entry: Entry) -> tuple[Any, ...] | None:
        """Of float32 of known shape; of what the finder has made, that of what it turns."""
        known = self.view.types.get(entry)
        if known is None and entry.node.op_name == "transpose":
            inner = self._shape(entry.node.inputs[0])
            return None if inner is None else (*inner[:-2], inner[-1], inner[-2])
        return known.shape if known is not None and known.dtype == _FLOAT32 else None

    def _is_only(self, entry: Entry) -> bool:
        """Whether one operation alone reads the entry."""
        return self.view.only_consumer(entry) is not None

    def _unshaped(self, entry: Entry) -> Entry:
        """Before reshapes that keep the last two axes."""
        while (op := entry.node.op) is not None and op.holds(op.keeps_order, entry.node.attrs) and self._is_only(entry):
            shape, before = self._shape(entry), self._shape(entry.node.inputs[0])
            if shape is None or before is None or len(before) < 2 or not _same(shape[-2:], before[-2:]):
                break
            entry = entry.node.inputs[0]
        return entry

    def _heads_apart(self, entry: Entry) -> Entry | None:
        """(batch, heads, rows, size) of which a reshape has made (batch * heads, rows, size)."""
        turned = entry.node if entry not in self.view.types and entry.node.op_name == "transpose" else None
        inner = entry if turned is None else turned.inputs[0]
        op = inner.node.op
        if op is None or not op.holds(op.keeps_order, inner.node.attrs):
            return None
        source = inner.node.inputs[0]
        shape, before = self._shape(inner), self._shape(source)
        if shape is None or before is None or len(before) != 4 or not _same(shape[-2:], before[-2:]):
            return None
        if turned is None:
            return source
        return make_node("transpose", turned.name, [source], {"axes": (0, 1, 3, 2)})[0]

    def _turned(self, node: Node, entry: Entry, what: str) -> Entry:
        """The last two axes swapped; a transpose that does nothing else is taken off instead."""
        shape = self._shape(entry)
        ndim = len(shape) if shape is not None else 0
        axes = (*range(ndim - 2), ndim - 1, ndim - 2)
        if ndim < 3:
            raise OpError("what is turned has at least three axes")
        inner = entry.node
        if inner.op_name == "transpose" and tuple(a % ndim for a in inner.attrs.axes or ()) == axes:
            return inner.inputs[0]
        if inner.op_name == "swapaxes" and {inner.attrs.dim1 % ndim, inner.attrs.dim2 % ndim} == {ndim - 2, ndim - 1}:
            return inner.inputs[0]
        return make_node("transpose", self._new_name(node, what), [entry], {"axes": axes})[0]

    def _mask(self, node: Node, mask: Entry, scores: tuple[Any, ...], lead: tuple[Any, ...] | None) -> Entry | None:
        """The mask in a shape that broadcasts to the scores of the attention; None if there is none."""
        known = self.view.types.get(mask)
        if known is None or known.dtype not in (_FLOAT32, np.dtype(np.bool_)):
            return None
        shape, whole = known.shape, scores if lead is None else (*lead, *scores[-2:])
        if lead is not None and len(shape) == 3 and _same(shape[:1], scores[:1]):
            shape = (*lead, *shape[1:])
            mask = make_node("reshape", self._new_name(node, "mask"), [mask], {"newshape": shape})[0]
        aligned = (1,) * (len(whole) - len(shape)) + shape
        return mask if len(aligned) == len(whole) and _fits(aligned, whole) else None

    # ---- names

    def _name(self, node: Node) -> str:
        name = node.name.replace(node.op_name, "attention")
        return name if name not in self._names else node.name

    def _new_name(self, node: Node, suffix: str) -> str:
        base = name = f"{node.name}_{suffix}"
        number = 0
        while name in self._names:
            number += 1
            name = f"{base}{number}"
        self._names.add(name)
        return name


def _same(first: Sequence[Any] | None, second: Sequence[Any] | None) -> bool:
    """Whether both shapes are known, and equal for the sizes of the example.

    What depends on it are operations that refuse other sizes, as the attention does.
    """
    return first is not None and second is not None and by_example(lambda: tuple(first) == tuple(second))


def _fits(mask: Sequence[Any], scores: Sequence[Any]) -> bool:
    """Whether a mask of as many dimensions broadcasts to the scores."""
    return by_example(lambda: all(n in (1, wanted) for n, wanted in zip(mask, scores, strict=True)))
