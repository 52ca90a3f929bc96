"""Operators that put several arrays together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidnn.errors import ShapeError
from minidnn.ops.checks import normalize_axis, want_dtype, want_min_rank
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL

__all__: list[str] = []


def _numbered(attrs: Attrs) -> tuple[str, ...]:
    """Names of the inputs of an operator that takes ``num_args`` of them."""
    return tuple(f"arg{i}" for i in range(attrs.num_args))


def _infer_concatenate(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, first = "concatenate", types[0]
    want_min_rank(op, "arg0", first, 1)
    axis = normalize_axis(op, attrs.axis, first.ndim)
    for i, t in enumerate(types[1:], 1):
        want_dtype(op, f"arg{i}", t, first.dtype, "arg0")
        if t.ndim != first.ndim or any(
            a != b for j, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if j != axis
        ):
            raise ShapeError(f"{op}: inputs may differ along axis {axis} only, got shapes {first.shape} and {t.shape}")
    size = sum(t.shape[axis] for t in types)
    return [TensorType((*first.shape[:axis], size, *first.shape[axis + 1 :]), first.dtype)]


_NUM_ARGS = Attr("num_args", "int", low=1)

register(
    Op(
        "concatenate",
        _infer_concatenate,
        lambda attrs, *arrays: np.concatenate(arrays, attrs.axis),
        _numbered,
        attrs=(_NUM_ARGS, Attr("axis", "int", 0)),
        kind="shape",
        mxnet=("_npi_concatenate", "Concat", "concat"),
        shares_scale=True,
        int8_in_full_mode=True,
        nonnegative=IF_ALL,
    )
)


def _infer_stack(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, first = "stack", types[0]
    for i, t in enumerate(types[1:], 1):
        want_dtype(op, f"arg{i}", t, first.dtype, "arg0")
        if t.shape != first.shape:
            raise ShapeError(f"{op}: all inputs must have one shape, got {first.shape} and {t.shape}")
    shape = list(first.shape)
    shape.insert(normalize_axis(op, attrs.axis, first.ndim + 1), len(types))
    return [TensorType(tuple(shape), first.dtype)]


register(
    Op(
        "stack",
        _infer_stack,
        lambda attrs, *arrays: np.stack(arrays, attrs.axis),
        _numbered,
        attrs=(_NUM_ARGS, Attr("axis", "int", 0)),
        kind="shape",
        mxnet=("_npi_stack", "stack"),
        shares_scale=True,
        int8_in_full_mode=True,
        nonnegative=IF_ALL,
    )
)
