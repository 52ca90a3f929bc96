"""Attention as products around a softmax, which all versions of ONNX have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.export.writer import Tensor, Writer, export_rule
from minidnn.ops.attention import attention_inputs, attention_scale
from minidnn.ops.registry import Attrs, TensorType

__all__: list[str] = []


@export_rule("attention")
def _attention(w: Writer, attrs: Attrs, x: Sequence[Tensor], out: Sequence[TensorType]) -> Any:
    """softmax(scale * query keyT + mask) value."""
    for name in ("use_length", "use_past_length", "packed"):
        if attrs[name]:
            w.fail(f"{name} is not supported")
    given = dict(zip(attention_inputs(attrs), x, strict=True))
    query, key = given["query"], given["key"]
    ndim, dtype = query.ndim, query.dtype
    keys, values = (_with_past(w, given, name) for name in ("key", "value"))
    if ndim == 4 and query.shape[1] != key.shape[1]:
        keys, values = (_repeated(w, given, name, made) for name, made in (("key", keys), ("value", values)))
    scaled = w.node("Mul", query, w.number(attention_scale(attrs, int(query.shape[-1])), dtype))
    scores = w.node("MatMul", scaled, w.transposed(keys, [*range(ndim - 2), ndim - 1, ndim - 2]))
    if attrs.softcap:
        cap = w.number(attrs.softcap, dtype)
        scores = w.node("Mul", w.node("Tanh", w.node("Div", scores, cap)), cap)
    hidden = []
    if attrs.use_mask:
        scores, where = _masked(w, attrs, scores, given["mask"], dtype)
        hidden.append(where)
    if attrs.causal is not None:
        where = w.node("Not", _seen_in_order(w, attrs, given))
        scores = w.node("Where", where, w.number(-math.inf, dtype), scores)
        hidden.append(where)
    weights = w.node("Softmax", scores, axis=-1)
    # Of rows that see nothing the softmax is no number.
    for where in hidden:
        weights = w.node("Where", where, w.number(0, dtype), weights)
    return w.node("MatMul", weights, values)


def _with_past(w: Writer, given: dict[str, Tensor], name: str) -> str:
    own = w.name_of(given[name])
    past = given.get(f"past_{name}")
    return own if past is None else w.node("Concat", past, own, axis=-2)


def _repeated(w: Writer, given: dict[str, Tensor], name: str, made: str) -> str:
    """Keys or values (batch, heads, length, size) for as many heads as there are of queries."""
    batch, heads, own, size = given[name].shape
    group = given["query"].shape[1] // heads
    length = own + (given[f"past_{name}"].shape[2] if f"past_{name}" in given else 0)
    wide = w.node("Expand", w.unsqueezed(made, [2]), w.ints([batch, heads, group, length, size]))
    return w.reshaped(wide, [batch, heads * group, length, size])


def _masked(w: Writer, attrs: Attrs, scores: str, mask: Tensor, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Scores with their mask, and where it hides keys altogether."""
    if mask.dtype != np.bool_:
        hidden = w.node("Equal", mask, w.number(-math.inf, mask.dtype))
        return w.node("Add", scores, w.cast(mask, dtype)), hidden
    hidden = w.node("Not", mask)
    made = w.node("Where", mask, scores, w.number(attrs.mask_value, dtype))
    return made, hidden if attrs.mask_value == -math.inf else w.constant(np.zeros((), np.bool_))


def _seen_in_order(w: Writer, attrs: Attrs, given: dict[str, Tensor]) -> str:
    """Which keys (queries, keys) come no later than a query."""
    queries, keys = given["query"].shape[-2], given["key"].shape[-2]
    past = given["past_key"].shape[-2] if attrs.use_past else 0
    ones = w.node("Expand", w.constant(np.ones((), np.int64)), w.ints([queries, past + keys]))
    last = past + (keys - queries if attrs.causal == "last" else 0)
    triangle = w.node("Trilu", ones, w.number(last, np.int64), upper=0)
    return w.node("Cast", triangle, to=w.element(np.bool_))
