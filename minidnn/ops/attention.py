"""Scaled dot-product attention (Vaswani et al., 2017), and the products that MXNet has for its two halves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import want_dtype, want_filled, want_float, want_rank, want_shape
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["attention_inputs", "attention_scale"]

Array = np.ndarray[Any, Any]

_LENGTHS = (np.dtype(np.int32), np.dtype(np.int64))


def attention_inputs(attrs: Attrs) -> tuple[str, ...]:
    """The names of the inputs of an `attention` with these attributes, in order."""
    past = ("past_key", "past_value") if attrs.use_past else ()
    optional = ("mask", "length", "past_length")
    return ("query", "key", "value", *past, *(name for name in optional if attrs[f"use_{name}"]))


def attention_scale(attrs: Attrs, size: int) -> float:
    """What scores are multiplied by: the attribute ``scale``, or one over the root of the elements of a key."""
    return 1 / math.sqrt(size) if attrs.scale is None else float(attrs.scale)


def _check_attention(attrs: Attrs) -> None:
    if attrs.use_past_length and not attrs.use_past:
        raise OpError("attention: use_past_length needs use_past")
    if attrs.scale is not None and not math.isfinite(attrs.scale):
        raise OpError(f"attention: scale must be finite, got {attrs.scale}")
    if attrs.packed and (attrs.use_past or not attrs.use_length):
        raise OpError("attention: packed needs use_length, and excludes use_past")


def _infer_attention(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, given = "attention", dict(zip(attention_inputs(attrs), types, strict=True))
    query, key, value = types[:3]
    want_float(op, "query", query)
    if query.ndim not in (3, 4):
        form = "(batch, queries, size) or (batch, heads, queries, size)"
        raise ShapeError(f"{op}: query must have 3 or 4 dimensions {form}, got {query.ndim}: {query}")
    want_filled(op, "query", query, [query.ndim - 1])
    for name in ("key", "value", "past_key", "past_value"):
        if name in given:
            want_dtype(op, name, given[name], query.dtype, "query")
            if given[name].ndim != query.ndim:
                raise ShapeError(f"{op}: {name} must have {query.ndim} dimensions like query, got {given[name]}")
    _want_keys(op, "key", key, "query", query)
    if query.ndim == 4 and (key.shape[1] == 0 or query.shape[1] % key.shape[1]):
        raise ShapeError(f"{op}: the heads of query must be a multiple of those of key, got {query} and {key}")
    want_shape(op, "value", value, (*key.shape[:-1], value.shape[-1]), f"as key {key.shape}")
    if attrs.use_past:
        past = given["past_key"]
        want_shape(op, "past_key", past, (*key.shape[:-2], past.shape[-2], key.shape[-1]), f"as key {key.shape}")
        wanted = (*past.shape[:-1], value.shape[-1])
        want_shape(op, "past_value", given["past_value"], wanted, f"as past_key {past.shape} and value {value.shape}")
    for name in ("length", "past_length"):
        if name in given:
            if given[name].dtype not in _LENGTHS:
                raise TypeMismatchError(f"{op}: {name} must be int32 or int64, got {given[name]}")
            if not attrs.packed:
                want_shape(op, name, given[name], query.shape[:1], "one for each sequence")
    if attrs.packed:
        want_rank(op, "length", given["length"], 1, "(sequences,)")
        wanted = (1, *query.shape[1:])
        want_shape(op, "query", query, wanted, "packed: a batch of 1")
        want_shape(op, "key", key, (*key.shape[:-2], *query.shape[-2:]), f"packed: the tokens of query {query.shape}")
    if attrs.use_mask:
        _want_mask(op, given["mask"], (*query.shape[:-1], _columns(given)))
    return [TensorType((*query.shape[:-1], value.shape[-1]), query.dtype)]


def _want_keys(op: str, name: str, keys: TensorType, like: str, query: TensorType) -> None:
    if keys.shape[0] != query.shape[0] or keys.shape[-1] != query.shape[-1]:
        raise ShapeError(f"{op}: {name} must have the batch and the size of {like} {query.shape}, got {keys.shape}")


def _columns(given: dict[str, TensorType]) -> Any:
    """Keys of a row of scores, also those that are beyond a length."""
    keys = given["key"].shape[-2]
    return given["past_key"].shape[-2] + keys if "past_key" in given else keys


def _want_mask(op: str, mask: TensorType, scores: tuple[int, ...]) -> None:
    if mask.dtype.kind not in "bf":
        raise TypeMismatchError(f"{op}: mask must be bool, or floats that are added to scores, got {mask}")
    aligned = (1,) * (len(scores) - mask.ndim) + mask.shape
    if len(aligned) != len(scores) or any(n not in (1, wanted) for n, wanted in zip(aligned, scores, strict=True)):
        raise ShapeError(f"{op}: mask {mask.shape} does not broadcast to scores {scores}")


def _seen(attrs: Attrs, given: dict[str, Array], heads: tuple[int, ...]) -> Array:
    """Which key each query may see, [batch, queries, columns], by lengths and order."""
    batch, queries, keys = given["query"].shape[0], given["query"].shape[-2], given["key"].shape[-2]
    length = np.clip(given.get("length", np.full(batch, keys)), 0, keys).astype(np.int64)
    position = np.arange(keys)
    seen = np.broadcast_to(position < length[:, None, None], (batch, queries, keys))
    if attrs.causal is not None:
        offset = length - queries if attrs.causal == "last" else np.zeros_like(length)
        seen = seen & (position <= np.arange(queries)[:, None] + offset[:, None, None])
    if attrs.use_past:
        past = given["past_key"].shape[-2]
        filled = np.clip(given.get("past_length", np.full(batch, past)), 0, past)
        before = np.broadcast_to(np.arange(past) < filled[:, None, None], (batch, queries, past))
        seen = np.concatenate([before, seen], axis=-1)
    return seen.reshape(batch, *(1,) * len(heads), *seen.shape[1:])


def _seen_of_packed(attrs: Attrs, given: dict[str, Array]) -> Array:
    """As `_seen`, of packed sequences, in two dimensions."""
    sequence = _sequence_of_token(given["length"], given["key"].shape[-2])
    seen: Array = (sequence[:, None] == sequence) & (sequence >= 0)
    return seen if attrs.causal is None else np.tril(seen)


def _sequence_of_token(length: Array, tokens: int) -> Array:
    """The number of the sequence that each token of packed ones belongs to; -1 behind the last one."""
    result = np.full(tokens, -1)
    begin = 0
    for number, count in enumerate(length.tolist()):
        end = begin + max(0, min(count, tokens - begin))
        result[begin:end] = number
        begin = end
    return result


def _attention(attrs: Attrs, *arrays: Array) -> Array:
    """softmax(scale · query keyᵀ + mask) value, in float64; zeros for a query that sees no key."""
    given = dict(zip(attention_inputs(attrs), arrays, strict=True))
    query, key, value = (given[name].astype(np.float64) for name in ("query", "key", "value"))
    if attrs.use_past:
        key = np.concatenate([given["past_key"], key], axis=-2)
        value = np.concatenate([given["past_value"], value], axis=-2)
    heads = query.shape[1:-2]
    if heads and heads[0] != key.shape[1]:
        group = heads[0] // key.shape[1]
        key, value = (np.repeat(x, group, axis=1) for x in (key, value))
    seen = _seen_of_packed(attrs, given) if attrs.packed else _seen(attrs, given, heads)
    # What lies beyond a length, or comes later than all queries, does not count whatever it holds: no kernel reads it.
    value = np.where(np.any(seen, axis=-2)[..., None], value, 0)
    scores = attention_scale(attrs, query.shape[-1]) * (query @ np.swapaxes(key, -1, -2))
    if attrs.softcap:
        scores = attrs.softcap * np.tanh(scores / attrs.softcap)
    mask = given.get("mask")
    if mask is not None:
        scores = np.where(mask, scores, attrs.mask_value) if mask.dtype == np.bool_ else scores + mask
    scores = np.where(seen, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, 1, total) @ value)


register(
    Op(
        "attention",
        _infer_attention,
        _attention,
        attention_inputs,
        attrs=(
            Attr("scale", "float", None),
            Attr("causal", "str", None, choices=("first", "last")),
            Attr("softcap", "float", 0.0, low=0),
            Attr("mask_value", "float", -math.inf),
            Attr("use_mask", "bool", False),
            Attr("use_length", "bool", False),
            Attr("use_past", "bool", False),
            Attr("use_past_length", "bool", False),
            Attr("packed", "bool", False),
        ),
        check=_check_attention,
    )
)
