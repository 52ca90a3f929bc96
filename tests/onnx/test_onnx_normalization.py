"""Normalizations whose numbers the model computes: no step of them runs on NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import assert_like_reference, make_model, node, run, tensor

import minidnn as mx

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_batches_are_normalized_by_what_they_are_given(rank: int) -> None:
    names, shape = ("x", "scale", "B", "mean", "var"), ("n", 5, *(4,) * (rank - 2))
    inputs = [tensor("x", shape), *(tensor(name, (5,)) for name in names[1:])]
    model = make_model([node("BatchNormalization", names, ["y"], epsilon=0.01)], inputs, ["y"])
    x = RNG.normal(size=(3, *shape[1:])).astype(np.float32)
    numbers = [RNG.uniform(0.5, 2, 5).astype(np.float32) for _ in names[1:]]
    net = assert_like_reference(model, (x, *numbers), (x[:1], *numbers[::-1]))
    assert not any(step.on_host for step in net.steps())


def test_numbers_that_fit_no_channel_are_an_error() -> None:
    names = ("x", "scale", "B", "mean", "var")
    inputs = [tensor("x", ("n", 5, 4)), tensor("scale", (1,)), *(tensor(name, (5,)) for name in names[2:])]
    net = mx.onnx.import_model(make_model([node("BatchNormalization", names, ["y"])], inputs, ["y"]))
    arrays = [np.ones(shape, np.float32) for shape in ((2, 5, 4), (1,), (5,), (5,), (5,))]
    with pytest.raises(ValueError, match="scale must have one number for each channel"):
        run(net, *arrays)
