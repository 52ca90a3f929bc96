"""Operators that make arrays of nothing but attributes. They stand in a graph where an attribute depends on sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__: list[str] = []

_DTYPE = Attr("dtype", "dtype", np.dtype(np.float32))


def _check_full(attrs: Attrs) -> None:
    if None in attrs.shape:
        raise OpError(f"full: shape must have no None, got {attrs.shape}")


register(
    Op(
        "full",
        lambda attrs, types: [TensorType(attrs.shape, attrs.dtype)],
        lambda attrs: np.full(attrs.shape, attrs.value, attrs.dtype),
        (),
        attrs=(Attr("shape", "ints", low=0), Attr("value", "float"), _DTYPE),
        mxnet=("_npi_full",),
        check=_check_full,
        nonnegative=lambda attrs, inputs: attrs.value >= 0,
    )
)


def _check_arange(attrs: Attrs) -> None:
    if attrs.step == 0:
        raise OpError("arange: step must not be zero")


def _whole(number: Any) -> Any:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _infer_arange(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    start, stop, step = map(_whole, (attrs.start, attrs.stop, attrs.step))
    distance = stop - start
    count = math.ceil(distance / step) if isinstance(step, float) else -(-distance // step)
    return [TensorType((max(count, 0),), attrs.dtype)]


def _arange(attrs: Attrs) -> np.ndarray[Any, Any]:
    return np.arange(attrs.start, attrs.stop, attrs.step).astype(attrs.dtype)


register(
    Op(
        "arange",
        _infer_arange,
        _arange,
        (),
        attrs=(Attr("start", "float"), Attr("stop", "float"), Attr("step", "float", 1.0), _DTYPE),
        mxnet=("_npi_arange",),
        check=_check_arange,
    )
)

register(
    Op(
        "eye",
        lambda attrs, types: [TensorType((attrs.N, attrs.N if attrs.M is None else attrs.M), attrs.dtype)],
        lambda attrs: np.eye(attrs.N, attrs.M, attrs.k, attrs.dtype),
        (),
        attrs=(Attr("N", "int", low=0), Attr("M", "int", None, low=0), Attr("k", "int", 0), _DTYPE),
        mxnet=("_npi_eye",),
        nonnegative=lambda attrs, inputs: True,
    )
)
