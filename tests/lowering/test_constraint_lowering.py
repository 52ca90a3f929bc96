"""What may refuse a run is no step of it: kernels run to the end, and then it is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import compiled, node, normal, run, steps

from minidnn.errors import OpError, SizeError
from minidnn.ir.graph import Graph, make_variable

var = make_variable
X = normal(3, 4)


def test_expected_values() -> None:
    expected = node("expect_values", var("v"), expected=(1, 2), shape=(2,))
    result = node("depend", node("relu", var("x")), expected, num_args=2)
    program = compiled(Graph([result]), {"x": X, "v": np.array([1, 2])})
    assert steps(program) == ["elementwise_loop"]
    np.testing.assert_array_equal(run(program, [X, np.array([1, 2])])[0], np.maximum(X, 0))
    with pytest.raises(SizeError, match=r"made for the values \(1, 2\), got \[1, 3\]"):
        run(program, [X, np.array([1, 3])])


def test_values_that_a_graph_is_not_made_for_are_told_before_what_comes_of_them() -> None:
    chosen = node("index", var("x"), var("v"), axes=(0,))
    expected = node("expect_values", var("v"), expected=(1, 2), shape=(2,))
    program = compiled(Graph([node("depend", chosen, expected, num_args=2)]), {"x": X, "v": np.array([1, 2])})
    with pytest.raises(SizeError):
        run(program, [X, np.array([1, 99])])


def test_constraints() -> None:
    result = node("depend", node("relu", var("x")), node("constraint_check", var("ok"), msg="not so"), num_args=2)
    program = compiled(Graph([result]), {"x": X, "ok": np.array([True])})
    assert "host" not in steps(program)
    run(program, [X, np.array([True])])
    with pytest.raises(OpError, match="not so"):
        run(program, [X, np.array([False])])
