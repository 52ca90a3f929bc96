"""Elementwise groups over broadcast operands, and dense layers and products with their tails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import Array, check, compiled, fuse, inner, node, normal, run, steps

from minidnn.errors import OpError
from minidnn.ir.graph import Entry, Graph, make_variable
from minidnn.lowering.lower import has_kernel
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops.registry import TensorType, get_op, list_ops

var = make_variable


@st.composite
def sums(draw: st.DrawFn) -> tuple[Graph, dict[str, Array], list[str], dict[str, str]]:
    """A chain of two-operand nodes over operands that broadcast to one shape, fused or not."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 9]), max_size=6)))
    count = draw(st.integers(1, 5))
    feed, constants, layouts = {}, [], {}
    for i in range(count):
        keep = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        own = tuple(n if kept else 1 for n, kept in zip(shape, keep, strict=True))
        own = own[draw(st.integers(0, len(own))) :] if draw(st.booleans()) else own
        feed[f"v{i}"] = normal(*own, seed=i)
        if draw(st.integers(0, 3)) == 0:
            constants.append(f"v{i}")
        elif len(own) > 2:
            layouts[f"v{i}"] = draw(st.sampled_from([PLAIN, CHANNELS_LAST]))
    fused = draw(st.booleans())
    operands = inner(count) if fused else [var(name) for name in feed]
    made = operands[0]
    for i, operand in enumerate(operands[1:]):
        op = draw(st.sampled_from(["add", "subtract", "multiply", "maximum"]))
        pair = (made, operand) if draw(st.booleans()) else (operand, made)
        made = node(op, *pair, name=f"{op}{i}")
    if draw(st.booleans()) or count == 1:
        made = node("relu", made)
    graph = fuse("fused", [var(name) for name in feed], [made]) if fused else Graph([made])
    return graph, feed, constants, layouts


@settings(deadline=None, derandomize=True, max_examples=150)
@given(sums())
def test_operands_broadcast_as_in_numpy(made: tuple[Graph, dict[str, Array], list[str], dict[str, str]]) -> None:
    graph, feed, constants, layouts = made
    check(graph, feed, constants, layouts)


def test_a_group_is_one_step() -> None:
    a, b, c = inner(3)
    made = node("relu", node("add", node("multiply", a, b), c))
    graph = fuse("fused", [var("a"), var("b"), var("c")], [made])
    feed = {"a": normal(2, 3, 4, 5), "b": normal(1, 3, 1, 1), "c": normal(2, 3, 4, 5, seed=1)}
    assert steps(check(graph, feed)) == ["elementwise_loop"]


def test_channels_last_operands_are_read_as_they_lie() -> None:
    graph = Graph([node("add", var("a"), var("b"))])
    feed = {"a": normal(2, 3, 4, 5), "b": normal(2, 3, 4, 5, seed=1)}
    layouts = {"a": CHANNELS_LAST, "b": CHANNELS_LAST}
    assert steps(check(graph, feed, (), layouts, [CHANNELS_LAST])) == ["elementwise_loop"]


def test_more_operands_than_a_kernel_has() -> None:
    operands = inner(50)
    made = operands[0]
    for i, operand in enumerate(operands[1:]):
        made = node("add", made, operand, name=f"add{i}")
    feed = {f"x{i}": normal(5, 6, seed=i) for i in range(50)}
    check(fuse("fused", [var(name) for name in feed], [made]), feed)


def test_more_dimensions_than_the_loop_has() -> None:
    graph = Graph([node("add", var("a"), var("b"))])
    check(graph, {"a": normal(2, 3, 2, 3, 2, 3, 2), "b": normal(2, 1, 2, 1, 2, 1, 2)})


def test_several_outputs_of_a_fused_node() -> None:
    a, b = inner(2)
    positive = node("relu", node("add", a, b))
    squashed = node("sigmoid", positive)
    feed = {"a": normal(3, 4), "b": normal(3, 4, seed=1)}
    for outputs in ([positive, squashed], [squashed, positive], [squashed, a], [positive]):
        check(fuse("fused", [var("a"), var("b")], outputs), feed)


