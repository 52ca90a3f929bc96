"""Whatever comes behind a product, the product keeps the longest epilogue that has a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import run

from minidnn.ir.graph import Graph, evaluate
from minidnn.ir.infer import known_types
from minidnn.ir.roles import parameter_variables
from minidnn.lowering import lower
from minidnn.lowering.builder import Builder
from minidnn.ops import get_op, list_ops
from minidnn.ops.registry import TensorType
from minidnn.passes.fold_constants import fold_constants
from minidnn.passes.quantize_calibrate import calibrate
from minidnn.passes.quantize_fold import fold_bias, fold_types
from minidnn.passes.quantize_insert import insert
from minidnn.passes.quantize_mark import mark
from minidnn.plan.program import HostStep, Program
from minidnn.runtime.library import library
from minidnn.symbol import Symbol, var
from minidnn.symbol.symbol import apply_op

_FLOAT32 = np.dtype(np.float32)


def batch_norm(x: Symbol, axis: int) -> Symbol:
    parameters = [var(f"bn.{role}") for role in ("gamma", "beta", "running_mean", "running_var")]
    return apply_op("batch_norm", [x, *parameters], "bn", axis=axis, fix_gamma=False)


def product(kind: str) -> tuple[Symbol, tuple[int, ...], tuple[int, ...]]:
    """A product, its shape, and the shape of its data."""
    data, weight = var("data"), var("weight")
    if kind in ("convolution", "depthwise"):
        groups = 8 if kind == "depthwise" else 1
        made = apply_op(
            "convolution", [data, weight], "product", kernel=(3, 3), num_filter=8, no_bias=True, num_group=groups
        )
        return made, (2, 8, 5, 5), (2, 8, 7, 7)
    if kind == "deconvolution":
        made = apply_op("deconvolution", [data, weight], "product", kernel=(2, 2), stride=(2, 2), num_filter=8)
        return made, (2, 8, 8, 8), (2, 4, 4, 4)
    if kind == "dense":
        made = apply_op("fully_connected", [data, weight], "product", num_hidden=8, no_bias=True)
        return made, (3, 8), (3, 6)
    if kind == "dot":
        return apply_op("dot", [data, var("rhs", shape=(6, 8))], "product"), (3, 8), (3, 6)
    return apply_op(kind, [data, var("rhs", shape=(2, 6, 8))], "product"), (2, 3, 8), (2, 3, 6)


PRODUCTS = ("convolution", "depthwise", "deconvolution", "dense", "batch_dot", "matmul", "dot")
INTEGER_PRODUCTS = ("convolution", "depthwise", "dense", "batch_dot")


def operations() -> list[tuple[str, dict[str, Any]]]:
    """All elementwise operators that keep float32, from the registry."""
    chosen = {"activation": {"act_type": "tanh"}, "clip": {"a_min": -0.5}, "cast": {"dtype": "float32"}}
    found = []
    for name in list_ops():
        op = get_op(name)
        if op.kind != "elementwise" or op.is_random:
            continue
        attrs = {"scalar": 3.0} if name.endswith("_scalar") else chosen.get(name, {})
        made = op.make_attrs(attrs)
        types = [TensorType((2, 2), _FLOAT32)] * len(op.input_names(made))
        try:
            keeps = op.infer_types(made, types)[0].dtype == _FLOAT32
        except ValueError:
            continue
        if keeps:
            found.append((name, attrs))
    return found


OPERATIONS = operations()


def network(kind: str, op: str, attrs: dict[str, Any]) -> Symbol:
    """Product, batch normalization, relu, then the operation."""
    made, shape, data_shape = product(kind)
    axis = 1 if kind in ("convolution", "depthwise", "deconvolution") else -1
    x = apply_op("relu", [batch_norm(made, axis)], "act")
    record = get_op(op)
    names = record.input_names(record.make_attrs(attrs))
    others = [var(f"other{i}", shape=shape) for i in range(1, len(names))]
    return apply_op(op, [x, *others], "last", **attrs).optimize_for(shape_dict={"data": data_shape})


def plan(graph: Graph, parameters: dict[str, Any] | None = None) -> Program:
    """The program; parameters of which nothing is given have random values."""
    types = known_types(graph)
    values = dict(parameters or {})
    for v in parameter_variables(graph):
        if v.name not in values:
            values[v.name] = np.abs(np.random.default_rng(0).standard_normal(types[v[0]].shape)).astype(np.float32)
    inputs = {v.name: (types[v[0]], "plain") for v in graph.variables() if v.name not in values}
    folded, values = fold_constants(graph, values)
    return lower(folded, values, inputs, None, library().isa)


def computing(program: Program) -> list[Any]:
    """The steps that compute; copies only move."""
    return [s for s in program.steps if isinstance(s, HostStep) or str(s.loop.name) != "copy_loop"]


def test_every_operator_of_float32_has_an_instruction() -> None:
    steps = [get_op(name).epilogue_step(get_op(name).make_attrs(attrs)) for name, attrs in OPERATIONS]
    assert len(steps) > 80 and None not in steps


@pytest.mark.parametrize("kind", PRODUCTS)
def test_what_has_no_kernel_leaves_the_rest_of_the_epilogue_behind_the_product(kind: str) -> None:
    made, _, data_shape = product(kind)
    wide = apply_op("cast", [apply_op("relu", [made], "act")], "wide", dtype="float64")
    graph = apply_op("tanh", [apply_op("negative", [wide], "turned")], "last")
    steps = computing(plan(graph.optimize_for(shape_dict={"data": data_shape})))
    steps = steps[1:] if steps[0].name == "product" else steps
    assert [isinstance(s, HostStep) for s in steps] == [False, True]
    assert steps[1].name == "last"


@pytest.mark.parametrize(("op", "attrs"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
@pytest.mark.parametrize("kind", PRODUCTS)
def test_product_batch_norm_and_relu_are_one_step(kind: str, op: str, attrs: dict[str, Any]) -> None:
    record = get_op(op)
    steps = computing(plan(network(kind, op, attrs)))
    removed = record.is_identity
    fits = record.epilogue_step(record.make_attrs(attrs)) is not None or removed
    if any(isinstance(s, HostStep) and s.name == "product" for s in steps):
        # A product without a kernel: what comes behind it is one step all the same.
        steps = steps[1:]
    assert len(steps) == (1 if fits else 2), [s.name for s in steps]
    assert not isinstance(steps[0], HostStep)
    assert all(s.name == "last" for s in steps[1:])


@pytest.mark.parametrize(("op", "attrs"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
@pytest.mark.parametrize("kind", INTEGER_PRODUCTS)
def test_integer_products_too(kind: str, op: str, attrs: dict[str, Any]) -> None:
    graph = network(kind, op, attrs)
    types = known_types(graph)
    rng = np.random.default_rng(0)
    given = {
        v.name: np.abs(rng.standard_normal(types[v[0]].shape)).astype(np.float32) for v in parameter_variables(graph)
    }
    stage = insert(graph, given, mark(graph, given.keys(), "smart"))
    stage = fold_types(fold_bias(calibrate(stage, dict.fromkeys(stage.layers(), (-1.0, 1.0)))))
    steps = [s for s in computing(plan(stage.graph, dict(stage.parameters))) if "quantize" not in s.name.split("_")]
    record = get_op(op)
    fits = record.epilogue_step(record.make_attrs(attrs)) is not None or record.is_identity
    # Beside the product there may be conversions of a batch_dot's factors, under its name.
    names = [s.name for s in steps]
    assert names.count("last") == (0 if fits else 1), names
    assert len(set(names) - {"last"}) == 1, names
    assert not any(isinstance(s, HostStep) for s in steps if s.name != "last")


@pytest.mark.parametrize(
    "shape", [(1, 8, 5, 5), (2, 8, 1, 1), (5,), (5, 1), (1, 1, 5, 5), (2, 1, 1, 1), (2, 8, 5, 5), (8, 1, 1), ()]
)
@pytest.mark.parametrize("is_parameter", [False, True])
def test_every_operand_that_broadcasts_is_read_by_one_step(shape: tuple[int, ...], is_parameter: bool) -> None:
    made, _, data_shape = product("convolution")
    graph = apply_op("multiply", [made, var("other", shape=shape)], "last")
    graph = graph.optimize_for(shape_dict={"data": data_shape})
    rng = np.random.default_rng(1)
    feed = {
        "data": rng.standard_normal(data_shape).astype(np.float32),
        "weight": rng.standard_normal((8, 8, 3, 3)).astype(np.float32),
        "other": rng.standard_normal(shape).astype(np.float32),
    }
    weights = {name: feed[name] for name in ("weight", *(("other",) if is_parameter else ()))}
    inputs = {name: (TensorType.of(a), "plain") for name, a in feed.items() if name not in weights}
    program = lower(graph, weights, inputs, ["plain"], library().isa)
    assert len(computing(program)) == 1
    (result,) = run(program, [feed[name] for name in inputs])
    (wanted,) = evaluate(graph, {name: a.astype(np.float64) for name, a in feed.items()})
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)


def test_a_failed_attempt_leaves_no_step_behind() -> None:
    builder = Builder(library().isa)
    before = builder.temporary(64)

    def attempt() -> None:
        value = builder.new(TensorType((2, 3, 4, 5), _FLOAT32))
        builder.as_layout(value, "channels_last")

    assert builder.attempt(attempt) is None
    assert builder.temporary(64).buffer.index == before.buffer.index + 1
    assert builder.finish([], []).steps == ()
