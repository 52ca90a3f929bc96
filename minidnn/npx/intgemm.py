"""MXNet's int8 dense layers with scales outside, by name: `intgemm_prepare_data`, ..., `intgemm_fully_connected`.

Prepared weights have the layout they came in, the same on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.dispatch import invoke_one
from minidnn.errors import OpError
from minidnn.numpy import elementwise, reductions
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "intgemm_fully_connected",
    "intgemm_maxabsolute",
    "intgemm_prepare_data",
    "intgemm_prepare_weight",
    "intgemm_take_weight",
]


def intgemm_maxabsolute(data: Any) -> ndarray:
    """The largest absolute value, as an array of one number."""
    return reductions.max(elementwise.abs(as_array(data))).reshape((1,))


def intgemm_prepare_data(data: Any, maxabs: Any) -> ndarray:
    """float32 numbers as int8: `maxabs` becomes 127, halves go to even, nothing becomes -128."""
    scaled = as_array(data) * (127.0 / as_array(maxabs).reshape((1,)))
    return invoke_one("clip", invoke_one("rint", scaled), a_min=-127.0, a_max=127.0).astype(np.int8)


def intgemm_prepare_weight(weight: Any, maxabs: Any = None, already_quantized: bool = False) -> ndarray:
    """Weights ``(num_hidden, C)`` as int8; int8 as they are with `already_quantized`.

    Raises:
        OpError: `maxabs` is missing.
    """
    if already_quantized:
        return as_array(weight).astype(np.int8)
    if maxabs is None:
        raise OpError("intgemm_prepare_weight: maxabs is missing")
    return intgemm_prepare_data(weight, maxabs)


def intgemm_take_weight(weight: Any, indices: Any) -> ndarray:
    """The prepared weights of some outputs: rows at the positions `indices`."""
    return invoke_one("take", as_array(weight), as_array(indices), axis=0)


def intgemm_fully_connected(
    data: Any,
    weight: Any,
    scaling: Any = None,
    bias: Any = None,
    num_hidden: int | None = None,
    no_bias: bool = False,
    flatten: bool = True,
    out_type: str = "float32",
) -> ndarray:
    """``data · weightᵀ · scaling + bias``, the products exact in int32.

    Args:
        data: int8 from `intgemm_prepare_data`, or float32, which is prepared by its largest absolute value here (then
            `scaling` is that of the weights alone).
        weight: int8 ``(num_hidden, C)`` from `intgemm_prepare_weight`.
        scaling: one number; with `out_type` ``float32`` only.
        bias: ``(num_hidden,)``; none with `no_bias`.
        num_hidden: the number of outputs, by default that of `weight`.
        flatten: whether all but the first dimension of `data` are one.
        out_type: ``float32``, or ``int32`` for the sums.

    Raises:
        OpError: shapes, dtypes or arguments do not fit.
    """
    if out_type not in ("float32", "int32"):
        raise OpError(f"intgemm_fully_connected: out_type must be 'float32' or 'int32', got {out_type!r}")
    if out_type == "float32" and scaling is None:
        raise OpError("intgemm_fully_connected: scaling is missing, which out_type 'float32' wants")
    if not no_bias and bias is None:
        raise OpError("intgemm_fully_connected: bias is missing; pass it, or no_bias=True")
    x, w = as_array(data), as_array(weight)
    scale = None if scaling is None else as_array(scaling).reshape((1,))
    if x.dtype.kind == "f":
        largest = intgemm_maxabsolute(x)
        x = intgemm_prepare_data(x, largest)
        scale = None if scale is None else scale * (largest / 127.0)
    attrs = {"num_hidden": num_hidden or w.shape[0], "flatten": flatten, "no_bias": True}
    sums = invoke_one("quantized_fully_connected", x, w, **attrs)
    result = sums if scale is None or out_type == "int32" else sums.astype(np.float32) * scale
    return result if no_bias else result + as_array(bias).astype(result.dtype, copy=False)