def _attrs(name: str) -> dict[str, Any]:
    if name.endswith("_scalar"):
        return {"scalar": 1.5}
    chosen: dict[str, dict[str, Any]] = {
        "activation": {"act_type": "relu"},
        "cast": {"dtype": "float32"},
        "clip": {"a_min": -0.5, "a_max": 0.5},
    }
    return chosen.get(name, {})


def _is_instruction(name: str) -> bool:
    op = get_op(name)
    if op.kind != "elementwise" or op.inputs != ("data",) or op.is_identity:
        return False
    try:
        op.infer_types(op.make_attrs(_attrs(name)), [TensorType((1,), np.dtype(np.float32))])
    except OpError:  # of integers alone
        return False
    return op.epilogue_step(op.make_attrs(_attrs(name))) is not None


_UNARY = [n for n in list_ops() if get_op(n).epilogue is not None and _is_instruction(n)]


@pytest.mark.parametrize("name", _UNARY)
def test_every_operation_of_one_operand(name: str) -> None:
    positive = {"sqrt", "rsqrt", "log", "log1p", "log2", "log10", "reciprocal", "gamma", "gammaln", "digamma"}
    positive |= {"arccosh", "power_scalar", "rldexp_scalar", "ldexp_scalar"}
    x = np.abs(normal(3, 4, 5)) + np.float32(0.5) if name in positive else normal(3, 4, 5)
    x = np.abs(x) + np.float32(1) if name == "arccosh" else x
    assert steps(check(Graph([node(name, var("x"), **_attrs(name))]), {"x": x})) == ["elementwise_loop"]


@pytest.mark.parametrize("act_type", ["relu", "sigmoid", "log_sigmoid", "mish", "tanh", "softrelu", "softsign"])
def test_every_activation(act_type: str) -> None:
    graph = Graph([node("activation", var("x"), act_type=act_type)])
    assert steps(check(graph, {"x": normal(3, 40)})) == ["elementwise_loop"]


@pytest.mark.parametrize("act_type", ["leaky", "elu", "selu", "gelu"])
def test_every_leaky_relu(act_type: str) -> None:
    graph = Graph([node("leaky_relu", var("x"), act_type=act_type, slope=0.3)])
    assert steps(check(graph, {"x": normal(3, 40)})) == ["elementwise_loop"]


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 5, 3, 4)])
@pytest.mark.parametrize("slopes", [1, 5])
def test_prelu_has_its_slopes_along_the_channels(shape: tuple[int, ...], slopes: int) -> None:
    graph = Graph([node("leaky_relu", var("x"), var("slope"), act_type="prelu")])
    feed = {"x": normal(*shape), "slope": normal(slopes, seed=1)}
    check(graph, feed, ["slope"])
    check(graph, feed)


@pytest.mark.parametrize("name", ["relu", "add", "negative", "maximum", "square", "abs"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float64", "float16"])
def test_other_dtypes_are_numpys(name: str, dtype: str) -> None:
    x = (normal(3, 4, 5) * 100).astype(dtype)
    operands = [var("x")] * len(get_op(name).input_names(get_op(name).make_attrs({})))
    graph = Graph([node(name, *operands)])
    (actual,) = run(compiled(graph, {"x": x}), [x])
    node_ = graph.operations()[0]
    (expected,) = node_.compute([x] * len(operands))
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def test_large_integers_are_not_rounded() -> None:
    x = np.array([2**24 + 1, -(2**31), 2**31 - 1], np.int32)
    graph = Graph([node("maximum", var("x"), var("x"))])
    np.testing.assert_array_equal(run(compiled(graph, {"x": x}), [x])[0], x)


def test_has_kernel_is_asked_for_types() -> None:
    def tensor(*shape: int, dtype: Any = np.float32) -> TensorType:
        return TensorType(shape, np.dtype(dtype))

    assert has_kernel("relu", [tensor(2, 3)])
    assert has_kernel("convolution", [tensor(1, 2, 3, 3), tensor(2, 2, 1, 1)])
    assert not has_kernel("relu", [tensor(2, 3, dtype=np.float64)])
    assert not has_kernel("relu", [tensor(0, 3)])
    assert not has_kernel("arctan", [tensor(2, 3)])


# --- dense layers and products ------------------------------------------------------------------


@st.composite
def products(draw: st.DrawFn) -> tuple[str, dict[str, Any], Array, Array]:
    sizes = st.sampled_from([1, 2, 5, 8, 17, 33])
    rows, depth, columns = draw(sizes), draw(sizes), draw(sizes)
    op = draw(st.sampled_from(["matmul", "batch_dot"]))
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2))) if op == "matmul" else (draw(st.integers(1, 3)),)
    attrs: dict[str, Any] = {}
    a, b = normal(*batch, rows, depth), normal(*batch, depth, columns, seed=1)
    if op == "batch_dot":
        attrs = {"transpose_a": draw(st.booleans()), "transpose_b": draw(st.booleans())}
        a = np.ascontiguousarray(a.swapaxes(1, 2)) if attrs["transpose_a"] else a
        b = np.ascontiguousarray(b.swapaxes(1, 2)) if attrs["transpose_b"] else b
    return op, attrs, a, b


