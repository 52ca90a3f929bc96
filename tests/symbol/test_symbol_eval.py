"""A symbol computes what its graph says, fused or not."""

from __future__ import annotations

import numpy as np
import pytest

from minidnn.errors import GraphError, OpError
from minidnn.ir.graph import evaluate
from minidnn.numpy.multiarray import ndarray
from minidnn.symbol import Group, Symbol, var
from minidnn.symbol.symbol import apply_op

RNG = np.random.default_rng(7)
ARRAYS = {
    "data": RNG.standard_normal((2, 3, 6, 7)).astype(np.float32),
    "w": RNG.standard_normal((5, 3, 3, 3)).astype(np.float32),
    "gamma": RNG.uniform(0.5, 2, 5).astype(np.float32),
    "beta": RNG.standard_normal(5).astype(np.float32),
    "mean": RNG.standard_normal(5).astype(np.float32),
    "var": RNG.uniform(0.5, 2, 5).astype(np.float32),
    "other": RNG.standard_normal((2, 5, 6, 7)).astype(np.float32),
}


def network() -> Symbol:
    conv = apply_op("convolution", [var("data"), var("w")], kernel=(3, 3), num_filter=5, pad=(1, 1), no_bias=True)
    norm = apply_op("batch_norm", [conv, *(var(name) for name in ("gamma", "beta", "mean", "var"))], fix_gamma=False)
    return apply_op("activation", [norm + var("other")], act_type="relu")


def test_eval_gives_arrays_that_agree_with_the_references() -> None:
    (result,) = network().eval(**ARRAYS)
    assert isinstance(result, ndarray)
    (expected,) = evaluate(network(), ARRAYS)
    np.testing.assert_allclose(result.asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_fused_symbol_agrees() -> None:
    fused = network().optimize_for(shape_dict={name: ARRAYS[name].shape for name in ("data", "other")})
    assert [node.name for node in fused.operations()] == ["fused_conv_bn_add_act_0"]
    (result,) = fused.eval(**ARRAYS)
    (expected,) = evaluate(network(), ARRAYS)
    np.testing.assert_allclose(result.asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_eval_takes_our_arrays_too() -> None:
    x = ndarray._wrap(np.array([1.0, 2.0], np.float32))
    (result,) = (var("x") * 2).eval(x=x)
    np.testing.assert_array_equal(result.asnumpy(), [2.0, 4.0])


def test_several_outputs_come_in_order() -> None:
    x = var("x")
    results = Group([x + 1, x * 3]).eval(x=np.array([1.0, 2.0], np.float32))
    assert [r.asnumpy().tolist() for r in results] == [[2.0, 3.0], [3.0, 6.0]]


def test_missing_and_unknown_values_are_named() -> None:
    with pytest.raises(GraphError, match=r"no value is given for variable 'y'"):
        (var("x") + var("y")).eval(x=np.zeros(2, np.float32))
    with pytest.raises(GraphError, match="no variable 'z'"):
        var("x").eval(x=np.zeros(2, np.float32), z=np.zeros(2, np.float32))


def test_arrays_that_do_not_fit_name_the_node() -> None:
    with pytest.raises(OpError, match=r"node 'convolution\d+'"):
        network().eval(**{**ARRAYS, "data": np.zeros((2, 4, 6, 7), np.float32)})
