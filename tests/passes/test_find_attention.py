"""Attention as Gluon users write it becomes one operation, which computes the same; what only looks like it stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as onp
import pytest

import minidnn as mx
from minidnn import np, npx
from minidnn.gluon import HybridBlock

HEADS = 4


class Network(HybridBlock):
    def __init__(self, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, *inputs: Any) -> Any:
        return self.compute(*inputs)


def draw(*shape: int, seed: int = 0) -> Any:
    return np.array(onp.random.default_rng(seed).normal(size=shape).astype("float32"))


def apart(x: Any) -> Any:
    batch, time, width = x.shape
    return x.reshape(batch, time, HEADS, width // HEADS).transpose(0, 2, 1, 3)


def together(x: Any) -> Any:
    batch, heads, time, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, time, heads * size)


def flat(x: Any) -> Any:
    return apart(x).reshape(-1, x.shape[1], x.shape[2] // HEADS)


def unflat(y: Any, x: Any) -> Any:
    return together(y.reshape(x.shape[0], HEADS, x.shape[1], -1))


def four_axes(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(apart(q), apart(k), transpose_b=True) * 0.25 + m
    return together(npx.batch_dot(npx.softmax(scores), apart(v)))


def three_axes(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(flat(q), flat(k), transpose_b=True) * (q.shape[2] // HEADS) ** -0.5
    return unflat(npx.batch_dot(npx.softmax(scores), flat(v)), q)


def a_mask_between_reshapes(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(flat(q), flat(k).transpose(0, 2, 1)) / 2.0
    scores = (m + scores.reshape(q.shape[0], HEADS, q.shape[1], -1)).reshape(-1, q.shape[1], k.shape[1])
    return unflat(npx.batch_dot(npx.softmax(scores), flat(v)), q)


def matmul_of_scaled_queries(q: Any, k: Any, v: Any, m: Any) -> Any:
    keys = k.reshape(k.shape[0], -1, HEADS, k.shape[2] // HEADS).transpose(0, 2, 3, 1)
    return together(np.matmul(npx.softmax(np.matmul(apart(q) * 0.5, keys) + m, axis=3), apart(v)))


def masked(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(npx.div_sqrt_dim(apart(q)), apart(k), transpose_b=True)
    return together(npx.batch_dot(npx.masked_softmax(scores, m > -0.5), apart(v)))


def where(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(apart(q), apart(k), transpose_b=True)
    return together(npx.batch_dot(npx.softmax(np.where(m > 0, scores, np.full(m.shape, -50.0))), apart(v)))


def temperature(q: Any, k: Any, v: Any, m: Any) -> Any:
    scores = npx.batch_dot(apart(q), apart(k), transpose_b=True)
    return together(npx.batch_dot(npx.softmax(scores, temperature=3.0), apart(v)))


def interleaved(q: Any, k: Any, v: Any, m: Any) -> Any:
    batch, time, width = q.shape
    parts = [x.reshape(batch, time, HEADS, 1, width // HEADS) for x in (q, k, v)]
    x = np.concatenate(parts, axis=3).reshape(batch, time, 3 * width).transpose(1, 0, 2)
    weights = npx.softmax(npx.interleaved_matmul_selfatt_qk(x, HEADS))
    return npx.interleaved_matmul_selfatt_valatt(x, weights, HEADS).transpose(1, 0, 2)


def interleaved_and_masked(q: Any, k: Any, v: Any, m: Any) -> Any:
    batch, time, width = k.shape
    parts = [x.reshape(batch, time, HEADS, 1, width // HEADS) for x in (k, v)]
    x = np.concatenate(parts, axis=3).reshape(batch, time, 2 * width).transpose(1, 0, 2)
    scores = npx.interleaved_matmul_encdec_qk(q.transpose(1, 0, 2), x, HEADS)
    keep = np.broadcast_to(m > -0.5, (batch, HEADS, q.shape[1], time)).reshape(-1, q.shape[1], time)
    return npx.interleaved_matmul_encdec_valatt(x, npx.masked_softmax(scores, keep), HEADS).transpose(1, 0, 2)


FORMS = [
    *(four_axes, three_axes, a_mask_between_reshapes, matmul_of_scaled_queries, masked, where, temperature),
    *(interleaved, interleaved_and_masked),
]


def inputs(batch: int, time: int) -> list[Any]:
    return [*(draw(batch, time, 32, seed=seed) for seed in range(3)), draw(1, 1, time, time, seed=3)]


def operators(net: HybridBlock) -> list[str]:
    """Of the graph and of what is fused in it."""
    return [node.op_name for node in net.export(None)[0].operations()]


@pytest.mark.filterwarnings("ignore:The .*-th input")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_it_is_found_and_computes_the_same_for_any_size(form: Any) -> None:
    net, eager = Network(form), Network(form)
    net.optimize_for(*inputs(2, 7))
    assert "attention" in operators(net)
    assert not {"batch_dot", "matmul", "softmax", "masked_softmax"} & set(operators(net))
    for batch, time in ((2, 7), (1, 7), (3, 12), (1, 1)):
        given = inputs(batch, time)
        onp.testing.assert_allclose(net(*given).asnumpy(), eager(*given).asnumpy(), rtol=0, atol=2e-6)


def test_transposes_and_splits_of_heads_are_no_steps() -> None:
    net = Network(four_axes)
    net.optimize_for(*inputs(2, 7))
    net(*inputs(2, 7))
    assert [step.kernel.split(":")[0] for step in net.steps()] == ["attention"]


def _weights_too(q: Any, k: Any, v: Any, m: Any) -> Any:
    weights = npx.softmax(npx.batch_dot(q, k, transpose_b=True))
    return npx.batch_dot(weights, v), weights


LOOKALIKES: dict[str, Callable[..., Any]] = {
    "the weights are a result too": _weights_too,
    "the other axis": lambda q, k, v, m: npx.batch_dot(npx.softmax(npx.batch_dot(q, k, transpose_b=True), axis=1), v),
    "weights on the right": lambda q, k, v, m: npx.batch_dot(
        v, npx.softmax(npx.batch_dot(q, k, transpose_b=True)), transpose_a=True
    ),
    "another function between": lambda q, k, v, m: npx.batch_dot(
        npx.softmax(npx.relu(npx.batch_dot(q, k, transpose_b=True))), v
    ),
    "a mask that is scaled": lambda q, k, v, m: npx.batch_dot(
        npx.softmax((npx.batch_dot(q, k, transpose_b=True) + m[0]) * 3), v
    ),
    "scores that are no product": lambda q, k, v, m: npx.batch_dot(npx.softmax(m[0]), v[:1]),
    "a sum of two products": lambda q, k, v, m: npx.batch_dot(
        npx.softmax(npx.batch_dot(q, k, transpose_b=True) + npx.batch_dot(k, q, transpose_b=True)), v
    ),
}


@pytest.mark.filterwarnings("ignore:The .*-th input")
@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_it_computes_the_same(name: str) -> None:
    net, eager = Network(LOOKALIKES[name]), Network(LOOKALIKES[name])
    given = inputs(2, 7)
    net.optimize_for(*given)
    made, wanted = net(*given), eager(*given)
    for x, y in zip(*((r if isinstance(r, tuple) else (r,)) for r in (made, wanted)), strict=True):
        onp.testing.assert_allclose(x.asnumpy(), y.asnumpy(), rtol=0, atol=1e-5)
    if name != "a sum of two products":
        assert "attention" not in operators(net)


def test_the_graph_is_saved_and_read_again(tmp_path: Any) -> None:
    net = Network(masked)
    given = inputs(2, 7)
    net.optimize_for(*given)
    net.export(str(tmp_path / "net"))
    again = mx.gluon.SymbolBlock.imports(str(tmp_path / "net-symbol.json"), [f"data{i}" for i in range(4)])
    onp.testing.assert_array_equal(again(*given).asnumpy(), net(*given).asnumpy())
