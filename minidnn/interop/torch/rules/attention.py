"""Attention and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten
from minidnn.interop.torch.rules.elementwise import cast_to
from minidnn.sizes import example_of

__all__: list[str] = []


def _normalized(call: Call, op: str, x: Value, dim: int) -> Value:
    if x.ndim == 0:
        return call.reshape(call.emit(op, call.reshape(x, (1,)), axis=-1), ())
    return call.emit(op, x, axis=call.axis(dim, x.ndim))


@aten("softmax.int", "log_softmax.int")
def _softmax(call: Call, x: Value, dim: int, dtype: Element | None = None) -> Value:
    op = "log_softmax" if "log_softmax" in call.label else "softmax"
    return _normalized(call, op, cast_to(call, x, dtype), dim)


@aten("_softmax", "_safe_softmax")
def _softmax_core(call: Call, x: Value, dim: int, half_to_float: Any = None) -> Value:
    return _normalized(call, "softmax", call.cast(x, call.dtype), dim)


@aten("_log_softmax")
def _log_softmax_core(call: Call, x: Value, dim: int, half_to_float: Any = None) -> Value:
    return _normalized(call, "log_softmax", call.cast(x, call.dtype), dim)


@aten("scaled_dot_product_attention")
def _attention(
    call: Call,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    if dropout_p:
        call.refuse("dropout of training is not supported: call the module's eval() before")
    if enable_gqa:
        key, value = (_repeated(call, x, query) for x in (key, value))
    width = int(query.dim(-1))
    factor = 1 / math.sqrt(width) if scale is None else float(scale)
    swapped = [*range(key.ndim - 2), key.ndim - 1, key.ndim - 2]
    scores = call.binary("multiply", call.emit("matmul", query, call.transpose(key, swapped)), factor)
    if is_causal:
        ones = call.filled((query.dim(-2), key.dim(-2)), 1, np.float32)
        attn_mask = call.cast(call.emit("tril", ones, k=0), np.bool_)
    if attn_mask is not None and attn_mask.dtype == np.bool_:
        scores = call.emit("where", attn_mask, scores, call.like(-np.inf, scores))
    elif attn_mask is not None:
        scores = call.emit("add", scores, call.cast(attn_mask, scores.dtype))
    return call.emit("matmul", call.emit("softmax", scores, axis=-1), value)


def _repeated(call: Call, x: Value, query: Value) -> Value:
    """Keys or values for as many heads as there are of queries."""
    count = example_of(query.dim(-3)) // example_of(x.dim(-3))
    return x if count == 1 else call.emit("repeat", x, repeats=count, axis=x.ndim - 3)


@aten("_scaled_dot_product_flash_attention_for_cpu")
def _flash_attention(
    call: Call,
    query: Value,
    key: Value,
    value: Value,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    attn_mask: Value | None = None,
    scale: float | None = None,
    **_: Any,
) -> list[Value | None]:
    if call.wants(1):
        call.refuse("the logarithm of the sums is not supported as a result")
    return [_attention(call, query, key, value, attn_mask, dropout_p, is_causal, scale), None]
