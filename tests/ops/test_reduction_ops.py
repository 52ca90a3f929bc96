"""Reductions against torch, their dtypes, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import assert_close, infer, normal, reference, tensor

from minidnn.errors import OpError, ShapeError, TypeMismatchError

FUNCTIONS: dict[str, Any] = {
    "sum": lambda x, axes, keep: torch.sum(x, axes, keep),
    "mean": lambda x, axes, keep: torch.mean(x, axes, keep),
    "max": lambda x, axes, keep: torch.amax(x, axes, keep),
    "min": lambda x, axes, keep: torch.amin(x, axes, keep),
    "var": lambda x, axes, keep: torch.var(x, axes, correction=0, keepdim=keep),
    "std": lambda x, axes, keep: torch.std(x, axes, correction=0, keepdim=keep),
    "prod": lambda x, axes, keep: _prod(x, axes, keep),
    "any": lambda x, axes, keep: torch.any(x, axes, keep),
    "all": lambda x, axes, keep: torch.all(x, axes, keep),
}


def _prod(x: torch.Tensor, axes: tuple[int, ...], keep: bool) -> torch.Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_reductions_agree_with_torch(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    chosen = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    axes = tuple(data.draw(st.sampled_from([a, a - len(shape)])) for a in chosen)
    keepdims = data.draw(st.booleans())
    x = normal(*shape)
    if name in {"any", "all"}:
        x = np.maximum(x, 0)
    expected = FUNCTIONS[name](torch.from_numpy(x), axes, keepdims).numpy()
    assert_close(reference(name, x, axis=axes, keepdims=keepdims), expected)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_without_an_axis_everything_is_reduced(name: str) -> None:
    x = normal(2, 3, 4)
    expected = FUNCTIONS[name](torch.from_numpy(x), (0, 1, 2), False).numpy()
    assert_close(reference(name, x), expected)
    assert reference(name, x, keepdims=True).shape == (1, 1, 1)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_positions_agree_with_torch(name: str, axis: int | None, keepdims: bool) -> None:
    x = normal(3, 4, 5)
    result = reference(name, x, axis=axis, keepdims=keepdims)
    assert result.dtype == np.int64
    expected = getattr(torch, name)(torch.from_numpy(x), axis, keepdims and axis is not None).numpy()
    assert np.array_equal(result.reshape(expected.shape), expected)
    assert result.ndim == (3 if keepdims else 0 if axis is None else 2)


def test_the_first_of_equal_extremes_is_taken() -> None:
    x = np.array([1, 3, 3, 1], np.float32)
    assert reference("argmax", x) == 1
    assert reference("argmin", x) == 0


def test_ddof_and_too_few_elements() -> None:
    x = normal(3, 4)
    assert_close(reference("var", x, axis=0, ddof=1), torch.var(torch.from_numpy(x), 0, correction=1).numpy())
    assert np.isnan(reference("std", x, axis=1, ddof=4)).all()


@pytest.mark.parametrize(
    ("name", "dtype", "wanted"),
    [
        ("sum", "int8", "int64"),
        ("sum", "uint8", "uint64"),
        ("sum", "bool", "int64"),
        ("sum", "float16", "float16"),
        ("mean", "int32", "float32"),
        ("std", "uint8", "float32"),
        ("max", "uint8", "uint8"),
        ("any", "float32", "bool"),
    ],
)
def test_dtypes_of_results(name: str, dtype: str, wanted: str) -> None:
    assert infer(name, tensor(2, 3, dtype=dtype)).dtype == wanted


def test_a_dtype_can_be_asked_for() -> None:
    assert reference("sum", np.full(4, 200, np.uint8), dtype="int32").item() == 800
    assert infer("mean", tensor(2), dtype="float64").dtype == "float64"
    with pytest.raises(TypeMismatchError, match="dtype must be bool, integer or float"):
        infer("sum", tensor(2), dtype="complex64")


def test_long_sums_are_not_rounded_on_the_way() -> None:
    x = np.full(2**20, 0.1, np.float32)
    assert reference("sum", x) == np.float32(np.float64(np.float32(0.1)) * 2**20)


def test_sums_over_nothing_are_zero_and_extremes_are_refused() -> None:
    assert reference("sum", np.ones((0, 3), np.float32), axis=0).tolist() == [0, 0, 0]
    assert reference("prod", np.ones((0, 3), np.float32)).tolist() == 1
    for name in ("mean", "var", "std"):
        assert np.isnan(reference(name, np.ones((0, 3), np.float32), axis=0)).tolist() == [True] * 3
        assert reference(name, np.ones((0, 3), np.float32), axis=1).shape == (0,)
    for name in ("max", "min", "argmax", "argmin"):
        with pytest.raises(ShapeError, match=f"zero-size reduction: {name} has no identity"):
            infer(name, tensor(0, 3), axis=0)
        assert infer(name, tensor(0, 3), axis=1).shape == (0,)


def test_axes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"sum: axis must lie in \[-2, 2\) for 2 dimensions, got 2"):
        infer("sum", tensor(2, 3), axis=2)
    with pytest.raises(OpError, match=r"duplicate axis in \(0, -2\)"):
        infer("sum", tensor(2, 3), axis=(0, -2))
    with pytest.raises(OpError, match="axis must be all integers"):
        infer("max", tensor(2, 3), axis=(None, 1))
    with pytest.raises(ShapeError, match="axis must lie in"):
        infer("argmax", tensor(2, 3), axis=-3)
