"""What is computed from parameters alone is computed once, and no more memory is taken than is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import batch_norm, data, names, relu

from minidnn.ir.graph import evaluate
from minidnn.ops import Op, registry
from minidnn.passes import fold_constants, without_data
from minidnn.passes.fold_constants import MAX_GROWTH, SMALL_BYTES
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op

SHAPE = (4, 4, 3, 3)


def conv(x: Symbol, weight: Symbol, name: str = "conv") -> Symbol:
    attrs = {"kernel": (3, 3), "num_filter": 4, "pad": (1, 1), "no_bias": True}
    return apply_op("convolution", [x, weight], name, **attrs)


def values(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_an_expression_of_parameters_becomes_one() -> None:
    w = var("w")
    before = conv(data(), apply_op("negative", [w * 0.5], "minus"))
    after, parameters = fold_constants(before, {"w": values(*SHAPE)})
    assert names(after) == ["conv"]
    assert list(parameters) == ["minus_folded"]
    np.testing.assert_array_equal(parameters["minus_folded"], values(*SHAPE) * -0.5)


def test_a_parameter_may_be_used_as_it_is_too() -> None:
    w = var("w")
    before = conv(data(), w, "first") + conv(data("other"), w * 0.5, "second")
    given = {"w": values(*SHAPE)}
    after, parameters = fold_constants(before, given)
    assert parameters["w"] is given["w"]
    assert len(parameters) == 2
    feed = {"data": values(2, 4, 5, 5), "other": values(2, 4, 5, 5)}
    np.testing.assert_array_equal(evaluate(after, feed | parameters)[0], evaluate(before, feed | given)[0])


def test_what_depends_on_data_stays() -> None:
    before = apply_op("multiply", [data("w", SHAPE), data("scale", (4, 1, 1, 1))], "product")
    assert fold_constants(before, {"scale": values(4, 1, 1, 1)})[0] is before


def test_several_outputs_of_which_one_is_wanted_outside() -> None:
    pieces = apply_op("split", [var("w")], "pieces", sections=2, axis=0)
    minus = apply_op("negative", [pieces[1]], "minus")
    x = data("x", (2, 3))
    before = Group([x * pieces[0], x * (minus * pieces[0])])
    feed, given = {"x": values(2, 3)}, {"w": values(4, 3)}
    after, parameters = fold_constants(before, given)
    assert len(names(after)) == 2
    assert len(parameters) == 2
    for was, became in zip(evaluate(before, feed | given), evaluate(after, feed | parameters), strict=True):
        np.testing.assert_array_equal(became, was)


def test_an_output_of_the_graph_may_be_constant() -> None:
    after, parameters = fold_constants(var("w") + 1.0, {"w": np.zeros(3, np.float32)})
    assert not names(after)
    np.testing.assert_array_equal(evaluate(after, parameters)[0], np.ones(3))


def test_folded_values_have_memory_of_their_own() -> None:
    w = np.zeros((4, 6), np.float32)
    _, parameters = fold_constants(apply_op("transpose", [var("w")], "turned"), {"w": w})
    w[:] = 1
    assert not parameters["turned_folded"].any()
    assert parameters["turned_folded"].flags.c_contiguous


@pytest.mark.parametrize("grows", [False, True])
def test_memory_is_bounded_by_the_parameters_or_a_small_number(grows: bool) -> None:
    rows = SMALL_BYTES // 4 // 64
    count = rows * MAX_GROWTH * 2 if grows else rows
    large = apply_op("broadcast_to", [var("w")], "large", shape=(count, 64))
    before = data("x", (count, 64)) * (large + 1.0)
    after, parameters = fold_constants(before, {"w": values(1, 64)})
    assert (len(names(after)) == 3) is grows
    assert sum(a.nbytes for a in parameters.values()) <= SMALL_BYTES


def test_a_long_chain_of_large_values_is_bounded_in_all() -> None:
    made = 0

    def count(attrs: Any, x: Any) -> Any:
        nonlocal made
        made += x.nbytes
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._OPS, "test_counted", Op("test_counted", lambda a, t: [t[0]], count, ("data",)))
        chain = var("w")
        for i in range(300):
            chain = apply_op("test_counted", [chain], f"c{i}")
        after, _ = fold_constants(chain, {"w": np.zeros(1 << 18, np.float32)})
    assert 0 < made <= (64 << 20) + 16 * (1 << 20)
    assert names(after)


def test_what_is_drawn_at_random_is_no_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    op = Op("test_noise", lambda a, t: [t[0]], lambda a, x: x + np.random.rand(), ("data",), is_random=True)
    monkeypatch.setitem(registry._OPS, "test_noise", op)
    before = data("x", (3,)) + apply_op("test_noise", [var("w")], "noise") * 2.0
    after, parameters = fold_constants(before, {"w": np.zeros(3, np.float32)})
    assert "noise" in names(after)
    assert list(parameters) == ["w"]


def test_passes_take_constant_expressions_for_parameters() -> None:
    arrays = {"w": values(*SHAPE)}
    before = relu(batch_norm(conv(data(), var("w") * 0.5), "bn"))
    after = before.optimize_for(args=arrays)
    assert names(after)[1:] == ["fused_conv_bn_act_0"]
    assert {v.name for v in after.variables()} == {v.name for v in before.variables()}


def test_all_inputs_may_be_given_as_arguments() -> None:
    arrays = {"w": values(*SHAPE), "data": values(2, 4, 5, 5)}
    before = relu(conv(data(), var("w") * 0.5))
    assert set(without_data(before, arrays)) == {"w"}
    assert set(without_data(before, ["w"])) == {"w"}
    assert names(before.optimize_for(args=arrays))[1:] == ["fused_conv_act_0"]


def test_names_stay_unique_where_constants_were_fused_before() -> None:
    w = apply_op("relu", [var("w", shape=SHAPE) * 0.5], "plus")
    once = relu(conv(data(), w)).optimize_for()
    twice = once.optimize_for(args={"w": values(*SHAPE)})
    assert len(set(names(twice))) == len(names(twice))
