"""Over random graphs: passes change neither results nor variables nor the number of outputs, and make sound graphs."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from networks import assert_equivalent, batch_norm, conv, data, unary

from minidnn.passes import FUSION_PASSES, run_passes
from minidnn.symbol import Group, Symbol, fromjson, var
from minidnn.symbol.symbol import apply_op

KINDS = ("unary", "unary", "binary", "binary", "small", "scalar", "conv", "conv", "norm", "mask", "turn")
UNARY = ("tanh", "relu", "negative", "identity", "dropout", "softmax", "abs")
BINARY = ("add", "multiply", "subtract", "maximum")
SHAPE = (2, 4, 3, 3)


@st.composite
def graphs(draw: st.DrawFn) -> Symbol:
    """Up to two dozen operations on values of one shape, and operands that broadcast to it."""
    values = [data("a", SHAPE), data("b", SHAPE)]
    small = [var("channel", shape=(1, 4, 1, 1)), var("column", shape=(3, 1))]
    for i in range(draw(st.integers(1, 24))):
        value, name = draw(st.sampled_from(values[-4:])), f"n{i}"
        kind = draw(st.sampled_from(KINDS))
        if kind == "unary":
            new = unary(draw(st.sampled_from(UNARY)), value, name)
        elif kind == "binary":
            new = apply_op(draw(st.sampled_from(BINARY)), [value, draw(st.sampled_from(values))], name)
        elif kind == "small":
            new = apply_op(draw(st.sampled_from(BINARY)), [draw(st.sampled_from(small)), value], name)
        elif kind == "scalar":
            new = unary("multiply_scalar", value, name, scalar=0.5, is_int=False)
        elif kind == "mask":
            new = unary("cast", unary("greater_scalar", value, f"mask{i}", scalar=0.0), name, dtype="float32")
        elif kind == "turn":
            new = unary("transpose", value, name, axes=(0, 1, 3, 2))
        else:
            new = conv(value, name) if kind == "conv" else batch_norm(value, name)
        values.append(new)
    return Group([values[-1], *draw(st.lists(st.sampled_from(values), max_size=2))])


@settings(max_examples=250, deadline=None)
@given(graphs())
def test_passes_never_change_results(graph: Symbol) -> None:
    after = run_passes(graph)
    assert_equivalent(graph, after)
    assert len(after.operations()) <= len(graph.operations())
    assert fromjson(Symbol(after.outputs).tojson()) == after


@pytest.mark.parametrize("name", [name for name, _ in FUSION_PASSES])
@settings(max_examples=40, deadline=None)
@given(graphs())
def test_each_pass_alone_never_changes_results(name: str, graph: Symbol) -> None:
    assert_equivalent(graph, dict(FUSION_PASSES)[name](graph))


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_all_names_in_a_fused_graph_are_unique(graph: Symbol) -> None:
    after = run_passes(graph)
    every = [node.name for node in after.nodes()]
    assert len(set(every)) == len(every)
    for node in after.operations():
        if node.subgraph is not None:
            within = [inner.name for inner in node.subgraph.nodes()]
            assert len(set(within)) == len(within)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_optimizing_again_changes_nothing(graph: Symbol) -> None:
    once = graph.optimize_for()
    assert once.optimize_for() == once
