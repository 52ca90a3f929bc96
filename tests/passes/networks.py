"""Small graphs for the tests of passes, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.ir.graph import Graph, Node, evaluate
from minidnn.ir.infer import known_types
from minidnn.ops.registry import TensorType
from minidnn.symbol import Symbol, var
from minidnn.symbol.symbol import apply_op

SHAPE = (2, 4, 5, 5)


def data(name: str = "data", shape: Sequence[int] | None = SHAPE) -> Symbol:
    return var(name, shape=shape)


def conv(x: Symbol, name: str, filters: int = 4, kernel: int = 3, **attrs: object) -> Symbol:
    attrs = {"pad": (kernel // 2,) * 2, "no_bias": True, **attrs}
    inputs = [x, var(f"{name}.weight")]
    return apply_op("convolution", inputs, name, kernel=(kernel, kernel), num_filter=filters, **attrs)


def dense(x: Symbol, name: str, units: int = 4, flatten: bool = True) -> Symbol:
    inputs = [x, var(f"{name}.weight"), var(f"{name}.bias")]
    return apply_op("fully_connected", inputs, name, num_hidden=units, flatten=flatten)


def batch_norm(x: Symbol, name: str, axis: int = 1) -> Symbol:
    parameters = [var(f"{name}.{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    return apply_op("batch_norm", [x, *parameters], name, axis=axis, fix_gamma=False)


def relu(x: Symbol, name: str | None = None) -> Symbol:
    return apply_op("activation", [x], name, act_type="relu")


def unary(op: str, x: Symbol, name: str | None = None, **attrs: object) -> Symbol:
    return apply_op(op, [x], name, **attrs)


def sample_block() -> Symbol:
    """The residual block of MXNet's article on fusion."""
    x = data()
    out = relu(batch_norm(conv(x, "conv1"), "bn1"))
    out = batch_norm(conv(out, "conv2"), "bn2")
    return relu(out + x)


def names(graph: Graph) -> list[str]:
    """Names of the operations, inputs before users."""
    return [node.name for node in graph.operations()]


def find(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes() if node.name == name)


def inside(graph: Graph, name: str) -> list[str]:
    """Operators inside a fused node."""
    subgraph = find(graph, name).subgraph
    assert subgraph is not None
    return [node.op_name for node in subgraph.operations()]


def random_feed(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Values for all variables; variances are positive."""
    rng = np.random.default_rng(seed)
    types = known_types(graph)
    feed: dict[str, np.ndarray] = {}
    for variable in graph.variables():
        known: TensorType = types[variable[0]]
        value = rng.standard_normal(known.shape)
        feed[variable.name] = (np.abs(value) + 0.5 if "var" in variable.name else value).astype(known.dtype)
    return feed


def assert_equivalent(before: Graph, after: Graph, seed: int = 0) -> None:
    """Same variables, same number of outputs, and to the last bit the same values."""
    assert {v.name for v in after.variables()} == {v.name for v in before.variables()}
    assert len(after.outputs) == len(before.outputs)
    feed = random_feed(before, seed)
    for was, became in zip(evaluate(before, feed), evaluate(after, feed), strict=True):
        np.testing.assert_array_equal(became, was)
