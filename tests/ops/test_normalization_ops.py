"""Normalizations and softmax against torch, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops import get_op

data_shapes = st.lists(st.integers(1, 5), min_size=3, max_size=5).map(tuple)


def t(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def vectors(count: int, size: int) -> list[Any]:
    return [normal(size, seed=10 + i) for i in range(count - 1)] + [np.abs(normal(size, seed=9)) + 0.1]


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple), st.booleans(), st.floats(1e-6, 0.1))
def test_batch_norm_agrees_with_torch(shape: tuple[int, ...], fix_gamma: bool, eps: float) -> None:
    x = normal(*shape)
    gamma, beta, mean, var = vectors(4, shape[1])
    actual = reference("batch_norm", x, gamma, beta, mean, var, eps=eps, fix_gamma=fix_gamma)
    weight = np.ones_like(gamma) if fix_gamma else gamma
    assert_close(actual, F.batch_norm(t(x), t(mean), t(var), t(weight), t(beta), eps=eps).numpy())


def test_batch_norm_along_another_axis() -> None:
    x = normal(2, 3, 4)
    stats = vectors(4, 4)
    moved = reference("batch_norm", np.moveaxis(x, -1, 1), *stats, fix_gamma=False)
    assert_close(reference("batch_norm", x, *stats, fix_gamma=False, axis=-1), np.moveaxis(moved, 1, -1))


def test_batch_norm_of_float16_data_with_float32_statistics() -> None:
    x = normal(2, 3, 4, dtype="float16")
    stats = vectors(4, 3)
    actual = reference("batch_norm", x, *stats, fix_gamma=False)
    assert actual.dtype == np.float16
    assert_close(actual, reference("batch_norm", x.astype(np.float32), *stats, fix_gamma=False), 1e-3)


def test_batch_norm_refuses() -> None:
    four = [tensor(3)] * 4
    with pytest.raises(ShapeError, match=r"running_var must have shape \(3,\) .*axis 1.* got \(4,\)"):
        infer("batch_norm", tensor(2, 3, 4), *four[:3], tensor(4))
    with pytest.raises(ShapeError, match=r"axis must lie in \[-3, 3\)"):
        infer("batch_norm", tensor(2, 3, 4), *four, axis=3)
    with pytest.raises(OpError, match="'eps' must be at least 0"):
        infer("batch_norm", tensor(2, 3, 4), *four, eps=-1e-5)
    with pytest.raises(OpError, match="'output_mean_var' must be one of"):
        infer("batch_norm", tensor(2, 3, 4), *four, output_mean_var=True)
    with pytest.raises(TypeMismatchError, match="gamma must be float16, float32 or float64, got int32"):
        infer("batch_norm", tensor(2, 3, 4), tensor(3, dtype="int32"), *four[:3])


@settings(deadline=None)
@given(data_shapes, st.data())
def test_layer_norm_agrees_with_torch(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(*shape)
    gamma, beta = vectors(2, shape[axis])
    last = t(np.moveaxis(x, axis, -1))
    expected = F.layer_norm(last, (shape[axis],), t(gamma), t(beta), 1e-5).numpy()
    assert_close(reference("layer_norm", x, gamma, beta, axis=axis), np.moveaxis(expected, -1, axis), 1e-4)


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), data_shapes.filter(lambda s: int(np.prod(s[2:])) > 1))
def test_group_norm_agrees_with_torch(groups: int, each: int, shape: tuple[int, ...]) -> None:
    x = normal(shape[0], groups * each, *shape[2:])
    gamma, beta = vectors(2, groups * each)
    expected = F.group_norm(t(x), groups, t(gamma), t(beta), 1e-3).numpy()
    assert_close(reference("group_norm", x, gamma, beta, num_groups=groups, eps=1e-3), expected, 1e-4)


@settings(deadline=None)
@given(data_shapes.filter(lambda s: int(np.prod(s[2:])) > 1))
def test_instance_norm_agrees_with_torch(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    gamma, beta = vectors(2, shape[1])
    expected = F.instance_norm(t(x), weight=t(gamma), bias=t(beta), eps=1e-3).numpy()
    assert_close(reference("instance_norm", x, gamma, beta), expected, 1e-4)


def test_a_large_mean_costs_no_digits() -> None:
    x = normal(2, 64, dtype="float64") + 1e4
    ones, zeros = np.ones(64, np.float32), np.zeros(64, np.float32)
    exact = F.layer_norm(t(x.astype(np.float32).astype(np.float64)), (64,)).numpy()
    assert_close(reference("layer_norm", x.astype(np.float32), ones, zeros), exact, 1e-6)


def test_the_other_normalizations_refuse() -> None:
    with pytest.raises(ShapeError, match="num_groups=2 must divide the 3 channels"):
        infer("group_norm", tensor(2, 3, 4), tensor(3), tensor(3), num_groups=2)
    with pytest.raises(ShapeError, match=r"gamma must have shape \(4,\) .*axis 2"):
        infer("layer_norm", tensor(2, 3, 4), tensor(3), tensor(3))
    with pytest.raises(ShapeError, match="data must have at least 3 dimensions"):
        infer("instance_norm", tensor(2, 3), tensor(3), tensor(3))


@pytest.mark.parametrize(("mode", "axes"), [("instance", (1, 2, 3)), ("channel", (1,)), ("spatial", (2, 3))])
def test_l2_normalization_divides_by_the_norm(mode: str, axes: tuple[int, ...]) -> None:
    x = normal(2, 3, 4, 5)
    expected = t(x) / torch.sqrt((t(x) ** 2).sum(axes, keepdim=True) + 1e-10)
    assert_close(reference("l2_normalization", x, mode=mode), expected.numpy())


@pytest.mark.parametrize("name", ["batch_norm", "layer_norm", "group_norm", "instance_norm"])
def test_parameter_shapes_follow_from_the_data(name: str) -> None:
    op = get_op(name)
    assert op.infer_parameters is not None
    shapes = op.infer_parameters(op.make_attrs({}), tensor(2, 3, 4, 5))
    assert set(shapes) == op.parameters
    assert set(shapes.values()) == {(5,) if name == "layer_norm" else (3,)}


@settings(deadline=None)
@given(data_shapes, st.data(), st.sampled_from([None, 0.5, 3.0]))
def test_softmax_agrees_with_torch(shape: tuple[int, ...], data: st.DataObject, temperature: float | None) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(*shape) * 20
    scaled = t(x) / (temperature or 1.0)
    assert_close(reference("softmax", x, axis=axis, temperature=temperature), F.softmax(scaled, axis).numpy())
    assert_close(reference("log_softmax", x, axis=axis, temperature=temperature), F.log_softmax(scaled, axis).numpy())


def test_softmax_of_large_numbers_is_finite() -> None:
    x = np.array([1e4, 1e4 - 1, -1e4], np.float32)
    assert_close(reference("softmax", x), F.softmax(t(x).double(), 0).numpy())


def test_softmax_over_lengths_ignores_the_rest() -> None:
    x = normal(2, 4)
    out = reference("softmax", x, np.array([1, 3], np.int32), use_length=True)
    assert_close(out[0], [1, 0, 0, 0])
    assert_close(out[1], [*F.softmax(t(x[1, :3]), 0).numpy(), 0])
    logs = reference("log_softmax", x, np.array([1, 3]), use_length=True)
    assert logs[0, 1:].tolist() == [-np.inf] * 3


def test_masked_softmax_agrees_with_torch() -> None:
    x = normal(3, 4, 5)
    mask = np.random.default_rng(3).random((3, 1, 5)) > 0.4
    mask[..., 0] = True
    expected = F.softmax(t(np.where(mask, x, -np.inf)), -1).numpy()
    assert_close(reference("masked_softmax", x, mask), expected)
    logs = reference("masked_log_softmax", x, mask)
    assert_close(np.exp(logs), expected)
    assert np.isneginf(logs[np.broadcast_to(~mask, logs.shape)]).all()


def test_a_row_with_everything_masked_is_zero() -> None:
    assert reference("masked_softmax", normal(1, 3), np.zeros((1, 3), bool)).tolist() == [[0, 0, 0]]


def test_softmax_refuses() -> None:
    with pytest.raises(OpError, match="temperature must be positive, got 0"):
        infer("softmax", tensor(2, 3), temperature=0)
    with pytest.raises(ShapeError, match=r"axis must lie in \[-2, 2\)"):
        infer("softmax", tensor(2, 3), axis=2)
    with pytest.raises(TypeMismatchError, match="data must be float16"):
        infer("softmax", tensor(2, 3, dtype="int32"))
    with pytest.raises(TypeMismatchError, match="length must be int32 or int64"):
        infer("softmax", tensor(2, 3), tensor(2), use_length=True)
    with pytest.raises(ShapeError, match=r"length must have shape \(2,\)"):
        infer("softmax", tensor(2, 3), tensor(3, dtype="int32"), use_length=True)
    with pytest.raises(ShapeError, match=r"mask \(4,\) does not broadcast to data \(2, 3\)"):
        infer("masked_softmax", tensor(2, 3), tensor(4, dtype="bool"))
    with pytest.raises(TypeMismatchError, match="mask must be bool"):
        infer("masked_softmax", tensor(2, 3), tensor(3))
    with pytest.raises(TypeMismatchError, match="dtype must be float16"):
        infer("softmax", tensor(2, 3), dtype="int32")
    assert infer("softmax", tensor(2, 3), dtype="float64").dtype == "float64"
