"""Dtypes of what NumPy computes, in a world where float32 is the default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.ops.checks import FLOAT32
from minidnn.ops.registry import TensorType

__all__ = ["defaulted", "probed_dtype"]

_FLOAT64 = np.dtype(np.float64)


def defaulted(dtype: np.dtype[Any], types: Sequence[TensorType]) -> np.dtype[Any]:
    """`dtype`; float32 where NumPy gives float64 though no input has it."""
    return FLOAT32 if dtype == _FLOAT64 and all(t.dtype != _FLOAT64 for t in types) else dtype


def probed_dtype(function: Callable[..., Any], types: Sequence[TensorType]) -> np.dtype[Any]:
    """The dtype of what `function` gives for vectors of these dtypes, with float32 as the default."""
    with np.errstate(all="ignore"):
        result = function(*(np.ones(2, t.dtype) for t in types))
    return defaulted(np.asarray(result).dtype, types)
