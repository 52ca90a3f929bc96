"""Operators on 8-bit integers: quantize, dequantize, requantize, and products that are exact in int32.

A quantized tensor is a pair: integers q, int8 or uint8, and a float32 scale; ``real = q * scale``. The scale is one
number of shape (1,), or where ranges are found at run time one for each index of some leading axes: for each sample, so
that none depends on its neighbours. Its shape is that of the data with 1 for all other axes. There is no zero point:
int8 is symmetric around zero, uint8 begins at zero; `quantize_linear` and `dequantize_linear`, for networks that were
quantized elsewhere, have one. Weights are int8 with a scale for every output channel, the ``channel_scale`` of
`dequantize`.

Every reference is exact, bit for bit what a kernel has to give: sums of products are taken modulo 2^32 as int32
arithmetic takes them, everything else is single float32 operations in the order written here. Weights are quantized so
that no sum wraps around; a batch_dot of more products than int32 holds the sum of is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minidnn.errors import OpError, ShapeError, TypeMismatchError
from minidnn.ops.checks import FLOAT32, normalize_axis, want_dtype, want_shape
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, get_op, list_ops, register
from minidnn.ops.traits import AnchorTraits, EpilogueStep, step

__all__ = [
    "QUANTIZED_RANGES",
    "calibrated_scale",
    "count_batch_axes",
    "integer_limits",
    "largest_depth",
    "quantize_array",
    "scale_of_range",
    "scales_of_ranges",
]

Array = np.ndarray[Any, Any]

_INT8, _INT32 = np.dtype(np.int8), np.dtype(np.int32)
_BYTES = frozenset({_INT8, np.dtype(np.uint8)})
_INTEGERS = _BYTES | {_INT32}


# The integers of each quantized type that are used: int8 is symmetric, so that -q is never out of range.
QUANTIZED_RANGES = {"int8": (-127, 127), "uint8": (0, 255)}

# The smallest normal number: its reciprocal is finite.
_SMALLEST_SCALE = np.finfo(np.float32).tiny


def scale_of_range(low: float, high: float, out_type: str) -> np.float32:
    """The scale that maps [low, high] into the integers of `out_type`: ``real = q * scale``.

    Int8 is symmetric around zero; uint8 begins at zero, so a negative `low` saturates. A range without
    extent (all zeros, or so small that 1/scale overflows), or one that is not finite, has scale 1.
    """
    threshold = max(abs(low), abs(high)) if out_type == "int8" else max(0.0, high)
    with np.errstate(over="ignore"):
        scale = np.float32(threshold) / np.float32(QUANTIZED_RANGES[out_type][1])
    return scale if math.isfinite(scale) and scale >= _SMALLEST_SCALE else np.float32(1.0)


def scales_of_ranges(lows: Array, highs: Array, out_type: str) -> Array:
    """The scales of many float32 ranges, as `scale_of_range` has them; NaN for a range that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        thresholds = np.maximum(np.abs(lows), np.abs(highs)) if out_type == "int8" else np.maximum(highs, np.float32(0))
        scales = thresholds / np.float32(QUANTIZED_RANGES[out_type][1])
        usable = np.where(scales >= _SMALLEST_SCALE, scales, np.float32(1))
        return np.asarray(np.where(np.isfinite(lows) & np.isfinite(highs), usable, np.float32(np.nan)))


def count_batch_axes(batch_axes: int, ndim: int) -> int:
    """How many leading axes the attribute ``batch_axes`` means; negative, all but so many at the end."""
    return min(batch_axes, ndim) if batch_axes >= 0 else max(ndim + batch_axes, 0)


def calibrated_scale(attrs: Attrs) -> np.float32 | None:
    """The scale of a quantizing node with a calibrated range; None if its range is found at run time."""
    if attrs.min_calib_range is None or attrs.max_calib_range is None:
        return None
    return scale_of_range(attrs.min_calib_range, attrs.max_calib_range, attrs.out_type)


