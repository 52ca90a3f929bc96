"""Attention of the domain ``com.microsoft``, by matrix products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.values import Value, known
from minidnn.sizes import example_of

__all__: list[str] = []

_MS = "com.microsoft"


@rule("Attention", domain=_MS)
def _attention(call: Call) -> list[Value]:
    """Self-attention with the projections of query, key and value as one product."""
    heads = _heads(call)
    is_causal = call.flag("unidirectional")
    x, weights, bias = call[0], call[1], call.get(2)
    total = int(weights.dim(1))
    sizes = call.integers("qkv_hidden_sizes", None) or (total // 3,) * 3
    if len(sizes) != 3 or sum(sizes) != total or any(n % heads for n in sizes):
        call.misfit(f"weights of {total} columns do not fit sizes of {sizes} and {heads} heads")
    product = call.emit("matmul", x, weights)
    product = product if bias is None else call.emit("add", product, bias)
    begins = (0, sizes[0], sizes[0] + sizes[1])
    parts = [
        _split_heads(call, call.emit("slice_axis", product, axis=2, begin=begin, end=begin + size), heads)
        for begin, size in zip(begins, sizes, strict=True)
    ]
    if call.get(4) is not None:
        past = [call.emit("slice_axis", call[4], axis=0, begin=i, end=i + 1) for i in (0, 1)]
        before = [call.emit("squeeze", p, axis=(0,)) for p in past]
        parts[1:] = [call.concatenate([old, new], 2) for old, new in zip(before, parts[1:], strict=True)]
    if call.get(6) is not None or call.flag("do_rotary") or call.flag("past_present_share_buffer"):
        call.refuse("buffers of past keys and rotary embeddings are not supported")
    present = call.emit("stack", *parts[1:], num_args=2, axis=0) if call.wants(1) else x
    return [_attend(call, parts, call.get(3), call.get(5), is_causal), present]


@rule("MultiHeadAttention", domain=_MS)
def _multi_head_attention(call: Call) -> list[Value]:
    heads = _heads(call)
    is_causal = call.flag("unidirectional")
    if any(call.get(i) is not None for i in range(8, len(call.inputs))) or call.wants(3):
        call.refuse("past sequence lengths, cache indirections and the product of query and key are not supported")
    query, key, value, bias = call[0], call.get(1), call.get(2), call.get(3)
    if key is None or value is None or query.ndim != 3:
        call.refuse("query, key and value packed into one input are not supported")
    given = [query, key, value]
    if bias is not None:
        begin = 0
        for i, part in enumerate(given):
            if part.ndim != 3:
                call.refuse("a bias for keys that are split into heads already is not supported")
            size = int(part.dim(2))
            given[i] = call.emit("add", part, call.emit("slice_axis", bias, axis=0, begin=begin, end=begin + size))
            begin += size
    parts = [_split_heads(call, part, heads) if part.ndim == 3 else part for part in given]
    for i in (1, 2):
        past = call.get(5 + i)
        parts[i] = parts[i] if past is None else call.concatenate([past, parts[i]], 2)
    return [_attend(call, parts, call.get(4), call.get(5), is_causal), *parts[1:]]


def _heads(call: Call) -> int:
    heads = call.integer("num_heads")
    if heads < 1:
        call.fail(f"attribute 'num_heads' must be at least 1, got {heads}")
    return int(heads)


def _split_heads(call: Call, x: Value, heads: int) -> Value:
    """``(batch, time, features)`` as ``(batch, heads, time, features of a head)``."""
    features = int(x.dim(2))
    if features % heads:
        call.misfit(f"{features} features cannot be split into {heads} heads")
    split = call.reshape(x, (x.dim(0), x.dim(1), heads, features // heads))
    return call.transpose(split, (0, 2, 1, 3))


def _attend(call: Call, parts: list[Value], mask: Value | None, bias: Value | None, is_causal: bool) -> Value:
    """``(batch, time, features)`` from queries, keys and values split into heads."""
    query, key, value = parts
    scale = call.real("scale", None) or 1 / math.sqrt(int(query.dim(3)))
    lowest = call.real("mask_filter_value", -10000.0)
    scores = call.binary("multiply", call.emit("matmul", query, call.transpose(key, (0, 1, 3, 2))), scale)
    if bias is not None:
        scores = call.emit("add", scores, bias)
    times, keys = query.dim(2), key.dim(2)
    if mask is not None:
        allowed = _allowed(call, mask, key.dim(0), keys)
        scores = call.emit("add", scores, call.binary("multiply", call.binary("rsubtract", allowed, 1.0), lowest))
    if is_causal:
        places = call.emit("arange", start=0, stop=keys, dtype=np.dtype(np.int64))
        last = call.emit("arange", start=keys - times, stop=keys, dtype=np.dtype(np.int64))
        seen = call.emit("less_equal", places, call.reshape(last, (times, 1)))
        scores = call.emit("where", seen, scores, known(np.float32(np.finfo(np.float32).min)))
    made = call.emit("matmul", call.emit("softmax", scores, axis=3), value)
    heads, size = int(query.dim(1)), int(value.dim(3))
    return call.reshape(call.transpose(made, (0, 2, 1, 3)), (query.dim(0), times, heads * size))


def _allowed(call: Call, mask: Value, batch: Any, keys: Any) -> Value:
    """1.0 for keys that count and 0.0 for others, to be broadcast against ``(batch, heads, time, keys)``."""
    if mask.ndim == 1:
        if example_of(mask.dim(0)) != example_of(batch):
            call.refuse("masks of first and last keys are not supported")
        places = call.emit("arange", start=0, stop=keys, dtype=np.dtype(np.int64))
        lengths = call.reshape(call.cast(mask, np.int64), (batch, 1, 1, 1))
        return call.cast(call.emit("less", places, lengths), np.float32)
    counts = call.cast(mask, np.float32)
    return call.expand_dims(counts, {2: (1, 2), 3: (1,)}.get(mask.ndim, ()))
