"""MXNet's operators on 8-bit integers by name: integers with the range of real numbers they stand for.

A tensor is a triple (integers, min, max). int8 is symmetric: 127 stands for the larger of ``|min|`` and ``|max|``; of
uint8 255 stands for `max`; of int32, 2³¹ - 1. Products are those of `quantize_net`, exact in int32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.dispatch import binary, invoke_one
from minidnn.errors import OpError, TypeMismatchError
from minidnn.npx.layers import pool
from minidnn.numpy import elementwise, reductions
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = [
    "contrib_quantize",
    "contrib_quantize_v2",
    "quantized_act",
    "quantized_conv",
    "quantized_elemwise_add",
    "quantized_elemwise_mul",
    "quantized_embedding",
    "quantized_flatten",
    "quantized_fully_connected",
    "quantized_npi_add",
    "quantized_pooling",
    "quantized_reshape",
    "quantized_transpose",
    "requantize",
]

Triple = list[ndarray]
_LIMITS = {np.dtype(np.int8): 127.0, np.dtype(np.uint8): 255.0, np.dtype(np.int32): 2.0**31 - 1}


def _as_range(x: Any) -> ndarray:
    """A minimum or maximum as an array of one number."""
    value = as_array(x)
    return value.astype(np.float32, copy=False).reshape((1,))


def _largest(low: Any, high: Any) -> ndarray:
    largest: ndarray = elementwise.maximum(elementwise.abs(_as_range(low)), elementwise.abs(_as_range(high)))
    return largest


def _level(op: str, q: ndarray, low: Any, high: Any) -> ndarray:
    """The real number that one step of the integers stands for.

    Raises:
        TypeMismatchError: `q` is not int8, uint8 or int32.
    """
    if q.dtype not in _LIMITS:
        raise TypeMismatchError(f"{op}: int8, uint8 or int32 is wanted, got {q.dtype} of shape {q.shape}")
    return _largest(low, high) / _LIMITS[q.dtype]


def _rounded(x: ndarray, dtype: str) -> ndarray:
    """Nearest integers, halves away from zero, saturated."""
    limit = _LIMITS[np.dtype(dtype)]
    low = 0.0 if dtype == "uint8" else -limit
    return invoke_one("clip", invoke_one("round", x), a_min=low, a_max=limit).astype(dtype)


def _symmetric(x: ndarray, largest: ndarray, dtype: str = "int8") -> Triple:
    """Real numbers as integers, of which the largest stands for `largest`."""
    q = _rounded(x * (_LIMITS[np.dtype(dtype)] / largest), dtype)
    return [q, -largest, largest]


def contrib_quantize(data: Any, min_range: Any, max_range: Any, out_type: str = "uint8") -> Triple:
    """float32 numbers as 8-bit integers.

    Args:
        data: the numbers.
        min_range, max_range: one number each.
        out_type: ``int8``, symmetric around zero, or ``uint8``, in which 0 stands for `min_range` and 255 for
            `max_range`.

    Returns:
        The integers, and the range that they cover.

    Raises:
        OpError: another `out_type`.
    """
    x, low, high = as_array(data), _as_range(min_range), _as_range(max_range)
    if out_type == "int8":
        return _symmetric(x, _largest(low, high))
    if out_type != "uint8":
        raise OpError(f"contrib_quantize: out_type must be 'int8' or 'uint8', got {out_type!r}")
    return [_rounded((x - low) * (255.0 / (high - low)), "uint8"), low, high]


def contrib_quantize_v2(
    data: Any,
    out_type: str = "int8",
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
) -> Triple:
    """float32 numbers as 8-bit integers, by the calibrated range or by the smallest and largest number.

    Args:
        data: the numbers; integers are returned as they are.
        out_type: as in `contrib_quantize`; ``auto`` is uint8 where the calibrated minimum is not negative.
        min_calib_range, max_calib_range: both or neither.
    """
    x = as_array(data)
    calibrated = min_calib_range is not None and max_calib_range is not None
    if x.dtype in (np.int8, np.uint8):
        limit = _LIMITS[x.dtype]
        low, high = (min_calib_range, max_calib_range) if calibrated else (0.0 if limit == 255 else -limit, limit)
        return [x, _as_range(low), _as_range(high)]
    if out_type == "auto":
        out_type = "uint8" if min_calib_range is not None and min_calib_range >= 0 else "int8"
    if calibrated:
        return contrib_quantize(x, min_calib_range, max_calib_range, out_type)
    return contrib_quantize(x, reductions.min(x), reductions.max(x), out_type)


def requantize(
    data: Any,
    min_range: Any,
    max_range: Any,
    out_type: str = "int8",
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
) -> Triple:
    """int32 numbers as int8, by the calibrated range or by the smallest and largest number.

    Raises:
        OpError: an `out_type` that is not ``int8``, or ``auto``.
    """
    if out_type not in ("int8", "auto"):
        raise OpError(f"requantize: out_type must be 'int8' or 'auto', got {out_type!r}")
    q = as_array(data)
    real = q.astype(np.float32) * _level("requantize", q, min_range, max_range)
    if min_calib_range is not None and max_calib_range is not None:
        return _symmetric(real, _largest(min_calib_range, max_calib_range))
    return _symmetric(real, _largest(reductions.min(real), reductions.max(real)))


def quantized_act(data: Any, min_data: Any, max_data: Any, act_type: str = "relu") -> Triple:
    """``relu`` of integers.

    Raises:
        OpError: another activation.
    """
    if act_type != "relu":
        raise OpError(f"quantized_act: act_type must be 'relu', got {act_type!r}")
    return [invoke_one("relu", as_array(data)), _as_range(min_data), _as_range(max_data)]


def quantized_flatten(data: Any, min_data: Any, max_data: Any) -> Triple:
    """All but the first dimension as one."""
    return [invoke_one("flatten", as_array(data)), _as_range(min_data), _as_range(max_data)]


def quantized_reshape(
    data: Any, min_data: Any, max_data: Any, newshape: Any = (), reverse: bool = False, order: str = "C"
) -> Triple:
    """The integers in another shape; see `mx.npx.reshape`."""
    moved = invoke_one("npx_reshape", as_array(data), newshape=newshape, reverse=reverse, order=order)
    return [moved, _as_range(min_data), _as_range(max_data)]


def quantized_transpose(data: Any, min_data: Any, max_data: Any, axes: Sequence[int] | None = None) -> Triple:
    """Axes in another order; reversed by default."""
    return [invoke_one("transpose", as_array(data), axes=axes or None), _as_range(min_data), _as_range(max_data)]


def quantized_pooling(
    data: Any,
    min_data: Any,
    max_data: Any,
    kernel: Any = (),
    pool_type: str = "max",
    global_pool: bool = False,
    pooling_convention: str = "valid",
    stride: Any = (),
    pad: Any = (),
    count_include_pad: bool | None = None,
    layout: str | None = None,
    **kwargs: Any,
) -> Triple:
    """`mx.npx.pooling` of integers; averages are rounded, halves to even."""
    q = as_array(data)
    x = q if pool_type == "max" else q.astype(np.float32)
    attrs = {"kernel": kernel, "stride": stride, "pad": pad, "pool_type": pool_type, "global_pool": global_pool}
    shared = {"pooling_convention": pooling_convention, "count_include_pad": count_include_pad}
    pooled = pool(x, layout, **attrs, **shared)
    pooled = pooled if pool_type == "max" else invoke_one("rint", pooled).astype(q.dtype)
    return [pooled, _as_range(min_data), _as_range(max_data)]


def quantized_embedding(
    data: Any, weight: Any, min_weight: Any, max_weight: Any, input_dim: int = 0, output_dim: int = 0, **kwargs: Any
) -> Triple:
    """Rows of an int8 table ``(input_dim, output_dim)`` at the positions `data`."""
    table = as_array(weight)
    sizes = {"input_dim": input_dim or table.shape[0], "output_dim": output_dim or table.shape[1]}
    return [invoke_one("embedding", as_array(data), table, **sizes), _as_range(min_weight), _as_range(max_weight)]


def _product(
    op: str, name: str, tensors: Sequence[Any], ranges: Sequence[Any], bias_range: Any, **attrs: Any
) -> Triple:
    """A product of integers as int32, and the range that int32 covers; an int8 bias is brought to its scale."""
    data, weight, *bias = [as_array(t) for t in tensors]
    level = _level(op, data, *ranges[:2]) * _level(op, weight, *ranges[2:])
    if bias and bias[0].dtype != np.int32:
        real = bias[0].astype(np.float32) * _level(op, bias[0], *bias_range)
        bias = [_rounded((real / level).astype(np.float64), "int32")]
    result = invoke_one(name, data, weight, *bias, no_bias=not bias, **attrs)
    largest = level * _LIMITS[np.dtype(np.int32)]
    return [result, -largest, largest]


def quantized_conv(
    data: Any = None,
    weight: Any = None,
    bias: Any = None,
    min_data: Any = None,
    max_data: Any = None,
    min_weight: Any = None,
    max_weight: Any = None,
    min_bias: Any = None,
    max_bias: Any = None,
    kernel: Any = (),
    stride: Any = (),
    dilate: Any = (),
    pad: Any = (),
    num_filter: int = 1,
    num_group: int = 1,
    no_bias: bool = False,
    layout: str | None = None,
    **kwargs: Any,
) -> Triple:
    """`mx.npx.convolution` of int8 or uint8 data and int8 weights.

    Args:
        data, weight, bias: the integers; the bias int8, or int32 at the scale of the sums; none with `no_bias`.
        min_data, max_data, min_weight, max_weight, min_bias, max_bias: their ranges.
        kernel, stride, dilate, pad, num_filter, num_group, layout: as in `mx.npx.convolution`.
        kwargs: what steers MXNet's backends; ignored.

    Returns:
        The sums (int32), and the range that int32 covers.

    Raises:
        OpError: shapes or dtypes do not fit.
    """
    tensors = [data, weight] if no_bias else [data, weight, bias]
    attrs = {"kernel": kernel, "stride": stride, "dilate": dilate, "pad": pad, "layout": layout}
    ranges = (min_data, max_data, min_weight, max_weight)
    groups = {"num_filter": num_filter, "num_group": num_group}
    return _product("quantized_conv", "quantized_convolution", tensors, ranges, (min_bias, max_bias), **attrs, **groups)


def quantized_fully_connected(
    data: Any = None,
    weight: Any = None,
    bias: Any = None,
    min_data: Any = None,
    max_data: Any = None,
    min_weight: Any = None,
    max_weight: Any = None,
    min_bias: Any = None,
    max_bias: Any = None,
    num_hidden: int = 1,
    no_bias: bool = False,
    flatten: bool = True,
    **kwargs: Any,
) -> Triple:
    """`mx.npx.fully_connected` of int8 or uint8 data and int8 weights; see `quantized_conv` for the rest."""
    tensors = [data, weight] if no_bias else [data, weight, bias]
    ranges = (min_data, max_data, min_weight, max_weight)
    attrs = {"num_hidden": num_hidden, "flatten": flatten}
    name = "quantized_fully_connected"
    return _product(name, name, tensors, ranges, (min_bias, max_bias), **attrs)


def quantized_elemwise_add(
    lhs: Any,
    rhs: Any,
    lhs_min: Any,
    lhs_max: Any,
    rhs_min: Any,
    rhs_max: Any,
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
    **kwargs: Any,
) -> Triple:
    """The sum of two tensors: int8 by the calibrated range, or int32, whose range is the sum of both."""
    a, b = as_array(lhs), as_array(rhs)
    scaled = (
        x.astype(np.float64) * _level("quantized_elemwise_add", x, *r).astype(np.float64)
        for x, r in ((a, (lhs_min, lhs_max)), (b, (rhs_min, rhs_max)))
    )
    real = binary("add", *scaled)
    if min_calib_range is not None and max_calib_range is not None:
        return _symmetric(real.astype(np.float32), _largest(min_calib_range, max_calib_range))
    largest = _largest(lhs_min, lhs_max) + _largest(rhs_min, rhs_max)
    return [_symmetric(real, largest.astype(np.float64), "int32")[0], -largest, largest]


quantized_npi_add = quantized_elemwise_add


def quantized_elemwise_mul(
    lhs: Any,
    rhs: Any,
    lhs_min: Any,
    lhs_max: Any,
    rhs_min: Any,
    rhs_max: Any,
    min_calib_range: float | None = None,
    max_calib_range: float | None = None,
    enable_float_output: bool = False,
) -> Any:
    """The product of two tensors: int8 by the calibrated range, else int32; or float32 with `enable_float_output`."""
    a, b = as_array(lhs), as_array(rhs)
    level = _level("quantized_elemwise_mul", a, lhs_min, lhs_max) * _level(
        "quantized_elemwise_mul", b, rhs_min, rhs_max
    )
    whole = binary("multiply", a.astype(np.int32), b.astype(np.int32))
    if enable_float_output:
        return whole.astype(np.float32) * level
    if min_calib_range is not None and max_calib_range is not None:
        return _symmetric(whole.astype(np.float32) * level, _largest(min_calib_range, max_calib_range))
    largest = level * _LIMITS[np.dtype(np.int32)]
    return [whole, -largest, largest]