@settings(deadline=None, derandomize=True, max_examples=80)
@given(products(), st.sampled_from([PLAIN, CHANNELS_LAST]), st.sampled_from([[], ["a"], ["b"]]))
def test_products_of_two_tensors(made: tuple[str, dict[str, Any], Array, Array], layout: str, known: list[str]) -> None:
    op, attrs, a, b = made
    layouts = {name: layout for name, x in (("a", a), ("b", b)) if x.ndim > 2}
    check(Graph([node("relu", node(op, var("a"), var("b"), **attrs))]), {"a": a, "b": b}, known, layouts)


def test_a_product_with_a_tail_is_copies_and_one_step() -> None:
    a, b, c = inner(3)
    made = node("relu", node("add", node("batch_dot", a, b), c))
    graph = fuse("fused", [var("a"), var("b"), var("c")], [made])
    feed = {"a": normal(3, 7, 11), "b": normal(3, 11, 19, seed=1), "c": normal(3, 7, 19, seed=2)}
    made_steps = steps(check(graph, feed))
    assert made_steps[-1] == "matmul_loop"
    assert set(made_steps[:-1]) == {"copy_loop"}


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("shape", [(1, 9), (3, 9), (2, 3, 9), (2, 3, 4, 5)])
@pytest.mark.parametrize("tail", ["", "relu", "batch_norm", "residual", "column"])
def test_dense_layers(shape: tuple[int, ...], flatten: bool, tail: str) -> None:
    units = 19
    depth = int(np.prod(shape[1:])) if flatten else shape[-1]
    feed = {"x": normal(*shape), "w": normal(units, depth, seed=1), "b": normal(units, seed=2)}
    x, w, b = inner(3)
    made: Entry = node("fully_connected", x, w, b, num_hidden=units, flatten=flatten)
    output = (shape[0], units) if flatten else (*shape[:-1], units)
    if tail == "relu":
        made = node("relu", made)
    elif tail == "batch_norm":
        for i in range(4):
            feed[f"p{i}"] = np.abs(normal(units, seed=3 + i)) + np.float32(0.5)
        made = node("batch_norm", made, *inner(7)[3:], axis=len(output) - 1, fix_gamma=False)
    elif tail:
        feed["r"] = normal(*output, seed=3) if tail == "residual" else normal(*output[:-1], 1, seed=3)
        made = node("add", made, inner(4)[3])
    graph = fuse("fused", [var(name) for name in feed], [made])
    constants = [name for name in feed if name not in ("x", "r")]
    made_steps = steps(check(graph, feed, constants))
    assert "host" not in made_steps


def test_the_bias_may_be_computed() -> None:
    graph = Graph([node("fully_connected", var("x"), var("w"), var("b"), num_hidden=3)])
    check(graph, {"x": normal(2, 4), "w": normal(3, 4), "b": normal(3)}, ["w"])
