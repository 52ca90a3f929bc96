"""Running an operator's NumPy reference, and shapes for hypothesis to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from minidnn.ops import TensorType, get_op

Array = np.ndarray[Any, Any]


def reference(name: str, *arrays: Array, **attrs: Any) -> Any:
    """The reference's results; their shapes must be the inferred ones before anything is reshaped."""
    op = get_op(name)
    made = op.make_attrs(attrs)
    types = op.infer_types(made, [TensorType.of(a) for a in arrays])
    raw = op.reference(made, *arrays)
    raws = raw if isinstance(raw, tuple) else (raw,)
    assert len(raws) == len(types) == op.num_outputs(made)
    for result, type_ in zip(raws, types, strict=True):
        assert np.shape(result) == type_.shape, f"{name} gives {np.shape(result)}, infers {type_}"
    results = op.compute(made, *arrays)
    for result, type_ in zip(results, types, strict=True):
        assert TensorType.of(result) == type_
    return results[0] if len(results) == 1 else results


def infer(name: str, *types: TensorType, **attrs: Any) -> Any:
    op = get_op(name)
    results = op.infer_types(op.make_attrs(attrs), types)
    return results[0] if len(results) == 1 else results


def tensor(*shape: int, dtype: str = "float32") -> TensorType:
    return TensorType(shape, np.dtype(dtype))


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal within `tolerance` of the largest magnitude."""
    expected = np.asarray(expected)
    assert np.shape(actual) == expected.shape
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)))
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected.astype(np.float64), rtol=0, atol=tolerance * scale
    )


shapes = st.lists(st.integers(1, 5), min_size=0, max_size=4).map(tuple)
