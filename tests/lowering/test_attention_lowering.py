"""Attention as one step against its reference: masks, lengths, order, grouped heads, a past, any strides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import Array, check, compiled, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.attention import _key_block

var = make_variable


def attend(*arrays: Array, names: tuple[str, ...] = (), **attrs: Any) -> list[str]:
    """Checks one attention; the steps it took."""
    feed = dict(zip(("q", "k", "v", *names), arrays, strict=True))
    given = {f"use_{name}": name in names for name in ("mask", "length", "past_length")}
    attrs |= {**given, "use_past": "past_key" in names}
    return steps(check(Graph([node("attention", *map(var, feed), **attrs)]), feed))


def qkv(queries: int, keys: int, groups: int = 2, size: int = 9, value_size: int = 21) -> list[Array]:
    shapes = (2, 2 * groups, queries, size), (2, 2, keys, size), (2, 2, keys, value_size)
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 40), (7, 5), (13, 33), (70, 70)])
@pytest.mark.parametrize("causal", [None, "first", "last"])
def test_any_lengths_in_any_order(queries: int, keys: int, causal: str | None) -> None:
    # What each kernel has at the end is a copy of its result in the order of its shape.
    assert attend(*qkv(queries, keys), causal=causal) == ["attention_loop", "copy_loop"]


def test_more_keys_than_a_block_has() -> None:
    keys = 3 * _key_block(64, 64, 16) + 5
    for queries, causal in ((1, None), (9, None), (9, "last"), (30, "first")):
        attend(*qkv(queries, keys, 1, 64, 50), causal=causal)
        attend(*qkv(queries, keys, 1, 64, 50), np.array([keys - 700, 3]), names=("length",), causal=causal)


@pytest.mark.parametrize("shape", [(2, 1, 1, 19), (11, 19), (4, 11, 19), (2, 4, 11, 1), (1,)], ids=str)
def test_masks_broadcast_to_the_scores(shape: tuple[int, ...]) -> None:
    keep = np.random.default_rng(0).uniform(size=shape) < 0.6
    for mask in (keep, normal(*shape, seed=4)):
        attend(*qkv(11, 19), mask, names=("mask",))
    attend(*qkv(1, 19), keep[..., :1, :] if keep.ndim > 1 else keep, names=("mask",))


def test_one_head_without_an_axis_of_its_own() -> None:
    q, k, v = (x[:, 0] for x in qkv(11, 19))
    assert attend(q, k, v) == ["attention_loop"]
    attend(q, k, v, np.random.default_rng(0).uniform(size=(2, 1, 19)) < 0.6, names=("mask",))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_lengths_of_sequences_stop_at_the_data(dtype: Any) -> None:
    for length in ([0, 19], [7, 1000], [-3, 1]):
        for causal in (None, "first", "last"):
            attend(*qkv(11, 19), np.array(length, dtype), names=("length",), causal=causal)


def test_a_query_that_sees_no_key_gives_zeros() -> None:
    hidden = np.zeros((11, 19), bool)
    for mask in (hidden, np.full((11, 19), -np.inf, np.float32)):
        feed = dict(zip("qkvm", [*qkv(11, 19), mask], strict=True))
        program = compiled(Graph([node("attention", *map(var, feed), use_mask=True)]), feed)
        assert not run(program, list(feed.values()))[0].any()


def test_what_lies_beyond_a_length_is_not_read() -> None:
    q, k, v = qkv(11, 19)
    k[:, :, 12:], v[:, :, 12:] = np.nan, np.inf
    attend(q, k, v, np.array([12, 4]), names=("length",))


def test_a_nan_stays_with_its_query() -> None:
    q, k, v = qkv(11, 19)
    q[0, 1, 3, 0] = np.nan
    program = compiled(Graph([node("attention", *map(var, "qkv"))]), {"q": q, "k": k, "v": v})
    made = run(program, [q, k, v])[0]
    assert np.isnan(made[0, 1, 3]).all()
    made[0, 1, 3] = 0
    assert np.isfinite(made).all()


@pytest.mark.parametrize("queries", [1, 8])
def test_a_past_and_what_is_new(queries: int) -> None:
    past = normal(2, 2, 30, 9, seed=5), normal(2, 2, 30, 21, seed=6)
    names = ("past_key", "past_value")
    attend(*qkv(queries, queries), *past, names=names, causal="last")
    mask, filled = normal(2, 1, queries, 30 + queries, seed=7), np.array([17, 0], np.int32)
    attend(*qkv(queries, queries), *past, mask, filled, names=(*names, "mask", "past_length"), causal="first")


def test_scale_and_softcap() -> None:
    attend(*qkv(11, 19), scale=2.5, softcap=1.5)
    attend(*qkv(11, 19), normal(11, 19, seed=3), names=("mask",), scale=-0.5, softcap=0.3)


def test_heads_that_lie_side_by_side_are_read_and_written_where_they_are() -> None:
    """Projections of (batch, time, heads x size), split, and merged again: nothing is copied."""

    def split(name: str, size: int) -> Any:
        return node(
            "transpose",
            node("reshape", var(name), newshape=(2, -1, 4, size), name=f"{name}_"),
            axes=(0, 2, 1, 3),
            name=f"{name}t",
        )

    made = node("attention", split("q", 8), split("k", 8), split("v", 6))
    merged = node("reshape", node("transpose", made, axes=(0, 2, 1, 3)), newshape=(2, -1, 24), name="merged")
    feed = {"q": normal(2, 11, 32), "k": normal(2, 19, 32, seed=1), "v": normal(2, 19, 24, seed=2)}
    assert steps(check(Graph([merged]), feed)) == ["attention_loop"]


def test_a_packed_projection_is_read_where_it_is() -> None:
    packed = node("npx_reshape", var("x"), newshape=(-2, -2, -6, 3, -1))
    parts = node("split", packed, sections=3, axis=2, squeeze_axis=True).node
    heads = [
        node(
            "transpose",
            node("npx_reshape", parts[i], newshape=(-2, -2, -6, 4, -1), name=f"r{i}"),
            axes=(0, 2, 1, 3),
            name=f"t{i}",
        )
        for i in range(3)
    ]
    assert steps(check(Graph([node("attention", *heads)]), {"x": normal(2, 11, 96)})) == ["attention_loop", "copy_loop"]


def test_elements_that_do_not_lie_side_by_side_are_copied() -> None:
    turned = node("transpose", var("k"), axes=(0, 1, 3, 2))
    q, k, v = qkv(11, 19)
    feed = {"q": q, "k": np.ascontiguousarray(k.swapaxes(2, 3)), "v": v}
    check(Graph([node("attention", var("q"), turned, var("v"))]), feed)


def test_other_floats_run_on_the_reference() -> None:
    feed = dict(zip("qkv", [x.astype(np.float64) for x in qkv(3, 5)], strict=True))
    assert steps(check(Graph([node("attention", *map(var, "qkv"))]), feed)) == ["host"]


@pytest.mark.parametrize("length", [[5, 30, 0, 1], [-2, 60, 100], [3], []], ids=str)
def test_packed_sequences_see_themselves(length: list[int]) -> None:
    arrays = [x[:1] for x in qkv(70, 70)]
    for causal, dtype in ((None, np.int32), ("first", np.int64), ("last", np.int64)):
        attend(*arrays, np.array(length, dtype), names=("length",), packed=True, causal=causal)


def test_packed_sequences_of_one_head_of_more_than_a_block_and_with_a_mask() -> None:
    length, arrays = np.array([40, 0, 17]), [x[:1] for x in qkv(70, 70)]
    assert attend(*(x[:, 0] for x in arrays), length, names=("length",), packed=True) == ["attention_loop"]
    for mask in (normal(70, 70, seed=4), np.random.default_rng(0).uniform(size=(4, 1, 70)) < 0.6):
        attend(*arrays, mask, length, names=("mask", "length"), packed=True)
    attend(*(x[:1] for x in qkv(1, 1)), np.array([1]), names=("length",), packed=True)
    tokens = _key_block(64, 64, 16) + 9
    for causal in (None, "last"):
        many = [x[:1, :1] for x in qkv(tokens, tokens, 1, 64, 50)]
        attend(*many, np.array([5, tokens - 9, 2]), names=("length",), packed=True, causal=causal)


def test_packed_sequences_do_not_read_each_other() -> None:
    q, k, v = (x[:1] for x in qkv(20, 20))
    length = np.array([7, 9])
    clean = (q.copy(), k.copy(), v.copy())
    for x in (q, k, v):
        x[:, :, :7], x[:, :, 16:] = np.nan, np.inf
    feed = {"q": q, "k": k, "v": v, "n": length}
    program = compiled(Graph([node("attention", *map(var, "qkvn"), packed=True, use_length=True)]), feed)
    made = run(program, list(feed.values()))[0]
    assert not made[:, :, 16:].any()
    np.testing.assert_array_equal(made[:, :, 7:16], run(program, [*clean, length])[0][:, :, 7:16])
