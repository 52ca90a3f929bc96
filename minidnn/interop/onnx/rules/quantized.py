"""Quantized operators: integers with a scale and a zero point."""

from __future__ import annotations

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.elements import Element, element_of
from minidnn.interop.onnx.rules.integers import (
    dequantize,
    dynamically_quantized,
    flat,
    integer_conv,
    integer_matmul,
    quantize,
    requantize,
    spread,
)
from minidnn.interop.onnx.rules.windows import Geometry
from minidnn.interop.onnx.values import Value

__all__: list[str] = []

_UINT8 = element_of("uint8")


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
    return dynamically_quantized(call, call[0])


# ---- products of integers -------------------------------------------------------------------------------


@rule("MatMulInteger")
def _matmul_integer(call: Call) -> Value:
    return integer_matmul(call, call[0], call[1], call.get(2), call.get(3)).exact(call)


@rule("ConvInteger")
def _conv_integer(call: Call) -> Value:
    geometry = Geometry(call, call[0], call[1])
    return integer_conv(call, call[0], call[1], call.get(2), call.get(3), None, geometry).exact(call)


@rule("QLinearConv")
def _qlinear_conv(call: Call) -> Value:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (call[i] for i in range(8))
    sums = integer_conv(call, x, w, x_zero, w_zero, call.get(8), Geometry(call, x, w))
    factor = call.binary("true_divide", call.binary("multiply", flat(call, w_scale), flat(call, x_scale)), y_scale)
    return requantize(call, sums, factor, 1, y_zero, y_zero.element)


@rule("QLinearMatMul")
def _qlinear_matmul(call: Call) -> Value:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (call[i] for i in range(8))
    sums = integer_matmul(call, a, b, a_zero, b_zero)
    scales = [call.cast(s, np.float32) for s in (a_scale, b_scale, y_scale)]
    if a_scale._type.size == y_scale._type.size == 1 and b_scale._type.size in (1, b._type.shape[-1]):
        left, right, out = (flat(call, s) for s in scales)
    else:
        left, right = (spread(call, sums.product, s, axis) for s, axis in ((scales[0], -2), (scales[1], -1)))
        out = spread(call, sums.product, scales[2], -1)
    factor = call.emit("true_divide", call.emit("multiply", left, right), out)
    return requantize(call, sums, factor, -1, y_zero, y_zero.element)
