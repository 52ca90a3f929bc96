"""`dot` and `matmul` of every rank: right with and without an epilogue, and in one step where a kernel fits."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import compiled, normal, run, steps

from minidnn.ir.graph import evaluate
from minidnn.symbol import var
from minidnn.symbol.symbol import apply_op

# Shapes, and whether a kernel takes them.
_SHAPES = [
    ((5, 6), (6, 7), True),
    ((3, 4, 6), (6, 7), True),
    ((2, 2, 3, 6), (6, 33), True),
    ((5, 6), (6, 1), True),
    ((1, 1), (1, 1), True),
    ((6,), (6, 7), False),
    ((3, 4, 6), (6,), False),
    ((6,), (6,), False),
    ((3, 4, 6), (1, 6, 5), False),
]


@pytest.mark.parametrize("op", ["dot", "matmul"])
@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize(("left", "right", "has_kernel"), _SHAPES)
def test_products_with_an_epilogue(
    op: str, left: tuple[int, ...], right: tuple[int, ...], has_kernel: bool, is_known: bool
) -> None:
    product = apply_op(op, [var("a", shape=left), var("b", shape=right)], "product")
    graph = (apply_op("relu", [product], "act") * 2.0).optimize_for()
    feed = {"a": normal(*left), "b": normal(*right, seed=1)}
    parameters = ["b"] if is_known else []
    program = compiled(graph, feed, parameters)
    (result,) = run(program, [a for name, a in feed.items() if name not in parameters])
    (wanted,) = evaluate(graph, {name: a.astype(np.float64) for name, a in feed.items()})
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)
    if has_kernel:
        assert len(graph.operations()) == 1
        assert {s.name for s in program.steps} == {graph.operations()[0].name}
        assert not is_known or len(program.steps) == 1


@pytest.mark.parametrize("known", [(), ("a",), ("b",)])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5, 6), (3, 6, 7)),
        ((3, 4, 6), (1, 6, 5)),
        ((2, 1, 5, 6), (3, 6, 9)),
        ((1, 3, 4, 6), (2, 3, 6, 33)),
        ((1, 1, 5, 6), (1, 1, 6, 2)),
        ((5, 6), (1, 1, 6, 2)),
    ],
)
def test_leading_dimensions_broadcast(left: tuple[int, ...], right: tuple[int, ...], known: tuple[str, ...]) -> None:
    product = apply_op("matmul", [var("a", shape=left), var("b", shape=right)], "product")
    graph = (apply_op("relu", [product], "act") * 2.0).optimize_for()
    feed = {"a": normal(*left), "b": normal(*right, seed=1)}
    program = compiled(graph, feed, list(known))
    assert "host" not in steps(program)
    (result,) = run(program, [a for name, a in feed.items() if name not in known])
    wanted = 2 * np.maximum(feed["a"].astype(np.float64) @ feed["b"].astype(np.float64), 0)
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)


def test_batch_norm_folds_into_a_known_matrix() -> None:
    norm = [var(f"bn.{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    product = apply_op("dot", [var("a", shape=(5, 6)), var("b", shape=(6, 8))], "product")
    graph = apply_op("batch_norm", [product, *norm], "bn", axis=-1, fix_gamma=False).optimize_for()
    feed = {"a": normal(5, 6), "b": normal(6, 8, seed=1)}
    feed |= {f"bn.{role}": np.abs(normal(8, seed=i)) + 0.5 for i, role in enumerate(("gamma", "beta"), 2)}
    feed |= {f"bn.running_{role}": np.abs(normal(8, seed=i)) + 0.5 for i, role in enumerate(("mean", "var"), 4)}
    feed = {name: a.astype(np.float32) for name, a in feed.items()}
    program = compiled(graph, feed, [name for name in feed if name != "a"])
    assert len(program.steps) == 1
    (result,) = run(program, [feed["a"]])
    np.testing.assert_allclose(result, evaluate(graph, feed)[0], rtol=1e-4, atol=1e-5)
