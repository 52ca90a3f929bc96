"""MXNet's products around a softmax run on kernels inside of a network, and compute what their references do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn.gluon import SymbolBlock
from minidnn.ops import attention_products, get_op
from minidnn.symbol.symbol import apply_op

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(1)


def check(op: str, *arrays: Array, **attrs: Any) -> None:
    inputs = [mx.sym.var(f"x{i}") for i in range(len(arrays))]
    block = SymbolBlock(mx.sym.fromjson(apply_op(op, inputs, **attrs).tojson()), inputs)
    got = block(*map(mx.np.array, arrays)).asnumpy()
    record = get_op(op)
    (wanted,) = record.compute(record.make_attrs(attrs), *arrays)
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert not any(step.on_host for step in block.steps())


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
def test_sliding_windows(symmetric: bool, in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_blocks:
        monkeypatch.setattr(attention_products, "_MOST_SCORES", 2 * 3 * 9 * 4)
    options = {"w": 2, "symmetric": symmetric}
    query, key, dilation = normal(2, 9, 3, 5), normal(2, 9, 3, 5), np.array([1, 2, 7], np.int32)
    score, valid = normal(2, 9, 3, 5 if symmetric else 3), np.array([9, 4], np.int32)
    check("sldwin_atten_score", query, key, dilation, **options)
    check("sldwin_atten_mask_like", score, dilation, valid, **options)
    check("sldwin_atten_context", score, key, dilation, **options)


def test_interleaved_projections() -> None:
    check("interleaved_matmul_selfatt_qk", normal(5, 2, 18), heads=3)
    check("interleaved_matmul_selfatt_valatt", normal(5, 2, 18), normal(6, 5, 5), heads=3)
    check("interleaved_matmul_encdec_qk", normal(4, 2, 6), normal(5, 2, 12), heads=3)
    check("interleaved_matmul_encdec_valatt", normal(5, 2, 12), normal(6, 4, 5), heads=3)
