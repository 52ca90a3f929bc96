"""Operators along an axis where each element depends on those before it: cumsum, cumprod."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import TypeMismatchError
from minidnn.ops.checks import DTYPES, normalize_axis
from minidnn.ops.elementwise import want_supported
from minidnn.ops.reduction import wide_dtype
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register
from minidnn.ops.traits import IF_ALL

__all__: list[str] = []


def _register_cumulative(name: str, function: Callable[..., Any]) -> None:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        data = types[0]
        want_supported(name, types)
        if attrs.dtype is not None and attrs.dtype not in DTYPES:
            raise TypeMismatchError(f"{name}: dtype must be bool, integer or float, got {attrs.dtype}")
        if attrs.axis is not None:
            normalize_axis(name, attrs.axis, data.ndim)
        return [TensorType((data.size,) if attrs.axis is None else data.shape, attrs.dtype or wide_dtype(data.dtype))]

    def reference(attrs: Attrs, x: np.ndarray[Any, Any]) -> Any:
        with np.errstate(all="ignore"):
            return function(x, attrs.axis, attrs.dtype)

    register(
        Op(
            name,
            infer,
            reference,
            ("data",),
            attrs=(Attr("axis", "int", None), Attr("dtype", "dtype", None)),
            mxnet=(f"_np_{name}", f"_npi_{name}"),
            nonnegative=IF_ALL,
        )
    )


_register_cumulative("cumsum", np.cumsum)
_register_cumulative("cumprod", np.cumprod)
