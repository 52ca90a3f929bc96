"""Initializers: the distributions they promise, the rules by name, the registry."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import minidnn.random
from minidnn import initializer as init
from minidnn.initializer import InitDesc


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    minidnn.random.seed(7)
    yield
    init._registry.pop("made", None)
    init._registry.pop("by_another_name", None)


def fill(initializer: Any, shape: tuple[int, ...], name: str = "weight", dtype: str = "float32") -> Any:
    array = np.full(shape, np.nan, dtype)
    init.create(initializer)(InitDesc(name), array)
    assert np.isfinite(array).all()
    return array


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_uniform_fills_its_range(dtype: str) -> None:
    values = fill(init.Uniform(0.5), (100, 100), dtype=dtype)
    assert -0.5 <= values.min() < -0.49
    assert 0.49 < values.max() <= 0.5
    assert abs(values.mean(dtype=np.float64)) < 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_normal_has_its_standard_deviation(dtype: str) -> None:
    values = fill(init.Normal(0.5), (200, 100), dtype=dtype).astype(np.float64)
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(("factor_type", "fan"), [("in", 32 * 9), ("out", 64 * 9), ("avg", 48 * 9)])
def test_xavier_takes_its_scale_from_the_fans(factor_type: Any, fan: int) -> None:
    scale = np.sqrt(3 / fan)
    uniform = fill(init.Xavier(factor_type=factor_type), (64, 32, 3, 3))
    assert np.abs(uniform).max() == pytest.approx(scale, rel=0.01)
    gaussian = fill(init.Xavier("gaussian", factor_type, 2), (64, 32, 3, 3))
    assert gaussian.std() == pytest.approx(np.sqrt(2 / fan), rel=0.03)


def test_msra_prelu_is_kaiming_with_a_slope() -> None:
    ours = fill(init.MSRAPrelu("in", slope=0.1), (64, 32, 3, 3))
    theirs = torch.nn.init.kaiming_normal_(torch.empty(64, 32, 3, 3), a=0.1)
    assert ours.std() == pytest.approx(float(theirs.std()), rel=0.04)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (4, 3, 3)])
@pytest.mark.parametrize("rand_type", ["uniform", "normal"])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...], rand_type: Any) -> None:
    matrix = fill(init.Orthogonal(2.0, rand_type), shape).reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_bilinear_upsampling_reproduces_a_ramp() -> None:
    kernel = torch.from_numpy(fill(init.Bilinear(), (1, 1, 4, 4)))
    ramp = torch.arange(6.0).repeat(6, 1)[None, None]
    up = torch.nn.functional.conv_transpose2d(ramp, kernel, stride=2, padding=1)
    expected = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


def test_the_same_seed_gives_the_same_numbers() -> None:
    minidnn.random.seed(3)
    first = fill(init.Uniform(), (5,))
    second = fill(init.Uniform(), (5,))
    minidnn.random.seed(3)
    np.testing.assert_array_equal(fill(init.Uniform(), (5,)), first)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "value"), [("fc.bias", 0), ("bn.gamma", 1), ("bn.beta", 0), ("q_min", 0), ("q_max", 1), ("weight", 7)]
)
def test_what_a_name_ends_in_decides(name: str, value: float) -> None:
    np.testing.assert_array_equal(fill(init.Constant(7), (3,), name), value)


def test_an_unknown_ending_needs_an_initializer_of_its_own() -> None:
    with pytest.raises(ValueError, match="Unknown initialization pattern for alpha"):
        fill(init.Uniform(), (3,), "alpha")
    array = np.zeros(3)
    init.Uniform()(InitDesc("alpha", {"__init__": "ones"}), array)
    np.testing.assert_array_equal(array, 1)


def test_a_parameters_own_initializer_wins() -> None:
    array = np.zeros((2, 2))
    init.Uniform()(InitDesc("weight", {"__init__": init.Constant([[1, 2], [3, 4]])}), array)
    np.testing.assert_array_equal(array, [[1, 2], [3, 4]])


@pytest.mark.parametrize("name", ["zeros", "zero", "ones", "one", "uniform", "normal", "xavier", "msraprelu", "Xavier"])
def test_names_of_initializers(name: str) -> None:
    fill(name, (4, 4))


def test_dumps_can_be_read_back() -> None:
    made = init.Xavier(factor_type="in", magnitude=2.34)
    assert made.dumps() == '["xavier", {"rnd_type": "uniform", "factor_type": "in", "magnitude": 2.34}]'
    assert init.create(made.dumps()) == made
    assert init.create(made.dumps()) != init.Xavier()
    assert init.MSRAPrelu().dumps() == '["msraprelu", {"factor_type": "avg", "slope": 0.25}]'
    assert init.create(init.Constant(np.ones(2)).dumps()) == init.Constant([1.0, 1.0])


def test_a_users_initializer_can_be_registered_and_called_by_name() -> None:
    @init.register
    @init.alias("by_another_name")
    class Made(init.Initializer):
        def _init_weight(self, desc: str, arr: Any) -> None:
            arr[:] = len(desc)

        def _init_bias(self, desc: str, arr: Any) -> None:
            arr[:] = -1

    np.testing.assert_array_equal(fill("made", (2,), "weight"), 6)
    np.testing.assert_array_equal(fill("by_another_name", (2,), "bias"), -1)
    with pytest.warns(UserWarning, match="'made' replaces"):
        init.register(type("Made", (init.Initializer,), {}))
    with pytest.raises(TypeError, match="subclasses of Initializer"):
        init.register(dict)  # type: ignore[type-var]


def test_mixed_goes_by_the_first_pattern_that_matches() -> None:
    mixed = init.Mixed(["(.*_)?bias", ".*"], [init.Zero(), init.Constant(2)])
    np.testing.assert_array_equal(fill(mixed, (2,), "a_bias"), 0)
    np.testing.assert_array_equal(fill(mixed, (2,), "weight"), 2)
    with pytest.raises(ValueError, match="weight did not match any pattern"):
        fill(init.Mixed(["bias"], ["zeros"]), (2,))
    with pytest.raises(ValueError, match="one initializer for each pattern"):
        init.Mixed(["bias"], [])


def test_verbosity_logs_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "minidnn.initializer"):
        fill(init.Constant(2.0).set_verbosity(True), (2,))
    assert caplog.messages == ["Initialized weight as Constant: 2.0"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.create("nothing"), "no initializer 'nothing' is registered; there are"),
        (lambda: init.create('["xavier"'), "not an initializer's JSON"),
        (lambda: init.create('["xavier", 3]'), "not an initializer's JSON"),
        (lambda: init.create(3), "expected an initializer or the name of one, got int"),  # type: ignore[arg-type]
        (lambda: init.Xavier("normal"), "rnd_type must be 'uniform' or 'gaussian', got 'normal'"),  # type: ignore[arg-type]
        (lambda: init.Xavier(factor_type="both"), "factor_type must be"),  # type: ignore[arg-type]
        (lambda: init.Orthogonal(rand_type="gamma"), "rand_type must be"),  # type: ignore[arg-type]
        (lambda: fill(init.Xavier(), (3,), "weight"), "cannot be applied to vector weight"),
        (lambda: fill(init.Bilinear(), (3, 3)), "requires a 4-d array for weight"),
        (lambda: fill(init.Initializer(), (3,)), "must override _init_weight"),
    ],
)
def test_what_does_not_fit_is_said(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        make()
