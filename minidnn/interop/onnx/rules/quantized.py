"""Quantized operators: integers with a scale and a zero point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.elements import Element, element_of
from minidnn.interop.onnx.rules.convolution import convolve, read_geometry
from minidnn.interop.onnx.values import Value, known
from minidnn.sizes import example_of

__all__ = ["dequantize", "integer_matmul", "quantize", "requantize", "scaled", "spread"]

_FLOAT32 = element_of("float32")
_UINT8 = element_of("uint8")


def spread(call: Call, x: Value, parameter: Value, axis: int, block: int = 0) -> Value:
    """A scale or zero point as an array that broadcasts against the data.

    One number is for all elements, a vector has one for each index of `axis`; with a block, each stands for so many
    elements along it.
    """
    if block:
        repeated = call.emit("repeat", parameter, repeats=block, axis=axis)
        return call.emit("slice_axis", repeated, axis=axis, begin=0, end=x.dim(axis))
    if parameter._type.size == 1:
        return call.reshape(parameter, ()) if parameter.ndim else parameter
    if parameter.ndim != 1:
        return parameter
    shape: list[Any] = [1] * x.ndim
    shape[call.axis(axis, x.ndim)] = parameter._type.shape[0]
    return call.reshape(parameter, shape)


def dequantize(call: Call, x: Value, scale: Value, zero: Value | None, axis: int = 1, block: int = 0) -> Value:
    """(x - zero) * scale, in the scale's type."""
    wide = as_float(call, x)
    if zero is not None and not _is_zero(zero):
        wide = call.binary("subtract", wide, as_float(call, spread(call, x, zero, axis, block)))
    return call.binary("multiply", wide, spread(call, x, scale, axis, block)).as_element(scale.element)


def _is_zero(value: Value) -> bool:
    return value.array is not None and not value.is_sized and not value.array.any()


def quantize(
    call: Call,
    x: Value,
    scale: Value,
    zero: Value | None,
    to: Element,
    axis: int = 1,
    block: int = 0,
    saturate: bool = True,
    precision: Element | None = None,
) -> Value:
    """x / scale, rounded half to even, plus the zero point, within the range of the type."""
    if precision is not None and precision.name == "float64":
        call.refuse("attribute 'precision' of float64 is not supported")
    ratio = call.binary("true_divide", call.cast(x, np.float32), call.cast(spread(call, x, scale, axis, block), "f4"))
    if to.is_float:
        if zero is not None and not _is_zero(zero):
            ratio = call.binary("add", ratio, spread(call, x, zero, axis, block))
        return call.emit("round_float", ratio, kind=to.name, saturate=saturate).as_element(to)
    return to_integers(call, ratio, None if zero is None else spread(call, x, zero, axis, block), to)


def to_integers(call: Call, real: Value, zero: Value | None, to: Element) -> Value:
    """Floats rounded, moved by a zero point that broadcasts, and saturated."""
    q = call.emit("rint", real)
    if zero is not None and not _is_zero(zero):
        q = call.binary("add", q, call.cast(zero, np.float32).as_element(q.element))
    low, high = to.limits
    return call.cast(call.emit("clip", q, a_min=low, a_max=high), to.carrier).as_element(to)


def scaled(call: Call, sums: Value, factor: Value, axis: int) -> Value:
    """Integer sums as floats, times a factor: one number, one for each index of an axis, or what broadcasts."""
    if factor._type.size != 1 and factor.ndim > 1:
        return call.binary("multiply", as_float(call, sums), factor)
    if factor._type.size == 1:
        return call.emit("dequantize", sums, call.reshape(factor, (1,)))
    one = known(np.ones(1, np.float32))
    return call.emit("dequantize", sums, one, factor, axis=axis, per_channel=True)


def as_float(call: Call, x: Value) -> Value:
    """Integers as float32, by what kernels can do: a scale of 1."""
    if x.dtype not in (np.int8, np.uint8, np.int32):
        return call.cast(x, np.float32).as_element(_FLOAT32)
    return call.emit("dequantize", x, known(np.ones(1, np.float32)))


def requantize(call: Call, sums: Value, factor: Value, axis: int, zero: Value | None, to: Element) -> Value:
    """Integer sums times a factor, see `scaled`, as integers of few bits."""
    return to_integers(call, scaled(call, sums, factor, axis), zero, to)


def _zero_element(zero: Value | None, default: Element = _UINT8) -> Element:
    return default if zero is None else zero.element


@rule("QuantizeLinear")
def _quantize_linear(call: Call) -> Value:
    zero, axis = call.get(2), call.integer("axis", 1)
    to = call.element("output_dtype", _zero_element(zero))
    precision = call.element("precision", element_of("float32"))
    return quantize(
        call, call[0], call[1], zero, to, axis, call.integer("block_size", 0), call.flag("saturate", True), precision
    )


@rule("DequantizeLinear")
def _dequantize_linear(call: Call) -> Value:
    element = call.element("output_dtype", call[1].element)
    made = dequantize(call, call[0], call[1], call.get(2), call.integer("axis", 1), call.integer("block_size", 0))
    return made.as_element(element)


@rule("DynamicQuantizeLinear")
def _dynamic_quantize(call: Call) -> list[Value]:
    """uint8 by the range of the data, which always has a zero in it."""
    x = call[0]
    high = call.emit("maximum_scalar", call.emit("max", x), scalar=0.0)
    low = call.emit("minimum_scalar", call.emit("min", x), scalar=0.0)
    scale = call.binary("true_divide", call.emit("subtract", high, low), 255.0)
    safe = call.emit("where", call.emit("equal_scalar", scale, scalar=0.0), call.like(1, scale), scale)
    start = call.emit("negative", call.emit("true_divide", low, safe))
    zero = call.cast(call.emit("clip", call.emit("rint", start), a_min=0.0, a_max=255.0), np.uint8)
    return [quantize(call, x, safe, zero, _UINT8), scale, zero]


