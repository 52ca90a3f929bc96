"""Attention against torch, MXNet's products against einsum, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ops_helpers import Array, assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError


def t(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def attend(*arrays: Array, mask: Array | None = None, **options: Any) -> Array:
    made = F.scaled_dot_product_attention(*map(t, arrays), None if mask is None else t(mask), **options)
    return made.numpy()


QKV = normal(2, 4, 5, 6), normal(2, 4, 7, 6, seed=1), normal(2, 4, 7, 3, seed=2)


@pytest.mark.parametrize("mask", [(2, 1, 1, 7), (5, 7), (4, 5, 7), (2, 4, 5, 1)], ids=str)
def test_a_mask_of_bools_and_of_summands(mask: tuple[int, ...]) -> None:
    keep = np.random.default_rng(0).uniform(size=mask) < 0.7
    keep[..., 0] = True
    wanted = attend(*QKV, mask=np.broadcast_to(keep, (2, 4, 5, 7)))
    assert_close(reference("attention", *QKV, keep, use_mask=True), wanted)
    added = normal(*mask, seed=3)
    wanted = attend(*QKV, mask=np.broadcast_to(added, (2, 4, 5, 7)))
    assert_close(reference("attention", *QKV, added, use_mask=True), wanted)


def test_grouped_heads_scale_and_order() -> None:
    q, k, v = normal(2, 6, 5, 4), normal(2, 2, 5, 4, seed=1), normal(2, 2, 5, 4, seed=2)
    assert_close(reference("attention", q, k, v), attend(q, k, v, enable_gqa=True))
    assert_close(reference("attention", q, k, v, scale=0.3), attend(q, k, v, enable_gqa=True, scale=0.3))
    assert_close(reference("attention", q, k, v, causal="first"), attend(q, k, v, enable_gqa=True, is_causal=True))


def test_three_dimensions_are_one_head() -> None:
    q, k, v = (x[:, 0] for x in QKV)
    assert_close(reference("attention", q, k, v), attend(q, k, v))


def test_lengths_are_a_mask_and_stop_at_the_data() -> None:
    for length in ([3, 7], [1, 100]):
        keep = np.arange(7) < np.array(length).reshape(2, 1, 1, 1)
        made = reference("attention", *QKV, np.array(length, np.int32), use_length=True)
        assert_close(made, attend(*QKV, mask=np.broadcast_to(keep, (2, 4, 5, 7))))


def test_the_last_query_sees_all_keys_that_count() -> None:
    keep = np.arange(7) <= np.arange(5)[:, None] + 2
    assert_close(reference("attention", *QKV, causal="last"), attend(*QKV, mask=keep))
    shorter = np.array([6, 6], np.int64)
    made = reference("attention", *QKV, shorter, causal="last", use_length=True)
    assert_close(made, attend(*QKV, mask=np.arange(7) <= np.arange(5)[:, None] + 1))


def test_packed_sequences_are_sequences_alone() -> None:
    q, k, v = normal(1, 4, 9, 6), normal(1, 2, 9, 6, seed=1), normal(1, 2, 9, 3, seed=2)
    for causal in (None, "first", "last"):
        made = reference("attention", q, k, v, np.array([3, 0, 4]), packed=True, use_length=True, causal=causal)
        parts = [tuple(x[:, :, rows] for x in (q, k, v)) for rows in (slice(0, 3), slice(3, 7))]
        wanted = [attend(*part, enable_gqa=True, is_causal=causal is not None) for part in parts]
        assert_close(made, np.concatenate([*wanted, np.zeros((1, 4, 2, 3))], 2))


def test_packed_sequences_that_do_not_fit_are_refused() -> None:
    def refused(error: type[Exception], said: str, *shapes: tuple[int, ...], **attrs: Any) -> None:
        types = [*(tensor(*shape) for shape in shapes[:3]), *(tensor(*shape, dtype="int32") for shape in shapes[3:])]
        with pytest.raises(error, match=said):
            infer("attention", *types, packed=True, **attrs)

    one = (1, 4, 9, 6)
    refused(ShapeError, "a batch of 1", *[(2, 4, 9, 6)] * 3, (3,), use_length=True)
    refused(ShapeError, "the tokens of query", one, (1, 4, 8, 6), (1, 4, 8, 6), (3,), use_length=True)
    refused(ShapeError, "length", *[one] * 3, (3, 1), use_length=True)
    refused(OpError, "use_length", *[one] * 3)


def test_a_past_comes_before_the_keys() -> None:
    q, k, v = normal(2, 4, 3, 6), normal(2, 2, 3, 6, seed=1), normal(2, 2, 3, 5, seed=2)
    past = normal(2, 2, 8, 6, seed=3), normal(2, 2, 8, 5, seed=4)
    made = reference("attention", q, k, v, *past, np.array([4, 4]), use_past=True, use_past_length=True, causal="last")
    keys, values = (np.concatenate([p[:, :, :4], x], 2) for p, x in zip(past, (k, v), strict=True))
    assert_close(made, attend(q, keys, values, mask=np.arange(7) <= np.arange(3)[:, None] + 4, enable_gqa=True))


def test_a_softcap_bounds_scores_before_the_mask() -> None:
    q, k, v = QKV
    mask = normal(5, 7, seed=5)
    scores = 2 * np.tanh(q @ k.swapaxes(2, 3) / math.sqrt(6) / 2) + mask
    wanted = torch.softmax(t(scores), -1).numpy() @ v
    assert_close(reference("attention", q, k, v, mask, softcap=2.0, use_mask=True), wanted)


@pytest.mark.parametrize("mask", [np.zeros((5, 7), bool), np.full((5, 7), -np.inf, np.float32)], ids=["bool", "float"])
def test_a_query_that_sees_no_key_gives_zeros(mask: Array) -> None:
    assert not reference("attention", *QKV, mask, use_mask=True).any()
    none = np.zeros(2, np.int32)
    assert not reference("attention", *QKV, none, use_length=True).any()
    assert not reference("attention", QKV[0], QKV[1][:, :, :0], QKV[2][:, :, :0]).any()


def test_keys_that_nobody_sees_do_not_count_whatever_they_hold() -> None:
    q, k, v = QKV[0], QKV[1].copy(), QKV[2].copy()
    k[:, :, 5:], v[:, :, 5:] = np.nan, np.inf
    made = reference("attention", q, k, v, np.array([5, 5]), use_length=True)
    assert_close(made, attend(q, k[:, :, :5], v[:, :, :5]))


def test_attention_refuses() -> None:
    q, k = tensor(2, 4, 5, 6), tensor(2, 4, 7, 6)
    with pytest.raises(ShapeError, match="query must have 3 or 4 dimensions"):
        infer("attention", tensor(5, 6), tensor(7, 6), tensor(7, 6))
    with pytest.raises(ShapeError, match=r"key must have the batch and the size of query .* got \(2, 4, 7, 5\)"):
        infer("attention", q, tensor(2, 4, 7, 5), k)
    with pytest.raises(ShapeError, match="heads of query must be a multiple"):
        infer("attention", q, tensor(2, 3, 7, 6), tensor(2, 3, 7, 6))
    with pytest.raises(ShapeError, match="value must have shape"):
        infer("attention", q, k, tensor(2, 4, 8, 6))
    with pytest.raises(TypeMismatchError, match="key must be float32 like query"):
        infer("attention", q, tensor(2, 4, 7, 6, dtype="float64"), k)
    with pytest.raises(ShapeError, match=r"mask \(3, 7\) does not broadcast to scores \(2, 4, 5, 7\)"):
        infer("attention", q, k, k, tensor(3, 7), use_mask=True)
    with pytest.raises(TypeMismatchError, match="mask must be bool, or floats"):
        infer("attention", q, k, k, tensor(5, 7, dtype="int32"), use_mask=True)
    with pytest.raises(ShapeError, match=r"length must have shape \(2,\)"):
        infer("attention", q, k, k, tensor(3, dtype="int32"), use_length=True)
    with pytest.raises(TypeMismatchError, match="length must be int32 or int64"):
        infer("attention", q, k, k, tensor(2), use_length=True)
    with pytest.raises(ShapeError, match="past_value must have shape"):
        infer("attention", q, k, k, tensor(2, 4, 3, 6), tensor(2, 4, 2, 6), use_past=True)
    with pytest.raises(OpError, match="use_past_length needs use_past"):
        infer("attention", q, k, k, tensor(2, dtype="int32"), use_past_length=True)
    with pytest.raises(OpError, match="scale must be finite"):
        infer("attention", q, k, k, scale=math.inf)


def test_interleaved_products_are_attention() -> None:
    time, batch, heads, size = 5, 2, 3, 4
    qkv = normal(time, batch, heads * 3 * size)
    q, k, v = qkv.reshape(time, batch, heads, 3, size).transpose(3, 1, 2, 0, 4)
    scores = reference("interleaved_matmul_selfatt_qk", qkv, heads=heads)
    weights = torch.softmax(t(scores), -1).numpy()
    made = reference("interleaved_matmul_selfatt_valatt", qkv, weights, heads=heads)
    assert_close(made, attend(q, k, v).transpose(2, 0, 1, 3).reshape(time, batch, -1))


def test_interleaved_products_of_two_sequences_are_attention() -> None:
    time, others, batch, heads, size = 3, 5, 2, 3, 4
    queries, kv = normal(time, batch, heads * size), normal(others, batch, heads * 2 * size, seed=1)
    k, v = kv.reshape(others, batch, heads, 2, size).transpose(3, 1, 2, 0, 4)
    q = queries.reshape(time, batch, heads, size).transpose(1, 2, 0, 3)
    scores = reference("interleaved_matmul_encdec_qk", queries, kv, heads=heads)
    weights = torch.softmax(t(scores), -1).numpy()
    made = reference("interleaved_matmul_encdec_valatt", kv, weights, heads=heads)
    assert_close(made, attend(q, k, v).transpose(2, 0, 1, 3).reshape(time, batch, -1))


def test_interleaved_products_refuse() -> None:
    with pytest.raises(ShapeError, match=r"features of queries_keys_values must be a multiple of 3 x heads=2"):
        infer("interleaved_matmul_selfatt_qk", tensor(5, 2, 13), heads=2)
    with pytest.raises(ShapeError, match="must have one batch and size"):
        infer("interleaved_matmul_encdec_qk", tensor(5, 2, 12), tensor(5, 3, 24), heads=2)
    with pytest.raises(ShapeError, match=r"attention must have shape \(4, 7, 5\)"):
        infer("interleaved_matmul_selfatt_valatt", tensor(5, 2, 12), tensor(4, 7, 6), heads=2)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
def test_sliding_windows_are_a_band_of_the_full_product(symmetric: bool, dilation: tuple[int, int]) -> None:
    batch, time, w = 2, 9, 2
    q, k, v = (normal(batch, time, 2, 3, seed=seed) for seed in range(3))
    valid, options = np.array([9, 6], np.int32), {"w": w, "symmetric": symmetric}
    d = np.array(dilation, np.int32)
    score = reference("sldwin_atten_score", q, k, d, **options)
    mask = reference("sldwin_atten_mask_like", score, d, valid, **options)
    context = reference("sldwin_atten_context", score * mask, v, d, **options)
    full, wanted = np.einsum("bihc,bjhc->bhij", q, k), np.zeros((batch, 2, time, time), np.float32)
    for h in range(2):
        for i in range(time):
            for j in range(i - w * dilation[h], i + (w * dilation[h] if symmetric else 0) + 1, dilation[h]):
                for b in range(batch):
                    if 0 <= j < valid[b] and i < valid[b]:
                        wanted[b, h, i, j] = full[b, h, i, j]
    assert_close(context, np.einsum("bhij,bjhc->bihc", wanted, v))


def test_sliding_windows_refuse() -> None:
    q, d = tensor(2, 5, 3, 4), tensor(3, dtype="int32")
    with pytest.raises(ShapeError, match=r"dilation must have shape \(3,\)"):
        infer("sldwin_atten_score", q, q, tensor(2, dtype="int32"), w=1)
    with pytest.raises(ShapeError, match=r"score must have shape \(2, 5, 3, 3\)"):
        infer("sldwin_atten_context", tensor(2, 5, 3, 4), q, d, w=1)


def test_div_sqrt_dim() -> None:
    x = normal(2, 3, 7)
    assert_close(reference("div_sqrt_dim", x), x / math.sqrt(7))
