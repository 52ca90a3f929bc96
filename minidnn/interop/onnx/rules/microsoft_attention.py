"""Attention of the domain ``com.microsoft``, by matrix products and a softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.rules.integers import flat, integer_matmul
from minidnn.interop.onnx.values import Value, known, of_sizes
from minidnn.sizes import example_of

__all__: list[str] = []

_MS = "com.microsoft"


@rule("Attention", domain=_MS)
def _attention(call: Call) -> list[Value]:
    """Self-attention with the projections of query, key and value as one product."""
    x, weights, bias = call[0], call[1], call.get(2)
    if call.get(6) is not None:
        call.refuse("buffers of past keys are not supported")
    product = call.emit("matmul", x, weights)
    product = product if bias is None else call.emit("add", product, bias)
    total = int(weights.dim(1))
    sizes = call.integers("qkv_hidden_sizes", None) or (total // 3,) * 3
    return _to_oneself(call, product, sizes, call.get(3), call.get(4), call.get(5))


@rule("QAttention", domain=_MS)
def _quantized_attention(call: Call) -> list[Value]:
    """The same with the projections as a product of bytes."""
    x, weights, bias, x_scale, scale = (call[i] for i in range(5))
    sums = integer_matmul(call, x, weights, call.get(6), call.get(7))
    product = sums.real(call, call.binary("multiply", flat(call, scale), flat(call, x_scale)), -1)
    total = int(weights.dim(1))
    return _to_oneself(call, call.emit("add", product, bias), (total // 3,) * 3, call.get(5), call.get(8), None)


def _to_oneself(
    call: Call, product: Value, sizes: Sequence[int], mask: Value | None, past: Value | None, bias: Value | None
) -> list[Value]:
    heads, is_causal, total = _heads(call), call.flag("unidirectional"), int(product.dim(2))
    if len(sizes) != 3 or sum(sizes) != total or any(n % heads for n in sizes):
        call.misfit(f"weights of {total} columns do not fit sizes of {sizes} and {heads} heads")
    if call.flag("do_rotary") or call.flag("past_present_share_buffer"):
        call.refuse("buffers of past keys and rotary embeddings are not supported")
    parts = [_split_heads(call, part, heads) for part in _side_by_side(call, product, sizes)]
    if past is not None:
        both = [call.emit("slice_axis", past, axis=0, begin=i, end=i + 1) for i in (0, 1)]
        before = [call.emit("squeeze", p, axis=(0,)) for p in both]
        parts[1:] = [call.concatenate([old, new], 2) for old, new in zip(before, parts[1:], strict=True)]
    made = _attend(call, parts, mask, bias, is_causal)
    return [made, call.emit("stack", *parts[1:], num_args=2, axis=0)] if call.wants(1) else [made]


def _side_by_side(call: Call, x: Value, sizes: Sequence[int]) -> list[Value]:
    """Parts of these sizes of the features of ``(batch, time, features)``."""
    ends = np.cumsum(sizes).tolist()
    return [
        call.emit("slice_axis", x, axis=2, begin=end - size, end=end) for end, size in zip(ends, sizes, strict=True)
    ]


@rule("MultiHeadAttention", domain=_MS)
def _multi_head_attention(call: Call) -> list[Value]:
    heads = _heads(call)
    is_causal = call.flag("unidirectional")
    if any(call.get(i) is not None for i in range(8, len(call.inputs))) or call.wants(3):
        call.refuse("past sequence lengths, cache indirections and the product of query and key are not supported")
    given, bias = _unpacked(call, heads), call.get(3)
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


def _unpacked(call: Call, heads: int) -> list[Value]:
    """Query, key and value, each ``(batch, time, features)``, or key and value ``(batch, heads, time, size)``.

    Packed they are ``(batch, time, heads, 3, size)``, or key and value ``(batch, time, heads, 2, size)``.
    """
    query, key, value = call[0], call.get(1), call.get(2)
    if query.ndim == 5:
        if key is not None or value is not None:
            call.misfit("beside a packed query there is no key and no value")
        return _taken_apart(call, query, heads, 3)
    if query.ndim != 3 or key is None:
        call.misfit(f"it needs a query of 3 dimensions and a key, or a packed query of 5, got {query.ndim}")
    if key.ndim == 5:
        if value is not None:
            call.misfit("beside a packed key there is no value")
        return [query, *_taken_apart(call, key, heads, 2)]
    return [query, key, call[2]]


def _taken_apart(call: Call, packed: Value, heads: int, count: int) -> list[Value]:
    if example_of(packed.dim(2)) != heads or example_of(packed.dim(3)) != count:
        call.misfit(f"packed inputs must be (batch, time, {heads}, {count}, size), got {packed._type}")
    features = heads * int(packed.dim(4))
    parts = [call.emit("slice_axis", packed, axis=3, begin=i, end=i + 1) for i in range(count)]
    return [call.reshape(part, (packed.dim(0), packed.dim(1), features)) for part in parts]


# ---- rotary embeddings, and grouped heads ---------------------------------------------------------------


@rule("RotaryEmbedding", domain=_MS)
def _rotary_embedding(call: Call) -> Value:
    x, places, cos, sin = (call[i] for i in range(4))
    heads, rotated = call.integer("num_heads", 0), call.integer("rotary_embedding_dim", 0)
    interleaved = call.flag("interleaved")
    if call.flag("is_packed_batching") or call.real("scale", 1.0) != 1.0:
        call.refuse("packed batches and scales are not supported")
    if x.ndim == 4:
        times = x.dim(2)
        return _rotated(call, x, _angles(call, (cos, sin), places, times), interleaved)
    if x.ndim != 3:
        call.misfit(f"its input must have 3 or 4 dimensions, got {x._type}")
    features = int(x.dim(2))
    if not heads:
        if rotated:
            call.misfit("attribute 'num_heads' is needed where 'rotary_embedding_dim' is given")
        size = 2 * int(cos.dim(1))
        heads = features // size if size and features % size == 0 else 0
    if heads < 1 or features % heads:
        call.misfit(f"{features} features cannot be split into {heads} heads")
    split = _split_heads(call, x, heads)
    made = _rotated(call, split, _angles(call, (cos, sin), places, x.dim(1)), interleaved)
    return call.reshape(call.transpose(made, (0, 2, 1, 3)), (x.dim(0), x.dim(1), features))


def _angles(call: Call, caches: tuple[Value, Value], places: Value, times: Any) -> tuple[Value, Value]:
    """Cosines and sines, each ``(batch or 1, 1, time, pairs)``; one place is that of the first element."""
    if places._type.size == 1 and places.ndim < 2:
        count = call.emit("arange", start=0, stop=times, dtype=np.dtype(np.int64))
        places = call.reshape(call.emit("add", count, call.cast(places, np.int64)), (1, times))
    cos, sin = (call.expand_dims(call.emit("index", cache, places, axes=(0,)), (1,)) for cache in caches)
    return cos, sin


def _rotated(call: Call, x: Value, angles: tuple[Value, Value], interleaved: bool) -> Value:
    """The pairs of ``(batch, heads, time, size)`` turned by their angles, as far as there are angles."""
    cos, sin = angles
    pairs, size = int(cos.dim(3)), int(x.dim(3))
    if 2 * pairs > size:
        call.misfit(f"the caches have angles for {2 * pairs} numbers, the heads have {size}")
    if interleaved:
        apart = call.reshape(_last(call, x, 0, 2 * pairs), (*x.shape[:3], pairs, 2))
        a, b = (call.reshape(_cut(call, apart, 4, i, i + 1), (*x.shape[:3], pairs)) for i in (0, 1))
    else:
        a, b = _last(call, x, 0, pairs), _last(call, x, pairs, 2 * pairs)
    real = call.emit("subtract", call.emit("multiply", a, cos), call.emit("multiply", b, sin))
    imaginary = call.emit("add", call.emit("multiply", a, sin), call.emit("multiply", b, cos))
    if interleaved:
        made = call.reshape(call.emit("stack", real, imaginary, num_args=2, axis=4), (*x.shape[:3], 2 * pairs))
        parts = [made]
    else:
        parts = [real, imaginary]
    if 2 * pairs < size:
        parts.append(_last(call, x, 2 * pairs, size))
    return call.concatenate(parts, 3) if len(parts) > 1 else parts[0]


def _cut(call: Call, x: Value, axis: int, begin: Any, end: Any) -> Value:
    return call.emit("slice_axis", x, axis=axis, begin=begin, end=end)


def _last(call: Call, x: Value, begin: int, end: int) -> Value:
    return _cut(call, x, 3, begin, end)


@rule("GroupQueryAttention", domain=_MS)
def _group_query_attention(call: Call) -> list[Value]:
    """Causal attention of groups of query heads to one head of keys each, behind keys and values of the past."""
    heads, key_heads = _heads(call), call.integer("kv_num_heads")
    if key_heads < 1 or heads % key_heads:
        call.fail(f"attribute 'kv_num_heads' must divide 'num_heads' {heads}, got {key_heads}")
    window, softcap = call.integer("local_window_size", -1), call.real("softcap", 0.0)
    rotary, interleaved = call.flag("do_rotary"), call.flag("rotary_interleaved")
    if call.flag("smooth_softmax") or any(call.get(i) is not None for i in range(11, len(call.inputs))):
        call.refuse("sinks, quantized caches and norms of heads are not supported")
    if call.wants(3) or not call.flag("causal", True):
        call.refuse("the product of query and key, and attention that is not causal, are not supported")
    call.ignore("k_quant_type", "v_quant_type", "kv_cache_bit_width", "qk_output", "qk_norm_epsilon")
    call.ignore("q_norm_epsilon", "k_norm_epsilon", "sliding_window_cache")
    query, key, value = _grouped(call, heads, key_heads)
    batch, times = query.dim(0), query.dim(2)
    past = 0 if call.get(3) is None else call[3].dim(2)
    lengths = call.reshape(call.cast(call[5], np.int64), (batch, 1))
    # How many keys each sequence had before: none in a prompt, whose sequences may end with padding.
    is_prompt = bool(past == 0)
    before = call.filled((batch, 1), 0, np.int64) if is_prompt else _plus(call, lengths, 1 - times)
    steps = call.emit("arange", start=0, stop=times, dtype=np.dtype(np.int64))
    places = call.emit("add", before, steps)
    if rotary:
        given = call.get(9)
        angles = _angles(call, (call[7], call[8]), places if given is None else call.cast(given, np.int64), times)
        query, key = (_rotated(call, x, angles, interleaved) for x in (query, key))
    keys, values = (new if is_prompt else _behind(call, call[3 + i], new, before) for i, new in enumerate((key, value)))
    total = keys.dim(2)
    columns = call.emit("arange", start=0, stop=total, dtype=np.dtype(np.int64))
    rows = call.reshape(places, (batch, 1, times, 1))
    seen = call.emit("less_equal", columns, rows)
    if window > 0:
        seen = call.emit("logical_and", seen, call.emit("greater", columns, _plus(call, rows, -window)))
    made = _attend_groups(call, (query, keys, values), seen, call.get(10), softcap)
    return [made, keys, values]


def _plus(call: Call, x: Value, number: Any) -> Value:
    return call.emit("add", x, call.cast(of_sizes([number]), np.int64))


def _grouped(call: Call, heads: int, key_heads: int) -> tuple[Value, Value, Value]:
    """Query, key and value split into heads; packed, they lie side by side."""
    if call.get(1) is None:
        whole = heads + 2 * key_heads
        features = int(call[0].dim(2))
        if features % whole:
            call.misfit(f"{features} features cannot be split into {heads} + 2 x {key_heads} heads")
        size = features // whole
        parts = _side_by_side(call, call[0], (heads * size, key_heads * size, key_heads * size))
    else:
        parts = [call[0], call[1], call[2]]
    query, key, value = (
        _split_heads(call, part, n) for part, n in zip(parts, (heads, key_heads, key_heads), strict=True)
    )
    return query, key, value


def _behind(call: Call, past: Value, new: Value, before: Value) -> Value:
    """``(batch, heads, past + time, size)``: of the past what each sequence had, then what is new, then anything."""
    batch, heads, times, size = new.shape
    count = past.dim(2)
    columns = call.emit("arange", start=0, stop=count + times, dtype=np.dtype(np.int64))
    old = call.emit("less", columns, before)
    moved = call.emit("add", call.emit("subtract", columns, before), call.cast(of_sizes([count]), np.int64))
    index = call.emit("where", old, call.emit("add", columns, call.binary("multiply", before, 0)), moved)
    index = call.emit("minimum", index, call.cast(of_sizes([count + times - 1]), np.int64))
    index = call.reshape(index, (batch, 1, count + times, 1))
    index = call.emit("broadcast_to", index, shape=(batch, heads, count + times, size))
    return call.emit("take_along_axis", call.concatenate([past, new], 2), index, axis=2)


def _attend_groups(
    call: Call, parts: tuple[Value, Value, Value], seen: Value, bias: Value | None, softcap: float
) -> Value:
    """Of each group of query heads, to its head of keys; ``(batch, time, features)``."""
    query, key, value = parts
    batch, heads, times, size = query.shape
    key_heads, total, value_size = key.dim(1), key.dim(2), value.dim(3)
    group = int(heads) // int(key_heads)
    scale = call.real("scale", 0.0) or 1 / math.sqrt(int(size))
    rows = call.reshape(query, (batch, key_heads, group * times, size))
    scores = call.binary("multiply", call.emit("matmul", rows, call.transpose(key, (0, 1, 3, 2))), scale)
    scores = call.reshape(scores, (batch, heads, times, total))
    if softcap:
        scores = call.binary("multiply", call.emit("tanh", call.binary("multiply", scores, 1 / softcap)), softcap)
    if bias is not None:
        scores = call.emit("add", scores, bias)
    scores = call.emit("where", seen, scores, known(np.float32(np.finfo(np.float32).min)))
    weights = call.reshape(call.emit("softmax", scores, axis=3), (batch, key_heads, group * times, total))
    made = call.reshape(call.emit("matmul", weights, value), (batch, heads, times, value_size))
    return call.reshape(call.transpose(made, (0, 2, 1, 3)), (batch, times, int(heads) * int(value_size)))


# ---- what they have in common ---------------------------------------------------------------------------


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
