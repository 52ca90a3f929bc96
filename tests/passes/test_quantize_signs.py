"""What is known not to be negative is not negative."""

from __future__ import annotations

from typing import Any

import pytest
from networks import conv, data, find, relu, unary

from minidnn.passes import FUSION_PASSES, run_passes
from minidnn.passes.quantize_insert import nonnegative_entries
from minidnn.symbol import Symbol
from minidnn.symbol.symbol import apply_op


def is_nonnegative(symbol: Symbol) -> bool:
    return symbol.outputs[0] in nonnegative_entries(symbol)


POSITIVE = relu(data())
ANY = data("other")


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("relu", {}),
        ("activation", {"act_type": "sigmoid"}),
        ("activation", {"act_type": "softrelu"}),
        ("clip", {"a_min": 0.0, "a_max": 6.0}),
        ("softmax", {}),
        ("square", {}),
        ("maximum_scalar", {"scalar": 0.0}),
        ("hard_sigmoid", {}),
        ("abs", {}),
        ("power_scalar", {"scalar": 2.0}),
        ("std", {"axis": (2, 3)}),
    ],
)
def test_some_operations_never_give_negative_numbers(op: str, attrs: dict[str, Any]) -> None:
    assert is_nonnegative(unary(op, ANY, **attrs))


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("pooling", {"kernel": (2, 2), "pool_type": "avg"}),
        ("flatten", {}),
        ("leaky_relu", {}),
        ("add_scalar", {"scalar": 2.0}),
        ("multiply_scalar", {"scalar": 0.5}),
        ("activation", {"act_type": "tanh"}),
        ("hard_swish", {}),
        ("gelu", {"approximation": "tanh"}),
        ("log1p", {}),
        ("power_scalar", {"scalar": 3.0}),
        ("pad", {"pad_width": ((0, 0), (0, 0), (1, 1), (1, 1))}),
    ],
)
def test_some_keep_what_is_not_negative(op: str, attrs: dict[str, Any]) -> None:
    assert is_nonnegative(unary(op, POSITIVE, **attrs))
    assert not is_nonnegative(unary(op, ANY, **attrs))


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("negative", {}),
        ("add_scalar", {"scalar": -1.0}),
        ("multiply_scalar", {"scalar": -1.0}),
        ("clip", {"a_min": -1.0, "a_max": 6.0}),
        ("pad", {"pad_width": ((0, 0), (0, 0), (1, 1), (1, 1)), "constant_values": -1.0}),
        ("log", {}),
        ("log_sigmoid", {}),
        ("clip", {"a_min": 0.0, "a_max": -1.0}),
        ("subtract_scalar", {"scalar": 1.0}),
    ],
)
def test_others_do_not(op: str, attrs: dict[str, Any]) -> None:
    assert not is_nonnegative(unary(op, POSITIVE, **attrs))


def test_sums_and_joins_need_all_of_their_inputs() -> None:
    assert is_nonnegative(POSITIVE + POSITIVE)
    assert not is_nonnegative(POSITIVE + ANY)
    assert not is_nonnegative(POSITIVE - POSITIVE)
    assert is_nonnegative(apply_op("maximum", [POSITIVE, ANY]))
    assert not is_nonnegative(apply_op("concatenate", [POSITIVE, ANY], num_args=2, axis=1))


def test_fused_nodes_are_looked_into() -> None:
    graph = run_passes(relu(conv(data(), "a") + relu(ANY)), FUSION_PASSES)
    assert find(graph, graph.operations()[-1].name)[0] in nonnegative_entries(graph)
    graph = run_passes(conv(data(), "a") + relu(ANY), FUSION_PASSES)
    assert graph.outputs[0] not in nonnegative_entries(graph)