def largest_depth(lhs: str, rhs: str) -> int:
    """How many products of two quantized types int32 can hold the sum of, whatever the numbers."""
    # The largest number of a type is the least one of int8 without its sign.
    largest = (max(-np.iinfo(dtype).min, np.iinfo(dtype).max) for dtype in (lhs, rhs))
    return int(np.iinfo(np.int32).max // math.prod(largest))


def quantize_array(data: Array, scale: np.float32 | Array, out_type: str) -> Array:
    """float32 numbers as multiples of `scale`: rounded half to even, saturated; 0 for NaN in either."""
    low, high = QUANTIZED_RANGES[out_type]
    with np.errstate(invalid="ignore", over="ignore"):
        q = np.rint(data * (np.float32(1) / scale))
        q[np.isnan(q)] = 0
    return np.clip(q, low, high, out=q).astype(out_type)


def _runtime_scale(attrs: Attrs, data: Array) -> Array:
    """Found from the data: of shape (1,), or with an axis for each of the data's."""
    count = count_batch_axes(attrs.batch_axes, data.ndim)
    # Every range has a zero in it, also one of no elements.
    if count == 0:
        low, high = float(data.min(initial=0)), float(data.max(initial=0))
        return np.full(1, scale_of_range(low, high, attrs.out_type), np.float32)
    rest = tuple(range(count, data.ndim))
    low, high = (f(data, axis=rest, keepdims=True, initial=0) for f in (np.min, np.max))
    return scales_of_ranges(low, high, attrs.out_type)


def _quantize(attrs: Attrs, data: Array) -> tuple[Array, Array]:
    known = calibrated_scale(attrs)
    scale = _runtime_scale(attrs, data) if known is None else np.full(1, known, np.float32)
    return quantize_array(data, scale.reshape(()) if scale.size == 1 else scale, attrs.out_type), scale


def _dequantize(attrs: Attrs, data: Array, scale: Array, channel_scale: Array | None = None) -> Array:
    factor = scale.reshape(()) if scale.size == 1 else scale
    with np.errstate(over="ignore", invalid="ignore"):
        if channel_scale is not None:
            trailing = data.ndim - attrs.axis % data.ndim - 1 if channel_scale.size > 1 else 0
            factor = factor * channel_scale.reshape(-1, *(1,) * trailing)
            factor = factor.reshape(()) if factor.size == 1 else factor
        return np.asarray(data.astype(np.float32) * factor)


def _requantize(attrs: Attrs, data: Array, scale: Array, channel_scale: Array | None = None) -> tuple[Array, Array]:
    return _quantize(attrs, _dequantize(attrs, data, scale, channel_scale))


def _want_scales(op: str, attrs: Attrs, types: Sequence[TensorType]) -> None:
    data, scale = types[:2]
    shapes = scale.shape, data.shape
    if data.dtype not in _INTEGERS:
        raise TypeMismatchError(f"{op}: data must be int8, uint8 or int32, got {data}")
    want_dtype(op, "scale", scale, FLOAT32, "every scale")
    if scale.ndim != data.ndim or scale.shape[-1] != 1 or any(n not in (1, m) for n, m in zip(*shapes, strict=True)):
        want_shape(op, "scale", scale, (1,), f"one number for the tensor, or some leading axes of data {data.shape}")
    if attrs.per_channel:
        channel_scale = types[2]
        want_dtype(op, "channel_scale", channel_scale, FLOAT32, "every scale")
        channels = data.shape[normalize_axis(op, attrs.axis, data.ndim)]
        if channel_scale.shape not in {(1,), (channels,)}:
            raise ShapeError(
                f"{op}: channel_scale must have shape ({channels},), one number for each element of axis {attrs.axis} "
                f"of data {data.shape}, or (1,), got {channel_scale.shape}"
            )


def _quantized_pair(attrs: Attrs, data: TensorType) -> list[TensorType]:
    count = count_batch_axes(attrs.batch_axes, data.ndim) if calibrated_scale(attrs) is None else 0
    scale = data.shape[:count] + (1,) * (data.ndim - count) if count else (1,)
    return [TensorType(data.shape, np.dtype(attrs.out_type)), TensorType(scale, FLOAT32)]


def _check_range(op: str) -> Any:
    def check(attrs: Attrs) -> None:
        low, high = attrs.min_calib_range, attrs.max_calib_range
        if (low is None) != (high is None):
            raise OpError(f"{op}: min_calib_range and max_calib_range belong together, got {low} and {high}")
        if low is not None and not low <= high:
            raise OpError(f"{op}: min_calib_range must not be above max_calib_range, got {low} and {high}")

    return check


def _infer_quantize(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    data = types[0]
    if data.dtype != FLOAT32:
        raise TypeMismatchError(f"quantize: data must be float32, got {data}")
    return _quantized_pair(attrs, data)


def _infer_dequantize(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _want_scales("dequantize", attrs, types)
    return [TensorType(types[0].shape, FLOAT32)]


def _infer_requantize(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    _want_scales("requantize", attrs, types)
    return _quantized_pair(attrs, types[0])


def _scaled_inputs(attrs: Attrs) -> tuple[str, ...]:
    return ("data", "scale", "channel_scale") if attrs.per_channel else ("data", "scale")


_RANGE_ATTRS = (
    Attr("out_type", "str", "int8", choices=tuple(QUANTIZED_RANGES)),
    Attr("min_calib_range", "float", None),
    Attr("max_calib_range", "float", None),
    # Leading axes each index of which has a range of its own, where ranges are found at run time; negative: all but so
    # many at the end.
    Attr("batch_axes", "int", 0),
)
_SCALE_ATTRS = (Attr("axis", "int", 1), Attr("per_channel", "bool", False))

register(
    Op(
        "quantize",
        _infer_quantize,
        _quantize,
        ("data",),
        attrs=_RANGE_ATTRS,
        outputs=2,
        mxnet=("_contrib_quantize_v2", "_npx_quantize_v2"),
        check=_check_range("quantize"),
        epilogue=lambda attrs: None if calibrated_scale(attrs) is None else EpilogueStep("quantize"),
    )
)
register(
    Op(
        "dequantize",
        _infer_dequantize,
        _dequantize,
        _scaled_inputs,
        attrs=_SCALE_ATTRS,
        parameters=frozenset({"channel_scale"}),
        epilogue=step("dequantize"),
    )
)
register(
    Op(
        "requantize",
        _infer_requantize,
        _requantize,
        _scaled_inputs,
        attrs=(*_SCALE_ATTRS, *_RANGE_ATTRS),
        parameters=frozenset({"channel_scale"}),
        outputs=2,
        check=_check_range("requantize"),
        epilogue=lambda attrs: None if calibrated_scale(attrs) is None else EpilogueStep("requantize"),
    )
)


# ---- with a zero point ----------------------------------------------------------------------------


def integer_limits(attrs: Attrs) -> tuple[int, int]:
    """The least and the largest integer of a `quantize_linear`: all of so many bits."""
    half = 1 << (attrs.bits - 1)
    return (-half, half - 1) if attrs.out_type == "int8" else (0, 2 * half - 1)


def _along(parameter: Array, axis: int, ndim: int) -> Array:
    """One number, or a vector as it lies along an axis of the data."""
    return parameter.reshape(()) if parameter.size == 1 else parameter.reshape(-1, *(1,) * (ndim - axis % ndim - 1))


def _quantize_linear(attrs: Attrs, data: Array, scale: Array, zero_point: Array) -> Array:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        q = np.rint(data / _along(scale, attrs.axis, data.ndim)) + _along(zero_point, attrs.axis, data.ndim)
        q = np.where(np.isnan(q), np.float32(0), q)
    return np.asarray(np.clip(q, *integer_limits(attrs))).astype(attrs.out_type)


def _dequantize_linear(attrs: Attrs, data: Array, scale: Array, zero_point: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = data.astype(np.float32) - _along(zero_point, attrs.axis, data.ndim)
        return np.asarray(shifted * _along(scale, attrs.axis, data.ndim), np.float32)


def _want_linear(op: str, attrs: Attrs, types: Sequence[TensorType]) -> None:
    data = types[0]
    for name, t in zip(("scale", "zero_point"), types[1:], strict=True):
        want_dtype(op, name, t, FLOAT32, "every scale and zero point")
        if t.size == 1 and t.ndim < 2:
            continue
        channels = data.shape[normalize_axis(op, attrs.axis, data.ndim)]
        if t.shape != (channels,):
            raise ShapeError(
                f"{op}: {name} must be one number, or have shape ({channels},), one for each element of axis "
                f"{attrs.axis} of data {data.shape}, got {t.shape}"
            )


def _infer_quantize_linear(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype != FLOAT32:
        raise TypeMismatchError(f"quantize_linear: data must be float32, got {types[0]}")
    _want_linear("quantize_linear", attrs, types)
    return [TensorType(types[0].shape, np.dtype(attrs.out_type))]


def _infer_dequantize_linear(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype not in _INTEGERS:
        raise TypeMismatchError(f"dequantize_linear: data must be int8, uint8 or int32, got {types[0]}")
    _want_linear("dequantize_linear", attrs, types)
    return [TensorType(types[0].shape, FLOAT32)]


_LINEAR_INPUTS = ("data", "scale", "zero_point")

# ONNX's: ``clip(rint(data / scale) + zero_point)``, 0 for NaN, and ``(data - zero_point) * scale``. Scale and zero
# point are float32, one number or one for each index of an axis.
register(
    Op(
        "quantize_linear",
        _infer_quantize_linear,
        _quantize_linear,
        _LINEAR_INPUTS,
        attrs=(
            Attr("out_type", "str", "uint8", choices=tuple(QUANTIZED_RANGES)),
            Attr("bits", "int", 8, choices=(2, 4, 8)),
            Attr("axis", "int", 1),
        ),
        parameters=frozenset(_LINEAR_INPUTS[1:]),
        epilogue=step("quantize_linear"),
    )
)
register(
    Op(
        "dequantize_linear",
        _infer_dequantize_linear,
        _dequantize_linear,
        _LINEAR_INPUTS,
        attrs=(Attr("axis", "int", 1),),
        parameters=frozenset(_LINEAR_INPUTS[1:]),
        epilogue=step("dequantize_linear"),
    )
)


def _dynamic_quantize_linear(attrs: Attrs, data: Array) -> tuple[Array, Array, Array]:
    low, high = (np.float32(f(data, initial=0)) for f in (np.min, np.max))
    with np.errstate(invalid="ignore", over="ignore"):
        scale = (high - low) / np.float32(255)
        scale = scale if 0 < scale < np.inf else np.float32(1)
        zero_point = np.rint(np.clip(-low / scale, 0, 255))
    zero_point = np.float32(0) if np.isnan(zero_point) else zero_point
    pair = np.asarray(scale, np.float32), np.asarray(zero_point, np.float32)
    return _quantize_linear(_UINT8_LINEAR, data, *pair), *pair


def _infer_dynamic_quantize_linear(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    if types[0].dtype != FLOAT32:
        raise TypeMismatchError(f"dynamic_quantize_linear: data must be float32, got {types[0]}")
    return [TensorType(types[0].shape, np.dtype(np.uint8)), *[TensorType((), FLOAT32)] * 2]


# ONNX's: uint8, scale and zero point by the range of the data, which has a zero in it. Without extent, or with an
# infinite one, the scale is 1.
register(
    Op(
        "dynamic_quantize_linear",
        _infer_dynamic_quantize_linear,
        _dynamic_quantize_linear,
        ("data",),
        outputs=3,
    )
)
_UINT8_LINEAR = get_op("quantize_linear").make_attrs({})


# ---- products -------------------------------------------------------------------------------------


def _as_float(t: TensorType) -> TensorType:
    return TensorType(t.shape, FLOAT32)


def _infer_product(name: str, float_op: Op, attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    """Shapes as those of the float operator; data uint8 or int8, weight int8, bias int32."""
    first, second, *rest = float_op.input_names(attrs)
    if types[0].dtype not in _BYTES:
        raise TypeMismatchError(f"{name}: {first} must be int8 or uint8, got {types[0]}")
    if types[1].dtype != _INT8:
        raise TypeMismatchError(f"{name}: {second} must be int8, got {types[1]}")
    for label, t in zip(rest, types[2:], strict=True):
        if t.dtype != _INT32:
            raise TypeMismatchError(f"{name}: {label} must be int32, got {t}")
    (shape,) = (t.shape for t in float_op.infer(attrs, [_as_float(t) for t in types]))
    if float_op.name == "batch_dot":
        _want_depth(name, types[0].shape[-2 if attrs.transpose_a else -1], types)
    return [TensorType(shape, _INT32)]


def _want_depth(name: str, depth: int, types: Sequence[TensorType]) -> None:
    """Factors without weights may have any numbers."""
    limit = largest_depth(*(t.dtype.name for t in types))
    if depth > limit:
        raise ShapeError(
            f"{name}: sums of {depth} products of {types[0].dtype} by {types[1].dtype} may exceed int32, which holds "
            f"those of {limit}; shapes are {types[0].shape} and {types[1].shape}"
        )


def _exact(float_op: Op, attrs: Attrs, *arrays: Array) -> Array:
    """The float operator in float64, where sums of products of bytes (and an int32) are exact, modulo 2^32."""
    result = float_op.reference(attrs, *(a.astype(np.float64) for a in arrays))
    return np.asarray(result).astype(np.int64).astype(np.int32)


def _register_product(float_op: Op, anchor: AnchorTraits) -> None:
    name = anchor.integer
    register(
        replace(
            float_op,
            name=name,
            infer=lambda attrs, types: _infer_product(name, float_op, attrs, types),
            reference=lambda attrs, *arrays: _exact(float_op, attrs, *arrays),
            mxnet=(),
            anchor=replace(anchor, integer="", bfloat16="", is_integer=True),
        )
    )


# The package's __init__ imports convolution and dense before this module.
for _op in map(get_op, list_ops()):
    if _op.anchor is not None and _op.anchor.integer:
        _register_product(_op, _op.anchor)