# ---- products of integers -------------------------------------------------------------------------------


def _centered(call: Call, x: Value, zero: Value | None, axis: int, depth: int) -> Value:
    """x - zero in a float in which sums of so many products of bytes are exact."""
    # float32 has all integers up to 2^24, and numbers without their zero point are at most 255.
    dtype = np.float32 if depth * 255 * 255 <= 1 << 24 else np.float64
    wide = call.cast(x, dtype)
    if zero is None or _is_zero(zero):
        return wide
    return call.emit("subtract", wide, call.cast(spread(call, x, zero, axis), dtype))


def _single(zero: Value | None) -> int | None:
    """A zero point that is known and one number."""
    if zero is None:
        return 0
    array = zero.array
    if array is None or zero.is_sized or not array.size or (array != array.reshape(-1)[0]).any():
        return None
    return int(array.reshape(-1)[0])


def _as_int8(call: Call, weight: Value, zero: Value | None) -> Value | None:
    """Weights without their zero point, if they are known, and bytes even so."""
    number = _single(zero)
    if number is None or weight.array is None or weight.array.dtype.kind not in "iu":
        return None
    if number == 0 and weight.dtype == np.int8:
        return weight
    if number == 128 and weight.dtype == np.uint8:
        return known((weight.array.astype(np.int16) - 128).astype(np.int8))
    return None


def _moved_bias(call: Call, weight: Value, bias: Value | None, zero: int) -> tuple[Value, ...]:
    """What products of data with a zero point have too much, and a bias: an int32 for each filter; none if it is 0."""
    if not zero:
        return () if bias is None else (bias,)
    sums = call.emit("sum", weight, axis=tuple(range(1, weight.ndim)), dtype=np.dtype(np.int32))
    excess = call.emit("multiply", call.cast(sums, np.int32), known(np.int32(-zero)))
    return (excess if bias is None else call.emit("add", excess, bias),)


def integer_matmul(call: Call, a: Value, b: Value, zero_a: Value | None, zero_b: Value | None) -> Value:
    """Exact sums in int32; zero points are for all elements, or for each row of a and each column of b."""
    moved, weight = _single(zero_a), _as_int8(call, b, zero_b)
    if moved is not None and weight is not None and a.ndim >= 2 and b.ndim == 2 and b._type.size:
        rows = call.emit("transpose", weight, axes=(1, 0))
        inputs = (a, rows, *_moved_bias(call, rows, None, moved))
        return call.emit(
            "quantized_fully_connected",
            *inputs,
            num_hidden=int(b._type.shape[1]),
            no_bias=len(inputs) == 2,
            flatten=False,
        )
    depth = example_of(a._type.shape[-1])
    left = _centered(call, a, zero_a, max(a.ndim - 2, 0), depth)
    right = _centered(call, b, zero_b, b.ndim - 1, depth)
    return call.cast(call.emit("matmul", left, right), np.int32)


@rule("MatMulInteger")
def _matmul_integer(call: Call) -> Value:
    return integer_matmul(call, call[0], call[1], call.get(2), call.get(3))


@rule("ConvInteger")
def _conv_integer(call: Call) -> Value:
    return integer_conv(call, call[0], call[1], call.get(2), call.get(3), None)


def integer_conv(
    call: Call, x: Value, weight: Value, zero_x: Value | None, zero_w: Value | None, bias: Value | None
) -> Value:
    """Exact sums in int32; the pads are zeros of the data, which have its zero point."""
    geometry = read_geometry(call, x, weight)
    moved, filters = _single(zero_x), _as_int8(call, weight, zero_w)
    if moved is not None and filters is not None:
        inputs = _moved_bias(call, filters, bias, moved)
        return convolve(call, x, filters, inputs[0] if inputs else None, geometry, moved, "quantized_convolution")
    depth = math.prod(weight._type.shape[1:])
    inputs_ = _centered(call, x, zero_x, 1, depth)
    weights = _centered(call, weight, zero_w, 0, depth)
    sums = call.cast(convolve(call, inputs_, weights, None, geometry), np.int32)
    if bias is None:
        return sums
    return call.emit("add", sums, call.reshape(bias, (1, bias._type.shape[0], *(1,) * (x.ndim - 2))))


@rule("QLinearConv")
def _qlinear_conv(call: Call) -> Value:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (call[i] for i in range(8))
    sums = integer_conv(call, x, w, x_zero, w_zero, call.get(8))
    factor = call.binary("true_divide", call.binary("multiply", w_scale, x_scale), y_scale)
    return requantize(call, sums, factor, 1, y_zero, y_zero.element)


@rule("QLinearMatMul")
def _qlinear_matmul(call: Call) -> Value:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (call[i] for i in range(8))
    sums = integer_matmul(call, a, b, a_zero, b_zero)
    left = spread(call, sums, a_scale, max(sums.ndim - 2, 0))
    right = spread(call, sums, b_scale, sums.ndim - 1)
    factor = call.emit("true_divide", call.emit("multiply", left, right), spread(call, sums, y_scale, -1))
    return requantize(call, sums, call.cast(factor, np.float32), -1, y_zero, y_zero.element)
