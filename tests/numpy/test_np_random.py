"""`mx.np.random`: shapes, dtypes, ranges, and one seed for all."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from minidnn import numpy as np
from minidnn.numpy import random

DRAWS: dict[str, tuple[Any, ...]] = {
    "uniform": (),
    "normal": (),
    "lognormal": (),
    "laplace": (),
    "logistic": (),
    "gumbel": (),
    "exponential": (),
    "rayleigh": (),
    "gamma": (2.0,),
    "beta": (2.0, 3.0),
    "chisquare": (3.0,),
    "f": (3.0, 4.0),
    "weibull": (2.0,),
    "pareto": (2.0,),
    "power": (2.0,),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_the_same_seed_gives_the_same_float32_numbers(name: str) -> None:
    draw = getattr(np.random, name)
    np.random.seed(7)
    first = draw(*DRAWS[name], size=(3, 4))
    second = draw(*DRAWS[name], size=(3, 4))
    np.random.seed(7)
    assert onp.array_equal(draw(*DRAWS[name], size=(3, 4)), first)
    assert not onp.array_equal(first, second)
    assert first.dtype == "float32"
    assert first.shape == (3, 4)
    assert draw(*DRAWS[name]).shape == ()


def test_moments() -> None:
    np.random.seed(1)
    x = np.random.uniform(2, 4, size=10_000)
    assert 2 <= x.min() < 2.01 < 3.99 < x.max() <= 4
    y = np.random.normal(3, 2, size=10_000)
    assert abs(y.mean().item() - 3) < 0.1
    assert abs(y.std().item() - 2) < 0.1
    assert np.random.randn(2, 3).shape == np.random.rand(2, 3).shape == (2, 3)


def test_parameters_can_be_arrays() -> None:
    x = np.random.normal(np.array([0, 100]), np.array([1, 1]), size=(50, 2))
    assert x[:, 1].mean() > 50 > x[:, 0].mean()


def test_integers() -> None:
    x = np.random.randint(3, 6, size=(200,))
    assert x.dtype == "int64"
    assert set(x.tolist()) == {3, 4, 5}
    assert set(np.random.randint(2, size=100, dtype="int8").tolist()) == {0, 1}


def test_dtype_and_out() -> None:
    assert np.random.uniform(size=2, dtype="float64").dtype == "float64"
    out = np.zeros((2, 3))
    assert np.random.normal(out=out) is out
    assert out.any()


def test_choice_shuffle_and_permutation() -> None:
    assert set(np.random.choice(3, 100).tolist()) == {0, 1, 2}
    assert np.random.choice(5, 5, replace=False).sum() == 10
    weights = np.array([0, 0.3, 0.7])
    assert 0 not in np.random.choice(np.array([0, 1, 2], dtype="int32"), (50,), p=weights).tolist()
    x = np.arange(10)
    np.random.shuffle(x)
    assert sorted(x.tolist()) == list(range(10))
    assert sorted(np.random.permutation(10).tolist()) == list(range(10))
    assert np.random.permutation(x.reshape(5, 2)).shape == (5, 2)


def test_many_outcomes() -> None:
    counts = np.random.multinomial(20, [0.2, 0.8], size=3)
    assert counts.shape == (3, 2)
    assert counts.sum(axis=1).tolist() == [20] * 3
    assert np.random.multivariate_normal([0, 0], [[1, 0], [0, 1]], size=4).shape == (4, 2)


def test_every_name_is_there() -> None:
    assert set(DRAWS) < set(random.__all__)
    assert all(hasattr(random, name) for name in random.__all__)
