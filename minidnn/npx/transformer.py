"""Attention: the whole in one function, and the products that MXNet has for its halves."""

from __future__ import annotations

import math
from typing import Any

from minidnn import dispatch
from minidnn.npx.layers import required_arrays
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "attention",
    "div_sqrt_dim",
    "interleaved_matmul_encdec_qk",
    "interleaved_matmul_encdec_valatt",
    "interleaved_matmul_selfatt_qk",
    "interleaved_matmul_selfatt_valatt",
    "sldwin_atten_context",
    "sldwin_atten_mask_like",
    "sldwin_atten_score",
]


def attention(
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    length: Any = None,
    past_key: Any = None,
    past_value: Any = None,
    past_length: Any = None,
    scale: float | None = None,
    causal: str | bool | None = None,
    softcap: float = 0.0,
    mask_value: float = -math.inf,
    packed: bool = False,
) -> ndarray:
    """softmax(scale · query keyᵀ + mask) value (Vaswani et al., 2017), as one operator.

    Args:
        query: ``(batch, heads, queries, size)``, or ``(batch, queries, size)``.
        key: ``(batch, key heads, keys, size)``; each of its heads serves as many of the query's.
        value: ``(batch, key heads, keys, value size)``.
        mask: which keys a query sees (bool), or floats that are added to scores; it broadcasts to
            ``(batch, heads, queries, past keys + keys)``.
        length: int32 or int64 ``(batch,)``, how many of the keys count, from the first on; beyond the data it is all.
        past_key, past_value: more keys and values before these, ``(batch, key heads, past keys, ...)``.
        past_length: as `length`, of the past.
        scale: one over the root of size by default.
        causal: None; ``"first"``: query i sees the keys up to key i; ``"last"`` or True: the last query sees all keys
            that count, and each before it one less. All see all of the past.
        mask_value: the score of keys that a mask of bools hides; -inf: they have no weight, even if all are hidden.
        softcap: if it is not 0, scores become ``softcap * tanh(scores / softcap)`` before the mask.
        packed: whether a batch of 1 holds sequences one behind the other, `length` ``(sequences,)`` of its tokens each:
            a query sees the keys of its own sequence, and none behind the last one.

    Returns:
        ``(batch, heads, queries, value size)``. A query that sees no key gives zeros.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    named = {"query": query, "key": key, "value": value}
    if past_key is not None or past_value is not None:
        named |= {"past_key": past_key, "past_value": past_value}
    arrays = required_arrays("attention", **named)
    optional = {"mask": mask, "length": length, "past_length": past_length}
    arrays += [as_array(given) for given in optional.values() if given is not None]
    used: dict[str, Any] = {f"use_{name}": given is not None for name, given in optional.items()}
    order = ("last" if causal else None) if isinstance(causal, bool) else causal
    used |= {
        "use_past": "past_key" in named,
        "scale": scale,
        "causal": order,
        "softcap": softcap,
        "mask_value": mask_value,
        "packed": packed,
    }
    return dispatch.invoke_one("attention", *arrays, **used)


def div_sqrt_dim(data: Any) -> ndarray:
    """Divided by the root of the size of the last axis."""
    return dispatch.invoke_one("div_sqrt_dim", as_array(data))


def interleaved_matmul_selfatt_qk(queries_keys_values: Any, heads: int) -> ndarray:
    """Scores of self-attention, scaled by one over the root of size.

    Args:
        queries_keys_values: ``(time, batch, heads * 3 * size)``; in each head query, key and value lie side by side.
        heads: how many.

    Returns:
        ``(batch * heads, time, time)``.
    """
    return dispatch.invoke_one("interleaved_matmul_selfatt_qk", as_array(queries_keys_values), heads=heads)


def interleaved_matmul_selfatt_valatt(queries_keys_values: Any, attention: Any, heads: int) -> ndarray:
    """Values weighted by ``attention (batch * heads, time, time)``: ``(time, batch, heads * size)``."""
    inputs = as_array(queries_keys_values), as_array(attention)
    return dispatch.invoke_one("interleaved_matmul_selfatt_valatt", *inputs, heads=heads)


def interleaved_matmul_encdec_qk(queries: Any, keys_values: Any, heads: int) -> ndarray:
    """Scores of attention between two sequences, scaled by one over the root of size.

    Args:
        queries: ``(query time, batch, heads * size)``.
        keys_values: ``(key time, batch, heads * 2 * size)``; in each head key and value lie side by side.
        heads: how many.

    Returns:
        ``(batch * heads, query time, key time)``.
    """
    return dispatch.invoke_one("interleaved_matmul_encdec_qk", as_array(queries), as_array(keys_values), heads=heads)


def interleaved_matmul_encdec_valatt(keys_values: Any, attention: Any, heads: int) -> ndarray:
    """Values weighted by ``attention (batch * heads, query time, key time)``: ``(query time, batch, heads * size)``."""
    inputs = as_array(keys_values), as_array(attention)
    return dispatch.invoke_one("interleaved_matmul_encdec_valatt", *inputs, heads=heads)


def sldwin_atten_score(query: Any, key: Any, dilation: Any, w: int, symmetric: bool = True) -> ndarray:
    """Scores of attention to a window around each query (Beltagy et al., Longformer, 2020).

    Args:
        query, key: ``(batch, time, heads, size)``.
        dilation: ``(heads,)``, integers: from one key of the window to the next.
        w: keys before the query; with `symmetric` as many behind it too.
        symmetric: see there.

    Returns:
        ``(batch, time, heads, window)``; 0 for keys that do not exist.
    """
    inputs = as_array(query), as_array(key), as_array(dilation)
    return dispatch.invoke_one("sldwin_atten_score", *inputs, w=w, symmetric=symmetric)


def sldwin_atten_mask_like(score: Any, dilation: Any, valid_length: Any, w: int, symmetric: bool = True) -> ndarray:
    """1 where query and key of a score exist and lie before ``valid_length (batch,)``, else 0; see there."""
    inputs = as_array(score), as_array(dilation), as_array(valid_length)
    return dispatch.invoke_one("sldwin_atten_mask_like", *inputs, w=w, symmetric=symmetric)


def sldwin_atten_context(score: Any, value: Any, dilation: Any, w: int, symmetric: bool = True) -> ndarray:
    """The values of each window, weighted by ``score (batch, time, heads, window)``: ``(batch, time, heads, size)``."""
    inputs = as_array(score), as_array(value), as_array(dilation)
    return dispatch.invoke_one("sldwin_atten_context", *inputs, w=w, symmetric=symmetric)
