"""Random operators: what their attributes may be, the types they infer, the domains they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops_helpers import infer, reference, tensor

from minidnn import generator
from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op, list_ops
from minidnn.ops.random import DISTRIBUTIONS


def test_random_operators_say_so() -> None:
    assert all(get_op(name).is_random == name.startswith("random_") for name in list_ops())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_parameters_are_attributes_or_inputs(name: str) -> None:
    op, (parameters, _) = get_op(f"random_{name}"), DISTRIBUTIONS[name]
    assert op.input_names(op.make_attrs({})) == parameters
    assert op.input_names(op.make_attrs(dict.fromkeys(parameters, 2.0))) == ()
    known = dict.fromkeys(parameters[1:], 2.0)
    assert infer(op.name, tensor(3, 1), **known) == tensor(3, 1)
    assert infer(op.name, tensor(3, 1), size=(2, 3, 4), dtype="float16", **known) == tensor(2, 3, 4, dtype="float16")
    generator.restart(3)
    columns = np.full((3, 1), 2, np.float32)
    (got,) = op.compute(op.make_attrs({"size": (2, 3, 4), **known}), columns)
    method = getattr(np.random.default_rng(3), name)
    np.testing.assert_array_equal(got, method(columns, *known.values(), size=(2, 3, 4)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rounding_does_not_reach_the_upper_end(dtype: str) -> None:
    drawn = reference("random_uniform", low=1.0, high=1.001, size=(20_000,), dtype=dtype)
    assert drawn.dtype == dtype
    assert drawn.min() >= 1.0
    assert drawn.max() < np.asarray(1.001, dtype)


@pytest.mark.parametrize(
    ("name", "attrs", "message"),
    [
        ("random_normal", {"loc": 0, "scale": -1}, "scale < 0"),
        ("random_gamma", {"shape": -1}, "shape < 0"),
        ("random_beta", {"a": 1, "b": 0}, "b <= 0"),
        ("random_uniform", {"low": 0, "high": float("inf")}, "exceeds valid bounds"),
        ("random_uniform", {"size": (-1,)}, "'size' must be at least 0"),
        ("random_uniform", {"size": (None, 2)}, "size must consist of integers"),
        ("random_normal", {"dtype": "complex64"}, "dtype must be bool, an integer or a float"),
        ("random_normal", {"loc": "zero"}, "'loc' must be a float"),
        ("random_randint", {"low": 3, "high": 3}, "low must be less than high"),
        ("random_randint", {"low": 0, "high": 300, "dtype": "int8"}, "both within int8"),
        ("random_bernoulli", {"prob": 1.5}, r"prob must lie in \[0, 1\]"),
        ("random_bernoulli", {"prob": 0.5, "logit": 0.5}, "not both"),
        ("random_choice", {"a": 3, "size": (4,), "replace": False}, "4 of 3 elements"),
        ("random_choice", {"a": 0}, "must not be empty"),
        ("random_multinomial", {"n": -1}, "'n' must be at least 0"),
    ],
)
def test_attributes_outside_the_domain_are_refused(name: str, attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(OpError, match=message):
        get_op(name).make_attrs(attrs)


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="random_normal: shapes"):
        infer("random_normal", tensor(3), scale=1, size=(2,))
    with pytest.raises(ShapeError, match="do not broadcast to size"):
        infer("random_normal", tensor(3, 1), scale=1, size=(4,))
    with pytest.raises(ShapeError, match="random_choice: p must have shape"):
        infer("random_choice", tensor(3), a=2, weighted=True)
    with pytest.raises(TypeMismatchError, match="random_multinomial: pvals"):
        infer("random_multinomial", tensor(3, dtype="int32"), n=2)
    with pytest.raises(ShapeError, match="random_multivariate_normal: cov"):
        infer("random_multivariate_normal", tensor(3), tensor(3, 2))
    with pytest.raises(ShapeError, match="random_shuffle: data"):
        infer("random_shuffle", tensor())
    with pytest.raises(OpError, match="random_normal: scale < 0"):
        reference("random_normal", np.array([-1.0]), loc=0)
    with pytest.raises(OpError, match="random_bernoulli: prob"):
        reference("random_bernoulli", np.array([np.nan]))
    with pytest.raises(OpError, match="random_multinomial: "):
        reference("random_multinomial", np.array([0.9, 0.9, 0.1]), n=2)


def test_batched_distributions_append_the_shape_of_the_parameters() -> None:
    assert infer("random_uniform_n", tensor(3, 1), tensor(4), size=(2,)) == tensor(2, 3, 4)
    assert infer("random_normal_n", loc=0, scale=1) == tensor()


def test_odds_of_large_logits_do_not_overflow() -> None:
    logits = np.array([-1e4, 1e4], np.float32)
    np.testing.assert_array_equal(reference("random_bernoulli", logits, is_logit=True), [0, 1])
