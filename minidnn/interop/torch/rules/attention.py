"""Attention and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch.call import Call, aten
from minidnn.interop.torch.rules.elementwise import cast_to
from minidnn.interop.torch.rules.linear import dense
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


# ---- layers that PyTorch computes in one piece at inference


def _heads(call: Call, x: Value, heads: int) -> Value:
    """(batch, length, width) as (batch, heads, length, width / heads)."""
    batch, length, width = x.shape
    return call.transpose(call.reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))


def _multi_head(
    call: Call, x: Value, heads: int, qkv: tuple[Value, Value], project: tuple[Value, Value], mask: Value | None
) -> Value:
    """Self-attention of samples (batch, length, width)."""
    batch, length, width = x.shape
    joined = dense(call, x, *qkv)
    parts = call.emit_all("split", joined, sections=3, axis=2)
    query, key, value = (_heads(call, part, heads) for part in parts)
    if mask is not None:
        # True is what is left out.
        mask = call.emit("logical_not", mask) if mask.dtype == np.bool_ else mask
        if mask.ndim == 2 and mask.dim(0) != mask.dim(1):
            mask = call.reshape(mask, (batch, 1, 1, length))
    attended = _attention(call, query, key, value, mask)
    return dense(call, call.reshape(call.transpose(attended, (0, 2, 1, 3)), (batch, length, width)), *project)


def _check_mask(call: Call, mask: Value | None, mask_type: int | None) -> None:
    if mask is not None and mask_type != 0:
        call.refuse("a mask of padded keys is not supported in one piece with the layer")


@aten("_native_multi_head_attention")
def _native_multi_head_attention(
    call: Call,
    query: Value,
    key: Value,
    value: Value,
    embed_dim: int,
    num_head: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    mask: Value | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> list[Value | None]:
    if query is not key or key is not value or (need_weights and call.wants(1)):
        call.refuse("attention in one piece is supported to the samples themselves, without its weights as a result")
    _check_mask(call, mask, mask_type)
    return [_multi_head(call, query, num_head, (qkv_weight, qkv_bias), (proj_weight, proj_bias), mask), None]


@aten("_transformer_encoder_layer_fwd")
def _encoder_layer(
    call: Call,
    x: Value,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Value,
    norm_bias_1: Value,
    norm_weight_2: Value,
    norm_bias_2: Value,
    ffn_weight_1: Value,
    ffn_bias_1: Value,
    ffn_weight_2: Value,
    ffn_bias_2: Value,
    mask: Value | None = None,
    mask_type: int | None = None,
) -> Value:
    _check_mask(call, mask, mask_type)

    def attend(y: Value) -> Value:
        return _multi_head(call, y, num_heads, (qkv_weight, qkv_bias), (proj_weight, proj_bias), mask)

    def feed(y: Value) -> Value:
        inner = dense(call, y, ffn_weight_1, ffn_bias_1)
        active = call.emit("gelu", inner, approximation="erf") if use_gelu else call.emit("relu", inner)
        return dense(call, active, ffn_weight_2, ffn_bias_2)

    def norm(y: Value, weight: Value, bias: Value) -> Value:
        return call.emit("layer_norm", y, weight, bias, axis=-1, eps=eps)

    first, second = (norm_weight_1, norm_bias_1), (norm_weight_2, norm_bias_2)
    if norm_first:
        x = call.emit("add", x, attend(norm(x, *first)))
        return call.emit("add", x, feed(norm(x, *second)))
    x = norm(call.emit("add", x, attend(x)), *first)
    return norm(call.emit("add", x, feed(x)), *second)
